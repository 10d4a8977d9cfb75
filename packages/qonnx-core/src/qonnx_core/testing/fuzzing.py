"""Looks for model files that are neither accepted nor refused with a :class:`qonnx_core.QonnxError`.

``python -m qonnx_core.testing.fuzzing --runs 200 --out failures`` runs that many cases, ``--minutes 10`` runs for that
long. Each case is a valid model with mutations, used in a child process of its own with a limit of time and memory.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

import qonnx_core
from qonnx_core.analyses.cost import inference_cost
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.analyses.topology import topology
from qonnx_core.errors import QonnxError
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.merge import merge_models
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.ir import sizes
from qonnx_core.ir.grid import Grid
from qonnx_core.partition import Rules, partition
from qonnx_core.passes.catalog import catalog, make_pass
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.fuzz_seeds import seed_models, write_companions
from qonnx_core.testing.memory import peak_bytes
from qonnx_core.testing.mutations import mutate_bytes, mutate_model
from qonnx_core.testing.onnx_examples import onnx_examples
from qonnx_core.verify.models import compare_models

SECONDS = 10.0
"""How long one case may take."""
RESIDENT_BYTES = 1 << 30
"""How much memory one case may come to hold."""
_ADDRESS_BYTES = 8 << 30  # room for what is mapped and never touched
_MOST_INPUT_ELEMENTS = 2**20
_TENSOR_BYTES = 2**24  # what a tensor may take here, far less than usual, so that all that a case holds shows


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that was handled wrongly: which case, at which operation, and how."""

    case: int
    operation: str
    kind: str  # exception, crash, hang or memory
    detail: str

    def signature(self) -> str:
        """Return what failures of one cause share: the operation's kind and the last line of the traceback in us."""
        lines = [line.strip() for line in self.detail.splitlines() if line.strip().startswith("File ")]
        last = lines[-1].partition(", line")[0] if lines else ""
        own = [line for line in lines if "qonnx_core" in line and "fuzzing" not in line]
        kind = self.detail.splitlines()[-1].partition(":")[0] if self.detail else ""
        return f"{self.kind} {self.operation} {kind} {own[-1] if own else last}"


def exercise(file: Path, generator: random.Random, started: Callable[[str], None]) -> dict[str, str]:
    """Use a model file in every way; return for each operation ``ok`` or the class of the refusal.

    ``started`` hears of each operation before it runs. Everything but a QonnxError comes through.
    """
    results: dict[str, str] = {}

    def attempt(name: str, action: Callable[[], Any]) -> Any:
        started(name)
        try:
            found = action()
        except QonnxError as error:
            if not str(error).strip():
                raise AssertionError(f"{name}: refuses without a message") from error
            results[name] = type(error).__name__
            return None
        results[name] = "ok"
        return found

    model = attempt("load", lambda: qonnx_core.load(file))
    if model is None:
        return results
    saved = file.parent / "saved.onnx"
    cleaned = attempt("cleanup", lambda: qonnx_core.cleanup_model(model))
    attempt("run", lambda: _run(model, generator))
    attempt("save", lambda: qonnx_core.save(model, saved))
    if results["save"] == "ok":
        attempt("load again", lambda: qonnx_core.load(saved))
    attempt("save with functions", lambda: qonnx_core.save(model, saved, with_functions=True))
    attempt("cost", lambda: inference_cost(model).to_dict())
    attempt("to qcdq", lambda: to_qcdq(model, partial=True))
    attempt("from qcdq", lambda: from_qcdq(model))
    attempt("plain", lambda: lower_to_plain_onnx(model))
    attempt("data types", lambda: InferDataTypes().run(model.clone()))
    attempt("opset", lambda: convert_opset(model, generator.randrange(9, 24)))
    attempt("topology", lambda: topology(model).to_dict())
    attempt("merge", lambda: merge_models(model, model))
    for name in generator.sample(sorted(catalog()), 6):
        source = model if generator.random() < 0.3 or cleaned is None else cleaned
        changed = attempt(f"pass {name}", functools.partial(_run_pass, name, source, generator))
        if changed is not None and generator.random() < 0.5:
            attempt(f"run after {name}", functools.partial(_run, changed, generator))
            attempt(f"save after {name}", functools.partial(qonnx_core.save, changed, saved))
    if cleaned is None:
        return results
    attempt("run cleaned", lambda: _run(cleaned, generator))
    attempt("save cleaned", lambda: qonnx_core.save(cleaned, saved))
    inputs = attempt("zeros", lambda: _zeros(cleaned))
    if inputs is not None:
        attempt("diff", lambda: compare_models(model, cleaned, _zeros(model) or {}))
    grids = {value.name or "": Grid.parse("INT8*2^-3") for value in cleaned.graph.inputs}
    attempt("ranges", lambda: tensor_ranges(cleaned, grids))
    attempt("integer form", lambda: to_integer_form(cleaned, grids))
    names = [value.name or "" for node in cleaned.graph for value in node.outputs]
    attempt("partition", lambda: partition(cleaned, Rules.single("finn"), grids, backends=["finn", "hls4ml"]))
    if names:
        rules = attempt("rules", lambda: Rules.split_after(generator.choice(names), "finn", "hls4ml"))
        if rules is not None:
            attempt("split", lambda: partition(cleaned, rules, grids, backends=["finn", "hls4ml"]))
    return results


def _run(model: ir.Model, generator: random.Random) -> Any:
    """Run zeros, or the extremes of the element types, and all tensors or only the outputs."""
    compiled = qonnx_core.compile_model(model)
    inputs = _zeros(model)
    if inputs is None:
        return None
    if generator.random() < 0.5:
        for array in inputs.values():
            extreme = generator.choice((np.nan, np.inf, -1e30, 1.0)) if array.dtype.kind == "f" else 1
            array[...] = np.asarray(extreme).astype(array.dtype)
    return compiled.run(inputs, intermediates="*" if generator.random() < 0.3 else ())


def _zeros(model: ir.Model) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return zeros for every input, or None where they would be large or are no tensors."""
    inputs = {}
    for value in model.graph.inputs:
        sizes = [dim if isinstance(dim, int) else 1 for dim in (value.shape or ())]
        if any(size < 0 for size in sizes) or np.prod([float(size) for size in sizes]) > _MOST_INPUT_ELEMENTS:
            return None
        kind = np.dtype(np.float32)
        if value.dtype is not None and value.dtype not in (ir.DataType.UNDEFINED, ir.DataType.STRING):
            kind = value.dtype.numpy()
        inputs[value.name or ""] = np.zeros(sizes, kind)
    return inputs


def _run_pass(name: str, model: ir.Model, generator: random.Random) -> ir.Model | None:
    entry = catalog()[name]
    names = [value.name or "" for node in model.graph for value in node.outputs] or ["x"]
    given = [f"{argument.name}={_argument(argument.type, names, generator)}" for argument in entry.arguments
             if argument.required and argument.from_text]  # fmt: skip
    changed = model.clone()
    make_pass(f"{name}:{','.join(given)}" if given else name).run(changed)
    return changed


def _argument(kind: str, names: Sequence[str], generator: random.Random) -> str:
    """Return a value for an argument of a pass, as the command line takes it."""
    return str(generator.choice((1, 2, 7))) if "int" in kind else generator.choice(names)


def write_case(case: int, folder: Path, seeds: Sequence[onnx.ModelProto]) -> Path:
    """Write the files of a case, which its number determines, and return that of the model."""
    generator = random.Random(case)  # noqa: S311
    proto = onnx.ModelProto()
    proto.CopyFrom(generator.choice(seeds))
    write_companions(folder)
    content = proto.SerializeToString()
    if generator.random() < 0.25:
        content = mutate_bytes(content, generator)
    else:
        mutate_model(proto, generator)
        content = proto.SerializeToString()
    if generator.random() < 0.1:
        child = onnx.ModelProto()
        child.CopyFrom(generator.choice(seeds))
        mutate_model(child, generator)
        (folder / "child.onnx").write_bytes(child.SerializeToString())
    file = folder / "m.onnx"
    file.write_bytes(content)
    return file


def run_case(case: int, file: Path, *, seconds: float = SECONDS) -> Failure | None:
    """Use the file in a child process; return what went wrong, or None."""
    log = file.parent / "log"
    gc.collect()
    child = os.fork()
    if child == 0:
        _child(case, file, log)
    descriptor = os.pidfd_open(child)
    try:
        done, _, _ = select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
    if not done:
        os.kill(child, signal.SIGKILL)
    _, status, _ = os.wait4(child, 0)
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    operation = next((entry["start"] for entry in reversed(entries) if "start" in entry), "start")
    if not done:
        return Failure(case, operation, "hang", f"took longer than {seconds} s")
    error = next((entry["error"] for entry in entries if "error" in entry), None)
    if error is not None:
        return Failure(case, operation, "exception", error)
    if status != 0:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        return Failure(case, operation, "crash", how)
    grown = max((entry["bytes"] for entry in entries if "bytes" in entry), default=0)
    if grown > RESIDENT_BYTES:
        return Failure(case, operation, "memory", f"came to hold {grown >> 20} MiB more")
    return None


def _child(case: int, file: Path, log: Path) -> None:
    """Run one case and end the process."""
    before = peak_bytes()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _ADDRESS_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sizes.MAX_TENSOR_BYTES = _TENSOR_BYTES
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    code = 0
    with log.open("w", encoding="utf-8") as stream:

        def write(**entry: Any) -> None:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()

        try:
            results = exercise(file, random.Random(case), lambda name: write(start=name))  # noqa: S311
            write(results=results)
        except BaseException:
            write(error="".join(traceback.format_exc(limit=40)))
        write(bytes=peak_bytes() - before)
    os._exit(code)


def fuzz(
    out: Path,
    *,
    first: int = 0,
    runs: int | None = None,
    minutes: float | None = None,
    models: Path | None = None,
    examples: bool = False,
    verbose: bool = False,
) -> list[Failure]:
    """Run cases and return the failures; their files go to one folder each in ``out``.

    With ``models`` cases start from the ONNX files in that folder as often as from the models here, and with
    ``examples`` from the nodes that the ``onnx`` package comes with.
    """
    seeds = seed_models()
    more = [] if models is None else [onnx.load(file) for file in sorted(models.rglob("*.onnx"))]
    seeds = (*seeds, *(more[number % len(more)] for number in range(len(seeds)) if more))
    if examples:
        nodes = onnx_examples()
        step = max(1, len(nodes) // len(seeds))
        seeds = (
            *seeds,
            *(example.with_parameters(list(example.inputs)[:1]) for example in nodes[first % step :: step]),
        )
    catalog()
    end = None if minutes is None else time.monotonic() + 60 * minutes
    failures: list[Failure] = []
    seen: dict[str, int] = {}
    for case in _cases(first, runs, end):
        with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
            folder = Path(scratch)
            failure = run_case(case, write_case(case, folder, seeds))
            if failure is None:
                continue
            failures.append(failure)
            signature = failure.signature()
            seen[signature] = seen.get(signature, 0) + 1
            if seen[signature] <= 3:
                kept = out / f"case_{case}"
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copytree(folder, kept, dirs_exist_ok=True, symlinks=True)
                (kept / "failure.json").write_text(json.dumps(asdict(failure) | {"signature": signature}, indent=1))
            if verbose and seen[signature] == 1:
                print(f"case {case}: {signature}", flush=True)  # noqa: T201
    return failures


def _cases(first: int, runs: int | None, end: float | None) -> Iterator[int]:
    case = first
    while (runs is None or case < first + runs) and (end is None or time.monotonic() < end):
        yield case
        case += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzzer from the command line; return 1 where it found something."""
    parser = argparse.ArgumentParser(description="Use mutated model files in every way and look for wrong handling.")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"), help="folder for the files that failed")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--runs", type=int, help="number of cases")
    parser.add_argument("--minutes", type=float, help="time after which no further case starts")
    parser.add_argument("--models", type=Path, help="a folder: start from the ONNX files in it as well")
    parser.add_argument("--replay", type=Path, help="a folder of a failed case: use its file again, and show the error")
    parser.add_argument("--examples", action="store_true", help="start from the nodes of the onnx package as well")
    given = parser.parse_args(arguments)
    if given.replay is not None:
        case = json.loads((given.replay / "failure.json").read_text())["case"]
        print(exercise(given.replay / "m.onnx", random.Random(case), print))  # noqa: S311, T201
        return 0
    runs = given.runs if given.runs is not None or given.minutes is not None else 500
    more = {"models": given.models, "examples": given.examples}
    failures = fuzz(given.out, first=given.first, runs=runs, minutes=given.minutes, verbose=True, **more)
    print(f"{len(failures)} failures; their files are in {given.out}" if failures else "no failures")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

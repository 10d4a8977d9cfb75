"""`qonnx run`: execute a model on data."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Container
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    is_stdio,
    print_json,
    progress_console,
    read_model,
    remarks_console,
    table,
)
from qonnx_core.cli.data import (
    AllowNanOption,
    BatchSizeOption,
    CenterOption,
    PixelsOption,
    Preparation,
    SamplesOption,
    batch_size,
    check_places,
    checked,
    data_file,
    shown_progress,
    tensor_names,
)
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.execute.array_files import ArrayFile
    from qonnx_core.verify import Check

Array = NDArray[Any]

NAME = "run"
HELP = """Execute a model on the arrays of an .npz or .npy file, batch after batch; memory is that of one batch.

Inputs stand in an .npz under their tensor names, or as `x` (`input`). Expected outputs under theirs, or as `y`, are
compared (in mode exact); class numbers under `labels` give the accuracy. Exits with 3 when an expected output is a
mismatch.

Example: qonnx run model.onnx --data inputs.npz --intermediate '*_out0' -o outputs.npz"""


class ModeOption(StrEnum):
    """How exact the arithmetic is."""

    EXACT = "exact"
    FAST = "fast"


def command(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", help="An .npz or .npy with the inputs; - is standard input.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the results to this .npz, or .npy if it is one; - is standard output."
        ),
    ] = None,
    batch: BatchSizeOption = None,
    intermediate: Annotated[
        list[str] | None,
        typer.Option(
            "--intermediate",
            metavar="NAME",
            help="Also return this tensor, or all that match ('*_out0'); may be repeated.",
            autocompletion=tensor_names,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Class numbers: a name in the .npz (default labels), or an .npy file."),
    ] = None,
    mode: Annotated[
        ModeOption,
        typer.Option("--mode", help="fast: onnxruntime's default settings; sums may differ in their last bits."),
    ] = ModeOption.EXACT,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads; 0 is one for each core.")] = 1,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="What computes: cpu, cuda, ...; may be repeated, best first."),
    ] = None,
    pixels: PixelsOption = False,
    center: CenterOption = False,
    limit: SamplesOption = None,
    allow_nan: AllowNanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Execute a model."""
    from qonnx_core import compile_model
    from qonnx_core.execute.results import ResultWriter

    out = remarks_console(output, json_output)
    check_places(model, data)
    how = Preparation(pixels=pixels, center=center, allow_nan=allow_nan)
    if output is not None and not is_stdio(output) and output.resolve() in (model.resolve(), data.resolve()):
        raise InvalidInput(f"-o {output}: is what is read; expected another file for the results. Choose another name.")
    graph = read_model(model)
    with data_file(data) as file:
        run = _Run(graph, file, labels, how)
        if mode is ModeOption.FAST and run.forget_expected():
            progress_console().print("expected outputs are compared in mode exact alone; they are left aside here")
        compiled = compile_model(graph, mode=mode.value, threads=threads, providers=provider or None)
        asked = tuple(intermediate or ())
        count = file.count(run.members) if limit is None else min(limit, file.count(run.members))
        target = None if is_stdio(output) else output
        rows = compiled.activation_names
        with ResultWriter(target, count, rows) if output is not None else nullcontext() as writer:
            with shown_progress(count, "run") as advance:
                for part in file.rows(run.members, batch_size(batch, file, run.inputs), count):
                    inputs, samples = run.take(part)
                    results = compiled.run(inputs, asked)
                    run.note(part, inputs, results, samples)
                    if writer is not None:
                        writer.add(results, samples)
                    advance(samples)
            if writer is not None:
                writer.finish(sys.stdout.buffer if is_stdio(output) else None)
    summary = run.summary(rows)
    check = run.check()
    if json_output:
        print_json({"outputs": summary, "check": check.to_dict() if check else None, "accuracy": run.accuracy()})
    else:
        out.print(table("outputs", ("name", "shape", "dtype", "min", "max"), [tuple(row.values()) for row in summary]))
        accuracy = run.accuracy()
        if accuracy is not None:
            out.print(f"accuracy: {accuracy['correct']} of {accuracy['samples']} ({accuracy['top1']:.2%})")
        if check is not None:
            out.print(str(check))
    if check is not None:
        check.require()


class _Run:
    """What a run over a file says about the results: their ranges, the accuracy, and how they compare."""

    def __init__(self, model: ir.Model, file: ArrayFile, labels: str | None, how: Preparation) -> None:
        """Find inputs, expected outputs and labels in the file.

        Raises:
            InvalidInput: the file has no array for an input, or none for the labels.
        """
        from qonnx_core.build.inputs import OUTPUT_ALIASES
        from qonnx_core.execute.samples import file_members

        self._model, self._how = model, how
        names = [value.name or "" for value in model.graph.inputs if not value.is_initializer()]
        self.inputs = file_members(file, names)
        self._outputs = [value.name or "" for value in model.graph.outputs]
        aliases = OUTPUT_ALIASES if len(self._outputs) == 1 else ()
        taken = set(self.inputs.values())
        found = {
            name: next((key for key in (name, *aliases) if key in file.headers and key not in taken), None)
            for name in self._outputs
        }
        self._expected = {name: key for name, key in found.items() if key is not None}
        self._labels, member = _labels(file, labels)
        self.members = {
            **{f"input {name}": key for name, key in self.inputs.items()},
            **{f"output {name}": key for name, key in self._expected.items()},
            **({"labels": member} if member else {}),
        }
        count = file.count(self.members)
        if self._labels is not None and len(self._labels.reshape(-1)) != count:
            raise InvalidInput(
                f"--labels {labels}: holds {self._labels.size} numbers; expected {count}, one a sample. Cut the data."
            )
        self.results: dict[str, _Result] = {}
        self._checks: list[Check] = []
        self._done = self._correct = 0

    def forget_expected(self) -> bool:
        """Look at no expected outputs, and return whether there are any."""
        found = bool(self._expected)
        self.members = {name: key for name, key in self.members.items() if not name.startswith("output ")}
        self._expected = {}
        return found

    def take(self, part: dict[str, Array]) -> tuple[dict[str, Array], int]:
        """Return the inputs in a part of the file, and how many samples it has."""
        inputs = checked({name: part[f"input {name}"] for name in self.inputs}, self._done, self._how)
        return inputs, next((len(array) for array in inputs.values() if array.ndim), 1)

    def note(self, part: dict[str, Array], inputs: dict[str, Array], results: dict[str, Array], samples: int) -> None:
        """Count the results of one more part in."""
        for name, array in results.items():
            self.results.setdefault(name, _Result(name, str(array.dtype), array.shape)).add(array, samples)
        if self._labels is not None or "labels" in part:
            given = part["labels"] if self._labels is None else self._labels[self._done : self._done + samples]
            self._correct += _num_correct(results[self._outputs[0]], given, samples)
        wanted = {name: part[f"output {name}"] for name in self._expected}
        if wanted:
            self._checks.append(_compared(self._model, inputs, wanted, results, self._done, samples))
        self._done += samples

    def check(self) -> Check | None:
        """Return how the results compare with the expected ones; None where nothing is expected."""
        from qonnx_core.verify import Check

        return Check.merge(self._checks) if self._checks else None

    def accuracy(self) -> dict[str, Any] | None:
        """Return how many samples got the right class; None without labels."""
        if self._labels is None and "labels" not in self.members:
            return None
        return {"samples": self._done, "correct": self._correct, "top1": self._correct / max(1, self._done)}

    def summary(self, varying: Container[str]) -> list[dict[str, Any]]:
        """Return name, shape, element type and range of every result, over all samples."""
        return [
            {
                "name": result.name,
                "shape": [self._done, *result.shape[1:]]
                if result.name in varying and result.sampled
                else list(result.shape),
                "dtype": result.dtype,
                "min": result.low,
                "max": result.high,
            }
            for result in self.results.values()
        ]


@dataclasses.dataclass
class _Result:
    """What a run says about a tensor: its shape in the first batch, and its range."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sampled: bool = True
    low: float | None = None
    high: float | None = None

    def add(self, array: Array, samples: int) -> None:
        """Widen the range by the tensor of one more batch, which has samples in front or not."""
        self.sampled = self.sampled and array.shape[:1] == (samples,)
        if array.size and array.dtype.kind in "biuf":
            low, high = float(array.min()), float(array.max())
            self.low = low if self.low is None else float(np.minimum(self.low, low))
            self.high = high if self.high is None else float(np.maximum(self.high, high))


def _labels(file: ArrayFile, asked: str | None) -> tuple[Array | None, str | None]:
    """Return the labels of a file of their own, or else their name in the data file; neither where there are none."""
    from qonnx_core.build.inputs import LABELS
    from qonnx_core.execute.array_files import ArrayFile

    if asked is None:
        return None, LABELS if LABELS in file.headers else None
    if asked in file.headers:
        return None, asked
    if not Path(asked).is_file():
        raise InvalidInput(
            f"--labels {asked}: is neither an array of {file.where} ({', '.join(file.headers) or 'none'}) nor a file; "
            "expected class numbers, one a sample. Check the name."
        )
    other = ArrayFile(asked)
    if len(other.headers) != 1:
        raise InvalidInput(f"--labels {asked}: holds {len(other.headers)} arrays; expected one. Save it as .npy.")
    return other.read(next(iter(other.headers))), None


def _num_correct(output: Array, given: Array, samples: int) -> int:
    """Return how many samples have their class as the index of the largest output, or as the output itself."""
    from qonnx_core.build.inputs import class_labels

    labels = class_labels(given, samples)
    rows = output.reshape(samples, -1) if samples else output.reshape(0, 1)
    classes = rows[:, 0] if output.dtype.kind in "iu" and rows.shape[1] == 1 else rows.argmax(axis=1)
    return int((classes == labels).sum())


def _compared(
    model: ir.Model,
    inputs: dict[str, Array],
    wanted: dict[str, Array],
    results: dict[str, Array],
    start: int,
    samples: int,
) -> Check:
    """Return how the results of the samples from ``start`` compare; only where some differ is the reason looked for."""
    from qonnx_core.verify import Check, compare_outputs

    if all(np.array_equal(wanted[name], results[name]) for name in wanted):
        return Check("expected", "QONNX", samples, samples)
    check = compare_outputs(model, inputs, wanted, left="expected", right="QONNX")
    first = None if check.first is None else dataclasses.replace(check.first, sample=check.first.sample + start)
    cases = tuple(dataclasses.replace(case, sample=case.sample + start) for case in check.boundary_cases)
    return dataclasses.replace(check, first=first, boundary_cases=cases)

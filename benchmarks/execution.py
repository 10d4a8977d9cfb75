"""CPU time of one call: this executor, the qonnx package, and onnxruntime on a model lowered by hand.

    nox -s benchmarks
    python benchmarks/execution.py [--quick]

The models have random weights and quantizers where exporters place them. The hand-lowered model holds the quantized
weights as constants and four plain nodes for each quantizer. Everything is kept on one core; the qonnx package also
runs as its users run it, with its defaults on all cores, and that CPU time is what the ratio to it is judged on.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from measuring import Result, Target, arguments, interleaved, local, pin, progress, text_of_time, unpinned
from measuring.models import MLP_WIDTHS, NETWORKS, images, lowered_by_hand, perceptron
from measuring.reference import Reference
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.execute.optimizers import Obstacles, left_out
from qonnx_core.execute.session import SessionSettings

OURS, FAST, SAME, DEFAULT, QONNX = (
    "this executor",
    "this executor, mode fast",
    "onnxruntime, by hand, same settings",
    "onnxruntime, by hand, default settings",
    "qonnx, kept on one core",
)
QONNX_FREE = "qonnx, its defaults on all cores"
OVERHEAD_SECONDS = 10e-6
MLP_RATIO = 200.0
BATCHES = {"MobileNetV1-class": (1, 100), "ResNet50-class": (1, 10)}  # qonnx keeps every tensor: 10 are 2 GB there


@dataclass(frozen=True)
class Case:
    """A model at one batch size."""

    name: str
    batch: int
    any_batch: ir.Model
    fixed: ir.Model
    x: NDArray[np.float32]
    rounds: int
    least: float  # times faster than qonnx


def cases(quick: bool) -> list[Case]:
    """Return what is measured."""
    found = []
    for batch in (1, 100):
        x = np.random.default_rng(batch).normal(0, 1, (batch, MLP_WIDTHS[0])).astype(np.float32)
        models = perceptron("N"), perceptron(batch)
        found.append(Case("TFC-class MLP", batch, *models, x, 3 if quick else 25, MLP_RATIO if batch == 1 else 0))
    size = 64 if quick else 224
    for name, (build, least) in NETWORKS.items():
        for batch in (1, 2) if quick else BATCHES[name]:
            rounds = 1 if quick else 7 if batch == 1 else 2
            models = build("N", size), build(batch, size)
            found.append(Case(name, batch, *models, images(batch, size), rounds, least if batch == 1 else 0))
    return found


def measure(
    case: Case, reference: Reference, free: Reference, folder: Path
) -> tuple[list[tuple[str, ...]], list[Target]]:
    """Return the rows of a case, and its targets."""
    file = folder / f"{case.name}_{case.batch}.onnx"
    qonnx_core.save(case.fixed, file)
    feeds: dict[str, Any] = {"global_in": case.x}
    cleaned = qonnx_core.cleanup_model(case.any_batch)
    exact, fast = qonnx_core.compile_model(cleaned), qonnx_core.compile_model(cleaned, mode="fast")
    content = lowered_by_hand(case.any_batch).SerializeToString()
    same, default = (by_hand(content, SessionSettings(mode=mode)) for mode in ("exact", "fast"))
    runs = {
        OURS: lambda: exact.run(feeds)["global_out"],
        FAST: lambda: fast.run(feeds)["global_out"],
        SAME: lambda: same.run(["global_out"], feeds)[0],
        DEFAULT: lambda: default.run(["global_out"], feeds)[0],
    }
    measured = {name: local(run) for name, run in runs.items()} | {QONNX: reference.execution(file, feeds)}
    if case.batch == 1:
        measured[QONNX_FREE] = free.execution(file, feeds)
    times = interleaved(measured, rounds=case.rounds, title=f"{case.name}, batch {case.batch}")
    expected = exact.run(feeds)["global_out"]
    rows = []
    for name in measured:
        output = runs[name]() if name in runs else reference.outputs(file, feeds)["global_out"]
        differ = (output != expected).reshape(case.batch, -1).any(1).sum()
        rows.append((
            f"{case.name}: {name}", str(case.batch), text_of_time(times[name]), f"{times[name] / times[OURS]:.2f}",
            "yes" if differ == 0 else f"{differ} differ",
        ))  # fmt: skip
    where = f"{case.name}, batch {case.batch}"
    beyond = max(times[OURS] - OVERHEAD_SECONDS, 0) / times[SAME]
    targets = [Target(f"{where}: one call beyond 10 µs against plain onnxruntime", beyond, 1.1)]
    if case.least:
        targets.append(
            Target(
                f"{where}: one call against qonnx on all cores",
                times[QONNX_FREE] / times[OURS],
                case.least,
                at_least=True,
            )
        )
    return rows, targets


def by_hand(content: bytes, settings: SessionSettings) -> onnxruntime.InferenceSession:
    """Return a session with these settings on a model of plain ONNX."""
    return onnxruntime.InferenceSession(
        content,
        settings.options(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=left_out(settings.mode, Obstacles()),
    )


def main() -> None:
    """Measure every model and batch size and print the table."""
    options = arguments("CPU time of one call")
    pin()
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        reference = stack.enter_context(Reference(options.reference))
        with unpinned():
            free = stack.enter_context(Reference(options.reference))
        versions = reference.versions()
        for case in cases(options.quick):
            progress(f"{case.name}, batch {case.batch}")
            more, met = measure(case, reference, free, Path(folder))
            rows += more
            targets += met
    columns = ("executor", "batch", "one call", "ratio to ours", "samples with our bits")
    note = (
        "CPU time, median of interleaved rounds. Everything is kept on one core, but the qonnx package at batch 1 also "
        "runs as its users run it: its onnxruntime takes a thread for each core, and the CPU time of all of them "
        "counts, also where they wait in a loop for each other; the targets against qonnx are judged on that. "
        "Images are 224 x 224, weights have 4 bits per channel. "
        "ResNet50-class runs at batch 10 instead of 100, because qonnx keeps every tensor of a run in memory."
    )
    distributions = ("qonnx-core", "onnxruntime", "onnx-ir", *versions, "numpy")
    Result("execution", "One call", columns, list(rows), distributions, note, targets).show(options)


if __name__ == "__main__":
    main()

"""CPU time of the clean-up against the qonnx package.

    nox -s benchmarks
    python benchmarks/cleanup.py [--quick]

The chains are quantizers in a row. The qonnx package runs in a process of its own, once for each model.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import onnx_ir as ir
from measuring import Result, Target, arguments, pin, progress, text_of_time
from measuring.models import chain, mobilenet, resnet
from measuring.reference import Reference

import qonnx_core

LENGTHS = (250, 500, 1000, 2000, 4000, 8000)
LONGEST_FOR_QONNX = 1000  # twice the length takes it about four times as long: a minute becomes four


def seconds_of(model: ir.Model, repeat: int) -> float:
    """Return the median CPU time of the clean-up."""
    times = []
    for _ in range(repeat):
        started = time.process_time()
        qonnx_core.cleanup_model(model)
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    """Print the times of the clean-up."""
    options = arguments("CPU time of the clean-up")
    pin()
    size, lengths, longest = (64, (250, 500), 250) if options.quick else (224, LENGTHS, LONGEST_FOR_QONNX)
    models = {f"chain of {length} quantizers": (chain(length), length <= longest) for length in lengths}
    models |= {
        "MobileNetV1-class": (mobilenet(1, size), not options.quick),
        "ResNet50-class": (resnet(1, size), not options.quick),
    }
    rows = []
    ours: dict[str, float] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, Reference(options.reference) as reference:
        versions = reference.versions()
        qonnx_core.cleanup_model(chain(10))
        for name, (model, both) in models.items():
            file = Path(folder) / "model.onnx"
            qonnx_core.save(model, file)
            loaded = qonnx_core.load(file)
            progress(f"{name}: this clean-up")
            before = seconds_of(loaded, 3)
            theirs = None
            if both:
                progress(f"{name}: qonnx")
                theirs = reference.clean_seconds(file)
            ours[name] = statistics.median([before, seconds_of(loaded, 2), seconds_of(loaded, 2)])
            number = sum(1 for _ in loaded.graph)
            other, ratio = "not run", ""
            if theirs is not None:
                ratios[name] = theirs / ours[name]
                other, ratio = text_of_time(theirs), f"{ratios[name]:.0f}"
            each = f"{1e6 * ours[name] / number:.0f} µs"
            rows.append((name, str(number), text_of_time(ours[name]), each, other, ratio))
    targets = []
    long, half = (f"chain of {length} quantizers" for length in (8000, 4000))
    if long in ours:
        targets.append(Target("clean-up: 8000 quantizers against 4000", ours[long] / ours[half], 2.3))
    for name, least in (("chain of 1000 quantizers", 100), ("ResNet50-class", 15)):
        if name in ratios:
            targets.append(Target(f"clean-up of {name} against qonnx", ratios[name], least, at_least=True))
    columns = ("model", "nodes", "this clean-up", "each node", "qonnx", "ratio")
    distributions = ("qonnx-core", "onnx-ir", *versions)
    Result("cleanup", "Clean-up", columns, rows, distributions, "", targets).show(options)


if __name__ == "__main__":
    main()

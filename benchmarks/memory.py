"""Memory of running a model from its file: this executor, and onnxruntime on the model lowered by hand.

    nox -s benchmarks
    python benchmarks/memory.py [--quick]

Each is a process of its own that loads a file, makes a session, lets go of everything else and runs it three times.
Two peaks of the resident set: until the session is ready, and from then on.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Result, Target, arguments, pin, progress
from measuring.models import lowered_by_hand, resnet

import qonnx_core

START = """
import sys

def peak():
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("VmHWM"))
"""
READY = """
loading = peak()
try:
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts again at what is resident now
except OSError:
    pass
"""
REPORT = """
print(loading, peak())
"""
RUN = """
import gc
import numpy
batch, size = int(sys.argv[2]), int(sys.argv[3])
x = numpy.random.default_rng(0).normal(0, 1, (batch, 3, size, size)).astype("float32")
{setup}
gc.collect()
{ready}
for _ in range(3):
    {run}
"""
PLAIN = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.disable_prepacking", "1")
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
disabled = sys.argv[4].split(",")
session = onnxruntime.InferenceSession(
    sys.argv[1], options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
)
"""
OURS = """
import qonnx_core
compiled = qonnx_core.compile_model(qonnx_core.load(sys.argv[1]))  # the model is let go of
"""
CODES = {
    "this executor": RUN.format(setup=OURS, ready=READY, run='compiled.run({"global_in": x})'),
    "onnxruntime, by hand, same settings": RUN.format(
        setup=PLAIN, ready=READY, run='session.run(None, {"global_in": x})'
    ),
    "this executor, imports only": "import qonnx_core.execute.compiled, qonnx_core.formats.reader" + READY,
    "onnxruntime, imports only": "import numpy, onnxruntime" + READY,
}


def main() -> None:
    """Measure in turns and print the table."""
    from qonnx_core.execute.optimizers import Obstacles, left_out

    options = arguments("Memory of running a model")
    pin()
    size, rounds = (64, 1) if options.quick else (224, 3)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    batches = (1,) if options.quick else (1, 10)
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = Path(folder) / "ours.onnx", Path(folder) / "plain.onnx"
        model = resnet("N", size)
        qonnx_core.save(model, ours)
        plain.write_bytes(lowered_by_hand(model).SerializeToString())
        disabled = ",".join(left_out("exact", Obstacles()))
        for number in range(rounds):
            progress(f"memory: round {number + 1} of {rounds}")
            for name, code in CODES.items():
                for batch in batches[:1] if "imports" in name else batches:
                    file = ours if name.startswith("this") else plain
                    command = [sys.executable, "-c", START + code + REPORT, str(file), str(batch), str(size), disabled]
                    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    peak, end = (int(word) / 1024 for word in output.split())
                    found.setdefault((name, batch), []).append((peak, end))
    middle = {
        key: tuple(statistics.median(column) for column in zip(*values, strict=True)) for key, values in found.items()
    }
    rows = [
        (name, "" if "imports" in name else str(batch), f"{peak:.0f} MiB", f"{end:.0f} MiB")
        for (name, batch), (peak, end) in middle.items()
    ]
    targets = []
    for batch in batches:
        mine, other = middle["this executor", batch], middle["onnxruntime, by hand, same settings", batch]
        what = f"memory of running ResNet50-class, batch {batch}, against plain onnxruntime"
        targets.append(Target(what, mine[1] / other[1], 1.2))
    columns = ("ResNet50-class", "batch", "peak until ready", "peak of running")
    distributions = ("qonnx-core", "onnxruntime", "onnx-ir", "numpy")
    Result("memory", "Memory of a process", columns, rows, distributions, "", targets).show(options)


if __name__ == "__main__":
    main()

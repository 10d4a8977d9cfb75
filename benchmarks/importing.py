"""CPU time of importing, each in fresh processes, in turns.

Every time is the median of several processes, less that of an interpreter that imports nothing::

    nox -s benchmarks
    python benchmarks/importing.py [--quick]
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from measuring import Result, Target, arguments, pin, progress, text_of_time
from measuring.reference import Reference

CODES = {
    "nothing": "pass",
    "import qonnx_core": "import qonnx_core",
    "import qonnx_core, and its functions": "from qonnx_core import load, save, cleanup_model, compile_model",
    "import onnx_ir": "import onnx_ir",
    "import onnx": "import onnx",
}
QONNX = "from qonnx.core.modelwrapper import ModelWrapper; from qonnx.util.cleanup import cleanup_model"


def child_seconds(python: str, code: str) -> float:
    """Return the CPU time of a process that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure in turns and print the table."""
    options = arguments("CPU time of importing")
    pin()
    rounds = 2 if options.quick else 11
    with Reference(options.reference) as reference:
        versions = reference.versions()
    codes = [(name, sys.executable, code) for name, code in CODES.items()]
    codes += [
        ("nothing, other Python", options.reference, "pass"),
        ("qonnx: ModelWrapper and cleanup_model", options.reference, QONNX),
    ]
    times: dict[str, list[float]] = {name: [] for name, _, _ in codes}
    for number in range(rounds + 1):
        progress(f"importing: round {number} of {rounds}")
        for name, python, code in codes:
            taken = child_seconds(python, code)
            if number:  # the first round fills the caches of the file system
                times[name].append(taken)
    found = {name: statistics.median(taken) for name, taken in times.items()}
    base, other_base = found.pop("nothing"), found.pop("nothing, other Python")
    net = {name: seconds - (other_base if name.startswith("qonnx:") else base) for name, seconds in found.items()}
    unit = net["import onnx_ir"]
    rows = [(name, text_of_time(max(seconds, 0)), f"{seconds / unit:.2f}") for name, seconds in net.items()]
    columns = ("import", "beyond starting Python", "ratio to onnx_ir")
    distributions = ("qonnx-core", "onnx-ir", "onnx", "onnxruntime", *versions)
    note = f"Starting Python takes {text_of_time(base)}. CPU time, median of {rounds} processes each, in turns."
    targets = [
        Target(f"{name} against onnx_ir", net[name] / unit, 1.3)
        for name in ("import qonnx_core", "import qonnx_core, and its functions")
    ]
    Result("importing", "Importing", columns, rows, distributions, note, targets).show(options)


if __name__ == "__main__":
    main()

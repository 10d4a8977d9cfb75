"""Time of importing, each in fresh processes, in turns.

Every time is the median of several processes, less that of an interpreter that imports nothing::

    nox -s benchmarks
    python benchmarks/importing.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from measuring import Result, seconds_of, text_of_time

ROUNDS = 11
CODES = {
    "nothing": "pass",
    "import qonnx_core": "import qonnx_core",
    "import qonnx_core, and its functions": "from qonnx_core import load, save, cleanup_model, compile_model",
    "import onnx_ir": "import onnx_ir",
    "import onnx": "import onnx",
    "qonnx: ModelWrapper and cleanup_model": (
        "from qonnx.core.modelwrapper import ModelWrapper; from qonnx.util.cleanup import cleanup_model"
    ),
}


def main() -> None:
    """Measure in turns and print the table."""
    times: dict[str, list[float]] = {name: [] for name in CODES}
    for number in range(ROUNDS + 1):
        for name, code in CODES.items():
            taken = seconds_of(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True))
            if number:  # the first round fills the caches of the file system
                times[name].append(taken)
    base = statistics.median(times["nothing"])
    net = {name: statistics.median(found) - base for name, found in times.items() if name != "nothing"}
    other = net["import onnx_ir"]
    rows = [(name, text_of_time(seconds), f"{seconds / other:.2f}") for name, seconds in net.items()]
    columns = ("import", "beyond starting Python", "ratio to onnx_ir")
    distributions = ("qonnx-core", "onnx-ir", "onnx", "onnxruntime", "qonnx")
    note = f"Starting Python takes {text_of_time(base)}. Median of {ROUNDS} processes each, in turns."
    Result("importing", "Importing", columns, rows, distributions, note).show()


if __name__ == "__main__":
    main()

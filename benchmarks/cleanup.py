"""Time of the clean-up against the qonnx package, and of compiling against a session on a hand-lowered model.

    nox -s benchmarks
    python benchmarks/cleanup.py

The models are chains of quantizers. The qonnx package is run in a process of its own and given up after a minute.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from execution import lowered_by_hand, perceptron
from measuring import Result, interleaved, seconds_of, text_of_time

import qonnx_core
from qonnx_core.execute.session import open_session
from qonnx_core.ops import Quant

LENGTHS = (250, 500, 1000, 2000, 4000)
LIMIT_SECONDS = 60.0
REPEAT_BELOW_SECONDS = 5.0


def chain(length: int) -> ir.Model:
    """Return a model of ``length`` quantizers in a row, each with constants of its own."""
    source = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([1, 16]))
    value, nodes, constants = source, [], []
    for number in range(length):
        parameters = [
            ir.val(f"{name}_{number}", const_value=ir.tensor(np.asarray(content, np.float32), name=f"{name}_{number}"))
            for name, content in (("scale", 0.25), ("zeropt", 0), ("bitwidth", 8))
        ]
        constants += parameters
        nodes.append(Quant().node(value, *parameters, name=f"q{number}", output=f"y{number}"))
        value = nodes[-1].outputs[0]
        value.shape = source.shape
    graph = ir.Graph(
        [source],
        [value],
        nodes=nodes,
        initializers=constants,
        name="chain",
        opset_imports={"": 18, Quant.domain: 1},
    )
    return ir.Model(graph, ir_version=8)


def clean_by_qonnx(file: str, results: multiprocessing.Queue[float]) -> None:
    """Put the seconds of one clean-up by the qonnx package into the queue."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    wrapper = ModelWrapper(file)
    results.put(seconds_of(lambda: cleanup_model(wrapper)))


def qonnx_seconds(file: Path) -> float | None:
    """Return the seconds of the qonnx package, the median of three if it is quick, None past the limit."""
    context = multiprocessing.get_context("spawn")
    times: list[float] = []
    while len(times) < 3 and (not times or times[0] < REPEAT_BELOW_SECONDS):
        results: multiprocessing.Queue[float] = context.Queue()
        worker = context.Process(target=clean_by_qonnx, args=(str(file), results))
        worker.start()
        worker.join(LIMIT_SECONDS)
        if worker.is_alive():
            worker.terminate()
            worker.join()
            return None
        if worker.exitcode != 0:
            raise SystemExit(f"the qonnx package failed on {file}")
        times.append(results.get())
    return statistics.median(times)


def clean_up() -> None:
    """Print the times of the clean-up."""
    rows = []
    gave_up = False
    with tempfile.TemporaryDirectory() as folder:
        for length in LENGTHS:
            file = Path(folder) / f"chain_{length}.onnx"
            qonnx_core.save(chain(length), file)
            model = qonnx_core.load(file)
            ours = statistics.median(seconds_of(lambda model=model: qonnx_core.cleanup_model(model)) for _ in range(5))
            theirs = None if gave_up else qonnx_seconds(file)
            gave_up = theirs is None
            other = f"over {LIMIT_SECONDS:.0f} s" if length <= 1000 else "not run"
            rows.append(
                (
                    str(length),
                    text_of_time(ours),
                    f"{1e6 * ours / length:.0f} µs",
                    other if theirs is None else text_of_time(theirs),
                    "" if theirs is None else f"{theirs / ours:.0f}",
                )
            )
    columns = ("quantizers in a chain", "this clean-up", "each quantizer", "qonnx", "ratio")
    Result("cleanup", "Clean-up of a chain of quantizers", columns, rows, ("qonnx-core", "onnx-ir", "qonnx")).show()


def compiling() -> None:
    """Print the times from a model in memory to a session that is ready to run."""
    rows = []
    for name, model in (
        ("perceptron 784-64-64-64-10", perceptron("N")),
        ("chain of 250 quantizers", chain(250)),
        ("chain of 1000 quantizers", chain(1000)),
    ):
        by_hand = ir.from_proto(lowered_by_hand(model))
        times = interleaved(
            {
                "ours": lambda model=model: qonnx_core.compile_model(model),
                "by hand": lambda by_hand=by_hand: open_session(by_hand),
            },
            rounds=5,
        )
        ratio = f"{times['ours'] / times['by hand']:.2f}"
        rows.append((name, text_of_time(times["ours"]), text_of_time(times["by hand"]), ratio))
    columns = ("model", "compile_model", "session on the hand-lowered model", "ratio")
    Result("compile", "Compiling a model", columns, rows, ("qonnx-core", "onnxruntime", "onnx-ir")).show()


def main() -> None:
    """Print both tables."""
    clean_up()
    compiling()


if __name__ == "__main__":
    main()

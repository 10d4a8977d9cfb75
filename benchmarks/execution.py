"""Time of one call: this executor, the qonnx package, and onnxruntime on a model lowered by hand.

    nox -s benchmarks
    python benchmarks/execution.py

The model is a perceptron 784-64-64-64-10 with 2-bit weights, batch norm and 2-bit activations (random weights). The
hand-lowered model holds the quantized weights as constants and four plain nodes for each quantizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from measuring import Result, interleaved, text_of_time
from onnx import helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

import qonnx_core
from qonnx_core.execute.session import open_session
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

WIDTHS = (784, 64, 64, 64, 10)


def perceptron(batch: int | str) -> ir.Model:
    """Return the model."""
    shape = MlpShape(WIDTHS, weight_bits=2, activation_bits=2, batch_norm=True, tail=False, batch=batch)
    return random_mlp(7, shape)


def lowered_by_hand(model: ir.Model) -> onnx.ModelProto:
    """Return the model in plain ONNX: weights quantized ahead, quantizers of activations as Div, Clip, Round, Mul."""
    proto = ir.to_proto(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.op_type != "Quant":
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        scale, bits = constants[node.input[1]], float(constants[node.input[3]])
        signed = bool(attributes["signed"])
        low = -(2 ** (bits - 1)) + attributes["narrow"] if signed else 0.0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - attributes["narrow"]
        if node.input[0] in constants:
            steps = np.rint(np.clip(constants[node.input[0]] / scale, np.float32(low), np.float32(high)))
            constants[node.output[0]] = (steps * scale).astype(np.float32)
            continue
        name = node.name
        constants |= {f"{name}_low": np.float32(low), f"{name}_high": np.float32(high)}
        nodes += [
            helper.make_node("Div", [node.input[0], node.input[1]], [f"{name}_a"]),
            helper.make_node("Clip", [f"{name}_a", f"{name}_low", f"{name}_high"], [f"{name}_b"]),
            helper.make_node("Round", [f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Mul", [f"{name}_c", node.input[1]], [node.output[0]]),
        ]
    read = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items() if name in read]
    graph = helper.make_graph(nodes, "lowered", proto.graph.input, proto.graph.output, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Measure both batch sizes and print the table."""
    compiled = qonnx_core.compile_model(qonnx_core.cleanup_model(perceptron("N")))
    by_hand = lowered_by_hand(perceptron("N"))
    exact = open_session(ir.from_proto(by_hand))
    default = onnxruntime.InferenceSession(by_hand.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = []
    for batch in (1, 100):
        wrapper = ModelWrapper(ir.to_proto(perceptron(batch)))  # qonnx wants fixed shapes
        x = np.random.default_rng(batch).normal(0, 1, (batch, WIDTHS[0])).astype(np.float32)
        feeds: dict[str, Any] = {"global_in": x}
        candidates: dict[str, Callable[[], Any]] = {
            "this executor": lambda feeds=feeds: compiled.run(feeds)["global_out"],
            "onnxruntime, by hand, same settings": lambda feeds=feeds: exact.run(["global_out"], feeds)[0],
            "onnxruntime, by hand, default settings": lambda feeds=feeds: default.run(["global_out"], feeds)[0],
            "qonnx": lambda feeds=feeds, wrapper=wrapper: execute_onnx(wrapper, feeds)["global_out"],
        }
        expected = candidates["this executor"]()
        times = interleaved(candidates)
        for name, run in candidates.items():
            found = run()
            same = "yes" if np.array_equal(found, expected) else f"{(found != expected).any(1).sum()} differ"
            rows.append(
                (name, str(batch), text_of_time(times[name]), f"{times[name] / times['this executor']:.2f}", same)
            )
    distributions = ("qonnx-core", "onnxruntime", "onnx-ir", "qonnx", "numpy")
    columns = ("executor", "batch", "one call", "ratio to ours", "samples with our bits")
    Result("execution", "One call of a perceptron 784-64-64-64-10", columns, rows, distributions).show()


if __name__ == "__main__":
    main()

"""What the range analysis does grows with the graph and its channels, and no faster."""

from __future__ import annotations

import sys

import numpy as np
import onnx_ir as ir

from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.ir.grid import Grid
from qonnx_core.ops import Quant


def chain(length: int, channels: int) -> ir.Model:
    """Return batch normalizations in a row, each with a quantizer behind it that has a scale for each channel."""
    generator = np.random.default_rng(0)
    value = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([1, channels, 2, 2]))
    inputs, nodes, constants = [value], [], []

    def constant(content: object) -> ir.Value:
        name = f"p{len(constants)}"
        constants.append(ir.val(name, const_value=ir.tensor(np.asarray(content, np.float32), name=name)))
        return constants[-1]

    for number in range(length):
        parts = [constant(generator.uniform(0.5, 1.5, channels)) for _ in range(4)]
        normal = ir.node("BatchNormalization", [value, *parts], name=f"n{number}")
        normal.outputs[0].name, normal.outputs[0].shape = f"z{number}", value.shape
        parameters = [constant(generator.uniform(0.2, 0.3, (1, channels, 1, 1))), constant(0), constant(8)]
        nodes += [normal, Quant().node(normal.outputs[0], *parameters, name=f"q{number}", output=f"y{number}")]
        nodes[-1].outputs[0].shape = value.shape
        value = nodes[-1].outputs[0]
    opsets = {"": 21, Quant.domain: 1}
    graph = ir.Graph(inputs, [value], nodes=nodes, initializers=constants, name="chain", opset_imports=opsets)
    return ir.Model(graph, ir_version=10)


def num_calls(model: ir.Model) -> int:
    """Return how many functions the analysis calls."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(counted)
    try:
        tensor_ranges(model, {"x": Grid.parse("INT8")})
    finally:
        sys.setprofile(previous)
    return count


def test_twice_the_layers_take_twice_the_calls() -> None:
    tensor_ranges(chain(1, 2), {"x": Grid.parse("INT8")})  # imports
    assert num_calls(chain(40, 4)) < 2.05 * num_calls(chain(20, 4))


def test_a_channel_takes_few_calls_whatever_its_scale() -> None:
    few, many = num_calls(chain(1, 64)), num_calls(chain(1, 1064))
    assert (many - few) / 1000 < 400

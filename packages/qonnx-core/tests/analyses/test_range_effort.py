"""What the range analysis does grows with the graph and its channels, and no faster."""

from __future__ import annotations

import sys

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.formats.reader import from_proto
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


@pytest.mark.parametrize("op_type", ["Mul", "Square", "BatchNormalization"])
@pytest.mark.parametrize("grid", ["INT3", "BIPOLAR"])
def test_numbers_do_not_grow_without_end_where_there_is_no_quantizer(op_type: str, grid: str) -> None:
    """After 40 squares a scale has 10^12 digits; a root of its own in each of 300 layers makes one deep expression."""
    count = 300 if op_type == "BatchNormalization" else 40
    variances = ", ".join(f"float[2] v{n} = {{{n + 1}, {n + 2}}}" for n in range(count))
    layer = {
        "Mul": "Mul(m{0}, c)", "Square": "Mul(m{0}, m{0})",
        "BatchNormalization": "BatchNormalization(m{0}, g, b, b, v{0})",
    }[op_type]  # fmt: skip
    nodes = " ".join(f"m{n + 1} = {layer.format(n)}" for n in range(count))
    text = f"""<ir_version: 10, opset_import: ["": 21]> g (float[N, 2] x) => (float[N, 2] m{count})
        <float[2] c = {{1e38, -3e38}}, float[2] g = {{1, 2}}, float[2] b = {{0.3, 0.7}}, {variances}>
        {{ m0 = Mul(x, c) {nodes} }}"""
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))
    found = list(tensor_ranges(model, {"global_in": Grid.parse(grid)}).values())
    assert found[1].grid is not None
    assert any("too many digits" in row.reason for row in found)
    assert all(row.to_dict()["grid"] is None or len(row.to_dict()["grid"]) < 2000 for row in found)

"""The shape of a graph: chains, branches, joins, order, element types."""

from __future__ import annotations

import json

import onnx
import onnx.parser
import onnx_ir as ir
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.analyses.topology import tensor_fan_outs, topology
from qonnx_core.cli.app import app
from qonnx_core.testing import shared_file

HEAD = '<ir_version: 10, opset_import: ["": 21]>'


def build(body: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(HEAD + body))


def test_a_chain_is_linear_sorted_and_float32() -> None:
    found = topology(build("g (float[N, 4] x) => (float[N, 4] y) <float c = {2}> { a = Mul(x, c) y = Relu(a) }"))
    assert (found.is_linear, found.is_sorted, found.is_float32) == (True, True, True)
    assert found.constant_first == ()


def test_branches_and_joins_are_named() -> None:
    model = build("g (float[N, 4] x) => (float[N, 4] y, float[N, 4] a) { a = Relu(x) y = Add(a, x) }")
    found = topology(model)
    assert found.fan_outs == {"x": 2, "a": 2}
    assert found.joins == ("Add that makes y",)
    assert not found.is_linear
    assert tensor_fan_outs(model) == {"x": 2, "a": 2, "y": 1}


def test_a_square_reads_its_input_twice_without_joining_two_tensors() -> None:
    found = topology(build("g (float[N, 4] x) => (float[N, 4] y) { y = Mul(x, x) }"))
    assert (found.fan_outs, found.joins, found.is_linear) == ({"x": 2}, (), False)


def test_nodes_before_what_they_read_are_named() -> None:
    model = build("g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) y = Neg(a) }")
    nodes = list(model.graph)
    model.graph.remove(nodes[0])
    model.graph.append(nodes[0])
    found = topology(model)
    assert (found.is_sorted, found.unsorted) == (False, ("Neg that makes y",))


def test_other_element_types_are_named() -> None:
    found = topology(build("g (float[N, 4] x) => (int64[N] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }"))
    assert (found.is_float32, found.not_float32) == (False, ("y",))


def test_a_constant_in_the_place_of_the_data_is_named() -> None:
    body = """g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}>
      { v = Neg(w) a = MatMul(v, x) y = Mul(w, w) z = Mul(a, w) }"""
    assert topology(build(body)).constant_first == ("MatMul that makes a",)


def test_info_tells_the_topology() -> None:
    path = shared_file("models/nn2fpga/resnet8_a8w8b16.onnx")
    result = CliRunner().invoke(app, ["info", str(path), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)["topology"]
    assert (found["is_linear"], found["is_sorted"], found["is_float32"]) == (False, True, True)
    assert found["joins"] == ["Add_0", "Add_1", "Add_2"]
    model = qonnx_core.cleanup_model(qonnx_core.load(path))
    assert found == topology(model).to_dict()

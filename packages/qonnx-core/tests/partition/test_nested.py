"""Parts of a model become files behind GenericPartition nodes, and come back as they were."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize
from qonnx_core.partition.nested import extract_partitions, insert_partitions
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
TEXT = """g (float[N, 4] x) => (float[N, 4] y, float[N, 4] r)
<float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, 1, 1, 1, 1}, float s = {0.5}, float z = {0}, float b = {4}>
{ [quant] q = qonnx.custom_op.general.Quant(w, s, z, b) [first] m = MatMul(x, q) [relu] r = Relu(m) [neg] n = Neg(r)
  [second] y = Add(n, m) }"""
X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)


def model(text: str = TEXT) -> ir.Model:
    made = from_proto(onnx.parser.parse_model(HEAD + text))
    InferShapes().run(made)
    return made


def run(each: ir.Model) -> dict[str, np.ndarray[Any, Any]]:
    compiled = qonnx_core.compile_model(each)
    return compiled.run(dict.fromkeys(compiled.input_names, X))


def test_before_and_after(tmp_path: Path) -> None:
    parent = extract_partitions(model(), {"first": "front", "relu": "front", "neg": "back", "second": "back"}, tmp_path)
    assert [(node.op_type, node.name) for node in parent.graph] == [
        ("GenericPartition", "front"),
        ("GenericPartition", "back"),
    ]
    assert not parent.graph.initializers
    assert [value.name for value in parent.graph.outputs] == ["y", "r"]
    front = qonnx_core.load(tmp_path / "front.onnx")
    assert [node.op_type for node in front.graph] == ["Quant", "MatMul", "Relu"]
    assert [value.name for value in front.graph.outputs] == ["m", "r"]
    assert [value.name for value in qonnx_core.load(tmp_path / "back.onnx").graph.inputs] == ["r", "m"]
    wanted = run(model())
    for each in (parent, insert_partitions(parent)):
        for name, array in run(each).items():
            np.testing.assert_array_equal(array, wanted[name])
    qonnx_core.save(parent, tmp_path / "parent.onnx")
    again = qonnx_core.load(tmp_path / "parent.onnx")
    assert serialize(qonnx_core.cleanup_model(insert_partitions(again))) == serialize(qonnx_core.cleanup_model(model()))


def test_a_function_says_what_goes_where_and_what_it_leaves_out_stays(tmp_path: Path) -> None:
    parent = extract_partitions(model(), lambda node: "m" if node.op_type == "MatMul" else None, tmp_path)
    assert [node.op_type for node in parent.graph] == ["GenericPartition", "Relu", "Neg", "Add"]
    np.testing.assert_array_equal(run(parent)["y"], run(model())["y"])


def test_a_part_that_a_path_leaves_and_enters_is_refused_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"partition p: a path leaves it at first, goes through relu \(Relu\), neg "):
        extract_partitions(model(), {"first": "p", "second": "p"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_need_each_other_are_refused(tmp_path: Path) -> None:
    text = """g (float[N, 4] x) => (float[N, 4] c, float[N, 4] d)
      { [a] a = Neg(x) [b] b = Abs(x) [c] c = Relu(b) [d] d = Relu(a) }"""
    with pytest.raises(Unsupported, match="two parts need each other's results"):
        extract_partitions(model(text), {"a": "p", "c": "p", "b": "q", "d": "q"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("assign", "message"),
    [
        ({"nobody": "p"}, "'nobody' is no node of the model"),
        ({"relu": "../p"}, r"'\.\./p' is no label"),
        ({"relu": ""}, "'' is no label"),
    ],
)
def test_wrong_assignments_are_refused(assign: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        extract_partitions(model(), assign, tmp_path)


def test_what_inner_graphs_read_crosses_the_border(tmp_path: Path) -> None:
    text = """g (float[N, 4] x, bool c) => (float[N, 4] y) <float k = {3}> { [n] n = Neg(x) [a] a = Abs(n)
      [i] u = If(c) <then_branch = t () => (float[N, 4] v) { v = Mul(a, k) }, else_branch = e () => (float[N, 4] o)
      { o = Add(n, k) }> [r] y = Relu(u) }"""
    wanted = {}
    for flag in (True, False):
        compiled = qonnx_core.compile_model(model(text))
        wanted[flag] = compiled.run({"x": X, "c": np.asarray(flag)})["y"]
    for assign in ({"i": "p"}, {"n": "p", "a": "p"}, {"n": "p", "a": "q", "i": "q"}):
        parent = extract_partitions(model(text), assign, tmp_path)
        for each in (parent, insert_partitions(parent)):
            for flag, array in wanted.items():
                found = qonnx_core.compile_model(each).run({"x": X, "c": np.asarray(flag)})["y"]
                np.testing.assert_array_equal(found, array)


SHARED = """g (float[N, 4] x) => (float[N, 4] y) <float[4] k = {1, 2, 3, 4}, float z = {0}>
  { [w] w = Add(k, z) [a] a = Mul(x, w) [b] b = Add(a, k) [c] y = Sub(b, k) }"""


@pytest.mark.parametrize(
    "assign", [{"a": "p"}, {"a": "p", "c": "q"}, {"b": "p", "c": "q"}, {"w": "p", "a": "p", "b": "q"}]
)
def test_parameters_that_parts_share_come_back_once(assign: dict[str, str], tmp_path: Path) -> None:
    parent = extract_partitions(model(SHARED), assign, tmp_path)
    back = insert_partitions(parent)
    assert list(back.graph.initializers) == list(model(SHARED).graph.initializers)
    np.testing.assert_array_equal(run(back)["y"], run(model(SHARED))["y"])
    assert serialize(qonnx_core.cleanup_model(back)) == serialize(qonnx_core.cleanup_model(model(SHARED)))


def test_a_parameter_that_a_part_changed_is_its_own(tmp_path: Path) -> None:
    parent = extract_partitions(model(SHARED), {"c": "q"}, tmp_path)
    part = qonnx_core.load(tmp_path / "q.onnx")
    part.graph.initializers["k"].const_value = ir.tensor(np.float32([9, 9, 9, 9]), name="k")
    qonnx_core.save(part, tmp_path / "q.onnx")
    back = insert_partitions(parent)
    assert "k_1" in back.graph.initializers
    np.testing.assert_array_equal(run(back)["y"], (X * np.float32([1, 2, 3, 4]) + np.float32([1, 2, 3, 4])) - 9)


def test_functions_come_back_with_the_same_bytes(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "local": 1]> g (float[N, 4] x) => (float[N, 4] y)
      { a = local.F(x) y = local.F(a) } <opset_import: ["": 21], domain: "local"> F (a) => (b) { b = Add(a, a) }"""
    whole = from_proto(onnx.parser.parse_model(text))
    back = insert_partitions(extract_partitions(whole, lambda node: "p", tmp_path))
    assert serialize(qonnx_core.cleanup_model(back)) == serialize(qonnx_core.cleanup_model(whole))


def test_a_note_of_the_order_that_is_damaged_is_refused(tmp_path: Path) -> None:
    parent = extract_partitions(model(), {"relu": "p"}, tmp_path)
    parent.graph.metadata_props["qonnx_core.order"] = "[1"
    with pytest.raises(InvalidModel, match=r"its metadata qonnx_core\.order is no list of names"):
        insert_partitions(parent)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5000), st.sampled_from(["mlp", "cnn", "mixed"]), st.data())
def test_a_random_graph_comes_back_with_the_same_bytes(tmp_path: Path, seed: int, kind: Any, data: Any) -> None:
    graph = random_graph(seed, kind)
    cleaned = qonnx_core.cleanup_model(graph.model)
    nodes = [node.name or "" for node in cleaned.graph]
    ends = sorted(data.draw(st.lists(st.integers(0, len(nodes)), min_size=2, max_size=4, unique=True)))
    assign = {
        name: f"part{number}"
        for number, (begin, end) in enumerate(itertools.pairwise(ends))
        for name in nodes[begin:end]
    }
    parent = extract_partitions(cleaned, assign, tmp_path)
    (before,) = cleaned.graph.inputs
    inputs = {before.name or "": next(iter(graph.inputs.values()))}
    wanted = qonnx_core.compile_model(cleaned).run(inputs)
    back = insert_partitions(parent)
    for each in (parent, back):
        for name, array in qonnx_core.compile_model(each).run(inputs).items():
            np.testing.assert_array_equal(array, wanted[name])
    assert serialize(qonnx_core.cleanup_model(back)) == serialize(qonnx_core.cleanup_model(cleaned))

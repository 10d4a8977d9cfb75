"""Functions take the places of their calls: the same values as in onnxruntime, in linear time, within bounds."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.formats.function_checks import check_functions
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.work import check_linear

HEAD = '<ir_version: 10, opset_import: ["": 21, "f": 1]>'
FUNCTION = '<domain: "f", opset_import: ["": 21, "f": 1]>'
CALLS = {
    "names that repeat": f"""{HEAD} g (float[4] x) => (float[4] y) {{ b = f.F(x) c = f.F(b) y = Add(c, b) }}
    {FUNCTION} F (x) => (y) {{ b = Neg(x) c = Mul(b, x) y = Add(c, b) }}""",
    "an attribute through two functions": f"""{HEAD} g (float[4] x) => (float[4] y) {{ y = f.F<slope = 0.25>(x) }}
    {FUNCTION} F <slope> (x) => (y) {{ y = f.G<alpha : float = @slope>(x) }}
    {FUNCTION} G <alpha> (x) => (y) {{ y = LeakyRelu<alpha : float = @alpha>(x) }}""",
    "an attribute that is left out": f"""{HEAD} g (float[4] x) => (float[4] y) {{ y = f.F(x) }}
    {FUNCTION} F <slope> (x) => (y) {{ y = LeakyRelu<alpha : float = @slope>(x) }}""",
    "the default of an attribute": f"""{HEAD} g (float[4] x) => (float[4] y) {{ y = f.F(x) }}
    {FUNCTION} F <slope : float = 0.5> (x) => (y) {{ y = LeakyRelu<alpha : float = @slope>(x) }}""",
    "an input that is left out": f"""{HEAD} g (float[4] x) => (float[4] y) <float m = {{0}}> {{ y = f.F(x, m) }}
    {FUNCTION} F (x, low, high) => (y) {{ y = Clip(x, low, high) }}""",
    "a graph that reads from around it": f"""{HEAD} g (float[4] x, bool k) => (float[4] y)
    {{ a = f.F(x, k) y = f.F(a, k) }}
    {FUNCTION} F (x, k) => (y) {{ b = Neg(x) y = If(k) <then_branch = t () => (p) {{ p = f.G(b, x) }},
    else_branch = e () => (q) {{ q = Mul(b, b) }}> }}
    {FUNCTION} G (a, b) => (c) {{ c = Sub(a, b) }}""",
    "a loop in a function": f"""{HEAD} g (float[4] x) => (float[4] y) {{ a = f.F(x) y = f.F(a) }}
    {FUNCTION} F (x) => (y) {{ n = Constant<value = int64 {{3}}>() t = Constant<value = bool {{1}}>()
    y = Loop(n, t, x) <body = l (int64 i, bool going, float[4] a) => (bool on, float[4] b)
    {{ on = Identity(going) b = Add(a, x) }}> }}""",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_give_what_onnxruntime_gives(name: str) -> None:
    proto = onnx.parser.parse_model(CALLS[name])
    feeds: dict[str, np.ndarray[Any, Any]] = {"x": np.array([-2, -0.5, 0, 3], np.float32)}
    options = [True, False] if len(proto.graph.input) > 1 else [None]
    for option in options:
        given = feeds if option is None else {**feeds, "k": np.array(option)}
        expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, given)
        compiled = qonnx_core.compile_model(normalized_copy(from_proto(proto)))
        found = list(compiled.run(given).values())
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_function_may_return_its_input() -> None:
    """Stock onnxruntime refuses such a function."""
    text = f"""{HEAD} g (float[4] x) => (float[4] y, float[4] z) {{ y, z = f.F(x) }}
    {FUNCTION} F (a) => (a, b) {{ b = Neg(a) }}"""
    x = np.array([-2, -0.5, 0, 3], np.float32)
    compiled = qonnx_core.compile_model(from_proto(onnx.parser.parse_model(text)))
    y, z = compiled.run({"x": x}).values()
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(z, -x)


def doubling(depth: int, last: str) -> onnx.ModelProto:
    bodies = [f"F{i} (a) => (c) {{ b = f.F{i + 1}(a) c = f.F{i + 1}(b) }}" for i in range(depth)]
    functions = " ".join(f"{FUNCTION} {text}" for text in (*bodies, f"F{depth} {last}"))
    return onnx.parser.parse_model(f"{HEAD} g (float[1] x) => (y) {{ y = f.F0(x) }} {functions}")


def test_what_a_branch_makes_is_not_known_behind_it() -> None:
    inner = "d = If (c) <then_branch = t () => (u) { u = Neg(a) }, else_branch = e () => (v) { v = Abs(a) }>"
    text = f"""{HEAD} g (float[4] x, bool c) => (float[4] y) {{ y = f.F(x, c) }}
    {FUNCTION} F (a, c) => (b) {{ {inner} b = Add(d, u) }}"""
    with pytest.raises(InvalidModel, match=r"function f::F: Add \(Add\) reads 'u', which no earlier node makes"):
        from_proto(onnx.parser.parse_model(text))


def test_thousands_of_branches_in_a_function_are_checked_in_linear_time() -> None:
    """What is known before a branch is not copied for it."""
    size = 4000
    known = [ir.Value(name=f"x{i}") for i in range(50_000)]
    values = [ir.Value(name=f"v{i}") for i in range(size + 1)]
    for place in range(size):
        inner = ir.node("Neg", [values[place]])
        graph = ir.Graph([], inner.outputs, nodes=[inner])
        attributes = {"then_branch": graph}
        ir.node("If", [values[0]], attributes=attributes, outputs=[values[place + 1]])
    nodes = [value.producer() for value in values[1:]]
    graph = ir.Graph([values[0], *known], values[-1:], nodes=[node for node in nodes if node is not None])
    function = ir.Function("f", "F", graph=graph, attributes=[])
    call = ir.Node("f", "F", [ir.Value(name="x")])
    model = ir.Model(ir.Graph(call.inputs, call.outputs, nodes=[call]), ir_version=10, functions=[function])
    start = time.process_time()
    check_functions(model)
    assert time.process_time() - start < 1


def test_thousands_of_copies_of_a_node_without_a_name_take_linear_work() -> None:
    def model(copies: int) -> ir.Model:
        return qonnx_core.cleanup_model(from_proto(doubling(copies.bit_length() - 1, "(a) => (c) { c = Neg(a) }")))

    assert len({node.name for node in model(4096).graph}) == 4096
    check_linear(lambda copies: partial(model, copies), 256)


def test_copies_of_a_long_name_keep_only_its_beginning() -> None:
    proto = doubling(6, "(a) => (c) { c = Neg(a) }")
    proto.functions[-1].node[0].name = "n" * 100_000
    model = qonnx_core.cleanup_model(from_proto(proto))
    assert sum(len(node.name or "") for node in model.graph) < 110_000


def test_empty_functions_that_double_again_and_again_are_refused() -> None:
    with pytest.raises(Unsupported, match="stand for 2147483647 nodes and calls; at most"):
        from_proto(doubling(30, "(a) => (a) { }"))


def test_functions_that_nest_graphs_too_deep_are_refused() -> None:
    bodies = [
        f"""F{i} (a, k) => (c) {{ c = If(k) <then_branch = t () => (p) {{ p = f.F{i + 1}(a, k) }},
        else_branch = e () => (q) {{ q = Neg(a) }}> }}"""
        for i in range(600)
    ]
    functions = " ".join(f"{FUNCTION} {text}" for text in (*bodies, "F600 (a, k) => (c) { c = Neg(a) }"))
    text = f"{HEAD} g (float[1] x, bool k) => (y) {{ y = f.F0(x, k) }} {functions}"
    with pytest.raises(Unsupported, match="lie in each other 600 deep; at most 28"):
        from_proto(onnx.parser.parse_model(text))


def test_a_function_that_returns_an_input_without_a_tensor_is_refused() -> None:
    text = f"""{HEAD} g (float[1] x) => (y, z) {{ [call] y, z = f.F(x) }}
    {FUNCTION} F (a, b) => (c, b) {{ c = Neg(a) }}"""
    with pytest.raises(InvalidModel, match=r"call \(F\): leaves out input 'b', which its function returns"):
        qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))


def test_a_call_that_gives_its_function_a_graph_is_refused() -> None:
    text = f"""{HEAD} g (float[1] x, bool k) => (y)
    {{ [call] y = f.F<body = t () => (p) {{ p = Neg(x) }}>(x, k) }}
    {FUNCTION} F <body> (x, k) => (y)
    {{ [branch] y = If<then_branch : graph = @body, else_branch : graph = @body>(k) }}"""
    with pytest.raises(Unsupported, match=r"branch \(If\): attribute \w+ stands for a graph that the call"):
        from_proto(onnx.parser.parse_model(text))

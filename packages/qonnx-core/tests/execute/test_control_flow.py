"""Branches, loops, scans and the functions of a file run, with our operators inside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 9, opset_import: ["": 18, "qonnx.custom_op.general": 1, "local": 1]>'
QUANT = "qonnx.custom_op.general.Quant<signed = 1, narrow = 0>"
PARAMETERS = "<float s = {0.5}, float z = {0}, float b = {3}, int64 n = {3}, bool t = {1}>"
BRANCH = f"""g (float[N, 2] x, bool c) => (float[N, 2] y) {PARAMETERS}
{{ y = If(c) <then_branch = yes () => (float[N, 2] a) {{ a = {QUANT}(x, s, z, b) }},
             else_branch = no () => (float[N, 2] d) {{ d = Neg(x) }}> }}"""
LOOP = f"""g (float[N, 2] x) => (float[N, 2] y) {PARAMETERS}
{{ y, h = Loop(n, t, x) <body = once (int64 i, bool k, float[N, 2] v) => (bool kk, float[N, 2] w, float[N, 2] q)
    {{ kk = Identity(k) q = {QUANT}(v, s, z, b) w = Add(q, s) }}> }}"""
NESTED = f"""g (float[N, 2] x, bool c) => (float[N, 2] y) {PARAMETERS}
{{ y = Loop(n, t, x) <body = once (int64 i, bool k, float[N, 2] v) => (bool kk, float[N, 2] w)
    {{ kk = Identity(k) w = If(c) <then_branch = yes () => (float[N, 2] p) {{ q = {QUANT}(v, s, z, b) p = Add(q, s) }},
                                   else_branch = no () => (float[N, 2] r) {{ r = Neg(v) }}> }}> }}"""
SCAN = f"""g (float[3, 2] x, float[2] first) => (float[2] y, float[3, 2] each) {PARAMETERS}
{{ y, each = Scan<num_scan_inputs = 1, body = once (float[2] old, float[2] v) => (float[2] new, float[2] q)
    {{ new = Add(old, v) q = {QUANT}(new, s, z, b) }}>(first, x) }}"""
FUNCTIONS = f"""g (float[1, 4] x) => (float[1, 4] y) <float s = {{0.5}}> {{ y = local.outer<wide = 2>(x, s) }}
<domain: "local", opset_import: ["": 18, "local": 1]> outer <wide> (a, s) => (r)
    {{ i = local.inner<bits: int = @wide>(a, s) r = Relu(i) }}
<domain: "local", opset_import: ["": OPSET, "qonnx.custom_op.general": 1]> inner <bits> (a, s) => (q)
    {{ z = Constant<value_float = 0.0>() k = Constant<value_int: int = @bits>() b = Cast<to = 1>(k)
       q = {QUANT}(a, s, z, b) }}"""
FUNCTION_IN_LOOP = f"""g (float[N, 2] x) => (float[N, 2] y) {PARAMETERS}
{{ y = Loop(n, t, x) <body = once (int64 i, bool k, float[N, 2] v) => (bool kk, float[N, 2] w)
    {{ kk = Identity(k) q = local.quantize(v, s) w = Add(q, s) }}> }}
<domain: "local", opset_import: ["": 18, "qonnx.custom_op.general": 1]> quantize (a, s) => (q)
    {{ z = Constant<value_float = 0.0>() b = Constant<value_float = 3.0>() q = {QUANT}(a, s, z, b) }}"""
BRANCH_IN_FUNCTION = f"""g (float[N, 2] x, bool c) => (float[N, 2] y) <float s = {{0.5}}>
{{ y = local.choose(x, s, c) }}
<domain: "local", opset_import: ["": 18, "qonnx.custom_op.general": 1]> choose (a, s, c) => (q)
    {{ z = Constant<value_float = 0.0>() b = Constant<value_float = 3.0>()
       q = If(c) <then_branch = yes () => (u) {{ u = {QUANT}(a, s, z, b) }},
                else_branch = no () => (d) {{ d = Neg(a) }}> }}"""
X = np.float32([[0.1, -0.3], [1, 9], [-7, 0.75]])
YES = np.asarray(True)


def build(body: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


def quantized(x: np.ndarray, bits: int = 3) -> np.ndarray:
    return np.clip(np.round(x / 0.5), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * np.float32(0.5)


def looped(x: np.ndarray) -> list[np.ndarray]:
    found = []
    for _ in range(3):
        found.append(quantized(x))
        x = found[-1] + np.float32(0.5)
    return found


@pytest.mark.parametrize("clean", [False, True], ids=["as_stored", "cleaned"])
@pytest.mark.parametrize("body", [BRANCH, BRANCH_IN_FUNCTION])
def test_both_branches_run(body: str, clean: bool) -> None:
    model = qonnx_core.cleanup_model(build(body)) if clean else build(body)
    compiled = qonnx_core.compile_model(model)
    (x, c), (y,) = compiled.input_names, compiled.output_names
    np.testing.assert_array_equal(compiled.run({x: X, c: YES})[y], quantized(X))
    np.testing.assert_array_equal(compiled.run({x: X, c: ~YES})[y], -X)


@pytest.mark.parametrize("clean", [False, True], ids=["as_stored", "cleaned"])
@pytest.mark.parametrize("body", [LOOP, FUNCTION_IN_LOOP])
def test_a_loop_runs_and_gives_what_it_collects(body: str, clean: bool) -> None:
    model = qonnx_core.cleanup_model(build(body)) if clean else build(body)
    compiled = qonnx_core.compile_model(model)
    found = list(compiled.run({compiled.input_names[0]: X}, "*").values())
    np.testing.assert_array_equal(found[0], looped(X)[-1] + np.float32(0.5))
    if body is LOOP and not clean:
        np.testing.assert_array_equal(compiled.run({"x": X}, ["h"])["h"], np.stack(looped(X)))


def test_a_branch_inside_a_loop_runs() -> None:
    compiled = qonnx_core.compile_model(build(NESTED))
    np.testing.assert_array_equal(compiled.run({"x": X, "c": YES})["y"], looped(X)[-1] + np.float32(0.5))
    np.testing.assert_array_equal(compiled.run({"x": X, "c": ~YES})["y"], -X)


def test_a_scan_runs() -> None:
    first = np.float32([0, 1])
    found = qonnx_core.compile_model(build(SCAN)).run({"x": X, "first": first})
    np.testing.assert_array_equal(found["each"], quantized(first + np.cumsum(X, axis=0, dtype=np.float32)))


@pytest.mark.parametrize("opset", ["18", "13"])
def test_functions_of_the_file_run_and_call_each_other(opset: str) -> None:
    compiled = qonnx_core.compile_model(build(FUNCTIONS.replace("OPSET", opset)))
    x = np.float32([[0.1, -0.3, 7, 1], [1, 2, 3, 4]])
    found = compiled.run({"x": x}, ["i"])
    np.testing.assert_array_equal(found["i"], quantized(x, 2))
    np.testing.assert_array_equal(found["y"], np.maximum(quantized(x, 2), 0))


@pytest.mark.parametrize(("call", "wanted"), [
    ("local.outer(x)", [2, -2]), ('local.outer<mode = "CEIL">(x)', [3, -1.5]),
    ('local.outer<mode = "CEIL", signed = 1>(x)', [3, -3]),
])  # fmt: skip
def test_attributes_of_functions_have_defaults_and_are_passed_on(call: str, wanted: list[float]) -> None:
    """Also a text: the rounding mode of a quantizer two functions further in."""
    imports = '["": 18, "qonnx.custom_op.general": 1, "local": 1]'
    body = f"""g (float[N, 2] x) => (float[N, 2] y) {{ y = {call} }}
    <domain: "local", opset_import: {imports}> inner <signed: int = 1, mode: string = "ROUND"> (x) => (y)
      {{ s = Constant<value = float {{0.5}}>() z = Constant<value = float {{0}}>() b = Constant<value = float {{4}}>()
         y = qonnx.custom_op.general.Quant<signed: int = @signed, rounding_mode: string = @mode>(x, s, z, b) }}
    <domain: "local", opset_import: {imports}> outer <mode: string = "FLOOR", signed: int = 0> (x) => (y)
      {{ a = local.inner<mode: string = @mode>(x) b = local.inner<mode: string = @mode, signed: int = @signed>(x)
         y = Add(a, b) }}"""
    (found,) = qonnx_core.compile_model(build(body)).run({"x": np.float32([[1.2, -1.6]])}).values()
    assert found.tolist() == [wanted]


def test_functions_of_one_name_are_told_apart_by_their_overload() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 18, "local": 1]>
      g (float[N, 2] x) => (float[N, 2] y) { a = local.f(x) y = local.f(a) }
      <domain: "local", opset_import: ["": 18]> f (x) => (y) { y = Relu(x) }
      <domain: "local", opset_import: ["": 18]> f (x) => (y) { y = Neg(x) }""")
    proto.functions[1].overload = proto.graph.node[1].overload = "negative"
    (found,) = qonnx_core.compile_model(from_proto(proto)).run({"x": np.float32([[3, -4]])}).values()
    assert found.tolist() == [[-3, 0]]


@pytest.mark.parametrize(("body", "wanted"), [
    ("g (float[N, 2] x) => (float[N, 2] x) { }", [[[3, -4]]]),
    ("g (float[N, 2] x) => (float[N, 2] x, float[N, 2] y) { y = Relu(x) }", [[[3, -4]], [[3, 0]]]),
    ("g (float[N, 2] x) => (float[N, 2] y) { y, m = Dropout(x) }", [[[3, -4]]]),
])  # fmt: skip
@pytest.mark.parametrize("clean", [False, True])
def test_a_graph_input_can_be_an_output(body: str, wanted: list[Any], clean: bool) -> None:
    proto = onnx.parser.parse_model(HEAD + body)
    for node in proto.graph.node:
        node.output[:] = ["" if name == "m" else name for name in node.output]  # an optional output without a name
    model = from_proto(proto)
    model = qonnx_core.cleanup_model(model) if clean else model
    found = qonnx_core.compile_model(model).run({model.graph.inputs[0].name: np.float32([[3, -4]])})
    assert [array.tolist() for array in found.values()] == wanted


@pytest.mark.parametrize(("body", "name", "node"), [(LOOP, "q", "Loop"), (LOOP, "q*", "Loop"), (NESTED, "p", "Loop"),
                                                    (BRANCH, "a", "If")])  # fmt: skip
def test_a_tensor_inside_is_refused_as_what_it_is(body: str, name: str, node: str) -> None:
    compiled = qonnx_core.compile_model(build(body))
    inputs = {"x": X, "c": YES} if "bool c" in body else {"x": X}
    with pytest.raises(InvalidInput, match=rf"is inside \S+ \({node}\), .*; expected a tensor of the main graph"):
        compiled.run(inputs, [name])


def test_a_large_parameter_that_nobody_reads_does_not_matter_beside_a_branch() -> None:
    model = build(BRANCH)
    model.graph.register_initializer(ir.val("unread", const_value=ir.tensor(np.zeros(5000, np.float32))))
    compiled = qonnx_core.compile_model(model)
    np.testing.assert_array_equal(compiled.run({"x": X, "c": YES})["y"], quantized(X))
    assert compiled.run({"x": X, "c": YES}, ["unread"])["unread"].shape == (5000,)

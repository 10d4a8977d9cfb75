"""The plain graph that is run: written in one sweep, weights quantized ahead with onnxruntime's bits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.execute.plain_graph import NotReady, PlainGraph
from qonnx_core.execute.prepare import prepare
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import BipolarQuant, Quant
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.rounding import Rounding
from qonnx_core.passes.infer_shapes import InferShapes

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
NET = """g (float[N, 4] x) => (float[N, 2] y) <float s = {0.5}, float z = {0}, float b = {4}, float t = {0.3},
    float[4,2] w = {1,2,3,4,5,6,7,8}>
{ a = qonnx.custom_op.general.Quant(x, s, z, b) q = qonnx.custom_op.general.Quant(w, t, z, b) m = MatMul(a, q)
  y = qonnx.custom_op.general.Quant(m, t, z, b) }"""
X = np.linspace(-6, 6, 20, dtype=np.float32).reshape(5, 4)


def build(body: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


def difficult(seed: int) -> np.ndarray:
    """Return numbers with ties, neighbours of ties, both zeros, tiny and huge ones, and infinities."""
    rng = np.random.default_rng(seed)
    halves = np.arange(-40, 41, dtype=np.float32) / 2
    around = np.concatenate([halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, -np.float32(9e9))])
    special = np.asarray([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)
    return np.concatenate([around, special, rng.normal(0, 8, 301).astype(np.float32)])


def quantized(op: QonnxOp, x: np.ndarray, parameters: list[np.ndarray], constant: bool) -> np.ndarray:
    """Return what the operator gives in a session, for a parameter of the model or for an input of it."""
    dtype = ir.DataType.from_numpy(x.dtype)
    names = ["x", "a", "b", "c"][: 1 + len(parameters)]
    values = [ir.val(name, dtype=dtype) for name in names]
    for value, array in zip(values, [x, *parameters], strict=True):
        value.shape = ir.Shape(array.shape)
        if constant or value is not values[0]:
            value.const_value = ir.tensor(array, name=value.name)
    node = op.node(*values, name="n", output="y")
    inputs = [] if constant else values[:1]
    graph = ir.Graph(inputs, node.outputs, nodes=[node], initializers=values[len(inputs) :], name="g",
                     opset_imports={"": 21, op.domain: 1})  # fmt: skip
    compiled = qonnx_core.compile_model(ir.Model(graph, ir_version=10))
    found: np.ndarray = compiled.run({} if constant else {"x": x})["y"]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("mode", list(Rounding))
def test_a_constant_gets_the_same_bits_as_an_input(mode: Rounding, dtype: Any) -> None:
    with np.errstate(over="ignore"):
        x = np.stack([difficult(1), difficult(2)]).astype(dtype)
    settings = itertools.product((False, True), (False, True), (1, 2.5, 4, 8), (0, 1.5), (0.3, 0.25, 1))
    for number, (signed, narrow, bits, zero, scale) in enumerate(settings):
        shape = ((), (1, 1), (2, 1))[number % 3]
        parameters = [np.full(shape, scale, dtype), np.full((), zero, dtype), np.full((), bits, dtype)]
        op = Quant(signed=signed, narrow=narrow, rounding_mode=mode)
        ahead, in_session = (quantized(op, x, parameters, constant) for constant in (True, False))
        assert ahead.dtype == in_session.dtype
        np.testing.assert_array_equal(ahead.view(f"u{ahead.itemsize}"), in_session.view(f"u{ahead.itemsize}"))


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_nan_and_infinity_get_the_same_bits_too(special: float) -> None:
    x = np.asarray([[special, 1.0, -special, -0.0]], np.float32)
    parameters = [np.float32(0.3).reshape(()), np.float32(0).reshape(()), np.float32(4).reshape(())]
    for op, given in ((Quant(), parameters), (BipolarQuant(), parameters[:1])):
        ahead, in_session = (quantized(op, x, given, constant) for constant in (True, False))
        np.testing.assert_array_equal(ahead, in_session)


def test_weights_are_quantized_ahead_and_the_stored_ones_are_left_out() -> None:
    plain = prepare(build(NET)).plain
    assert [node.op_type for node in plain.proto.graph.node] == [
        *("Div", "Clip", "Round", "Mul"), "MatMul", *("Div", "Clip", "Round", "Mul")
    ]  # fmt: skip
    names = [tensor.name for tensor in plain.proto.graph.initializer]
    assert "q" in names
    assert "w" not in names


def test_equal_bounds_are_one_constant() -> None:
    plain = prepare(build(NET)).plain
    sizes = [len(tensor.raw_data) for tensor in plain.proto.graph.initializer]
    assert sorted(sizes) == [4, 4, 4, 4, 32]  # two scales, two bounds, the weights


def test_what_a_session_does_not_need_can_be_asked_for() -> None:
    model = build(NET)
    found = qonnx_core.compile_model(model).run({"x": X}, intermediates=["w", "q", "a", "s", "x"])
    assert list(found) == ["y", "w", "q", "a", "s", "x"]
    np.testing.assert_array_equal(found["w"].ravel(), np.arange(1, 9, dtype=np.float32))
    np.testing.assert_array_equal(found["q"], np.clip(np.round(found["w"] / np.float32(0.3)), -8, 7) * np.float32(0.3))


def test_both_ways_give_the_same_bits() -> None:
    short = qonnx_core.compile_model(build(NET)).run({"x": X}, intermediates=["a", "q", "m"])
    long = qonnx_core.compile_model(build(NET.replace("N", "1"))).run({"x": X}, intermediates=["a", "q", "m"])
    for name, array in short.items():
        np.testing.assert_array_equal(array, long[name])


def test_a_normalised_model_needs_no_shape_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(InferShapes, "run", lambda self, model: calls.append(1) or 0)
    qonnx_core.compile_model(build(NET)).run({"x": X})
    assert calls == []


def test_what_a_file_says_about_inner_types_is_not_believed() -> None:
    model = build(NET)
    expected = qonnx_core.compile_model(model).run({"x": X})["y"]
    for node in model.graph:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
        node.outputs[0].shape = ir.Shape([7])
    np.testing.assert_array_equal(qonnx_core.compile_model(model).run({"x": X})["y"], expected)


@pytest.mark.parametrize(
    "body",
    [
        "g (float[2] x, float[2] p) => (float[2] y) <float[2] p = {1, 2}> { y = Add(x, p) }",
        "g (float[N] x) => (float[N] y) { y = qonnx.custom_op.general.DebugMarker<export_debug_name = \"d\">(x) }",
        "g (float[N, 2] x) => (float[N, 2] y) <float[1] s = {1}, float z = {0}, float b = {4}> "
        "{ a = Neg(x) y = qonnx.custom_op.general.Quant(a, s, z, b) }",
    ],
    ids=["a parameter among the inputs", "a debug name", "a scale that may widen the data"],
)  # fmt: skip
def test_other_models_are_copied_and_prepared(body: str) -> None:
    model = ir.from_proto(onnx.parser.parse_model(HEAD + body))
    for node in model.graph:
        if node.op_type == "Quant":
            node.attributes.update(Quant().node(*node.inputs).attributes)
    with pytest.raises(NotReady):
        PlainGraph(model, prepared=False)
    qonnx_core.compile_model(model)


def test_names_that_look_like_ours_do_no_harm() -> None:
    body = NET.replace(" m =", " m~0 =").replace("(m,", "(m~0,")
    model = build(NET)
    node = model.graph[2]
    node.outputs[0].name = "y~0"
    found = qonnx_core.compile_model(model).run({"x": X}, intermediates=["y~0"])
    expected = qonnx_core.compile_model(build(NET)).run({"x": X}, intermediates=["m"])
    assert body != NET
    np.testing.assert_array_equal(found["y~0"], expected["m"])


def test_large_weights_stay_where_they_are() -> None:
    rng = np.random.default_rng(0)
    w = ir.val("w", const_value=ir.tensor(rng.normal(0, 1, (64, 64)).astype(np.float32), name="w"))
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", 64]))
    product = ir.node("MatMul", [x, w])
    product.outputs[0].name = "y"
    graph = ir.Graph([x], product.outputs, nodes=[product], initializers=[w], name="g", opset_imports={"": 21})
    model = ir.Model(graph, ir_version=10)
    plain = prepare(model).plain
    assert list(plain.large) == ["w"]
    assert w.const_value is not None
    stored = np.asarray(w.const_value.numpy())
    assert plain.large["w"].data_ptr() == stored.__array_interface__["data"][0]
    data = rng.normal(0, 1, (3, 64)).astype(np.float32)
    compiled = qonnx_core.compile_model(model)
    del model, graph, product, w, plain, stored
    np.testing.assert_array_equal(compiled.run({"x": data})["y"], compiled.run({"x": data}, intermediates="w")["y"])

"""Data types follow from each other: what each operator gives, and that no executed value is outside of its type."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.passes.datatypes.facts import Numbers
from qonnx_core.passes.datatypes.inference import infer
from qonnx_core.passes.infer_datatypes import InferDataTypes, infer_datatypes_report
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import RandomGraph, random_graphs

HEAD = (
    '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": VERSION, "qonnx.custom_op.channels_last": 1]>'
)
Q = "qonnx.custom_op.general"


def build(body: str, types: dict[str, str] | None = None, version: int = 1) -> ir.Model:
    model = from_proto(onnx.parser.parse_model(HEAD.replace("VERSION", str(version)) + body))
    InferShapes().run(model)
    values = {value.name: value for value in model.graph.inputs} | dict(model.graph.initializers)
    for name, text in (types or {}).items():
        set_datatype(values[name], DataType.parse(text))
    return model


def inferred(model: ir.Model, **options: bool) -> dict[str, str]:
    InferDataTypes(**options).run(model)
    return {value.name or "": str(get_datatype(value)) for node in model.graph for value in node.outputs}


def samples(datatype: DataType, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return values of a type, its ends among them."""
    rng = np.random.default_rng(seed)
    if datatype.kind is Kind.BIPOLAR:
        return rng.choice([-1.0, 1.0], shape).astype(np.float32)
    step = 2.0**-datatype.fraction_bits
    low, high = round(float(datatype.min) / step), round(float(datatype.max) / step)
    k = rng.integers(low, high + 1, shape)
    k[0] = low
    k[1] = high
    return (k * step).astype(np.float32)


def assert_allowed(value: np.ndarray, datatype: DataType, fact: object, name: str) -> None:
    if datatype.kind is Kind.SCALEDINT:
        assert isinstance(fact, Numbers)
        if fact.scale is None:
            return
        k = value.astype(np.float64) / fact.scale
        near = np.round(k)
        assert np.all(np.abs(k - near) <= 1e-4 * np.maximum(1, np.abs(near))), name
        bits = datatype.bits
        if bits == 1 and near.min() < 0:  # bipolar, or one bit with a sign
            assert np.all(np.abs(near) == 1) or (near.min() == -1 and near.max() == 0), name
            return
        signed = near.min() >= -(2 ** (bits - 1)) and near.max() <= 2 ** (bits - 1) - 1
        assert signed or (near.min() >= 0 and near.max() <= 2**bits - 1), (name, datatype, near.min(), near.max())
        return
    assert datatype.allows(value), f"{name}: {datatype} does not hold {np.unique(value)[:5]}..{value.max()}"


def assert_sound(model: ir.Model, inputs: dict[str, np.ndarray], **options: bool) -> dict[str, DataType]:
    """Check every tensor with a type against what is executed."""
    InferDataTypes(**options).run(model)
    facts = infer(model, fixed_point=options.get("fixed_point", False)).facts
    values = {value.name: value for node in model.graph for value in node.outputs if get_datatype(value) is not None}
    compiled = qonnx_core.compile_model(model)
    names = [name for name in values if name in compiled.tensor_names]
    found = compiled.run(inputs, intermediates=names)
    for name in names:
        datatype = get_datatype(values[name])
        assert datatype is not None
        assert_allowed(found[name], datatype, facts.get(values[name]), name)
    return {name: t for name in names if (t := get_datatype(values[name])) is not None}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(random_graphs(max_size=8))
def test_no_value_of_a_random_graph_is_outside_of_its_type(graph: RandomGraph) -> None:
    model = graph.model.clone()
    InferShapes().run(model)
    assert_sound(model.clone(), graph.more_inputs(3))
    assert_sound(model, graph.more_inputs(3), fixed_point=True)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(random_graphs(max_size=8, exact=False))
def test_nor_where_scales_are_any_floats(graph: RandomGraph) -> None:
    model = graph.model.clone()
    InferShapes().run(model)
    assert_sound(model, graph.more_inputs(3))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(random_graphs(max_size=6))
def test_the_pass_keeps_its_contract(graph: RandomGraph) -> None:
    model = graph.model.clone()
    InferShapes().run(model)
    check_pass(InferDataTypes(), model, graph.inputs)


MATRIX = "float[4, 3] w = {1, -2, 3, 0, 1, 1, -3, 2, 2, 1, 0, -1}, float[3] c = {1, -2, 3}"
# operator, type of x (N, 4), expected type of y
UNARY = [
    ("Identity(x)", "INT5", "INT5"),
    ("Relu(x)", "INT5", "UINT4"),
    ("Relu(x)", "BIPOLAR", "BINARY"),
    ("Relu(x)", "FIXED<6,3>", "FIXED<6,3>"),
    ("Neg(x)", "INT4", "INT5"),
    ("Neg(x)", "UINT4", "INT5"),
    ("Neg(x)", "BIPOLAR", "BIPOLAR"),
    ("Abs(x)", "INT4", "UINT4"),
    ("Abs(x)", "TERNARY", "BINARY"),
    ("Sign(x)", "BIPOLAR", "BIPOLAR"),
    ("Sign(x)", "INT4", "TERNARY"),
    ("Sign(x)", "UINT4", "BINARY"),
    ("Floor(x)", "FIXED<6,3>", "INT3"),
    ("Round(x)", "FIXED<6,3>", "INT4"),
    ("Ceil(x)", "FIXED<6,3>", "INT4"),
    ("Round(x)", "INT4", "INT4"),
    ("Clip(x, lo, hi)", "INT8", "INT3"),
    ("Clip(x, lo, hi)", "UINT8", "UINT2"),
    ("Clip(x, half, hi)", "INT8", "FIXED<4,3>"),
    ("Add(x, c4)", "INT4", "INT5"),
    ("Add(x, x)", "UINT4", "UINT5"),
    ("Sub(x, x)", "UINT4", "INT5"),
    ("Mul(x, x)", "INT4", "INT8"),
    ("Mul(x, x)", "BIPOLAR", "BIPOLAR"),
    ("Mul(x, half)", "INT4", "FIXED<4,3>"),
    ("Mul(x, four)", "INT4", "INT6"),
    ("Mul(x, third)", "INT4", "SCALEDINT<4>"),
    ("Div(x, four)", "UINT4", "FIXED<5,3>"),
    ("Div(x, third)", "INT4", "SCALEDINT<4>"),
    ("MatMul(x, w)", "INT4", "INT8"),
    ("MatMul(x, w)", "UINT4", "INT9"),
    ("MatMul(x, w)", "FIXED<6,3>", "FIXED<10,7>"),
    ("Gemm(x, w, c)", "INT4", "INT8"),
    ("Gemm<alpha = 0.5>(x, w)", "INT4", "FIXED<8,7>"),
    ("Max(x, c4)", "INT4", "INT4"),
    ("Min(x, c4)", "UINT4", "INT3"),
    ("ReduceSum(x, one)", "UINT4", "UINT6"),
    ("ReduceMean(x, one)", "UINT4", "FIXED<7,5>"),
    ("ReduceMax(x, one)", "UINT4", "UINT4"),
    ("Concat<axis = 0>(x, c1)", "UINT4", "INT5"),
    ("Concat<axis = 1>(x, x)", "INT4", "INT4"),
    ("Pad(x, pads)", "BIPOLAR", "TERNARY"),
    ("Pad(x, pads)", "UINT4", "UINT4"),
    ("Pad(x, pads, half)", "INT4", "FIXED<5,4>"),
    ("Transpose<perm = [1, 0]>(x)", "INT4", "INT4"),
    ("Reshape(x, shape)", "INT4", "INT4"),
    ("Gather<axis = 1>(x, one)", "INT4", "INT4"),
    ("Slice(x, one, two)", "BIPOLAR", "BIPOLAR"),
    ("Greater(x, c4)", "INT4", "BINARY"),
    ("Cast<to = 6>(x)", "FIXED<6,3>", "INT3"),
    ("Cast<to = 2>(x)", "INT4", "UINT8"),
    ("Cast<to = 10>(x)", "INT8", "INT8"),
    ("Cast<to = 9>(x)", "INT8", "BINARY"),
    ("LeakyRelu<alpha = 0.25>(x)", "INT4", "FIXED<6,4>"),
    ("PRelu(x, four)", "INT4", "INT6"),
    ("ArgMax<axis = 1>(x)", "FLOAT32", "UINT2"),
    ("Where(b, x, c4)", "UINT4", "INT5"),
    ("Squeeze(Unsqueeze)", "INT4", "INT4"),
    ("Exp(x)", "INT4", "None"),
    ("Mul(x, c4)", "FLOAT32", "None"),
    ("Add(x, third)", "INT4", "None"),
]


@pytest.mark.parametrize(("node", "given_type", "expected"), UNARY)
def test_an_operator_gives_the_type_that_its_values_have(node: str, given_type: str, expected: str) -> None:
    node = f"y = {node}" if "Unsqueeze" not in node else "u = Unsqueeze(x, one) y = Squeeze(u, one)"
    body = f"""g (float[N, 4] x) => (y) <{MATRIX}, float[4] c4 = {{0, 1, -2, 3}}, float lo = {{-4}}, float hi = {{3}},
      float half = {{0.5}}, float four = {{4}}, float third = {{0.3}}, int64[1] one = {{1}}, int64[1] two = {{2}},
      int64[4] pads = {{0, 1, 0, 1}}, float[1, 4] c1 = {{-9, 1, 2, 3}}, int64[2] shape = {{-1, 2}},
      bool[4] b = {{1, 0, 1, 0}}> {{ {node} }}"""
    if "Reshape" in node or "Transpose" in node or "axis = 1" in node or "Slice" in node:
        body = body.replace("float[N, 4]", "float[9, 4]")
    model = build(body, {"x": given_type})
    assert inferred(model)["y"] == expected
    if given_type != "FLOAT32":
        x = samples(DataType.parse(given_type), (9, 4), 1)
        assert_sound(model, {"x": x})
    assert InferDataTypes().run(model) == 0


IMAGES = [
    ("Conv<kernel_shape = [2, 2]>(x, w)", "UINT4", "INT8"),
    ("Conv<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(x, w, c)", "UINT4", "INT9"),
    ("Conv<kernel_shape = [2, 2], group = 2>(x, g)", "BIPOLAR", "INT4"),
    ("ConvTranspose<strides = [2, 2]>(x, w)", "UINT4", "INT6"),
    ("ConvTranspose<strides = [1, 1]>(x, w)", "UINT4", "INT8"),
    ("MaxPool<kernel_shape = [2, 2]>(x)", "INT4", "INT4"),
    ("GlobalMaxPool(x)", "BIPOLAR", "BIPOLAR"),
    ("AveragePool<kernel_shape = [2, 2]>(x)", "UINT4", "FIXED<7,5>"),
    ("AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(x)", "UINT4", "None"),
    ("AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1>(x)", "BIPOLAR", "FIXED<4,2>"),
    ("AveragePool<kernel_shape = [3, 3]>(x)", "UINT4", "SCALEDINT<8>"),
    ("GlobalAveragePool(x)", "UINT4", "FIXED<9,5>"),
    ("DepthToSpace<blocksize = 1>(x)", "INT4", "INT4"),
    ('Resize<mode = "nearest">(x, none, scales)', "INT4", "INT4"),
    ('Resize<mode = "linear">(x, none, scales)', "INT4", "None"),
]


@pytest.mark.parametrize(("node", "given_type", "expected"), IMAGES)
def test_an_operator_on_images_gives_the_type_that_its_values_have(node: str, given_type: str, expected: str) -> None:
    body = f"""g (float[9, 2, 4, 4] x) => (y)
      <float[2, 2, 2, 2] w = {{1, -1, 1, 0, 0, 0, 1, 1, -1, 1, 1, 0, 0, 1, 1, 1}},
      float[2, 1, 2, 2] g = {{1, -1, 1, 1, -1, 1, 1, 1}}, float[2] c = {{100, -3}}, float[0] none = {{}},
      float[4] scales = {{1, 1, 2, 2}}> {{ y = {node} }}"""
    model = build(body, {"x": given_type})
    assert inferred(model)["y"] == expected
    assert_sound(model, {"x": samples(DataType.parse(given_type), (9, 2, 4, 4), 2)})


OWN = [
    ("Quant(x, one, zero, four)", "FLOAT32", "INT4"),
    ("Quant<narrow = 1>(x, one, zero, two)", "FLOAT32", "INT2"),
    ("Quant<signed = 0>(x, one, eight, four)", "FLOAT32", "INT4"),
    ("Quant(x, half, zero, four)", "FLOAT32", "SCALEDINT<4>"),
    ("Quant(x, half, zero, one)", "FLOAT32", "SCALEDINT<1>"),
    ("Quant(x, one, zero, one)", "FLOAT32", "BIPOLAR"),
    ("Quant(x, channels, zero, four)", "FLOAT32", "SCALEDINT<4>"),
    ("Quant(x, one, half, four)", "FLOAT32", "None"),
    ("Quant(x, one, zero, broken)", "FLOAT32", "None"),
    ("Quant(x, half, eight, four)", "FLOAT32", "SCALEDINT<5>"),
    ("BipolarQuant(x, one)", "FLOAT32", "BIPOLAR"),
    ("BipolarQuant(x, half)", "FLOAT32", "SCALEDINT<1>"),
    ('MultiThreshold<out_dtype = "UINT2">(x, t)', "FLOAT32", "UINT2"),
    ('MultiThreshold<out_dtype = "INT2", out_bias = -2.0>(x, t)', "FLOAT32", "INT2"),
    ('MultiThreshold<out_dtype = "BINARY">(x, t)', "FLOAT32", "UINT2"),
    ('MultiThreshold<out_dtype = "BIPOLAR", out_scale = 2.0, out_bias = -1.0>(x, t1)', "FLOAT32", "BIPOLAR"),
    ('MultiThreshold<out_dtype = "UINT2", out_scale = 0.5>(x, t)', "FLOAT32", "FIXED<3,2>"),
    ('MultiThreshold<out_dtype = "UINT2", out_scale = 0.3>(x, t)', "FLOAT32", "SCALEDINT<2>"),
    ('MultiThreshold<out_dtype = "INT3", out_scale = -0.3, out_bias = 0.6>(x, t)', "FLOAT32", "SCALEDINT<3>"),
    ('MultiThreshold<out_dtype = "INT3", out_scale = 0.3, out_bias = 0.7>(x, t)', "FLOAT32", "None"),
    ('Trunc<rounding_mode = "FLOOR">(x, one, zero, four, two)', "INT4", "INT2"),
    ('Trunc<rounding_mode = "FLOOR">(x, half, zero, four, two)', "FIXED<6,5>", "SCALEDINT<4>"),
    ("FloatQuant(x, one, four, two, eight, max)", "FLOAT32", "FLOAT<4,2,8>"),
    ("XnorPopcountMatMul(x, xw)", "BINARY", "UINT32"),
    ("XnorPopcountMatMul(x, xw)", "INT3", "INT6"),
]


@pytest.mark.parametrize(("node", "given_type", "expected"), OWN)
def test_an_operator_of_the_format_gives_the_type_that_it_states(node: str, given_type: str, expected: str) -> None:
    if node.startswith("FloatQuant"):
        node = node.replace("(x", "<has_inf = 0, has_nan = 0, has_subnormal = 1, saturation = 1>(x")
    body = f"""g (float[N, 4] x) => (y) <float one = {{1}}, float half = {{0.5}}, float zero = {{0}}, float two = {{2}},
      float four = {{4}}, float eight = {{8}}, float broken = {{2.5}}, float[4] channels = {{0.5, 0.25, 0.3, 1}},
      float max = {{100}}, float[4, 3] t = {{-1, 0, 1, 0, 1, 2, -2, -1, 0, 3, 4, 5}}, float[1, 1] t1 = {{0.5}},
      float[4, 2] xw = {{0, 1, 1, 0, 1, 1, 0, 0}}> {{ y = {Q}.{node} }}"""
    model = build(body, {"x": given_type})
    assert inferred(model)["y"] == expected
    x = np.random.default_rng(3).normal(0, 6, (9, 4)).astype(np.float32)
    given = DataType.parse(given_type)
    assert_sound(model, {"x": x if given_type == "FLOAT32" else samples(given, (9, 4), 1)})


def test_version_2_of_trunc_gives_the_levels_of_its_output() -> None:
    body = f"""g (float[N, 4] x) => (y) <float s = {{0.5}}, float o = {{2}}, float z = {{0}}, float b = {{8}},
      float c = {{3}}> {{ y = {Q}.Trunc<rounding_mode = "FLOOR", signed = 0>(x, s, z, b, o, c) }}"""
    model = build(body, version=2)
    assert inferred(model)["y"] == "SCALEDINT<3>"
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 9, (9, 4)).astype(np.float32)})


@pytest.mark.parametrize(("bits", "expected"), [(11, "INT11"), (14, "INT15")])
def test_levels_with_more_digits_than_float16_may_be_rounded_up(bits: int, expected: str) -> None:
    body = f"""g (float16[9, 4] x) => (y) <float s = {{1}}, float z = {{0}}, float b = {{{bits}}}>
      {{ y = {Q}.Quant(x, s, z, b) }}"""
    model = build(body)
    assert inferred(model)["y"] == expected
    assert_sound(model, {"x": (np.random.default_rng(0).normal(0, 6, (9, 4)) * 2000).astype(np.float16)})


def test_a_scale_of_weights_per_output_channel_goes_into_the_scale_of_the_product() -> None:
    body = f"""g (float[N, 2] x) => (y) <float[3, 2] w = {{1, 2, 3, -4, 5, -6}}, float[3, 1] s = {{0.3, 0.7, 0.11}},
      float t = {{0.1}}, float z = {{0}}, float b = {{4}}>
      {{ a = {Q}.Quant(x, t, z, b) q = {Q}.Quant(w, s, z, b) r = Transpose<perm = [1, 0]>(q) y = MatMul(a, r) }}"""
    model = build(body)
    assert inferred(model) == {"a": "SCALEDINT<4>", "q": "SCALEDINT<4>", "r": "SCALEDINT<4>", "y": "SCALEDINT<9>"}
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 1, (20, 2)).astype(np.float32)})
    assert set(inferred(model, scaled_integers=False).values()) == {"FLOAT32"}


def test_a_scale_of_weights_along_the_sum_gives_no_type_and_a_reason() -> None:
    body = f"""g (float[N, 2] x) => (y) <float[2, 3] w = {{1, 2, 3, -4, 5, -6}}, float[2, 1] s = {{0.3, 0.7}},
      float t = {{0.1}}, float z = {{0}}, float b = {{4}}>
      {{ a = {Q}.Quant(x, t, z, b) q = {Q}.Quant(w, s, z, b) y = MatMul(a, q) r = Relu(y) }}"""
    model = build(body)
    report = dict(infer_datatypes_report(model))
    assert report["x"] == "is an input without a data type; annotate it to say more"
    assert "q has several scales along the K of a product" in report["y"]
    assert report["r"].endswith("(Relu): y has no known data type")
    assert "a" not in report


def test_powers_of_two_are_fixed_point_where_one_asks_for_it() -> None:
    body = f"""g (float[N, 2] x) => (y) <float s = {{0.125}}, float z = {{0}}, float b = {{6}}, float two = {{2}}>
      {{ a = {Q}.Quant(x, s, z, b) m = Mul(a, two) k = {Q}.Quant(x, two, z, b) y = Add(m, k) }}"""
    assert list(inferred(build(body)).values()) == ["SCALEDINT<6>", "SCALEDINT<6>", "SCALEDINT<6>", "SCALEDINT<10>"]
    model = build(body)
    assert inferred(model, fixed_point=True) == {"a": "FIXED<6,3>", "m": "FIXED<6,4>", "k": "INT7", "y": "FIXED<10,8>"}
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 9, (20, 2)).astype(np.float32)}, fixed_point=True)


def test_quantize_linear_and_its_kin() -> None:
    body = """g (float[N, 3] x) => (y, m) <float s = {0.1}, uint8 z = {128}, float[3] t = {0.1, 0.2, 0.3},
      int8[3] zz = {0, 0, 0}, float one = {1}>
      { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) i = DequantizeLinear(q, one, z)
        k = QuantizeLinear<axis = 1>(x, t, zz) y = DequantizeLinear<axis = 1>(k, t, zz) c = Cast<to = 6>(q)
        m = Add(c, c) }"""
    model = build(body)
    assert inferred(model) == {
        "q": "UINT8", "d": "SCALEDINT<8>", "i": "INT8", "k": "INT8", "y": "SCALEDINT<8>", "c": "UINT8", "m": "UINT9",
    }  # fmt: skip
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 40, (20, 3)).astype(np.float32)})


def test_channels_last_operators_and_im2col() -> None:
    body = f"""g (float[N, 4, 4, 2] x) => (y, z) <float one = {{1}}, float zero = {{0}}, float b = {{2}},
      float[3, 2, 2, 2] w = {{{", ".join(["1", "-1"] * 12)}}}>
      {{ q = {Q}.Quant(x, one, zero, b)
         m = qonnx.custom_op.channels_last.MaxPool<kernel_shape = [2, 2], strides = [1, 1], pads = [0, 0, 0, 0]>(q)
         y = qonnx.custom_op.channels_last.Conv<kernel_shape = [2, 2], strides = [1, 1], dilations = [1, 1],
             pads = [0, 0, 0, 0], group = 1>(m, w)
         z = {Q}.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1, 4, 4, 2)">(q) }}"""
    model = build(body)
    assert inferred(model) == {"q": "INT2", "m": "INT2", "y": "INT6", "z": "INT2"}
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 2, (3, 4, 4, 2)).astype(np.float32)})


def test_more_that_gives_no_type() -> None:
    body = """g (float[N, 1, 4, 4] x, int32[N, 4] i, float16[N, 4] h) => (a, b, c, e) <bool t = {1}, float r = {0.5},
      float[8] roi = {0, 0, 0, 0, 1, 1, 2, 2}, float[0] none = {}, int64[4] n = {1, 1, 4, 4}, int64[1] one = {1},
      float[1] ratio = {0.5}> {
        a = Dropout(x, r, t)
        b = Resize<mode = "nearest", coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, none, n)
        c = ReduceMean(i, one) e = Mul(h, h) }"""
    model = build(body, {"x": "UINT4", "i": "INT8", "h": "INT10"})
    assert set(inferred(model).values()) == {"None"}
    report = dict(infer_datatypes_report(model))
    assert "drops and scales" in report["a"]
    assert "a value of their own" in report["b"]
    assert "beyond that of float16" in report["e"]


def test_scales_of_channels_stay_through_pooling() -> None:
    body = f"""g (float[N, 2, 4, 4] x) => (y) <float[1, 2, 1, 1] s = {{0.3, 0.7}}, float z = {{0}}, float b = {{4}}>
      {{ q = {Q}.Quant(x, s, z, b) m = MaxPool<kernel_shape = [2, 2]>(q) y = GlobalAveragePool(m) }}"""
    model = build(body)
    assert inferred(model) == {"q": "SCALEDINT<4>", "m": "SCALEDINT<4>", "y": "SCALEDINT<8>"}
    assert_sound(model, {"x": np.random.default_rng(0).normal(0, 2, (5, 2, 4, 4)).astype(np.float32)})


def test_wide_integers_round_up_in_float32() -> None:
    body = f"""g (int32[N, 2] x, float[N, 2] v) => (y, w) <float s = {{0.5}}, float z = {{0}}, float b = {{32}}>
      {{ y = DequantizeLinear(x, s) w = {Q}.Quant(v, s, z, b) }}"""
    model = build(body)
    assert inferred(model, fixed_point=True) == {"y": "FIXED<33,32>", "w": "FIXED<33,32>"}
    x = np.asarray([[2**31 - 1, -(2**31)], [0, 1]], np.int32)
    assert_sound(model, {"x": x, "v": x.astype(np.float32) * 2}, fixed_point=True)


def test_the_branches_of_an_if_are_joined() -> None:
    body = f"""g (float[N, 2] x, bool c) => (y) <float one = {{1}}, float zero = {{0}}, float b = {{3}}>
      {{ q = {Q}.Quant(x, one, zero, b)
         y = If<then_branch = t () => (u) {{ u = Neg(q) }}, else_branch = e () => (v) {{ v = Relu(q) }}>(c) }}"""
    model = build(body)
    assert inferred(model)["y"] == "INT4"


def test_sums_beyond_24_bits_may_round_past_the_bound() -> None:
    """2^24 + 1 is no float32: a sum of 2^24 + 1 ones can come out as more than it is."""
    body = "g (float[N, 2] x) => (y) { y = Add(x, x) }"
    model = build(body, {"x": "UINT24"})
    assert inferred(model)["y"] == "UINT26"
    assert inferred(build(body, {"x": "UINT20"}))["y"] == "UINT21"


def test_a_range_beyond_64_bits_is_no_data_type() -> None:
    model = build("g (float[N, 2] x) => (z) { y = Mul(x, x) z = Mul(y, y) }", {"x": "INT20"})
    assert inferred(model)["z"] == "None"
    assert "more than the 64" in dict(infer_datatypes_report(model))["z"]


@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
def test_a_fractional_bit_width_is_refused_by_name_where_a_data_type_is_asked_for(op: str) -> None:
    model = from_proto(
        onnx.parser.parse_model(
            HEAD.replace("VERSION", "1")
            + f"""g (float[N, 4] x) => (float[N, 4] y)
      <float s = {{1}}, float z = {{0}}, float b = {{2.5}}> {{ y = qonnx.custom_op.general.{op}(x, s, z, b) }}"""
        )
    )
    model.graph[0].name = "coarse"
    assert dict(infer_datatypes_report(model))["y"] == f"coarse ({op}): the bit width is [2.5], no whole number"
    InferDataTypes().run(model)
    assert get_datatype(model.graph.outputs[0]) is None


def test_what_the_user_says_of_a_tensor_without_a_rule_is_believed() -> None:
    model = build("g (float[N, 2] x) => (y) { e = Exp(x) y = Relu(e) }")
    set_datatype(next(iter(model.graph)).outputs[0], DataType.parse("INT7"))
    assert inferred(model) == {"e": "INT7", "y": "UINT6"}
    assert [name for name, _ in infer_datatypes_report(model)] == ["x"]


def test_shapes_and_indices_of_64_bits_get_no_annotation() -> None:
    model = build("g (float[N, 2] x) => (y) <int64 i = {0}> { s = Shape(x) k = Gather(s, i) y = Cast<to = 1>(k) }")
    assert inferred(model) == {"s": "None", "k": "None", "y": "None"}

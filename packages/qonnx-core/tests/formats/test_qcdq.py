"""Quant to QuantizeLinear, Clip, DequantizeLinear and back: the same bits, or the reasons why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.qcdq import covering_grid, grid_of_range
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import integer_range
from qonnx_core.testing import shared_file
from qonnx_core.testing.graph_text import op_types

HEAD = '<ir_version: 10, opset_import: ["": {opset}, "qonnx.custom_op.general": 1]>'


def build(body: str, opset: int = 21) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD.format(opset=opset) + body))


def run(model: ir.Model, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    compiled = qonnx_core.compile_model(model)
    return compiled.run({compiled.input_names[0]: x})[compiled.output_names[0]]


def run_stock(model: ir.Model, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


def numbers(values: list[float]) -> str:
    return "{" + ", ".join(repr(value) for value in values) + "}"


@st.composite
def quantizers(draw: st.DrawFn) -> tuple[str, dict[str, Any], list[float], list[int]]:
    """Return the model text, its settings, and scales and zero points per channel (one entry where shared)."""
    bits = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16]))
    signed = draw(st.booleans()) if bits > 1 else False
    narrow = draw(st.booleans()) if bits != 16 else False
    mode = draw(st.sampled_from(["ROUND"] * 3 + ["FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]))
    low, high = integer_range(bits, signed, narrow)
    vector = draw(st.booleans())
    count = 3 if vector else 1
    scale = st.floats(2**-10, 100, width=32) | st.sampled_from([0.5, 0.25, 1.0, 2.0])
    scales = draw(st.lists(scale, min_size=count, max_size=count))
    zeros = draw(st.one_of(st.just([0] * count), st.lists(st.integers(low, high), min_size=count, max_size=count)))
    shape = "[3, 1]" if vector else ""
    body = f"""g (float[N, 3, 5] x) => (float[N, 3, 5] y)
      <float{shape} s = {numbers(scales)}, float{shape} z = {numbers([float(zero) for zero in zeros])},
       float b = {{{bits}}}>
      {{ y = qonnx.custom_op.general.Quant<signed = {int(signed)}, narrow = {int(narrow)}, rounding_mode = "{mode}">
        (x, s, z, b) }}"""
    return body, {"bits": bits, "signed": signed, "narrow": narrow, "mode": mode}, scales, zeros


def probes(scales: list[float], zeros: list[int], bits: int, seed: int) -> np.ndarray[Any, Any]:
    """Return inputs on, between, exactly halfway and just beside halfway the steps, and far outside."""
    rng = np.random.default_rng(seed)
    reach = 2 ** min(bits, 9) + 2
    steps = rng.integers(-4 * reach, 4 * reach, (64, 3, 5)) / 4
    scale = np.resize(np.asarray(scales, np.float32), 3).reshape(3, 1)
    x = (steps * scale).astype(np.float32)
    nudged = np.nextafter(x, rng.choice([-np.inf, np.inf], x.shape).astype(np.float32))
    return np.concatenate([x, nudged, x * 1e6, np.full((1, 3, 5), -0.0, np.float32)]).astype(np.float32)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(quantizers(), st.integers(0, 2**32 - 1))
def test_every_quant_is_the_same_in_qcdq_and_back(case: Any, seed: int) -> None:
    body, setting, scales, zeros = case
    model = build(body)
    x = probes(scales, zeros, setting["bits"], seed)
    wanted = run(model, x)
    there = to_qcdq(model)
    assert (there.converted, there.kept) == (1, ())
    assert "Quant" not in op_types(there.model)
    np.testing.assert_array_equal(run(there.model, x), wanted)
    np.testing.assert_array_equal(run_stock(there.model, x), wanted)
    back = from_qcdq(there.model)
    assert (back.converted, back.kept) == (1, ())
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(op_types(back.model))
    np.testing.assert_array_equal(run(back.model, x), wanted)
    if setting["mode"] in ("ROUND", "FLOOR", "CEIL") and setting["bits"] > 1:
        (node,) = back.model.graph
        assert node.attributes["signed"].as_int() == setting["signed"]
        assert node.attributes["narrow"].as_int() == setting["narrow"]
        assert node.attributes["rounding_mode"].as_string() == setting["mode"]
        assert constant_array(node.inputs[3]) == setting["bits"]
        assert constant_array(node.inputs[2]).reshape(-1).tolist() == (zeros if any(zeros) else [0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 255), st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.booleans(), st.booleans(),
       st.integers(0, 99))  # fmt: skip
def test_a_foreign_zero_point_comes_in_exactly(zero: int, dtype: str, vector: bool, clips: bool, seed: int) -> None:
    signed, bits = not dtype.startswith("u"), int(dtype.removeprefix("u").removeprefix("int"))
    low, high = integer_range(bits, signed)
    zeros = [low + zero, low + (zero * 7) % 256, high] if vector else [low + zero]
    scales = [0.5, 0.1, 3.0] if vector else [0.3]
    shape = "[3]" if vector else ""
    clip = bits == 8 and clips
    quantized = f"q = QuantizeLinear<axis = -2>(x, s, z) {'c = Clip(q, l, h)' if clip else 'c = Identity(q)'}"
    if not clip:
        quantized = "c = QuantizeLinear<axis = -2>(x, s, z)"
    body = f"""g (float[N, 3, 5] x) => (float[N, 3, 5] y) <float{shape} s = {numbers(scales)},
      {dtype}{shape} z = {{{", ".join(map(str, zeros))}}}, {dtype} l = {{{low + 3}}}, {dtype} h = {{{high - 9}}}>
      {{ {quantized} y = DequantizeLinear<axis = 1>(c, s, z) }}"""
    model = build(body)
    x = probes(scales, zeros, 9, seed)
    found = from_qcdq(model)
    assert found.kept == ()
    assert "Quant" in op_types(found.model)
    np.testing.assert_array_equal(run(found.model, x), run(model, x))
    again = to_qcdq(found.model, partial=True)
    assert vector or again.kept == ()
    np.testing.assert_array_equal(run(again.model, x), run(model, x))


def test_a_zero_point_in_the_middle_leaves_one_signed_quant() -> None:
    body = """g (float[N, 4] x) => (float[N, 4] y) <float s = {0.1}, uint8 z = {128}>
      { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    (node,) = from_qcdq(build(body)).model.graph
    assert (node.op_type, node.attributes["signed"].as_int(), constant_array(node.inputs[2])) == ("Quant", 1, 0)


def test_the_standard_zero_point_stays_a_zero_point() -> None:
    body = """g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}, uint8 z = {3}>
      { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    model = build(body)
    (node,) = from_qcdq(model, zero_points="standard").model.graph
    assert constant_array(node.inputs[2]) == 3
    back = to_qcdq(from_qcdq(model, zero_points="standard").model, zero_points="standard").model
    assert op_types(back) == ["QuantizeLinear", "DequantizeLinear"]
    x = np.random.default_rng(0).uniform(-10, 200, (50, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(back, x), run(model, x))


def test_an_odd_standard_zero_point_moves_ties() -> None:
    """Why ``exact`` is the default: 0.5 steps round to 0, but 0.5 + 3 to 4."""
    body = """g (float[N, 1] x) => (float[N, 1] y) <float s = {1}, uint8 z = {3}>
      { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    x = np.full((1, 1), 0.5, np.float32)
    assert run(build(body), x).item() == run(from_qcdq(build(body)).model, x).item() == 0
    assert run(from_qcdq(build(body), zero_points="standard").model, x).item() == 1


@pytest.mark.parametrize(("low", "high"), [(-8, 7), (-7, 7), (0, 15), (0, 14), (0, 1), (-2, 1), (-1, 1), (0, 0)])
def test_a_range_names_its_grid(low: int, high: int) -> None:
    grid = grid_of_range(low, high)
    assert grid is not None
    assert integer_range(*grid) == (low, high)


@given(st.integers(-300, 300), st.integers(0, 300))
def test_a_covering_grid_is_the_narrowest(low: int, size: int) -> None:
    bits, signed = covering_grid(low, low + size)
    bottom, top = integer_range(bits, signed)
    assert bottom <= low
    assert low + size <= top
    if bits > 1 + signed:
        bottom, top = integer_range(bits - 1, signed)
        assert low < bottom or low + size > top


WEIGHTS = """g (float[N, 4] x) => (float[N, 3] y)
  <float[4, 3] w = {1.3, -2.5, 0.4, 7, -9, 3.49, 0, 1, -1, 0.51, -0.49, 5}, float[1, 3] s = {0.5, 1, 0.3},
   float z = {0}, float b = {BITS}>
  { q = qonnx.custom_op.general.Quant<narrow = NARROW>(w, s, z, b) y = MatMul(x, q) }"""


@pytest.mark.parametrize(
    ("bits", "narrow", "stored", "nodes"),
    [
        (4, 0, "INT4", ["DequantizeLinear", "MatMul"]),
        (4, 1, "INT8", ["Clip", "DequantizeLinear", "MatMul"]),
        (3, 0, "INT8", ["Clip", "DequantizeLinear", "MatMul"]),
        (8, 0, "INT8", ["DequantizeLinear", "MatMul"]),
    ],
)
def test_quantized_weights_are_stored_as_integers(bits: int, narrow: int, stored: str, nodes: list[str]) -> None:
    model = build(WEIGHTS.replace("BITS", str(bits)).replace("NARROW", str(narrow)))
    found = to_qcdq(model).model
    assert op_types(found) == nodes
    assert found.graph[0].inputs[0].dtype == ir.DataType[stored]
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found, x), run(model, x))
    back = from_qcdq(found).model
    assert op_types(back) == ["Quant", "MatMul"]
    assert constant_array(back.graph[0].inputs[3]) == bits
    assert back.graph[0].attributes["narrow"].as_int() == narrow
    np.testing.assert_array_equal(run(back, x), run(model, x))


def test_two_bits_are_native_from_opset_25_on() -> None:
    body = """g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}, float z = {0}, float b = {2}>
      { y = qonnx.custom_op.general.Quant(x, s, z, b) }"""
    assert op_types(to_qcdq(build(body)).model) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert op_types(to_qcdq(build(body, opset=25)).model) == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize("opset", [21, 25])
@pytest.mark.parametrize(
    ("before", "signed", "zero", "packed"),
    [("Relu(x)", 0, 0, True), ("Relu(x)", 1, 0, False), ("Relu(x)", 0, 3, False), ("Clip(x, z, h)", 0, 0, False),
     ("Neg(x)", 1, 0, True)],
)  # fmt: skip
def test_onnxruntime_as_it_comes_runs_two_and_four_bits(
    before: str, signed: int, zero: int, packed: bool, opset: int
) -> None:
    """Its optimizations read zero points of 4 bits behind Relu as bytes, and fail at a Clip in front of them."""
    for bits in (2, 4):
        body = f"""g (float[N, 4] x) => (float[N, 4] y)
          <float s = {{0.5}}, float z = {{0}}, float p = {{{zero}}}, float b = {{{bits}}}, float h = {{3}}>
          {{ n = Neg(x) r = {before.replace("(x", "(n")}
             y = qonnx.custom_op.general.Quant<signed = {signed}>(r, s, p, b) }}"""
        model = build(body, opset)
        for zero_points in ("exact", "standard"):
            found = to_qcdq(model, zero_points=zero_points).model
            assert ("Clip" in op_types(found)[2:]) == (not packed or (bits == 2 and opset < 25))
            x = np.random.default_rng(1).integers(-40, 40, (64, 4)).astype(np.float32) / 8 + np.float32(0.01)
            np.testing.assert_array_equal(run_stock(found, x), run(model, x))


def test_blocks_of_weights_come_in() -> None:
    scale = "float[2, 3] s = {0.5, 1, 0.3, 0.1, 0.2, 0.4}"
    body = f"""g (float[N, 4] x) => (float[N, 3] y) <int8[4, 3] w = {{1, -2, 3, 7, -8, 0, 1, 5, -5, 2, -1, 4}}, {scale}>
      {{ q = DequantizeLinear<axis = 0, block_size = 2>(w, s) y = MatMul(x, q) }}"""
    model = build(body)
    found = from_qcdq(model)
    assert (found.converted, op_types(found.model)) == (1, ["Quant", "MatMul"])
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found.model, x), run(model, x))


def test_constants_under_scales_of_any_sign_come_in() -> None:
    """As onnxruntime's 4-bit quantizer writes them: the largest number of a block is always -8."""
    body = """g (float[N, 4] x) => (float[N, 3] y)
      <int8[4, 3] v = {-8, -2, 3, 7, -8, 0, 1, 5, -5, 2, -1, 4}, float[2, 3] s = {-0.5, 1, 0, 0.1, -0.2, 0}>
      { w = Cast<to = 22>(v) q = DequantizeLinear<axis = 0, block_size = 2>(w, s) y = MatMul(x, q) }"""
    model = build(body)
    found = from_qcdq(model)
    assert (found.converted, found.kept, op_types(found.model)) == (1, (), ["Quant", "MatMul"])
    quant = found.model.graph[0]
    assert constant_array(quant.inputs[3]) == 5  # 8 has no place in four
    assert np.all(constant_array(quant.inputs[1]) > 0)
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found.model, x), run(model, x))


def test_a_scale_below_zero_in_front_of_a_quantizer_stays_with_the_reason() -> None:
    body = """g (float[N, 4] x) => (float[N, 4] y) <float s = {-0.5}>
      { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"""
    (reason,) = from_qcdq(build(body)).kept
    assert reason == "y (DequantizeLinear): its scale is no float32 above 0"


def test_constants_around_a_zero_point_are_stored_as_quantize_linear_stores_them() -> None:
    """The number is just below the middle of two steps; a zero point that is added first would take its last digits."""
    number = float(np.nextafter(np.float32(16383.5), np.float32(0)))
    body = f"""g (float[N, 1] x) => (float[N, 1] y) <float[1] w = {{{number}}}, float s = {{1}}, uint16 z = {{16384}}>
      {{ q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z) y = Mul(x, d) }}"""
    model = build(body)
    there = to_qcdq(from_qcdq(model).model).model
    x = np.ones((1, 1), np.float32)
    assert run(model, x) == 16383
    np.testing.assert_array_equal(run(there, x), run(model, x))


def test_constants_around_zero_points_of_channels_go_both_ways() -> None:
    body = """g (float[N, 2] x) => (float[N, 2] y)
      <float[1, 2] w = {3, 70000}, float[2] s = {0.5, 2}, uint16[2] z = {7, 9}>
      { q = QuantizeLinear<axis = 1>(w, s, z) d = DequantizeLinear<axis = 1>(q, s, z) y = Add(x, d) }"""
    model = build(body)
    quant = from_qcdq(model).model
    assert op_types(quant) == ["Quant", "Add"]
    x = np.zeros((1, 2), np.float32)
    np.testing.assert_array_equal(run(quant, x), run(model, x))
    np.testing.assert_array_equal(run(to_qcdq(quant).model, x), run(model, x))


def test_constants_near_the_end_of_32_bits_are_stored_as_integers() -> None:
    body = """g (float[N, 2] x) => (float[N, 2] y) <int32[2] w = {2147483520, -1500000000}, float[2] s = {0.5, 0.001}>
      { d = DequantizeLinear<axis = 0>(w, s) y = Add(x, d) }"""
    model = build(body)
    back = to_qcdq(from_qcdq(model).model)
    assert (back.converted, back.kept) == (1, ())
    x = np.zeros((1, 2), np.float32)
    np.testing.assert_array_equal(run(back.model, x), run(model, x))


def test_packed_weights_are_named_with_the_format_to_ask_for() -> None:
    text = """<ir_version: 8, opset_import: ["": 21, "com.microsoft": 1]> g (float[N, 16] x) => (float[N, 1] y)
      <uint8[1, 1, 8] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[1] s = {0.5}>
      { y = com.microsoft.MatMulNBits<K = 16, N = 1, bits = 4, block_size = 16>(x, w, s) }"""
    (reason,) = from_qcdq(from_proto(onnx.parser.parse_model(text))).kept
    assert reason.startswith("y (MatMulNBits): holds its weights packed")


@pytest.mark.parametrize(
    "body",
    [
        "t = Identity(s) q = QuantizeLinear(x, s) d = DequantizeLinear(q, t) e = DequantizeLinear(w, t) "
        "y = MatMul(d, e)",
        "t = Transpose(r) e = DequantizeLinear<axis = 1>(t, v) y = MatMul(x, e)",
        "t = Cast<to = 22>(r) u = Transpose(t) e = DequantizeLinear<axis = 1>(u, v) y = MatMul(x, e)",
        "t = Mul(v, s) e = DequantizeLinear<axis = 1>(w, t) y = MatMul(x, e)",
    ],
    ids=["shared", "transposed", "packed", "product"],
)
def test_parameters_that_nodes_make_of_constants_are_read(body: str) -> None:
    """Exporters share a parameter through Identity, and store weights in front of a Transpose."""
    model = build(f"""g (float[N, 4] x) => (float[N, 3] y)
      <float s = {{0.1}}, float[3] v = {{0.1, 0.2, 0.3}}, int8[4, 3] w = {{1, 2, 3, 4, 5, 6, 7, -8, 7, 6, 5, 4}},
       int8[3, 4] r = {{1, 2, 3, 4, 5, 6, 7, -8, 7, 6, 5, 4}}> {{ {body} }}""")
    found = from_qcdq(model)
    assert found.kept == ()
    assert set(op_types(found.model)) == {"Quant", "MatMul"}
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found.model, x), run(model, x))


def test_integers_that_no_quantizer_made_stay_with_the_reason() -> None:
    body = """g (int8[N, 4] x) => (float[N, 4] y) <float s = {0.5}> { y = DequantizeLinear(x, s) }"""
    found = from_qcdq(build(body))
    assert (found.converted, op_types(found.model)) == (0, ["DequantizeLinear"])
    assert "its integers come from no QuantizeLinear" in found.kept[0]


@pytest.mark.parametrize(
    ("parameters", "attributes", "reason"),
    [
        ("float s = {1}, float z = {0}, float b = {1}", "", "is bipolar"),
        ("float s = {1}, float z = {0}, float b = {2.5}", "", "no single whole number"),
        ("float s = {1}, float z = {0}, float b = {11}", "", "11 bits with zero point 0: expected what 8 bits"),
        ("float s = {1}, float z = {0.5}, float b = {4}", "", "zero point is no whole number"),
        ("float s = {-1}, float z = {0}, float b = {4}", "", "scale that is not above 0"),
        ("float s = {1}, float z = {0}, float[4] b = {4, 4, 4, 4}", "", "bit width is no single"),
        ("float[2, 4] s = {1, 2, 3, 4, 5, 6, 7, 8}, float z = {0}, float b = {4}", "", r"varies along axes \[0, 1\]"),
        ("float[3, 1, 1] s = {1, 2, 3}, float z = {0}, float b = {4}", "", "more axes than its input"),
    ],
)
def test_what_has_no_qcdq_form_is_refused_or_kept(parameters: str, attributes: str, reason: str) -> None:
    body = f"""g (float[2, 4] x) => (y) <{parameters}> {{ y = qonnx.custom_op.general.Quant(x, s, z, b) }}"""
    with pytest.raises(Unsupported, match=reason):
        to_qcdq(build(body))
    found = to_qcdq(build(body), partial=True)
    assert (found.converted, len(found.kept), op_types(found.model)) == (0, 1, ["Quant"])


def test_a_wrong_choice_of_zero_points_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected exact or standard"):
        to_qcdq(build(WEIGHTS.replace("BITS", "4").replace("NARROW", "0")), zero_points="both")  # type: ignore[arg-type]


EVERYTHING = """g (float[N, 4] x) => (float[N, 3] y)
  <float[4, 3] w = {1.3, -2.5, 0.4, 7, -9, 3.49, 0, 1, -1, 0.51, -0.49, 5}, float[1, 3] s = {0.5, 1, 0.3},
   float z = {0}, float b = {4}, float h = {0.5}, float[1, 3] t = {-1, 0, 2}>
  { q = qonnx.custom_op.general.BipolarQuant(w, s)
    a = qonnx.custom_op.general.Quant<rounding_mode = "HALF_UP">(x, h, z, b)
    m = MatMul(a, q) n = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2">(m, t)
    y = qonnx.custom_op.general.Trunc(n, h, z, b, h) }"""


def test_the_plain_form_runs_in_stock_onnxruntime() -> None:
    model = build(EVERYTHING)
    plain = lower_to_plain_onnx(model)
    assert {node.domain for node in plain.graph} == {""}
    assert set(plain.opset_imports) == {""}
    onnx.checker.check_model(ir.to_proto(plain), full_check=True)
    x = np.random.default_rng(1).normal(scale=4, size=(99, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_stock(plain, x), run(model, x))


def test_the_plain_form_names_what_nobody_defines() -> None:
    body = """<ir_version: 10, opset_import: ["": 21, "some.where": 1]>
      g (float[N, 4] x) => (float[N, 4] y) { y = some.where.Magic(x) }"""
    with pytest.raises(Unsupported, match=r"some\.where::Magic"):
        lower_to_plain_onnx(from_proto(onnx.parser.parse_model(body)))


def test_a_zoo_model_keeps_its_bits_in_both_forms() -> None:
    model = qonnx_core.load(shared_file("models/zoo/qkeras_jettagging.onnx"))
    width = int(model.graph.inputs[0].shape[1])
    x = np.random.default_rng(0).normal(size=(64, width)).astype(np.float32)
    wanted = run(model, x)
    np.testing.assert_array_equal(run(lower_to_plain_onnx(model), x), wanted)
    there = to_qcdq(model, partial=True)
    np.testing.assert_array_equal(run(there.model, x), wanted)
    np.testing.assert_array_equal(run(from_qcdq(there.model).model, x), wanted)


def test_integers_that_leave_the_model_are_named() -> None:
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[N] x) => (uint8[N] y) <float s = {0.5}, uint8 z = {3}>
      { y = QuantizeLinear(x, s, z) }"""
    found = from_qcdq(from_proto(onnx.parser.parse_model(text)))
    assert found.kept == ("y (QuantizeLinear): its integers go on without a DequantizeLinear",)

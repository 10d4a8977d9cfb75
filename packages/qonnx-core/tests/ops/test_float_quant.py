"""FloatQuant against an oracle in float64 with exact exponents, and against the tables of the usual 8-bit formats."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import parser

from qonnx_core.errors import InvalidModel
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ops import FloatQuant, Rounding
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.testing.op_contract import example_model, run_op

F32 = np.float32
KINDS = {
    "OCP E4M3": (4, 3, 7, 448),
    "OCP E5M2": (5, 2, 15, 57344),
    "FNUZ E4M3": (4, 3, 8, 240),
    "FNUZ E5M2": (5, 2, 16, 57344),
    "FP6 E3M2": (3, 2, 3, 28),
    "FP6 E2M3": (2, 3, 1, 7.5),
    "FP4 E2M1": (2, 1, 1, 6),
    "float16": (5, 10, 15, 65504),
    "bfloat16": (8, 7, 127, 3.3895313892515355e38),
}
BEYOND = {"saturate": (False, False, True), "inf": (True, False, False), "nan": (False, True, False)}
ROUNDINGS = {
    "ROUND": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.copysign(np.ceil(np.abs(x)), x),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "HALF_DOWN": lambda x: np.copysign(np.ceil(np.abs(x) - 0.5), x),
}


def oracle(x, scale, kind, mode="ROUND", beyond="saturate"):
    e, m, bias, max_val = kind
    with np.errstate(all="ignore"):
        wide = (x / x.dtype.type(scale)).astype(np.float64)
        exponent = np.where(np.isfinite(wide) & (wide != 0), np.frexp(wide)[1] - 1, -2000)
        step = np.ldexp(1.0, np.maximum(exponent, 1 - bias) - m)
        y = ROUNDINGS[mode](wide / step) * step
        top = min((2 - 2.0**-m) * 2.0 ** (2**e - 1 - bias), float(F32(max_val)))
        fill = {"saturate": np.clip(y, -top, top), "inf": np.copysign(np.inf, y), "nan": np.full_like(y, np.nan)}
        y = np.where(np.abs(y) > top, fill[beyond], y)
        return y.astype(x.dtype) * x.dtype.type(scale)


def quantize(x, scale, kind, mode="ROUND", beyond="saturate"):
    has_inf, has_nan, saturation = BEYOND[beyond]
    op = FloatQuant(Rounding(mode), has_inf, has_nan, saturation=saturation)
    return run_op(op, x, x.dtype.type(scale), *map(F32, kind))


def every_binade(dtype=np.float32) -> np.ndarray:
    """Return powers of two with their neighbours, ties of short mantissas, subnormals, zeros, infinities and NaN."""
    info = np.finfo(dtype)
    powers = np.exp2(np.arange(info.minexp - info.nmant, info.maxexp, dtype=np.float64)).astype(dtype)
    ties = (powers[:, None] * (1 + np.arange(32, dtype=dtype) / 32)).reshape(-1)
    near = np.concatenate([np.nextafter(ties, dtype(side)) for side in (0, np.inf)])
    positive = np.concatenate([ties, near, np.asarray([0, np.inf, np.nan, info.max], dtype=dtype)])
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_binade_is_rounded_on_its_own_grid(kind, mode, beyond) -> None:
    x = every_binade()
    for scale in (1.0, 0.25, 0.3):
        found = quantize(x, scale, KINDS[kind], mode, beyond)
        np.testing.assert_array_equal(found, oracle(x, scale, KINDS[kind], mode, beyond))


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)),
    st.sampled_from([1.0, 0.5, 0.3, 7.0]),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(ROUNDINGS)),
    st.sampled_from(sorted(BEYOND)),
)
def test_any_data_equal_the_oracle(x, scale, kind, mode, beyond) -> None:
    found = quantize(x, scale, KINDS[kind], mode, beyond)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, oracle(x, scale, KINDS[kind], mode, beyond))


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32)),
    st.integers(1, 8),
    st.integers(0, 23),
    st.integers(-10, 140),
    st.sampled_from(sorted(ROUNDINGS)),
)
def test_any_format_equals_the_oracle(x, e, m, bias, mode) -> None:
    kind = (e, m, bias, 2.0**100)
    np.testing.assert_array_equal(quantize(x, 1.0, kind, mode), oracle(x, 1.0, kind, mode))


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize(("mantissa", "bias"), [(2.5, 7), (0.25, 7), (3, 0.5), (1.75, -0.25)])
def test_widths_that_are_no_whole_numbers_shrink_the_step(mantissa: float, bias: float, constants: bool) -> None:
    """A mantissa of 2.5 bits was taken for one of 2: the step of each binade was a power of two."""
    x = F32([1.2, -0.3, 5.9, 0.001, 1000, 0])
    m, b = float(F32(mantissa)), float(F32(bias))
    exponent = np.frexp(np.where(x == 0, 1e-30, x).astype(np.float64))[1] - 1
    step = 2.0 ** np.maximum(exponent - m, 1 - b - m)
    top = min((2 - 2.0**-m) * 2.0 ** (2.0**4 - 1 - b), 448)
    inputs = [x, *map(F32, (1, 4, mantissa, bias, 448))]
    feeds = dict(zip(FloatQuant.inputs, inputs[: 1 if constants else None], strict=False))
    found = compile_model(example_model(FloatQuant(), inputs, constants=constants)).run(feeds)["y"]
    np.testing.assert_array_equal(found, np.clip(np.round(x / step) * step, -top, top).astype(np.float32))


def test_just_below_a_power_of_two_the_grid_is_that_of_the_binade_below() -> None:
    """The reference takes the logarithm in float32, which rounds up there: its grid is twice too coarse."""
    below = np.nextafter(np.exp2(np.arange(-5, 9, dtype=F32)), F32(0))
    found = quantize(below, 1.0, KINDS["OCP E4M3"], "FLOOR")
    assert found.tolist() == (np.exp2(np.arange(-5.0, 9)) * (1 - 1 / 16)).tolist()


def test_the_codes_of_fp4_are_kept() -> None:
    codes = np.asarray([0, 0.5, 1, 1.5, 2, 3, 4, 6], F32)
    assert quantize(codes, 1.0, KINDS["FP4 E2M1"]).tolist() == codes.tolist()
    assert quantize(F32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 7]), 1.0, KINDS["FP4 E2M1"]).tolist() == [
        0, 1, 1, 2, 2, 4, 4, 6,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "beyond"),
    [
        ("float8_e4m3fn", "OCP E4M3", "nan"),
        ("float8_e5m2", "OCP E5M2", "inf"),
        ("float8_e4m3fnuz", "FNUZ E4M3", "nan"),
        ("float8_e5m2fnuz", "FNUZ E5M2", "nan"),
        ("float4_e2m1fn", "FP4 E2M1", "saturate"),
    ],
)
def test_the_usual_formats_equal_their_conversion_in_ml_dtypes(name, kind, beyond) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = every_binade()
    x = x[~np.isnan(x)]
    with np.errstate(all="ignore"):
        expected = x.astype(getattr(ml_dtypes, name)).astype(np.float32)
    np.testing.assert_array_equal(quantize(x, 1.0, KINDS[kind], beyond=beyond), expected)


@pytest.mark.parametrize("kind", ["OCP E4M3", "FP6 E2M3", "float16"])
def test_float16_data_stay_float16(kind) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for mode, scale in itertools.product(["ROUND", "FLOOR", "HALF_UP"], [1.0, 0.3]):
        found = quantize(x, scale, KINDS[kind], mode)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, oracle(x, scale, KINDS[kind], mode))


def test_negative_zero_keeps_its_sign() -> None:
    assert np.signbit(quantize(F32([-0.0, -1e-6]), 1.0, KINDS["OCP E4M3"])).all()


MODEL = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
g (float[N, 4] x) => (float[N, 4] y)
<float s = {%s}, float e = {4}, float m = {%s}, float b = {0}, float t = {448}>
{ y = qonnx.custom_op.general.FloatQuant%s(x, s, e, m, b, t) }"""


def test_attributes_can_be_left_out() -> None:
    """All but the rounding mode are said to be required by the reference's code, and optional by its documents."""
    (node,) = from_proto(parser.parse_model(MODEL % ("1", "3", ""))).graph
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {
        "rounding_mode": "ROUND", "has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "mantissa", "datatype"), [("1", "3", "FLOAT<4,3,0>"), ("0.5", "3", "None"), ("1", "2.5", "None")]
)
def test_the_data_type_is_that_of_the_format(scale, mantissa, datatype) -> None:
    """A bias of 0 is a bias: defect 13 of the reference made 7 of it."""
    model = from_proto(parser.parse_model(MODEL % (scale, mantissa, "")))
    InferDataTypes().run(model)
    assert str(get_datatype(model.graph.outputs[0])) == datatype


def test_no_value_beyond_the_largest_is_refused_at_load() -> None:
    with pytest.raises(InvalidModel, match=r"y \(FloatQuant\): saturation, has_inf and has_nan are all 0;"):
        from_proto(parser.parse_model(MODEL % ("1", "3", "<saturation = 0>")))


@pytest.mark.parametrize("scale", [np.nan, 0.0, -0.5, np.inf, 1e-40, 3e38])
@pytest.mark.parametrize("beyond", BEYOND)
def test_a_degenerate_scale_is_computed_with(scale, beyond) -> None:
    x = every_binade()
    with np.errstate(all="ignore"):
        expected = oracle(x, scale, KINDS["OCP E4M3"], "ROUND", beyond)
    np.testing.assert_array_equal(quantize(x, scale, KINDS["OCP E4M3"], beyond=beyond), expected)


@pytest.mark.parametrize("exponent_bits", [-np.inf, -1, 0, 2.5, 11, 1100, np.inf])
def test_any_number_of_exponent_bits_says_how_far_the_format_reaches(exponent_bits) -> None:
    x = every_binade()
    with np.errstate(all="ignore"):
        expected = oracle(x, 1.0, (np.float64(exponent_bits), 3, 7, 448))
    np.testing.assert_array_equal(quantize(x, 1.0, (exponent_bits, 3, 7, 448)), expected)


@pytest.mark.parametrize(("index", "number", "expected"), [
    (3, -1, "0 to 100"), (3, 1100, "0 to 100"), (4, -1000, "-900 to 900"), (4, np.inf, "-900 to 900"),
    (5, -0.5, "0 to inf"), (5, -np.inf, "0 to inf"),
])  # fmt: skip
def test_what_is_no_format_is_refused_by_name(index, number, expected) -> None:
    """A negative largest number was clipped to from the wrong side, and endless mantissas gave NaN."""
    inputs = [F32([1]), *map(F32, (1, *KINDS["OCP E4M3"]))]
    inputs[index] = F32(number)
    message = rf"op \(FloatQuant\): input {FloatQuant.inputs[index]} is \[{number}\b.*; expected {expected}\."
    with pytest.raises(InvalidModel, match=message):
        run_op(FloatQuant(), *inputs)


def test_an_unknown_rounding_mode_is_refused_at_load() -> None:
    with pytest.raises(InvalidModel, match=r"y \(FloatQuant\): rounding_mode is 'STOCHASTIC'; expected one of ROUND"):
        from_proto(parser.parse_model(MODEL % ("1", "3", '<rounding_mode = "STOCHASTIC">')))

"""Values of every operator against an independent NumPy oracle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from qonnx_core.execute.compiled import compile_model
from qonnx_core.ops import BipolarQuant, MultiThreshold, Quant, Rounding, Trunc, TruncV1
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing.op_contract import example_model, ties_and_extremes

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
assert _spec is not None
assert _spec.loader is not None
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

SETTINGS = settings(max_examples=60, deadline=None)
FLOATS32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
SCALES = st.sampled_from([1.0, 0.5, 0.125, 0.3, 1 / 255, 7.0])
MODES = st.sampled_from(list(Rounding))


def run(op: QonnxOp, *inputs: np.ndarray) -> np.ndarray:
    values = []
    for name, x in zip(op.inputs, map(np.asarray, inputs), strict=True):
        tensor = ir.tensor(x, name=name) if values else None
        values.append(ir.val(name, ir.DataType.from_numpy(x.dtype), ir.Shape(x.shape), const_value=tensor))
    node = op.node(*values, output="y")
    graph = ir.Graph(
        values[:1],
        node.outputs,
        nodes=[node],
        initializers=values[1:],
        opset_imports={"": 21, op.domain: op.since_version},
    )
    return compile_model(ir.Model(graph, ir_version=10)).run({op.inputs[0]: inputs[0]})["y"]


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def data(dtype: type = np.float32) -> st.SearchStrategy[np.ndarray]:
    floats = FLOATS32 if dtype is np.float32 else st.floats()
    halves = st.integers(-40, 40).map(lambda n: n / 4)
    return arrays(dtype, st.integers(1, 40), elements=st.one_of(floats, halves))


@SETTINGS
@given(data(), SCALES, st.integers(-3, 3), st.integers(1, 16), st.booleans(), st.booleans(), MODES)
def test_quant_clips_then_rounds(x, scale, zeropt, bits, signed, narrow, mode) -> None:
    found = run(Quant(signed, narrow, mode), x, np.float32(scale), np.float32(zeropt), np.float32(bits))
    assert_same(found, oracle.quant(x, np.float32(scale), zeropt, bits, signed, narrow, mode.value))


@SETTINGS
@given(data(np.float64), SCALES, st.integers(1, 16), MODES)
def test_quant_computes_in_float64_where_the_data_are(x, scale, bits, mode) -> None:
    found = run(Quant(rounding_mode=mode), x, np.float64(scale), np.float64(0), np.float64(bits))
    assert_same(found, oracle.quant(x, scale, 0, bits, mode=mode.value))


@SETTINGS
@given(data(), SCALES)
def test_bipolar_quant_sends_zero_up_and_nan_down(x, scale) -> None:
    assert_same(run(BipolarQuant(), x, np.float32(scale)), oracle.bipolar_quant(x, np.float32(scale)))


@SETTINGS
@given(data(), SCALES, st.integers(-2, 2), st.integers(4, 10), st.integers(1, 4), MODES)
def test_trunc_version_1_keeps_scale_and_zero_point(x, scale, zeropt, in_bits, out_bits, mode) -> None:
    parameters = [np.float32(number) for number in (scale, zeropt, in_bits, out_bits)]
    found = run(TruncV1(mode), x, *parameters)
    assert_same(found, oracle.trunc_v1(x, np.float32(scale), zeropt, in_bits, out_bits, mode.value))


@SETTINGS
@given(data(), SCALES, st.integers(-2, 2), st.integers(0, 4), st.integers(2, 8), st.booleans(), st.booleans(), MODES)
def test_trunc_version_2_goes_to_the_new_scale(x, scale, zeropt, shift, bits, signed, narrow, mode) -> None:
    out_scale = np.float32(np.float32(scale) * 2.0**shift)
    parameters = [np.float32(scale), np.float32(zeropt), np.float32(8), out_scale, np.float32(bits)]
    found = run(Trunc(mode, signed, narrow), x, *parameters)
    assert_same(found, oracle.trunc_v2(x, np.float32(scale), zeropt, out_scale, bits, signed, narrow, mode.value))


@SETTINGS
@given(st.data(), st.sampled_from(["", "NCHW", "NHWC"]), st.integers(1, 20), st.booleans(), st.sampled_from([1.0, 2.0]))
def test_multithreshold_counts_reached_thresholds(draw, layout, levels, shared, out_scale) -> None:
    v = draw.draw(arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=4), elements=FLOATS32))
    axis = 3 if layout == "NHWC" else 1
    channels = 1 if shared else v.shape[axis]
    thresholds = draw.draw(arrays(np.float32, (channels, levels), elements=FLOATS32))
    found = run(MultiThreshold("UINT8", out_scale, -1.0, layout), v, thresholds)
    assert_same(found, oracle.multithreshold(v, thresholds, axis, out_scale, -1.0))


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 6, 3), (2, 6, 1, 2)])
def test_multithreshold_without_a_layout_has_channels_on_axis_1(shape) -> None:
    v = np.linspace(-4, 4, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    thresholds = np.arange(18, dtype=np.float32).reshape(6, 3) - 9
    axis = min(1, len(shape) - 1)
    op, expected = MultiThreshold("UINT2"), oracle.multithreshold(v, thresholds, axis)
    assert_same(run(op, v, thresholds), expected)
    running = compile_model(example_model(op, [v, thresholds], constants=False))
    assert_same(running.run({"v": v, "thresholds": thresholds})["y"], expected)


def test_a_threshold_that_float32_cannot_hold_still_decides_exactly() -> None:
    thresholds = np.asarray([[16777217.0, 0.1]])  # float64
    v = np.asarray(
        [[16777216.0], [16777218.0], [np.float32(0.1)], [np.nextafter(np.float32(0.1), np.float32(0))]], np.float32
    )
    assert_same(run(MultiThreshold("UINT2"), v, thresholds), oracle.multithreshold(v, thresholds, 1))


def test_a_vector_of_bit_widths_broadcasts() -> None:
    """Defect 14 of the reference: documented, and a ValueError there."""
    x = ties_and_extremes().reshape(-1, 1)
    found = run(Quant(), x, np.float32(0.5), np.float32(0), np.asarray([2, 4, 8], np.float32))
    expected = np.concatenate([oracle.quant(x, 0.5, 0, bits) for bits in (2, 4, 8)], axis=1)
    assert_same(found, expected)


@SETTINGS
@given(
    st.data(), MODES, st.booleans(), st.booleans(), st.integers(-2, 2), st.sampled_from([(3, 1, 1), (3, 1, 4), (4,)])
)
def test_every_element_is_quantized_with_its_own_bit_width(draw, mode, signed, narrow, zeropt, shape) -> None:
    """Defect 14 of the reference, with a width per channel or per element."""
    x = draw.draw(arrays(np.float32, (2, 3, 2, 4), elements=FLOATS32))
    bits = draw.draw(arrays(np.float32, shape, elements=st.sampled_from([1.0, 1.5, 2, 2.5, 3, 4, 8])))
    found = run(Quant(signed, narrow, mode), x, np.float32(0.5), np.float32(zeropt), bits)
    spread = np.broadcast_to(bits, x.shape)
    expected = np.empty_like(x)
    for width in np.unique(bits):
        own = spread == width
        expected[own] = oracle.quant(x[own], 0.5, zeropt, float(width), signed, narrow, mode.value)
    assert_same(found, expected)


@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("bits", [0.5, 1.5, 2.5, 3.7])
@pytest.mark.parametrize("signed", [False, True])
def test_a_fractional_bit_width_clips_then_rounds(mode, bits, signed) -> None:
    x = ties_and_extremes()
    found = run(Quant(signed, rounding_mode=mode), x, np.float32(1), np.float32(0), np.float32(bits))
    assert_same(found, oracle.quant(x, np.float32(1), 0, float(np.float32(bits)), signed, mode=mode.value))
    if bits == 2.5 and signed and mode is Rounding.ROUND:
        assert set(found[~np.isnan(found)]) == {-3, -2, -1, 0, 1, 2}


@pytest.mark.parametrize(
    ("signed", "scale", "bits", "datatype"),
    [
        (True, 1, [4], "INT4"),
        (True, 1, [1], "BIPOLAR"),
        (True, 1, [1, 1], "BIPOLAR"),
        (True, 1, [1, 3, 2], "INT3"),
        (False, 1, [1, 3], "UINT3"),
        (True, 0.5, [2, 6], "SCALEDINT<6>"),
        (True, 1, [2, 2.5], "None"),
        (True, 1, [2.5], "None"),
        (True, 1, [], "None"),
    ],
)
def test_the_data_type_holds_the_widest_integers(signed, scale, bits, datatype) -> None:
    found = Quant(signed).datatype(None, np.float32(scale), np.float32(0), np.asarray(bits, np.float32))
    assert str(found) == datatype


def test_float16_data_stay_float16() -> None:
    """Defect 15 of the reference: the result became float32, and the next node failed."""
    x = np.asarray([-3.5, -0.5, 0.5, 1.5, 100, np.nan], dtype=np.float16)
    found = run(Quant(), x, np.float16(0.5), np.float16(0), np.float16(4))
    assert_same(found, oracle.quant(x, 0.5, 0, 4))


@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("scale", [1, 0.3, 7])
def test_every_float16_number_is_computed_in_float16(mode, scale) -> None:
    """onnxruntime would join several operators in float32 and round once."""
    half = np.float16
    x = np.arange(2**16, dtype=np.uint16).view(half)
    for zeropt in (0, 1, 3):
        found = run(Quant(rounding_mode=mode), x, half(scale), half(zeropt), half(4))
        assert_same(found, oracle.quant(x, half(scale), zeropt, 4, mode=mode.value))
    found = run(TruncV1(mode), x, half(scale), half(1), half(8), half(5))
    assert_same(found, oracle.trunc_v1(x, half(scale), 1, 8, 5, mode.value))


def test_integer_zero_points_do_not_change_the_element_type() -> None:
    x = ties_and_extremes()
    assert_same(run(Quant(), x, np.float32(0.3), np.int64(0), np.int64(8)), oracle.quant(x, np.float32(0.3), 0, 8))


def test_bit_width_32_saturates_at_the_nearest_float32() -> None:
    found = run(Quant(), np.asarray([1e12, -1e12], np.float32), np.float32(1), np.float32(0), np.float32(32))
    assert found.tolist() == [2.0**31, -(2.0**31)]

"""Statistics of tensors over a data set are those of all numbers at once, whatever the batches."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.analyses.histogram import MAX_BINS, MAX_LEVELS, Histogram
from qonnx_core.analyses.statistics import Collector, tensor_statistics
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import set_layout

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
NET = """g (float[N, 3, 4] x) => (float[N, 3, 4] y)
<float[1, 3, 1] s = {0.5, 0.25, 2}, float z = {0}, float b = {4}, float k = {2}>
{ q = qonnx.custom_op.general.Quant(x, s, z, b) c = Neg(k) y = Mul(q, c) }"""
X = np.random.default_rng(0).normal(0, 3, (50, 3, 4)).astype(np.float32)


def build(body: str = NET) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


@pytest.mark.parametrize("size", [1, 7, 50, None])
def test_they_are_those_of_all_numbers_at_once(size: int | None) -> None:
    found = tensor_statistics(build(), X, batch_size=size)
    assert list(found) == ["x", "q", "y"]
    tensors = qonnx_core.compile_model(build()).run({"x": X}, ["x", "q"])
    for name, row in found.items():
        array = tensors[name].astype(np.float64)
        assert (row.samples, row.elements, row.nans, row.infinities) == (50, array.size, 0, 0)
        assert row.shape[1:] == (3, 4)
        for moments, axes in ((row.total, None), (row.channels, (0, 2))):
            assert moments is not None
            assert np.array_equal(np.ravel(moments.minimum), np.ravel(array.min(axis=axes)))
            assert np.array_equal(np.ravel(moments.maximum), np.ravel(array.max(axis=axes)))
            assert np.array_equal(np.ravel(moments.zeros), np.ravel((array == 0).sum(axis=axes)))
            np.testing.assert_allclose(np.ravel(moments.mean), np.ravel(array.mean(axis=axes)), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(np.ravel(moments.std), np.ravel(array.std(axis=axes)), rtol=1e-12)
        bins = row.bins
        edges = bins.start + bins.width * np.arange(len(bins.counts) + 1)
        assert np.array_equal(np.histogram(array, bins=[*edges[:-1], np.inf])[0], bins.counts)
        if row.levels is not None:
            levels, counts = np.unique(array, return_counts=True)
            assert dict(row.levels) == dict(zip(levels.tolist(), counts.tolist(), strict=True))
    assert found["x"].levels is None
    assert found["q"].op_type == "Quant"
    assert found["x"].op_type == "input"


def test_the_ends_of_a_quantizer_are_counted_for_each_channel() -> None:
    row = tensor_statistics(build(), X)["q"]
    scale = np.float32([0.5, 0.25, 2]).reshape(1, 3, 1)
    q = np.clip(np.round(X / scale), -8, 7)
    assert row.saturation is not None
    assert (row.saturation.at_low, row.saturation.at_high) == ((q == -8).sum(), (q == 7).sum())
    assert row.saturation.at_low > 0
    assert (row.saturation.low, row.saturation.high) == (-16, 14)


@pytest.mark.parametrize(
    ("node", "ends"),
    [
        ("qonnx.custom_op.general.Quant(x, s, z, b)", (-8 * 0.5, 7 * 0.5)),
        ("qonnx.custom_op.general.Quant<signed = 0>(x, s, z, b)", (0, 7.5)),
        ("qonnx.custom_op.general.Quant<narrow = 1>(x, s, two, b)", ((-7 - 2) * 0.5, (7 - 2) * 0.5)),
        ("qonnx.custom_op.general.Quant<signed = 0>(x, s, z, one)", (0, 0.5)),
        ("qonnx.custom_op.general.Quant(x, s, z, one)", None),
        ("qonnx.custom_op.general.BipolarQuant(x, s)", None),
        ('qonnx.custom_op.general.MultiThreshold<out_dtype = "INT3", out_scale = 2.0, out_bias = -3.0>(x, t)', (-3, 1)),
        ("qonnx.custom_op.general.FloatQuant<has_inf = 0, has_nan = 0, has_subnormal = 1, saturation = 1>"
         "(x, s, b, two, z, top)", (-3.0, 3.0)),
        ("Neg(x)", None),
    ],
)  # fmt: skip
def test_the_ends_are_those_of_the_definition(node: str, ends: tuple[float, float] | None) -> None:
    body = f"""g (float[N, 2] x) => (float[N, 2] y)
    <float s = {{0.5}}, float z = {{0}}, float b = {{4}}, float one = {{1}},
     float two = {{2}}, float top = {{6}}, float[1, 2] t = {{-1, 1}}> {{ y = {node} }}"""
    x = np.float32([[-1e6, 1e6], [0, 0.3], [1e6, 1e6]])
    found = tensor_statistics(build(body), x, tensors="y")["y"]
    if ends is None:
        assert found.saturation is None
    else:
        assert found.saturation is not None
        assert (found.saturation.low, found.saturation.high) == ends
        assert (found.saturation.low, found.saturation.high) == (found.total.minimum[0], found.total.maximum[0])
        assert found.saturation.at_high >= 3


def test_channels_follow_the_layout() -> None:
    model = build("g (float[N, 2, 3] x) => (float[N, 2, 3] y) { y = Neg(x) }")
    x = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    assert tensor_statistics(model, x)["x"].channels.maximum == tuple(x.max(axis=(0, 2)).astype(float))
    set_layout(model.graph.inputs[0], ("N", "W", "C"))
    assert tensor_statistics(model, x)["x"].channels.maximum == tuple(x.max(axis=(0, 1)).astype(float))


def test_nan_and_infinity_are_counted_apart() -> None:
    x = np.float32([[np.nan, 1, -2], [np.inf, -np.inf, 0], [np.nan, 3, np.nan]])
    row = tensor_statistics(build("g (float[N, 3] x) => (float[N, 3] y) { y = Neg(x) }"), x, batch_size=2)["x"]
    assert (row.nans, row.infinities, row.elements) == (3, 2, 9)
    assert (row.total.minimum, row.total.maximum, row.total.zeros) == ((-2,), (3,), (1,))
    assert row.total.mean == (0.5,)
    assert row.levels == {-2: 1, 0: 1, 1: 1, 3: 1}
    assert math.isnan(row.channels.mean[0])
    assert row.channels.mean[1:] == (2, -1)
    text = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert text["channels"]["mean"] == [None, 2, -1]
    assert "channels" not in row.to_dict(channels=False)


def test_large_means_do_not_cost_digits_of_the_deviation() -> None:
    x = (np.random.default_rng(2).normal(size=(1000, 2)) + 1e8).astype(np.float64)
    body = "g (double[N, 2] x) => (double[N, 2] y) { y = Neg(x) }"
    row = tensor_statistics(build(body), x, batch_size=10)["x"]
    np.testing.assert_allclose(row.total.std[0], x.std(), rtol=1e-9)


def test_integers_and_flags_are_numbers_too() -> None:
    body = "g (int64[N, 2] x) => (int64[N, 2] y, bool[N, 2] b) <int64 k = {3}> { y = Add(x, k) b = Less(x, k) }"
    found = tensor_statistics(build(body), np.asarray([[1, 2], [3, 4]]))
    assert found["y"].levels == {4: 1, 5: 1, 6: 1, 7: 1}
    assert found["b"].levels == {0: 2, 1: 2}


@pytest.mark.parametrize(
    ("data", "tensors", "message"),
    [
        (X[:0], None, "samples: found none; expected at least one"),
        (X, ["c"], "those asked for are constants"),
        (X, ["nothing*"], "the model computes none of this name"),
        (X[:, :2], None, "has shape"),
    ],
)
def test_what_cannot_be_counted_is_refused(data: np.ndarray, tensors: list[str] | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        tensor_statistics(build(), data, tensors=tensors)


NUMBERS = st.one_of(
    st.floats(-100, 100, width=32),
    st.integers(-8, 7).map(lambda k: k * 0.25),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 1.0000001, 3.4e38, -3.4e38, 1e-45]),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=20), min_size=1, max_size=6))
def test_a_histogram_does_not_depend_on_the_order(batches: list[list[float]]) -> None:
    values = np.asarray([value for batch in batches for value in batch])
    together, parts, backwards = Histogram(), Histogram(), Histogram()
    together.add(values)
    for batch in batches:
        parts.add(np.asarray(batch))
    for batch in reversed(batches):
        backwards.add(np.asarray(batch, np.float64))
    assert together.bins == parts.bins == backwards.bins
    assert together.levels == parts.levels == backwards.levels
    bins = together.bins
    assert sum(bins.counts) == values.size
    assert len(bins.counts) <= MAX_BINS
    assert bins.counts[0] > 0
    assert bins.counts[-1] > 0
    assert bins.start <= values.min()
    assert bins.width == 0 or bins.start + bins.width > values.min()
    if bins.width:
        index = np.floor(values / bins.width) - bins.start / bins.width
        assert np.array_equal(np.bincount(index.astype(int), minlength=len(bins.counts)), bins.counts)


def test_levels_are_given_up_where_there_are_many() -> None:
    few, many = Histogram(), Histogram()
    few.add(np.arange(MAX_LEVELS))
    few.add(np.arange(MAX_LEVELS))
    for start in range(0, 2 * MAX_LEVELS, 64):
        many.add(np.arange(start, start + 64))
    assert few.levels == dict.fromkeys(range(MAX_LEVELS), 2)
    assert many.levels is None
    assert Histogram().bins.counts == ()


def test_the_batch_is_small_where_the_tensors_are_large() -> None:
    body = "g (float[N, 3, 1000, 1000] x) => (float[N, 3, 1000, 1000] y) { y = Neg(x) }"
    assert Collector(build(body)).batch_size == 1
    assert Collector(build(), "q").batch_size == 256


def test_numbers_whose_squares_are_no_float64_have_a_deviation() -> None:
    body = "g (double[N, 2] x) => (double[N, 2] y) { y = Neg(x) }"
    data = np.asarray([[1.0, -3.0], [3.0, 1.0], [2.0, 2.0]])
    plain, large = (tensor_statistics(build(body), data * scale)["x"].total for scale in (1.0, 2.0**1000))
    assert large.std[0] == plain.std[0] * 2.0**1000
    assert large.mean[0] == plain.mean[0] * 2.0**1000


def test_a_number_for_all_samples_counts_once() -> None:
    body = "g (float[N, 2] x, bool c) => (float[N, 2] y) { n = Neg(x) y = Where(c, x, n) }"
    found = tensor_statistics(build(body), {"x": np.ones((10, 2), np.float32), "c": np.asarray(True)}, batch_size=2)
    assert (found["c"].elements, found["x"].elements, found["y"].samples) == (1, 20, 10)

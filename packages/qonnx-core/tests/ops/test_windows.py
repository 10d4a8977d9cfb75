"""QuantAvgPool2d, MaxPoolNHWC, Im2Col and XnorPopcountMatMul against oracles that loop over windows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

import qonnx_core
from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ops import Im2Col, MaxPoolNHWC, QuantAvgPool2d, XnorPopcountMatMul
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.testing.op_contract import run_op

SETTINGS = settings(max_examples=40, deadline=None)
HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'


def data(seed: int, shape: tuple[int, ...], low: int, high: int, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)


def windows(x, kernel, stride, dilation=(1, 1)):
    """Yield (row, column, window) of an image batch (N, H, W, C)."""
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows = range(0, x.shape[1] - reach[0] + 1, stride[0])
    columns = range(0, x.shape[2] - reach[1] + 1, stride[1])
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        window = x[:, top : top + reach[0] : dilation[0], left : left + reach[1] : dilation[1]]
        yield i, j, window


def gathered(found):
    """Return the array of results that were made window by window."""
    rows, columns = 1 + max(i for i, _, _ in found), 1 + max(j for _, j, _ in found)
    table = {(i, j): y for i, j, y in found}
    return np.stack([np.stack([table[i, j] for j in range(columns)], axis=1) for i in range(rows)], axis=1)


def quant_avg_pool(x, stride, kernel, ibits, obits):
    shift = max(0, ((2**ibits - 1) * kernel**2).bit_length() - obits)
    sums = [(i, j, w.astype(np.int64).sum(axis=(1, 2)) >> shift)
            for i, j, w in windows(x, (kernel, kernel), (stride, stride))]  # fmt: skip
    return gathered(sums).astype(x.dtype)


@SETTINGS
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 12),
    st.integers(2, 12), st.booleans(), st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_average_pooling_adds_and_shifts(seed, batch, kernel, stride, ibits, obits, signed, dtype) -> None:
    low, high = (-(2 ** (ibits - 1)), 2 ** (ibits - 1) - 1) if signed else (0, 2**ibits - 1)
    x = data(seed, (batch, kernel + 4, kernel + 3, 2), low, high, dtype)
    expected = quant_avg_pool(x, stride, kernel, ibits, obits)
    found = run_op(QuantAvgPool2d(stride, kernel, ibits, obits, signed, "NHWC"), x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    found = run_op(QuantAvgPool2d(stride, kernel, ibits, obits, signed), x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found, expected.transpose(0, 3, 1, 2))


def test_average_pooling_of_wide_integers_is_exact() -> None:
    """The average in float32 loses bits of sums above 2^24."""
    x = np.full((1, 1, 3, 3), 2**22 - 1, np.float32)
    assert run_op(QuantAvgPool2d(1, 3, 22, 26, False), x.astype(np.float64)).item() == (9 * (2**22 - 1))
    x[0, 0, 0, 0] = 1
    total = 8 * (2**22 - 1) + 1
    assert run_op(QuantAvgPool2d(1, 3, 22, 22, False), x).item() == total >> 4


@SETTINGS
@given(
    st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.lists(st.integers(0, 1), min_size=4, max_size=4),
)  # fmt: skip
def test_max_pooling_is_that_of_onnx_with_channels_last(seed, kernel, stride, pads) -> None:
    pads = [min(pad, kernel[axis % 2] - 1) for axis, pad in enumerate(pads)]
    x = data(seed, (2, 6, 5, 3), -9, 9)
    x[0, 0, 0, 0] = np.finfo(np.float32).min
    padded = np.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)), constant_values=-np.inf)
    expected = gathered([(i, j, window.max(axis=(1, 2))) for i, j, window in windows(padded, kernel, stride)])
    np.testing.assert_array_equal(run_op(MaxPoolNHWC(kernel, tuple(pads), stride), x), expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    list(itertools.product([5, 6, 7], [2, 3], [1, 2, 3], [(0, 0), (1, 1), (0, 1)])),
)
def test_the_shape_with_ceil_mode_is_the_computed_one(size, kernel, stride, pads) -> None:
    text = f"""g (float[N, {size}, {size}, 2] x) => (float[N, H, W, 2] y) {{ y = qonnx.custom_op.general.MaxPoolNHWC
    <kernel_shape = [{kernel}, 1], strides = [{stride}, 1], pads = [{pads[0]}, 0, {pads[1]}, 0], ceil_mode = 1>(x) }}"""
    model = qonnx_core.cleanup_model(from_proto(parser.parse_model(HEAD + text)))
    (found,) = qonnx_core.compile_model(model).run({"global_in": np.ones((3, size, size, 2), np.float32)}).values()
    assert list(model.graph.outputs[0].shape)[1:] == list(found.shape[1:])


def im2col(x, kernel, stride, pads, value, dilation):
    padded = np.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)), constant_values=value)
    return gathered([(i, j, w.reshape(len(x), -1)) for i, j, w in windows(padded, kernel, stride, dilation)])


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), PAIRS, PAIRS, PAIRS, st.lists(st.integers(0, 2), min_size=4,
       max_size=4), st.integers(-2, 2))  # fmt: skip
def test_im2col_puts_every_window_into_a_row(seed, batch, kernel, stride, dilation, pads, value) -> None:
    """Defect 18 of the reference: without an annotation of its input it fails, and it mixes the samples of a batch."""
    x = data(seed, (batch, 8, 7, 3), -9, 9)
    op = Im2Col(stride, kernel, "(1, 8, 7, 3)", tuple(pads), value, False, dilation)
    np.testing.assert_array_equal(run_op(op, x), im2col(x, kernel, stride, pads, value, dilation))


IM2COL = """g (float[N, H, W, 2] x) => (float[N, P, Q, 8] y)
{ y = qonnx.custom_op.general.Im2Col<stride = [2, 1], kernel_size = [2, 2], input_shape = "SHAPE",
  pad_amount = [1, 0, 0, 1]>(x) }"""


def test_im2col_takes_images_of_any_size() -> None:
    model = qonnx_core.cleanup_model(from_proto(parser.parse_model(HEAD + IM2COL.replace("SHAPE", "(1, 4, 4, 2)"))))
    compiled = qonnx_core.compile_model(model)
    for shape in ((1, 4, 4, 2), (3, 7, 9, 2)):
        x = data(0, shape, 0, 9)
        (found,) = compiled.run({"global_in": x}).values()
        np.testing.assert_array_equal(found, im2col(x, (2, 2), (2, 1), (1, 0, 0, 1), 0, (1, 1)))


@pytest.mark.parametrize("text", ["__import__('os')", "(1, 2, 3)", "(1, 4, 4, n)", ""])
def test_an_input_shape_that_is_no_shape_is_refused(text) -> None:
    with pytest.raises(InvalidModel, match=r"y \(Im2Col\): input_shape is .*; expected four numbers"):
        from_proto(parser.parse_model(HEAD + IM2COL.replace("SHAPE", text)))


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2))
def test_xnor_popcount_counts_equal_bits(seed, rows, inner, columns, lead) -> None:
    shape = (2, 3)[:lead]
    a, b = data(seed, (*shape, rows, inner), 0, 1), data(seed + 1, (*shape[1:], inner, columns), 0, 1)
    expected = (a[..., :, :, None] == b[..., None, :, :]).sum(axis=-2).astype(np.float32)
    np.testing.assert_array_equal(run_op(XnorPopcountMatMul(), a, b), expected)


def test_any_batch_runs_where_the_file_says_one() -> None:
    text = """g (float[1, 8, 8, 2] x) => (float[1, 3] y) <float[18, 3] w = {WEIGHTS}, int64[2] s = {1, 18}>
    { a = qonnx.custom_op.general.MaxPoolNHWC<kernel_shape = [2, 2], pads = [0, 0, 0, 0], strides = [2, 2]>(x)
      b = qonnx.custom_op.general.Im2Col<stride = [1, 1], kernel_size = [3, 3], input_shape = "(1, 4, 4, 2)">(a)
      c = qonnx.custom_op.general.QuantAvgPool2d<stride = 2, kernel = 2, ibits = 1, obits = 3, signed = 0,
        data_layout = "NHWC">(b)
      d = Reshape(c, s) y = qonnx.custom_op.general.XnorPopcountMatMul(d, w) }"""
    loaded = from_proto(parser.parse_model(HEAD + text.replace("WEIGHTS", ", ".join("01" * 27))))
    x = data(0, (5, 8, 8, 2), 0, 1)
    a = gathered([(i, j, w.max(axis=(1, 2))) for i, j, w in windows(x, (2, 2), (2, 2))])
    b = im2col(a, (3, 3), (1, 1), (0, 0, 0, 0), 0, (1, 1))
    c = quant_avg_pool(b, 2, 2, 1, 3).reshape(5, 18)
    weights = np.tile(np.float32([0, 1]), 27).reshape(18, 3)
    expected = ((2 * c - 1) @ (2 * weights - 1) + 18) / 2
    cleaned = qonnx_core.cleanup_model(loaded)
    assert cleaned.graph.inputs[0].shape[0] == "batch"
    for model in (loaded, cleaned):
        (found,) = qonnx_core.compile_model(model).run({model.graph.inputs[0].name: x}).values()
        np.testing.assert_array_equal(found, expected)


def test_data_types_follow() -> None:
    text = """g (float[N, 8, 8, 2] x) => (float[N, P, Q, 8] y, float[N, 3] z)
    <float s = {1}, float o = {0}, float b = {4}, float one = {1}>
    { q = qonnx.custom_op.general.Quant<signed = 0>(x, s, o, b)
      m = qonnx.custom_op.general.MaxPoolNHWC<kernel_shape = [2, 2], pads = [0, 0, 0, 0], strides = [2, 2]>(q)
      y = qonnx.custom_op.general.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1, 4, 4, 2)",
        pad_amount = [1, 1, 1, 1], pad_value = PAD>(m)
      p = qonnx.custom_op.general.QuantAvgPool2d<stride = 1, kernel = 2, ibits = 4, obits = 5, signed = 1>(m)
      c = qonnx.custom_op.general.Quant<signed = 0>(x, s, o, one)
      z = qonnx.custom_op.general.XnorPopcountMatMul(c, c) }"""
    for pad, expected in (("0", "UINT4"), ("-1", "INT5")):
        model = from_proto(parser.parse_model(HEAD + text.replace("PAD", pad)))
        InferDataTypes().run(model)
        found = {value.name: str(get_datatype(value)) for node in model.graph for value in node.outputs}
        assert found == {"q": "UINT4", "m": "UINT4", "y": expected, "p": "UINT5", "c": "BINARY", "z": "UINT32"}


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (
            "MaxPoolNHWC<kernel_shape = [2], pads = [0, 0, 0, 0], strides = [1, 1]>",
            r"kernel_shape is \[2\]; expected 2",
        ),
        (
            "MaxPoolNHWC<kernel_shape = [2, 2], pads = [0, 0], strides = [1, 1]>",
            r"pads is \[0, 0\]; expected 4 numbers",
        ),
        ("MaxPoolNHWC<kernel_shape = [2, 2], pads = [0, 0, 0, 0]>", "attribute strides is missing"),
        ("QuantAvgPool2d<stride = 0, kernel = 2, ibits = 4, obits = 4, signed = 0>", "stride is 0; expected 1 to"),
        ("QuantAvgPool2d<stride = 1, kernel = 2, ibits = 4, obits = 1, signed = 0>", "obits is 1; expected 2 to 32"),
        ("QuantAvgPool2d<stride = 1, kernel = 2, ibits = 4, obits = 4, signed = 2>", "attribute signed is 2; expected"),
        ('Im2Col<stride = [1, 0], kernel_size = [2, 2], input_shape = "(1,8,8,2)">', r"stride is \[1, 0\]; expected 2"),
        ('Im2Col<stride = [1, 1], kernel_size = 2, input_shape = "(1,8,8,2)">', "attribute kernel_size is 2; expected"),
    ],
)
def test_wrong_attributes_are_refused_at_load(op, message) -> None:
    text = f"g (float[N, 8, 8, 2] x) => (float[N, P, Q, R] y) {{ y = qonnx.custom_op.general.{op}(x) }}"
    with pytest.raises(InvalidModel, match=message):
        from_proto(parser.parse_model(HEAD + text))


def test_the_oracle_counts_windows_as_the_format_does() -> None:
    assert len(list(windows(np.zeros((1, 8, 7, 1)), (3, 2), (2, 3)))) == math.floor((8 - 3) / 2 + 1) * 2

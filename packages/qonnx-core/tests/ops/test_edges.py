"""Operators at the edges: ranks 0 to 5, empty data, parameters that broadcast, NaN, infinities, both zeros, float16."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import (
    BipolarQuant,
    ChannelsLastBatchNormalization,
    ChannelsLastMaxPool,
    DebugMarker,
    Im2Col,
    IntQuant,
    MultiThreshold,
    Quant,
    Rounding,
    Trunc,
    TruncV1,
    XnorPopcountMatMul,
)
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing.op_contract import example_model, run_op


def _oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edge_oracle", Path(__file__).with_name("oracle.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLE = _oracle()
Array = NDArray[Any]
KINDS = st.sampled_from([np.float32, np.float32, np.float64, np.float16])
ROUNDINGS = st.sampled_from([str(mode) for mode in Rounding])
EDGES = [0.0, -0.0, 0.5, -0.5, 1.5, -2.5, 7.0, 7.5, -8.0, -8.5, 127.5, -128.5, 6e4, -6e4, np.inf, -np.inf, np.nan, 6e-8]
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def data(draw: st.DrawFn, least_rank: int = 0) -> Array:
    kind = draw(KINDS)
    shape = draw(hnp.array_shapes(min_dims=least_rank, max_dims=5, min_side=0, max_side=3))
    return draw(hnp.arrays(kind, shape, elements=st.sampled_from([float(kind(number)) for number in EDGES])))


def parameter(draw: st.DrawFn, x: Array, numbers: list[float]) -> Array:
    """Return a parameter of full rank or less, with ones where it is shared, in the element type of the data."""
    if x.size == 0 or draw(st.booleans()):
        return np.asarray(draw(st.sampled_from(numbers)), x.dtype)
    shape = tuple(size if draw(st.booleans()) else 1 for size in x.shape)
    shape = shape[draw(st.integers(0, len(shape))) :]
    return draw(hnp.arrays(x.dtype, shape, elements=st.sampled_from(numbers)))


def assert_same(found: Array, wanted: Array) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@SETTINGS
@given(st.data(), data(), ROUNDINGS, st.booleans(), st.booleans(), st.sampled_from([1, 2, 3, 8, 11]))
def test_quant_at_the_edges(draw: Any, x: Array, mode: str, signed: bool, narrow: bool, bits: int) -> None:
    kind = draw.draw(st.sampled_from([Quant, IntQuant]))
    scale = parameter(draw.draw, x, [0.5, 1, 2, 0.25, -1])
    zeropt = parameter(draw.draw, x, [0, 0, 1, -3])
    found = run_op(kind(signed, narrow, Rounding.parse(mode)), x, scale, zeropt, np.float32(bits))
    assert_same(found, np.asarray(ORACLE.quant(x, scale, zeropt, bits, signed, narrow, mode), x.dtype))


@SETTINGS
@given(st.data(), data())
def test_bipolar_quant_at_the_edges(draw: Any, x: Array) -> None:
    scale = parameter(draw.draw, x, [0.5, 1, 2, -1])
    wanted = np.where(x >= 0, x.dtype.type(1), x.dtype.type(-1)) * scale
    assert_same(run_op(BipolarQuant(), x, scale), np.asarray(wanted, x.dtype))


@SETTINGS
@given(st.data(), data(), ROUNDINGS, st.sampled_from([(8, 4), (4, 4), (6, 1), (4, 6)]))
def test_trunc_of_version_1_at_the_edges(draw: Any, x: Array, mode: str, bits: tuple[int, int]) -> None:
    scale = draw.draw(st.sampled_from([0.5, 1, 2]))
    zeropt = draw.draw(st.sampled_from([0, 3, -1]))
    found = run_op(TruncV1(Rounding.parse(mode)), x, *(x.dtype.type(number) for number in (scale, zeropt, *bits)))
    assert_same(found, np.asarray(ORACLE.trunc_v1(x, scale, zeropt, *bits, mode), x.dtype))


@SETTINGS
@given(st.data(), data(), ROUNDINGS, st.booleans(), st.booleans(), st.integers(-1, 4))
def test_trunc_of_version_2_at_the_edges(
    draw: Any, x: Array, mode: str, signed: bool, narrow: bool, shift: int
) -> None:
    scale = draw.draw(st.sampled_from([0.5, 1, 2]))
    zeropt = draw.draw(st.sampled_from([0, 4, -8]))
    numbers = (scale, zeropt, 8, scale * 2.0**shift, 4)
    found = run_op(Trunc(Rounding.parse(mode), signed, narrow), x, *(x.dtype.type(number) for number in numbers))
    wanted = ORACLE.trunc_v2(x, scale, zeropt, scale * 2.0**shift, 4, signed, narrow, mode)
    assert_same(found, np.asarray(wanted, x.dtype))


@SETTINGS
@given(st.data(), data(least_rank=2), st.booleans(), st.integers(1, 5))
def test_multithreshold_at_the_edges(draw: Any, x: Array, last: bool, levels: int) -> None:
    axis = x.ndim - 1 if last else 1
    rows = draw.draw(st.sampled_from([1, max(1, x.shape[axis])]))
    numbers = st.sampled_from([-np.inf, -8, -0.5, -0.0, 0.0, 0.5, 1.5, 7, np.inf])
    thresholds = np.sort(draw.draw(hnp.arrays(np.float32, (rows, levels), elements=numbers)), axis=1)
    layout = "N" + "DHW"[5 - x.ndim :] + "C" if last else "NC" + "DHW"[5 - x.ndim :]
    found = run_op(MultiThreshold("INT8", 0.5, -1.0, layout if x.ndim > 2 else "NC"), x, thresholds)
    assert_same(found, np.asarray(ORACLE.multithreshold(x, thresholds.astype(x.dtype), axis, 0.5, -1.0), x.dtype))


@pytest.mark.parametrize(
    ("bits", "signed", "end"), [(24, True, 2**23 - 1), (53, False, 2**53 - 1), (1000, True, 3e300)]
)
def test_bit_widths_beyond_float32_quantize_float64(bits: int, signed: bool, end: float) -> None:
    x = np.asarray([0.5, 1.5, -0.0, 3e300, -3e300], np.float64)
    found = run_op(Quant(signed), x, np.float64(1), np.float64(0), np.float64(bits))
    low = -3e300 if bits == 1000 else -(2.0 ** (bits - 1)) if signed else 0.0
    np.testing.assert_array_equal(found, [0, 2, 0, end, low])


@pytest.mark.parametrize("op", [Quant(), BipolarQuant(), TruncV1(), Trunc()], ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 1)])
def test_empty_data_stay_empty_at_run_time(op: QonnxOp, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    model = example_model(op, [x, *(np.float32(2) for _ in op.inputs[1:])], constants=True)
    assert qonnx_core.compile_model(model).run({op.inputs[0]: x})["y"].shape == shape


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize(("kind", "bits"), [(np.float16, 24), (np.float32, 200)])
def test_bounds_beyond_the_element_type_are_infinite_known_or_not(kind: Any, bits: int, constants: bool) -> None:
    inputs = [kind([np.inf, -np.inf, 3.5]), kind(1), kind(0), np.float32(bits)]
    feeds = dict(zip(Quant.inputs, inputs[: 1 if constants else None], strict=False))
    found = qonnx_core.compile_model(example_model(Quant(), inputs, constants=constants)).run(feeds)["y"]
    assert found.tolist() == [np.inf, -np.inf, 4]


@pytest.mark.parametrize("constants", [True, False])
def test_what_an_unsigned_quantizer_clips_to_zero_is_no_negative_zero(constants: bool) -> None:
    inputs = [np.float32([-3, -0.25, -np.inf]), np.float32(0.5), np.float32(0), np.float32(4)]
    feeds = dict(zip(Quant.inputs, inputs[: 1 if constants else None], strict=False))
    found = qonnx_core.compile_model(example_model(Quant(signed=False), inputs, constants=constants)).run(feeds)["y"]
    assert found.tolist() == [0, 0, 0]
    assert not np.signbit(found).any()


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize("rank_known", [True, False])
@pytest.mark.parametrize(("layout", "shape"), [
    ("NCHW", (0, 3, 2, 2)), ("NCHW", (2, 0, 2, 2)), ("NCHW", (2, 3, 2, 0)), ("NCHW", (0, 0, 0, 0)),
    ("NHWC", (0, 2, 2, 3)), ("NHWC", (2, 2, 2, 0)), ("", (2, 0)), ("NCW", (0, 3, 0)),
])  # fmt: skip
def test_multithreshold_takes_empty_data(
    layout: str, shape: tuple[int, ...], rank_known: bool, constants: bool
) -> None:
    x = np.zeros(shape, np.float32)
    rows = shape[-1 if layout.endswith("C") else 1]
    thresholds = np.zeros((rows, 3), np.float32)
    model = example_model(MultiThreshold("UINT2", data_layout=layout), [x, thresholds], constants=constants)
    if not rank_known:
        model.graph.inputs[0].shape = model.graph.outputs[0].shape = None
    feeds = {"v": x} if constants else {"v": x, "thresholds": thresholds}
    assert qonnx_core.compile_model(model).run(feeds)["y"].shape == shape


@pytest.mark.parametrize("kind", [np.int32, np.int8, np.bool_])
@pytest.mark.parametrize(
    ("op", "parameters"),
    [(BipolarQuant(), [np.float32(0.5)]), (MultiThreshold("UINT2"), [np.float32([[0.5, 1.5]])]),
     (Quant(), [np.float32(0.5), np.float32(0), np.float32(4)]), (XnorPopcountMatMul(), [np.float32([[1], [0]])])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_integer_data_are_refused_by_name_where_the_result_would_be_cut(
    op: QonnxOp, parameters: list[Any], kind: Any
) -> None:
    with pytest.raises(InvalidModel, match=rf"op \({op.op_type}\): its data are of element type .*; expected FLOAT"):
        run_op(op, np.ones((1, 2), kind), *parameters)


@pytest.mark.parametrize(("bits", "message"), [
    (np.float32([]), r"op \(Quant\): input bitwidth is empty"),
    (np.asarray(["4"]), r"op \(Quant\): input bitwidth holds no numbers"),
    (np.float32([2, 3]), r"op \(Quant\): inputs have shapes .*, which do not broadcast"),
])  # fmt: skip
@pytest.mark.parametrize("batch", ["N", 2])
def test_a_bit_width_that_is_none_is_refused_by_name(bits: Array, message: str, batch: str | int) -> None:
    """An empty one was taken for a width of one bit."""
    model = example_model(Quant(), [np.ones((2, 3), np.float32), np.float32(1), np.float32(0), bits], constants=True)
    model.graph.inputs[0].shape = ir.Shape([batch, 3])
    with pytest.raises(InvalidModel, match=message):
        qonnx_core.compile_model(model)


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (2, 1, 4, 4)), ("NHWC", (2, 4, 4, 1)), ("", (2, 3))])
def test_thresholds_of_more_channels_than_there_are_are_refused(layout: str, shape: tuple[int, ...]) -> None:
    """One channel was counted against every row, and the output had as many channels."""
    op = MultiThreshold("UINT2", data_layout=layout)
    with pytest.raises(InvalidModel, match=r"op \(MultiThreshold\): its thresholds have 4 rows, .* expected 1 row"):
        run_op(op, np.ones(shape, np.float32), np.zeros((4, 2), np.float32))


def test_an_unknown_data_type_of_an_output_is_refused_by_name() -> None:
    model = example_model(MultiThreshold("FOO"), [np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)],
                          constants=True)  # fmt: skip
    with pytest.raises(InvalidModel, match=r"op \(MultiThreshold\): out_dtype: .*found 'FOO'"):
        from_proto(ir.to_proto(model))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(0, 6, 7, 2), (2, 1, 7, 2), (2, 6, 1, 2), (2, 6, 7, 0), (0, 1, 1, 2)])
def test_im2col_gives_no_rows_where_there_are_no_windows(shape: tuple[int, ...], known: bool) -> None:
    x = np.zeros(shape, np.float32)
    model = example_model(Im2Col((1, 2), (2, 3), "(1,6,7,2)", (0, 1, 0, 0)), [x], constants=True)
    if not known:
        model.graph.inputs[0].shape = ir.Shape([None] * 4)
    rows, columns = max(0, shape[1] - 1), max(0, (shape[2] + 1 - 3) // 2 + 1)
    found = qonnx_core.compile_model(model).run({"x": x})["y"]
    assert found.shape == (shape[0], rows, columns, 6 * shape[3])


@pytest.mark.parametrize("op", [ChannelsLastMaxPool((1, 1)), ChannelsLastBatchNormalization()])
def test_channels_last_operators_take_no_samples_of_any_rank(op: QonnxOp) -> None:
    x = np.zeros((0, 3, 4, 2), np.float32)
    model = example_model(op, [x, *([np.ones(2, np.float32)] * (len(op.inputs) - 1))], constants=True)
    model.graph.inputs[0].shape = model.graph.outputs[0].shape = None
    assert qonnx_core.compile_model(model).run({"x": x})["y"].shape == x.shape


@SETTINGS
@given(data())
def test_a_debug_marker_gives_what_it_gets(x: Array) -> None:
    found = run_op(DebugMarker("seen"), x)
    assert_same(found, x)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(x))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_generic_partition_computes_what_its_model_says(batch: int, tmp_path: Path) -> None:
    """Inputs and outputs are matched by position, whatever their names."""
    head = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
    inner = onnx.parser.parse_model(
        head
        + "i (float[N, 4] p, float[N, 4] q) => (float[N, 4] s, float[N, 4] t)"
        + "{ d = Sub(p, q) s = Mul(d, p) t = Neg(q) }"
    )
    (tmp_path / "inner.onnx").write_bytes(inner.SerializeToString())
    outer = onnx.parser.parse_model(
        head
        + """o (float[N, 4] x, float[N, 4] z) => (float[N, 4] a, float[N, 4] b)
        { a, b = qonnx.custom_op.general.GenericPartition<model = "inner.onnx">(z, x) }"""
    )
    (tmp_path / "outer.onnx").write_bytes(outer.SerializeToString())
    x, z = np.random.default_rng(0).integers(-8, 9, (2, batch, 4)).astype(np.float32)
    found = qonnx_core.compile_model(qonnx_core.load(tmp_path / "outer.onnx")).run({"x": x, "z": z})
    np.testing.assert_array_equal(found["a"], (z - x) * z)
    np.testing.assert_array_equal(found["b"], -x)

"""Channels-last conversion: the graph before and after, the same bits, and no Transpose that is not needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core import cleanup_model, compile_model
from qonnx_core.errors import Unsupported
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, get_layout, set_datatype, set_layout
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.testing.graph_text import constant, graph_lines, model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph
from qonnx_core.testing.work import check_linear

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 2, "qonnx.custom_op.channels_last": 21]>'
Q = "qonnx.custom_op.general"
LAST = "qonnx.custom_op.channels_last"


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def whole(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def converted(body: str, inputs: dict[str, np.ndarray], *, transposes: int) -> ir.Model:
    """Return the converted model, having checked values and the number of Transposes."""
    changed = check_pass(ConvertToChannelsLast(strict=True), build(body), inputs, min_edits=1)
    assert op_types(changed).count("Transpose") == transposes, graph_lines(changed)
    assert all(node.name and all(value.name for value in node.outputs) for node in changed.graph)
    return changed


W = whole(0, 3, 2, 3, 3)
X = whole(1, 4, 2, 6, 5)


def test_an_unread_node_with_branches_goes_with_what_it_reads() -> None:
    body = f"""g (float[4, 2, 6, 5] x, bool c) => (y) <{constant("w", W)}> {{
        h = Neg(x) y = Conv(h, w) unread = If(c) <
        then_branch = t () => (a) {{ a = Relu(h) }}, else_branch = f () => (b) {{ b = Abs(h) }}> }}"""
    changed = converted(body, {"x": X, "c": np.array(True)}, transposes=2)
    assert op_types(changed) == ["Transpose", "Neg", "Conv", "Transpose"]


def test_a_small_network_before_and_after() -> None:
    dense = whole(2, 12, 2)
    scale = 2.0 ** np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    before = build(f"""g (float[N, 2, 6, 5] x) => (float[N, 2] y)
        <{constant("w", W)}, {constant("s", scale)}, float z = {{0}}, float b = {{4}}, {constant("c", whole(3, 3))},
         {constant("d", dense[:9])}>
        {{ q = {Q}.Quant(w, s, z, b) a = Conv<pads = [1, 1, 1, 1]>(x, q, c) r = Relu(a)
           p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) h = Add(p, p)
           m = MaxPool<kernel_shape = [1, 2]>(h) f = Flatten(m) y = MatMul(f, d) }}""")
    order = np.arange(9).reshape(3, 3, 1).transpose(1, 2, 0).reshape(-1)
    after = build(f"""g (float[N, 2, 6, 5] x) => (float[N, 2] y)
        <{constant("w", W.transpose(0, 2, 3, 1))}, {constant("s", scale)}, float z = {{0}}, float b = {{4}},
         {constant("c", whole(3, 3))}, {constant("d", dense[:9][order])}>
        {{ t = Transpose<perm = [0, 2, 3, 1]>(x) q = {Q}.Quant(w, s, z, b)
           a = {LAST}.Conv<dilations = [1, 1], group = 1, kernel_shape = [3, 3], pads = [1, 1, 1, 1],
             strides = [1, 1]>(t, q, c)
           r = Relu(a) p = {LAST}.MaxPool<kernel_shape = [2, 2], pads = [0, 0, 0, 0], strides = [2, 2]>(r)
           h = Add(p, p) m = {LAST}.MaxPool<kernel_shape = [1, 2], pads = [0, 0, 0, 0], strides = [1, 1]>(h)
           f = Flatten(m) y = MatMul(f, d) }}""")
    changed = check_pass(ConvertToChannelsLast(), before, {"x": X}, min_edits=1)
    assert graph_lines(cleanup_model(changed)) == graph_lines(cleanup_model(after))
    assert [node.op_type for node in changed.graph if node.op_type == "Transpose"] == ["Transpose"]


# What follows a convolution, the number of Transposes (at the input, at the output, around what knows one layout)
BEHIND_A_CONVOLUTION = {
    "residual": ("b = Conv<pads = [1, 1, 1, 1]>(a, v) c = Add(a, b) y = Relu(c)", 2),
    "residual from the input": ("t = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(a, t)", 2),
    "concat": ("b = Conv<pads = [1, 1, 1, 1]>(a, v) c = Concat<axis = 1>(a, b) y = Concat<axis = -3>(c, a)", 2),
    "attention": ("q = Reshape(a, patches) t = Transpose<perm = [0, 2, 1]>(q) s = MatMul(t, q) c = Clip(s, low, two) "
                  "u = Transpose<perm = [0, 2, 1]>(c) m = MatMul(q, u) r = Reshape(m, image) y = Add(r, a)", 3),
    "product with the transposed": ("t = Transpose<perm = [0, 1, 3, 2]>(a) m = MatMul(a, t) y = Relu(m)", 3),
    "concat of rows": ("y = Concat<axis = 2>(a, a)", 2),
    "scalar": ("y = Mul(a, two)", 2),
    "per channel": ("b = Mul(a, k) c = Add(k, b) d = Sub(c, k3) y = Div(d, k2)", 2),
    "per column": ("y = Mul(a, col)", 2),
    "whole operand": ("y = Mul(map, a)", 2),
    "where": ("b = Greater(a, k) y = Where(b, a, k3)", 2),
    "unary": ("b = Neg(a) c = Clip(b, low, two) d = LeakyRelu<alpha = 0.5>(c) y = Abs(d)", 2),
    "prelu": ("y = PRelu(a, k3)", 2),
    "max pool": ("y = MaxPool<kernel_shape = [2, 2], strides = [2, 1], pads = [1, 0, 0, 1]>(a)", 2),
    "max pool auto": ('y = MaxPool<kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_LOWER">(a)', 2),
    "max pool ceil": ("y = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1, dilations = [2, 1]>(a)", 2),
    "average pool": ("y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)", 2),
    "average pool padded": ("y = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(a)", 2),
    "average pool counting": (
        "y = AveragePool<kernel_shape = [4, 2], pads = [1, 1, 1, 1], count_include_pad = 1>(a)", 2),
    "average pool auto": ('y = AveragePool<kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_UPPER">(a)', 2),
    "average pool of all": ("b = AveragePool<kernel_shape = [6, 5]>(a) f = Flatten(b) y = MatMul(f, e)", 1),
    "global average": ("b = GlobalAveragePool(a) f = Flatten(b) y = MatMul(f, e)", 1),
    "global max": ("b = GlobalMaxPool(a) f = Reshape(b, zero_all) y = MatMul(f, e)", 1),
    "global gate": ("b = GlobalMaxPool(a) c = Sigmoid(b) d = Round(c) y = Mul(a, d)", 2),
    "mean": ("b = ReduceMean<keepdims = 1>(a, hw) y = Mul(a, b)", 2),
    "sum of rows": ("b = ReduceSum<keepdims = 0>(a, hw) y = MatMul(b, e)", 1),
    "sum of channels": ("b = ReduceSum<keepdims = 1>(a, ch) y = Mul(a, b)", 2),
    "argmax": ("y = ArgMax<axis = 1, keepdims = 0>(a)", 1),
    "softmax": ("b = Softmax<axis = 1>(a) y = Round(b)", 2),
    "topk": ("y, i = TopK<axis = 1>(a, one64)", 2),
    "batch norm": ("y = BatchNormalization<epsilon = 0.0>(a, n, n, n, o)", 2),
    "quant": (f"b = {Q}.Quant<signed = 1>(a, k2, zero, four) y = {Q}.BipolarQuant(b, half)", 2),
    "trunc": (f'y = {Q}.Trunc<rounding_mode = "FLOOR">(a, half, zero, eight, two, four)', 2),
    "float quant": (f"y = {Q}.FloatQuant(a, k2, four, three, seven, top)", 2),
    "thresholds": (f'b = {Q}.MultiThreshold<out_dtype = "UINT2">(a, th) y = Mul(b, two)', 2),
    "shared thresholds": (f'y = {Q}.MultiThreshold<out_dtype = "INT3", out_bias = -2.0>(a, th1)', 2),
    "quant average": (
        f"b = Abs(a) y = {Q}.QuantAvgPool2d<stride = 2, kernel = 2, ibits = 8, obits = 4, signed = 0>(b)", 2),
    "pad": ("b = Pad(a, pads) y = Relu(b)", 2),
    "pad with axes": ('y = Pad<mode = "reflect">(a, pads2, none, hw)', 2),
    "pad of running size": ("y = Pad(a, p, two)", 2),
    "resize": ('y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric">(a, none, scales)', 2),
    "resize linear": ('y = Resize<mode = "linear">(a, none, scales)', 2),
    "resize to size": ('y = Resize<mode = "nearest">(a, none, none, sizes)', 2),
    "resize to computed size": ("h = Shape(a) d = Mul(h, twice) y = Resize(a, none, none, d)", 2),
    "resize to the size of another": ("b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) h = Shape(a) "
                                      "u = Resize(b, none, none, h) y = Concat<axis = 1>(a, u)", 2),
    "resize of axes": ('y = Resize<mode = "nearest", axes = [3, 2]>(a, none, scales2)', 2),
    "resize of axes to size": ('b = Resize<mode = "nearest", axes = [-1, 2]>(a, none, none, sizes2) y = Conv(b, v)', 2),
    "resize cubic": ('b = Resize<mode = "cubic">(a, none, scales) y = Round(b)', 2),
    "split": ("b, c = Split<axis = 1>(a, parts) d = Concat<axis = 1>(c, b) y = Relu(d)", 2),
    "slice": ("b = Slice(a, starts, ends, hw) y = Relu(b)", 2),
    "slice without axes": ("y = Slice(a, s4, e4)", 2),
    "gather": ("b = Gather<axis = 1>(a, picked) y = Relu(b)", 2),
    "gather of one channel": ("b = Gather<axis = 1>(a, one0) y = Relu(b)", 1),
    "gather of one row": ("b = Gather<axis = 2>(a, one0) y = Relu(b)", 2),
    "tile": ("y = Tile(a, reps)", 2),
    "gemm": ("f = Flatten(a) y = Gemm<transB = 1>(f, gt, n2)", 1),
    "matmul of a quantized weight": (f"f = Flatten(a) q = {Q}.Quant(g, gs, zero, four) y = MatMul(f, q)", 1),
    "features": (
        f"f = Reshape(a, flat) b = Mul(f, gf) c = {Q}.Quant(b, half, zero, four) d = Relu(c) "
        f'h = {Q}.MultiThreshold<out_dtype = "UINT2">(d, tf) y = MatMul(h, g)', 1),
    "features normalized": ("f = Reshape(a, flat) b = BatchNormalization<epsilon = 0.0>(f, bf, bf, bf, of) "
        "y = MatMul(b, g)", 1),
    "features for two": ("f = Flatten(a) b = MatMul(f, g) c = MatMul(f, g) y = Add(b, c)", 1),
    "features that come out": ("f = Flatten(a) y = Relu(f)", 2),
    "features of a convolution too": ("f = Flatten(a) b = MatMul(f, g) c = ReduceSum<keepdims = 1>(b, ch) "
        "d = Reshape(c, one4) y = Mul(a, d)", 2),
    "patches": ("b = Reshape(a, patches) c = Transpose<perm = [0, 2, 1]>(b) y = MatMul(c, e)", 1),
    "shuffled channels": ("b = Concat<axis = 1>(a, a) c = Reshape(b, groups) d = Transpose<perm = [0, 2, 1, 3, 4]>(c) "
        "f = Reshape(d, joined) y = Conv(f, w6)", 3),
    "head of a detector": ("b = Concat<axis = 1>(a, a) c = Reshape(b, groups) "
        "d = Transpose<perm = [0, 1, 3, 4, 2]>(c) f = Sigmoid(d) y = Round(f)", 2),
    "two flattened tensors": ("b = Flatten(a) c = GlobalMaxPool(a) d = Flatten(c) f = Concat<axis = 1>(d, b, d) "
        "y = MatMul(f, g96)", 1),
    "squeeze": ("b = GlobalMaxPool(a) c = Squeeze(b, hw) y = MatMul(c, e)", 1),
    "squeeze and unsqueeze": ("b = GlobalMaxPool(a) c = Squeeze(b, hw) d = Unsqueeze(c, hw) y = Mul(d, a)", 2),
    "unflatten": ("b = GlobalMaxPool(a) c = Flatten(b) d = Reshape(c, gate) y = Mul(a, d)", 2),
    "shape": ("s = Shape(a) i = Slice(s, one64, two64) c = Cast<to = 1>(i) y = Mul(a, c)", 2),
    "cast": ("b = Cast<to = 11>(a) y = Cast<to = 1>(b)", 2),
    "dropout": ("b = Dropout(a) y = Relu(b)", 2),
    "identity out": ("y = Identity(a)", 2),
    "qdq": ("b = QuantizeLinear(a, half, z8) y = DequantizeLinear(b, half, z8)", 2),
    "qdq per channel": ("b = QuantizeLinear<axis = 1>(a, n, zn) y = DequantizeLinear<axis = 1>(b, n, zn)", 2),
    "own transposes": ("b = Transpose<perm = [0, 2, 3, 1]>(a) c = Mul(b, n) d = Transpose<perm = [0, 3, 1, 2]>(c) "
        "e2 = Conv(d, v) y = Relu(e2)", 2),
    "channels-last output": ("b = Relu(a) y = Transpose<perm = [0, 2, 3, 1]>(b)", 1),
    "matmul on pixels": ("b = Transpose<perm = [0, 2, 3, 1]>(a) c = MatMul(b, e) y = Transpose<perm = [0, 3, 1, 2]>(c)",
        2),
    "transposed convolution": ("b = ConvTranspose(a, v) y = Conv(b, v)", 4),
    "depthwise": ("y = Conv<group = 3>(a, dw, n)", 2),
    "grouped auto pad": ('y = Conv<group = 3, auto_pad = "SAME_UPPER">(a, dw)', 2),
    "loop": ("y = If (cond) <then_branch = t () => (float[N, 3, 6, 5] u_out) { u_out = Relu(a) }, "
        "else_branch = e () => (float[N, 3, 6, 5] e_out) { e_out = Conv<pads = [1, 1, 1, 1]>(a, v) }>", 2),
}  # fmt: skip

PARAMETERS = ", ".join((
    constant("w", W), constant("v", whole(4, 3, 3, 3, 3)), constant("dw", whole(5, 3, 1, 3, 3)),
    constant("k", whole(6, 3, 1, 1)), constant("k3", whole(7, 1, 3, 1, 1)), constant("col", whole(8, 5)),
    constant("k2", 2.0 ** np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)), constant("map", whole(9, 1, 3, 6, 5)),
    constant("n", np.asarray([1, 2, 4], np.float32)), constant("o", np.ones(3, np.float32)),
    constant("e", whole(10, 3, 4)), constant("th", np.sort(whole(11, 3, 3))), constant("th1", np.sort(whole(12, 1, 7))),
    constant("g", whole(13, 90, 4)), constant("gt", whole(14, 4, 90)), constant("n2", whole(15, 4)),
    constant("gs", 2.0 ** whole(16, 90, 1)), constant("gf", whole(17, 90)), constant("bf", np.ones(90, np.float32)),
    constant("of", 2.0 ** (2 * whole(18, 90))), constant("tf", np.sort(whole(19, 90, 3))),
    "float two = {2}, float half = {0.5}, float zero = {0}, float low = {-3}, float four = {4}, float eight = {8}",
    "float three = {3}, float seven = {7}, float top = {240}, int64[1] one64 = {1}, int64[1] two64 = {2}",
    "int64[2] hw = {2, 3}, int64[1] ch = {1}, int64[8] pads = {0, 0, 1, 2, 0, 0, 0, 1}, int64[4] pads2 = {1, 0, 2, 1}",
    "float[0] none = {}, float[4] scales = {1, 1, 2, 3}, int64[4] sizes = {4, 3, 9, 7}, float[2] scales2 = {2, 3}",
    "int64[2] sizes2 = {7, 9}",
    "int64[2] parts = {1, 2}, int64[2] starts = {1, 0}, int64[2] ends = {5, 4}, int64[4] s4 = {0, 1, 0, 2}",
    "int64[4] e4 = {9, 3, 4, 5}, int64[4] reps = {1, 2, 1, 3}, int64[2] flat = {0, -1}, int64[2] zero_all = {0, 3}",
    "int64[4] gate = {-1, 3, 1, 1}, int64[4] one4 = {-1, 1, 1, 1}, int8 z8 = {0}, int8[3] zn = {0, 1, 2}",
    "int64 one0 = {1}, int64[4] picked = {2, 0, 0, 1}, int64[4] twice = {1, 1, 2, 2}",
    "int64[4] image = {0, 3, 6, 5}",
    "int64[3] patches = {0, 3, -1}, int64[5] groups = {0, 2, 3, 6, 5}, int64[4] joined = {0, -1, 6, 5}",
    constant("w6", whole(20, 2, 6, 2, 2)), constant("g96", whole(21, 96, 2)),
)).replace("float[0] none = {}, ", "")  # fmt: skip


def network(tail: str) -> str:
    """Return a convolution with what follows it; absent operands are written as ``none``."""
    cleaned = tail.replace("none", '""') if "none" in tail else tail
    extra = ", int64[8] p" if "(a, p, two)" in tail else ", bool cond" if "cond" in tail else ""
    return f"""g (float[N, 2, 6, 5] x{extra}) => (y) <{PARAMETERS}>
        {{ a = Conv<pads = [1, 1, 1, 1]>(x, w) {cleaned} }}"""


@pytest.mark.parametrize("case", list(BEHIND_A_CONVOLUTION))
def test_what_stands_behind_a_convolution_follows_it(case: str) -> None:
    tail, transposes = BEHIND_A_CONVOLUTION[case]
    inputs = {"x": X}
    if "(a, p, two)" in tail:
        inputs["p"] = np.asarray([0, 0, 1, 2, 0, 1, 0, 1])
    if "cond" in tail:
        inputs["cond"] = np.asarray(False)
    converted(network(tail), inputs, transposes=transposes)


def test_a_reshape_in_the_form_of_new_exporters_is_flattened_too() -> None:
    """They write ``allowzero = 1`` everywhere; the target of the converted one says 0 for the batch."""
    body = network("f = Reshape(a, flat90) y = MatMul(f, g)")
    model = build(body.replace("float[N,", "float[4,").replace("<float", "<int64[2] flat90 = {4, 90}, float", 1))
    node = next(node for node in model.graph if node.op_type == "Reshape")
    node.attributes["allowzero"] = ir.AttrInt64("allowzero", 1)
    changed = check_pass(ConvertToChannelsLast(strict=True), model, {"x": X}, min_edits=1)
    assert op_types(changed).count("Transpose") == 1


@pytest.mark.parametrize(
    ("frame", "kernel", "pool"), [((8,), (3,), [2]), ((5, 6), (2, 3), [2, 2]), ((4, 5, 3), (2, 2, 2), [2, 1, 2])]
)
def test_one_two_and_three_spatial_axes(frame: tuple[int, ...], kernel: tuple[int, ...], pool: list[int]) -> None:
    axes = ", ".join(map(str, frame))
    w = whole(0, 4, 2, *kernel)
    k = whole(1, 4, *(1,) * len(frame))
    body = f"""g (float[N, 2, {axes}] x) => (y) <{constant("w", w)}, {constant("k", k)}, float s = {{0.5}},
        float z = {{0}}, float b = {{5}}, {constant("t", np.sort(whole(2, 4, 3)))}>
        {{ q = {Q}.Quant(w, s, z, b) a = Conv(x, q) m = Mul(a, k)
           p = MaxPool<kernel_shape = {pool}, auto_pad = "SAME_UPPER">(m) h = Add(p, a)
           y = {Q}.MultiThreshold<out_dtype = "UINT2">(h, t) }}"""
    changed = converted(body, {"x": whole(3, 3, 2, *frame)}, transposes=2)
    threshold = next(node for node in changed.graph if node.op_type == "MultiThreshold")
    assert threshold.attributes["data_layout"].value == {1: "NWC", 2: "NHWC", 3: "NDHWC"}[len(frame)]


def test_the_input_becomes_channels_last_on_request() -> None:
    model = build(network("b = Conv(a, v) f = GlobalMaxPool(b) h = Flatten(f) y = MatMul(h, e)"))
    set_datatype(model.graph.inputs[0], DataType.parse("INT4"))
    expected = compile_model(model).run({"x": X})["y"]
    step = ConvertToChannelsLast(make_input_channels_last=True)
    assert step.run(model) > 0
    assert "Transpose" not in op_types(model)
    (source,) = model.graph.inputs
    assert source.name == "x"
    assert str(source.shape) == "[N,6,5,2]"
    assert get_layout(source) == ("N", "H", "W", "C")
    assert str(get_datatype(source)) == "INT4"
    found = compile_model(model).run({"x": np.ascontiguousarray(X.transpose(0, 2, 3, 1))})["y"]
    np.testing.assert_array_equal(found, expected)
    once = serialize(model)
    assert step.run(model) == 0
    assert serialize(model) == once


def test_transposes_between_lowered_convolutions_cancel() -> None:
    body = """b = Relu(a) c = Conv<pads = [1, 1, 1, 1]>(b, v) d = Add(b, c) e2 = Mul(d, k) f = Conv(e2, v)
        h = Flatten(f) y = MatMul(h, g36)"""
    model = build(network(body).replace("float two", f"{constant('g36', whole(22, 36, 2))}, float two"))
    LowerConvsToMatMul().run(model)
    assert op_types(model).count("Transpose") == 6
    changed = check_pass(ConvertToChannelsLast(), model, {"x": X}, min_edits=1)
    assert op_types(changed).count("Transpose") == 1


@pytest.mark.parametrize(
    ("nodes", "transposes"),
    [
        ("a = Conv(x, w) b = Conv(x, w) y = Concat<axis = 1>(a, b)", 2),
        ("m = Neg(x) a = Conv(x, w) b = Conv(m, w) y = Sub(a, b)", 2),
        ("p = MaxPool<kernel_shape = [1, 1]>(x) a = Conv(p, w) b = Conv(x, w) c = Add(a, b) "
         "y = ReduceMax<keepdims = 0>(c, all)", 1),
    ],
)  # fmt: skip
def test_lowered_convolutions_of_one_tensor_share_its_transpose(nodes: str, transposes: int) -> None:
    inits = f"{constant('w', W)}, int64[3] all = {{1, 2, 3}}"
    model = build(f"g (float[4, 2, 6, 5] x) => (y) <{inits}> {{ {nodes} }}")
    LowerConvsToMatMul(strict=True).run(model)
    InferShapes().run(model)
    changed = check_pass(ConvertToChannelsLast(), model, {"x": X}, min_edits=1)
    assert op_types(changed).count("Transpose") == transposes, graph_lines(changed)


def test_annotations_move_along() -> None:
    model = build(network("y = Relu(a)"))
    set_datatype(model.graph[0].outputs[0], DataType.parse("INT9"))
    set_layout(model.graph[0].outputs[0], ("N", "C", "H", "W"))
    set_datatype(model.graph.outputs[0], DataType.parse("UINT8"))
    ConvertToChannelsLast().run(model)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert str(get_datatype(conv.outputs[0])) == "INT9"
    assert get_layout(conv.outputs[0]) == ("N", "H", "W", "C")
    assert str(get_datatype(model.graph.outputs[0])) == "UINT8"
    assert get_layout(model.graph.outputs[0]) is None


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("y, i = MaxPool<kernel_shape = [2, 2]>(x) z = Cast<to = 1>(i)", "its indices are read"),
        ('y = MaxPool<kernel_shape = [2, 2], auto_pad = "SAME_UPPER", ceil_mode = 1>(x) z = Relu(y)', "are combined"),
        ("y = AveragePool<kernel_shape = [2, 2], strides = [3, 3], ceil_mode = 1>(x) z = Relu(y)", "ceil_mode lets"),
        ("y = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(x) z = Relu(y)", "size is not fixed"),
        ('y = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w) z = Relu(y)', "the size of the image is not fixed"),
    ],
)
def test_what_stays_channels_first_is_said(node: str, reason: str) -> None:
    model = build(f"g (float[N, 2, H, W] x) => (y, z) <{constant('w', W)}> {{ {node} }}")
    before = serialize(model)
    assert ConvertToChannelsLast().run(model) == 0
    assert serialize(model) == before
    with pytest.raises(Unsupported, match=reason):
        ConvertToChannelsLast(strict=True).run(model)


def test_a_model_without_images_stays() -> None:
    model = build("g (float[N, 3, 4] x) => (y) { a = Transpose<perm = [0, 2, 1]>(x) b = MatMul(x, a) y = Relu(b) }")
    before = serialize(model)
    assert ConvertToChannelsLast().run(model) == 0
    assert serialize(model) == before


def test_the_conversion_is_linear_in_the_graph() -> None:
    def work(blocks: int) -> Callable[[], object]:
        steps = " ".join(f"c{n} = Conv<pads = [1, 1, 1, 1]>(a{n}, v) a{n + 1} = Add(c{n}, a{n})" for n in range(blocks))
        model = build(f"g (float[1, 3, 4, 4] a0) => (a{blocks}) <{constant('v', whole(4, 3, 3, 3, 3))}> {{ {steps} }}")
        return lambda: ConvertToChannelsLast().run(model)

    check_linear(work, 100)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(["cnn", "mixed"]))
def test_random_networks_keep_their_bits(seed: int, kind: str) -> None:
    graph = random_graph(seed, kind)  # type: ignore[arg-type]
    check_pass(ConvertToChannelsLast(), graph.model, graph.inputs)

"""Signals become images of width 1: every operator, the same bits, and the policy for inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core import compile_model
from qonnx_core.errors import Unsupported
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_layout
from qonnx_core.passes.change_3d_to_4d import Change3DTo4D
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.graph_text import constant, graph_lines, model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 2]>'
Q = "qonnx.custom_op.general"


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def whole(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


X = whole(0, 3, 2, 8)
PARAMETERS = ", ".join((
    constant("w", whole(1, 4, 2, 3)), constant("v", whole(2, 4, 4, 3)), constant("k", whole(3, 4, 1)),
    constant("n", np.asarray([1, 2, 4, 8], np.float32)), constant("o", np.ones(4, np.float32)),
    constant("th", np.sort(whole(4, 4, 3))), constant("d", whole(5, 32, 3)), constant("r", whole(6, 8)),
    "float two = {2}, float zero = {0}, float four = {4}, int64[6] pads = {0, 0, 1, 0, 0, 2}, int64[1] last = {2}",
    "float[3] scales = {1, 1, 2}, int64[3] reps = {1, 2, 1}, int64[1] start = {1}, int64[1] end = {6}",
    "int64 one0 = {1}",
    "int64[2] flat = {0, -1}, int64[2] split = {1, 3}, int64[3] shape = {0, 8, 4}", constant("e", whole(9, 4, 3)),
))  # fmt: skip

BEHIND_A_CONVOLUTION = {
    "residual": "b = Conv<pads = [1, 1]>(a, v) y = Add(a, b)",
    "constants": "b = Mul(a, k) c = Add(b, r) d2 = Sub(two, c) y = Relu(d2)",
    "concat": "y = Concat<axis = -2>(a, a)",
    "concat of columns": "y = Concat<axis = -1>(a, a)",
    "batch norm": "y = BatchNormalization<epsilon = 0.0>(a, n, n, n, o)",
    "max pool": 'y = MaxPool<kernel_shape = [3], strides = [2], auto_pad = "SAME_UPPER">(a)',
    "max pool with indices": "y, i = MaxPool<kernel_shape = [2], strides = [2]>(a) z = Cast<to = 1>(i)",
    "average pool": "y = AveragePool<kernel_shape = [2], pads = [1, 0]>(a)",
    "global average": "b = GlobalAveragePool(a) f = Flatten(b) y = MatMul(f, e)",
    "global max": "y = GlobalMaxPool(a)",
    "transposed convolution": "y = ConvTranspose<strides = [2], output_padding = [1], pads = [1, 0]>(a, v)",
    "quant": f"b = {Q}.Quant(a, k4, zero, four) y = {Q}.BipolarQuant(b, two)",
    "thresholds": f'y = {Q}.MultiThreshold<out_dtype = "UINT2", data_layout = "NCW">(a, th)',
    "pad": "y = Pad(a, pads)",
    "resize": 'y = Resize<mode = "nearest">(a, "", scales)',
    "gather": "y = Gather<axis = 1>(a, split)",
    "gather of one": "y = Gather<axis = 1>(a, one0)",
    "tile": "y = Tile(a, reps)",
    "slice": "y = Slice(a, start, end, last)",
    "split": "b, c = Split<axis = 1>(a, split) y = Concat<axis = 1>(c, b)",
    "softmax": "b = Softmax<axis = -2>(a) y = Round(b)",
    "argmax": "y = ArgMax<axis = 1>(a)",
    "argmax without the axis": "y = ArgMax<axis = 1, keepdims = 0>(a)",
    "mean": "b = ReduceMean<keepdims = 1>(a, last) y = Mul(a, b)",
    "sum without the axis": "b = ReduceSum<keepdims = 0>(a, last) y = MatMul(b, e)",
    "flatten": "f = Flatten(a) y = MatMul(f, d)",
    "reshape": "f = Reshape(a, flat) y = MatMul(f, d)",
    "transpose": "b = Transpose<perm = [0, 2, 1]>(a) y = MatMul(b, e)",
    "transposes": "b = Transpose<perm = [0, 2, 1]>(a) c = Mul(b, n) "
        "d2 = Transpose<perm = [0, 2, 1]>(c) y = Conv(d2, v)",
    "transpose to channels": "b = Transpose<perm = [0, 2, 1]>(a) c = Reshape(b, shape) d2 = "
        "Transpose<perm = [0, 2, 1]>(c) y = Conv(d2, v)",
    "matmul": "y = MatMul(a, a2)",
    "shape": "s = Shape(a) i = Slice(s, start, end) c = Cast<to = 1>(i) f = ReduceSum<keepdims = 0>(c) y = Mul(a, f)",
}  # fmt: skip


def network(tail: str) -> str:
    extra = ", ".join((constant("k4", 2.0 ** whole(7, 1, 4, 1)), constant("a2", whole(8, 8, 2))))
    outputs = "(y, z)" if " z = " in tail else "(y)"
    return f"""g (float[N, 2, 8] x) => {outputs} <{PARAMETERS}, {extra}>
        {{ a = Conv<pads = [1, 1], dilations = [1]>(x, w, n) {tail} }}"""


@pytest.mark.parametrize("case", list(BEHIND_A_CONVOLUTION))
def test_every_operator_on_signals_keeps_its_bits(case: str) -> None:
    changed = check_pass(Change3DTo4D(strict=True), build(network(BEHIND_A_CONVOLUTION[case])), {"x": X}, min_edits=1)
    for node in changed.graph:
        windowed = node.op_type.endswith(("Conv", "Pool", "ConvTranspose", "BatchNormalization", "MultiThreshold"))
        assert not windowed or len(node.inputs[0].shape) == 4
    InferShapes().run(changed)


def test_a_network_before_and_after() -> None:
    w = whole(1, 4, 2, 3)
    before = build(f"""g (float[N, 2, 8] x) => (float[N, 4, 3] y)
        <{constant("w", w)}, {constant("s", 2.0 ** whole(2, 4, 1, 1))}, float z = {{0}}, float b = {{4}},
         {constant("k", whole(3, 4, 1))}>
        {{ q = {Q}.Quant(w, s, z, b) a = Conv<strides = [2]>(x, q) y = Mul(a, k) }}""")
    after = build(f"""g (float[N, 2, 8] x) => (float[N, 4, 3] y)
        <{constant("w", w.reshape(4, 2, 3, 1))}, {constant("s", 2.0 ** whole(2, 4, 1, 1, 1))}, float z = {{0}},
         float b = {{4}}, {constant("k", whole(3, 1, 4, 1, 1))}, int64[1] last = {{3}}>
        {{ u = Unsqueeze(x, last) q = {Q}.Quant(w, s, z, b)
           a = Conv<kernel_shape = [3, 1], strides = [2, 1], pads = [0, 0, 0, 0], dilations = [1, 1]>(u, q)
           m = Mul(a, k) y = Squeeze(m, last) }}""")
    changed = check_pass(Change3DTo4D(), before, {"x": X}, min_edits=1)
    assert graph_lines(changed) == graph_lines(after)
    assert get_layout(changed.graph[0].outputs[0]) == ("N", "C", "H", "W")


def test_inputs_and_outputs_get_four_axes_on_request() -> None:
    model = build(network("y = MaxPool<kernel_shape = [2]>(a)"))
    expected = compile_model(model).run({"x": X})["y"]
    step = Change3DTo4D(change_io=True)
    assert step.run(model) > 0
    assert op_types(model) == ["Conv", "MaxPool"]
    assert str(model.graph.inputs[0].shape) == "[N,2,8,1]"
    assert str(model.graph.outputs[0].shape) == "[N,4,7,1]"
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y"]
    found = compile_model(model).run({"x": X[..., None]})["y"]
    np.testing.assert_array_equal(found[..., 0], expected)
    once = serialize(model)
    assert step.run(model) == 0
    assert serialize(model) == once


def test_automatic_padding_of_a_signal_of_any_length_stays_automatic() -> None:
    model = build(f"""g (float[N, 2, W] x) => (float[N, 4, V] y) <{constant("w", whole(1, 4, 2, 3))}>
        {{ y = Conv<auto_pad = "SAME_LOWER", strides = [3]>(x, w) }}""")
    check_pass(Change3DTo4D(), model, {"x": whole(0, 2, 2, 10)}, min_edits=1)


def test_what_stays_is_said() -> None:
    model = build("g (float[N, 2, 8] x) => (y, z) { y, i = MaxPool<kernel_shape = [2], storage_order = 1>(x) "
                  "z = Cast<to = 1>(i) }")  # fmt: skip
    assert Change3DTo4D().run(model) == 0
    with pytest.raises(Unsupported, match="numbers its indices by columns"):
        Change3DTo4D(strict=True).run(model)


def test_a_model_on_images_stays() -> None:
    model = build("g (float[N, 2, 8, 8] x) => (y) { y = MaxPool<kernel_shape = [2, 2]>(x) }")
    assert Change3DTo4D().run(model) == 0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_random_networks_keep_their_bits(seed: int) -> None:
    graph = random_graph(seed, "cnn")
    check_pass(Change3DTo4D(), graph.model, graph.inputs)

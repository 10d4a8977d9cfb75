"""The small passes on layouts: pools, inputs, transposes and Im2Col, each before and after."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core import compile_model
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, get_layout, set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.change_quant_avg_pool_layout import ChangeDataLayoutQuantAvgPool2d
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.fold_transposes import FoldTransposes
from qonnx_core.passes.make_inputs_channels_last import MakeInputChannelsLast
from qonnx_core.passes.max_pool_to_nhwc import MaxPoolToNHWC
from qonnx_core.passes.rebalance_im2col import RebalanceIm2Col
from qonnx_core.testing.graph_text import graph_lines, model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 2, "qonnx.custom_op.channels_last": 21]>'
Q = "qonnx.custom_op.general"


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def whole(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


AVERAGE = f"{Q}.QuantAvgPool2d<stride = 2, kernel = 2, ibits = 4, obits = 4, signed = 0, data_layout ="


def test_a_quantized_average_pool_works_channels_last() -> None:
    before = build(f'g (float[N, 3, 6, 4] x) => (y) {{ y = {AVERAGE} "NCHW">(x) }}')
    after = build(f"""g (float[N, 3, 6, 4] x) => (y)
        {{ a = Transpose<perm = [0, 2, 3, 1]>(x) b = {AVERAGE} "NHWC">(a) y = Transpose<perm = [0, 3, 1, 2]>(b) }}""")
    set_datatype(before.graph.inputs[0], DataType.parse("UINT4"))
    x = np.abs(whole(0, 2, 3, 6, 4))
    changed = check_pass(ChangeDataLayoutQuantAvgPool2d(), before, {"x": x}, min_edits=1)
    assert graph_lines(changed) == graph_lines(after)
    assert str(get_datatype(changed.graph[0].outputs[0])) == "UINT4"
    assert get_layout(changed.graph[1].outputs[0]) == ("N", "H", "W", "C")


def test_a_max_pool_becomes_one_for_hardware() -> None:
    pads = "kernel_shape = [2, 3], strides = [2, 1], pads = [1, 0, 1, 0]"
    before = build(f"g (float[N, 3, 6, 4] x) => (y) {{ y = MaxPool<{pads}>(x) }}")
    after = build(f"""g (float[N, 3, 6, 4] x) => (y)
        {{ a = Transpose<perm = [0, 2, 3, 1]>(x) b = {Q}.MaxPoolNHWC<{pads}>(a)
           y = Transpose<perm = [0, 3, 1, 2]>(b) }}""")
    changed = check_pass(MaxPoolToNHWC(strict=True), before, {"x": whole(0, 2, 3, 6, 4)}, min_edits=1)
    assert graph_lines(changed) == graph_lines(after)


def test_a_channels_last_max_pool_becomes_one_for_hardware_without_transposes() -> None:
    model = build("g (float[N, 3, 6, 4] x) => (y) { y = MaxPool<kernel_shape = [2, 2], ceil_mode = 1>(x) }")
    ConvertToChannelsLast().run(model)
    changed = check_pass(MaxPoolToNHWC(), model, {"x": whole(0, 2, 3, 6, 4)}, min_edits=1)
    assert op_types(changed) == ["Transpose", "MaxPoolNHWC", "Transpose"]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("y = MaxPool<kernel_shape = [2, 2], dilations = [2, 1]>(x)", "dilations are"),
        ("y = MaxPool<kernel_shape = [2, 2], pads = [0, 0, 1, 0]>(x)", "expected the same on both sides"),
        ("z, i = MaxPool<kernel_shape = [2, 2]>(x) y = Cast<to = 1>(i)", "its indices are read"),
        ('y = MaxPool<kernel_shape = [2, 2], auto_pad = "SAME_UPPER", ceil_mode = 1>(x)', "are combined"),
        ("b = Cast<to = 2>(x) y = MaxPool<kernel_shape = [2, 2]>(b)", "are of type UINT8"),
    ],
)
def test_what_max_pool_nhwc_does_not_know_stays(node: str, reason: str) -> None:
    model = build(f"g (float[N, 3, 6, 4] x) => (y) {{ {node} }}")
    before = serialize(model)
    assert MaxPoolToNHWC().run(model) == 0
    assert serialize(model) == before
    with pytest.raises(Unsupported, match=reason):
        MaxPoolToNHWC(strict=True).run(model)


def test_inputs_become_channels_last() -> None:
    model = build("g (float[N, 3, 6, 4] x, float[N, 5] f, float[N, 2, 3] o) => (y, o) { y = Relu(x) }")
    step = MakeInputChannelsLast()
    assert step.run(model) == 1
    assert graph_lines(model)[0] == "%3 = Transpose<perm = (0, 3, 1, 2)>(%0)"
    source = model.graph.inputs[0]
    assert (source.name, str(source.shape), get_layout(source)) == ("x", "[N,6,4,3]", ("N", "H", "W", "C"))
    once = serialize(model)
    assert step.run(model) == 0
    assert serialize(model) == once


def test_inputs_become_channels_last_and_keep_the_values() -> None:
    model = build("g (float[N, 3, 6, 4] x) => (y) { a = Neg(x) y = ReduceSum(a) }")
    x = whole(0, 2, 3, 6, 4)
    expected = compile_model(model).run({"x": x[:1]})["y"]
    MakeInputChannelsLast().run(model)
    found = compile_model(model).run({"x": np.ascontiguousarray(x[:1].transpose(0, 2, 3, 1))})["y"]
    np.testing.assert_array_equal(found, expected)


X4 = {"x": whole(0, 2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [0, 3, 1, 2]>(a) y = Relu(b)", ["Relu"]),
        ("a = Transpose<perm = [0, 1, 2, 3]>(x) y = Relu(a)", ["Relu"]),
        ("a = Transpose(x) b = Transpose(a) y = Relu(b)", ["Relu"]),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) y = Transpose<perm = [0, 2, 1, 3]>(a)", ["Transpose"]),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) b = Relu(a) c = Transpose<perm = [0, 3, 1, 2]>(a) y = Sub(b, d) "
         "z = Neg(c)", ["Transpose", "Relu", "Sub", "Neg"]),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) y = Transpose<perm = [0, 3, 1, 2]>(a)", ["Transpose"]),
        ("a = Transpose<perm = [3, 2, 1, 0]>(k) y = Mul(x, a)", ["Mul"]),
        (f"q = {Q}.Quant(k, s, zero, four) a = Transpose<perm = [3, 2, 1, 0]>(q) y = Mul(x, a)", ["Quant", "Mul"]),
        (f"q = {Q}.Quant(k, s, zero, four) a = Transpose<perm = [3, 2, 1, 0]>(q) b = Mul(x, a) "
         "c = Transpose<perm = [3, 2, 1, 0]>(q) e = Add(b, c) h = ReduceSum(q) y = Add(e, h)",
         ["Quant", "Mul", "Add", "Quant", "ReduceSum", "Add"]),
        (f"q = {Q}.BipolarQuant(k, s) m = Mul(q, half) a = Transpose<perm = [3, 2, 1, 0]>(m) y = Mul(x, a)",
         ["BipolarQuant", "Mul", "Mul"]),
    ],
)  # fmt: skip
def test_transposes_are_folded(nodes: str, left: list[str]) -> None:
    k, s = whole(1, 5, 4, 3, 1), 2.0 ** whole(2, 4, 1, 1)
    text = [f"float[{', '.join(map(str, a.shape))}] {n} = {{{', '.join(map(str, a.reshape(-1)))}}}"
            for n, a in (("k", k), ("s", s))]  # fmt: skip
    outputs = "(y, z)" if " z = " in nodes else "(y)"
    model = build(f"""g (float[N, 3, 4, 5] x) => {outputs}
        <{", ".join(text)}, float zero = {{0}}, float four = {{4}}, float half = {{0.5}}, float d = {{1}}>
        {{ {nodes} }}""")
    changed = check_pass(FoldTransposes(), model, X4, min_edits=1)
    assert sorted(op_types(changed)) == sorted(left)


def test_im2col_before_and_after_rebalancing() -> None:
    def node(kernel: int, stride: int, shape: str, pad: int) -> str:
        return (
            f"{Q}.Im2Col<kernel_size = [2, {kernel}], stride = [2, {stride}], input_shape = {shape!r}, "
            f"pad_amount = [1, {pad}, 0, {pad}], dilations = [1, 1]>"
        ).replace("'", '"')

    before = build(f"g (float[N, 4, 12, 1] x) => (y) {{ y = {node(4, 2, '(1,4,12,1)', 2)}(x) }}")
    after = build(f"""g (float[N, 4, 12, 1] x) => (y) <int64[4] r = {{0, 4, 6, 2}}>
        {{ a = Reshape(x, r) y = {node(2, 1, "(1,4,6,2)", 1)}(a) }}""")
    changed = check_pass(RebalanceIm2Col(extract_channels=2), before, {"x": whole(0, 3, 4, 12, 1)}, min_edits=1)
    assert graph_lines(changed) == graph_lines(after)


@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_size = [2, 3], stride = [2, 2]",
        "kernel_size = [2, 4], stride = [2, 1]",
        "kernel_size = [2, 2], stride = [2, 2], dilations = [1, 2]",
        "kernel_size = [2, 2], stride = [2, 2], depthwise = 1",
        "kernel_size = [2, 2], stride = [2, 2], pad_amount = [0, 1, 0, 1]",
    ],
)
def test_im2col_that_does_not_fit_stays(attributes: str) -> None:
    model = build(f'g (float[N, 4, 12, 1] x) => (y) {{ y = {Q}.Im2Col<{attributes}, input_shape = "(1,4,12,1)">(x) }}')
    assert RebalanceIm2Col(extract_channels=2).run(model) == 0
    assert RebalanceIm2Col().run(model) == 0


def test_no_channels_cannot_be_extracted() -> None:
    with pytest.raises(InvalidInput, match="extract_channels is 0; expected at least 1"):
        RebalanceIm2Col(extract_channels=0)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_random_networks_keep_their_bits(seed: int) -> None:
    graph = random_graph(seed, "cnn")
    for step in (FoldTransposes(), MaxPoolToNHWC(), ChangeDataLayoutQuantAvgPool2d()):
        check_pass(step, graph.model, graph.inputs)

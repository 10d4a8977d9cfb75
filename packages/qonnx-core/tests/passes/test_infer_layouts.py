"""Layouts of tensors: what each operator makes of the letters, and why there are none."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.ir.annotations import get_layout, set_layout
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.infer_layouts import InferLayouts, infer_layouts_report
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.testing.graph_text import model_of_text
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 2, "qonnx.custom_op.channels_last": 21]>'
Q = "qonnx.custom_op.general"
LAST = "qonnx.custom_op.channels_last"
PARAMETERS = f"""float[3, 2, 3, 3] w = {{{", ".join(["1"] * 54)}}}, float s = {{1}}, float b = {{4}}, float z = {{0}},
    float[2, 5] e = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, int64[2] hw = {{2, 3}}, int64[2] flat = {{0, -1}},
    int64[2] split = {{1, 1}}, int64 one = {{1}}, int64[3] merged = {{0, 2, -1}}, int64[3] unit = {{0, 2, 36}},
    float[1, 2, 1, 1] k = {{1, 2}}, float[2, 1] t = {{1, 2}}, float[4] scales = {{1, 1, 2, 2}}"""


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def network(nodes: str, shape: str = "N, 2, 6, 6") -> ir.Model:
    return build(f"g (float[{shape}] x) => (y) <{PARAMETERS}> {{ {nodes} }}")


@pytest.mark.parametrize(
    ("shape", "layout"), [("N, 5", "NC"), ("N, 2, 6", "NCW"), ("N, 2, 6, 6", "NCHW"), ("N, 2, 6, 6, 6", "NCDHW")]
)
def test_the_layout_of_an_input_follows_from_its_rank(shape: str, layout: str) -> None:
    model = network("y = Relu(x)", shape)
    assert InferLayouts().run(model) == 2
    assert get_layout(model.graph.inputs[0]) == get_layout(model.graph.outputs[0]) == tuple(layout)
    assert infer_layouts_report(model) == []


def test_an_annotation_of_an_input_wins() -> None:
    model = network("y = Transpose<perm = [0, 3, 1, 2]>(x)")
    set_layout(model.graph.inputs[0], ("N", "H", "W", "C"))
    assert InferLayouts().run(model) == 1
    assert get_layout(model.graph.outputs[0]) == ("N", "C", "H", "W")


@pytest.mark.parametrize(
    ("nodes", "layout"),
    [
        ("y = Conv(x, w)", "NCHW"),
        ("y = MaxPool<kernel_shape = [2, 2]>(x)", "NCHW"),
        ("y = GlobalAveragePool(x)", "NCHW"),
        ("y = Transpose<perm = [0, 2, 3, 1]>(x)", "NHWC"),
        ("y = Transpose(x)", "WHCN"),
        ("a = Mul(x, k) y = Add(a, x)", "NCHW"),
        (f"y = {Q}.Quant(x, s, z, b)", "NCHW"),
        ("y = Concat<axis = 1>(x, x)", "NCHW"),
        ("y, v = Split<axis = 1>(x, split)", "NCHW"),
        ("y = Flatten(x)", "NC"),
        ("y = Reshape(x, flat)", "NC"),
        ("a = GlobalMaxPool(x) y = Squeeze(a, hw)", "NC"),
        ("a = GlobalMaxPool(x) c = Squeeze(a, hw) y = Unsqueeze(c, hw)", "NCxx"),
        ("a = GlobalMaxPool(x) c = Squeeze(a, hw) d = Unsqueeze(c, hw) y = Mul(d, x)", "NCHW"),
        ("y = ReduceMean<keepdims = 0>(x, hw)", "NC"),
        ("y = ReduceMean<keepdims = 1>(x, hw)", "NCHW"),
        ("y = ArgMax<axis = 1, keepdims = 0>(x)", "NHW"),
        ("y = Gather<axis = 1>(x, one)", "NHW"),
        ("a = Flatten(x) c = Unsqueeze(a, one2) y = Squeeze(c, one2)", "NC"),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) y = MatMul(a, e)", "NHWC"),
        (f"a = Transpose<perm = [0, 2, 3, 1]>(x) y = {LAST}.MaxPool<kernel_shape = [2, 2]>(a)", "NHWC"),
        (f'y = {Q}.MultiThreshold<out_dtype = "UINT1">(x, t)', "NCHW"),
        (f"a = Transpose<perm = [0, 2, 3, 1]>(x) y = {Q}.QuantAvgPool2d<stride = 1, kernel = 1, ibits = 4, "
         'obits = 4, signed = 1, data_layout = "NHWC">(a)', "NHWC"),
        ('y = Resize(x, "", scales)', "NCHW"),
        ("y = DepthToSpace<blocksize = 1>(x)", "NCHW"),
    ],
)  # fmt: skip
def test_operators_hand_the_letters_on(nodes: str, layout: str) -> None:
    model = build(f"g (float[N, 2, 6, 6] x) => (y) <{PARAMETERS}, int64[1] one2 = {{1}}> {{ {nodes} }}")
    check_pass(InferLayouts(), model, {"x": np.zeros((2, 2, 6, 6), np.float32)}, min_edits=2)
    InferLayouts().run(model)
    assert "".join(get_layout(model.graph.outputs[0]) or ()) == layout


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("y = MatMul(x, x)", "MatMul multiplies along W of NCHW"),
        ("y = Reshape(x, merged)", r"Reshape regroups \[N, 2, 6, 6\] to \[N, 2, 36\]"),
        ("a = Transpose<perm = [0, 1, 3, 2]>(x) y = Add(a, x)", "different layouts, NCWH and NCHW"),
        ("a = Reshape(x, merged) y = Relu(a)", "Relu hands on the layout of a, which is not known"),
        ('y = Einsum<equation = "abcd->abdc">(x)', "Einsum says nothing about layouts"),
    ],
)
def test_what_is_not_known_is_said(nodes: str, reason: str) -> None:
    model = network(nodes)
    InferLayouts().run(model)
    assert get_layout(model.graph.outputs[0]) is None
    report = dict(infer_layouts_report(model))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(report["y"])


def test_an_annotation_helps_where_nothing_follows() -> None:
    model = network("a = Reshape(x, merged) y = Relu(a)")
    set_layout(model.graph[0].outputs[0], ("N", "C", "W"))
    InferLayouts().run(model)
    assert get_layout(model.graph.outputs[0]) == ("N", "C", "W")
    assert infer_layouts_report(model) == []


def test_a_wrong_annotation_of_an_output_is_replaced() -> None:
    model = network("y = Conv(x, w)")
    set_layout(model.graph.outputs[0], ("N", "H", "W", "C"))
    InferLayouts().run(model)
    assert get_layout(model.graph.outputs[0]) == ("N", "C", "H", "W")


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_conversions_annotate_what_inference_finds(seed: int) -> None:
    graph = random_graph(seed, "cnn")
    check_pass(InferLayouts(), graph.model, graph.inputs)
    for step in (ConvertToChannelsLast(), LowerConvsToMatMul()):
        model = graph.model.clone()
        InferLayouts().run(model)
        step.run(model)
        InferShapes().run(model)
        before = {value: get_layout(value) for node in model.graph for value in node.outputs}
        InferLayouts().run(model)
        for value, layout in before.items():
            assert layout is None or layout == get_layout(value), value.name

"""Convolutions as Im2Col and MatMul: every form of Conv, the same bits here and in the format's own executor."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.errors import Unsupported
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, get_sparsity, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.testing.graph_text import constant, graph_lines, model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def whole(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def numbers(array: np.ndarray) -> str:
    return "{" + ", ".join(f"{float(number)}" for number in array.reshape(-1)) + "}"


def test_a_convolution_before_and_after() -> None:
    w = whole(0, 3, 2, 2, 3)
    before = build(f"""g (float[N, 2, 4, 5] x) => (float[N, 3, 3, 3] y) <{constant("w", w)}>
        {{ y = Conv(x, w) }}""")
    after = build(f"""g (float[N, 2, 4, 5] x) => (float[N, 3, 3, 3] y)
        <{constant("m", w.transpose(2, 3, 1, 0).reshape(12, 3))}>
        {{ a = Transpose<perm = [0, 2, 3, 1]>(x)
           b = qonnx.custom_op.general.Im2Col<stride = [1, 1], kernel_size = [2, 3], input_shape = "(1,4,5,2)",
             pad_amount = [0, 0, 0, 0], dilations = [1, 1]>(a)
           c = MatMul(b, m) y = Transpose<perm = [0, 3, 1, 2]>(c) }}""")
    changed = check_pass(LowerConvsToMatMul(), before, {"x": whole(1, 6, 2, 4, 5)}, min_edits=1)
    assert graph_lines(changed) == graph_lines(after)


def test_all_tensors_around_computed_weights_have_shapes() -> None:
    model = build(f"""g (float[N, 2, 4, 5] x) => (float[N, 3, 3, 3] y) <{constant("w", whole(0, 2, 2, 3, 3))}>
        {{ t = Transpose<perm = [3, 0, 1, 2]>(w) y = Conv(x, t) }}""")
    changed = check_pass(LowerConvsToMatMul(), model, {"x": whole(1, 6, 2, 4, 5)}, min_edits=1)
    assert all(value.shape is not None for node in changed.graph for value in node.outputs)


SHAPES = [
    ("[N, 2, 7, 6]", (4, 2, 3, 3), "", ["Transpose", "Im2Col", "MatMul", "Transpose"]),
    ("[N, 2, 7, 6]", (4, 2, 3, 3), "pads = [1, 0, 2, 1], strides = [2, 1]", None),
    ("[N, 2, 7, 6]", (4, 2, 2, 3), "dilations = [2, 2]", None),
    ("[N, 2, 7, 6]", (4, 2, 3, 2), 'auto_pad = "SAME_UPPER", strides = [2, 3]', None),
    ("[N, 2, 7, 6]", (4, 2, 2, 4), 'auto_pad = "SAME_LOWER"', None),
    ("[N, 2, 7, 6]", (4, 2, 3, 3), 'auto_pad = "VALID"', None),
    ("[N, 2, 7, 6]", (4, 2, 1, 1), "", ["Transpose", "MatMul", "Transpose"]),
    ("[N, 2, 7, 6]", (4, 2, 1, 1), "strides = [2, 2]", ["Transpose", "Im2Col", "MatMul", "Transpose"]),
    ("[N, 4, 7, 6]", (4, 1, 3, 3), "group = 4", None),
    ("[N, 4, 7, 6]", (8, 1, 3, 3), "group = 4", None),
    ("[N, 4, 7, 6]", (6, 2, 2, 3), "group = 2, pads = [1, 1, 1, 1]", None),
    ("[N, 4, 7, 6]", (4, 1, 1, 1), "group = 4", ["Transpose", "MatMul", "Transpose"]),
    ("[N, 2, 9]", (3, 2, 3), "pads = [1, 1], strides = [2]",
     ["Transpose", "Unsqueeze", "Im2Col", "Squeeze", "MatMul", "Transpose"]),
    ("[N, 2, 9]", (3, 2, 1), "", ["Transpose", "MatMul", "Transpose"]),
    ("[N, 3, 9]", (3, 1, 3), "group = 3, dilations = [2]", None),
    ("[N, 1, 5, 5]", (1, 1, 3, 3), "", None),
]  # fmt: skip


@pytest.mark.parametrize(("data", "weights", "attributes", "expected"), SHAPES)
@pytest.mark.parametrize("kind", ["constant", "quantized", "per channel", "bipolar", "zero point"])
def test_every_form_of_convolution_keeps_its_bits(data, weights, attributes, expected, kind) -> None:
    w = whole(3, *weights)
    scales = (2.0 ** np.random.default_rng(4).integers(-2, 2, (weights[0], *[1] * (len(weights) - 1)))).astype("f4")
    bits, zero = ("1" if kind == "bipolar" else "4"), ("2" if kind == "zero point" else "0")
    scale = constant("s", scales) if kind in ("per channel", "zero point") else "float s = {1}"
    parameters = f"{constant('w', w)}, {scale}, float z = {{{zero}}}, float b = {{{bits}}}"
    read = "w" if kind == "constant" else "q"
    bias = constant("c", whole(5, weights[0]))
    axes = ", ".join(str(sizes) for sizes in "OPQ"[: len(weights) - 2])
    model = build(f"""g (float{data} x) => (float[N, {weights[0]}, {axes}] y) <{parameters}, {bias}>
        {{ q = {QUANT}<signed = 1, narrow = 0>(w, s, z, b)
           y = Conv<{attributes or "group = 1"}>(x, {read}, c) }}""")
    shape = [3] + [int(size) for size in data[1:-1].split(",")[1:]]
    changed = check_pass(LowerConvsToMatMul(strict=True), model, {"x": whole(6, *shape)}, min_edits=1)
    assert "Conv" not in op_types(changed)
    assert op_types(changed).count("Quant") == (read == "q")
    if expected and kind == "constant":
        found = [op for op in op_types(changed) if op != "Add"]
        assert found == expected
    if "group = " in attributes and weights[0] == shape[1]:
        product = next(node for node in changed.graph if node.op_type == "MatMul")
        kernel = list(weights[2:]) if len(weights) == 4 else [1, *weights[2:]]
        assert get_sparsity(product.inputs[1]) == {"dw": {"kernel_shape": kernel}}
        assert ("Mul" in op_types(changed)) == (kind == "bipolar")


@pytest.mark.parametrize(("data", "weights", "attributes", "expected"), SHAPES)
@pytest.mark.parametrize("kind", ["constant", "per channel", "bipolar"])
def test_channels_last_convolutions_need_no_transposes(data, weights, attributes, expected, kind) -> None:
    scales = (2.0 ** np.random.default_rng(4).integers(-2, 2, (weights[0], *[1] * (len(weights) - 1)))).astype("f4")
    parameters = f"{constant('w', whole(3, *weights))}, {constant('s', scales)}, float z = {{0}}"
    axes = ", ".join("OPQ"[: len(weights) - 2])
    model = build(f"""g (float{data} x) => (float[N, {weights[0]}, {axes}] y)
        <{parameters}, float b = {{{1 if kind == "bipolar" else 4}}}, {constant("c", whole(5, weights[0]))}>
        {{ q = {QUANT}(w, s, z, b) y = Conv<{attributes or "group = 1"}>(x, {"w" if kind == "constant" else "q"}, c) }}
        """)
    ConvertToChannelsLast(strict=True).run(model)
    shape = [3] + [int(size) for size in data[1:-1].split(",")[1:]]
    changed = check_pass(LowerConvsToMatMul(strict=True), model, {"x": whole(6, *shape)}, min_edits=1)
    assert "Conv" not in op_types(changed)
    assert op_types(changed).count("Transpose") == 2  # those at the borders of the model


def test_annotations_travel_along() -> None:
    model = build(f"""g (float[N, 2, 5, 5] x) => (float[N, 4, 3, 3] y) <{constant("w", whole(0, 4, 2, 3, 3))}>
        {{ y = Conv<pads = [0, 0, 0, 0]>(x, w) }}""")
    set_datatype(model.graph.inputs[0], DataType.parse("UINT4"))
    set_datatype(model.graph.initializers["w"], DataType.parse("INT4"))
    set_datatype(model.graph.outputs[0], DataType.parse("INT12"))
    LowerConvsToMatMul().run(model)
    to_last, windows, product, back = model.graph
    assert [str(get_datatype(node.outputs[0])) for node in (to_last, windows, product, back)] == [
        "UINT4", "UINT4", "INT12", "INT12"]  # fmt: skip
    assert str(get_datatype(product.inputs[1])) == "INT4"
    assert back.outputs[0].name == "y"


def test_shared_weights_are_moved_once() -> None:
    model = build(f"""g (float[N, 2, 5, 5] x) => (float[N, 2, 1, 1] y) <{constant("w", whole(0, 2, 2, 3, 3))},
        float s = {{0.5}}, float z = {{0}}, float b = {{4}}>
        {{ q = {QUANT}(w, s, z, b) a = Conv(x, q) y = Conv(a, q) }}""")
    changed = check_pass(LowerConvsToMatMul(), model, {"x": whole(1, 2, 2, 5, 5)}, min_edits=2)
    assert op_types(changed).count("Quant") == 1
    assert len([value for value in changed.graph.initializers.values() if constant_array(value).ndim == 2]) == 1


def test_computed_weights_are_reshaped_while_the_model_runs() -> None:
    model = build("""g (float[N, 2, 5, 5] x, float[3, 2, 3, 3] w) => (float[N, 3, 3, 3] y) { y = Conv(x, w) }""")
    inputs = {"x": whole(0, 3, 2, 5, 5), "w": whole(1, 3, 2, 3, 3)}
    changed = check_pass(LowerConvsToMatMul(), model, inputs, min_edits=1)
    assert op_types(changed) == ["Transpose", "Im2Col", "Transpose", "Reshape", "MatMul", "Transpose"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("g (float[N, 2, H, W] x) => (y) <float[1, 2, 3, 3] w = {W}> { y = Conv(x, w) }", "size of its image is not"),
        (
            'g (float[N, 2, H, W] x) => (y) <float[1, 2, 3, 3] w = {W}> { y = Conv<auto_pad = "SAME_UPPER", '
            "strides = [2, 2]>(x, w) }",
            "auto_pad is SAME_UPPER and the size of the image is not fixed",
        ),
        (
            "g (float[N, 2, 5, 5] x, float[2, 1, 3, 3] w) => (y) { y = Conv<group = 2>(x, w) }",
            "has 2 groups and computed weights",
        ),
        ("g (float[N, 1, 4, 4, 4] x, float[1, 1, 3, 3, 3] w) => (y) { y = Conv(x, w) }", "has 3 spatial axes"),
    ],
)
def test_what_cannot_be_lowered_is_said(body: str, reason: str) -> None:
    model = build(body.replace("{W}", numbers(np.ones(18))))
    before = serialize(model)
    assert LowerConvsToMatMul().run(model) == 0
    assert serialize(model) == before
    with pytest.raises(Unsupported, match=reason):
        LowerConvsToMatMul(strict=True).run(model)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_random_convolutions_keep_their_bits(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, strides, dilations = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(3))
    size = [
        dilation * (number - 1) + 1 + draw(st.integers(0, 4))
        for number, dilation in zip(kernel, dilations, strict=True)
    ]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    w = whole(draw(st.integers(0, 99)), filters, channels // groups, *kernel)
    scale_shape = [draw(st.sampled_from([1, size])) for size in w.shape]
    scales = (2.0 ** np.random.default_rng(0).integers(-1, 2, scale_shape)).astype(np.float32)
    model = build(f"""g (float[N, {channels}, {size[0]}, {size[1]}] x) => (float[N, {filters}, P, Q] y)
        <{constant("w", w)}, {constant("s", scales)}, float z = {{0}}, float b = {{4}}>
        {{ q = {QUANT}(w, s, z, b)
           y = Conv<group = {groups}, pads = {pads}, strides = {strides}, dilations = {dilations}>(x, q) }}""")
    check_pass(LowerConvsToMatMul(strict=True), model, {"x": whole(1, 2, channels, *size)}, min_edits=1)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans())
def test_random_networks_keep_their_bits(seed: int, channels_last: bool) -> None:
    graph = random_graph(seed, "cnn")
    if channels_last:
        ConvertToChannelsLast().run(graph.model)
    check_pass(LowerConvsToMatMul(), graph.model, graph.inputs)

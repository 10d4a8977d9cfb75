"""Shapes that are unusual run, or are refused with a sentence: no axes, no samples, axes that change."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.optimizers import Mode
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
ONES = "<float[1, 1, 3, 3] w = {1, 1, 1, 1, 1, 1, 1, 1, 1}>"
CONV = (
    f"g (float[B, 1, H, W] x) => (float[B, 1, P, Q] y) {ONES} {{ c = Conv(x, w) y = MaxPool<kernel_shape=[2, 2]>(c) }}"
)
QUANT = "qonnx.custom_op.general.Quant(x, s, z, b)"
MIXING = "g (float[2, 4] x) => (float[2, 4] y) <int64[1] a = {0}> { m = ReduceMax<keepdims = 1>(x, a) y = Sub(x, m) }"


def compiled(body: str) -> qonnx_core.CompiledModel:
    return qonnx_core.compile_model(from_proto(onnx.parser.parse_model(HEAD + body)))


def test_a_tensor_without_axes_runs() -> None:
    model = compiled(
        f"g (float x) => (float y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}> {{ y = {QUANT} }}"
    )
    for given in (np.float32(1.2), 1.2, np.asarray(1.2, np.float32)):
        found = model.run({"x": np.float32(given)})["y"]
        assert (found.shape, found.item()) == ((), 1.0)
    with pytest.raises(InvalidInput, match=r"input x: has shape \(1,\); expected \(\)"):
        model.run({"x": np.ones(1, np.float32)})


def test_an_input_without_axes_belongs_to_every_sample() -> None:
    body = "g (float[1, 2] x, float k) => (float[1, 2] y, float[1, 2] z) { y = Mul(x, k) z = Softmax<axis = 0>(y) }"
    x = np.float32([[1, 2], [3, 4]])
    found = compiled(body).run({"x": x, "k": np.float32(3)})
    assert found["y"].tolist() == [[3, 6], [9, 12]]
    assert found["z"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(("height", "width"), [(5, 6), (4, 4), (9, 5)])
def test_other_axes_than_the_batch_may_change_too(height: int, width: int) -> None:
    x = np.arange(2 * height * width, dtype=np.float32).reshape(2, 1, height, width)
    found = compiled(CONV).run({"x": x}, ["c"])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3)).sum(axis=(-1, -2))
    np.testing.assert_array_equal(found["c"], windows)
    assert found["y"].shape == (2, 1, height - 3, width - 3)


def test_axes_that_are_too_short_are_refused_with_their_shape() -> None:
    with pytest.raises(InvalidInput, match=r"cannot run with inputs x \(1, 1, 2, 2\): .*; expected shapes that fit"):
        compiled(CONV).run({"x": np.ones((1, 1, 2, 2), np.float32)})


def test_axes_that_do_not_fit_name_the_node() -> None:
    body = "g (float[?, ?] x, float[?, ?] w) => (float[?, ?] y) { [sum] y = Add(x, w) }"
    inputs = {"x": np.ones((3, 4), np.float32), "w": np.ones((2, 4), np.float32)}
    with pytest.raises(
        InvalidInput, match=r"inputs x \(3, 4\), w \(2, 4\): sum \(Add\): (?!.*onnxruntime).*2 by 3; expected"
    ):
        compiled(body).run(inputs)


def test_equal_names_of_axes_have_to_be_equal_sizes() -> None:
    body = "g (float[N, M] x, float[N, M] w) => (float[N, M] y) { y = Add(x, w) }"
    with pytest.raises(InvalidInput, match=r"input w: axis 1 \(M\) is 4, but 3 in input x"):
        compiled(body).run({"x": np.ones((1, 3), np.float32), "w": np.ones((1, 4), np.float32)})


@pytest.mark.parametrize(
    ("body", "shape", "shapes"),
    [
        (CONV, (0, 1, 5, 6), {"c": (0, 1, 3, 4), "y": (0, 1, 2, 3)}),
        (CONV.replace("B, 1, H, W", "1, 1, 5, 6").replace("B, 1, P, Q", "1, 1, 2, 3"), (0, 1, 5, 6),
         {"y": (0, 1, 2, 3)}),
        (MIXING, (0, 4), {"y": (0, 4)}),
        ("g (float[N, 4] x) => (float[N, 1] y, int64[N, 1] i) <int64[1] k = {1}> { y, i = TopK(x, k) }", (0, 4),
         {"y": (0, 1), "i": (0, 1)}),
        ("g (float[N, 4] x) => (int64[N] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }", (0, 4), {"y": (0,)}),
        ("g (float[N, 2, M] x) => (float[N, 2, M] y) <float[2, 2] t = {0, 1, 2, 3}> "
         '{ y = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2">(x, t) }', (0, 2, 3), {"y": (0, 2, 3)}),
        ("g (float[N, M] x) => (float[N, M] y) { y = Relu(x) }", (3, 0), {"y": (3, 0)}),
    ],
)  # fmt: skip
def test_no_samples_give_no_results_of_the_right_shape(
    body: str, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]]
) -> None:
    found = compiled(body).run({"x": np.zeros(shape, np.float32)}, [name for name in shapes if name != "y"])
    assert {name: found[name].shape for name in shapes} == shapes


def test_a_constant_stays_whole_where_there_are_no_samples() -> None:
    body = MIXING.replace("(float[2, 4] y)", "(float[2, 4] y, float[2] c)").replace("{ m =", "{ c = Neg(k) m =")
    found = compiled(body.replace("<int64[1]", "<float[2] k = {1, 2}, int64[1]")).run(
        {"x": np.zeros((0, 4), np.float32)}
    )
    assert found["c"].tolist() == [-1, -2]
    assert found["y"].shape == (0, 4)


def test_inputs_that_have_a_value_are_parameters() -> None:
    model = compiled("g (float[1, 2] x, float[1, 2] w) => (float[1, 2] y) <float[1, 2] w = {1, 2}> { y = Add(x, w) }")
    assert model.input_names == ("x",)
    assert model.run({"x": np.float32([[1, 2], [3, 4]])})["y"].tolist() == [[2, 4], [4, 6]]


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize(("axes", "pads"), [("2, -1", "1, 0, 2, 3"), ("3, 1, 2, 0", "0, 0, 1, 0, 3, 0, 2, 0")])
def test_a_pad_of_some_axes_runs_between_transposes(axes: str, pads: str, mode: Mode) -> None:
    """An optimization of onnxruntime puts its pads in the order of all axes, and then fails or pads others."""
    model = from_proto(
        onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 21]> g (float[N, 3, 4, 4] x) => (y)
            <int64[{pads.count(",") + 1}] pads = {{{pads}}}, int64[{axes.count(",") + 1}] axes = {{{axes}}}>
            {{ t = Transpose<perm = [0, 3, 1, 2]>(x) p = Pad(t, pads, , axes) y = Transpose<perm = [0, 2, 3, 1]>(p) }}
            """)
    )
    x = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
    wide = np.pad(x.transpose(0, 3, 1, 2), ((0, 0), (0, 0), (1, 2), (0, 3))).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(qonnx_core.compile_model(model, mode=mode).run({"x": x})["y"], wide)


@pytest.mark.parametrize("numbers", ["float[2] s = {2, 2}", "int64[2] s = {8, 8}"])
def test_a_resize_of_some_axes_runs_between_transposes(numbers: str) -> None:
    """An optimization of onnxruntime puts its numbers in the order of all axes, and then fails or resizes others."""
    place = "" if numbers.startswith("float") else ", "
    w = ", ".join(str(number) for number in range(9))
    model = from_proto(
        onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 21]>
            g (float[N, 3, 4, 4] x) => (y) <{numbers}, float[3, 3] w = {{{w}}}>
            {{ t = Transpose<perm = [0, 2, 3, 1]>(x) u = MatMul(t, w) c = Transpose<perm = [0, 3, 1, 2]>(u)
               r = Resize<axes = [2, 3]>(c, , {place}s)
               d = Transpose<perm = [0, 2, 3, 1]>(r) e = MatMul(d, w) y = Transpose<perm = [0, 3, 1, 2]>(e) }}""")
    )
    x = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4) % 7
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3)
    once = np.einsum("nchw,cd->ndhw", x, matrix).repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(
        qonnx_core.compile_model(model).run({"x": x})["y"], np.einsum("nchw,cd->ndhw", once, matrix)
    )

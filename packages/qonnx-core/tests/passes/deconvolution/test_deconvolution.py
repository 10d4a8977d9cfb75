"""Upsampling around convolutions as transposed convolutions: the same bits, and the reasons where it is not done."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.deconvolution.resize_convolution import ResizeConvolutionToDeconvolution
from qonnx_core.passes.deconvolution.sub_pixel import SubPixelToDeconvolution
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.graph_text import model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
Q = "qonnx.custom_op.general"


def build(body: str, head: str = HEAD) -> ir.Model:
    return model_of_text(head + body)


def text(array: np.ndarray) -> str:
    return "{" + ", ".join(repr(float(number)) for number in array.reshape(-1)) + "}"


def dims(*sizes: int) -> str:
    return f"[{', '.join(map(str, sizes))}]"


@st.composite
def weight_quantizers(draw: st.DrawFn, shape: tuple[int, ...], seed: int) -> tuple[str, str]:
    """Return initializers and a node that give ``q``, weights whose products and sums are exact."""
    rng = np.random.default_rng(seed)
    kind = draw(st.sampled_from(["none", "Quant", "unsigned", "zero", "bipolar", "one bit"]))
    per_channel = draw(st.booleans())
    scale_shape = (shape[0], *(1,) * (len(shape) - 1)) if per_channel else ()
    scale = 2.0 ** rng.integers(-2, 2, scale_shape)
    w = rng.integers(-6, 7, shape) * 0.5
    constants = f"float{dims(*shape)} w = {text(w)}, "
    if kind == "none":
        return constants.replace(" w ", " q "), ""
    scale_text = text(np.asarray(scale))
    constants += f"float{dims(*scale_shape) if scale_shape else ''} s = {scale_text}, "
    if kind == "bipolar":
        return constants, f"q = {Q}.BipolarQuant(w, s)"
    zero = rng.integers(0, 4, scale_shape) if kind == "zero" else np.zeros(())
    zero_type = dims(*scale_shape) if scale_shape and kind == "zero" else ""
    constants += f"float{zero_type} z = {text(np.asarray(zero))}, float b = {{{1 if kind == 'one bit' else 3}}}, "
    signed = int(kind not in ("unsigned", "zero"))
    return (
        constants,
        f"q = {Q}.Quant<signed = {signed}, narrow = {int(draw(st.booleans()) and kind == 'Quant')}>(w, s, z, b)",
    )


@st.composite
def sub_pixels(draw: st.DrawFn) -> tuple[str, tuple[int, ...], int]:
    block, group, seed = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2])), draw(st.integers(0, 999))
    mode = "CRD" if group > 1 else draw(st.sampled_from(["CRD", "DCR"]))
    inputs, outputs = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = [draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]
    shape = (outputs * block**2, inputs // group, *kernel)
    constants, node = draw(weight_quantizers(shape, seed))
    rng = np.random.default_rng(seed)
    bias = rng.integers(-4, 5, outputs) * 0.25
    wide = np.repeat(bias, block**2) if mode == "CRD" else np.tile(bias, block**2)
    extra = ", c" if draw(st.booleans()) else ""
    body = f"""g (float[N, {inputs}, 4, 5] x) => (y) <{constants} float[{outputs * block**2}] c = {text(wide)}>
      {{ {node} k = Conv<pads = {dims(*pads)}, group = {group}>(x, q{extra})
         y = DepthToSpace<blocksize = {block}, mode = "{mode}">(k) }}"""
    return body, (3, inputs, 4, 5), seed


@settings(max_examples=80, deadline=None, derandomize=True)
@given(sub_pixels())
def test_sub_pixels_are_a_transposed_convolution(case: tuple[str, tuple[int, ...], int]) -> None:
    body, shape, seed = case
    x = (np.random.default_rng(seed).integers(-8, 9, shape) / 4).astype(np.float32)
    changed = check_pass(SubPixelToDeconvolution(), build(body), {"x": x}, min_edits=1)
    assert op_types(changed)[-1] == "ConvTranspose"
    assert "DepthToSpace" not in op_types(changed)
    assert SubPixelToDeconvolution().refusals(build(body)) == []


def test_before_and_after() -> None:
    before = build(
        """g (float[1, 1, 2, 2] x) => (y) <float[4, 1, 1, 1] w = {1, 2, 3, 4}>
        { k = Conv<kernel_shape = [1, 1]>(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(k) }"""
    )
    after = build(
        """g (float[1, 1, 2, 2] x) => (y) <float[1, 1, 2, 2] W = {1, 2, 3, 4}>
        { y = ConvTranspose<kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0], group = 1>(x, W) }"""
    )
    assert SubPixelToDeconvolution().run(before) == 1
    (node,) = before.graph
    (wanted,) = after.graph
    assert node.op_type == "ConvTranspose"
    assert {n: a.value for n, a in node.attributes.items()} == {n: a.value for n, a in wanted.attributes.items()}
    np.testing.assert_array_equal(constant_array(node.inputs[1]), constant_array(wanted.inputs[1]))
    assert node.outputs[0].shape == wanted.outputs[0].shape
    resize = build(
        """g (float[1, 1, 2, 2] x) => (y) <float[1, 1, 1, 2] w = {1, 2}, float[0] r = {}, float[4] s = {1, 1, 2, 2}>
        { k = Resize<mode = "nearest">(x, r, s) y = Conv<pads = [0, 1, 0, 0]>(k, w) }"""
    )
    assert ResizeConvolutionToDeconvolution().run(resize) == 1
    (node,) = resize.graph
    np.testing.assert_array_equal(constant_array(node.inputs[1]), [[[[2, 3, 1], [2, 3, 1]]]])
    assert tuple(node.attributes.get_ints("pads")) == (0, 0, 0, 1)


BETWEEN = {
    "relu": "m = Relu(k)",
    "quant": "m = qonnx.custom_op.general.Quant<signed = 0>(k, s, z, b)",
    "several": "i = Mul(k, s) c = Clip(i, z, b) m = qonnx.custom_op.general.Quant(c, s, z, b)",
    "threshold": 'm = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2">(k, t)',
}
PER_CHANNEL = "m = qonnx.custom_op.general.Quant(k, v, z, b)"
SHUFFLE = """g (float[N, 1, 3, 3] x) => (float[N, 1, 6, 6] y) <float[4, 1, 2, 2] w = {WEIGHTS}, float s = {0.5},
  float z = {0}, float b = {4}, float[1, 3] t = {-1, 0, 2}, float[1, 4, 1, 1] v = {1, 2, 1, 2}>
  { k = Conv<auto_pad = "SAME_UPPER">(x, w) NODES y = DepthToSpace<blocksize = 2>(m) }""".replace(
    "WEIGHTS", ", ".join(str(n % 5 - 2) for n in range(16))
)
REPEAT = """g (float[1, 1, 3, 3] x) => (y) <float[1, 1, 2, 2] w = {1, 2, -1, 1}, float s = {0.5}, float z = {0},
  float b = {4}, float[1, 3] t = {-1, 0, 2}, float[1, 1, 1, 6] v = {1, 2, 1, 2, 1, 2}, float[0] r = {},
  float[4] f = {1, 1, 2, 2}>
  { k = Resize<mode = "nearest">(x, r, f) NODES y = Conv(m, w) }"""
UPSAMPLED = [(SubPixelToDeconvolution(), SHUFFLE), (ResizeConvolutionToDeconvolution(), REPEAT)]


@pytest.mark.parametrize(("step", "body"), UPSAMPLED, ids=["sub-pixel", "resize"])
@pytest.mark.parametrize("kind", list(BETWEEN))
def test_what_works_on_every_element_alike_may_stand_between(
    step: SubPixelToDeconvolution, body: str, kind: str
) -> None:
    model = build(body.replace("NODES", BETWEEN[kind]))
    x = (np.random.default_rng(0).integers(-8, 9, (1, 1, 3, 3)) / 4).astype(np.float32)
    inner = [n for n in op_types(model) if n not in ("Conv", "DepthToSpace", "Resize")]
    changed = check_pass(step, model, {"x": x}, min_edits=1)
    wanted = ["ConvTranspose", *inner] if isinstance(step, SubPixelToDeconvolution) else [*inner, "ConvTranspose"]
    assert op_types(changed) == wanted
    shapes = [tuple(value.shape) for node in changed.graph for value in node.outputs]
    InferShapes().run(changed)
    assert [tuple(value.shape) for node in changed.graph for value in node.outputs] == shapes


def test_scales_per_channel_between_the_two_stay() -> None:
    for step, body in UPSAMPLED:
        model = build(body.replace("NODES", PER_CHANNEL))
        assert step.run(model) == 0


def test_quantized_bias_and_auto_pad() -> None:
    body = f"""g (float[N, 1, 4, 4] x) => (y) <float[8, 1, 3, 3] w = {text(np.arange(72) % 7 - 3)}, float s = {{0.5}},
      float z = {{0}}, float b = {{4}}, float[8] c = {{1, 1, 1, 1, 2, 2, 2, 2}},
      float[8] t = {text(np.repeat([1, 2], 4))}>
      {{ q = {Q}.Quant(c, t, z, b) k = Conv<auto_pad = "SAME_UPPER">(x, w, q)
         y = DepthToSpace<blocksize = 2, mode = "CRD">(k) }}"""
    x = (np.random.default_rng(0).integers(-8, 9, (2, 1, 4, 4)) / 4).astype(np.float32)
    changed = check_pass(SubPixelToDeconvolution(), build(body), {"x": x}, min_edits=1)
    assert op_types(changed) == ["Quant", "ConvTranspose"]
    same = build(body.replace("SAME_UPPER", "SAME_LOWER"))
    check_pass(SubPixelToDeconvolution(), same, {"x": x}, min_edits=1)


@st.composite
def resizes(draw: st.DrawFn) -> tuple[str, tuple[int, ...], int]:
    axes, seed = draw(st.sampled_from([1, 2, 2, 2])), draw(st.integers(0, 999))
    factors = [draw(st.integers(1, 3)) for _ in range(axes)]
    group = draw(st.sampled_from([1, 1, 2]))
    inputs, outputs = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    pads = [draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]
    shape = (outputs, inputs // group, *kernel)
    constants, node = draw(weight_quantizers(shape, seed))
    frame = (inputs, 4, 5)[: axes + 1]
    extra = ", c" if draw(st.booleans()) else ""
    modes = draw(
        st.sampled_from(
            [
                "",
                ', coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"',
                ', coordinate_transformation_mode = "pytorch_half_pixel", nearest_mode = "round_prefer_ceil"',
            ]
        )
    )
    if draw(st.booleans()):
        sizes = [size * factor for size, factor in zip(frame[1:], factors, strict=True)]
        constants += f"int64[{axes}] n = {{{', '.join(map(str, sizes))}}}, float[0] r = {{}}, float[0] f = {{}}, "
        resize = f'Resize<mode = "nearest", axes = {dims(*range(2, 2 + axes))}{modes}>(x, r, f, n)'
    else:
        constants += f"float[{axes + 2}] f = {{1, 1, {', '.join(map(str, factors))}}}, float[0] r = {{}}, "
        resize = f'Resize<mode = "nearest"{modes}>(x, r, f)'
    bias = np.random.default_rng(seed).integers(-4, 5, outputs) * 0.25
    body = f"""g (float{dims(3, *frame)} x) => (y) <{constants} float[{outputs}] c = {text(bias)}>
      {{ {node} u = {resize} y = Conv<pads = {dims(*pads)}, group = {group}>(u, q{extra}) }}"""
    return body, (3, *frame), seed


@settings(max_examples=100, deadline=None, derandomize=True)
@given(resizes())
def test_a_convolution_of_repeated_pixels_is_a_transposed_convolution(case: tuple[str, tuple[int, ...], int]) -> None:
    body, shape, seed = case
    x = (np.random.default_rng(seed).integers(-8, 9, shape) / 4).astype(np.float32)
    changed = check_pass(ResizeConvolutionToDeconvolution(), build(body), {"x": x}, min_edits=1)
    assert op_types(changed)[-1] == "ConvTranspose"
    assert "Resize" not in op_types(changed)
    assert ("Quant" in op_types(changed)) == ("Quant" in body)


RESIZED = """g (float[1, 1, 3, 3] x) => (y) <float[1, 1, 2, 2] w = {VALUES}, float s = {0.5}, float z = {0},
  float b = {3}, float[0] r = {}, float[4] f = {1, 1, 2, 2}>
  { q = qonnx.custom_op.general.Quant(w, s, z, b) u = Resize<mode = "nearest">(x, r, f) y = Conv(u, q) }"""


@pytest.mark.parametrize(("values", "bits", "clips"), [("0.5, 0.5, 0, 0.5", 3, False), ("1.5, 1.5, 1.5, -2", 4, True)])
def test_sums_of_weights_get_the_bits_that_they_need_or_keep_theirs(values: str, bits: int, clips: bool) -> None:
    body = RESIZED.replace("VALUES", values)
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    model = check_pass(ResizeConvolutionToDeconvolution(), build(body), {"x": x}, min_edits=1)
    quantizer = next(node for node in model.graph if node.op_type == "Quant")
    assert constant_array(quantizer.inputs[3]) == bits
    kept = build(body)
    assert ResizeConvolutionToDeconvolution(maintain_bit_width=True).run(kept) == 1
    quantizer = next(node for node in kept.graph if node.op_type == "Quant")
    assert constant_array(quantizer.inputs[3]) == 3
    (found,) = qonnx_core.compile_model(kept).run({"x": x}).values()
    (wanted,) = qonnx_core.compile_model(build(body)).run({"x": x}).values()
    assert np.array_equal(found, wanted) is not clips


def test_an_upsample_of_an_old_model_is_a_resize_here() -> None:
    body = """g (float[1, 1, 3, 3] x) => (float[1, 1, a, b] y) <float[1, 1, 2, 2] w = {1, 2, 3, 4},
      float[4] f = {1, 1, 2, 2}> { u = Upsample<mode = "nearest">(x, f) y = Conv<kernel_shape = [2, 2]>(u, w) }"""
    model = build(body, '<ir_version: 5, opset_import: ["": 9]>')
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    changed = check_pass(ResizeConvolutionToDeconvolution(), model, {"x": x}, min_edits=1)
    assert op_types(changed) == ["ConvTranspose"]


SUB_PIXEL = """g (float[1, 2, 4, 4] x, float[8, 2, 2, 2] v) => (y) <float[8, 2, 2, 2] w = {WEIGHTS},
  float[8] c = {1, 2, 3, 4, 5, 6, 7, 8}, float s = {1}>
  { k = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(k) }""".replace(
    "WEIGHTS", ", ".join("1" for _ in range(64))
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Conv(x, w)", "Conv(x, w, c)", "the bias differs between the sub-pixels"),
        ("Conv(x, w)", "Conv<strides = [2, 2]>(x, w)", "the convolution has strides [2, 2]"),
        ("Conv(x, w)", "Conv<dilations = [2, 2]>(x, w)", "the convolution has dilations"),
        ("Conv(x, w)", "Conv<pads = [2, 0, 0, 0]>(x, w)", "the convolution has pads [2, 0, 0, 0]; expected 0 to one"),
        ("Conv(x, w)", "Conv(x, v)", "the weights v are computed"),
        ("=> (y)", "=> (y, k)", "the result of the convolution, k, has other readers"),
        (
            'Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">',
            'Conv<group = 2>(x, h) y = DepthToSpace<blocksize = 2, mode = "DCR">',
            "groups of the convolution do not end",
        ),
    ],
)
def test_sub_pixels_that_stay_say_why(old: str, new: str, reason: str) -> None:
    body = SUB_PIXEL.replace(old, new)
    if "(x, h)" in body:
        body = body.replace("float s =", f"float[8, 1, 2, 2] h = {text(np.ones(32))}, float s =")
    model = build(body)
    ((_, found),) = SubPixelToDeconvolution().refusals(model)
    assert reason in found
    assert SubPixelToDeconvolution().run(model) == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"nearest"', '"linear"', "the interpolation is linear"),
        ("{1, 1, 2, 2}", "{1, 1, 1.5, 2}", "expected 1, 1 and whole numbers"),
        ("{1, 1, 2, 2}", "{1, 2, 2, 2}", "expected 1, 1 and whole numbers"),
        ('"nearest"', '"nearest", coordinate_transformation_mode = "align_corners"', "do not repeat each pixel"),
        ('"nearest"', '"nearest", nearest_mode = "floor"', "coordinates half_pixel with floor do not repeat"),
        ("=> (y)", "=> (y, u)", "the resized image u has other readers"),
        ("float b = {3}", "float b = {2.5}", "is no whole number"),
        ("float z = {0}", "float z = {0.5}", "zero point of the weights is no whole number"),
        ("float s = {0.5}", "float s = {-0.5}", "a scale of the weights is not positive"),
        ("Conv(u, q)", "Conv<strides = [2, 2]>(u, q)", "has strides [2, 2]"),
        ("Resize<", "Resize<antialias = 0, ", None),
    ],
)
def test_resized_convolutions_that_stay_say_why(old: str, new: str, reason: str | None) -> None:
    model = build(RESIZED.replace("VALUES", "1, 0, 1, 0").replace(old, new))
    found = ResizeConvolutionToDeconvolution().refusals(model)
    if reason is None:
        assert found == []
        assert ResizeConvolutionToDeconvolution().run(model) == 1
        return
    assert reason in found[0][1]
    assert ResizeConvolutionToDeconvolution().run(model) == 0


def test_scales_along_other_axes_than_the_outputs_are_refused() -> None:
    body = RESIZED.replace("VALUES", "1, 0, 1, 0").replace("[1, 1, 2, 2] w = {1, 0, 1, 0}", "[1, 2, 1, 1] w = {1, 0}")
    body = body.replace("[1, 1, 3, 3] x", "[1, 2, 3, 3] x").replace("float s = {0.5}", "float[1, 2, 1, 1] s = {1, 2}")
    ((_, reason),) = ResizeConvolutionToDeconvolution().refusals(build(body))
    assert "scales along other axes than their outputs" in reason

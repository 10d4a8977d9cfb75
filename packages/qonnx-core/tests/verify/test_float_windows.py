"""Error bounds of convolutions, pooling, data movement and minifloats hold for float32, and are zero where sums are."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.random_graphs import random_graph
from qonnx_core.verify import ErrorAnalysis, compare_outputs

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1, "qonnx.custom_op.channels_last": 1]>'
Q = "qonnx.custom_op.general."
L = "qonnx.custom_op.channels_last."
F32 = np.float32

CASES = {
    "conv": ("float[2, 4, 6, 6]", "Conv<pads = [1, 0, 1, 2], strides = [2, 1]>(x, w, c)", (5, 4, 3, 3), (5,)),
    "same conv": ("float[2, 4, 6, 6]", 'Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(x, w)', (5, 4, 3, 3), None),
    "dilated conv": ("float[2, 4, 6, 6]", "Conv<dilations = [2, 1]>(x, w)", (5, 4, 3, 3), None),
    "depthwise conv": ("float[2, 4, 6, 6]", "Conv<group = 4>(x, w, c)", (8, 1, 3, 3), (8,)),
    "conv over one axis": ("float[2, 4, 9]", "Conv<pads = [1, 1], group = 2>(x, w)", (6, 2, 3), None),
    "conv over three axes": ("float[2, 2, 4, 4, 4]", "Conv(x, w)", (3, 2, 2, 3, 2), None),
    "transposed conv": (
        "float[2, 4, 5, 5]", "ConvTranspose<strides = [2, 1], pads = [1, 0, 0, 1], output_padding = [1, 0]>(x, w, c)",
        (4, 3, 3, 3), (3,),
    ),
    "grouped transposed conv": ("float[2, 4, 5]", "ConvTranspose<group = 2, dilations = [2]>(x, w)", (4, 3, 3), None),
    "channels-last conv": (
        "float[2, 6, 6, 4]", f"{L}Conv<kernel_shape = [3, 2], group = 2, pads = [1, 0, 0, 1]>(x, w, c)", (6, 3, 2, 2),
        (6,),
    ),
    "average": (
        "float[2, 3, 6, 6]", "AveragePool<kernel_shape = [3, 2], pads = [1, 1, 1, 0], strides = [2, 1]>(x)", None, None,
    ),
    "average with padding": (
        "float[2, 3, 6]", "AveragePool<kernel_shape = [3], pads = [1, 1], count_include_pad = 1>(x)", None, None,
    ),
    "average up to the end": (
        "float[2, 3, 6]", "AveragePool<kernel_shape = [4], strides = [3], ceil_mode = 1>(x)", None, None,
    ),
    "maximum": ("float[2, 3, 6]", "MaxPool<kernel_shape = [3], pads = [1, 1], strides = [2]>(x)", None, None),
    "maximum up to the end": (
        "float[2, 3, 6]", "MaxPool<kernel_shape = [4], strides = [3], ceil_mode = 1>(x)", None, None,
    ),
    "maximum whose pads do not count": (
        "float[2, 3, 6]", 'MaxPool<kernel_shape = [3], auto_pad = "VALID", pads = [1, 1]>(x)', None, None,
    ),
    "channels-last maximum": ("float[2, 6, 5, 3]", f"{L}MaxPool<kernel_shape = [3, 2]>(x)", None, None),
    "maximum of pictures": (
        "float[2, 6, 6, 3]", f"{Q}MaxPoolNHWC<kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0]>(x)", None,
        None,
    ),
    "largest of all": ("float[2, 3, 6]", "GlobalMaxPool(x)", None, None),
    "windows as rows": (
        "float[2, 5, 4, 3]",
        f'{Q}Im2Col<stride = [2, 1], kernel_size = [2, 3], pad_amount = [1, 0, 0, 1], input_shape = "(1, 5, 4, 3)">(x)',
        None, None,
    ),
    "counted pairs": ("float[2, 5]", f"{Q}XnorPopcountMatMul(x, w)", (5, 3), None),
    "pad": ("float[2, 5]", "Pad(x, i, v)", None, None),
    "pad by reflection": ("float[2, 5]", 'Pad<mode = "reflect">(x, i)', None, None),
    "slice": ("float[2, 5]", "Slice(x, k, j, a, t)", None, None),
    "tile": ("float[2, 5]", "Tile(x, r)", None, None),
    "expand": ("float[2, 1, 5]", "Expand(x, e)", None, None),
    "depth to space": ("float[2, 8, 3, 3]", "DepthToSpace<blocksize = 2>(x)", None, None),
    "depth to space by columns": ("float[2, 8, 3, 3]", 'DepthToSpace<blocksize = 2, mode = "CRD">(x)', None, None),
    "space to depth": ("float[2, 2, 4, 4]", "SpaceToDepth<blocksize = 2>(x)", None, None),
    "prelu": ("float[2, 5]", "PRelu(x, w)", (5,), None),
    "hard sigmoid": ("float[2, 5]", "HardSigmoid<alpha = 0.3, beta = 0.4>(x)", None, None),
}  # fmt: skip
PARAMETERS = """float v = {0.5}, int64[4] i = {0, 1, 0, 2}, int64[1] k = {4}, int64[1] j = {-9}, int64[1] a = {1},
  int64[1] t = {-2}, int64[2] r = {1, 2}, int64[3] e = {1, 3, 1}"""


def model_of(name: str, seed: int, *, whole: bool = False) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """A model of one case with random numbers (or small whole ones), and an input for it."""
    x, node, weights, bias = CASES[name]
    generator = np.random.default_rng(seed)

    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        array = generator.integers(-4, 5, shape) if whole else generator.normal(0, 1, shape)
        return array.astype(F32)

    proto = onnx.parser.parse_model(f"{HEAD} g ({x} x) => (float y) <{PARAMETERS}> {{ y = {node} }}")
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    for label, shape in (("w", weights), ("c", bias)):
        if shape is not None:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(numbers(shape), label))
    shape = tuple(int(size) for size in x[6:-1].split(","))
    return qonnx_core.cleanup_model(from_proto(proto)), {"global_in": numbers(shape)}


@pytest.mark.parametrize("name", list(CASES))
def test_the_executor_is_within_the_bound(name: str) -> None:
    for seed in range(3):
        model, inputs = model_of(name, seed)
        bounds = ErrorAnalysis(model).run(inputs)
        assert bounds.unbounded == {}
        found = qonnx_core.compile_model(model).run(inputs)["global_out"]
        bounded = bounds.tensors["global_out"]
        assert bounded.value.shape == found.shape
        assert (np.abs(found - bounded.real) <= bounded.errors).all()
        assert bounded.errors.max() <= 1e-4


@pytest.mark.parametrize("name", [name for name in CASES if "hard" not in name and "average" not in name])
def test_whole_numbers_have_no_error(name: str) -> None:
    model, inputs = model_of(name, 5, whole=True)
    bounded = ErrorAnalysis(model).run(inputs).tensors["global_out"]
    assert bounded.error is None
    assert (qonnx_core.compile_model(model).run(inputs)["global_out"] == bounded.real).all()


@pytest.mark.parametrize("name", ["conv", "depthwise conv", "transposed conv", "conv over one axis", "average"])
def test_an_error_of_the_input_goes_through(name: str) -> None:
    """Inputs moved within their errors give outputs within the bound; the whole error of all of them reaches it."""
    model, inputs = model_of(name, 1)
    x = inputs["global_in"]
    errors = np.full(x.shape, 2.0**-8)
    bounded = ErrorAnalysis(model).run(inputs, input_errors={"global_in": errors}).tensors["global_out"]
    generator = np.random.default_rng(0)
    compiled = qonnx_core.compile_model(model)
    for _ in range(5):
        moved = x + generator.choice([-1, 1], x.shape) * errors
        found = compiled.run({"global_in": moved.astype(F32)})["global_out"]
        assert (np.abs(found - bounded.real) <= bounded.errors + 1e-5).all()


def test_a_convolution_in_any_order_is_within_its_bound() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 16, 5, 5)).astype(F32)
    w = generator.normal(size=(4, 16, 3, 3)).astype(F32)
    model, _ = model_of("conv", 0)
    proto = onnx.parser.parse_model(f"{HEAD} g (float[1, 16, 5, 5] x) => (float[1, 4, 3, 3] y) {{ y = Conv(x, w) }}")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    model = qonnx_core.cleanup_model(from_proto(proto))
    bounded = ErrorAnalysis(model).run({"global_in": x}).tensors["global_out"]
    places = [(c, i, j) for c in range(16) for i in range(3) for j in range(3)]
    for _ in range(5):
        total = np.zeros((1, 4, 3, 3), F32)
        for c, i, j in generator.permutation(places):
            total = (total + w[None, :, c, i, j, None, None] * x[:, None, c, i : i + 3, j : j + 3]).astype(F32)
        assert (np.abs(total - bounded.real) <= bounded.errors).all()


def test_every_part_of_a_split_has_its_own_error() -> None:
    body = "g (float[N, 5] x) => (float[N, 2] y, float[N, 3] u) { y, u = Split<axis = 1>(x, s) }"
    model = from_proto(onnx.parser.parse_model(HEAD + body.replace("{ y,", "<int64[2] s = {2, 3}> { y,")))
    errors = np.asarray([[0.1, 0.2, 0.3, 0.4, 0.5]])
    bounds = ErrorAnalysis(model).run({"x": np.ones((1, 5), F32)}, input_errors={"x": errors})
    assert bounds.tensors["y"].errors.tolist() == [[0.1, 0.2]]
    assert bounds.tensors["u"].errors.tolist() == [[0.3, 0.4, 0.5]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from(["mlp", "cnn", "mixed"]), st.booleans())
def test_the_bounds_of_random_networks_hold(seed: int, kind: str, exact: bool) -> None:
    graph = random_graph(seed, kind, exact=exact, size=8, batch="N")  # type: ignore[arg-type]
    model = qonnx_core.cleanup_model(graph.model)
    names = [value.name or "" for value in model.graph.inputs]
    inputs = dict(zip(names, graph.more_inputs(8, 1).values(), strict=True))
    analysis = ErrorAnalysis(model)
    wanted = [value.name or "" for value in model.graph.outputs]
    found = qonnx_core.compile_model(model).run(inputs, analysis.quantized)
    bounds = analysis.run(inputs, {name: found[name] for name in analysis.quantized})
    assert bounds.unbounded == {}
    for decision in bounds.decisions:
        assert decision.explains(decision.levels(found[decision.tensor])).all()
        assert not (exact and decision.ambiguous().any())
    for name in wanted:
        bounded = bounds.tensors[name]
        assert (np.abs(found[name] - bounded.real) <= bounded.errors).all()
        assert bounded.error is None or not exact


@pytest.mark.parametrize("variant", ["saturation = 1", "saturation = 0, has_inf = 1", "saturation = 0, has_nan = 1"])
@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "HALF_UP"])
def test_a_minifloat_is_decided_like_any_quantizer(variant: str, mode: str) -> None:
    body = f"""g (float[N, 1] x) => (float[N, 1] y)
      <float s = {{0.3}}, float e = {{3}}, float m = {{2}}, float b = {{3}}, float t = {{14}}>
      {{ y = {Q}FloatQuant<rounding_mode = "{mode}", {variant}>(x, s, e, m, b, t) }}"""
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(HEAD + body)))
    generator = np.random.default_rng(0)
    halves = np.arange(-60, 61) / 8 * 0.3
    x = np.concatenate([generator.normal(0, 2, 500), halves, halves * (1 + 1e-7)]).astype(F32).reshape(-1, 1)
    analysis = ErrorAnalysis(model)
    found = qonnx_core.compile_model(model).run({"global_in": x})["global_out"]
    (decision,) = analysis.run({"global_in": x}, {"global_out": found}).decisions
    assert decision.explains(decision.levels(found)).all()
    if variant == "saturation = 1":
        other = found + np.where(found > 0, 0.3, -0.3)  # at least one step away
        far = np.abs(found) < 3
        assert not decision.explains(decision.levels(other))[far].all()


def test_an_average_of_integers_is_decided_by_its_sum() -> None:
    body = f"""g (float[N, 1, 4, 4] x) => (float[N, 1, 2, 2] y)
      {{ y = {Q}QuantAvgPool2d<stride = 2, kernel = 2, ibits = 4, obits = 4, signed = 0>(x) }}"""
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(HEAD + body)))
    x = np.random.default_rng(0).integers(0, 16, (20, 1, 4, 4)).astype(F32)
    found = qonnx_core.compile_model(model).run({"global_in": x})["global_out"]
    (decision,) = ErrorAnalysis(model).run({"global_in": x}).decisions
    assert decision.explains(decision.levels(found)).all()
    assert not decision.ambiguous().any()
    assert not decision.explains(decision.levels(found + 1)).any()


def test_another_order_of_sums_in_a_convolution_is_no_mismatch() -> None:
    """The framework's convolution gives other last bits: rounding behind the last quantizer, boundary before it."""
    generator = np.random.default_rng(3)
    proto = onnx.parser.parse_model(f"""{HEAD} g (float[N, 8, 5, 5] x) => (float[N, 4, 3, 3] y)
      <float s = {{0.1}}, float z = {{0}}, float b = {{4}}> {{ m = Conv(x, w) y = {Q}Quant(m, s, z, b) }}""")
    w = generator.normal(size=(4, 8, 3, 3)).astype(F32) * F32(0.1)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    model = qonnx_core.cleanup_model(from_proto(proto))
    x = generator.normal(size=(400, 8, 5, 5)).astype(F32)
    total = np.zeros((400, 4, 3, 3), F32)
    for i in range(3):
        for j in range(3):
            total += np.einsum("oc,nchw->nohw", w[:, :, i, j], x[:, :, i : i + 3, j : j + 3]).astype(F32)
    expected = np.clip(np.round(total / F32(0.1)), -8, 7) * F32(0.1)
    near = np.abs(total / F32(0.1) - np.floor(total / F32(0.1)) - 0.5)
    sample = np.unravel_index(near.argmin(), near.shape)
    expected[sample] += F32(0.1) if expected[sample] < total[sample] else -F32(0.1)  # the other side of its boundary
    check = compare_outputs(model, {"global_in": x}, {"global_out": expected})
    assert (check.mismatch, check.samples) == (0, 400)
    assert check.boundary >= 1
    expected[0] += F32(1)
    assert compare_outputs(model, {"global_in": x}, {"global_out": expected}).mismatch == 1

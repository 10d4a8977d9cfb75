"""The channels-last domain against sums written down in NumPy, in every number of axes."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

import qonnx_core
from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import (
    CHANNELS_LAST,
    ChannelsLastBatchNormalization,
    ChannelsLastBatchNormalizationV14,
    ChannelsLastConv,
    ChannelsLastMaxPool,
    ChannelsLastMaxPoolV1,
    op_of,
)
from qonnx_core.testing.op_contract import run_op

SETTINGS = settings(max_examples=40, deadline=None)


def padded_windows(x, kernel, strides, dilations, pads, fill):
    """Return ((place, window), ...) of ``(N, ..., C)``, and the number of windows along each axis."""
    axes = len(kernel)
    x = np.pad(x, [(0, 0), *zip(pads[:axes], pads[axes:], strict=True), (0, 0)], constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    counts = [(size - r) // s + 1 for size, r, s in zip(x.shape[1:-1], reach, strides, strict=True)]
    found = []
    for place in itertools.product(*map(range, counts)):
        spans = [slice(p * s, p * s + r, d) for p, s, r, d in zip(place, strides, reach, dilations, strict=True)]
        found.append((place, x[(slice(None), *spans)]))
    return found, counts


def conv(x, weights, bias, strides, dilations, pads, group):
    found, counts = padded_windows(x, weights.shape[1:-1], strides, dilations, pads, 0)
    y = np.zeros((len(x), *counts, len(weights)), x.dtype)
    inner, outer = weights.shape[-1], len(weights) // group
    for place, window in found:
        for channel, weight in enumerate(weights):
            part = window[..., channel // outer * inner : (channel // outer + 1) * inner]
            y[(slice(None), *place, channel)] = (part * weight).reshape(len(x), -1).sum(axis=1) + bias[channel]
    return y


@st.composite
def settings_of_windows(draw):
    axes = draw(st.integers(1, 3))
    numbers = [tuple(draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))) for _ in range(3)]
    pads = tuple(draw(st.lists(st.integers(0, 1), min_size=2 * axes, max_size=2 * axes)))
    return (*numbers, pads)


@SETTINGS
@given(st.integers(0, 2**32 - 1), settings_of_windows(), st.sampled_from([1, 2]), st.booleans())
def test_conv_adds_up_windows(seed, windows, group, with_bias) -> None:
    kernel, strides, dilations, pads = windows
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 8, (2, *(5, 4, 3)[: len(kernel)], 4)).astype(np.float32)
    weights = rng.integers(-8, 8, (6, *kernel, 4 // group)).astype(np.float32)
    bias = rng.integers(-8, 8, 6).astype(np.float32) * with_bias
    op = ChannelsLastConv(kernel, strides, dilations, pads, group)
    found = run_op(op, x, weights, *([bias] if with_bias else []))
    np.testing.assert_array_equal(found, conv(x, weights, bias, strides, dilations, pads, group))


@SETTINGS
@given(st.integers(0, 2**32 - 1), settings_of_windows())
def test_max_pool_takes_the_largest_of_a_window(seed, windows) -> None:
    kernel, strides, dilations, pads = windows
    axes = len(kernel)
    pads = tuple(min(pad, kernel[axis % axes] - 1) for axis, pad in enumerate(pads))
    x = np.random.default_rng(seed).normal(size=(2, *(5, 4, 3)[:axes], 4)).astype(np.float32)
    for op, dilated in (
        (ChannelsLastMaxPoolV1(kernel, strides, pads), (1,) * axes),
        (ChannelsLastMaxPool(kernel, strides, pads, False, dilations), dilations),
    ):
        found, counts = padded_windows(x, kernel, strides, dilated, pads, -np.inf)
        expected = np.zeros((2, *counts, 4), np.float32)
        for place, window in found:
            expected[(slice(None), *place)] = window.max(axis=tuple(range(1, axes + 1)))
        np.testing.assert_array_equal(run_op(op, x), expected)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [ChannelsLastBatchNormalization, ChannelsLastBatchNormalizationV14])
def test_batch_normalization_is_affine_on_the_last_axis(kind, rank) -> None:
    rng = np.random.default_rng(rank)
    x = rng.integers(-8, 8, (*(2, 3, 4, 5)[: rank - 1], 6)).astype(np.float32)
    scale, bias, mean = (rng.integers(-4, 4, 6).astype(np.float32) for _ in range(3))
    var = np.float32([0.25, 1, 4, 16, 64, 0.0625])
    found = run_op(kind(epsilon=0.0), x, scale, bias, mean, var)
    np.testing.assert_array_equal(found, (x - mean) / np.sqrt(var) * scale + bias)


MODEL = """<ir_version: 8, opset_import: ["": 13%s]>
g (float[1, 6, 6, 2] x) => (float[1, P, Q, 3] y)
<float[3, 3, 3, 2] w = {%s}, float[3] one = {1, 1, 1}, float[3] zero = {0, 0, 0}>
{ c = qonnx.custom_op.channels_last.Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w)
  b = qonnx.custom_op.channels_last.BatchNormalization<epsilon = 0.0>(c, one, zero, zero, one)
  y = qonnx.custom_op.channels_last.MaxPool<kernel_shape = [2, 2], strides = [2, 2]%s>(b) }"""
WEIGHTS = ", ".join(str(number % 5 - 2) for number in range(54))


@pytest.mark.parametrize(("version", "kinds"), [
    (1, (ChannelsLastConv, ChannelsLastBatchNormalization, ChannelsLastMaxPoolV1)),
    (14, (ChannelsLastConv, ChannelsLastBatchNormalizationV14, ChannelsLastMaxPool)),
])  # fmt: skip
def test_a_model_is_loaded_cleaned_and_run_at_any_batch(version, kinds) -> None:
    loaded = from_proto(parser.parse_model(MODEL % (f', "{CHANNELS_LAST}": {version}', WEIGHTS, "")))
    assert tuple(type(op_of(node, loaded.opset_imports)) for node in loaded.graph) == kinds
    x = np.random.default_rng(0).integers(-8, 8, (3, 6, 6, 2)).astype(np.float32)
    weights = np.float32([number % 5 - 2 for number in range(54)]).reshape(3, 3, 3, 2)
    y = conv(x, weights, np.zeros(3), (1, 1), (1, 1), (1, 1, 1, 1), 1)
    expected = y.reshape(3, 3, 2, 3, 2, 3).max(axis=(2, 4))
    cleaned = qonnx_core.cleanup_model(loaded)
    assert [str(dim) for dim in cleaned.graph.outputs[0].shape] == ["batch", "3", "3", "3"]
    for model in (loaded, cleaned):
        (found,) = qonnx_core.compile_model(model).run({model.graph.inputs[0].name: x}).values()
        np.testing.assert_array_equal(found, expected)


def test_a_model_that_does_not_import_the_domain_means_version_1() -> None:
    loaded = from_proto(parser.parse_model(MODEL % ("", WEIGHTS, "")))
    assert loaded.opset_imports[CHANNELS_LAST] == 1


@pytest.mark.parametrize("attribute", ['auto_pad = "SAME_UPPER"', "ceil_mode = 1", "dilations = [2, 2]"])
def test_an_attribute_that_the_version_does_not_have_is_refused(attribute) -> None:
    name = attribute.split()[0]
    with pytest.raises(InvalidModel, match=rf"y \(MaxPool\): attribute {name} is .*, which version 1 of .* not have"):
        from_proto(parser.parse_model(MODEL % (f', "{CHANNELS_LAST}": 1', WEIGHTS, f", {attribute}")))


def test_the_names_of_the_domain_leave_the_reference_evaluator_alone() -> None:
    """It refuses to be imported where two domains have schemas of one name."""
    code = "import qonnx_core.ops.schemas as s; s.register_schemas(); import onnx.reference"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_operator_that_the_domain_does_not_have_is_refused() -> None:
    text = (MODEL % (f', "{CHANNELS_LAST}": 1', WEIGHTS, "")).replace("last.Conv<", "last.ConvTranspose<")
    with pytest.raises(InvalidModel, match=r"operator qonnx.custom_op.channels_last::ConvTranspose is not defined"):
        from_proto(parser.parse_model(text))

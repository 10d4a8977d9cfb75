"""Quantized weights against what the real QKeras quantizer evaluates, inside and outside QDense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ingest_qkeras.graph import GraphBuilder
from ingest_qkeras.weights import emit_weight, quantize_weight
from qonnx_core import Unsupported, compile_model

RNG = np.random.default_rng(0)
GAUSS = (0.5 * RNG.standard_normal((64, 24))).astype(np.float32)
TIES = (RNG.integers(-40, 41, (64, 24)) / 32).astype(np.float32)
ZEROS = np.where(np.arange(24) == 3, 0, GAUSS).astype(np.float32)
TENSORS = {"gauss": GAUSS, "ties": TIES, "zero channel": ZEROS, "bias": GAUSS[0]}


def evaluated_by_the_graph(weight: Any) -> np.ndarray:
    builder = GraphBuilder()
    x = builder.add_input("x", list(weight.values.shape)[1:])
    scope = builder.scope("fc1")
    y = scope.node("Add", [x, emit_weight(weight, scope, "kernel")], "", shape=x.shape)
    model = builder.build("net", [y], {}, "test 0")
    return compile_model(model).run({"x": np.zeros_like(weight.values)})[y.name]


EXACT = [
    ("quantized_bits(4,0,alpha=1)", False),
    ("quantized_bits(6,2,1,alpha=1)", False),
    ("quantized_bits(4,0,keep_negative=False,alpha=1)", False),
    ("quantized_bits(1,0,alpha=1)", False),
    ("quantized_bits(1,0,alpha=0.5)", False),
    ("quantized_bits(4,0)", False),
    ("quantized_bits(4,0,alpha=2.0)", True),
    ("quantized_bits(4,1,alpha='auto_po2')", None),
    ("quantized_bits(3,0,alpha='auto_po2')", None),
    ("quantized_bits(2,0,alpha='auto_po2')", None),
    ("quantized_bits(5,0,keep_negative=False,alpha='auto_po2')", None),
    ("binary(alpha=1)", False),
    ("binary()", False),
    ("binary(alpha='auto_po2')", False),
    ("binary(use_01=True,alpha=1)", True),
    ("stochastic_binary(alpha='auto_po2')", False),
    ("ternary(alpha=1,threshold=0.5)", None),
    ("ternary(alpha='auto_po2')", None),
    ("stochastic_ternary(alpha='auto_po2')", None),
    ("quantized_relu(4,1)", False),
    ("quantized_sigmoid(4)", True),
    ("quantized_po2(4)", True),
    ("quantized_po2(4,max_value=2)", True),
    ("quantized_po2(5,quadratic_approximation=True)", True),
    ("quantized_relu_po2(4)", True),
]


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize(("text", "baked"), EXACT)
def test_a_weight_evaluates_to_the_same_bits_as_in_qkeras(
    text: str, baked: bool | None, tensor: str, tf: Any, qk: Any
) -> None:
    raw = TENSORS[tensor]
    weight = quantize_weight(qk.get_quantizer(text), raw, "net/fc1 (QDense) kernel")
    expected = qk.get_quantizer(text)(tf.constant(raw)).numpy()
    np.testing.assert_array_equal(weight.evaluate(), expected)
    np.testing.assert_array_equal(evaluated_by_the_graph(weight), expected)
    if baked is False:
        np.testing.assert_array_equal(weight.values, raw)
    if baked is True and weight.grid is not None:
        np.testing.assert_array_equal(weight.values, expected)


NOISY = [
    "quantized_bits(4,0,alpha='auto')",
    "quantized_bits(8,1,alpha='auto')",
    "quantized_bits(4,0,alpha=0.3)",
    "quantized_bits(1,0,alpha=0.3)",
    "binary(alpha='auto')",
    "binary(use_01=True,alpha=0.7)",
    "ternary(alpha='auto')",
    "ternary(alpha=0.7)",
    "ternary()",
]


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("text", NOISY)
def test_an_uneven_scale_differs_by_the_noise_of_the_straight_through_sum(
    text: str, tensor: str, tf: Any, qk: Any
) -> None:
    raw = TENSORS[tensor]
    weight = quantize_weight(qk.get_quantizer(text), raw, "net/fc1 (QDense) kernel")
    expected = qk.get_quantizer(text)(tf.constant(raw)).numpy()
    noise = np.spacing(np.abs(raw) + np.abs(expected))
    assert (np.abs(weight.evaluate().astype(np.float64) - expected) <= noise).all()
    np.testing.assert_array_equal(evaluated_by_the_graph(weight), weight.evaluate())


def test_alpha_none_means_auto_po2_inside_qdense_kernels_only(qk: Any, build: Any) -> None:
    layer = qk.QDense(24, kernel_quantizer="quantized_bits(4,0)", bias_quantizer="quantized_bits(4,0)")
    build(layer, shape=(64,))
    kernel = quantize_weight(layer.kernel_quantizer_internal, GAUSS, "kernel")
    bias = quantize_weight(layer.bias_quantizer_internal, GAUSS[0], "bias")
    assert kernel.grid is not None
    assert bias.grid is not None
    assert kernel.grid.scale.shape == (1, 24)
    assert bias.grid.scale == 0.125


def test_an_alpha_for_every_channel_is_baked(tf: Any, qk: Any) -> None:
    alpha = (2.0 ** RNG.integers(-2, 3, (1, 24))).astype(np.float32)
    weight = quantize_weight(qk.quantized_bits(4, 0, alpha=alpha), GAUSS, "kernel")
    np.testing.assert_array_equal(weight.evaluate(), qk.quantized_bits(4, 0, alpha=alpha)(tf.constant(GAUSS)).numpy())
    assert weight.grid is not None
    np.testing.assert_array_equal(weight.grid.scale, alpha / 8)


def test_powers_of_two_over_a_wide_range_are_stored_without_a_quantizer(tf: Any, qk: Any) -> None:
    weight = quantize_weight(qk.quantized_po2(8), ZEROS, "kernel")
    assert weight.grid is None
    np.testing.assert_array_equal(weight.values, qk.quantized_po2(8)(tf.constant(ZEROS)).numpy())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bernoulli(alpha='auto')", "bernoulli: it draws random numbers at inference"),
        ("quantized_ulaw(4)", "quantized_ulaw: its levels are not evenly spaced"),
        ("quantized_bits(4,0,alpha=1,qnoise_factor=0.5)", "quantized_bits: qnoise_factor is 0.5"),
        ("quantized_bits(1,0,alpha='auto')", "alpha is 'auto' at 1 bit; QKeras then has no levels"),
        ("quantized_bits(4,0,alpha=-2)", "alpha is -2.0; expected positive numbers"),
        ("quantized_bits(4,-2,alpha=1)", "QKeras fails to evaluate it"),
        ("quantized_hswish(4,0)", "quantized_hswish: used on a weight"),
        ("hard_tanh", "the quantizer is hard_tanh; expected a quantizer class of QKeras 0.9 itself"),
    ],
)
def test_a_weight_quantizer_without_exact_counterpart_is_refused(text: str, reason: str, qk: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        quantize_weight(qk.get_quantizer(text), GAUSS, "net/fc1 (QDense) kernel")
    assert str(caught.value).startswith("net/fc1 (QDense) kernel: ")
    assert reason in str(caught.value)

"""Each formula against the real QKeras function, on dyadic grids with every tie, Gaussians and large values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ingest_qkeras.activations import emit_activation
from ingest_qkeras.graph import GraphBuilder
from qonnx_core import Unsupported, compile_model

CHANNELS = 8


def converted(quantizer: Any, x: np.ndarray) -> np.ndarray:
    """Return what the emitted nodes compute."""
    builder = GraphBuilder()
    value = builder.add_input("x", [CHANNELS])
    y = emit_activation(quantizer, builder.scope("act"), value, "net/act (QActivation)")
    model = builder.build("net", [y], {}, "test 0")
    return compile_model(model).run({"x": x})[y.name]


def samples(step_bits: int, reach: float) -> np.ndarray:
    """Return float32 (N, 8): every quarter step within twice the reach, both neighbours of each, Gaussians, large."""
    step = math.ldexp(1.0, -step_bits)
    count = min(int(2 * reach / step) + 2, 2**12)
    grid = (np.arange(-4 * count, 4 * count + 1) * (step / 4)).astype(np.float32)
    rng = np.random.default_rng(0)
    large = min(4096.0, math.ldexp(1.0, 23 - step_bits))
    parts = [
        grid,
        np.nextafter(grid, np.float32(np.inf)),
        np.nextafter(grid, np.float32(-np.inf)),
        rng.standard_normal(60_000) * reach,
        rng.standard_normal(60_000) * 0.25,
        rng.uniform(-large, large, 20_000),
    ]
    x = np.concatenate(parts).astype(np.float32)
    x[np.abs(x) < np.finfo(np.float32).tiny] = 0  # TensorFlow flushes subnormal numbers to zero
    return np.resize(x, (-(-x.size // CHANNELS), CHANNELS))


def real(tf: Any, quantizer: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(quantizer(tf.constant(x)))


EXACT = [
    "quantized_bits(4,0,alpha=1)",
    "quantized_bits(4,0)",
    "quantized_bits(8,2,1,alpha=1)",
    "quantized_bits(6,6,0,alpha=1)",
    "quantized_bits(4,7,0,alpha=1)",
    "quantized_bits(2,0,1,alpha=1)",
    "quantized_bits(2,1,0,alpha=1)",
    "quantized_bits(16,3,0,alpha=1)",
    "quantized_bits(5,1,0,keep_negative=False,alpha=1)",
    "quantized_bits(5,1,1,keep_negative=False,alpha=1)",
    "quantized_bits(1,0,alpha=1)",
    "quantized_bits(1,3,1,alpha=1)",
    "quantized_bits(1,0,keep_negative=False,alpha=1)",
    "quantized_bits(1,2,keep_negative=False,alpha=1)",
    "quantized_bits(4,0,alpha=2.0)",
    "quantized_bits(4,1,1,alpha=0.25)",
    "quantized_bits(1,0,alpha=0.5)",
    "quantized_bits(4,0,alpha=1,use_stochastic_rounding=True)",
    "quantized_relu(4)",
    "quantized_relu(4,2)",
    "quantized_relu(8,8)",
    "quantized_relu(1)",
    "quantized_relu(1,1)",
    "quantized_relu(16,4)",
    "quantized_relu(6,2,negative_slope=0.25)",
    "quantized_relu(4,0,negative_slope=0.125)",
    "quantized_relu(4,1,negative_slope=1.0)",
    "quantized_relu(6,0,use_sigmoid=1)",
    "quantized_relu(4,2,use_sigmoid=1)",
    "quantized_sigmoid(4)",
    "quantized_sigmoid(8)",
    "quantized_sigmoid(1)",
    "quantized_sigmoid(6,symmetric=True)",
    "quantized_hswish(8,2,alpha=1)",
    "quantized_hswish(6,1,1,alpha=1)",
    "quantized_hswish(6,1,0,relu_shift=2,relu_upper_bound=4)",
    "binary(alpha=1)",
    "binary(alpha=0.5)",
    "binary(use_01=True,alpha=1)",
    "binary(use_01=True,alpha=4.0)",
    "binary()",
    "stochastic_binary()",
    "stochastic_binary(alpha=1)",
    "ternary(alpha=1,threshold=0.5)",
    "ternary(alpha=2.0,threshold=0.5)",
    "hard_sigmoid",
    "smooth_sigmoid",
    "hard_tanh",
    "smooth_tanh",
    "binary_sigmoid",
    "binary_tanh",
]


@pytest.mark.parametrize("text", EXACT)
def test_a_quantizer_gives_the_same_bits_as_qkeras(text: str, tf: Any, qk: Any) -> None:
    quantizer = qk.get_quantizer(text)
    bits, integer = getattr(quantizer, "bits", 4), getattr(quantizer, "integer", 0)
    x = samples(bits - integer if bits > 1 else 2, math.ldexp(1.0, integer))
    np.testing.assert_array_equal(converted(quantizer, x), real(tf, quantizer, x))


@pytest.mark.parametrize("upper", [1.5, 1.25, 0.3, 3.0, 7.0])
def test_the_upper_bound_of_a_relu_counts_without_quantized_clip(upper: float, tf: Any, qk: Any) -> None:
    quantizer = qk.quantized_relu(4, 1, relu_upper_bound=upper, is_quantized_clip=False)
    x = samples(3, 2.0)
    np.testing.assert_array_equal(converted(quantizer, x), real(tf, quantizer, x))


def test_the_upper_bound_of_a_relu_is_ignored_with_quantized_clip(tf: Any, qk: Any) -> None:
    quantizer = qk.quantized_relu(4, 1, relu_upper_bound=0.5)
    x = samples(3, 2.0)
    np.testing.assert_array_equal(converted(quantizer, x), real(tf, quantizer, x))


@pytest.mark.parametrize("slope", [0.25, 1.0])
def test_a_leaky_relu_with_upper_bound(slope: float, tf: Any, qk: Any) -> None:
    quantizer = qk.quantized_relu(6, 1, negative_slope=slope, relu_upper_bound=1.25, is_quantized_clip=False)
    x = samples(5, 2.0)
    np.testing.assert_array_equal(converted(quantizer, x), real(tf, quantizer, x))


@pytest.mark.parametrize("text", ["quantized_tanh(4)", "quantized_tanh(8,symmetric=True)", "quantized_tanh(2)"])
def test_hard_tanh_is_quant_itself_but_for_the_last_bits_of_qkeras_own_sum(text: str, tf: Any, qk: Any) -> None:
    """QKeras computes x/2 + 1/2, which forgets bits of x below 2**-24; nothing else may differ."""
    quantizer = qk.get_quantizer(text)
    x = samples(quantizer.bits - 1, 1.0)
    found, expected = converted(quantizer, x), real(tf, quantizer, x)
    steps = x.astype(np.float64) * 2 ** (quantizer.bits - 1)
    tie_distance = np.abs(steps - np.floor(steps) - 0.5)
    differing = found != expected
    assert (tie_distance[differing] <= math.ldexp(1.0, quantizer.bits - 1 - 24)).all()
    coarse = np.ldexp(np.round(np.ldexp(x, 20)), -20)
    np.testing.assert_array_equal(converted(quantizer, coarse), real(tf, quantizer, coarse))


@pytest.mark.parametrize(
    "text",
    [
        "quantized_tanh(8,use_real_tanh=True)",
        "quantized_tanh(4,symmetric=True,use_real_tanh=True)",
        "quantized_sigmoid(8,use_real_sigmoid=True)",
        "quantized_sigmoid(4,symmetric=True,use_real_sigmoid=True)",
    ],
)
def test_real_functions_differ_only_where_the_value_lies_on_a_rounding_boundary(text: str, tf: Any, qk: Any) -> None:
    quantizer = qk.get_quantizer(text)
    x = samples(6, 4.0)
    found, expected = converted(quantizer, x), real(tf, quantizer, x)
    assert (found != expected).mean() < 1e-4
    assert np.abs(found - expected).max() <= 2.0 ** (1 - quantizer.bits)


@pytest.mark.parametrize("mode", ["smooth", "real"])
@pytest.mark.parametrize("text", ["quantized_tanh(6)", "quantized_sigmoid(6)", "quantized_relu(6,1,use_sigmoid=1)"])
def test_the_internal_sigmoid_is_read_at_conversion(mode: str, text: str, tf: Any, qk: Any) -> None:
    quantizer = qk.get_quantizer(text)
    x = samples(6, 4.0)
    try:
        qk.quantizers.set_internal_sigmoid(mode)
        found, expected = converted(quantizer, x), real(tf, quantizer, x)
    finally:
        qk.quantizers.set_internal_sigmoid("hard")
    limit = 1e-4 if mode == "real" else 0.0
    assert (found != expected).mean() <= limit
    assert (converted(quantizer, x) != found).any()


@pytest.mark.parametrize(
    "text",
    [
        "quantized_bits(4,0,alpha=0.3)",
        "quantized_bits(6,2,1,alpha=1.7)",
        "quantized_bits(1,0,alpha=0.3)",
        "quantized_hswish(6,1,alpha=0.7)",
        "binary(alpha=0.3)",
        "binary(use_01=True,alpha=0.7)",
        "ternary(alpha=0.3,threshold=0.5)",
        "ternary(alpha=1)",
        "ternary()",
        "ternary(threshold=0.1)",
        "stochastic_ternary(alpha=0.7,threshold=0.2)",
    ],
)
def test_an_uneven_alpha_or_threshold_differs_by_the_noise_of_the_straight_through_sum(
    text: str, tf: Any, qk: Any
) -> None:
    quantizer = qk.get_quantizer(text)
    x = samples(4, 2.0)
    found, expected = converted(quantizer, x), real(tf, quantizer, x)
    noise = np.spacing(np.abs(x) + np.abs(expected))
    assert (np.abs(found.astype(np.float64) - expected) <= noise).all()
    assert len(np.unique(found)) <= 2**quantizer.bits


def test_an_alpha_for_every_channel(tf: Any, qk: Any) -> None:
    alpha = np.array([1, 2, 0.5, 0.25, 4, 1, 1, 8], dtype=np.float32)
    quantizer = qk.quantized_bits(4, 1, alpha=alpha)
    x = samples(3, 2.0)
    np.testing.assert_array_equal(converted(quantizer, x), real(tf, quantizer, x))


def test_above_two_to_the_24_steps_qkeras_loses_the_value_and_the_graph_saturates(tf: Any, qk: Any) -> None:
    quantizer = qk.quantized_bits(8, 0, alpha=1)
    x = np.full((1, CHANNELS), 1e9, dtype=np.float32)
    assert real(tf, quantizer, x)[0, 0] == 0.0
    assert converted(quantizer, x)[0, 0] == np.float32(127 / 128)


REFUSED = [
    (
        "quantized_bits(4,0,alpha='auto')",
        "alpha is 'auto' on an activation; QKeras computes this scale from every batch",
    ),
    ("quantized_bits(4,0,alpha='auto_po2')", "alpha is 'auto_po2' on an activation"),
    ("quantized_hswish(4,0,alpha='auto')", "alpha is 'auto' on an activation"),
    ("binary(alpha='auto')", "alpha is 'auto' on an activation"),
    ("ternary(alpha='auto_po2')", "alpha is 'auto_po2' on an activation"),
    ("quantized_bits(4,-1,alpha=1)", "integer is -1; QKeras 0.9 itself cannot evaluate negative integer bits"),
    ("quantized_bits(4,0,alpha=1,qnoise_factor=0.5)", "qnoise_factor is 0.5"),
    ("quantized_relu(4,0,qnoise_factor=0.0)", "qnoise_factor is 0"),
    ("quantized_bits(30,0,alpha=1)", "bits is 30; expected 1 to 24"),
    ("quantized_bits(4,0,alpha=-1.0)", "expected positive numbers"),
    ("bernoulli()", "it draws random numbers at inference"),
    ("quantized_ulaw(4)", "its levels are not evenly spaced"),
    ("quantized_po2(4)", "it rounds the logarithm"),
    ("quantized_relu_po2(4)", "it rounds the logarithm"),
    ("quantized_tanh(1)", "its only levels are then -1 and 0"),
    ("quantized_relu(3,0,negative_slope=0.125)", "negative_slope is 0.125 at 3 bits"),
    ("quantized_relu(6,0,negative_slope=2.0)", "negative_slope is 2 at 6 bits"),
    ("quantized_relu(6,0,use_sigmoid=1,negative_slope=0.5)", "use_sigmoid together with negative_slope"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_quantizer_without_exact_counterpart_is_refused_by_name(text: str, reason: str, qk: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        converted(qk.get_quantizer(text), np.zeros((1, CHANNELS), np.float32))
    message = str(caught.value)
    assert message.startswith(f"net/act (QActivation): {text.partition('(')[0]}: ")
    assert reason in message


def test_a_subclass_of_a_quantizer_is_refused(qk: Any) -> None:
    class Mine(qk.quantized_bits):  # type: ignore[misc]
        pass

    with pytest.raises(Unsupported, match=r"net/act \(QActivation\): the quantizer is .*Mine; expected a quantizer"):
        converted(Mine(4, 0, alpha=1), np.zeros((1, CHANNELS), np.float32))


def test_an_unknown_function_is_refused() -> None:
    def cube(x: Any) -> Any:
        return x * x * x

    with pytest.raises(Unsupported, match=r"the activation function is .*cube; expected one of binary_sigmoid"):
        converted(cube, np.zeros((1, CHANNELS), np.float32))

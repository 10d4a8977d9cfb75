"""The matrix-vector unit under gaps and back-pressure, word for word against numpy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

SHAPES = [  # vectors, MW, MH, PE, SIMD
    (1, 8, 4, 1, 1),
    (1, 8, 4, 2, 4),
    (1, 8, 4, 4, 8),
    (1, 12, 6, 3, 4),
    (1, 5, 7, 7, 1),
    (1, 6, 3, 1, 6),
    (3, 6, 4, 2, 3),
    (1, 1, 1, 1, 1),
    (1, 70, 2, 1, 35),
]
TYPES = [  # activations, weights
    ("UINT2", "INT2"),
    ("INT3", "TERNARY"),
    ("UINT4", "BIPOLAR"),
    ("INT2", "BIPOLAR"),
    ("BIPOLAR", "BIPOLAR"),
    ("BIPOLAR", "INT3"),
    ("BINARY", "BINARY"),
    ("UINT8", "UINT3"),
    ("INT8", "INT8"),
]


OUTPUTS = ["UINT2", "INT4", "BIPOLAR", "TERNARY"]
# Every shape and every pair of types occurs with and without thresholds; not every combination.
CASES = [(SHAPES[i], TYPES[(i + 4) % len(TYPES)], None) for i in range(len(SHAPES))] + [
    (SHAPES[i], TYPES[(i + offset) % len(TYPES)], OUTPUTS[(i + offset // 2) % len(OUTPUTS)])
    for offset in (0, 3)
    for i in range(len(SHAPES))
]


@pytest.mark.parametrize(("shape", "types", "output"), CASES)
def test_a_product_is_exact_word_for_word(
    build: Callable[..., Any],
    make: SimpleNamespace,
    shape: tuple[int, int, int, int, int],
    types: tuple[str, str],
    output: str | None,
) -> None:
    vectors, mw, mh, pe, simd = shape
    activations, weights = types
    rng = np.random.default_rng(mw * 100 + mh * 10 + len(activations))
    x = make.tensor("x", (1, vectors, mw) if vectors > 1 else (1, mw), activations)
    layers = [make.product(rng, x, mh, weights, bias=bool(mh % 2))]
    if output:
        layers.append(make.thresholds(rng, layers[0].output, output, shared=output == "INT4"))
    outcome = build(make.form(*layers), {"folding": {"fc": {"PE": pe, "SIMD": simd}}})
    expected = vectors * (mw // simd) * (mh // pe)
    assert outcome.design.cycles == expected
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(expected)


def test_wide_activations_and_many_thresholds_are_exact(build: Callable[..., Any], make: SimpleNamespace) -> None:
    rng = np.random.default_rng(5)
    first = make.product(rng, make.tensor("x", (1, 6), "INT16"), 4, "INT6")
    build(make.form(first, make.thresholds(rng, first.output, "INT8")), {"folding": {"fc": {"PE": 2, "SIMD": 3}}})


def test_thresholds_that_never_or_always_hold_are_exact(build: Callable[..., Any], make: SimpleNamespace) -> None:
    rng = np.random.default_rng(6)
    first = make.product(rng, make.tensor("x", (1, 4), "UINT2"), 4, "INT2")
    quantized = make.thresholds(rng, first.output, "UINT2")
    far = np.array([[-(10**9), 0, 10**9], [10**9] * 3, [-(10**9)] * 3, [-1, 0, 1]])
    build(make.form(first, make.view.Thresholds("act", first.output, quantized.output, far, 0, 1)))


def test_a_constant_behind_a_product_becomes_its_start_value(build: Callable[..., Any], make: SimpleNamespace) -> None:
    rng = np.random.default_rng(7)
    first = make.product(rng, make.tensor("x", (1, 4), "BIPOLAR"), 6, "BIPOLAR", bias=True)
    constant = rng.integers(-9, 9, 6)
    y = make.tensor("y", (1, 6), "INT8", first.output.lo + constant, first.output.hi + constant)
    outcome = build(make.form(first, make.view.AddConstant("add", first.output, y, constant)))
    assert [kernel.op_type for kernel in outcome.design.graph.kernels] == ["MVAU"]


def test_weights_of_plus_and_minus_one_take_one_bit(make: SimpleNamespace) -> None:
    from backend_finn.kernels import Mvau

    rng = np.random.default_rng(8)
    layer = make.product(rng, make.tensor("x", (1, 8), "UINT2"), 4, "BIPOLAR")
    kernel = Mvau.of(layer).folded(PE=2, SIMD=4)
    assert kernel.images("dut")[0].width == 2 * 4
    assert kernel.images("dut")[0].file == "dut_weights.hex"

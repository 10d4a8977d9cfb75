"""Thresholds of random chains against brute force: every integer of the range, evaluated exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.elementwise import Affine, Chain, Clip, Curve, GridValue, LeakyRelu, at, then
from qonnx_core.passes.streamline.quantize import ShiftForm, shift_form
from qonnx_core.passes.streamline.quantizers import (
    ROUNDING,
    Levels,
    bipolar_levels,
    rounded_levels,
    sign_levels,
    trunc_levels,
)
from qonnx_core.passes.streamline.thresholds import find_thresholds

MODES = sorted(ROUNDING)


def forward(chain: Chain, k: int, channel: int) -> exact.Real:
    """Evaluate a chain on one integer, exactly."""
    x: exact.Real = Fraction(k)
    for step in chain:
        match step:
            case Affine(gain, offset):
                x = x * at(gain, channel) + at(offset, channel)
            case Clip(low, high):
                if low is not None and exact.compare(x, at(low, channel)) < 0:
                    x = at(low, channel)
                if high is not None and exact.compare(x, at(high, channel)) > 0:
                    x = at(high, channel)
            case LeakyRelu(slope):
                x = x if exact.sign(x) >= 0 else x * at(slope, channel)
            case GridValue(grid):
                x = Fraction(float(grid.to_values(np.asarray([k]))[0]))
            case Curve("Sigmoid"):
                x = exact.reciprocal(1 + exact.exponential(-x))
            case Curve("Tanh"):
                x = 1 - 2 * exact.reciprocal(1 + exact.exponential(2 * x))
            case Curve("Softplus"):
                x = exact.logarithm(1 + exact.exponential(x))
            case Curve("Softsign"):
                x = x / (1 + x) if exact.sign(x) >= 0 else x / (1 - x)
            case Curve("Elu", alpha):
                x = x if exact.sign(x) >= 0 else alpha * (exact.exponential(x) - 1)
    return x


def level_of(levels: Levels, y: exact.Real) -> int:
    """Count boundaries, each compared by its own rule."""
    passed = 0
    for edge in levels.boundaries:
        order = exact.compare(y, edge.bound)
        passed += order > 0 or (order == 0 and edge.closed)
    return levels.base + levels.step * passed


def check(chain: Chain, levels: Levels, lo: int, hi: int, channels: int = 1) -> None:
    found = find_thresholds(chain, levels, np.full(channels, lo), np.full(channels, hi))
    rows, signs = found.thresholds, found.sign
    assert (np.diff(rows, axis=1) >= 0).all()
    for c in range(channels):
        row, sign = rows[c % len(rows)], int(signs[c % len(signs)])
        bottom, top = (lo, hi) if sign > 0 else (-hi, -lo)
        assert (row >= bottom).all()
        assert (row <= top + 1).all()
        for k in range(lo, hi + 1):
            ours = levels.base + levels.step * int((sign * k >= row).sum())
            assert ours == level_of(levels, forward(chain, k, c)), (c, k)


# Numbers of every kind that a float32 model holds: powers of two, small decimals, anything.
positive = st.one_of(
    st.integers(-6, 3).map(lambda e: Fraction(2) ** e),
    st.sampled_from([0.1, 0.3, 1.5, 0.0039, 3.0, 7.25]).map(lambda v: Fraction(float(np.float32(v)))),
    st.floats(0.015625, 20, width=32).map(Fraction),
)
anything = st.one_of(positive, positive.map(lambda v: -v), st.just(Fraction(0)))
nonzero = st.one_of(positive, positive.map(lambda v: -v))
levels_of_quant = st.builds(
    lambda low, count, mode: rounded_levels(low, low + count, mode),
    st.integers(-9, 2), st.integers(1, 16), st.sampled_from(MODES),
)  # fmt: skip
all_levels = st.one_of(levels_of_quant, st.just(bipolar_levels()), st.just(sign_levels()))


@st.composite
def steps(draw: st.DrawFn, channels: int, *, gains: st.SearchStrategy[Fraction] = anything) -> object:
    def params(numbers: st.SearchStrategy[Fraction]) -> tuple[Fraction, ...]:
        return tuple(draw(numbers) for _ in range(draw(st.sampled_from([1, channels]))))

    kind = draw(st.sampled_from(["affine", "affine", "relu", "clip", "leaky"]))
    if kind == "affine":
        return Affine(params(gains), params(anything))
    if kind == "relu":
        return Clip((Fraction(0),), None)
    if kind == "clip":
        return Clip(params(anything), params(anything))
    return LeakyRelu(params(st.one_of(positive, st.just(Fraction(0)))))


@st.composite
def chains(draw: st.DrawFn, channels: int) -> Chain:
    chain: Chain = ()
    for _ in range(draw(st.integers(1, 4))):
        chain = then(chain, draw(steps(channels)))
    return chain


@settings(max_examples=300, deadline=None)
@given(chains(3), all_levels, st.integers(-40, 0), st.integers(1, 60))
def test_thresholds_of_a_rational_chain_equal_brute_force(chain: Chain, levels: Levels, lo: int, span: int) -> None:
    check(chain, levels, lo, lo + span, channels=3)


@settings(max_examples=60, deadline=None)
@given(positive, nonzero, anything, anything, positive, levels_of_quant)
def test_thresholds_behind_a_square_root_equal_brute_force(
    variance: Fraction, gain: Fraction, mean: Fraction, bias: Fraction, scale: Fraction, levels: Levels
) -> None:
    factor = exact.surd(Fraction(0), gain / variance, variance)
    chain = then((Affine((factor,), (bias - mean * factor,)),), Affine((1 / scale,), (Fraction(0),)))
    check(chain, levels, -30, 30)


def test_a_tie_behind_a_square_root_is_seen() -> None:
    # (k - 3) / sqrt(2) >= 0 exactly at k = 3, and > 0 from 4 on
    factor = exact.surd(Fraction(0), Fraction(1, 2), Fraction(2))
    chain = (Affine((factor,), (-3 * factor,)),)
    found = find_thresholds(chain, sign_levels(), np.asarray([-10]), np.asarray([10]))
    assert found.thresholds.tolist() == [[3, 4]]


def test_two_square_roots_are_compared_with_as_many_digits_as_needed() -> None:
    first = Affine((exact.surd(Fraction(0), Fraction(1), Fraction(2)),), (Fraction(1),))
    second = Affine((exact.surd(Fraction(0), Fraction(1), Fraction(3)),), (Fraction(-20),))
    check(then(then((), first), second), rounded_levels(-8, 7, "ROUND"), -40, 40)


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "Softplus", "Softsign", "Elu"])
@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL"])
def test_thresholds_behind_a_curve_equal_brute_force(name: str, mode: str) -> None:
    before = Affine((Fraction(float(np.float32(0.17))),), (Fraction(1, 4),))
    scale = Affine((Fraction(7),), (Fraction(0),))
    check((before, Curve(name), scale), rounded_levels(-8, 15, mode), -50, 50)


@pytest.mark.parametrize("mode", MODES)
def test_a_symmetric_curve_meets_its_ties_exactly(mode: str) -> None:
    chain = (Curve("Sigmoid"), Affine((Fraction(5),), (Fraction(0),)))  # sigmoid(0) * 5 is 2.5, a tie
    check(chain, rounded_levels(0, 7, mode), -20, 20)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["UINT8*1/255", "INT8*1/127", "UINT6*0.1", "(UINT6-20)*1/63", "INT7*1/3 + 1/7", "UINT5*2^-4"]),
    nonzero, anything, levels_of_quant,
)  # fmt: skip
def test_an_input_is_seen_as_the_nearest_float32(text: str, gain: Fraction, offset: Fraction, levels: Levels) -> None:
    grid = Grid.parse(text)
    lo, hi = grid.integers
    check((GridValue(grid), Affine((gain,), (offset,))), levels, lo, hi)


def test_a_float32_tie_differs_from_the_rational_one() -> None:
    # 3 * float32(k / 3) >= 1 holds only where float32(1/3) was rounded up
    grid = Grid(DataType.parse("UINT4"), (Fraction(1, 3),))
    chain = (GridValue(grid), Affine((Fraction(3),), (Fraction(0),)))
    check(chain, rounded_levels(0, 15, "FLOOR"), 0, 15)
    check(chain, rounded_levels(0, 15, "CEIL"), 0, 15)


@settings(max_examples=300, deadline=None)
@given(
    st.data(), st.integers(-5, 6), st.sampled_from([1, -1]), st.integers(-8, 1), st.integers(1, 15),
    st.sampled_from(MODES),
)  # fmt: skip
def test_a_shift_form_equals_brute_force(
    data: st.DataObject, shift: int, sign: int, low: int, count: int, mode: str
) -> None:
    offset = data.draw(anything)
    bounds = data.draw(st.sampled_from([(None, None), (Fraction(0), None), (Fraction(-1, 3), Fraction(5, 2))]))
    chain: Chain = (Affine((sign * Fraction(2) ** -shift,), (offset,)),)
    clip = Clip(None if bounds[0] is None else (bounds[0],), None if bounds[1] is None else (bounds[1],))
    if bounds != (None, None):
        chain = (*chain, clip)
    levels = rounded_levels(low, low + count, mode)
    form = shift_form(chain, levels)
    assert isinstance(form, ShiftForm)
    assert form.shift <= max(shift, 1) + 1
    for k in range(-60, 61):
        x = Fraction(int(form.factor[0]) * k + int(form.constant[0])) / Fraction(2) ** form.shift
        ours = min(max(ROUNDING[mode](x), form.lo), form.hi)
        assert ours == level_of(levels, forward(chain, k, 0)), k


def test_channels_with_different_powers_of_two_share_one_shift() -> None:
    chain: Chain = (
        Affine(
            (Fraction(1, 8), Fraction(-1, 2), Fraction(2)),
            (Fraction(1, 3), Fraction(0), Fraction(5)),
        ),
    )
    levels = rounded_levels(-8, 7, "HALF_UP")
    form = shift_form(chain, levels)
    assert isinstance(form, ShiftForm)
    assert form.factor.tolist() == [2, -8, 32]
    for c in range(3):
        for k in range(-60, 61):
            x = Fraction(int(form.factor[c]) * k + int(form.constant[c])) / Fraction(2) ** form.shift
            ours = min(max(ROUNDING["HALF_UP"](x), form.lo), form.hi)
            assert ours == level_of(levels, forward(chain, k, c)), (c, k)


def test_a_scale_ratio_that_is_no_power_of_two_is_no_shift() -> None:
    assert shift_form((Affine((Fraction(1, 3),), (Fraction(0),)),), rounded_levels(0, 3, "ROUND")) == (
        "its scale ratio is no power of two"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("bounds", [(None, None), (-4, 3)])
def test_truncation_rounds_twice(mode: str, shift: int, bounds: tuple[int | None, int | None], rounded: object) -> None:
    assert callable(rounded)
    levels = trunc_levels(bounds[0], bounds[1], shift, mode, -41, 41)
    for n in range(-160, 161):
        y = Fraction(n, 4)
        value = Fraction(rounded(y, "ROUND")) / 2**shift
        if bounds[0] is not None and bounds[1] is not None:
            value = min(max(value, Fraction(bounds[0])), Fraction(bounds[1]))
        assert level_of(levels, y) == rounded(value, mode), n


@pytest.mark.parametrize("mode", MODES)
def test_boundaries_are_those_of_the_format(mode: str, rounded: object) -> None:
    assert callable(rounded)
    levels = rounded_levels(-5, 5, mode)
    for n in range(-60, 61):
        y = Fraction(n, 8)
        assert level_of(levels, y) == rounded(min(max(y, Fraction(-5)), Fraction(5)), mode), y


@pytest.mark.slow
def test_a_thousand_channels_with_255_levels_take_seconds() -> None:
    generator = np.random.default_rng(1)

    def numbers(array: object) -> tuple[Fraction, ...]:
        return tuple(Fraction(float(np.float32(v))) for v in np.asarray(array))

    chain: Chain = (
        Affine(numbers(generator.normal(size=1024)), numbers(generator.normal(size=1024))),
        Clip((Fraction(0),), None),
        Affine((Fraction(64),), (Fraction(0),)),
    )
    found = find_thresholds(chain, rounded_levels(0, 255, "ROUND"), np.full(1024, -5000), np.full(1024, 5000))
    assert found.thresholds.shape == (1024, 255)
    assert (np.diff(found.thresholds, axis=1) >= 0).all()

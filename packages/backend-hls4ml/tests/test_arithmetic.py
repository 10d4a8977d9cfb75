"""Every function on traced values, exhaustively over its argument."""

from __future__ import annotations

import numpy as np
import pytest

from backend_hls4ml.arithmetic import (
    ROUNDING_MODES,
    arg_extreme,
    arg_ranked,
    at_least,
    count_at_least,
    plus,
    shift_round_clip,
    times,
    tree_sum,
)
from backend_hls4ml.distributed import SOLVER_OPTIONS, requantize_integer
from backend_hls4ml.optimize import optimize
from qonnx_core.errors import Unsupported

alkaid_trace = pytest.importorskip("alkaid.trace", reason="alkaid is not installed")


def values(lo, hi, count=1):
    array = alkaid_trace.FVArray.from_lhs(
        np.full(count, float(lo)), np.full(count, float(hi)), np.ones(count),
        hwconf=alkaid_trace.HWConfig(1, -1, -1), solver_options=SOLVER_OPTIONS,
    )  # fmt: skip
    return list(np.asarray(array))


def evaluate(inputs, outputs, arguments):
    logic = optimize(alkaid_trace.trace(inputs, outputs, optimize=False))
    columns = np.ascontiguousarray(np.asarray(arguments, dtype=np.float64).reshape(-1, len(inputs)))
    return np.rint(logic.predict(columns)).astype(np.int64)


RANGES = [(0, 63), (-32, 31), (0, 255), (-512, 511)]


@pytest.mark.parametrize("form", ["auto", "comparators", "table", "search"])
@pytest.mark.parametrize(("lo", "hi"), RANGES)
@pytest.mark.parametrize("negated", [False, True])
def test_thresholds_are_counted_in_every_form(form, lo, hi, negated):
    rng = np.random.default_rng(5)
    arguments = np.arange(lo, hi + 1)
    for number in (1, 2, 3, 7, 15, 20):
        (x,) = values(lo, hi)
        subject, given = (-x, -arguments) if negated else (x, arguments)
        thresholds = np.sort(rng.integers(given.min() - 4, given.max() + 5, size=number))
        counted, always = count_at_least(subject, [int(t) for t in thresholds], form)
        expected = (given[:, None] >= thresholds).sum(1)
        if counted is None:
            assert (expected == always).all()
        else:
            assert np.array_equal(evaluate([x], [counted], arguments)[:, 0] + always, expected), thresholds


@pytest.mark.parametrize("factor", [0, 1, -1, 3, -7, 255, 8356717, 16504802, -33554431])
def test_a_product_with_a_wide_constant_is_exact(factor):
    (x,) = values(-16, 15)
    found = evaluate([x], [times(x, factor)], np.arange(-16, 16))[:, 0]
    assert np.array_equal(found, np.arange(-16, 16) * factor)


@pytest.mark.parametrize("constant", [0, -1, 2**24 + 1, -(2**27) - 5, 115533614, 2**29 - 1])
@pytest.mark.parametrize("factor", [1, -1, 4])
def test_a_sum_with_a_wide_constant_is_exact(constant, factor):
    (x,) = values(-(2**15), 2**15 - 1)
    arguments = np.random.default_rng(0).integers(-(2**15), 2**15, size=2000)
    found = evaluate([x], [plus(x * float(factor), constant)], arguments)[:, 0]
    assert np.array_equal(found, arguments * factor + constant)


@pytest.mark.parametrize("form", ["auto", "comparators", "search"])
def test_wide_thresholds_are_exact(form):
    rng = np.random.default_rng(3)
    (x,) = values(-(2**28), 2**28 - 1)
    thresholds = np.sort(rng.integers(-(2**28), 2**28, size=37))
    near = (thresholds[:, None] + np.arange(-2, 3)).ravel()
    arguments = np.concatenate([near, rng.integers(-(2**28), 2**28, size=500)]).clip(-(2**28), 2**28 - 1)
    counted, always = count_at_least(x, thresholds.tolist(), form)
    found = evaluate([x], [counted], arguments)[:, 0] + always
    assert np.array_equal(found, (arguments[:, None] >= thresholds).sum(1))


@pytest.mark.parametrize("thresholds", [[0], [0, 0], [64, 192], [128], [-64, 0, 32], [4, 8, 12], [-128]])
@pytest.mark.parametrize(("lo", "hi"), [(0, 255), (-256, 255)])
def test_thresholds_on_coarse_grids_look_at_the_high_bits_only(thresholds, lo, hi):
    (x,) = values(lo, hi)
    arguments = np.arange(lo, hi + 1)
    counted, always = count_at_least(x, thresholds)
    expected = (arguments[:, None] >= np.asarray(thresholds)).sum(1)
    found = always if counted is None else evaluate([x], [counted], arguments)[:, 0] + always
    assert np.array_equal(np.broadcast_to(found, expected.shape), expected)


def test_a_comparator_is_exact_at_its_threshold():
    (x,) = values(-8, 7)
    for threshold in range(-7, 8):
        found = evaluate([x], [at_least(x, threshold)], np.arange(-8, 8))[:, 0]
        assert np.array_equal(found, np.arange(-8, 8) >= threshold)


@pytest.mark.parametrize("rounding", ROUNDING_MODES)
@pytest.mark.parametrize(("lo", "hi"), [(-64, 63), (0, 127)])
def test_requantization_is_exact_in_every_rounding_mode(rounding, lo, hi):
    arguments = np.arange(lo, hi + 1)
    for shift in (-2, 0, 1, 3, 12):
        for offset in (0, 3, -16):
            for low, high in ((-7, 7), (0, 15), (-1000, 1000)):
                (x,) = values(lo, hi)
                result = shift_round_clip(x, offset, shift, rounding, low, high)
                expected = [requantize_integer(int(v) + offset, shift, rounding, low, high) for v in arguments]
                found = evaluate([x], [result], arguments)[:, 0]
                assert np.array_equal(found, expected), (shift, offset, low, high)


@pytest.mark.parametrize("rounding", ROUNDING_MODES)
@pytest.mark.parametrize("factor", [-4, -2, -1, 2, 4, 8])
def test_requantization_of_a_scaled_value_is_exact(rounding, factor):
    # alkaid 0.8.2 takes a bit of a value with a factor for its highest bit where the weights agree
    arguments = np.arange(-32, 32)
    for shift in (1, 2, 3, 4, 5, 6):
        for offset in (0, 5):
            (x,) = values(-32, 31)
            result = shift_round_clip(x * float(factor), offset, shift, rounding, -20, 21)
            expected = [requantize_integer(int(v) * factor + offset, shift, rounding, -20, 21) for v in arguments]
            assert np.array_equal(evaluate([x], [result], arguments)[:, 0], expected), (shift, offset)


def test_the_integer_rounding_equals_the_definition_in_rationals():
    from fractions import Fraction
    from math import ceil, floor

    definitions = {
        "ROUND": round,
        "FLOOR": floor,
        "CEIL": ceil,
        "UP": lambda v: ceil(v) if v > 0 else floor(v),
        "DOWN": lambda v: floor(v) if v > 0 else ceil(v),
        "HALF_UP": lambda v: floor(abs(v) + Fraction(1, 2)) * (1 if v > 0 else -1),
        "HALF_DOWN": lambda v: ceil(abs(v) - Fraction(1, 2)) * (1 if v > 0 else -1),
    }
    for rounding, definition in definitions.items():
        for shift in (-1, 0, 1, 2, 3):
            for x in range(-40, 41):
                exact = definition(Fraction(x) / Fraction(2) ** shift)
                assert requantize_integer(x, shift, rounding, -1000, 1000) == exact, (rounding, shift, x)


def test_an_unknown_rounding_mode_is_refused():
    (x,) = values(0, 7)
    with pytest.raises(Unsupported, match=r"rounding mode 'NEAREST'.*expected one of ROUND"):
        shift_round_clip(x, 0, 1, "NEAREST", 0, 7)
    with pytest.raises(Unsupported, match="rounding mode 'NEAREST'"):
        requantize_integer(3, 1, "NEAREST", 0, 7)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_ties_go_to_the_lowest_index(largest, count):
    inputs = values(-2, 2, count)
    rng = np.random.default_rng(count)
    arguments = rng.integers(-2, 3, size=(400, count))
    index = arg_extreme(inputs, largest)
    expected = arguments.argmax(1) if largest else arguments.argmin(1)
    found = np.zeros(400, np.int64) if count == 1 else evaluate(inputs, [index], arguments)[:, 0]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("count", "k"), [(2, 1), (2, 2), (3, 2), (5, 5), (7, 3), (10, 4)])
def test_the_best_come_in_order_with_ties_to_the_lowest_index(largest, count, k):
    inputs = values(-2, 2, count)
    arguments = np.random.default_rng(count).integers(-2, 3, size=(400, count))
    expected = np.argsort(-arguments if largest else arguments, axis=1, kind="stable")[:, :k]
    assert np.array_equal(evaluate(inputs, arg_ranked(inputs, k, largest), arguments), expected)


def test_places_that_the_ranges_decide_are_plain_numbers():
    low, middle, high = values(-4, -1)[0], values(0, 3)[0], values(8, 15)[0]
    assert arg_ranked([low, middle, high], 3, largest=True) == [2, 1, 0]
    other = values(-4, -1)[0]
    arguments = np.array([[a, b] for a in range(-4, 0) for b in range(-4, 0)])
    ranked = arg_ranked([low, high, other], 3, largest=True)
    assert ranked[0] == 1
    expected = np.where((arguments[:, 1] > arguments[:, 0])[:, None], [2, 0], [0, 2])
    assert np.array_equal(evaluate([low, other], ranked[1:], arguments), expected)


def test_ranges_that_do_not_meet_decide_a_comparison_without_hardware():
    low, high = values(-4, 3)[0], values(0, 15)[0]
    arguments = np.array([[a, b] for a in range(-4, 4) for b in range(16)])
    index = arg_extreme([low, high + 4.0], largest=True)
    assert index == 1
    index = arg_extreme([low, high], largest=True)
    assert np.array_equal(evaluate([low, high], [index], arguments)[:, 0], arguments.argmax(1))


def test_a_sum_is_a_balanced_tree():
    inputs = values(0, 1, 64)
    total = tree_sum(inputs)
    assert total.latency <= 16
    arguments = np.random.default_rng(0).integers(0, 2, size=(100, 64))
    assert np.array_equal(evaluate(inputs, [total], arguments)[:, 0], arguments.sum(1))

"""Exact integer functions on alkaid's traced values: comparison, thresholds, rounding, selection.

A traced value is an ``alkaid.trace.FVariable``. Everything here is elementary, so that the same lines serve every
layer; each function is checked exhaustively by the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from backend_hls4ml.options import ThresholdForm
from qonnx_core.errors import Unsupported

Value = Any
"""An ``alkaid.trace.FVariable``; the package has no type information."""

TABLE_BITS = 10
"""Widest argument of a look-up table: one entry for each value of the argument."""

FREE_TABLE_BITS = 6
"""Up to this width a table is one look-up table of the device for each bit, which no adder beats."""

MANY_THRESHOLDS = 16
"""From here on comparators cost more than a table or a search."""

ROUNDING_MODES = ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")

_TABLE_ENTRY_BITS = 20  # alkaid 0.8.2 makes its tables in single precision

_SHORT_FACTOR_BITS, _WIDE_FACTOR_BITS, _WIDE_PART_BITS = 10, 20, 16
_FRESH_TABLE_BITS = 4
_SINGLE_BITS = 24

_UNBOUNDED = 60  # integer bits of a quantization that only cuts fraction bits


def is_constant(value: Value) -> bool:
    """Return whether a traced value can take one number only."""
    return bool(value.low == value.high)


def at_least(value: Value, threshold: int) -> Value:
    """Return the bit ``value >= threshold``; one adder, none for the sign of a value that is not negated."""
    if threshold == 0 and value._factor > 0:
        return value.is_negative() * -1.0 + 1.0
    step = int(value.step)  # a constant on the value's own grid: the lowest bit of a wide one would be misjudged
    return plus(-value, -(-threshold // step) * step - step).is_negative()


def is_less(left: Value, right: Value) -> Value | bool:
    """Return the bit ``left < right``, or a plain bool where the ranges decide it."""
    if left.high < right.low:
        return True
    if left.low >= right.high:
        return False
    return (left - right).is_negative()


def tree_sum(values: Sequence[Value]) -> Value:
    """Return the sum as a balanced tree: its depth is logarithmic in the number of values, at least one."""
    level = list(values)
    while len(level) > 1:
        level = [level[i] + level[i + 1] if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def plus(value: Value, constant: int) -> Value:
    """Return the value plus a constant; one of more than 24 significant bits is added in halves.

    alkaid 0.8.2 looks for the lowest bit of a constant in single precision and cuts off what lies below.
    """
    odd = constant // (constant & -constant) if constant else 0
    if abs(odd) < 2**_SINGLE_BITS or is_constant(value):
        return value + float(constant)
    upper, lower = _halves(value, _WIDE_PART_BITS)
    low = constant % 2**_WIDE_PART_BITS
    return (upper + float(constant - low)) + fresh(lower + float(low))


def _halves(value: Value, position: int) -> tuple[Value, Value]:
    """Cut a value at a bit: what lies from it on, and the unsigned rest below; their sum is the value."""
    return value.quantize(1, _UNBOUNDED, -position), value.quantize(0, position, _UNBOUNDED)


def times(value: Value, factor: int) -> Value:
    """Return the value times a constant, as a tree of shifted terms, one for each non-zero signed digit.

    alkaid 0.8.2 multiplies, and finds the lowest bit of a linear combination, in single precision. So a wide constant
    goes in parts whose coefficients stay short.
    """
    odd = factor // (factor & -factor) if factor else 0
    if abs(odd) < 2**_SHORT_FACTOR_BITS:
        return _times_short(value, factor)
    value = fresh(value)
    low = factor % 2**_WIDE_PART_BITS
    if abs(odd) < 2**_WIDE_FACTOR_BITS or low == 0:
        return _times_short(value, factor)
    high = (factor - low) >> _WIDE_PART_BITS
    return fresh(times(value, high)) * 2.0**_WIDE_PART_BITS + _times_short(value, low)


def _times_short(value: Value, factor: int) -> Value:
    terms, shift, rest = [], 0, factor
    while rest:
        if rest & 1:
            digit = 2 - (rest & 3)  # canonical signed digits: no two in a row
            terms.append(value * float(digit * 2**shift))
            rest -= digit
        rest >>= 1
        shift += 1
    return tree_sum(terms) if terms else value * 0.0


def fresh(value: Value) -> Value:
    """Return the same value, but with a range of its own instead of a linear combination: wires, or a small table."""
    if is_constant(value):
        return value
    if _index_bits(value) <= _FRESH_TABLE_BITS:
        steps = round((value.high - value.low) / value.step)
        return value.lookup(value.low + value.step * np.arange(steps + 1))
    middle = round(np.log2(value.step)) + _FRESH_TABLE_BITS - 1
    upper, lower = _halves(value, middle)
    return upper + lower


def select(index: Value, entries: Sequence[int]) -> Value:
    """Return ``entries[index - index.low]``: a look-up table, in two halves where single precision ends."""
    table = np.asarray(entries, dtype=np.int64)
    if np.abs(table).max() < 2**_TABLE_ENTRY_BITS:
        return index.lookup(table.astype(np.float64))
    low = table % 2**_TABLE_ENTRY_BITS
    high = (table - low) >> _TABLE_ENTRY_BITS
    return select(index, high.tolist()) * 2.0**_TABLE_ENTRY_BITS + index.lookup(low.astype(np.float64))


def count_at_least(value: Value, thresholds: Sequence[int], form: ThresholdForm = "auto") -> tuple[Value | None, int]:
    """Return ``(v, n)`` with ``v + n`` the number of thresholds that are at most ``value``; ``v`` None for a constant.

    Thresholds that the range of the value decides cost nothing. The others become comparators summed in a balanced
    tree, one look-up table, or a binary search whose thresholds are selected by the bits found so far.
    """
    low, high = int(value.low), int(value.high)
    always = sum(1 for t in thresholds if t <= low)
    active = sorted(int(t) for t in thresholds if low < t <= high)
    if not active:
        return None, always
    value, active = _without_low_bits(value, active)
    return _FORMS[_choose_form(value, len(set(active)), form)](value, active), always


def _without_low_bits(value: Value, thresholds: list[int]) -> tuple[Value, list[int]]:
    """Drop the bits that no threshold looks at: ``x >= t`` is ``x >> z >= t >> z`` where ``t`` ends in ``z`` zeros."""
    zeros = min((t & -t).bit_length() - 1 if t else _UNBOUNDED for t in thresholds)
    negated = value._factor < 0  # cutting it would cost the negation
    if zeros in (0, _UNBOUNDED) or value.step >= 2**zeros or negated:
        return value, thresholds
    return value.quantize(1, _UNBOUNDED, -zeros) * 2.0**-zeros, [t >> zeros for t in thresholds]


def _choose_form(value: Value, distinct: int, form: ThresholdForm) -> str:
    bits = _index_bits(value)
    if form == "table" and bits <= TABLE_BITS:
        return "table"
    if form == "search" or form == "comparators":
        return form
    if bits <= FREE_TABLE_BITS and distinct > 1:
        return "table"
    if distinct < MANY_THRESHOLDS:
        return "comparators"
    return "table" if bits <= TABLE_BITS else "search"


def _index_bits(value: Value) -> int:
    steps: int = round((value.high - value.low) / value.step)
    return steps.bit_length()


def _by_comparators(value: Value, thresholds: list[int]) -> Value:
    return tree_sum([at_least(value, t) * float(n) for t, n in sorted(Counter(thresholds).items())])


def _by_table(value: Value, thresholds: list[int]) -> Value:
    steps = round((value.high - value.low) / value.step)
    arguments = value.low + value.step * np.arange(steps + 1)
    return value.lookup(np.searchsorted(np.asarray(thresholds), arguments, side="right").astype(np.float64))


def _by_search(value: Value, thresholds: list[int]) -> Value:
    """``ceil(log2(n + 1))`` comparators in a row: each result bit selects the next threshold."""
    depth = len(thresholds).bit_length()
    never = int(value.high) + 1
    padded = [*thresholds, *[never] * (2**depth - 1 - len(thresholds))]
    count = at_least(value, padded[2 ** (depth - 1) - 1])
    for level in range(1, depth):
        width = 2 ** (depth - 1 - level)
        choices = [padded[prefix * 2 * width + width - 1] for prefix in range(2**level)]
        if is_constant(count):
            bit = at_least(value, choices[int(count.low)])
        else:
            first = int(count.low)
            threshold = select(count, choices[first : int(count.high) + 1])
            bit = (-value + (threshold - 1.0)).is_negative()
        count = count * 2.0 + bit
    return count


_FORMS = {"comparators": _by_comparators, "table": _by_table, "search": _by_search}


def clip(value: Value, lo: int, hi: int) -> Value:
    """Return the value limited to ``lo .. hi``; free where its range lies inside."""
    if value.high > hi:
        value = value.min_of(float(hi))
    if value.low < lo:
        value = value.max_of(float(lo))
    return value


def shift_round_clip(value: Value, offset: int, shift: int, rounding: str, lo: int, hi: int) -> Value:
    """Return ``clip(round((value + offset) / 2**shift), lo, hi)`` in one of the `ROUNDING_MODES`.

    Raises:
        Unsupported: for another rounding mode.
    """
    if rounding not in ROUNDING_MODES:
        raise Unsupported(
            f"rounding mode {rounding!r} in distributed arithmetic; expected one of {', '.join(ROUNDING_MODES)}. "
            "Export the model with another rounding mode."
        )
    if shift <= 0:
        return clip(plus(value, offset) * 2.0**-shift, lo, hi)
    unit, half = 2**shift, 2 ** (shift - 1)
    match rounding:
        case "FLOOR":
            added = plus(value, offset)
        case "CEIL":
            added = plus(value, offset + unit - 1)
        case "ROUND":
            added = _plus(plus(value, offset + half - 1), _bit(value, offset, shift))
        case "HALF_UP":
            added = _plus(plus(value, offset + half), -_negative(value, offset))
        case "HALF_DOWN":
            added = _plus(plus(value, offset + half - 1), _negative(value, offset))
        case "DOWN":
            added = _plus(plus(value, offset), _negative(value, offset) * float(unit - 1))
        case _:  # UP
            added = _plus(plus(value, offset + unit - 1), _negative(value, offset) * -float(unit - 1))
    if is_constant(added):
        return clip(added * 0.0 + float(int(added.low) >> shift), lo, hi)
    return clip(added.quantize(1, _UNBOUNDED, -shift) * 2.0**-shift, lo, hi)


def _plus(value: Value, bit: Value) -> Value:
    return value + float(bit.low) if is_constant(bit) else value + bit


def _negative(value: Value, offset: int) -> Value:
    return plus(value, offset).is_negative()


def _bit(value: Value, offset: int, position: int) -> Value:
    """Bit ``position`` (at least 1) of ``value + offset``, from the bits up to it alone.

    The bits are cut out first: alkaid 0.8.2 takes one bit of a value that carries a power of two as its factor for the
    value's highest bit where the weights happen to agree (``canonicalize_msb_wraps``), and a fresh cut has factor 1.
    """
    low_bits = value.quantize(0, position + 1, 0) + float(offset % 2 ** (position + 1))
    if is_constant(low_bits):
        return low_bits * 0.0 + float(int(low_bits.low) >> position & 1)
    return low_bits.quantize(0, position + 1, -position) * 2.0**-position


def arg_extreme(values: Sequence[Value], largest: bool) -> Value:
    """Return the index of the largest (or smallest) value, ties to the lowest index: a balanced tree of comparators."""
    level: list[tuple[Value, Value | int]] = list(zip(values, range(len(values)), strict=True))
    while len(level) > 1:
        level = [
            _better(level[i], level[i + 1], largest) if i + 1 < len(level) else level[i]
            for i in range(0, len(level), 2)
        ]
    return level[0][1]


def arg_ranked(values: Sequence[Value], k: int, largest: bool) -> list[Value | int]:
    """Return the indices of the k largest (or smallest) values in order, ties to the lowest index.

    Every pair is compared once; the place of a value is the number of those that come before it, and a table for each
    place tells its index.
    """
    before: list[list[Value]] = [[] for _ in values]  # one bit for each value that may come first
    always = [0] * len(values)  # how many surely do, or take part in a bit with the opposite meaning
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            later_first = is_less(values[i], values[j]) if largest else is_less(values[j], values[i])
            if later_first is True:
                always[i] += 1
            elif later_first is False:
                always[j] += 1
            else:
                before[i].append(later_first)
                before[j].append(later_first * -1.0)
                always[j] += 1
    places = [tree_sum(bits) + float(n) if bits else n for bits, n in zip(before, always, strict=True)]
    return [_index_at(places, rank) for rank in range(k)]


def _index_at(places: Sequence[Value | int], rank: int) -> Value | int:
    """Return the index of the value whose place is ``rank``; exactly one has it."""
    terms: list[Value] = []
    for index, place in enumerate(places):
        if isinstance(place, int):
            if place == rank:
                return index
        elif index and place.low <= rank <= place.high:
            terms.append(select(place, [index * (p == rank) for p in range(int(place.low), int(place.high) + 1)]))
    if not terms:
        return 0
    return tree_sum(terms).quantize(0, (len(places) - 1).bit_length(), 0)


def _better(left: tuple[Value, Any], right: tuple[Value, Any], largest: bool) -> tuple[Value, Any]:
    take_right = is_less(left[0], right[0]) if largest else is_less(right[0], left[0])
    if take_right is True:
        return right
    if take_right is False:
        return left
    return take_right.msb_mux(right[0], left[0]), take_right.msb_mux(right[1], left[1])

"""Rules of elementwise arithmetic: sums, products, quotients, batch normalization, extremes and selections."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from qonnx_core.analyses.ranges import intervals
from qonnx_core.analyses.ranges.extent import (
    LIMIT,
    BoolArray,
    Extent,
    IntArray,
    Lattice,
    PartialSums,
    Reals,
    between,
    each,
    enclosed,
    floats,
    on_lattice,
    reals,
)
from qonnx_core.analyses.ranges.operation import Operation, Rule, exact_numbers, numbers_of
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline import exact, steps
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.elementwise import Affine
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.linear import MAX_FACTOR_BITS
from qonnx_core.passes.streamline.representation import commensurate

ZERO, ONE = Fraction(0), Fraction(1)


def affine(x: Extent, gains: Reals | None, offsets: Reals | None) -> Extent:
    """Return ``x * gains + offsets``: the integers stay up to their sign, their scale and offset change."""
    lattice = x.lattice
    if lattice is not None:
        if gains is not None:
            lattice = _scaled(lattice, gains)
        if offsets is not None:
            lattice = replace(lattice, offset=np.asarray(lattice.offset + offsets, object))
        if not x.rounded:
            return on_lattice(lattice, x.axis)
    interval = x.interval
    if gains is not None:
        interval = intervals.product_of(interval, floats(gains))
        if x.rounded and all(gain == 0 for gain in gains.flat):
            x = replace(x, rounded=False)
    if offsets is not None:
        interval = intervals.sum_of(interval, floats(offsets))
    return between(interval, x.axis, x.reason) if lattice is None else kept(x, interval, lattice)


def shifted(x: Extent, constant: Constant) -> Extent:
    """Return ``x + constant``."""
    return affine(x, None, exact_numbers(constant))


def scaled(x: Extent, gains: Reals) -> Extent:
    """Return ``x * gains``."""
    return affine(x, gains, None)


def _scaled(lattice: Lattice, gains: Reals) -> Lattice:
    signs = np.asarray([exact.sign(g) for g in gains.reshape(-1)], np.int64).reshape(gains.shape)
    sizes = each(magnitude, gains)
    sizes[signs == 0] = ONE  # a channel that is always 0 keeps its scale
    low, high = np.where(signs < 0, -lattice.high, lattice.low), np.where(signs < 0, -lattice.low, lattice.high)
    return Lattice(
        np.asarray(sizes * lattice.scale, object), np.asarray(gains * lattice.offset, object),
        np.where(signs == 0, 0, low), np.where(signs == 0, 0, high), lattice.datatype if (signs > 0).all() else None,
    )  # fmt: skip


def kept(x: Extent, interval: intervals.Pair, lattice: Lattice) -> Extent:
    """Return the extent of a function of x with this interval and this lattice, rounded as x is."""
    if not x.rounded:
        return on_lattice(lattice, x.axis)
    lo, hi = np.broadcast_arrays(*interval)
    return Extent(lo, hi, x.axis, lattice, rounded=True)


def added(a: Extent, b: Extent, *, subtract: bool = False) -> Extent:
    """Return ``a + b`` or ``a - b`` for two tensors that are taken as independent, with their partial sums."""
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    if subtract:
        b = scaled(b, reals([-ONE], (1,) * b.lo.ndim) if b.lo.ndim else np.asarray(-ONE, object))
    interval = intervals.sum_of(a.interval, b.interval)
    if a.lattice is None or b.lattice is None:
        return between(interval, axis, a.reason or b.reason)
    left, right = a.lattice, b.lattice
    try:
        unit, first, second = common_unit(left.scale, right.scale, "its two inputs' scales")
        terms = [timed(left, first), timed(right, second)]
        low, high = _added(terms[0][0], terms[1][0]), _added(terms[0][1], terms[1][1])
    except Unsupported as error:
        return between(interval, axis, str(error))
    lattice = Lattice(unit, np.asarray(left.offset + right.offset, object), low, high)
    below = np.minimum(low, np.minimum(*np.broadcast_arrays(terms[0][0], terms[1][0])))
    above = np.maximum(high, np.maximum(*np.broadcast_arrays(terms[0][1], terms[1][1])))
    return on_lattice(lattice, axis, PartialSums(np.minimum(below, 0), np.maximum(above, 0)))


def common_unit(a: Reals, b: Reals, what: str) -> tuple[Reals, IntArray, IntArray]:
    """Return the largest scale of which both are multiples, and the two factors; raises Unsupported without one."""

    def pair(x: Real, y: Real) -> tuple[Real, int, int]:
        unit, factors = commensurate((x, y), what, MAX_FACTOR_BITS)
        return unit, factors[0], factors[1]

    found = each(pair, a, b)
    units = reals([entry[0] for entry in found.reshape(-1)]).reshape(found.shape)
    factors = np.asarray([entry[1:] for entry in found.reshape(-1)], np.int64)
    return units, factors[:, 0].reshape(found.shape), factors[:, 1].reshape(found.shape)


def timed(lattice: Lattice, factor: IntArray) -> tuple[IntArray, IntArray]:
    """Return the integers of a lattice times factors above 0; raises Unsupported beyond 53 bits."""
    largest = max(np.abs(lattice.low).max(), np.abs(lattice.high).max())
    if int(largest) * int(np.abs(factor).max()) >= LIMIT:
        raise Unsupported("its integers need more than 53 bits")
    return np.asarray(lattice.low * factor), np.asarray(lattice.high * factor)


def _added(a: IntArray, b: IntArray) -> IntArray:
    result = np.asarray(a + b)
    if np.abs(result).max() >= LIMIT:
        raise Unsupported("its integers need more than 53 bits")
    return result


def centred(lattice: Lattice) -> Lattice | None:
    """Return a lattice with offset 0 that holds the same numbers: the same one where it holds 0, else a finer one.

    None where there is none with integers of 53 bits.
    """
    zeros = each(lambda s, o: _whole(o / s), lattice.scale, lattice.offset)
    if any(zero is None for zero in zeros.reshape(-1)):
        return _refined(lattice)
    moves = zeros.astype(np.int64)
    low, high = lattice.low + moves, lattice.high + moves
    if max(np.abs(low).max(), np.abs(high).max()) >= LIMIT:
        return None
    zero = np.full((1,) * lattice.offset.ndim, ZERO, object)
    return replace(lattice, offset=zero, low=np.asarray(low), high=np.asarray(high))


def _refined(lattice: Lattice) -> Lattice | None:
    try:
        units, factor, move = common_unit(lattice.scale, lattice.offset, "its scale and offset")
        low, high = (_added(side, move) for side in timed(lattice, factor))
    except Unsupported:
        return None
    return Lattice(units, np.full((1,) * units.ndim, ZERO, object), low, high)


def _whole(number: Real) -> int | None:
    whole = isinstance(number, Fraction) and number.denominator == 1 and abs(number) < LIMIT
    return int(number) if whole else None  # type: ignore[arg-type]


def _product(a: Extent, b: Extent) -> Extent:
    """Return ``a * b`` for two tensors that are taken as independent."""
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    interval = intervals.product_of(a.interval, b.interval)
    left, right = (None if x.lattice is None else centred(x.lattice) for x in (a, b))
    if left is None or right is None:
        return between(interval, axis, a.reason or b.reason or "a product of numbers whose grids do not hold 0")
    return _or_interval(multiplied(left, right), interval, axis)


def multiplied(a: Lattice, b: Lattice) -> Lattice | None:
    """Return the lattice of products of two lattices with offset 0, or None where its integers are too large."""
    sizes = [max(int(np.abs(x.low).max()), int(np.abs(x.high).max())) for x in (a, b)]
    if sizes[0] * sizes[1] >= LIMIT:
        return None
    corners = np.broadcast_arrays(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
    return Lattice(
        np.asarray(a.scale * b.scale, object), np.asarray(a.offset + b.offset, object),
        np.minimum.reduce(corners), np.maximum.reduce(corners),
    )  # fmt: skip


def _or_interval(lattice: Lattice | None, interval: intervals.Pair, axis: int) -> Extent:
    if lattice is None:
        return between(interval, axis, "its integers need more than 53 bits")
    return on_lattice(lattice, axis)


def raised(x: Extent, exponent: int) -> Extent:
    """Return ``x`` to the power of a whole number above 0."""
    even = exponent % 2 == 0
    ends = (smallest_magnitude(x), np.maximum(np.abs(x.lo), np.abs(x.hi))) if even else x.interval
    sides = [(end, end) for end in ends]
    for _ in range(exponent - 1):
        sides = [intervals.product_of(side, (end, end)) for side, end in zip(sides, ends, strict=True)]
    interval = sides[0][0], sides[1][1]
    centre = None if x.lattice is None else centred(x.lattice)
    if x.lattice is None or centre is None:
        return between(interval, x.axis, x.reason or "its integers need more than 53 bits")
    if max(int(np.abs(centre.low).max()), int(np.abs(centre.high).max())) ** exponent >= LIMIT:
        return between(interval, x.axis, "its integers need more than 53 bits")
    scale = each(lambda unit: math.prod([unit] * exponent), centre.scale)
    low, high = centre.low**exponent, centre.high**exponent
    if even:
        nearest = each(lambda value, unit: int(value / unit) ** exponent, _nearest_to_zero(x.lattice), centre.scale)
        low, high = nearest.astype(np.int64), np.maximum(*np.broadcast_arrays(low, high))
    return on_lattice(Lattice(scale, centre.offset, low, high), x.axis)


def smallest_magnitude(x: Extent) -> intervals.FloatArray:
    """Return the magnitude of the number nearest to 0, which is on the lattice where there is one; rounded down."""
    nearest = np.where((x.lo <= 0) & (x.hi >= 0), 0.0, np.minimum(np.abs(x.lo), np.abs(x.hi)))
    if x.lattice is None or x.rounded or not ((x.lo < 0) & (x.hi > 0)).any():
        return np.asarray(nearest)
    sizes = each(lambda value: min(abs(bound) for bound in enclosed(value)), _nearest_to_zero(x.lattice))
    return np.asarray(sizes.astype(np.float64))


def _nearest_to_zero(lattice: Lattice) -> Reals:
    """Return the number nearest to 0 of each element's lattice."""

    def nearest(below: Real, above: Real) -> Real:
        return below if exact.compare(magnitude(below), magnitude(above)) <= 0 else above

    return each(nearest, *around_zero(lattice))


def around_zero(lattice: Lattice) -> tuple[Reals, Reals]:
    """Return each element's largest number below 0 and smallest number of at least 0; the end where there is none."""

    def around(scale: Real, offset: Real, low: int, high: int) -> tuple[Real, Real]:
        place = exact.ceil((-offset / scale - low) / lattice.step)
        first, last = (scale * min(max(low + n * lattice.step, low), high) + offset for n in (place - 1, place))
        return first, last

    ends = (lattice.low.astype(object), lattice.high.astype(object))
    pairs = each(around, lattice.scale, lattice.offset, *ends)
    below, above = ([pair[side] for pair in pairs.reshape(-1)] for side in (0, 1))
    return reals(below).reshape(pairs.shape), reals(above).reshape(pairs.shape)


def magnitude(number: Real) -> Real:
    """Return the magnitude of an exact number."""
    return -number if exact.sign(number) < 0 else number


# --- rules ------------------------------------------------------------------------------------------------------------


def _sides(op: Operation) -> tuple[Extent, Constant | Extent, int]:
    """Return the tensor, the other operand, and the position of the tensor."""
    a, b = op.inputs[:2]
    if isinstance(a, Constant):
        return op.extent(1), a, 1
    if b is None:
        raise Unsupported("its second input is missing")
    return op.extent(0), b, 0


def add(op: Operation) -> list[Extent]:
    """Add."""
    x, other, _ = _sides(op)
    if op.node.inputs[0] is op.node.inputs[1]:
        return [scaled(x, np.full((1,) * x.lo.ndim, Fraction(2), object))]
    return [shifted(x, other) if isinstance(other, Constant) else added(x, other)]


def subtract(op: Operation) -> list[Extent]:
    """Sub."""
    x, other, position = _sides(op)
    if op.node.inputs[0] is op.node.inputs[1]:
        return [scaled(x, np.full((1,) * x.lo.ndim, ZERO, object))]
    if isinstance(other, Constant):
        if position == 1:
            return [shifted(_negated(x), other)]
        return [shifted(x, Constant(-other.mantissa, other.scale))]
    return [added(x, other, subtract=True)]


def _negated(x: Extent) -> Extent:
    return scaled(x, np.full((1,) * x.lo.ndim, -ONE, object))


def negate(op: Operation) -> list[Extent]:
    """Neg."""
    return [_negated(op.extent(0))]


def multiply(op: Operation) -> list[Extent]:
    """Mul; the product of a tensor with itself is a square."""
    x, other, _ = _sides(op)
    if isinstance(other, Constant):
        return [scaled(x, exact_numbers(other))]
    return [raised(x, 2) if op.node.inputs[0] is op.node.inputs[1] else _product(x, other)]


def divide(op: Operation) -> list[Extent]:
    """Div."""
    x, other, position = _sides(op)
    if isinstance(other, Constant) and position == 0:
        divisors = exact_numbers(other)
        if any(d == 0 for d in divisors.reshape(-1)):
            raise Unsupported("it divides by 0")
        return [scaled(x, each(exact.reciprocal, divisors))]
    a, b = op.extent(0), op.extent(1)
    return [between(intervals.quotient_of(a.interval, b.interval), x.axis, "quotients of numbers that vary")]


def total(op: Operation) -> list[Extent]:
    """Sum: all operands, from left to right."""
    counts = Counter(op.node.inputs)
    terms = {value: op.extent(i) for i, value in enumerate(op.node.inputs)}
    first, *rest = (
        x if counts[value] == 1 else scaled(x, np.full((1,) * x.lo.ndim, Fraction(counts[value]), object))
        for value, x in terms.items()
    )
    for term in rest:
        first = added(first, term)
    return [first]


def mean(op: Operation) -> list[Extent]:
    """Mean of all operands."""
    (found,) = total(op)
    return [scaled(found, np.full((1,) * found.lo.ndim, Fraction(1, len(op.extents())), object))]


def batch_normalization(op: Operation) -> list[Extent]:
    """BatchNormalization, channels on axis 1 or, in the domain of channels last, on the last axis."""
    x = op.extent(0)
    rank = len(op.shape(0))
    axis = rank - 1 if op.node.domain or rank < 2 else 1
    shape = tuple(-1 if a == axis else 1 for a in range(rank))
    parts = [op.constant(i, name) for i, name in enumerate(("", "scale", "bias", "mean", "variance")) if i]

    def read(constant: Constant) -> tuple[Real, ...]:
        return tuple(exact_numbers(constant).reshape(-1))

    found = steps.step_of(op.node, [None, *parts], 0, read)
    if not found or not isinstance(found[0], Affine):
        raise Unsupported("it is no affine function")
    gain, offset = (reals(numbers).reshape(shape) for numbers in (found[0].gain, found[0].offset))
    return [replace(affine(x, gain, offset), axis=axis)]


def extreme(op: Operation) -> list[Extent]:
    """Max or Min of any number of operands."""
    first, *rest = op.extents()
    for other in rest:
        first = _extreme(first, other, np.maximum if op.node.op_type == "Max" else np.minimum)
    return [first]


def _extreme(a: Extent, b: Extent, pick: np.ufunc) -> Extent:
    interval = pick(a.lo, b.lo), pick(a.hi, b.hi)
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    if a.lattice is None or b.lattice is None:
        return between(interval, axis, a.reason or b.reason)
    try:
        left, right = shared_lattice(a.lattice, b.lattice)
    except Unsupported as error:
        return between(interval, axis, str(error))
    return on_lattice(replace(left, low=pick(left.low, right.low), high=pick(left.high, right.high)), axis)


def shared_lattice(a: Lattice, b: Lattice) -> tuple[Lattice, Lattice]:
    """Return both on one lattice that holds the numbers of both; raises Unsupported without one."""

    def unit(s: Real, o: Real, t: Real, p: Real) -> tuple[Real, int, int, int]:
        found, factors = commensurate((s, t, p - o), "the grids of its inputs", MAX_FACTOR_BITS)
        return found, factors[0], factors[1], factors[2]

    if a.arrays[0] is b.arrays[0] and a.arrays[1] is b.arrays[1]:
        return a, b
    table = each(unit, a.scale, a.offset, b.scale, b.offset)
    entries = list(table.reshape(-1))
    units = reals([entry[0] for entry in entries]).reshape(table.shape)
    first, second, move = (np.asarray([e[i] for e in entries], np.int64).reshape(table.shape) for i in (1, 2, 3))
    low, high = timed(a, first)
    others = [_added(end, move) for end in timed(b, second)]
    datatype = a.datatype if a.datatype == b.datatype and (first == 1).all() and (second == 1).all() else None
    offset = np.asarray(np.broadcast_to(a.offset, table.shape), object)
    return Lattice(units, offset, low, high, datatype), Lattice(units, offset, others[0], others[1], datatype)


def joined(extents: list[Extent], axis: int) -> Extent:
    """Return the extent that holds every one of the given extents, element by element."""
    first, *rest = extents
    for other in rest:
        interval = np.minimum(first.lo, other.lo), np.maximum(first.hi, other.hi)
        if first.lattice is None or other.lattice is None:
            first = between(interval, axis, first.reason or other.reason)
            continue
        try:
            left, right = shared_lattice(first.lattice, other.lattice)
        except Unsupported as error:
            first = between(interval, axis, str(error))
            continue
        low, high = np.minimum(left.low, right.low), np.maximum(left.high, right.high)
        first = on_lattice(replace(left, low=low, high=high), axis)
    return first


def where(op: Operation) -> list[Extent]:
    """Where: either of two tensors, or one of them where the condition is the same for every input."""
    condition, a, b = op.extents()
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    first, second = condition.lo > 0, condition.hi <= 0
    if (first | second).all():
        return [chosen(a, b, first)]

    def either(x: IntArray | intervals.FloatArray, y: IntArray | intervals.FloatArray, pick: np.ufunc) -> Any:
        return np.where(first, x, np.where(second, y, pick(x, y)))

    interval = either(a.lo, b.lo, np.minimum), either(a.hi, b.hi, np.maximum)
    if a.lattice is None or b.lattice is None:
        return [between(interval, axis, a.reason or b.reason)]
    try:
        left, right = shared_lattice(a.lattice, b.lattice)
    except Unsupported as error:
        return [between(interval, axis, str(error))]
    ends = either(left.low, right.low, np.minimum), either(left.high, right.high, np.maximum)
    return [on_lattice(replace(left, low=ends[0], high=ends[1]), axis)]


def chosen(a: Extent, b: Extent, first: BoolArray) -> Extent:
    """Return a where ``first`` is True and b elsewhere; each element keeps its own grid."""
    if first.all() or not first.any():
        return replace(a if first.all() else b, sums=None)
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    interval = np.where(first, a.lo, b.lo), np.where(first, a.hi, b.hi)
    if a.lattice is None or b.lattice is None:
        return between(interval, axis, a.reason or b.reason)
    left, right = a.lattice, b.lattice
    arrays = [np.where(first, x, y) for x, y in zip(left.arrays, right.arrays, strict=True)]
    scale, offset = (
        x if x.size == y.size == 1 and x.reshape(-1)[0] == y.reshape(-1)[0] else np.asarray(both, object)
        for x, y, both in zip(left.arrays[:2], right.arrays[:2], arrays[:2], strict=True)
    )
    datatype = left.datatype if left.datatype == right.datatype else None
    lattice = replace(left, scale=scale, offset=offset, low=arrays[2], high=arrays[3], datatype=datatype)
    if a.rounded or b.rounded:
        return Extent(interval[0], interval[1], axis, lattice, rounded=True)
    return on_lattice(lattice, axis)


def clipped(x: Extent, low: Constant | None, high: Constant | None) -> Extent:
    """Return ``min(max(x, low), high)``.

    The integers count from the lower bound (from the upper one where there is no lower), on the largest scale of which
    the bounds are multiples too, as the integer form has them.
    """
    ends = [None if bound is None else numbers_of(bound) for bound in (low, high)]
    interval = [x.lo, x.hi]
    for bound, pick in zip(ends, (np.maximum, np.minimum), strict=True):
        if bound is not None:
            interval = [pick(side, bound) for side in interval]
    if x.lattice is None:
        return between((interval[0], interval[1]), x.axis, x.reason)
    if (interval[0] == x.lo).all() and (interval[1] == x.hi).all():
        return x  # no number is beyond a bound
    bounds = [None if bound is None else exact_numbers(bound) for bound in (low, high)]
    origin, other = (bounds[0], bounds[1]) if bounds[0] is not None else (bounds[1], None)
    if origin is None:
        return x
    last = origin if other is None else other

    def unit(s: Real, o: Real, base: Real, end: Real) -> tuple[Real, int, int, int]:
        found, parts = commensurate((s, o - base, end - base), "the scale and bounds of a Clip", MAX_FACTOR_BITS)
        return found, parts[0], parts[1], parts[2]

    try:
        table = each(unit, x.lattice.scale, x.lattice.offset, origin, last)
        entries = list(table.reshape(-1))
        factor, move, end = (np.asarray([e[i] for e in entries], np.int64).reshape(table.shape) for i in (1, 2, 3))
        sides = [_added(side, move) for side in timed(x.lattice, factor)]
    except Unsupported as error:
        return between((interval[0], interval[1]), x.axis, str(error))
    if bounds[0] is not None:
        sides = [np.maximum(side, 0) for side in sides]
        sides = sides if other is None else [np.minimum(side, end) for side in sides]
    else:
        sides = [np.minimum(side, 0) for side in sides]
    units = reals([entry[0] for entry in entries]).reshape(table.shape)
    base = np.asarray(np.broadcast_to(origin, table.shape), object)
    return kept(x, (interval[0], interval[1]), Lattice(units, base, sides[0], sides[1]))


def clip(op: Operation) -> list[Extent]:
    """Clip, with bounds as inputs or attributes."""
    bounds: list[Constant | None] = []
    for position, name in ((1, "min"), (2, "max")):
        attribute = op.node.attributes.get(name)
        bound = op.optional(position, name) if attribute is None else None
        if attribute is not None:
            bound = constant_of(float(np.float32(attribute.as_float())))
        infinite = bound is not None and bool((np.abs(numbers_of(bound)) >= 3e38).all())
        bounds.append(None if infinite else bound)
    return [clipped(op.extent(0), bounds[0], bounds[1])]


def relu(op: Operation) -> list[Extent]:
    """Relu."""
    return [clipped(op.extent(0), constant_of(0.0), None)]


def constant_of(number: float) -> Constant:
    """Return one number as a constant."""
    return Constant(np.asarray(number, np.float64), np.ones(()))


ELEMENTWISE: dict[str, Rule] = {
    "Add": add,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Div": divide,
    "Max": extreme,
    "Mean": mean,
    "Min": extreme,
    "Mul": multiply,
    "Neg": negate,
    "Relu": relu,
    "Sub": subtract,
    "Sum": total,
    "Where": where,
}
"""One rule for each operator, by name."""

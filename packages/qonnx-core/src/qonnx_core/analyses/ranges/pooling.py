"""Rules of pooling and reductions: maxima, averages and sums of elements of one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges import intervals
from qonnx_core.analyses.ranges.curves import whole_numbers
from qonnx_core.analyses.ranges.elementwise import centred, scaled, timed
from qonnx_core.analyses.ranges.extent import (
    LIMIT,
    Extent,
    IntArray,
    Lattice,
    PartialSums,
    Reals,
    between,
    on_lattice,
    reals,
)
from qonnx_core.analyses.ranges.operation import Operation, Rule, numbers_of
from qonnx_core.analyses.ranges.taps import axis_patterns, can_leave, window_of
from qonnx_core.errors import Unsupported
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.linear import MAX_FACTOR_BITS
from qonnx_core.passes.streamline.representation import commensurate


def max_pool(op: Operation) -> list[Extent]:
    """MaxPool, MaxPoolNHWC: one of the elements of the window; padding never is the maximum. Then places, if asked."""
    x = op.extent(0)
    rank = len(op.shape(0))
    axis = rank - 1 if op.node.domain else 1
    found = replace(x.hull([a for a in range(1, rank) if a != axis]), axis=axis)
    places = [replace(_places(None, rank), axis=axis)] if len(op.node.outputs) > 1 else []
    return [found, *places]


def _places(count: int | None, rank: int) -> Extent:
    if count is None:
        return between((np.zeros((1,) * rank), np.full((1,) * rank, np.inf)), 0, "places in a tensor")
    return on_lattice(whole_numbers(np.zeros((1,) * rank), np.full((1,) * rank, float(count - 1))), 0)


def global_max(op: Operation) -> list[Extent]:
    """GlobalMaxPool."""
    x = op.extent(0)
    return [replace(_extreme(x, tuple(range(2, len(op.shape(0)))), True, True), axis=1)]


def _extreme(x: Extent, axes: Sequence[int], largest: bool, keep: bool) -> Extent:
    """Return the largest or smallest of the elements along axes: no smaller than the largest of the lower ends."""
    pick = np.max if largest else np.min
    found = x.hull(axes, keep=keep)
    where = tuple(axes)
    lo, hi = pick(x.lo, axis=where, keepdims=keep), pick(x.hi, axis=where, keepdims=keep)
    if found.lattice is None or x.lattice is None:
        return between((lo, hi), x.axis, found.reason)
    low, high = (pick(side, axis=where, keepdims=keep) for side in np.broadcast_arrays(x.lattice.low, x.lattice.high))
    return on_lattice(replace(found.lattice, low=np.asarray(low), high=np.asarray(high)), x.axis)


def _added_along(x: Extent, axes: Sequence[int], sizes: Sequence[int], keep: bool) -> Extent:
    """Return the sum of all elements along axes."""
    where = tuple(axes)
    known = np.broadcast_shapes(*(array.shape for array in x.arrays))
    repeats = prod(sizes[a] for a in axes if known[a] == 1)
    times = np.asarray(float(repeats))
    lo, hi = np.broadcast_arrays(*x.interval)
    interval = intervals.product_of(intervals.summed((lo, hi), where), (times, times))
    if not keep:
        interval = np.squeeze(interval[0], where), np.squeeze(interval[1], where)
    if x.lattice is None:
        return between(interval, x.axis, x.reason)
    full = tuple(known[a] if a in where else 1 for a in range(len(known)))

    def spread(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.broadcast_to(array, np.broadcast_shapes(array.shape, full))

    def added(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(spread(array).sum(axis=where, keepdims=keep) * repeats)

    try:
        scale, factors = _one_scale(x.lattice.scale, where)
        low, high = (spread(side) for side in np.broadcast_arrays(*timed(x.lattice, factors)))
    except Unsupported as error:
        return between(interval, x.axis, str(error))
    size = max(np.abs(side).astype(np.float64).sum(axis=where).max() for side in (low, high)) * repeats
    if size >= LIMIT:
        return between(interval, x.axis, "its sums need more than 53 bits")
    alike = all(x.lattice.offset.shape[a] == 1 for a in where)
    offset = x.lattice.offset * Fraction(prod(sizes[a] for a in where)) if alike else added(x.lattice.offset)
    ends = [np.squeeze(a, where) if not keep and a.ndim == len(known) else a for a in (scale, offset)]
    lattice = Lattice(np.asarray(ends[0], object), np.asarray(ends[1], object), added(low), added(high))
    return on_lattice(lattice, x.axis, PartialSums(added(np.minimum(low, 0)), added(np.maximum(high, 0))))


def _one_scale(scale: Reals, axes: tuple[int, ...]) -> tuple[Reals, IntArray]:
    """Return the largest scales of which those along axes are multiples, and the factors; Unsupported without one."""
    if all(scale.shape[a] == 1 for a in axes):
        return scale, np.ones((1,) * scale.ndim, np.int64)
    last = range(scale.ndim - len(axes), scale.ndim)
    rows = np.moveaxis(scale, axes, last)
    units: list[Real] = []
    factors: list[list[int]] = []
    for row in rows.reshape(-1, prod(scale.shape[a] for a in axes)):
        if all(entry is row[0] or entry == row[0] for entry in row):
            unit, found = row[0], [1] * len(row)
        else:
            unit, found = commensurate(tuple(row), "the scales of its elements", MAX_FACTOR_BITS)
        units.append(unit)
        factors.append(found)
    table = np.moveaxis(np.asarray(factors, np.int64).reshape(rows.shape), last, axes)
    return reals(units).reshape([1 if a in axes else n for a, n in enumerate(scale.shape)]), table


def _mean_along(x: Extent, axes: Sequence[int], sizes: Sequence[int], keep: bool) -> Extent:
    total = _added_along(x, axes, sizes, keep)
    count = prod(sizes[a] for a in axes)
    return replace(scaled(total, np.full((1,) * total.lo.ndim, Fraction(1, count), object)), sums=total.sums)


def _hull_of_mean(x: Extent, axes: Sequence[int], keep: bool) -> Extent:
    kept = x.hull(axes, keep=keep)
    return between(kept.interval, x.axis, kept.reason or "an average of an unknown number of elements")


def global_average(op: Operation) -> list[Extent]:
    """GlobalAveragePool."""
    x = op.extent(0)
    axes = list(range(2, len(op.shape(0))))
    try:
        sizes = op.sizes(0)
    except Unsupported:
        return [replace(_hull_of_mean(x, axes, True), axis=1)]
    return [replace(_mean_along(x, axes, sizes, True), axis=1)]


def reduce(op: Operation) -> list[Extent]:
    """ReduceSum, ReduceMean, ReduceMax, ReduceMin and the sums of squares and magnitudes."""
    x = op.extent(0)
    rank = len(op.shape(0))
    axes = op.axes()
    if not axes:
        if op.integer("noop_with_empty_axes", 0):
            return [x]
        axes = list(range(rank))
    axes = sorted(axis % rank for axis in axes)
    keep = bool(op.integer("keepdims", 1))
    left = [a for a in range(rank) if a not in axes]
    kind = op.node.op_type
    if kind in ("ReduceMax", "ReduceMin"):
        found = _extreme(x, axes, kind == "ReduceMax", keep)
    elif kind == "ReduceMean" and any(op.shape(0)[a] is None for a in axes):
        found = _hull_of_mean(x, axes, keep)
    else:
        if any(op.shape(0)[a] is None for a in axes):
            raise Unsupported("a sum of an unknown number of elements")
        sizes = [size or 1 for size in op.shape(0)]
        found = (_mean_along if kind == "ReduceMean" else _added_along)(x, axes, sizes, keep)
    axis = x.axis if keep else left.index(x.axis) if x.axis in left else max(len(left) - 1, 0)
    return [replace(found, axis=axis)]


def average_pool(op: Operation) -> list[Extent]:
    """AveragePool: sums of up to as many elements as the window has; padding counts as 0 where it is included."""
    x = op.extent(0)
    shape = op.shape(0)
    kernel = tuple(op.integers("kernel_shape") or ())
    window = window_of(op, kernel, shape[2:])
    x = replace(x.hull(list(range(2, len(shape)))), axis=1)
    included = bool(op.integer("count_include_pad", 0))
    pairs = {(window.num_elements, window.num_elements)}
    if can_leave(window):
        if any(size is None for size in shape[2:]):
            return [_any_average(x, included)]
        pairs = {(1, 1)}
        for axis, size in enumerate(shape[2:]):
            inside, padded = axis_patterns(window, axis, int(size or 0))
            own = {(int(i.sum()), int(p.sum())) for i, p in zip(inside, padded, strict=True)}
            if window.ceil:  # runtimes differ in whether what lies behind the padding counts
                own |= {(i, kernel[axis]) for i, _ in own}
            pairs = {(a * c, b * d) for a, b in pairs for c, d in own}
    if not included:
        pairs = {(inside, inside) for inside, _ in pairs if inside}
    return [_averages(x, sorted(pairs))]


def _any_average(x: Extent, included: bool) -> Extent:
    lo, hi = (np.minimum(x.lo, 0.0), np.maximum(x.hi, 0.0)) if included else x.interval
    return between((lo, hi), x.axis, x.reason or "an average of an unknown number of elements")


def _averages(x: Extent, pairs: list[tuple[int, int]]) -> Extent:
    """Return the extent of sums of ``inside`` elements divided by ``divisor``, for all pairs of both."""
    centre = None if x.lattice is None else centred(x.lattice)
    same = all(inside == divisor for inside, divisor in pairs)
    lattice = x.lattice if same else centre
    if lattice is None:
        if same:
            return between(x.interval, x.axis, x.reason)
        parts = [_share(x.interval, inside, divisor) for inside, divisor in pairs]
        lo, hi = np.minimum.reduce([p[0] for p in parts]), np.maximum.reduce([p[1] for p in parts])
        return between((lo, hi), x.axis, x.reason or "its padding is 0, which is not on its grid")
    whole = lcm(*(divisor for _, divisor in pairs))
    factors = [inside * (whole // divisor) for inside, divisor in pairs]
    largest = max(int(np.abs(lattice.low).max()), int(np.abs(lattice.high).max())) * max(factors)
    if largest >= LIMIT:
        return between(x.interval, x.axis, "its sums need more than 53 bits")
    low = np.minimum.reduce([lattice.low * f for f in factors])
    high = np.maximum.reduce([lattice.high * f for f in factors])
    scale = np.asarray(lattice.scale * Fraction(1, whole), object)
    partial = PartialSums(np.minimum(low, 0), np.maximum(high, 0))
    return on_lattice(Lattice(scale, lattice.offset, low, high), x.axis, partial)


def _share(x: intervals.Pair, inside: int, divisor: int) -> intervals.Pair:
    """Return the interval of sums of that many elements divided by a number."""
    count, size = np.asarray(float(inside)), np.asarray(float(divisor))
    return intervals.quotient_of(intervals.product_of(x, (count, count)), (size, size))


def quant_average(op: Operation) -> list[Extent]:
    """QuantAvgPool2d: ``floor(sum of the window / 2^shift)``."""
    x = op.extent(0)
    pool = QuantAvgPool2d(
        stride=op.integer("stride", 1), kernel=op.integer("kernel", 1), ibits=op.integer("ibits", 8),
        obits=op.integer("obits", 8), signed=bool(op.integer("signed", 0)), data_layout=op.text("data_layout", "NCHW"),
    )  # fmt: skip
    x = x.hull(pool.axes)
    count = pool.kernel**2
    times = np.asarray(float(count))
    total = intervals.product_of(x.interval, (times, times))
    lo, hi = (np.floor(np.round(side) / 2.0**pool.shift) for side in total)
    axis = 1 if pool.data_layout == "NCHW" else 3
    if not x.bounded or max(np.abs(lo).max(), np.abs(hi).max()) >= LIMIT:
        return [between((lo, hi), axis, x.reason or "its sums are not bounded")]
    sums = None
    if x.lattice is not None:
        low, high = x.lattice.low * count, x.lattice.high * count
        sums = PartialSums(np.minimum(low, 0), np.maximum(high, 0), (low, high))
    return [on_lattice(whole_numbers(lo, hi), axis, sums)]


def selected(op: Operation) -> list[Extent]:
    """ArgMax, ArgMin and TopK: places along an axis, and for TopK first the values."""
    x = op.extent(0)
    rank = len(op.shape(0))
    kind = op.node.op_type
    axis = op.integer("axis", -1 if kind == "TopK" else 0) % rank
    size = op.shape(0)[axis]
    if kind != "TopK":
        keep = bool(op.integer("keepdims", 1))
        behind = x.axis if keep or x.axis < axis else max(x.axis - 1, 0)
        if size is None or x.lo.ndim != rank or max(x.lo.shape[axis], x.hi.shape[axis]) != size:
            return [replace(_places(size, rank if keep else rank - 1), axis=behind)]
        x = x if kind == "ArgMax" else scaled(x, np.full((1,) * rank, Fraction(-1), object))
        found = _winners(x, axis, last=bool(op.integer("select_last_index", 0)), keep=keep)
        return [replace(found, axis=behind)]
    places = replace(_places(size, rank), axis=x.axis)
    try:
        counts = op.numbers(1, "number of places")
    except Unsupported:
        counts = None
    if size is None or not counts or not 0 < counts[0] <= size:
        return [x.hull([axis]), places]
    found = _ranked(x, axis, size, counts[0], largest=bool(op.integer("largest", 1)))
    return [found if op.integer("sorted", 1) else found.hull([axis]), places]


def _winners(x: Extent, axis: int, *, last: bool, keep: bool) -> Extent:
    """Return the places that can hold the largest element; the first (or the last) of equal ones counts."""
    lows, highs = (np.moveaxis(side, axis, -1) for side in np.broadcast_arrays(x.lo, x.hi))
    if last:
        lows, highs = lows[..., ::-1], highs[..., ::-1]
    count = lows.shape[-1]
    before = np.full(lows.shape, -np.inf)
    before[..., 1:] = np.maximum.accumulate(lows[..., :-1], axis=-1)
    least = lows.max(axis=-1, keepdims=True)
    possible = (highs >= least) & ((highs > before) | (before == -np.inf))
    first = np.argmax(possible, axis=-1)
    final = count - 1 - np.argmax(possible[..., ::-1], axis=-1)
    ends = (count - 1 - final, count - 1 - first) if last else (first, final)
    low, high = (np.asarray(side, np.float64) for side in ends)
    if keep:
        low, high = np.expand_dims(low, axis), np.expand_dims(high, axis)
    return on_lattice(whole_numbers(low, high), 0)


def _ranked(x: Extent, axis: int, size: int, count: int, *, largest: bool) -> Extent:
    """Return the largest (or smallest) elements in order; the n-th is bounded by the n-th of the ends on each side."""
    alike = x.hull([axis])

    def ranks(side: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if side.shape[axis] == 1:
            return side
        order = np.sort(side, axis=axis)
        return (np.flip(order, axis) if largest else order).take(range(count), axis=axis)

    sides = np.broadcast_arrays(x.lo, x.hi)
    if any(side.shape[axis] not in (1, size) for side in sides):
        return alike
    lo, hi = (ranks(side) for side in sides)
    if alike.lattice is None or x.lattice is None:
        return between((lo, hi), x.axis, alike.reason)
    low, high = (ranks(side) for side in np.broadcast_arrays(x.lattice.low, x.lattice.high))
    lattice = replace(alike.lattice, low=low, high=high)
    return Extent(lo, hi, x.axis, lattice, rounded=True) if x.rounded else on_lattice(lattice, x.axis)


def softmax(op: Operation) -> list[Extent]:
    """Softmax and Hardmax: numbers from 0 to 1."""
    rank = len(op.shape(0))
    zero, one = np.zeros((1,) * rank), np.ones((1,) * rank)
    axis = op.extent(0).axis
    if op.node.op_type == "Hardmax":
        return [on_lattice(whole_numbers(zero, one), axis)]
    return [between((zero, one), axis, "its values lie on no grid")]


def log_softmax(op: Operation) -> list[Extent]:
    """LogSoftmax: numbers of at most 0."""
    rank = len(op.shape(0))
    interval = np.full((1,) * rank, -np.inf), np.zeros((1,) * rank)
    return [between(interval, op.extent(0).axis, "its values lie on no grid")]


def normalized(op: Operation) -> list[Extent]:
    """LayerNormalization, InstanceNormalization and RMSNormalization: of n numbers none is far from their mean.

    A number less the mean, divided by the standard deviation, is at most ``sqrt(n - 1)`` in magnitude (P. A. Samuelson,
    "How deviant can you be?", Journal of the American Statistical Association 63, 1968); a number divided by the root
    of the mean square at most ``sqrt(n)``.
    """
    x, rank, sizes = op.extent(0), len(op.shape(0)), op.sizes(0)
    kind = op.node.op_type
    if kind == "InstanceNormalization":
        count, channel = prod(sizes[2:]), 1
    else:
        count, channel = prod(sizes[op.integer("axis", -1) % rank :]), rank - 1
    largest = np.nextafter(np.sqrt(float(max(count - (kind != "RMSNormalization"), 0))), np.inf)
    factors = numbers_of(op.constant(1, "scale"))
    moves = op.optional(2, "bias")
    offsets = np.zeros(()) if moves is None else numbers_of(moves)
    if kind == "InstanceNormalization":
        shape = tuple(-1 if a == 1 else 1 for a in range(rank))
        factors, offsets = factors.reshape(shape), offsets.reshape(shape)
    span = np.asarray(-largest), np.asarray(largest)
    interval = intervals.sum_of(intervals.product_of(span, (factors, factors)), (offsets, offsets))
    lo, hi = (side.reshape((1,) * (rank - side.ndim) + side.shape) for side in interval)
    found = between((lo, hi), channel, "its values lie on no grid")
    others = len(op.node.outputs) - 1
    nothing = between((np.asarray(-np.inf), np.asarray(np.inf)), x.axis, "a mean or deviation of a sample")
    return [found, *[nothing] * others]


POOLING: dict[str, Rule] = {
    "ArgMax": selected,
    "ArgMin": selected,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "Hardmax": softmax,
    "InstanceNormalization": normalized,
    "LayerNormalization": normalized,
    "LogSoftmax": log_softmax,
    "MaxPool": max_pool,
    "MaxPoolNHWC": max_pool,
    "QuantAvgPool2d": quant_average,
    "RMSNormalization": normalized,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "ReduceMin": reduce,
    "ReduceSum": reduce,
    "Softmax": softmax,
    "TopK": selected,
}
"""One rule for each operator, by name."""

"""Rules of sums of products: MatMul, Gemm, Conv in both layouts, ConvTranspose, XnorPopcountMatMul.

A product with constant weights is a linear function of its inputs, so its range is reached: each weight takes the end
of its input that its sign asks for. Where a window reaches into padding, fewer terms are added; the range holds every
pattern of padding that occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges import intervals
from qonnx_core.analyses.ranges.elementwise import added, centred, scaled, shifted
from qonnx_core.analyses.ranges.extent import (
    LIMIT,
    Extent,
    IntArray,
    Lattice,
    PartialSums,
    Reals,
    between,
    each,
    moved,
    on_lattice,
    reals,
)
from qonnx_core.analyses.ranges.intervals import FloatArray, Pair
from qonnx_core.analyses.ranges.operation import Operation, Rule, numbers_of
from qonnx_core.analyses.ranges.taps import Mask, patterns, transposed_patterns, transposed_window_of, window_of
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline import ranges
from qonnx_core.passes.streamline.constants import Constant, IntegerWeights, float_attribute, integer_weights
from qonnx_core.passes.streamline.elementwise import at
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.linear import MAX_FACTOR_BITS, offsets_of
from qonnx_core.passes.streamline.representation import commensurate
from qonnx_core.verify.bounded import unit_of

#: Products of two tensors are followed element by element up to so many; beyond, rows and columns are taken as alike.
_MAX_PRODUCTS = 1 << 24
#: So many weights are looked at in one go.
_MAX_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights ``[G, J, O, T]``: for each of G groups, J inputs, O outputs and T window elements.

    ``masks`` holds the patterns ``[P, T]`` of window elements that lie in the tensor; None: any of them may be missing.
    """

    mantissa: FloatArray
    scale: FloatArray
    quantized: Constant
    masks: Mask | None

    @property
    def whole(self) -> bool:
        """Whether every output sums all window elements."""
        return self.masks is not None and bool(self.masks.all())


@dataclass(frozen=True, eq=False)
class _Sums:
    """Range of the sums per group and output ``[G, O]``, and of partial sums, in integers."""

    lattice: Lattice
    sums: PartialSums


def linear(x: Extent, weights: Linear, axis: int) -> Extent:
    """Return sums of weights times inputs, as an extent of shape ``[G * O]``.

    ``x`` has one entry (or one for all) for each of the ``G * J`` inputs along its only axis.
    """
    reason = x.reason
    if x.lattice is not None:
        try:
            found = _integers(x.lattice, weights)
            return on_lattice(found.lattice, axis, found.sums)
        except Unsupported as error:
            reason = str(error)
    groups, per_group = weights.mantissa.shape[:2]
    spread = [np.broadcast_to(array, (groups * per_group,)).reshape(groups, per_group) for array in x.interval]
    return between(_interval((spread[0], spread[1]), weights), axis, reason)


def _interval(x: Pair, weights: Linear) -> Pair:
    """Return float64 bounds of the sums, flat."""
    groups, per_group, outputs, taps = weights.mantissa.shape
    numbers = np.broadcast_to(weights.mantissa * weights.scale, weights.mantissa.shape)
    positive, negative = np.maximum(numbers, 0.0), np.minimum(numbers, 0.0)
    count = per_group * taps
    sides = []
    for own, other, infinity in ((x[0], x[1], -np.inf), (x[1], x[0], np.inf)):
        finite = [np.where(np.isfinite(end), end, 0.0)[:, :, None, None] for end in (own, other)]
        lost = (np.isinf(own)[:, :, None, None] & (numbers > 0)) | (np.isinf(other)[:, :, None, None] & (numbers < 0))
        terms = positive * finite[0] + negative * finite[1]
        margin = (count + 2) * 2.0**-53 * np.abs(terms).sum(axis=1)  # [G, O, T]
        value = np.where(lost.any(axis=1), infinity, terms.sum(axis=1) + np.copysign(margin, infinity))
        exact = _exactly_summed(terms, positive, negative, finite)
        value = np.where(lost.any(axis=1) | ~exact, value, terms.sum(axis=1))
        value = value.reshape(groups * outputs, taps)
        pick = np.minimum if infinity < 0 else np.maximum
        sides.append(_over_patterns(value, np.zeros_like(value), weights.masks, pick))
    return sides[0], sides[1]


def _exactly_summed(terms: FloatArray, positive: FloatArray, negative: FloatArray, ends: list[FloatArray]) -> Mask:
    """Return where every product and every sum ``[G, O, T]`` over all window elements is exact in float64."""
    products = [intervals.multiply(w, e) for w, e in ((positive, ends[0]), (negative, ends[1]))]
    exact = np.logical_and.reduce([low == high for low, high in products])
    axes = (1, 3)
    unit = unit_of(terms, axes)
    fits = np.abs(terms).sum(axis=axes, keepdims=True) <= 2.0**53 * unit
    return np.asarray(np.broadcast_to(exact.all(axis=axes, keepdims=True) & fits, terms.shape).any(axis=1))


def _over_patterns(
    terms: npt.NDArray[np.float64] | IntArray,
    padding: npt.NDArray[np.float64] | IntArray,
    masks: Mask | None,
    pick: np.ufunc,
) -> npt.NDArray[np.float64]:
    """Return the extreme over all patterns of the sum of terms ``[O, T]`` inside and of padding outside."""
    if masks is None:
        return np.asarray(pick(terms, padding).sum(axis=1))
    if terms.dtype.kind == "f":
        infinite = np.isinf(terms)
        if infinite.any():  # 0 times infinity is no number
            reached = (masks[:, None, :] & infinite[None]).any(axis=(0, 2))
            value = _over_patterns(np.where(infinite, 0.0, terms), padding, masks, pick)
            return np.where(reached, -np.inf if pick is np.minimum else np.inf, value)
    inside = masks.astype(terms.dtype)
    return np.asarray(pick.reduce(terms @ inside.T + padding @ (1 - inside).T, axis=1))


def _integers(x: Lattice, weights: Linear) -> _Sums:
    """Return the range of the sums as integers, flat; raises Unsupported where there are none."""
    groups, per_group, outputs, taps = weights.mantissa.shape
    if not weights.whole and not _holds_zero(x):
        finer = centred(x)
        if finer is None:
            raise Unsupported("its padding is 0, which lies on no grid with its input")
        x = finer
    found = integer_weights(weights.quantized)  # [J * T, G * O]
    ints = found.weights.reshape(per_group, taps, groups, outputs).transpose(2, 3, 0, 1)  # [G, O, J, T]
    rows = _per_input(found.row, per_group, taps)
    scale, offset, low, high = (
        np.broadcast_to(array, (groups * per_group,)).reshape(groups, per_group) for array in x.arrays
    )
    units, factors = _factors(scale, rows)
    folded = ints * factors[:, None, :, None] if (factors != 1).any() else ints
    padding = np.zeros((groups * outputs, taps), np.int64)
    if not weights.whole:
        zeros = _zero_points(scale, offset)
        if zeros.any():
            padding = ranges.matmul_range(zeros[:, None], zeros[:, None], folded, None)[0].reshape(padding.shape)
    step = max(1, _MAX_AT_ONCE // max(groups * per_group * taps, 1))
    sides = zip(*(
        chain(*ranges.matmul_ranges(low[:, None], high[:, None], folded[:, start : start + step]))
        for start in range(0, outputs, step)
    ), strict=True)  # fmt: skip
    parts = [np.concatenate(side, axis=1).reshape(groups * outputs, taps) for side in sides]
    if sum(float(np.abs(p).max(initial=0)) for p in (*parts, padding)) * taps >= LIMIT:
        raise Unsupported("its sums exceed 2**53 and are no longer exact in float64; use fewer bits")
    least = _over_patterns(parts[0], padding, weights.masks, np.minimum).astype(np.int64)
    most = _over_patterns(parts[1], padding, weights.masks, np.maximum).astype(np.int64)
    some = [
        _over_patterns(part, pick(padding, 0), weights.masks, pick).astype(np.int64)
        for part, pick in zip(parts[2:], (np.minimum, np.maximum), strict=True)
    ]
    gains = _gains(units, found, groups * outputs)
    offsets = _offsets(found, ints, offset, weights)
    return _Sums(Lattice(gains, offsets, least, most), PartialSums(some[0], some[1]))


def _per_input(row: Sequence[Real], per_group: int, taps: int) -> list[Real]:
    """Return the factor of each input of a group; raises Unsupported where it differs between window elements."""
    if len(row) == 1:
        return [row[0]] * per_group
    table = [row[j * taps : (j + 1) * taps] for j in range(per_group)]
    if any(entry != entries[0] for entries in table for entry in entries):
        raise Unsupported("its weights have a scale for each window element")
    return [entries[0] for entries in table]


def _factors(scale: Reals, rows: Sequence[Real]) -> tuple[list[Real], IntArray]:
    """Return for each group the unit of its inputs' scales times weight factors, and the integers of each input."""
    units: list[Real] = []
    factors: list[list[int]] = []
    known: dict[tuple[int, ...], tuple[Real, list[int]]] = {}
    alike = all(row is rows[0] or row == rows[0] for row in rows)
    for group in scale:
        key = tuple(id(s) for s in group)
        if key not in known:
            same = alike and all(s is group[0] or s == group[0] for s in group)
            gains = (group[0] * rows[0],) if same else tuple(s * r for s, r in zip(group, rows, strict=True))
            unit, ints = commensurate(gains, "its input channels' scales", MAX_FACTOR_BITS)
            known[key] = unit, ints * len(group) if same else ints
        units.append(known[key][0])
        factors.append(known[key][1])
    return units, np.asarray(factors, np.int64)


def _holds_zero(x: Lattice) -> bool:
    """Return whether 0 is on the grid of every channel."""
    ratios = each(lambda s, o: o / s, x.scale, x.offset).reshape(-1)
    return all(isinstance(ratio, Fraction) and ratio.denominator == 1 for ratio in ratios)


def _zero_points(scale: Reals, offset: Reals) -> IntArray:
    """Return the integer that stands for 0 in each channel, on whose grid it lies."""

    def zero(s: Real, o: Real) -> int:
        ratio = -o / s
        if not isinstance(ratio, Fraction) or abs(ratio) >= LIMIT:
            raise Unsupported("the integer of its padding needs more than 53 bits")
        return int(ratio)

    return each(zero, scale, offset).astype(np.int64)


def _gains(units: Sequence[Real], weights: IntegerWeights, count: int) -> Reals:
    if len(units) > 1 and all(unit is units[0] or unit == units[0] for unit in units):
        units = units[:1]
    if len(units) == 1 and len(weights.column) == 1:
        return reals([units[0] * weights.column[0]])
    per_group = count // len(units)
    return reals([units[n // per_group] * at(weights.column, n) for n in range(count)])


def _offsets(found: IntegerWeights, ints: IntArray, offset: Reals, weights: Linear) -> Reals:
    """Return what the offsets of the inputs add up to in each output (padding counts as the integer of 0)."""
    if all(o == 0 for o in {id(o): o for o in offset.reshape(-1)}.values()):
        return reals([Fraction(0)])
    groups, per_group, outputs, taps = weights.mantissa.shape
    rows = _per_input(found.row, per_group, taps)
    result: list[Real] = []
    for g in range(groups):
        column = tuple(at(found.column, g * outputs + o) for o in range(outputs))
        totals = offsets_of(ints[g].sum(axis=2).T, tuple(rows), tuple(offset[g]), column)
        result += [at(totals, o) for o in range(outputs)]
    return reals(result)


# --- matrices ---------------------------------------------------------------------------------------------------------


def _matrix(x: Extent, weights: Constant, axis: int) -> Extent:
    """Return ``x @ weights`` for a matrix ``[K, N]``; the arrays of the result have as many axes as x."""
    rank = x.lo.ndim
    count, outputs = weights.mantissa.shape
    known = np.broadcast_shapes(*(array.shape for array in x.arrays))
    rows = prod(known[:-1])
    if rows > 1 and rows * count * outputs > _MAX_PRODUCTS:
        x = x.hull(tuple(range(rank - 1)))
        known = known[-1:]
        rows = 1
    parts = [_row(x, known, row) for row in range(rows)]
    layer = Linear(
        weights.mantissa.reshape(1, count, outputs, 1), weights.scale.reshape(1, *weights.scale.shape, 1),
        Constant(weights.mantissa, _ranked2(weights.scale), weights.datatype), np.ones((1, 1), bool),
    )  # fmt: skip
    results = [linear(part, layer, axis) for part in parts]
    lead = known[:-1] if rows > 1 else (1,) * (rank - 1)
    return _stacked(results, lead, outputs, axis)


def _row(x: Extent, known: tuple[int, ...], row: int) -> Extent:
    """Return one row of x as an extent of rank 1."""

    def pick(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if array.size == 1 or array.shape[-1] == array.size:
            return array.reshape(-1)
        return np.asarray(np.broadcast_to(array, known).reshape(-1, known[-1])[row])

    lattice = x.lattice
    if lattice is not None:
        scale, offset, low, high = (pick(array) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    return replace(x, lo=pick(x.lo), hi=pick(x.hi), lattice=lattice)


def _stacked(results: list[Extent], lead: tuple[int, ...], outputs: int, axis: int) -> Extent:
    """Return rows of results as one extent with leading axes."""

    def stack(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.stack([np.broadcast_to(a, (outputs,)) for a in arrays]).reshape((*lead, outputs))

    first = results[0]
    lo, hi = (stack([getattr(r, name) for r in results]) for name in ("lo", "hi"))
    if any(r.lattice is None for r in results):
        reason = next(r.reason for r in results if r.lattice is None)
        return between((lo, hi), axis, reason)
    lattices = [r.lattice for r in results if r.lattice is not None]
    low, high = (stack([getattr(entry, name) for entry in lattices]) for name in ("low", "high"))
    scale, offset = (_stacked_reals([getattr(entry, name) for entry in lattices], lead) for name in ("scale", "offset"))
    lattice = Lattice(scale, offset, low, high)
    sums = [r.sums for r in results if r.sums is not None]
    partial = PartialSums(
        np.minimum.reduce([s.low for s in sums]), np.maximum.reduce([s.high for s in sums])
    ) if len(sums) == len(results) else None  # fmt: skip
    return replace(first, lo=lo, hi=hi, lattice=lattice, sums=partial, axis=axis, rounded=False)


def _stacked_reals(rows: list[Reals], lead: tuple[int, ...]) -> Reals:
    """Return the exact numbers of rows; one row where all are alike."""
    first = rows[0]
    if all(row.shape == first.shape and bool(np.all(row == first)) for row in rows[1:]):
        return first.reshape((*(1,) * len(lead), -1))
    outputs = max(row.size for row in rows)
    return np.stack([np.broadcast_to(row, (outputs,)) for row in rows]).reshape((*lead, outputs))


def _scale_of(weights: Constant, shape: tuple[int, ...]) -> FloatArray:
    """Return the scale of reshaped weights; an axis of size 1 stands for all positions along it.

    ``shape`` splits the first axis of the weights in two, or adds an axis in front, and joins those behind the second.
    """
    scale = weights.scale
    if scale.size == 1:
        return scale.reshape((1,) * len(shape))
    kernel = scale.shape[2:]
    if prod(kernel) not in (1, shape[3]):
        scale = np.broadcast_to(scale, (*scale.shape[:2], *weights.shape[2:]))
    first = shape[:2] if scale.shape[0] == shape[0] * shape[1] else (1, 1)
    return scale.reshape((*first, scale.shape[1], -1))


def _ranked2(scale: FloatArray) -> FloatArray:
    return scale.reshape((1, 1)) if scale.size == 1 else scale


def _transposed(weights: Constant) -> Constant:
    return Constant(weights.mantissa.T, weights.scale.T, weights.datatype, None)


def _without_last(x: Extent) -> Extent:
    """Return x without its last axis, which holds one element."""

    def first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(array[..., 0])

    lattice = x.lattice
    if lattice is not None:
        scale, offset, low, high = (first(array) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    return replace(x, lo=first(x.lo), hi=first(x.hi), lattice=lattice, axis=max(x.axis - 1, 0))


def _swapped(x: Extent) -> Extent:
    """Return x with its last two axes exchanged."""

    def swap(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.swapaxes(array, -1, -2)

    lattice = x.lattice
    if lattice is not None:
        scale, offset, low, high = (swap(array) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    return replace(x, lo=swap(x.lo), hi=swap(x.hi), lattice=lattice)


def matmul(op: Operation) -> list[Extent]:
    """MatMul with a constant matrix on either side, or of two tensors."""
    left, right = op.inputs[:2]
    ranks = [len(op.shape(i)) for i in (0, 1)]
    if isinstance(right, Constant) and ranks[1] == 1 < ranks[0]:
        column = Constant(right.mantissa[:, None], right.scale[:, None], right.datatype)
        return [_without_last(_matrix(op.extent(0), column, ranks[0] - 1))]
    if min(ranks) < 2:
        raise Unsupported("a product with a vector that is no constant on the right")
    if isinstance(right, Constant) and ranks[1] == 2:
        return [_matrix(op.extent(0), right, ranks[0] - 1)]
    if isinstance(left, Constant) and ranks[0] == 2:
        return [_swapped(_matrix(_swapped(op.extent(1)), _transposed(left), ranks[1] - 1))]
    a, b = op.extent(0), op.extent(1)
    return [_two_tensors(a, b, op.shape(0)[-1] or op.shape(1)[-2], max(ranks) - 1)]


def _two_tensors(a: Extent, b: Extent, count: int | None, axis: int) -> Extent:
    """Return the product of two tensors that are taken as independent."""
    if count is None:
        raise Unsupported("the number of products that are summed is not known")
    shapes = [np.broadcast_shapes(*(array.shape for array in x.arrays)) for x in (a, b)]
    work = prod(shapes[0]) * shapes[1][-1] * max(1, prod(shapes[1][:-2]) // max(prod(shapes[0][:-2]), 1))
    if work > _MAX_PRODUCTS:
        a, b = a.hull(tuple(range(a.lo.ndim - 1))), b.hull((*range(b.lo.ndim - 2), b.lo.ndim - 1))

    def lefts(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array[..., :, :, None]

    def rights(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array[..., None, :, :]

    products = intervals.product_of(
        (lefts(a.lo), lefts(a.hi)),
        (rights(b.lo), rights(b.hi)),
    )
    repeats = count // products[0].shape[-2]
    total = intervals.summed(products, -2)
    times = np.asarray(float(repeats))
    interval = tuple(np.squeeze(side, -2) for side in intervals.product_of(total, (times, times)))
    reason = a.reason or b.reason or "a product of two tensors whose grids do not hold 0"
    nowhere = between((interval[0], interval[1]), axis, reason)
    left, right = (None if x.lattice is None else centred(x.lattice) for x in (a, b))
    if left is None or right is None:
        return nowhere
    if left.scale.shape[-1] > 1 or right.scale.shape[-2] > 1:
        return replace(nowhere, reason="its terms lie on different grids")
    sizes = [max(int(np.abs(x.low).max()), int(np.abs(x.high).max())) for x in (left, right)]
    if sizes[0] * sizes[1] * count >= LIMIT:
        return replace(nowhere, reason="its integers need more than 53 bits")
    corners = np.broadcast_arrays(*(
        lefts(i) * rights(j) for i in (left.low, left.high) for j in (right.low, right.high)
    ))  # fmt: skip
    least, most = np.minimum.reduce(corners), np.maximum.reduce(corners)
    low, high = (side.sum(axis=-2) * repeats for side in (least, most))
    below, above = np.minimum(least, 0).sum(axis=-2) * repeats, np.maximum(most, 0).sum(axis=-2) * repeats
    scale = np.asarray(left.scale[..., :, :1] * right.scale[..., :1, :], object)
    offset = np.full((1,) * scale.ndim, Fraction(0), object)
    return on_lattice(Lattice(scale, offset, low, high), axis, PartialSums(below, above))


def gemm(op: Operation) -> list[Extent]:
    """Gemm: ``alpha * A @ B + beta * C``."""
    left, right = op.inputs[:2]
    alpha, beta = (float_attribute(op.node, name, 1.0) for name in ("alpha", "beta"))
    flipped = [bool(op.integer(name, 0)) for name in ("transA", "transB")]
    if isinstance(right, Constant):
        x = _swapped(op.extent(0)) if flipped[0] else op.extent(0)
        result = _matrix(x, _transposed(right) if flipped[1] else right, 1)
    elif isinstance(left, Constant):
        x = op.extent(1) if flipped[1] else _swapped(op.extent(1))
        result = _swapped(_matrix(x, left if flipped[0] else _transposed(left), 1))
    else:
        a, b = (_swapped(op.extent(i)) if flip else op.extent(i) for i, flip in enumerate(flipped))
        inner = op.shape(0)[0 if flipped[0] else 1]
        result = _two_tensors(a, b, inner, 1)
    if alpha != 1:
        result = replace(scaled(result, np.full((1, 1), alpha, object)), sums=result.sums)
    addend = op.inputs[2] if len(op.inputs) > 2 else None
    if addend is None:
        return [result]
    if isinstance(addend, Constant):
        factor = float(beta)
        moved_by = addend if factor == 1 else Constant(addend.mantissa * factor, addend.scale)
        return [replace(shifted(result, moved_by), sums=result.sums)]
    other = addend if beta == 1 else scaled(addend, np.full((1, 1), beta, object))
    return [added(result, other)]


def xnor_popcount(op: Operation) -> list[Extent]:
    """XnorPopcountMatMul: ``(matmul(2 a - 1, 2 b - 1) + K) / 2`` with constant b, else any count up to K."""
    weights = op.inputs[1]
    rank = len(op.shape(0))
    count = op.shape(0)[-1]
    if isinstance(weights, Constant) and weights.mantissa.ndim == 2:
        signs = numbers_of(weights) * 2 - 1
        sums = _matrix(op.extent(0), Constant(signs, np.ones((1, 1))), rank - 1)
        constant = (1 - numbers_of(weights)).sum(axis=0)
        result = shifted(sums, Constant(constant.reshape((1,) * (rank - 1) + (-1,)), np.ones((1,) * rank)))
        plain = None if result.lattice is None else centred(result.lattice)
        if plain is None:
            return [result]
        return [on_lattice(plain, rank - 1, PartialSums(np.zeros_like(plain.high), plain.high))]
    if count is None:
        raise Unsupported("the number of pairs is not known")
    from qonnx_core.analyses.ranges.curves import whole_numbers

    ends = [np.full((1,) * rank, number) for number in (0.0, float(count))]
    return [on_lattice(whole_numbers(ends[0], ends[1]), rank - 1)]


# --- convolutions -----------------------------------------------------------------------------------------------------


def conv(op: Operation) -> list[Extent]:
    """Conv, channels on axis 1, or on the last axis in the domain of channels last."""
    weights = op.constant(1, "weights")
    last = bool(op.node.domain)
    if last:
        weights = _first(weights)
    rank = weights.mantissa.ndim
    axis = rank - 1 if last else 1
    spatial = [a for a in range(1, rank) if a != axis]
    shape = op.shape(0)
    if rank < 3 or len(shape) != rank:
        raise Unsupported(f"data of {len(shape)} axes and weights of {rank}; a convolution has as many of both")
    groups = op.integer("group", 1)
    outputs, per_group, *kernel = weights.mantissa.shape
    sizes = tuple(shape[a] for a in spatial)
    masks = patterns(window_of(op, tuple(kernel), sizes), sizes)
    order = (groups, outputs // groups, per_group, prod(kernel))
    layer = _layer(weights, order, (0, 2, 1, 3), masks)
    return [_convolved(op, layer, axis, groups * per_group)]


def conv_transpose(op: Operation) -> list[Extent]:
    """ConvTranspose; each output sums the window elements that reach it."""
    weights = op.constant(1, "weights")
    shape = op.shape(0)
    groups = op.integer("group", 1)
    inputs, outputs, *kernel = weights.mantissa.shape
    sizes, results = shape[2:], op_results(op)[2:]
    window = transposed_window_of(op, tuple(kernel), sizes)
    masks = None if window is None else transposed_patterns(window, sizes, results)
    order = (groups, inputs // groups, outputs, prod(kernel))
    layer = _layer(weights, order, (0, 1, 2, 3), masks)
    return [_convolved(op, layer, 1, inputs)]


def op_results(op: Operation) -> tuple[int | None, ...]:
    """Return the shape of the first output, with None for unknown sizes."""
    from qonnx_core.analyses.ranges.operation import shape_of

    found = shape_of(op.node.outputs[0])
    return found if found is not None else (None,) * len(op.shape(0))


def _first(weights: Constant) -> Constant:
    """Return channels-last weights ``(O, ..., I)`` as ``(O, I, ...)``."""
    scale = weights.scale
    moved_scale = np.moveaxis(scale, -1, 1) if scale.ndim == weights.mantissa.ndim else scale
    return Constant(np.moveaxis(weights.mantissa, -1, 1), moved_scale, weights.datatype)


def _layer(weights: Constant, shape: tuple[int, ...], order: tuple[int, ...], masks: Mask | None) -> Linear:
    """Return weights, reshaped and with axes brought into the order (group, input, output, window element)."""
    mantissa = weights.mantissa.reshape(shape).transpose(order)
    groups, per_group, outputs, taps = mantissa.shape
    scale = _scale_of(weights, shape)
    if scale.size > 1:
        scale = scale.transpose(order)

    def flat(array: FloatArray) -> FloatArray:  # [J * T, G * O]
        return array.transpose(1, 3, 0, 2).reshape(per_group * taps, groups * outputs)

    scales = scale.transpose(1, 3, 0, 2)  # either pair of axes is one number where all are alike
    rows = (1, 1) if scales.shape[:2] == (1, 1) else (per_group, taps)
    columns = (1, 1) if scales.shape[2:] == (1, 1) else (groups, outputs)
    table = np.broadcast_to(scales, (*rows, *columns)).reshape(prod(rows), prod(columns))
    return Linear(mantissa, scale, Constant(flat(mantissa), table, weights.datatype), masks)


def _convolved(op: Operation, layer: Linear, axis: int, channels: int) -> Extent:
    x = op.extent(0)
    rank = len(op.shape(0))
    x = x.hull([a for a in range(rank) if a != axis])
    flat = moved(x, tuple(channels if a == axis else 1 for a in range(rank)), lambda places: places.reshape(-1), 0)
    result = linear(flat, layer, axis)
    groups, _, outputs, _ = layer.mantissa.shape
    shape = tuple(groups * outputs if a == axis else 1 for a in range(rank))

    def spread(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array.reshape((1,) * rank) if array.size == 1 else array.reshape(shape)

    lattice = result.lattice
    if lattice is not None:
        scale, offset, low, high = (spread(array) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    result = replace(result, lo=spread(result.lo), hi=spread(result.hi), lattice=lattice, axis=axis)
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is None:
        return result
    if isinstance(bias, Constant):
        scale = bias.scale.reshape((1,) * rank) if bias.scale.size == 1 else bias.scale.reshape(shape)
        return replace(shifted(result, Constant(bias.mantissa.reshape(shape), scale)), sums=result.sums)
    return added(result, moved(bias, (channels,), lambda places: places.reshape(shape), axis))


PRODUCTS: dict[str, Rule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "XnorPopcountMatMul": xnor_popcount,
}
"""One rule for each operator, by name."""

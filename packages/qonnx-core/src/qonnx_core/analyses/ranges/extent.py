"""What is known about a tensor: an interval for its elements, and the lattice of numbers that they can be.

Every array of an extent has the rank of its tensor; an axis of size 1 stands for all positions along it. A tensor of
shape ``(N, C, H, W)`` that differs by channel only has arrays of shape ``(1, C, 1, 1)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges import intervals
from qonnx_core.analyses.ranges.intervals import FloatArray, Pair
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.exact import Real

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Reals = npt.NDArray[np.object_]
Shape = tuple[int | None, ...]

#: Integers beyond this are left alone: float64, and so every exact execution, ends here.
LIMIT = 1 << 53
#: An operator that moves elements follows each of them in tensors of at most this many, else all are taken as alike.
MAX_ELEMENTS = 1 << 22
#: So many ends that float64 does not hold are rounded from their exact numbers.
_MAX_EXACT = 512
#: Numbers of more bits, or made of more numbers, are not followed: without a quantizer they grow from node to node.
_MAX_BITS = 960
_MAX_TERMS = 128


def reals(numbers: Sequence[Real], shape: Sequence[int] = ()) -> Reals:
    """Return exact numbers as an array."""
    result = np.empty(len(numbers), object)
    result[:] = list(numbers)
    return result.reshape(tuple(shape) or (len(numbers),))


def each(function: Callable[..., Any], *arrays: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """Return the function of the elements of broadcast arrays of exact numbers, called once for the same objects."""
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    columns = [np.broadcast_to(array, shape).reshape(-1).tolist() for array in arrays]
    keys = list(zip(*(map(id, column) for column in columns), strict=True))
    elements = dict(zip(keys, zip(*columns, strict=True), strict=True))
    known = {key: function(*found) for key, found in elements.items()}
    return np.fromiter(map(known.__getitem__, keys), object, len(keys)).reshape(shape)


@dataclass(frozen=True, eq=False)
class Lattice:
    """``value = scale * k + offset`` with an integer k from ``low`` to ``high`` and a scale above 0.

    ``datatype`` is what a quantizer or an input's grid declares of k, where one does.
    """

    scale: Reals
    offset: Reals
    low: IntArray
    high: IntArray
    datatype: DataType | None = None

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The four arrays."""
        return self.scale, self.offset, self.low, self.high

    @property
    def step(self) -> int:
        """Distance of neighbouring k: between -1 and 1 lies nothing that is bipolar."""
        return 2 if self.datatype == DataType.BIPOLAR else 1

    @cached_property
    def ends(self) -> tuple[Pair, Pair]:
        """Bounds of the values of ``low`` and of ``high``, each twice where float64 holds it."""
        scale, offset = floats(self.scale), floats(self.offset)
        return self._end(self.low, scale, offset), self._end(self.high, scale, offset)

    def _end(self, k: IntArray, scale: Pair, offset: Pair) -> Pair:
        numbers = np.asarray(k.astype(np.float64))
        below, above = intervals.sum_of(intervals.product_of(scale, (numbers, numbers)), offset)
        # 255 * (1 / 255) is a float64 though 1 / 255 is none
        wide = np.argwhere((below != above) & ((scale[0] != scale[1]) | (offset[0] != offset[1])))
        if len(wide) <= _MAX_EXACT:
            full = [np.broadcast_to(array, below.shape) for array in (self.scale, self.offset, k)]
            for place in map(tuple, wide):
                value = full[0][place] * int(full[2][place]) + full[1][place]
                if isinstance(value, Fraction):
                    below[place], above[place] = enclosed(value)
        return below, above


@dataclass(frozen=True, eq=False)
class PartialSums:
    """The smallest and largest sum of any of the terms, per channel, in units of the lattice.

    ``total`` has those of all terms where the tensor holds something else that is made of their sum; it is in the same
    units then, with the axes of the tensor.
    """

    low: IntArray
    high: IntArray
    total: tuple[IntArray, IntArray] | None = None


@dataclass(frozen=True, eq=False)
class Extent:
    """The interval of each element, its lattice or the reason why there is none, and the axis of the channels.

    ``rounded`` marks an input whose elements are the float32 numbers nearest to the lattice; its interval holds both.
    ``sums`` is there where integers are summed.
    """

    lo: FloatArray
    hi: FloatArray
    axis: int
    lattice: Lattice | None = None
    reason: str = ""
    rounded: bool = False
    sums: PartialSums | None = None
    shape: Shape | None = None

    @property
    def interval(self) -> Pair:
        """Lower and upper bounds."""
        return self.lo, self.hi

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All arrays."""
        return (self.lo, self.hi, *(self.lattice.arrays if self.lattice is not None else ()))

    @property
    def bounded(self) -> bool:
        """Whether every element has finite bounds."""
        return bool(np.isfinite(self.lo).all() and np.isfinite(self.hi).all())

    def ends(self) -> tuple[Pair, Pair]:
        """Return bounds of the smallest and of the largest value: pairs of equal numbers where these are known."""
        if self.lattice is None or self.rounded:
            return (self.lo, self.lo), (self.hi, self.hi)
        return self.lattice.ends

    def whole(self) -> Extent:
        """Return the same extent for all elements of the tensor, in arrays of rank 0."""
        rank = max(array.ndim for array in self.arrays)
        return self.ranked(rank).hull(range(rank), keep=False)

    def ranked(self, rank: int) -> Extent:
        """Return the extent with arrays of at least this rank, with axes of size 1 in front."""
        lattice = self.lattice
        if lattice is not None:
            scale, offset, low, high = (_ranked(array, rank) for array in lattice.arrays)
            lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
        return replace(self, lo=_ranked(self.lo, rank), hi=_ranked(self.hi, rank), lattice=lattice)

    def hull(self, axes: Sequence[int], *, keep: bool = True) -> Extent:
        """Return the extent that holds all positions along the axes; these get size 1, or go."""
        where = tuple(axes)

        def least(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(array.min(axis=where, keepdims=keep))

        def most(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(array.max(axis=where, keepdims=keep))

        lattice, reason = self.lattice, self.reason
        if lattice is not None:
            alike = [_alike(array, where, keep) for array in (lattice.scale, lattice.offset)]
            if alike[0] is None or alike[1] is None:
                lattice, reason = None, reason or "its elements lie on different grids, and are treated alike here"
            else:
                low, high = np.broadcast_arrays(lattice.low, lattice.high)
                lattice = replace(lattice, scale=alike[0], offset=alike[1], low=least(low), high=most(high))
        lo, hi = least(self.lo), most(self.hi)
        return replace(self, lo=lo, hi=hi, lattice=lattice, reason=reason, sums=None)


def on_lattice(lattice: Lattice, axis: int, sums: PartialSums | None = None) -> Extent:
    """Return the extent of a lattice, or of its bounds alone where its numbers are too long to be followed further."""
    numbers: dict[int, Real] = {id(n): n for part in (lattice.scale, lattice.offset) for n in part.reshape(-1)}
    if any(map(_is_long, numbers.values())):
        interval = lattice.ends[0][0], lattice.ends[1][1]
        return between(
            interval, axis, "its scale or offset is a number of too many digits; put a quantizer before this node"
        )
    return Extent(lattice.ends[0][0], lattice.ends[1][1], axis, lattice, sums=sums)


def _is_long(number: Real) -> bool:
    """Return whether an exact number is made of a long one, or of many."""
    open_: list[Real] = [number]
    for _ in range(_MAX_TERMS):
        if not open_:
            return False
        part = open_.pop()
        if isinstance(part, Fraction):
            top, bottom = part.as_integer_ratio()
            if top.bit_length() > _MAX_BITS or bottom.bit_length() > _MAX_BITS:
                return True
        else:
            open_ += (part.p, part.q, part.d) if isinstance(part, exact.Surd) else part.arguments
    return bool(open_)


def between(interval: Pair, axis: int, reason: str) -> Extent:
    """Return the extent of an interval that lies on no lattice, and why."""
    lo, hi = np.broadcast_arrays(*interval)
    return Extent(np.asarray(lo), np.asarray(hi), axis, None, reason)


def unbounded(reason: str, axis: int = 0) -> Extent:
    """Return the extent of a tensor of which nothing is known, and why."""
    return Extent(np.asarray(-np.inf), np.asarray(np.inf), axis, None, reason)


def fitted(x: Extent, shape: Shape | None) -> Extent:
    """Return the extent with arrays of the rank of the shape, whose axes are as long as there, or 1."""
    if shape is None:
        return replace(x.whole(), shape=None)
    rank = len(shape)
    if any(array.ndim > rank for array in x.arrays):
        x = x.whole()
    own = max(array.ndim for array in x.arrays)
    if 0 < own < rank:
        x = replace(x, axis=x.axis + rank - own)
    x = x.ranked(rank)
    extra = [a for a in range(rank) if any(array.shape[a] not in (1, shape[a]) for array in x.arrays)]
    if extra:
        x = x.hull(extra)
    axis = x.axis if x.axis < rank else max(rank - 1, 0)
    return replace(x, shape=shape, axis=axis)


def moved(x: Extent, sizes: Sequence[int], function: Callable[[IntArray], IntArray], axis: int) -> Extent:
    """Return the extent with its elements where a NumPy function puts them; ``sizes`` is the whole tensor's shape."""
    known = np.broadcast_shapes(*(array.shape for array in x.arrays))
    if prod(sizes) > MAX_ELEMENTS or len(known) != len(sizes):
        return x.whole()
    places = np.broadcast_to(np.arange(prod(known)).reshape(known), tuple(sizes))
    index = _collapsed(np.asarray(function(places)))

    def take(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if array.size == 1:
            return np.asarray(array.reshape((1,) * index.ndim))
        return np.asarray(np.broadcast_to(array, known).reshape(-1)[index])

    lattice = x.lattice
    if lattice is not None:
        scale, offset, low, high = (take(array) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    return replace(x, lo=take(x.lo), hi=take(x.hi), lattice=lattice, axis=axis, sums=None)


def enclosed(value: Real) -> tuple[float, float]:
    """Return the float64 that is the value, twice, or two around it."""
    if isinstance(value, Fraction):
        top, bottom = value.as_integer_ratio()
        short = not bottom & (bottom - 1) and bottom.bit_length() < 900 and top.bit_length() <= 53
        if short or not top:
            return top / bottom, top / bottom
    return exact.float_bounds(value)


def floats(values: Reals) -> Pair:
    """Return bounds of exact numbers; one array twice where float64 holds them all."""
    pairs = np.asarray(each(enclosed, values).reshape(-1).tolist(), np.float64).reshape(-1, 2)
    below, above = (pairs[:, side].reshape(values.shape) for side in (0, 1))
    return (below, below) if (below == above).all() else (below, above)


def _alike(array: Reals, axes: tuple[int, ...], keep: bool) -> Reals | None:
    """Return the array with axes of size 1 (or without them) where all entries along them are equal."""
    result = array
    for axis in sorted(axes, reverse=True):
        first = result.take([0], axis=axis)
        if result.shape[axis] > 1 and not bool(np.all(each(_equal, result, first))):
            return None
        result = np.asarray(first if keep else first.take(0, axis=axis), object)
    return result


def _equal(a: Real, b: Real) -> bool:
    return a is b or a == b


def _ranked(array: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _collapsed(index: IntArray) -> IntArray:
    for axis in range(index.ndim):
        if index.shape[axis] > 1:
            first = index.take([0], axis=axis)
            if (index == first).all():
                index = first
    return index

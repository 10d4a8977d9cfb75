"""What the range analysis says about each tensor, for people, files and other parts of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.analyses.ranges.extent import Extent, Lattice, each
from qonnx_core.analyses.ranges.walk import Walk
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.ranges import smallest_datatype

#: Tensors with more elements that differ are described as a whole.
MAX_CHANNELS = 1 << 17


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What is proven about one tensor; every bound holds for all inputs on their grids. Channels lie along ``axis``.

    ``value = scale * k + offset`` with the scale and offset of ``grid``; ``low`` and ``high`` bound the integers k, one
    entry per channel (or one, where all channels are alike), and ``integers`` is the narrowest type that holds them.
    ``values`` encloses the tensor's exact values, ``channel_values`` those of each channel. ``whole`` is the narrowest
    integer type of the values themselves, where all are whole numbers. ``stuck`` lists channels that have one value
    for every input, ``zero_stuck`` those where it is 0.

    Where integers are summed (a product, a pooling, an addition of tensors), ``accumulator`` is the narrowest type of
    the result: enough for an adder that wraps around, because partial sums beyond it come back.
    ``partial_sums`` is the narrowest type of every partial sum in any order: enough for an adder that must not wrap.
    ``accumulators`` has the former per channel. All three are of the products alone: a bias is added outside, and is
    part of ``values`` and of the grid's offset. ``reason`` says why there is no grid.
    """

    name: str
    op_type: str
    grid: Grid | None = None
    integers: DataType | None = None
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    values: tuple[float, float] | None = None
    stuck: tuple[int, ...] = ()
    reason: str = ""
    accumulator: DataType | None = None
    partial_sums: DataType | None = None
    accumulators: tuple[DataType, ...] = ()
    channels: int = 1
    channel_values: tuple[tuple[float, float], ...] = ()
    zero_stuck: tuple[int, ...] = ()
    whole: DataType | None = None
    axis: int = 0

    def to_dict(self, *, channels: bool = False) -> dict[str, Any]:
        """Return plain JSON values; the bounds of every channel only where asked for."""
        result: dict[str, Any] = {
            "name": self.name,
            "op_type": self.op_type,
            "grid": _text(self.grid),
            "integers": _text(self.integers),
            "whole": _text(self.whole),
            "accumulator": _text(self.accumulator),
            "partial_sums": _text(self.partial_sums),
            "low": min(self.low) if self.low else None,
            "high": max(self.high) if self.high else None,
            "values": None if self.values is None else list(self.values),
            "num_channels": self.channels,
            "channel_axis": self.axis,
            "stuck_channels": list(self.stuck),
            "zero_stuck_channels": list(self.zero_stuck),
            "reason": self.reason,
        }
        if channels:
            result["channels"] = {
                "low": list(self.low),
                "high": list(self.high),
                "values": [list(pair) for pair in self.channel_values],
                "accumulators": [str(datatype) for datatype in self.accumulators],
            }
        return result


def tensor_ranges(
    model: ir.Model,
    input_grids: Mapping[str, Grid],
    input_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, TensorRange]:
    """Return what is proven about every tensor of a cleaned QONNX model, by name, in the order of the graph.

    The bounds are those of the exact meaning of the model: its constants as the float32 numbers in the file, sums and
    products without rounding errors, quantizers rounding by their modes. A float32 execution has the same values where
    its sums are exact (scales that are powers of two), and differs elsewhere by the rounding that
    ``qonnx_core.verify`` bounds; a value that it rounds across a quantizer's step can lie one step outside.

    Each layer by itself is tight: a linear layer reaches both ends of each channel, because its inputs are taken as
    independent, and so does every function that rises or falls. Padding counts with every pattern that occurs. Tensors
    that depend on each other (both sides of a residual sum, a layer behind a layer) are taken as independent too, which
    can only make ranges wider.

    An input on a grid that float32 does not hold (``UINT8*1/255``) is the float32 nearest to its number up to the first
    sum, and the number itself from there on, as in the integer form.

    Args:
        model: a cleaned model; it is not changed.
        input_grids: the grids of model inputs, by name. An input without one is unbounded, up to a quantizer.
        input_ranges: smallest and largest value of inputs that lie on no grid.

    Raises:
        InvalidInput: a name is no input, or a grid does not fit its input.
    """
    walk = Walk(model, input_grids, input_ranges or {})
    result: dict[str, TensorRange] = {}
    tensors = [(value, "input") for value in model.graph.inputs if not value.is_initializer()]
    tensors += [(value, node.op_type) for node in model.graph for value in node.outputs]
    for value, op_type in tensors:
        extent = walk.extent(value)
        if extent is not None and value.name:
            result[value.name] = _described(value.name, op_type, extent, input_grids.get(value.name))
    return result


def _described(name: str, op_type: str, extent: Extent, given: Grid | None) -> TensorRange:
    if max(array.size for array in extent.arrays) > MAX_CHANNELS:
        extent = extent.hull(range(extent.lo.ndim))
    extent = replace(extent, axis=_axis(extent))
    others = tuple(a for a in range(extent.lo.ndim) if a != extent.axis)
    arrays = extent.arrays
    count = max((array.shape[extent.axis] for array in arrays if array.ndim), default=1)
    lows, highs = _channels(extent.lo, others, np.min, count), _channels(extent.hi, others, np.max, count)
    lattice = extent.lattice
    sizes = extent.shape[extent.axis] if extent.shape else 1
    channels = int(sizes) if isinstance(sizes, int) else count
    values = (float(lows.min()), float(highs.max()))
    pairs = tuple((float(a), float(b)) for a, b in zip(lows, highs, strict=True))
    if lattice is None:
        stuck = _all_or_listed([c for c, (a, b) in enumerate(pairs) if a == b], count, channels)
        zero = _all_or_listed([c for c, (a, b) in enumerate(pairs) if a == b == 0], count, channels)
        bounded = None if values == (-np.inf, np.inf) else values
        return TensorRange(
            name, op_type, reason=extent.reason, values=bounded, stuck=stuck, zero_stuck=zero, channels=channels,
            channel_values=pairs if bounded is not None else (), axis=extent.axis,
        )  # fmt: skip
    ints = [_channels(side, others, pick, count) for side, pick in ((lattice.low, np.min), (lattice.high, np.max))]
    low, high = (tuple(int(k) for k in side) for side in ints)
    grid, reason = (given, "") if given is not None else _grid(lattice, extent.axis)
    integers = smallest_datatype(min(low), max(high))
    constant = _stuck(extent, others, count, ints[0] == ints[1], lows == highs)
    zeros = [c for c in constant if lows[c] == highs[c] == 0]
    accumulators: tuple[DataType, ...] = ()
    accumulator = partial = None
    if extent.sums is not None:
        sums = ints if extent.sums.total is None else [
            _channels(side, others, pick, count)
            for side, pick in zip(extent.sums.total, (np.min, np.max), strict=True)
        ]  # fmt: skip
        ends = [[int(k) for k in side] for side in sums]
        found = {pair: smallest_datatype(*pair) for pair in set(zip(*ends, strict=True))}
        accumulators = tuple(found[pair] for pair in zip(*ends, strict=True))
        accumulator = smallest_datatype(min(ends[0]), max(ends[1]))
        partial = smallest_datatype(
            min(int(extent.sums.low.min()), *ends[0]), max(int(extent.sums.high.max()), *ends[1])
        )
    return TensorRange(
        name, op_type, grid, integers, low, high, values, _all_or_listed(constant, count, channels), reason,
        accumulator, partial, accumulators, channels, pairs,
        _all_or_listed(zeros, count, channels), _whole(lattice, extent), extent.axis,
    )  # fmt: skip


def _axis(extent: Extent) -> int:
    """Return the axis along which the tensor is described: the only one along which its grid or its bounds differ."""
    grids = () if extent.lattice is None else extent.lattice.arrays[:2]
    for arrays in (grids, extent.arrays):
        found = [a for a in range(extent.lo.ndim) if any(array.ndim > a and array.shape[a] > 1 for array in arrays)]
        if len(found) == 1:
            return found[0]
    return extent.axis


def _all_or_listed(found: list[int], count: int, channels: int) -> tuple[int, ...]:
    """Return the channels; all of them where one entry stands for all."""
    return tuple(range(channels)) if count == 1 and found and channels > 1 else tuple(found)


def _channels(array: npt.NDArray[Any], others: tuple[int, ...], pick: Any, count: int) -> npt.NDArray[Any]:
    return np.broadcast_to(np.asarray(pick(array, axis=others)).reshape(-1), (count,))


def _stuck(
    extent: Extent, others: tuple[int, ...], count: int, same: npt.NDArray[np.bool_], equal: npt.NDArray[np.bool_]
) -> list[int]:
    """Return the channels that have one value: equal bounds, or one integer on one and the same grid."""
    lattice = extent.lattice
    if lattice is None or not same.any():
        return [int(c) for c in np.flatnonzero(equal)]

    def alike(channel: int) -> bool:
        if not others:
            return True
        parts = (array.take([channel if array.shape[extent.axis] > 1 else 0], axis=extent.axis)
                 for array in (lattice.scale, lattice.offset))  # fmt: skip
        return all(len(set(part.reshape(-1))) == 1 for part in parts)

    return [int(c) for c in np.flatnonzero(same | equal) if equal[c] or alike(int(c))]


def _whole(lattice: Lattice, extent: Extent) -> DataType | None:
    """Return the narrowest integer type of the values where all of them are whole numbers."""
    if extent.rounded or not extent.bounded:
        return None

    numbers = {id(n): n for array in (lattice.scale, lattice.offset) for n in array.reshape(-1)}.values()
    if not all(_is_whole(n) for n in numbers):
        stuck = lattice.low == lattice.high
        if lattice.step == 1 and not stuck.any():
            return None
        sides = (lattice.low.astype(object), stuck.astype(object))
        scales = each(lambda scale, stuck: stuck or _is_whole(scale * lattice.step), lattice.scale, sides[1])
        first = each(lambda scale, offset, k: _is_whole(scale * k + offset), lattice.scale, lattice.offset, sides[0])
        if not (scales.all() and first.all()):
            return None
    ends = int(np.ceil(extent.lo.min())), int(np.floor(extent.hi.max()))
    if lattice.datatype == DataType.BIPOLAR and all(n == 1 for n in lattice.scale.flat) and ends == (-1, 1):
        return DataType.BIPOLAR
    return smallest_datatype(*ends)


def _is_whole(number: Real) -> bool:
    return isinstance(number, Fraction) and number.denominator == 1


def _grid(lattice: Lattice, axis: int) -> tuple[Grid | None, str]:
    """Return the grid of a lattice, or why it is none."""
    scale, offset = np.broadcast_arrays(lattice.scale, lattice.offset)
    if axis >= scale.ndim:  # one scale for all
        scale, offset, axis = scale.reshape(-1, 1), offset.reshape(-1, 1), 1
    moved = np.moveaxis(scale, axis, -1).reshape(-1, scale.shape[axis])
    shifts = np.moveaxis(offset, axis, -1).reshape(moved.shape)
    if len(moved) > 1:
        for array in (moved, shifts):
            for column in array.T:
                if any(entry is not column[0] and entry != column[0] for entry in column[1:]):
                    return None, "its elements lie on different grids within one channel"
    scales: list[Fraction] = []
    zeros: list[int] = []
    offsets: list[Fraction] = []
    for gain, shift in zip(moved[0], shifts[0], strict=True):
        parts: tuple[Real, Real] = gain, shift
        if not isinstance(parts[0], Fraction) or not isinstance(parts[1], Fraction):
            return None, "its scale is irrational (batch normalization without a quantizer behind it)"
        zero = -parts[1] / parts[0] if parts[1] else parts[1]
        zeros.append(int(zero) if zero.denominator == 1 else 0)
        scales.append(parts[0])
        offsets.append(Fraction(0) if zero.denominator == 1 else parts[1])
    low, high = int(lattice.low.min()), int(lattice.high.max())
    datatype = lattice.datatype if lattice.datatype is not None else smallest_datatype(low, high)
    try:
        return Grid(datatype, tuple(scales), tuple(zeros), tuple(offsets)), ""
    except InvalidInput as error:
        return None, str(error)


def _text(value: object) -> str | None:
    return None if value is None else str(value)

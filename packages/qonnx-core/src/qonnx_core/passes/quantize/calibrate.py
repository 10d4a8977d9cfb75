"""Finds scales and zero points that fit the values of a tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.execute.compiled import compile_model
from qonnx_core.passes.quantize.config import Quantizer

Array = NDArray[Any]
_BATCH = 64
_SMALLEST = 2.0**-100  # scales stay normal float32 numbers


@dataclass(frozen=True, eq=False)
class Range:
    """The smallest and the largest values of a tensor: one, or one for each channel."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def of(array: Array, axis: int | None) -> Range:
        """Return the range of an array, along all axes or all but one."""
        wide = np.asarray(array, np.float64)
        axes = None if axis is None else tuple(a for a in range(wide.ndim) if a != axis % wide.ndim)
        return Range(np.asarray(wide.min(axis=axes)), np.asarray(wide.max(axis=axes)))

    def joined(self, other: Range) -> Range:
        """Return the range of both."""
        return Range(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


def ranges_on_data(
    model: ir.Model, tensors: Mapping[str, Collection[int | None]], data: Mapping[str, Array]
) -> dict[str, dict[int | None, Range]]:
    """Return the ranges that tensors take on the data, by name and axis of the channels; None stands for one range.

    Raises:
        InvalidInput: the data do not fit the model, hold no sample, or give values that are not finite.
    """
    compiled = compile_model(model)
    found: dict[str, dict[int | None, Range]] = {}
    given = {name for name in tensors if name in compiled.input_names}
    running = [name for name in tensors if name not in given]
    for result in compiled.stream(dict(data), batch_size=_BATCH, intermediates=running):
        for name in running:
            _include(found, name, tensors[name], result[name])
    for name in given:
        _include(found, name, tensors[name], np.asarray(data[name]))
    return found


def _include(found: dict[str, dict[int | None, Range]], name: str, axes: Collection[int | None], array: Array) -> None:
    if array.size == 0 or not np.all(np.isfinite(array)):
        what = "no values" if array.size == 0 else "values that are not finite"
        raise InvalidInput(
            f"tensor {name}: has {what} on the data; expected finite values to find a scale. Check them."
        )
    by_axis = found.setdefault(name, {})
    for chosen in axes:
        new = Range.of(array, chosen)
        by_axis[chosen] = by_axis[chosen].joined(new) if chosen in by_axis else new


def fitted(quantizer: Quantizer, values: Range) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and zero point with which the levels of the quantizer cover the range.

    The scale is the float32 nearest to the smallest with which no value of the range is clipped; where the range is
    only 0 it is 1. A zero point that is looked for lets the levels begin at the smallest value (or 0, which stays
    exact, where all values are above it).
    """
    first, last = quantizer.levels
    if quantizer.zero_point == "data":
        low, high = np.minimum(values.low, 0), np.maximum(values.high, 0)
        scale = _usable((high - low) / (last - first), quantizer)
        zero = np.clip(np.round(first - low / scale), first, last)
        return scale.astype(np.float32), zero.astype(np.float32)
    zero = np.asarray(quantizer.zero_point, np.float64)
    above, below = np.maximum(last - zero, 0), np.maximum(zero - first, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed_above = np.where(above > 0, np.maximum(values.high, 0) / above, 0)
        needed_below = np.where(below > 0, np.maximum(-values.low, 0) / below, 0)
    return _usable(np.maximum(needed_above, needed_below), quantizer).astype(np.float32), zero.astype(np.float32)


def _usable(scale: NDArray[np.float64], quantizer: Quantizer) -> NDArray[np.float64]:
    positive = np.where(scale > _SMALLEST, scale, 1.0)
    if quantizer.power_of_two:
        return np.asarray(np.exp2(np.ceil(np.log2(positive))))
    return np.asarray(positive)

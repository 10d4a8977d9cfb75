"""What both directions between Quant and QuantizeLinear, Clip, DequantizeLinear (QCDQ) share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.datatypes import integer_range

Array = NDArray[Any]
ZeroPoints = Literal["exact", "standard"]

INT4_OPSET = 21
INT2_OPSET = 25
_WIDTHS = {
    "INT2": (2, True), "UINT2": (2, False), "INT4": (4, True), "UINT4": (4, False), "INT8": (8, True),
    "UINT8": (8, False), "INT16": (16, True), "UINT16": (16, False), "INT32": (32, True),
}  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """A converted copy of a model: how many quantizers changed, and why each of the others stayed as it is."""

    model: ir.Model
    converted: int
    kept: tuple[str, ...] = ()


def check_zero_points(choice: str) -> None:
    """Raise InvalidInput where this is no way to treat zero points."""
    if choice not in ("exact", "standard"):
        raise InvalidInput(f"zero_points: found {choice!r}; expected exact or standard.")


def grid_of_range(low: int, high: int) -> tuple[int, bool, bool] | None:
    """Return ``(bits, signed, narrow)`` of the Quant whose integers are exactly these, or None where there is none."""
    for narrow in (False, True):
        signed = low < 0
        bits = (high + int(narrow)).bit_length() if not signed else high.bit_length() + 1
        if bits >= 1 and (bits > 1 or not signed) and integer_range(bits, signed, narrow) == (low, high):
            return bits, signed, narrow
    return None


def covering_grid(low: int, high: int) -> tuple[int, bool]:
    """Return ``(bits, signed)`` of the narrowest Quant that holds these integers; signed ones have at least 2 bits."""
    if low >= 0:
        return max(1, high.bit_length()), False
    return max(2, 1 + max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0)), True


def storage_range(dtype: ir.DataType | None) -> tuple[int, int] | None:
    """Return the integers that this element type of ONNX stores, or None for types that QCDQ does not use."""
    found = None if dtype is None else _WIDTHS.get(dtype.name)
    return None if found is None else integer_range(*found)


def storage_for(
    low: int, high: int, zero_low: int, zero_high: int, opset: int, *, packed: bool = True
) -> tuple[ir.DataType, bool] | None:
    """Return the element type that stores these integers and zero points, and whether a Clip has to narrow it.

    Types of 2 and 4 bits are taken where ``packed``, the opset has them and no Clip is needed, because Clip takes none
    of them; neither does it take 16 bits. None where there is no such type.
    """
    bottom, top = min(low, zero_low), max(high, zero_high)
    sign = "" if low < 0 else "U"
    native = {2: packed and opset >= INT2_OPSET, 4: packed and opset >= INT4_OPSET, 8: True, 16: opset >= INT4_OPSET}
    for bits, known in native.items():
        dtype = ir.DataType[f"{sign}INT{bits}"]
        if known and integer_range(bits, low < 0) == (low, high) and low <= bottom and top <= high:
            return dtype, False
    dtype = ir.DataType[f"{sign}INT8"]
    smallest, largest = integer_range(8, low < 0)
    return (dtype, True) if smallest <= bottom and top <= largest else None


def along_axis(array: Array, axis: int, rank: int) -> Array:
    """Return a vector that belongs to one axis in the shape in which it broadcasts against a tensor of this rank."""
    return array.reshape((-1,) + (1,) * (rank - 1 - axis))


def quantized_integers(x: Array, scale: Array, zero_point: Array, low: int, high: int) -> Array:
    """Return the integers that Quant with rounding mode ROUND makes of these numbers, computed as it computes them."""
    with np.errstate(all="ignore"):
        steps = np.asarray(x / scale.astype(x.dtype) + zero_point.astype(x.dtype))
        return np.asarray(np.round(np.clip(steps, x.dtype.type(low), x.dtype.type(high))))

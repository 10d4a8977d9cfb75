"""Quant and its alias IntQuant: to an integer grid and back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array, Builder, FunctionBuilder, Operand, is_known
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.rounding import Rounding, round_by

_DOUBLE = ir.DataType.DOUBLE


@dataclass(frozen=True)
class Quant(QonnxOp):
    """Quantize to an integer grid and back: ``(round(clip(x / scale + zeropt)) - zeropt) * scale``.

    The clip comes before the rounding. Signed with one bit is bipolar: +1 where ``x / scale + zeropt >= 0``, else -1.
    ``scale``, ``zeropt`` and ``bitwidth`` broadcast against ``x``.
    """

    signed: bool = True
    narrow: bool = False
    rounding_mode: Rounding = Rounding.ROUND

    op_type: ClassVar[str] = "Quant"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale", "zeropt", "bitwidth")
    never_nan: ClassVar[tuple[str, ...]] = ("bitwidth",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data",
        "scale": "distance of two neighbours on the grid, as a float",
        "zeropt": "the integer that stands for 0",
        "bitwidth": "number of bits of the integers; fractional ones shrink the bounds",
        "signed": "1: two's complement integers; 0: integers from 0 on",
        "narrow": "1: leave out the most negative (unsigned: the largest) integer",
        "rounding_mode": "how a number between two integers is rounded",
    }

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the quantized and dequantized data."""
        x, scale, zeropt, bitwidth = inputs
        scale, zeropt = op.like(scale, x), op.like(zeropt, x)
        signed, narrow = op.attribute("signed", self.signed), op.attribute("narrow", self.narrow)
        low, high = bounds(op, signed, narrow, bitwidth)
        y = op("Add", op("Div", x, scale), zeropt)
        is_bipolar = _is_bipolar(op, signed, bitwidth)
        if is_known(is_bipolar) and np.size(np.asarray(is_bipolar)) and np.all(np.asarray(is_bipolar)):
            y = bipolar(op, y)
        else:
            rounded = round_by(op, self.rounding_mode, clip(op, y, op.like(low, x), op.like(high, x)))
            never = is_known(is_bipolar) and not np.any(np.asarray(is_bipolar))
            y = rounded if never else op("Where", is_bipolar, bipolar(op, y), rounded)
        return op("Mul", op("Sub", y, zeropt), scale)

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return an integer type at scale 1, ``SCALEDINT<n>`` at other scales, None where the constants do not say.

        With several bit widths it is the type of the widest, which holds the others.
        """
        _, scale, zeropt, bitwidth = inputs
        if scale is None or zeropt is None or bitwidth is None or bitwidth.size == 0 or np.any(zeropt != 0):
            return None
        widths = bitwidth.astype(np.float64)
        if not np.all(np.isfinite(widths)) or np.any(widths != np.round(widths)) or np.any(widths < 1):
            return None
        bits = int(widths.max())
        if not np.all(scale == 1):
            return DataType.scaled_int(bits)
        if not self.signed:
            return DataType.unsigned(bits)
        return DataType.BIPOLAR if bits == 1 else DataType.integer(bits)


@dataclass(frozen=True)
class IntQuant(Quant):
    """The same operator as Quant, under its newer name."""

    op_type: ClassVar[str] = "IntQuant"


def _is_bipolar(op: Builder, signed: Operand, bitwidth: Operand) -> Operand:
    if is_known(signed, bitwidth):
        return np.asarray(np.logical_and(np.asarray(bitwidth) == 1, np.asarray(signed) == 1))
    one_bit = op("Equal", op.cast(bitwidth, _DOUBLE), np.float64(1))
    return op("And", one_bit, op("Equal", signed, np.int64(1)))


def bounds(op: Builder, signed: Operand, narrow: Operand, bitwidth: Operand) -> tuple[Operand, Operand]:
    """Return the smallest and the largest integer of a width, in float64.

    Signed: ``-2^(b-1) + narrow`` to ``2^(b-1) - 1``; unsigned: ``0`` to ``2^b - 1 - narrow``.
    """
    if is_known(signed, narrow, bitwidth) and np.ndim(np.asarray(bitwidth)) == 0:
        return _known_bounds(bool(signed), bool(narrow), float(np.asarray(bitwidth)))
    return _bounds(op, signed, narrow, bitwidth)


@functools.lru_cache(1024)
def _known_bounds(signed: bool, narrow: bool, bitwidth: float) -> tuple[Operand, Operand]:
    """Return the bounds where all is known; a network has few different ones."""
    return _bounds(FunctionBuilder(), np.int64(signed), np.int64(narrow), np.float64(bitwidth))


def _bounds(op: Builder, signed: Operand, narrow: Operand, bitwidth: Operand) -> tuple[Operand, Operand]:
    is_signed = op.cast(signed, _DOUBLE)
    is_narrow = op.cast(narrow, _DOUBLE)
    count = op("Pow", np.float64(2), op("Sub", op.cast(bitwidth, _DOUBLE), is_signed))  # 2^(b-1) or 2^b
    unsigned = op("Equal", is_signed, np.float64(0))
    low = op("Where", unsigned, np.float64(0), op("Sub", is_narrow, count))  # a product would make NaN of infinite ones
    unsigned_narrow = op("Where", unsigned, is_narrow, np.float64(0))
    high = op("Sub", op("Sub", count, np.float64(1)), unsigned_narrow)
    return low, high


def clip(op: Builder, x: Operand, low: Operand, high: Operand) -> Operand:
    """Return ``max(min(x, high), low)``; NaN stays NaN."""
    if not isinstance(low, ir.Value) and not isinstance(high, ir.Value):
        bottom, top = np.asarray(low), np.asarray(high)
        if bottom.ndim == top.ndim == 0 and bottom <= top:
            return op("Clip", x, bottom, top)
    return op("Max", op("Min", x, high), low)


def bipolar(op: Builder, x: Operand) -> Operand:
    """Return +1 where ``x >= 0``, else -1; NaN gives -1."""
    zero, plus, minus = (op.like(np.float32(number), x) for number in (0, 1, -1))
    return op("Where", op("GreaterOrEqual", x, zero), plus, minus)

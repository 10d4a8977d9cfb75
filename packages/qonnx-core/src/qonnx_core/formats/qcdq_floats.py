"""The element types of minifloats that QuantizeLinear has, and the FloatQuant that each of them is.

Sources: "Float stored in 8 bits" and "Float stored in 4 bits" of the ONNX documentation; OCP 8-bit Floating Point
Specification 1.0; OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.formats.qcdq import Array
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.rounding import Rounding


@dataclass(frozen=True, slots=True)
class FloatType:
    """An element type: exponent and mantissa bits, bias, largest number, special codes, the opset that brought it.

    ``overflows`` says whether onnxruntime and the ONNX documentation agree on what lies beyond the largest number where
    nothing saturates: they do for the FNUZ types, for the others the numbers that still round to it differ.
    """

    dtype: ir.DataType
    exponent_bits: int
    mantissa_bits: int
    bias: int
    largest: float
    has_inf: bool
    has_nan: bool
    opset: int
    overflows: bool

    @property
    def parameters(self) -> tuple[float, float, float, float]:
        """The inputs of FloatQuant after the scale."""
        return float(self.exponent_bits), float(self.mantissa_bits), float(self.bias), self.largest

    def quantizer(self, saturation: bool) -> FloatQuant:
        """Return the operator with this type's special codes."""
        return FloatQuant(Rounding.ROUND, self.has_inf, self.has_nan, True, saturation)


FLOAT_TYPES: tuple[FloatType, ...] = (
    FloatType(ir.DataType.FLOAT8E4M3FN, 4, 3, 7, 448.0, False, True, 19, False),
    FloatType(ir.DataType.FLOAT8E5M2, 5, 2, 15, 57344.0, True, True, 19, False),
    FloatType(ir.DataType.FLOAT8E4M3FNUZ, 4, 3, 8, 240.0, False, True, 19, True),
    FloatType(ir.DataType.FLOAT8E5M2FNUZ, 5, 2, 16, 57344.0, False, True, 19, True),
    FloatType(ir.DataType.FLOAT4E2M1, 2, 1, 1, 6.0, False, False, 23, False),
    FloatType(ir.DataType.FLOAT6E2M3, 2, 3, 1, 7.5, False, False, 28, False),
    FloatType(ir.DataType.FLOAT6E3M2, 3, 2, 3, 28.0, False, False, 28, False),
)


def float_type(dtype: ir.DataType | None) -> FloatType | None:
    """Return what is known of an element type, None where it is no minifloat."""
    return next((kind for kind in FLOAT_TYPES if kind.dtype == dtype), None)


def type_of_quantizer(op: FloatQuant, widths: tuple[Array, ...], opset: int) -> FloatType | str:
    """Return the element type of a FloatQuant with these exponent bits, mantissa bits, bias and largest number.

    Returns the reason where it has none, or none in this opset.
    """
    if op.rounding_mode is not Rounding.ROUND:
        return f"rounds by {op.rounding_mode}, QuantizeLinear to the nearest"
    if any(width.size != 1 for width in widths):
        return "its widths are no single numbers"
    exponent_bits, mantissa_bits, bias, limit = (float(np.asarray(width).item()) for width in widths)
    with np.errstate(over="ignore"):
        top = min(float((2 - np.exp2(-mantissa_bits)) * np.exp2(np.exp2(exponent_bits) - 1 - bias)), limit)
    for kind in FLOAT_TYPES:
        if (exponent_bits, mantissa_bits, bias, top) != kind.parameters:
            continue
        if kind.opset > opset:
            return f"is {kind.dtype.name}, which is new in opset {kind.opset}"
        if op.saturation:
            return kind
        if not kind.overflows or (op.has_inf, op.has_nan) != (kind.has_inf, kind.has_nan):
            return "does not saturate, and runtimes do not agree on what lies beyond the largest number of its type"
        return kind
    return (
        f"has {exponent_bits:g} exponent and {mantissa_bits:g} mantissa bits, bias {bias:g}, numbers up to {top:g}: no "
        "element type of ONNX"
    )


def float_codes(kind: FloatType, numbers: Array) -> Array:
    """Return numbers in the element type, to the nearest even, those beyond the largest as it (NaN stays where known).

    ``numbers`` are float32, divided by the scale.
    """
    clipped = np.clip(numbers, -np.float32(kind.largest), np.float32(kind.largest))
    return np.asarray(clipped.astype(kind.dtype.numpy()))

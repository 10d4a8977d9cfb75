"""FloatQuant: to a minifloat grid and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array, Builder, Operand, is_known
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import clip
from qonnx_core.ops.rounding import Rounding, round_by

_FLOAT = ir.DataType.FLOAT
_DOUBLE = ir.DataType.DOUBLE
_SIGNIFICAND_BITS = {_FLOAT: 24, _DOUBLE: 53}
_FARTHEST_EXPONENT = 900.0  # products of exponents up to this one stay finite in float64
# What a minifloat can have; within these bounds all of the arithmetic below is exact.
_LIMITS = {
    "mantissa_bitwidth": (0.0, 100.0),
    "exponent_bias": (-_FARTHEST_EXPONENT, _FARTHEST_EXPONENT),
    "max_val": (0.0, np.inf),
}


@dataclass(frozen=True)
class FloatQuant(QonnxOp):
    """Quantize to a minifloat format and back: ``s * round(X / s) * scale`` with ``X = x / scale``.

    The step is ``s = 2^max(floor(log2(|X|)) - m, 1 - bias - m)`` for m mantissa bits, with the exact exponent of X and
    with subnormals always. The largest value is ``top = min((2 - 2^-m) * 2^(2^e - 1 - bias), max_val)`` for e exponent
    bits; which codes of a format stand for infinities and NaN shows in ``max_val`` alone. Beyond ``top``, infinities
    included, the result is ``top`` with ``saturation``, else infinite with ``has_inf``, else NaN with ``has_nan``. NaN
    stays NaN. All inputs broadcast against ``x``. ``has_subnormal`` tells hardware about the format; it changes no
    value, here as in all QONNX tools.

    Exact for ``X`` of magnitude ``2^-900`` to ``2^900``: all of float16 and float32.

    The usual formats as ``(e, m, bias, max_val)``: OCP FP8 E4M3 ``(4, 3, 7, 448)`` and E5M2 ``(5, 2, 15, 57344)``,
    FNUZ E4M3 ``(4, 3, 8, 240)`` and E5M2 ``(5, 2, 16, 57344)``, FP6 E3M2 ``(3, 2, 3, 28)`` and E2M3 ``(2, 3, 1, 7.5)``,
    FP4 E2M1 ``(2, 1, 1, 6)``.
    """

    rounding_mode: Rounding = Rounding.ROUND
    has_inf: bool = False
    has_nan: bool = False
    has_subnormal: bool = True
    saturation: bool = True

    op_type: ClassVar[str] = "FloatQuant"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale", "exponent_bitwidth", "mantissa_bitwidth", "exponent_bias",
                                         "max_val")  # fmt: skip
    never_nan: ClassVar[tuple[str, ...]] = inputs[2:]
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data",
        "scale": "factor between the data and the minifloat numbers",
        "exponent_bitwidth": "number of exponent bits e",
        "mantissa_bitwidth": "number of mantissa bits m, without the leading one",
        "exponent_bias": "bias of the stored exponent",
        "max_val": "largest number of the format, where codes are set aside for inf or NaN",
        "rounding_mode": "how a number between two neighbours is rounded",
        "has_inf": "1: the format has infinities; numbers beyond the largest become infinite unless saturation is set",
        "has_nan": "1: the format has NaN; numbers beyond the largest become NaN without saturation and infinities",
        "has_subnormal": "1: the format has subnormal numbers; changes no value",
        "saturation": "1: numbers beyond the largest become the largest",
    }

    def __post_init__(self) -> None:
        if not (self.saturation or self.has_inf or self.has_nan):
            raise InvalidModel(
                "saturation, has_inf and has_nan are all 0; expected one of them, because a number beyond the largest "
                "one has no value otherwise. Set saturation to 1."
            )

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return the rounding mode and what happens beyond the largest value."""
        return (
            ("rounding_mode", str(self.rounding_mode)),
            ("saturation", int(self.saturation)),
            ("has_inf", int(self.has_inf)),
        )

    def check_operands(self, data: ir.Value, parameters: Sequence[Operand]) -> None:
        """Raise InvalidModel where known parameters describe no format, too."""
        super().check_operands(data, parameters)
        for name, parameter in zip(self.inputs[1:], parameters, strict=False):
            if name in _LIMITS and is_known(parameter):
                least, most = _LIMITS[name]
                numbers = np.asarray(parameter)
                if np.any(numbers < least) or np.any(numbers > most):
                    raise InvalidModel(
                        f"input {name} is {np.ravel(numbers)[:4].tolist()}; expected {least:g} to {most:g}. Correct it."
                    )

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the quantized and dequantized data."""
        x, scale, *widths = inputs
        scale = op.like(scale, x)
        exponent_bits, mantissa_bits, bias, max_val = (op.cast(width, _DOUBLE) for width in widths)
        one, two = np.float64(1), np.float64(2)
        most = op("Sub", op("Sub", op("Pow", two, exponent_bits), one), bias)  # exponent of the largest binade
        least = op("Sub", one, bias)
        unit = op("Pow", two, op("Sub", np.float64(0), mantissa_bits))  # the step of the binade of 1
        top = op("Min", op("Mul", op("Sub", two, unit), op("Pow", two, most)), max_val)
        high = op("Pow", two, op("Min", op("Ceil", most), np.float64(_FARTHEST_EXPONENT)))
        low = op("Pow", two, op("Max", least, np.float64(-_FARTHEST_EXPONENT)))

        kind = _FLOAT if self._fits_float32(x, exponent_bits, mantissa_bits, bias, top) else _DOUBLE
        wide = op.cast(op("Div", x, scale), kind)
        high, low, unit, top = (op.cast(number, kind) for number in (high, low, unit, top))
        size = clip(op, op("Abs", wide), low, high)
        if _is_power_of_two(unit):
            step = _power_of_two_below(op, size, unit, kind)
        else:
            step = op("Mul", _power_of_two_below(op, size, op.cast(one, kind), kind), unit)
        if kind is _DOUBLE:
            step = op("Max", step, op("Mul", low, unit))  # a bias that is no whole number
        kept = op("Mul", round_by(op, self.rounding_mode, op("Div", wide, step)), step)
        if self.saturation:
            result = clip(op, kept, op("Sub", op.cast(np.float64(0), kind), top), top)
        else:
            infinite = op.cast(np.float64(np.inf if self.has_inf else np.nan), kind)
            beyond = op.node("Greater", [op.value(op("Abs", kept)), top])[0]
            result = op("Where", beyond, op("Mul", kept, infinite), kept)
            if isinstance(result, ir.Value):
                op.typed(result, kind)
        return op("Mul", op.like(result, x), scale)

    def _fits_float32(self, x: Operand, *limits: Operand) -> bool:
        """Return whether float32 computes the same as float64: known formats with room on both sides."""
        narrow = isinstance(x, ir.Value) and x.dtype in (_FLOAT, ir.DataType.FLOAT16)
        if not narrow or not is_known(*limits) or self.rounding_mode is Rounding.HALF_UP:
            return False
        exponent_bits, mantissa_bits, bias, _ = (np.asarray(limit) for limit in limits)
        whole = all(np.all(number == np.round(number)) for number in (exponent_bits, mantissa_bits, bias))
        if not whole or np.any(mantissa_bits < 0) or np.any(mantissa_bits > 16):
            return False
        least = 1 - bias - mantissa_bits
        with np.errstate(over="ignore"):
            most = 2.0**exponent_bits - 1 - bias
        return bool(np.all(least >= -120) and np.all(least <= 0) and np.all(most >= 1 - bias) and np.all(most <= 100))

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return ``FLOAT<e,m,bias>`` at scale 1, None where the constants do not say or are no whole numbers."""
        _, scale, *widths = inputs
        if scale is None or np.any(scale != 1):
            return None
        numbers: list[int] = []
        for width in widths[:3]:
            if width is None or width.size != 1 or not float(width.item()).is_integer():
                return None
            numbers.append(int(width.item()))
        exponent_bits, mantissa_bits, bias = numbers
        if not 1 <= exponent_bits <= 11 or not 0 <= mantissa_bits <= 52:
            return None
        return DataType.minifloat(exponent_bits, mantissa_bits, bias)


def _is_power_of_two(number: Operand) -> bool:
    """Return whether all of it is known to be powers of two."""
    return is_known(number) and bool(np.all(np.frexp(np.asarray(number))[0] == 0.5))


def _power_of_two_below(op: Builder, size: Operand, unit: Operand, kind: ir.DataType) -> Operand:
    """Return ``unit`` times the largest power of two that is at most ``size``, exactly; ``unit`` is a power of two.

    Three operations of known rounding in place of a logarithm: with p significand bits, u = 2^-p and
    q = (2^(p-1) + 1) * size, it is q - (1 - u) * q. Source: "unit in the first place" in S. M. Rump, "Error estimation
    of floating-point summation and dot product", BIT Numerical Mathematics 52 (2012).
    """
    bits = _SIGNIFICAND_BITS[kind]
    spread = op("Mul", op.cast(np.float64(2.0 ** (bits - 1) + 1), kind), unit)
    q = op("Mul", size, spread)
    if kind is _FLOAT:
        return op("Sub", q, op("Mul", q, np.float32(1 - 2.0**-bits)))
    # The same number, rounded in the same way: onnxruntime takes a float64 this close to 1 for a 1 and drops the Mul.
    return op("Sub", q, op("Sub", q, op("Mul", q, np.float64(2.0**-bits))))

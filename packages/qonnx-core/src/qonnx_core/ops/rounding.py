"""Rounding modes of the format, and the plain ONNX nodes that compute them."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from qonnx_core.errors import InvalidModel
from qonnx_core.ops.builder import Builder, Operand


class Rounding(StrEnum):
    """How a number between two grid points is brought to one of them.

    The members are the canonical names; :meth:`parse` also reads ``HALF_EVEN`` and ``ROUND_TO_ZERO``, in any case.
    """

    ROUND = "ROUND"  # to nearest, ties to even
    CEIL = "CEIL"
    FLOOR = "FLOOR"
    UP = "UP"  # away from zero
    DOWN = "DOWN"  # towards zero
    HALF_UP = "HALF_UP"  # to nearest, ties away from zero
    HALF_DOWN = "HALF_DOWN"  # to nearest, ties towards zero

    @classmethod
    def parse(cls, text: str) -> Rounding:
        """Return the mode of this name.

        Raises:
            InvalidModel: there is no such mode.
        """
        name = text.strip().upper()
        canonical = {"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}.get(name, name)
        if canonical not in cls.__members__:
            known = ", ".join([*cls.__members__, "HALF_EVEN", "ROUND_TO_ZERO"])
            raise InvalidModel(f"rounding_mode is {text!r}; expected one of {known}. Correct the attribute.")
        return cls(canonical)


def round_by(op: Builder, mode: Rounding, x: Operand) -> Operand:
    """Return ``x`` rounded to whole numbers; NaN and infinities stay what they are."""
    match mode:
        case Rounding.ROUND:
            return op("Round", x)
        case Rounding.CEIL:
            return op("Ceil", x)
        case Rounding.FLOOR:
            return op("Floor", x)
    size = op("Abs", x)
    half = op.like(np.float32(0.5), x)
    match mode:
        case Rounding.UP:
            size = op("Ceil", size)
        case Rounding.DOWN:
            size = op("Floor", size)
        case Rounding.HALF_UP:
            size = op("Floor", op("Add", size, half))
        case Rounding.HALF_DOWN:
            size = op("Ceil", op("Sub", size, half))
    return op("Mul", op("Sign", x), size)

"""Data types of tensors as the QONNX format names them: ``INT4``, ``BIPOLAR``, ``FIXED<16,6>``, ``FLOAT<4,3,7>``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from qonnx_core.errors import InvalidInput

_INTEGER = re.compile(r"(U?)INT([0-9]+)")
_FIXED = re.compile(r"FIXED<\s*([0-9]+)\s*,\s*(-?[0-9]+)\s*>?")
_SCALED = re.compile(r"SCALEDINT<\s*([0-9]+)\s*>?")
_FLOAT = re.compile(r"FLOAT<\s*([0-9]+)\s*,\s*([0-9]+)\s*(?:,\s*(-?[0-9]+)\s*)?>?")
_KNOWN = (
    "BINARY, BIPOLAR, TERNARY, INT<n>, UINT<n>, FIXED<bits,integer bits>, SCALEDINT<n>, FLOAT<e,m,bias>, FLOAT16, "
    "FLOAT32"
)
_MAX_BITS = 4096


class Kind(Enum):
    """The families of data types; the members of one family share their rules."""

    BINARY = "BINARY"
    BIPOLAR = "BIPOLAR"
    TERNARY = "TERNARY"
    INT = "INT"
    UINT = "UINT"
    FIXED = "FIXED"
    SCALEDINT = "SCALEDINT"
    ARBITRARY_FLOAT = "FLOAT<>"
    FLOAT16 = "FLOAT16"
    FLOAT32 = "FLOAT32"


@dataclass(frozen=True, slots=True)
class DataType:
    """The set of values a tensor element can take; immutable, equal by value, printed as the format names it.

    Make one with :meth:`parse` or one of the class methods, not with the constructor.

    >>> DataType.parse("INT4").min, DataType.parse("INT4").max
    (-8, 7)
    >>> str(DataType.parse("UINT1"))
    'BINARY'
    """

    kind: Kind
    bits: int
    integer_bits: int = 0  # FIXED only: bits left of the point, sign included
    exponent_bits: int = 0  # FLOAT<e,m,bias> only
    mantissa_bits: int = 0
    exponent_bias: int = 0

    BIPOLAR: ClassVar[DataType]
    BINARY: ClassVar[DataType]
    TERNARY: ClassVar[DataType]
    FLOAT16: ClassVar[DataType]
    FLOAT32: ClassVar[DataType]

    @staticmethod
    def parse(text: str | DataType) -> DataType:
        """Return the data type with this name (spaces around and a missing final ``>`` are accepted).

        Raises:
            InvalidInput: there is no such data type.
        """
        if isinstance(text, DataType):
            return text
        name = text.strip()
        plain = {"BINARY": DataType.BINARY, "BIPOLAR": DataType.BIPOLAR, "TERNARY": DataType.TERNARY,
                 "FLOAT16": DataType.FLOAT16, "FLOAT32": DataType.FLOAT32}  # fmt: skip
        if name in plain:
            return plain[name]
        if match := _INTEGER.fullmatch(name):
            bits = _checked_bits(name, match[2])
            return DataType.unsigned(bits) if match[1] else DataType.integer(bits)
        if match := _FIXED.fullmatch(name):
            return DataType.fixed(_checked_bits(name, match[1]), int(match[2]))
        if match := _SCALED.fullmatch(name):
            return DataType.scaled_int(_checked_bits(name, match[1]))
        if match := _FLOAT.fullmatch(name):
            return DataType.minifloat(int(match[1]), int(match[2]), None if match[3] is None else int(match[3]))
        raise InvalidInput(f"data type: found {text!r}; expected one of {_KNOWN}. Check the spelling.")

    @staticmethod
    def integer(bits: int) -> DataType:
        """Return the signed integer type of this width."""
        return DataType(Kind.INT, bits)

    @staticmethod
    def unsigned(bits: int) -> DataType:
        """Return the unsigned integer type of this width; one bit is ``BINARY``."""
        return DataType.BINARY if bits == 1 else DataType(Kind.UINT, bits)

    @staticmethod
    def fixed(bits: int, integer_bits: int) -> DataType:
        """Return the signed fixed-point type with ``integer_bits`` of ``bits`` left of the point."""
        return DataType(Kind.FIXED, bits, integer_bits=integer_bits)

    @staticmethod
    def scaled_int(bits: int) -> DataType:
        """Return the type of integers of this width times a scale that the data type does not hold."""
        return DataType(Kind.SCALEDINT, bits)

    @staticmethod
    def minifloat(exponent_bits: int, mantissa_bits: int, bias: int | None = None) -> DataType:
        """Return the minifloat type; a bias that is not given is ``2^(e-1) - 1``, and 0 is a bias like any other."""
        if exponent_bits < 1 or exponent_bits > 11 or mantissa_bits > 52:
            raise InvalidInput(
                f"data type FLOAT<{exponent_bits},{mantissa_bits}>: expected 1 to 11 exponent and up to 52 mantissa "
                "bits. Use FLOAT32 for anything wider."
            )
        filled = (1 << (exponent_bits - 1)) - 1 if bias is None else bias
        return DataType(
            Kind.ARBITRARY_FLOAT, 1 + exponent_bits + mantissa_bits,
            exponent_bits=exponent_bits, mantissa_bits=mantissa_bits, exponent_bias=filled,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The canonical name, which :meth:`parse` reads back."""
        match self.kind:
            case Kind.INT | Kind.UINT:
                return f"{self.kind.value}{self.bits}"
            case Kind.FIXED:
                return f"FIXED<{self.bits},{self.integer_bits}>"
            case Kind.SCALEDINT:
                return f"SCALEDINT<{self.bits}>"
            case Kind.ARBITRARY_FLOAT:
                return f"FLOAT<{self.exponent_bits},{self.mantissa_bits},{self.exponent_bias}>"
            case _:
                return str(self.kind.value)

    def __str__(self) -> str:
        return self.name

    @property
    def signed(self) -> bool:
        """Whether negative values belong to the type."""
        return self.kind not in (Kind.BINARY, Kind.UINT)

    def is_integer(self) -> bool:
        """Return whether every value is a whole number."""
        return self.kind in (Kind.BINARY, Kind.BIPOLAR, Kind.TERNARY, Kind.INT, Kind.UINT)

    def is_fixed_point(self) -> bool:
        """Return whether the type is ``FIXED<bits,integer bits>``."""
        return self.kind is Kind.FIXED

    @property
    def fraction_bits(self) -> int:
        """Bits right of the point; 0 for integers, negative where a fixed-point step is larger than 1."""
        return self.bits - self.integer_bits if self.kind is Kind.FIXED else 0

    @property
    def min(self) -> int | Fraction:
        """The smallest value, exactly: an ``int`` for integer types, else a ``Fraction``."""
        match self.kind:
            case Kind.BINARY | Kind.UINT:
                return 0
            case Kind.BIPOLAR | Kind.TERNARY:
                return -1
            case Kind.INT:
                return -(1 << (self.bits - 1))
            case Kind.FIXED:
                return Fraction(-(1 << (self.bits - 1))) / Fraction(2) ** self.fraction_bits
            case _:
                return -self.max

    @property
    def max(self) -> int | Fraction:
        """The largest value, exactly: an ``int`` for integer types, else a ``Fraction``."""
        match self.kind:
            case Kind.BINARY | Kind.BIPOLAR | Kind.TERNARY:
                return 1
            case Kind.UINT:
                return (1 << self.bits) - 1
            case Kind.INT:
                return (1 << (self.bits - 1)) - 1
            case Kind.FIXED:
                return Fraction((1 << (self.bits - 1)) - 1) / Fraction(2) ** self.fraction_bits
            case Kind.ARBITRARY_FLOAT:
                top = (1 << self.exponent_bits) - 1 - self.exponent_bias
                return (2 - Fraction(1, 1 << self.mantissa_bits)) * Fraction(2) ** top
            case Kind.FLOAT16:
                return Fraction(float(np.finfo(np.float16).max))
            case Kind.FLOAT32:
                return Fraction(float(np.finfo(np.float32).max))
            case Kind.SCALEDINT:
                raise InvalidInput(f"data type {self.name}: its range depends on a scale that the type does not hold.")

    def allows(self, values: ArrayLike) -> bool:
        """Return whether every one of these values belongs to the type; NaN and infinities never do."""
        array = np.asarray(values)
        if array.size == 0:
            return True
        if not np.all(np.isfinite(array)):
            return False
        match self.kind:
            case Kind.SCALEDINT:
                raise InvalidInput(f"data type {self.name}: its values depend on a scale that the type does not hold.")
            case Kind.FLOAT32:
                return bool(np.all(array.astype(np.float32) == array))
            case Kind.FLOAT16:
                return bool(np.all(np.abs(array) <= float(self.max)) and np.all(array.astype(np.float16) == array))
            case Kind.BIPOLAR:
                return bool(np.all((array == 1) | (array == -1)))
            case Kind.ARBITRARY_FLOAT:
                return all(self._allows_float(Fraction(float(value))) for value in np.unique(array))
        low, high = (Fraction(array.min().item()), Fraction(array.max().item()))
        if low < self.min or high > self.max:
            return False
        steps = np.ldexp(array.astype(np.float64), self.fraction_bits) if self.kind is Kind.FIXED else array
        return bool(np.all(steps == np.floor(steps)))

    def _allows_float(self, value: Fraction) -> bool:
        if abs(value) > self.max:
            return False
        if value == 0:
            return True
        exponent = math.frexp(float(value))[1] - 1
        step = Fraction(2) ** (max(exponent, 1 - self.exponent_bias) - self.mantissa_bits)
        return (value / step).denominator == 1

    @staticmethod
    def smallest_for_range(low: int, high: int) -> DataType:
        """Return the narrowest integer type that holds ``low`` to ``high``: ``BINARY``, ``UINT<n>`` or ``INT<n>``.

        Raises:
            InvalidInput: the bounds are not whole numbers or in the wrong order.
        """
        if int(low) != low or int(high) != high or low > high:
            raise InvalidInput(f"range {low} to {high}: expected two whole numbers in rising order.")
        if low >= 0:
            return DataType.unsigned(max(1, int(high).bit_length()))
        needed = max((-int(low) - 1).bit_length(), int(high).bit_length() if high > 0 else 0) + 1
        return DataType.integer(needed)


def integer_range(bits: int, signed: bool, narrow: bool = False) -> tuple[int, int]:
    """Return the smallest and the largest integer of a Quant of this width."""
    if signed:
        return -(1 << (bits - 1)) + int(narrow), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - int(narrow)


def _checked_bits(name: str, digits: str) -> int:
    """Return the number of bits, which has to be possible."""
    if len(digits) > len(str(_MAX_BITS)) or not 1 <= int(digits) <= _MAX_BITS:
        raise InvalidInput(f"data type {name}: {digits} bits; expected 1 to {_MAX_BITS}. Check the number.")
    return int(digits)


DataType.BIPOLAR = DataType(Kind.BIPOLAR, 1)
DataType.BINARY = DataType(Kind.BINARY, 1)
DataType.TERNARY = DataType(Kind.TERNARY, 2)
DataType.FLOAT16 = DataType(Kind.FLOAT16, 16)
DataType.FLOAT32 = DataType(Kind.FLOAT32, 32)

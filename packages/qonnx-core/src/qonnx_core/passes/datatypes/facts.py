"""What is known of a tensor's values: whole numbers between two bounds, times a scale; or floats of a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType, Kind

MOST_BITS = 64  # wider integers are no data type that anybody uses
_CONSTANT_BITS = 16  # a constant with more significant bits counts as an arbitrary float
_MOST_FLOAT16 = 65504.0
_SAME = 2.0**-23  # scales as close as roundings to float32 leave them, such as that of a bias and of its sum
_SMALL = 256  # multiples up to this are told from other numbers at that distance
_EXPONENTS = 100  # powers of two up to this exponent stay far from the ends of float32
_PRECISION = {ir.DataType.FLOAT16: 11, ir.DataType.BFLOAT16: 8, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


class NotInferred(Unsupported):
    """A data type does not follow from what is known; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Values ``scale * k`` with whole k from ``low`` to ``high``.

    ``scale`` is positive and broadcasts against the tensor; None stands for one scale per channel that is not known.
    ``odd`` says that every k is odd (bipolar numbers). ``scaled`` says that a scale of a quantizer is part of it, for
    which the data type is ``SCALEDINT``. ``declared`` is the data type that a model or an operator gives by itself.
    """

    low: int
    high: int
    scale: NDArray[np.float64] | None
    odd: bool = False
    scaled: bool = False
    declared: DataType | None = None

    @property
    def step(self) -> float | None:
        """The scale where it is a single power of two, on which float arithmetic is exact; else None."""
        if self.scale is None or self.scale.ndim != 0:
            return None
        mantissa, exponent = np.frexp(self.scale)
        return float(self.scale) if mantissa == 0.5 and abs(int(exponent)) <= _EXPONENTS else None

    @property
    def is_zero(self) -> bool:
        """Whether every value is 0."""
        return self.low == self.high == 0

    def derived(self, low: int, high: int, *, odd: bool = False) -> Numbers:
        """Return numbers on the same grid with other bounds."""
        return replace(self, low=low, high=high, odd=odd, declared=None)

    def moved(self) -> Numbers:
        """Return the same numbers in other places: a scale per channel is not known to stay where it was."""
        return self if self.scale is None or self.scale.ndim == 0 else replace(self, scale=None)

    def datatype(self, *, fixed_point: bool = False) -> DataType:
        """Return the narrowest data type of these numbers, or the declared one.

        Raises:
            NotInferred: it is wider than 64 bits.
        """
        step = self.step
        as_fixed = fixed_point and step is not None
        if self.declared is not None and not (as_fixed and self.declared.kind is Kind.SCALEDINT):
            return self.declared
        if step is not None and step >= 1 and (step == 1 or not self.scaled or fixed_point):
            return _integer_type(self.low * int(step), self.high * int(step), self.odd and step == 1)
        if step is None or (self.scaled and not fixed_point):
            bipolar = self.odd and (self.low, self.high) == (-1, 1)  # one bit, as Quant states it
            return DataType.scaled_int(1 if bipolar else _checked(bits_of(self.low, self.high)))
        bits = _checked(_signed_bits(self.low, self.high))
        return DataType.fixed(bits, bits - round(-np.log2(step)))


@dataclass(frozen=True)
class Floats:
    """Floats of a format, which operators that move data hand on."""

    datatype: DataType


Fact = Numbers | Floats
ONE: NDArray[np.float64] = np.asarray(1.0)


def integers(low: int, high: int, declared: DataType | None = None, *, odd: bool = False) -> Numbers:
    """Return the whole numbers from ``low`` to ``high``."""
    return Numbers(low, high, ONE, odd, declared=declared)


def bits_of(low: int, high: int) -> int:
    """Return the bits of the narrowest integer type from ``low`` to ``high``, unsigned where nothing is negative."""
    return max(1, high.bit_length()) if low >= 0 else _signed_bits(low, high)


def _signed_bits(low: int, high: int) -> int:
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def _checked(bits: int) -> int:
    if bits > MOST_BITS:
        raise NotInferred(f"the range needs {bits} bits, more than the {MOST_BITS} of the widest data type")
    return bits


def _integer_type(low: int, high: int, odd: bool) -> DataType:
    if (low, high) == (-1, 1):
        return DataType.BIPOLAR if odd else DataType.TERNARY
    _checked(bits_of(low, high))
    return DataType.smallest_for_range(low, high)


def from_datatype(datatype: DataType) -> Fact:
    """Return what an annotated data type says."""
    if datatype.kind is Kind.SCALEDINT:  # signed or unsigned: the type does not say
        high = (1 << datatype.bits) - 1
        return Numbers(-(1 << (datatype.bits - 1)), high, None, scaled=True, declared=datatype)
    if datatype.is_integer():
        return integers(int(datatype.min), int(datatype.max), datatype, odd=datatype.kind is Kind.BIPOLAR)
    if datatype.is_fixed_point():
        if abs(datatype.fraction_bits) > _EXPONENTS:
            return Floats(datatype)
        scale = np.asarray(2.0**-datatype.fraction_bits)
        half = 1 << (datatype.bits - 1)
        return Numbers(-half, half - 1, scale, declared=datatype)
    return Floats(datatype)


def from_container(dtype: ir.DataType | None) -> Numbers | None:
    """Return the range of an integer element type, or None for others."""
    if dtype is None:
        return None
    if dtype == ir.DataType.BOOL:
        return integers(0, 1)
    name = dtype.name
    if not name.lstrip("U").startswith("INT") or not name.lstrip("UINT").isdigit():
        return None
    declared = DataType.parse(name)
    return integers(int(declared.min), int(declared.max), declared)


def from_array(array: NDArray[Any]) -> Numbers | None:
    """Return what the values of a constant say, or None where they are no multiples of a power of two in few bits."""
    if array.size == 0 or array.dtype.kind not in "iubfV":
        return None
    if array.dtype.kind in "iub":
        low, high = int(array.min()), int(array.max())
        return integers(low, high, odd=-1 <= low <= high <= 1 and bool(np.all(array != 0)))
    wide = array.astype(np.float64)
    if not np.all(np.isfinite(wide)):
        return None
    top = float(np.max(np.abs(wide)))
    if top == 0:
        return integers(0, 0)
    if np.all(wide == np.floor(wide)):
        if top >= 2.0**53:
            return None
        low, high = int(wide.min()), int(wide.max())
        return integers(low, high, odd=-1 <= low <= high <= 1 and bool(np.all(wide != 0)))
    exponent = int(np.floor(np.log2(top))) + 1 - _CONSTANT_BITS  # the finest step that counts
    if abs(exponent) > _EXPONENTS or not np.all(np.ldexp(wide, -exponent) == np.floor(np.ldexp(wide, -exponent))):
        return None
    while np.all(np.ldexp(wide, -exponent - 1) == np.floor(np.ldexp(wide, -exponent - 1))):
        exponent += 1
    k = np.ldexp(wide, -exponent)
    return Numbers(int(k.min()), int(k.max()), np.asarray(2.0**exponent))


def as_scale(array: NDArray[Any]) -> tuple[NDArray[np.float64], bool, bool]:
    """Return the absolute scale, and whether it has positive and negative entries.

    Raises:
        NotInferred: an entry is 0 or not finite.
    """
    wide = np.asarray(array, np.float64)
    if wide.size == 0 or not np.all(np.isfinite(wide)) or np.any(wide == 0):
        raise NotInferred("a scale is 0 or not finite")
    size = np.abs(wide)
    if np.all(size == size.flat[0]):
        size = size.reshape(-1)[0].reshape(())
    return np.asarray(size), bool(np.any(wide > 0)), bool(np.any(wide < 0))


def with_signs(low: int, high: int, positive: bool, negative: bool) -> tuple[int, int]:
    """Return the bounds of numbers of which some channels, all or none change their sign."""
    if positive and negative:
        return min(low, -high), max(high, -low)
    return (-high, -low) if negative else (low, high)


def common_grid(facts: Sequence[Numbers]) -> tuple[list[Numbers], Numbers]:
    """Return the numbers on the finest of their grids, and one of them to derive results from.

    Raises:
        NotInferred: no grid of them holds the others.
    """
    first = next((fact for fact in facts if not fact.is_zero), facts[0])
    scale = first.scale
    for fact in facts:
        if fact is first or fact.is_zero:
            continue
        if fact.scale is None or scale is None:
            raise NotInferred("a scale is not known, so the grids cannot be compared")
        scale = _finer(scale, fact.scale)
    scaled = any(fact.scaled for fact in facts if not fact.is_zero)
    result = []
    for fact in facts:
        ratio = 1
        if fact.scale is not None and scale is not None and not fact.is_zero:
            ratio = round(float(np.max(fact.scale / scale)))
        result.append(Numbers(fact.low * ratio, fact.high * ratio, scale, fact.odd and ratio % 2 == 1, scaled))
    return result, Numbers(0, 0, scale, scaled=scaled)


def _finer(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        left, right = np.broadcast_arrays(one, other)
    except ValueError as error:
        raise NotInferred("the scales do not broadcast") from error
    if np.array_equal(left, right):
        return one if one.ndim >= other.ndim else other
    for coarse, fine in ((left, right), (right, left)):
        ratio = coarse / fine
        whole = np.round(ratio)
        if not np.all(whole == whole.flat[0]) or not 1 <= whole.flat[0] <= 2.0**62:
            continue
        made = one if fine is left else other
        if np.array_equal(fine * whole, coarse):
            return made
        as_float32 = whole.flat[0] <= _SMALL and np.all(np.abs(fine * whole - coarse) <= _SAME * coarse)
        if as_float32 and (made.ndim or np.frexp(made)[0] != 0.5):  # powers of two promise exact multiples
            return made
    raise NotInferred("the grids differ: no scale is a whole multiple of the other")


def united(facts: Sequence[Numbers]) -> Numbers:
    """Return numbers that hold all of these."""
    if len(facts) == 1:
        return facts[0]
    aligned, grid = common_grid(facts)
    declared = {fact.declared for fact in facts}
    made = grid.derived(min(f.low for f in aligned), max(f.high for f in aligned), odd=all(f.odd for f in aligned))
    return replace(made, declared=declared.pop()) if len(declared) == 1 else made


def rounded(numbers: Numbers, dtype: ir.DataType | None, roundings: int = 1) -> Numbers:
    """Return the numbers as their element type holds them after so many sums.

    Beyond its precision a float type keeps to the grid and may round past the bounds. Integers that leave their type
    wrap around.

    Raises:
        NotInferred: there are so many sums that nothing can be said, or values beyond float16.
    """
    container = from_container(dtype)
    if container is not None:
        inside = container.low <= numbers.low and numbers.high <= container.high
        return numbers if inside else container
    precision = _PRECISION.get(dtype or ir.DataType.FLOAT, 24)
    top = max(abs(numbers.low), abs(numbers.high))
    if dtype == ir.DataType.FLOAT16 and (numbers.scale is None or top * float(numbers.scale.max()) > _MOST_FLOAT16):
        raise NotInferred("the range reaches beyond that of float16")
    if top <= 1 << precision:
        return numbers
    if roundings >= 1 << (precision - 2):
        raise NotInferred(f"sums of {roundings} terms in {precision} bits have no useful bound")
    more = (top * roundings >> (precision - 1)) + 1
    low = numbers.low - more if numbers.low < 0 else 0
    return numbers.derived(low, numbers.high + more if numbers.high > 0 else 0)

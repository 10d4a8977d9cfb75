"""The integer grid of a tensor: which real numbers its elements can be, and which integers stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.datatypes import DataType

IntArray = npt.NDArray[np.int64]
T = TypeVar("T")

_FIXED = re.compile(r"(U?)FIXED<\s*(\d+)\s*,\s*(-?\d+)\s*>")
_TEXT = re.compile(
    r"(?:\(\s*(?P<shifted>[A-Z]+\d*)\s*-\s*(?P<zero>\[[^\]]*\]|[+-]?\d+)\s*\)|(?P<plain>[A-Z]+\d*))"
    r"(?:\s*\*\s*(?P<scale>\[[^\]]*\]|[^\s+\[\]]+(?:[eE]\+\d+)?))?"
    r"(?:\s+\+\s+(?P<offset>\[[^\]]*\]|\S+))?"
)
_SPELLINGS = "FIXED<16,6>, UINT8*1/255, INT8*2^-4, UINT8*0.0039, (UINT8-128)*1/255, UINT8, BIPOLAR"


@dataclass(frozen=True)
class Grid:
    """``value = scale * (k - zero_point) + offset`` with ``k`` an integer of ``datatype``.

    ``scale``, ``zero_point`` and ``offset`` have one entry, or one for each channel (last axis in travel order).
    The number that a float32 model sees for ``k`` is the float32 nearest to that rational.
    """

    datatype: DataType
    scale: tuple[Fraction, ...] = (Fraction(1),)
    zero_point: tuple[int, ...] = (0,)
    offset: tuple[Fraction, ...] = (Fraction(0),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _collapsed(Fraction(s) for s in self.scale))
        object.__setattr__(self, "zero_point", _collapsed(int(z) for z in self.zero_point))
        object.__setattr__(self, "offset", _collapsed(Fraction(o) for o in self.offset))
        if not self.datatype.is_integer():
            raise InvalidInput(f"grid: data type {self.datatype}; an integer type is needed. Use e.g. INT8*2^-4.")
        if any(s <= 0 for s in self.scale):
            raise InvalidInput(f"grid: scale {self.scale_text()}; every scale has to be above 0. Flip signs upstream.")
        lengths = {len(part) for part in (self.scale, self.zero_point, self.offset)} - {1}
        if len(lengths) > 1:
            raise InvalidInput(
                f"grid: scale, zero point and offset have {len(self.scale)}, {len(self.zero_point)} and "
                f"{len(self.offset)} entries; each needs one entry or one for each channel."
            )

    @property
    def channels(self) -> int:
        """Number of channels that the grid tells apart; 1 when all channels share it."""
        return max(len(self.scale), len(self.zero_point), len(self.offset))

    @property
    def integers(self) -> tuple[int, int]:
        """Smallest and largest integer of the data type."""
        return int(self.datatype.min), int(self.datatype.max)

    @staticmethod
    def parse(text: str) -> Grid:
        """Return the grid that a text names: ``FIXED<16,6>``, ``UINT8*1/255``, ``INT8*2^-4``, ``BIPOLAR``, ...

        A decimal scale such as ``0.0039`` stands for the float32 nearest to it, ``p/q`` and ``2^-n`` for themselves.
        ``(UINT8-128)*1/255`` has zero point 128. Raises InvalidInput.
        """
        cleaned = text.strip()
        fixed = _FIXED.fullmatch(cleaned)
        if fixed:
            bits, integer_bits = int(fixed[2]), int(fixed[3])
            return Grid(_datatype(f"{'U' if fixed[1] else ''}INT{bits}", text), (Fraction(2) ** (integer_bits - bits),))
        match = _TEXT.fullmatch(cleaned)
        if match is None:
            raise InvalidInput(f"grid {text!r}: not understood; expected one of the spellings {_SPELLINGS}.")
        zero = tuple(int(z) for z in _items(match["zero"], text))
        return Grid(
            _datatype(match["shifted"] or match["plain"], text),
            tuple(_rational(s, text) for s in _items(match["scale"], text)) or (Fraction(1),),
            zero or (0,),
            tuple(_rational(o, text) for o in _items(match["offset"], text)) or (Fraction(0),),
        )

    @staticmethod
    def from_descriptor(datatype: str, scale: str | Sequence[str], zero_point: int | Sequence[int] = 0) -> Grid:
        """Return the grid that the fields of a stream descriptor name."""
        scales = (scale,) if isinstance(scale, str) else tuple(scale)
        zeros = (zero_point,) if isinstance(zero_point, int) else tuple(zero_point)
        return Grid(_datatype(datatype, datatype), tuple(_rational(s, s) for s in scales), zeros)

    def scale_text(self) -> str | list[str]:
        """Return the scale as ``p/q`` or a float32 literal, whichever is exact and shorter, or a list per channel."""
        texts = [_ratio_text(s) for s in self.scale]
        return texts[0] if len(texts) == 1 else texts

    def __str__(self) -> str:
        text = str(self.datatype)
        if self.zero_point != (0,):
            text = f"({text}-{_joined(str(z) for z in self.zero_point)})"
        if self.scale != (Fraction(1),):
            text += "*" + _joined(rational_text(s) for s in self.scale)
        if self.offset != (Fraction(0),):
            text += " + " + _joined(rational_text(o) for o in self.offset)
        return text

    def exact(self, k: int, channel: int = 0) -> Fraction:
        """Return the rational that the integer ``k`` stands for in a channel."""
        return self._at(self.scale, channel) * (k - self._at(self.zero_point, channel)) + self._at(self.offset, channel)

    def to_values(self, k: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the float32 nearest to the exact rational of each integer (ties to even); last axis = channels."""
        ints = np.asarray(k).astype(np.int64)
        scale, zero, offset = (self._row(part) for part in (self.scale, self.zero_point, self.offset))
        product = (ints - zero.astype(np.int64)).astype(np.float64) * scale
        estimate = product + offset
        values = estimate.astype(np.float32)
        # The error of the estimate is below 8 ulp of its larger part; only near a float32 midpoint can that matter.
        error = 4e-15 * (np.abs(product) + np.abs(offset)) + 1e-300
        unsure = (estimate - error).astype(np.float32) != (estimate + error).astype(np.float32)
        for position in np.argwhere(unsure):
            index = tuple(position)
            channel = int(index[-1]) if index else 0
            values[index] = nearest_float32(self.exact(int(ints[index]), channel))
        return np.asarray(values, np.float32)

    def to_integers(self, x: npt.ArrayLike) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Return the nearest integer of each value (half to even, saturating), and whether the value was on the grid.

        A value is on the grid when it is the float32 nearest to what its integer stands for. Wider floats are first
        rounded to float32, because that is what the model sees. Decided exactly. Raises InvalidInput for NaN.
        """
        with np.errstate(over="ignore"):
            values = np.asarray(x).astype(np.float32)
        if np.isnan(values).any():
            raise InvalidInput(f"grid {self}: {int(np.isnan(values).sum())} values are NaN; remove them from the data.")
        low, high = self.integers
        scale, zero, offset = (self._row(part) for part in (self.scale, self.zero_point, self.offset))
        wide = np.clip(values.astype(np.float64), -1e30, 1e30)
        estimate = np.clip((wide - offset) / scale + zero, low - 1.0, high + 1.0)
        nearest = np.rint(estimate)
        margin = 1e-14 * ((np.abs(wide) + np.abs(offset)) / scale + np.abs(zero) + 1.0)
        unsure = (np.abs(estimate - np.floor(estimate) - 0.5) <= margin) & (np.abs(wide) < 1e30)
        for position in np.argwhere(unsure):
            index = tuple(position)
            channel = int(index[-1]) if index else 0
            exact = (Fraction(float(values[index])) - self._at(self.offset, channel)) / self._at(self.scale, channel)
            nearest[index] = min(max(round(exact + self._at(self.zero_point, channel)), low - 1), high + 1)
        ints = np.clip(nearest, low, high).astype(np.int64)
        if self.datatype.name == "BIPOLAR":
            ints = np.where(nearest >= 0, 1, -1).astype(np.int64)
        return ints, np.asarray(self.to_values(ints) == values)

    def _row(self, part: Sequence[Fraction] | Sequence[int]) -> npt.NDArray[np.float64]:
        return np.asarray([float(entry) for entry in part], np.float64) if len(part) > 1 else np.float64(part[0])  # type: ignore[return-value]

    @staticmethod
    def _at(part: Sequence[T], channel: int) -> T:
        return part[channel] if len(part) > 1 else part[0]


def nearest_float32(value: Fraction) -> np.float32:
    """Return the float32 nearest to a rational, ties to even; overflows to infinity."""
    if abs(value) >= 1 << 129:
        return np.float32(np.inf if value > 0 else -np.inf)
    with np.errstate(over="ignore", under="ignore"):
        guess = np.float32(float(value))  # twice rounded: at most one float32 away
    if not np.isfinite(guess):
        largest = np.finfo(np.float32).max
        limit = Fraction(float(largest)) + Fraction(2) ** 103
        return guess if abs(value) >= limit else np.float32(np.copysign(largest, guess))
    around = (np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf)))
    finite = [candidate for candidate in around if np.isfinite(candidate)]
    return min(finite, key=lambda f: (abs(Fraction(float(f)) - value), int(f.view(np.int32)) & 1))


def rational_text(value: Fraction) -> str:
    """Text that ``Grid.parse`` reads back to the same rational: ``2^-n``, ``p/q`` or a float32 literal."""
    if value > 0 and value.numerator == 1 and value.denominator > 1 and not value.denominator & (value.denominator - 1):
        return f"2^-{value.denominator.bit_length() - 1}"
    return _ratio_text(value)


def _ratio_text(value: Fraction) -> str:
    ratio = str(value)
    if value.denominator == 1 or abs(value) >= 1 << 128:
        return ratio
    literal = str(np.float32(float(value)))
    exact = np.isfinite(np.float32(literal)) and _float32_literal(literal) == value
    return literal if exact and len(literal) < len(ratio) else ratio


def _float32_literal(text: str) -> Fraction:
    return Fraction(float(np.float32(text)))


def _rational(text: str, whole: str) -> Fraction:
    entry = text.strip()
    try:
        power = re.fullmatch(r"2\^(-?\d+)", entry)
        if power:
            return Fraction(2) ** int(power[1])
        if re.fullmatch(r"[+-]?\d+(/\d+)?", entry):
            return Fraction(entry)
        with np.errstate(over="ignore"):
            value = np.float32(entry)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidInput(f"grid {whole!r}: {entry!r} is no number; expected p/q, 2^-n or a decimal.") from error
    if not np.isfinite(value):
        raise InvalidInput(f"grid {whole!r}: {entry!r} is not finite as a float32; use a smaller number.")
    return Fraction(float(value))


def _items(text: str | None, whole: str) -> list[str]:
    if text is None:
        return []
    entries = text[1:-1].split(",") if text.startswith("[") else [text]
    if any(not entry.strip() for entry in entries):
        raise InvalidInput(f"grid {whole!r}: empty entry in {text!r}; expected numbers separated by commas.")
    return entries


def _datatype(name: str, whole: str) -> DataType:
    datatype = DataType.parse(name)
    if not datatype.is_integer():
        raise InvalidInput(f"grid {whole!r}: {name} is no integer type; expected one of the spellings {_SPELLINGS}.")
    return datatype


def _joined(entries: Iterable[str]) -> str:
    texts = list(entries)
    return texts[0] if len(texts) == 1 else "[" + ",".join(texts) + "]"


def _collapsed(entries: Iterable[T]) -> tuple[T, ...]:
    values = tuple(entries)
    return values[:1] if all(value == values[0] for value in values) else values

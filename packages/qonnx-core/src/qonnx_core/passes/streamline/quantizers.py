"""What a quantizer asks of its input: the boundaries between its levels, open or closed, as exact rationals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import integer_range

HALF = Fraction(1, 2)

#: Other spellings of a rounding mode.
ALIASES = {"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}

ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "ROUND": round,
    "CEIL": ceil,
    "FLOOR": floor,
    "UP": lambda x: ceil(x) if x > 0 else floor(x),
    "DOWN": lambda x: floor(x) if x > 0 else ceil(x),
    "HALF_UP": lambda x: floor(x + HALF) if x >= 0 else -floor(-x + HALF),
    "HALF_DOWN": lambda x: ceil(x - HALF) if x >= 0 else -ceil(-x - HALF),
}

_MOST_SHIFT = 64
_MOST_LEVELS = 2**16  # of a Trunc, whose steps are found one by one


@dataclass(frozen=True, slots=True)
class Boundary:
    """The level above is taken for ``y >= bound`` (closed) or ``y > bound``."""

    bound: Fraction
    closed: bool


@dataclass(frozen=True)
class Levels:
    """Integers ``base, base + step, ..``, ``count`` steps up; one boundary before each step, rising.

    With a ``rounding`` mode (and step 1) the levels are ``clip(round(y), lo, hi)``, and the boundaries follow from it.
    """

    base: int
    step: int
    count: int
    edges: tuple[Boundary, ...] | None = None
    rounding: str | None = None

    @property
    def lo(self) -> int:
        """Smallest integer."""
        return self.base

    @property
    def hi(self) -> int:
        """Largest integer."""
        return self.base + self.step * self.count

    @cached_property
    def boundaries(self) -> tuple[Boundary, ...]:
        """Where each step is taken; made on first use, because a wide quantizer has many."""
        if self.edges is not None:
            return self.edges
        return tuple(boundary(level, str(self.rounding)) for level in range(self.lo + 1, self.hi + 1))


def canonical_rounding(mode: str) -> str:
    """Return the upper-case name of a rounding mode without aliases; raises Unsupported for an unknown one."""
    name = ALIASES.get(mode.upper(), mode.upper())
    if name not in ROUNDING:
        raise Unsupported(f"rounding mode {mode!r}; known are {', '.join(sorted(ROUNDING))}")
    return name


def boundary(level: int, rounding: str) -> Boundary:
    """Return where rounding starts to give at least ``level``."""
    match rounding:
        case "ROUND":
            return Boundary(level - HALF, level % 2 == 0)
        case "HALF_UP":
            return Boundary(level - HALF, level >= 1)
        case "HALF_DOWN":
            return Boundary(level - HALF, level <= 0)
        case "CEIL":
            return Boundary(Fraction(level - 1), closed=False)
        case "UP":
            return Boundary(Fraction(level - 1), closed=False) if level >= 1 else Boundary(Fraction(level), closed=True)
        case "DOWN":
            return Boundary(Fraction(level), closed=True) if level >= 1 else Boundary(Fraction(level - 1), closed=False)
    return Boundary(Fraction(level), closed=True)


def rounded_levels(lo: int, hi: int, rounding: str) -> Levels:
    """Return the levels of ``clip(round(y), lo, hi)``."""
    return Levels(lo, 1, max(hi - lo, 0), None, rounding)


def bipolar_levels() -> Levels:
    """Return the levels of ``+1 if y >= 0 else -1``."""
    return Levels(-1, 2, 1, (Boundary(Fraction(0), closed=True),))


def sign_levels() -> Levels:
    """Return the levels of ``sign(y)``: -1, 0, 1."""
    zero = Fraction(0)
    return Levels(-1, 1, 2, (Boundary(zero, closed=True), Boundary(zero, closed=False)))


def trunc_levels(lo: int | None, hi: int | None, shift: int, rounding: str, first: int, last: int) -> Levels:
    """Return the levels of ``round_mode(clip(half_even(y) / 2**shift, lo, hi))`` for y from ``first`` to ``last``.

    ``lo`` and ``hi`` of None leave the output unclipped (Trunc version 1); then the range of y bounds the levels.
    """
    if abs(shift) > _MOST_SHIFT:
        raise Unsupported(f"drops {shift} bits; at most {_MOST_SHIFT} can be. Correct the bit widths or the scales")
    scale = Fraction(2) ** shift
    mode = ROUNDING[rounding]
    bottom, top = mode(Fraction(first) / scale), mode(Fraction(last) / scale)
    low = bottom if lo is None else lo
    high = max(low, top if hi is None else hi)
    if high - low > _MOST_LEVELS:
        raise Unsupported(f"{high - low} levels; at most {_MOST_LEVELS} are written out. Use fewer bits")
    boundaries = []
    for level in range(low + 1, high + 1):
        inner = boundary(level, rounding)
        limit = inner.bound * scale  # round_half_even(y) has to reach this integer, or pass it
        reached = ceil(limit) if inner.closed else floor(limit) + 1
        boundaries.append(boundary(reached, "ROUND"))
    return Levels(low, 1, len(boundaries), tuple(boundaries))


def quant_range(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the smallest and largest integer of a Quant node; Unsupported where no integer type has the width."""
    if not 1 <= bits <= _MOST_SHIFT:
        raise Unsupported(f"{bits} bits; an integer type has 1 to {_MOST_SHIFT}. Correct the bit width")
    return integer_range(bits, signed, narrow)

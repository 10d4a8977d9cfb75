"""Exact real numbers: rationals, ``p + q*sqrt(d)``, and anything else as an expression bounded to any precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil as _ceil
from math import floor as _floor
from math import inf, isqrt, nextafter, sqrt
from typing import Any

from qonnx_core.errors import Unsupported

#: Bits up to which an undecided comparison is refined before giving up.
PRECISION_CAP = 8192


@dataclass(frozen=True, slots=True)
class Surd:
    """``p + q * sqrt(d)`` with rational p, q, d; q is not 0, d is positive and no square of a rational."""

    p: Fraction
    q: Fraction
    d: Fraction

    def __neg__(self) -> Surd:
        return Surd(-self.p, -self.q, self.d)

    def __add__(self, other: Real | int) -> Real:
        if isinstance(other, Fraction):
            return Surd(self.p + other if self.p else other, self.q, self.d)
        if isinstance(other, int):
            return Surd(self.p + other, self.q, self.d)
        if isinstance(other, Surd):
            factor = _ratio_of_roots(other.d, self.d)
            if factor is not None:
                p, q = self.p + other.p, self.q + other.q * factor
                return Surd(p, q, self.d) if q else p
        return Expression("+", (self, other))

    __radd__ = __add__

    def __sub__(self, other: Real | int) -> Real:
        return self + (-other)

    def __rsub__(self, other: Real | int) -> Real:
        return (-self) + other

    def __mul__(self, other: Real | int) -> Real:
        if isinstance(other, (Fraction, int)):
            return Surd(self.p * other if self.p else self.p, self.q * other, self.d) if other else Fraction(0)
        if isinstance(other, Surd):
            factor = _ratio_of_roots(other.d, self.d)
            if factor is not None:
                q = other.q * factor
                rational, irrational = self.p * other.p + self.q * q * self.d, self.p * q + self.q * other.p
                return Surd(rational, irrational, self.d) if irrational else rational
        return Expression("*", (self, other))

    __rmul__ = __mul__

    def __truediv__(self, other: Real | int) -> Real:
        return self * reciprocal(other)

    def __rtruediv__(self, other: Real | int) -> Real:
        return reciprocal(self) * other


@dataclass(frozen=True, slots=True)
class Expression:
    """An operation on exact numbers that is only ever bounded, to as many digits as decide a comparison."""

    operation: str
    arguments: tuple[Real, ...]

    def __neg__(self) -> Real:
        return Expression("*", (self, Fraction(-1)))

    def __add__(self, other: Real | int) -> Real:
        return self if other == 0 else Expression("+", (self, _real(other)))

    __radd__ = __add__

    def __sub__(self, other: Real | int) -> Real:
        return self + (-other)

    def __rsub__(self, other: Real | int) -> Real:
        return (-self) + other

    def __mul__(self, other: Real | int) -> Real:
        if other == 0:
            return Fraction(0)
        return self if other == 1 else Expression("*", (self, _real(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Real | int) -> Real:
        return self * reciprocal(other)

    def __rtruediv__(self, other: Real | int) -> Real:
        return reciprocal(self) * other


Real = Fraction | Surd | Expression


def surd(p: Fraction, q: Fraction, d: Fraction) -> Real:
    """``p + q * sqrt(d)`` in its simplest form (a Fraction where it is rational)."""
    if q == 0:
        return p
    root = rational_sqrt(d)
    return Surd(p, q, d) if root is None else p + q * root


def rational_sqrt(value: Fraction) -> Fraction | None:
    """Return the rational square root of a rational of at least 0, or None where it is irrational."""
    squares = value.as_integer_ratio()
    top, bottom = isqrt(squares[0]), isqrt(squares[1])
    return Fraction(top, bottom) if (top * top, bottom * bottom) == squares else None


def _ratio_of_roots(top: Fraction, bottom: Fraction) -> Fraction | int | None:
    """Return ``sqrt(top / bottom)``, or None where it is irrational."""
    return 1 if top is bottom else rational_sqrt(top / bottom)


def reciprocal(value: Real | int) -> Real:
    """``1 / value``; value is not 0."""
    if isinstance(value, (Fraction, int)):
        return 1 / Fraction(value)
    if isinstance(value, Surd):
        norm = value.p * value.p - value.q * value.q * value.d  # not 0: sqrt(d) is irrational
        return Surd(value.p / norm, -value.q / norm, value.d)
    return Expression("1/", (value,))


def logarithm(value: Real) -> Real:
    """Natural logarithm of a positive number."""
    return Fraction(0) if value == 1 else Expression("log", (value,))


def exponential(value: Real) -> Real:
    """``e ** value``."""
    return Fraction(1) if value == 0 else Expression("exp", (value,))


def sign(value: Real | int) -> int:
    """-1, 0 or 1, decided exactly."""
    if isinstance(value, Fraction):
        return (value.numerator > 0) - (value.numerator < 0)
    if isinstance(value, int):
        return (value > 0) - (value < 0)
    if isinstance(value, Surd):
        if sign(value.p) in (0, sign(value.q)):
            return sign(value.q)
        return sign(value.p) * sign(value.p * value.p - value.q * value.q * value.d)
    return _refine(value, lambda low, high: 1 if low > 0 else -1 if high < 0 else None)


def compare(left: Real | int, right: Real | int) -> int:
    """-1, 0 or 1 as left is below, equal to or above right, decided exactly."""
    return sign(left - right)


def floor(value: Real) -> int:
    """Return the largest integer that is not above the number, decided exactly."""
    if isinstance(value, Fraction):
        return _floor(value)
    if isinstance(value, Surd):
        common = value.p.denominator * value.q.denominator * value.d.denominator
        # p + q sqrt(d) = (a +- sqrt(b)) / common with integers a, b
        a = value.p.numerator * (common // value.p.denominator)
        scaled = value.q * common
        square = scaled * scaled * value.d
        root = isqrt(square.numerator)  # the common denominator clears the square: its denominator is 1
        return (a + root) // common if value.q > 0 else (a - root - 1) // common
    return _refine(value, lambda low, high: _floor(low) if _floor(low) == _floor(high) else None)


def ceil(value: Real) -> int:
    """Return the smallest integer that is not below the number, decided exactly."""
    return _ceil(value) if isinstance(value, Fraction) else -floor(-value)


def float_bounds(value: Real) -> tuple[float, float]:
    """Two floats, a few ulp apart, that enclose the number."""
    if isinstance(value, Fraction):
        try:
            middle = float(value)
        except OverflowError:
            return (1.7e308, inf) if value > 0 else (-inf, -1.7e308)
        return nextafter(middle, -inf), nextafter(middle, inf)
    if isinstance(value, Surd):
        (a, b), (c, d), (e, f) = (part.as_integer_ratio() for part in (value.p, value.q, value.d))
        try:
            p, q = a / b, c / d * sqrt(e / f)
        except OverflowError:
            return -inf, inf
        margin = 4e-15 * (abs(p) + abs(q)) + 1e-300
        return p + q - margin, p + q + margin
    low, high = _bounds(value, 96)
    return nextafter(float(low), -inf), nextafter(float(high), inf)


def _real(value: Real | int) -> Real:
    return Fraction(value) if isinstance(value, int) else value


def _refine(value: Expression, decide: Callable[[Fraction, Fraction], int | None]) -> int:
    bits = 96
    while bits <= PRECISION_CAP:
        low, high = _bounds(value, bits)
        verdict = decide(low, high)
        if verdict is not None:
            return verdict
        bits *= 2
    raise Unsupported(
        f"exact comparison: undecided after {PRECISION_CAP} bits near {float(_bounds(value, 96)[0])!r}; "
        "the constants put a rounding boundary exactly on a grid point through irrational factors. "
        "Change the scale or the batch-norm constants in the last digit."
    )


def _bounds(value: Expression, bits: int) -> tuple[Fraction, Fraction]:
    from mpmath.ctx_iv import MPIntervalContext
    from mpmath.libmp import ComplexResult

    while bits <= PRECISION_CAP:
        context = MPIntervalContext()
        context.prec = bits
        try:
            (low, high) = _enclose(value, context)._mpi_
        except ComplexResult:  # an enclosure of a positive number still reaches below 0: too few digits
            bits *= 2
            continue
        if (low[1] or not low[2]) and (high[1] or not high[2]):
            return _from_mpf(low), _from_mpf(high)
        bits *= 2
    raise Unsupported(
        f"exact comparison: no finite bound after {PRECISION_CAP} bits; a boundary lies on a pole of the function. "
        "Change the scale or the constants before it in the last digit."
    )


def _enclose(value: Real, context: Any) -> Any:
    if isinstance(value, Fraction):
        return context.mpf(value.numerator) / context.mpf(value.denominator)
    if isinstance(value, Surd):
        return _enclose(value.p, context) + _enclose(value.q, context) * context.sqrt(_enclose(value.d, context))
    arguments = [_enclose(argument, context) for argument in value.arguments]
    match value.operation:
        case "+":
            return arguments[0] + arguments[1]
        case "*":
            return arguments[0] * arguments[1]
        case "1/":
            return 1 / arguments[0]
        case "log":
            return context.log(arguments[0])
        case "exp":
            return context.exp(arguments[0])
    raise AssertionError(f"unknown operation {value.operation}")


def _from_mpf(number: tuple[int, int, int, int]) -> Fraction:
    negative, mantissa, exponent, _ = number
    size = Fraction(int(mantissa)) * Fraction(2) ** exponent
    return -size if negative else size

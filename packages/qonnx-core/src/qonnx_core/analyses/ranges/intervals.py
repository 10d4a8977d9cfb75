"""Float64 arithmetic rounded outwards: each operation returns a number below and one above the real result.

A result that float64 holds is returned twice, so that exact inputs with exact results stay exact. The rounding error
of a sum and of a product is itself a float64, found by the transformations of Dekker and Knuth (S. M. Rump, "Error
estimation of floating-point summation and dot product", BIT Numerical Mathematics 52, 2012, section 2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qonnx_core.verify.bounded import unit_of

FloatArray = npt.NDArray[np.float64]
Pair = tuple[FloatArray, FloatArray]

_SPLIT = 134217729.0  # 2**27 + 1
_SMALLEST = 1e-270  # below, the error of a product may be lost to underflow
_LARGEST = 1e290  # above, the splitting may overflow
_UNIT_ROUNDOFF = 2.0**-53


def _outwards(value: FloatArray, exact: npt.NDArray[np.bool_]) -> Pair:
    if exact.all():
        return value, value
    return np.where(exact, value, np.nextafter(value, -np.inf)), np.where(exact, value, np.nextafter(value, np.inf))


def add(a: FloatArray, b: FloatArray) -> Pair:
    """Return bounds of ``a + b``; infinities of opposite signs do not meet."""
    with np.errstate(all="ignore"):
        value = np.asarray(a + b)
        part = value - a
        error = (a - (value - part)) + (b - part)
        return _outwards(value, (error == 0) | np.isinf(a) | np.isinf(b))


def multiply(a: FloatArray, b: FloatArray) -> Pair:
    """Return bounds of ``a * b``; 0 times infinity is 0."""
    with np.errstate(all="ignore"):
        zero = (a == 0) | (b == 0)
        value = np.where(zero, 0.0, a * b)
        (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
        error = ((a_high * b_high - value) + a_high * b_low + a_low * b_high) + a_low * b_low
        size = np.abs(value)
        safe = (size > _SMALLEST) & (np.maximum(np.maximum(np.abs(a), np.abs(b)), size) < _LARGEST)
        return _outwards(value, zero | np.isinf(a) | np.isinf(b) | (safe & (error == 0)))


def divide(a: FloatArray, b: FloatArray) -> Pair:
    """Return bounds of ``a / b``; b is not 0."""
    with np.errstate(all="ignore"):
        value = np.asarray(a / b)
        low, high = multiply(value, b)
        return _outwards(value, ((low == a) & (high == a)) | np.isinf(a) | np.isinf(b))


def _halves(a: FloatArray) -> Pair:
    """Return the leading and the trailing bits of numbers, whose sum they are."""
    spread = _SPLIT * a
    high = np.asarray(spread - (spread - a))
    return high, np.asarray(a - high)


def _ends(a: Pair) -> tuple[FloatArray, ...]:
    """Return the two bounds, or one where they are the same array."""
    return a if a[0] is not a[1] else a[:1]


def _hull(corners: list[Pair]) -> Pair:
    """Return the interval that holds the intervals."""
    if len(corners) == 1:
        return corners[0]
    return np.minimum.reduce([c[0] for c in corners]), np.maximum.reduce([c[1] for c in corners])


def sum_of(a: Pair, b: Pair) -> Pair:
    """Return the interval of ``x + y`` for x in a and y in b."""
    if a[0] is a[1] and b[0] is b[1]:
        return add(a[0], b[0])
    return add(a[0], b[0])[0], add(a[1], b[1])[1]


def product_of(a: Pair, b: Pair) -> Pair:
    """Return the interval of ``x * y`` for x in a and y in b."""
    return _hull([multiply(x, y) for x in _ends(a) for y in _ends(b)])


def quotient_of(a: Pair, b: Pair) -> Pair:
    """Return the interval of ``x / y`` for x in a and y in b; everything where b holds 0."""
    open_ = (b[0] <= 0) & (b[1] >= 0)
    safe = [np.where(open_, 1.0, end) for end in _ends(b)]
    low, high = _hull([divide(x, y) for x in _ends(a) for y in safe])
    unknown = open_ | np.isnan(low) | np.isnan(high)
    return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)


def summed(x: Pair, axis: int | tuple[int, ...]) -> Pair:
    """Return bounds of the sums along axes, which stay with one entry."""
    count = int(np.prod([x[0].shape[a] for a in ((axis,) if isinstance(axis, int) else axis)]))
    result = []
    for side, infinity in ((x[0], -np.inf), (x[1], np.inf)):
        size = np.sum(np.abs(side), axis=axis, keepdims=True)
        value = np.sum(side, axis=axis, keepdims=True)
        units = unit_of(np.where(np.isfinite(side), side, 0.0), axis)
        exact = np.isinf(size) | (size <= 2.0**53 * units)
        margin = np.where(exact, 0.0, np.nextafter(count * _UNIT_ROUNDOFF * size, np.inf))
        with np.errstate(invalid="ignore"):
            result.append(np.where(np.isinf(size), infinity, value + np.copysign(margin, infinity)))
    return result[0], result[1]

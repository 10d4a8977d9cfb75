"""A tensor of exact values together with a bound on the error of every float32 computation of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qonnx_core.errors import QonnxError

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of one correctly rounded float32 operation."""

SIGNIFICAND_UNITS = 2.0**24
"""Integers up to this magnitude are exact in float32, and so are their sums in any order."""

TINY = 2.0**-126
"""Smallest normal float32: the absolute error of a result that is flushed to zero."""

SLACK = 1.0 + 2.0**-18
"""Covers terms of second order, and the rounding of the bounds themselves, which are computed in float64."""


class NoBound(QonnxError):
    """No float error bound is known for an operator as it is used; the message says what stands in the way."""


@dataclass(frozen=True, slots=True)
class SumTerms:
    """What a sum was made of, so that adding one more term to it can be bounded in any order of all of them.

    ``count`` products or terms whose magnitudes add up to ``magnitude``; ``propagated`` is the error that came in
    with the operands; ``unit`` is a power of two that divides every term (0 where there is none).
    """

    count: int
    magnitude: Float64
    propagated: Float64
    unit: Float64


@dataclass(frozen=True, slots=True)
class Bounded:
    """Exact values and the largest error of a float32 computation of them, elementwise.

    ``value`` is float64 for real tensors and int64 or bool for others. ``error`` is None where it is zero
    everywhere; where it is zero the value is a float32 number and every float32 computation gives precisely it.
    An infinite error says that no bound is known. ``error`` always has the shape of ``value``.
    """

    value: NDArray[np.generic]
    error: Float64 | None = None
    terms: SumTerms | None = None

    @property
    def real(self) -> Float64:
        """The values as float64."""
        return np.asarray(self.value, dtype=np.float64)

    @property
    def errors(self) -> Float64:
        """The error as an array of the shape of the value, zeros included."""
        return np.zeros(self.value.shape) if self.error is None else self.error

    @property
    def is_real(self) -> bool:
        """False for integer and boolean tensors, which are always exact."""
        return self.value.dtype.kind == "f"


def is_float32(values: Float64) -> Mask:
    """Return where a float64 value is exactly a (normal, finite or zero) float32 number."""
    with np.errstate(over="ignore"):
        same = values.astype(np.float32).astype(np.float64) == values
    return np.asarray(same & (np.isfinite(values)) & ((values == 0) | (np.abs(values) >= TINY)))


def with_errors(value: Float64, error: Float64, terms: SumTerms | None = None) -> Bounded:
    """Return a `Bounded` that drops an error of zero; an error that is no number becomes infinite."""
    if not error.any():
        return Bounded(value, None, terms)
    error = np.where(np.isnan(error), np.inf, error)
    return Bounded(value, np.broadcast_to(error, value.shape), terms)


def rounded(value: Float64, propagated: Float64 | float, exact: Mask | bool, roundoffs: float = 1.0) -> Bounded:
    """Return the result of one operation with the given error from its operands and ``roundoffs`` units of its own.

    ``exact`` marks elements for which ``value`` is known to be the real result; where it also is a float32 number
    and nothing came in with the operands, the error is zero.
    """
    error = (propagated + roundoffs * UNIT_ROUNDOFF * np.abs(value) + TINY) * SLACK
    nothing = np.asarray(exact) & (np.asarray(propagated) == 0) & is_float32(value)
    return with_errors(value, np.where(nothing, 0.0, error))


def gamma(count: int) -> float:
    """Relative error of a sum of ``count`` products in any order: ``n u / (1 - n u)``."""
    product = count * UNIT_ROUNDOFF
    return product / (1.0 - product) if product < 1.0 else float("inf")


def unit_of(values: Float64, axis: int | tuple[int, ...] | None, *, keepdims: bool = True) -> Float64:
    """Return the largest power of two that divides all of ``values`` along ``axis``; infinity if all are zero."""
    mantissa, exponent = np.frexp(values)
    digits = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = (digits & -digits).astype(np.float64)
    units = np.where(digits == 0, np.inf, np.ldexp(lowest, exponent - 53))
    return np.asarray(np.min(units, axis=axis, keepdims=keepdims, initial=np.inf))

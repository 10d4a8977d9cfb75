"""Proven ranges of integer tensors, one interval per channel, layer by layer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline.quantizers import ROUNDING

IntArray = npt.NDArray[np.int64]
Range = tuple[IntArray, IntArray]

#: Integers up to here are exact in float64, and so in a float64 execution of the integer graph.
LIMIT = 1 << 53


def smallest_datatype(lo: int, hi: int) -> DataType:
    """Return the smallest INT or UINT type (one unsigned bit is BINARY) that holds both bounds."""
    if lo >= 0:
        return DataType.unsigned(max(hi.bit_length(), 1))
    return DataType.integer(max((-lo - 1).bit_length(), hi.bit_length()) + 1)


def datatype_of_weights(weights: IntArray) -> DataType:
    """Return BIPOLAR for weights that are all -1 or 1, else the smallest INT or UINT type."""
    if weights.size and (np.abs(weights) == 1).all():
        return DataType.parse("BIPOLAR")
    return smallest_datatype(int(weights.min(initial=0)), int(weights.max(initial=0)))


def magnitude(lo: IntArray, hi: IntArray) -> int:
    """Return the largest absolute value in a range."""
    return max(int(np.abs(lo).max(initial=0)), int(np.abs(hi).max(initial=0)))


def matmul_magnitude(lo: IntArray, hi: IntArray, weights: IntArray, bias: IntArray | None) -> int:
    """Return a bound of every partial sum of ``x @ weights + bias``, in any order of the sum."""
    largest = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64)
    total = largest @ np.abs(weights).astype(np.float64)
    if bias is not None:
        total = total + np.abs(bias).astype(np.float64)
    bound = float(total.max(initial=0.0))
    return int(bound) + 1 if bound >= LIMIT else int(bound)


def matmul_range(lo: IntArray, hi: IntArray, weights: IntArray, bias: IntArray | None) -> Range:
    """Return the tight range of ``x @ weights + bias`` for x in ``[lo, hi]``, per column."""
    low, high = matmul_ranges(lo, hi, weights)[0]
    if bias is not None:
        if matmul_magnitude(lo, hi, weights, bias) >= LIMIT:
            raise Unsupported("its sums exceed 2**53 and are no longer exact in float64; use fewer bits")
        low, high = low + bias, high + bias
    return low, high


def matmul_ranges(lo: IntArray, hi: IntArray, weights: IntArray) -> tuple[Range, Range]:
    """Return the tight range of ``x @ weights``, and the smallest and largest sum of any of its products, per column.

    ``lo`` and ``hi`` are ``[..., K]``, ``weights`` is ``[..., K, N]``, the results ``[..., N]``. An adder that holds
    the second range holds every partial sum, in any order; one that holds that of the whole sum needs wrap-around.
    Raises Unsupported for sums of 2**53; below, sums of integers are exact in float64.
    """
    ends = np.stack([lo, hi, np.minimum(lo, 0), np.maximum(hi, 0)], axis=-2).astype(np.float64)
    turned = ends[..., [1, 0, 3, 2], :]
    numbers = weights.astype(np.float64)
    rising, falling = np.maximum(numbers, 0), np.minimum(numbers, 0)
    sums = ends @ rising + turned @ falling
    largest = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64)[..., None, :]
    if float((largest @ rising - largest @ falling).max(initial=0.0)) >= LIMIT:
        raise Unsupported("its sums exceed 2**53 and are no longer exact in float64; use fewer bits")
    low, high, least, most = (sums[..., row, :].astype(np.int64) for row in range(4))
    return (low, high), (least, most)


def thresholds_range(lo: IntArray, hi: IntArray, thresholds: IntArray, base: int, step: int) -> Range:
    """Return the range of ``base + step * #{t : x >= t}``, per channel."""
    check_levels(base, base + step * thresholds.shape[1])
    rows = np.broadcast_to(thresholds, (len(lo), thresholds.shape[1]))
    low = base + step * (lo[:, None] >= rows).sum(axis=1)
    high = base + step * (hi[:, None] >= rows).sum(axis=1)
    return low.astype(np.int64), high.astype(np.int64)


def check_levels(first: int, last: int) -> None:
    """Raise Unsupported where a quantizer gives integers that float64 does not hold."""
    if max(abs(first), abs(last)) >= LIMIT:
        raise Unsupported("its levels exceed 2**53 and are no longer exact in float64; correct its zero point or bias")


def requantize_range(lo: IntArray, hi: IntArray, shift: int, rounding: str, bottom: int, top: int) -> Range:
    """Return the range of ``clip(round(x / 2**shift), bottom, top)``, per channel."""
    mode, scale = ROUNDING[rounding], Fraction(2) ** shift
    ends = [[min(max(mode(int(x) / scale), bottom), top) for x in side] for side in (lo, hi)]
    return np.asarray(ends[0], np.int64), np.asarray(ends[1], np.int64)


def scaled_range(lo: IntArray, hi: IntArray, factor: IntArray) -> Range:
    """Return the range of ``x * factor``, per channel."""
    if magnitude(lo, hi) * int(np.abs(factor).max(initial=0)) >= LIMIT:
        raise Unsupported("scaled integers exceed 2**53 and are no longer exact in float64; use fewer bits")
    a, b = lo * factor, hi * factor
    return np.minimum(a, b), np.maximum(a, b)


def sum_range(a: Range, b: Range) -> Range:
    """Return the range of a sum, per channel."""
    if magnitude(*a) + magnitude(*b) >= LIMIT:
        raise Unsupported("sums of integers exceed 2**53 and are no longer exact in float64; use fewer bits")
    return a[0] + b[0], a[1] + b[1]

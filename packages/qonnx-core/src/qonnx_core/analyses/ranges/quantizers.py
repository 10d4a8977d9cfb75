"""Rules of quantizers: the level of the smallest and of the largest input, decided exactly where that matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges import intervals
from qonnx_core.analyses.ranges.extent import LIMIT, Extent, Lattice, Reals, between, each, on_lattice
from qonnx_core.analyses.ranges.intervals import FloatArray, Pair
from qonnx_core.analyses.ranges.operation import Operation, Rule, exact_numbers, numbers_of
from qonnx_core.errors import Unsupported
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.constants import Constant, rounding_of
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.quantizers import ROUNDING as EXACT_ROUNDING
from qonnx_core.passes.streamline.quantizers import canonical_rounding
from qonnx_core.verify.quantizers import ROUNDING, clamped, limits

Level = Callable[[FloatArray], FloatArray]
_MAX_COUNTS = 1 << 25


def settled(
    x: Extent,
    position: Callable[[Pair], Pair],
    level: Level,
    exactly: Callable[[Real, tuple[int, ...]], float] | None = None,
) -> Pair:
    """Return the smallest and largest level that a rising or falling step function gives for x.

    ``position`` moves bounds of a value to what ``level`` is a function of. Where the bounds of an end lie on two sides
    of a step, ``exactly`` decides with the end's exact value.
    """
    found: list[FloatArray] = []
    lattice = None if x.rounded else x.lattice
    for side, end in enumerate(x.ends()):
        below, above = (np.asarray(level(edge)) for edge in position(end))
        below, above = (np.array(edge) for edge in np.broadcast_arrays(below, above))
        if lattice is not None and exactly is not None:
            ints = (lattice.low, lattice.high)[side]
            full = [np.broadcast_to(array, below.shape) for array in (lattice.scale, lattice.offset, ints)]
            for index in map(tuple, np.argwhere(below != above)):
                value = full[0][index] * int(full[2][index]) + full[1][index]
                below[index] = above[index] = exactly(value, index)
        found += [below, above]
    return np.minimum.reduce(found), np.maximum.reduce(found)


def rounded_exactly(value: Real, mode: str) -> int:
    """Return a number rounded by a mode; an irrational one is never halfway."""
    if isinstance(value, Fraction):
        return EXACT_ROUNDING[mode](value)
    whole = exact.floor(value)
    upper = exact.compare(value, whole + Fraction(1, 2)) > 0
    return EXACT_ROUNDING[mode](whole + Fraction(3 if upper else 1, 4))


def levels(x: Extent, lo: FloatArray, hi: FloatArray, scale: Reals, zero: Reals, datatype: DataType | None) -> Extent:
    """Return the extent of ``scale * (level - zero)`` for levels between bounds."""
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()) or max(np.abs(lo).max(), np.abs(hi).max()) >= LIMIT:
        return between((np.asarray(-np.inf), np.asarray(np.inf)), x.axis, "its levels are not bounded")
    signs = np.asarray([exact.sign(s) for s in scale.reshape(-1)], np.int64).reshape(scale.shape)
    low, high = lo.astype(np.int64), hi.astype(np.int64)
    low, high = np.where(signs < 0, -high, low), np.where(signs < 0, -low, high)
    size = each(abs, scale)
    offset = np.asarray(zero * scale * Fraction(-1), object)
    return on_lattice(Lattice(size, offset, low, high, datatype if (signs > 0).all() else None), x.axis)


def _scale(op: Operation, position: int = 1) -> Constant:
    scale = op.constant(position, "scale")
    if (numbers_of(scale) == 0).any():
        raise Unsupported("its scale holds 0")
    return scale


def _in_steps(scale: FloatArray, zero: FloatArray) -> Callable[[Pair], Pair]:
    def position(end: Pair) -> Pair:
        low, high = intervals.quotient_of((end[0], end[1]), (scale, scale))
        return intervals.sum_of((low, high), (zero, zero))

    return position


def quant(op: Operation) -> list[Extent]:
    """Quant and IntQuant."""
    x, scale = op.extent(0), _scale(op)
    zero, width = op.constant(2, "zero point"), op.constant(3, "bit width")
    signed, narrow = bool(op.integer("signed", 1)), bool(op.integer("narrow", 0))
    mode = canonical_rounding(rounding_of(op.node, "ROUND"))
    rounding = ROUNDING[mode]
    bits = numbers_of(width)
    low, high = limits(bits, signed=signed, narrow=narrow)
    two_valued = (bits == 1.0) & signed
    scales, zeros = exact_numbers(scale), exact_numbers(zero)

    def level(y: FloatArray) -> FloatArray:
        return np.where(two_valued, np.where(y >= 0, 1.0, -1.0), rounding(clamped(y, low, high)))

    def exactly(value: Real, index: tuple[int, ...]) -> float:
        s, z, a, b, two = (_at(array, index) for array in (scales, zeros, low, high, two_valued))
        y = value / s + z
        if two:
            return 1.0 if exact.sign(y) >= 0 else -1.0
        for bound, side in ((Fraction(float(b)), 1), (Fraction(float(a)), -1)):
            if exact.compare(y, bound) == side:
                y = bound
        return float(rounded_exactly(y, mode))

    found = settled(x, _in_steps(numbers_of(scale), numbers_of(zero)), level, exactly)
    declared = _declared(bits, signed=signed, two_valued=bool(two_valued.all()))
    return [levels(x, found[0], found[1], scales, zeros, declared)]


def _declared(bits: FloatArray, *, signed: bool, two_valued: bool = False) -> DataType | None:
    first = float(bits.reshape(-1)[0])
    if bits.size != 1 or first != int(first) or not 1 <= first <= 53:
        return None
    if two_valued:
        return DataType.BIPOLAR
    return DataType.integer(int(first)) if signed else DataType.unsigned(int(first))


def _at(array: npt.NDArray[Any], index: tuple[int, ...]) -> Any:
    """Return the element that broadcasting brings to a place."""
    padded = array.reshape((1,) * (len(index) - array.ndim) + array.shape)
    return padded[tuple(0 if size == 1 else place for place, size in zip(index, padded.shape, strict=True))]


def bipolar_quant(op: Operation) -> list[Extent]:
    """BipolarQuant."""
    x, scale = op.extent(0), exact_numbers(_scale(op))
    found = settled(x, lambda end: end, lambda y: np.where(y >= 0, 1.0, -1.0), lambda v, _: _sign_bit(v))
    zero = np.full((1,) * scale.ndim, Fraction(0), object)
    return [levels(x, found[0], found[1], scale, zero, DataType.BIPOLAR)]


def _sign_bit(value: Real) -> float:
    return 1.0 if exact.sign(value) >= 0 else -1.0


def sign(op: Operation) -> list[Extent]:
    """Sign."""
    x = op.extent(0)
    found = settled(x, lambda end: end, np.sign, lambda v, _: float(exact.sign(v)))
    one, zero = (np.full((1,) * x.lo.ndim, Fraction(n), object) for n in (1, 0))
    return [levels(x, found[0], found[1], one, zero, DataType.TERNARY)]


def trunc(op: Operation) -> list[Extent]:
    """Trunc, version 1 (five inputs) and 2 (six)."""
    x, scale = op.extent(0), _scale(op)
    zero = op.constant(2, "zero point")
    mode = canonical_rounding(rounding_of(op.node, "FLOOR"))
    scales, zeros = exact_numbers(scale), exact_numbers(zero)
    if len(op.inputs) >= 6:
        result = _scale(op, 4)
        step = 2.0 ** np.round(np.log2(numbers_of(result) / numbers_of(scale)))
        bits = numbers_of(op.constant(5, "output bit width"))
        signed = bool(op.integer("signed", 1))
        low, high = limits(bits, signed=signed, narrow=bool(op.integer("narrow", 0)))
        datatype = _declared(bits, signed=signed)
        scales_after = exact_numbers(result)
        zeros_after = np.asarray(zeros / np.asarray(each(Fraction, step.astype(object)), object), object)
    else:
        widths = [numbers_of(op.constant(i, "bit width")) for i in (3, 4)]
        step = np.asarray(2.0 ** (widths[0] - widths[1]))
        low, high = np.asarray(-np.inf), np.asarray(np.inf)
        datatype, scales_after, zeros_after = None, scales, zeros

    def level(y: FloatArray) -> FloatArray:
        return np.asarray(ROUNDING[mode](clamped(np.round(y) / step, low, high)))

    def exactly(value: Real, index: tuple[int, ...]) -> float:
        s, z = _at(scales, index), _at(zeros, index)
        whole = rounded_exactly(value / s + z, "ROUND")
        return float(_at(level(np.full((1,) * len(index), float(whole))), index))

    found = settled(x, _in_steps(numbers_of(scale), numbers_of(zero)), level, exactly)
    return [levels(x, found[0], found[1], scales_after, zeros_after, datatype)]


def float_quant(op: Operation) -> list[Extent]:
    """FloatQuant: minifloats are whole multiples of the smallest subnormal number."""
    x, scale = op.extent(0), _scale(op)
    exponent_bits, mantissa_bits, bias, most = (numbers_of(op.constant(i, "format")) for i in (2, 3, 4, 5))
    rounding = ROUNDING[canonical_rounding(rounding_of(op.node, "ROUND"))]
    unit = 2.0**-mantissa_bits
    last = 2.0**exponent_bits - 1 - bias
    least = 1 - bias
    top = np.minimum((2 - unit) * 2.0**last, most)
    smallest = 2.0 ** np.floor(least - mantissa_bits)

    def value(y: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            size = np.clip(np.abs(y), 2.0**least, 2.0**last)
            step = 2.0 ** (np.frexp(size)[1] - 1 - mantissa_bits)
            kept = np.where(np.isinf(y), y, rounding(y / step) * step)
        return np.asarray(kept)

    zero = np.zeros((1,) * numbers_of(scale).ndim)
    found = settled(x, _in_steps(numbers_of(scale), zero), value)
    if not op.integer("saturation", 1) and (bool((found[0] < -top).any()) or bool((found[1] > top).any())):
        raise Unsupported("values beyond the largest number become infinite or NaN")
    lo, hi = np.clip(found[0], -top, top), np.clip(found[1], -top, top)
    scales = exact_numbers(scale)
    counts = [lo / smallest, hi / smallest, top / smallest]
    gains = np.asarray(scales * np.asarray(each(Fraction, np.asarray(smallest).astype(object)), object), object)
    if all((c == np.rint(c)).all() and np.abs(c).max(initial=0) < LIMIT for c in counts):
        return [levels(x, counts[0], counts[1], gains, np.full((1,) * gains.ndim, Fraction(0), object), None)]
    factors = numbers_of(scale)
    return [between(intervals.product_of((lo, hi), (factors, factors)), x.axis, "its minifloats span too many bits")]


def _thresholds(op: Operation) -> FloatArray:
    """Return the thresholds, which may be infinite or NaN."""
    array = constant_array(op.node.inputs[1])
    if array is None or array.dtype.kind not in "fiu":
        return numbers_of(op.constant(1, "thresholds"))
    return array.astype(np.float64)


def multi_threshold(op: Operation) -> list[Extent]:
    """MultiThreshold, channels on axis 1, or on the last axis by its layout."""
    x = op.extent(0)
    rows = _thresholds(op)
    rank = len(op.shape(0))
    layout = MultiThreshold(out_dtype="", data_layout=op.text("data_layout", ""))
    axis = rank - 1 if layout.channels_last or rank < 2 else 1
    rows = rows.reshape((1,) * axis + (rows.shape[0],) + (1,) * (rank - 1 - axis) + (rows.shape[1],))
    rows = np.where(np.isnan(rows), np.inf, rows)
    if x.lo.size * rows.shape[-1] > _MAX_COUNTS:
        x = x.hull([a for a in range(rank) if a != axis])

    def level(y: FloatArray) -> FloatArray:
        return np.asarray((y[..., None] >= rows).sum(axis=-1), np.float64)

    def exactly(value: Real, index: tuple[int, ...]) -> float:
        place = tuple(0 if size == 1 else i for i, size in zip(index, rows.shape[:-1], strict=True))
        return float(sum(np.isneginf(t) or (np.isfinite(t) and exact.compare(value, Fraction(float(t))) >= 0)
                         for t in rows[place]))  # fmt: skip

    found = settled(x, lambda end: end, level, exactly)
    gain, bias = (
        Fraction(float(np.float32(op.node.attributes.get_float(name, default))))
        for name, default in (("out_scale", 1.0), ("out_bias", 0.0))
    )
    if gain == 0:
        raise Unsupported("its out_scale is 0")
    name = op.text("out_dtype", "")
    whole = gain == 1 and bias.denominator == 1
    declared = DataType.parse(name) if name and whole else None
    ones = (1,) * rank
    if whole:  # the integers are the values
        lo, hi = found[0] + float(bias), found[1] + float(bias)
        fits = declared is not None and declared.is_integer()
        one, zero = (np.full(ones, Fraction(n), object) for n in (1, 0))
        return [replace(levels(x, lo, hi, one, zero, declared if fits else None), axis=axis)]
    scale, shift = np.full(ones, gain, object), np.full(ones, -bias / gain, object)
    return [replace(levels(x, found[0], found[1], scale, shift, None), axis=axis)]


def quantize_linear(op: Operation) -> list[Extent]:
    """QuantizeLinear: whole numbers of the type of the zero point (uint8 without one), half to even, saturating."""
    x, scale = op.extent(0), _scale(op)
    zero = op.optional(2, "zero point")
    output = op.node.outputs[0].dtype
    info = None if output is None or not output.is_integer() else output
    if info is None:
        raise Unsupported("its output type is not known, or no integer type")
    bits, is_signed = info.bitwidth, info.is_signed()
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if is_signed else (0.0, 2.0**bits - 1)
    rank = len(op.shape(0))
    scales = _along(op, exact_numbers(scale), rank)
    zeros = _along(op, exact_numbers(zero), rank) if zero is not None else np.full((1,) * rank, Fraction(0), object)
    floats = [np.asarray([float(n) for n in a.reshape(-1)]).reshape(a.shape) for a in (scales, zeros)]
    nothing = np.zeros((1,) * rank)

    def level(y: FloatArray) -> FloatArray:
        return np.asarray(np.clip(np.round(y) + floats[1], low, high), np.float64)

    def exactly(value: Real, index: tuple[int, ...]) -> float:
        whole = rounded_exactly(value / _at(scales, index), "ROUND")
        return float(np.clip(whole + float(_at(floats[1], index)), low, high))

    found = settled(x, _in_steps(floats[0], nothing), level, exactly)
    one, none = (np.full((1,) * rank, Fraction(n), object) for n in (1, 0))
    datatype = DataType.integer(bits) if is_signed else DataType.unsigned(bits)
    return [levels(x, found[0], found[1], one, none, datatype)]


def dequantize_linear(op: Operation) -> list[Extent]:
    """DequantizeLinear: ``(x - zero point) * scale``."""
    from qonnx_core.analyses.ranges.elementwise import scaled, shifted

    x, scale = op.extent(0), _scale(op)
    zero = op.optional(2, "zero point")
    rank = len(op.shape(0))
    if zero is not None:
        moved = _along(op, numbers_of(zero), rank)
        x = shifted(x, Constant(-np.asarray(moved, np.float64), np.ones((1,) * rank)))
    return [scaled(x, _along(op, exact_numbers(scale), rank))]


def _along(op: Operation, array: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    """Return a parameter of QuantizeLinear on its axis."""
    if op.integer("block_size", 0):
        raise Unsupported("blocks of elements that share a scale")
    if array.size == 1:
        return np.asarray(array.reshape((1,) * rank))
    axis = op.integer("axis", 1) % rank
    return np.asarray(array.reshape(tuple(-1 if a == axis else 1 for a in range(rank))))


QUANTIZERS: dict[str, Rule] = {
    "BipolarQuant": bipolar_quant,
    "DequantizeLinear": dequantize_linear,
    "FloatQuant": float_quant,
    "IntQuant": quant,
    "MultiThreshold": multi_threshold,
    "Quant": quant,
    "QuantizeLinear": quantize_linear,
    "Sign": sign,
    "Trunc": trunc,
}
"""One rule for each operator, by name."""

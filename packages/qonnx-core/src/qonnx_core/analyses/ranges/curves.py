"""Rules of functions of one tensor: rising and falling curves, and functions with a turning point."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import onnx_ir as ir

from qonnx_core.analyses.ranges import elementwise
from qonnx_core.analyses.ranges.elementwise import joined, scaled, smallest_magnitude
from qonnx_core.analyses.ranges.extent import (
    BoolArray,
    Extent,
    Lattice,
    Reals,
    between,
    each,
    enclosed,
    floats,
    on_lattice,
    reals,
)
from qonnx_core.analyses.ranges.intervals import FloatArray, Pair, multiply
from qonnx_core.analyses.ranges.operation import Operation, Rule, exact_numbers, numbers_of
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.exact import Real, ceil, floor
from qonnx_core.passes.streamline.exact import sign as sign_of
from qonnx_core.verify.bounded import unit_of

# several times the relative error of these functions in float64, also where exp(x) multiplies that of x by x
_MARGIN = 1e-12

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Curve:
    """A function that rises between its turning points, with its limits.

    ``turns`` are the arguments where it stops falling (or rising) and the other begins.
    """

    function: Callable[[FloatArray], FloatArray]
    low: float = -np.inf
    high: float = np.inf
    turns: tuple[float, ...] = ()

    def interval(self, x: Pair) -> Pair:
        """Return bounds of the values between bounds of the arguments."""
        with np.errstate(all="ignore"):
            ends = [_widened(self.function(side)) for side in x]
            lows, highs = [pair[0] for pair in ends], [pair[1] for pair in ends]
            for turn in self.turns:
                below, above = _widened(self.function(np.asarray(turn)))
                inside = (x[0] < turn) & (turn < x[1])
                lows.append(np.where(inside, below, lows[0]))
                highs.append(np.where(inside, above, highs[0]))
        low, high = np.fmin.reduce(lows), np.fmax.reduce(highs)
        low, high = np.where(np.isnan(low), self.low, low), np.where(np.isnan(high), self.high, high)
        return np.clip(low, self.low, self.high), np.clip(high, self.low, self.high)


def _widened(value: FloatArray) -> Pair:
    margin = np.where(np.isfinite(value), np.abs(value) * _MARGIN, 0.0)
    return value - margin, value + margin


def _sigmoid(x: FloatArray) -> FloatArray:
    small = np.exp(-np.abs(x))  # near 0 on either side: nothing cancels
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def _softplus(x: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp(0.0, x))


def _softsign(x: FloatArray) -> FloatArray:
    return np.where(np.isinf(x), np.sign(x), x / (1.0 + np.abs(x)))


def _erf(x: FloatArray) -> FloatArray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(np.asarray(x, np.float64)), np.float64)


def _gelu(x: FloatArray) -> FloatArray:
    tail = np.asarray(np.frompyfunc(math.erfc, 1, 1)(np.asarray(-x / np.sqrt(2.0), np.float64)), np.float64)
    return np.where(np.isneginf(x), 0.0, 0.5 * x * tail)


def _gelu_by_tanh(x: FloatArray) -> FloatArray:
    inner = np.sqrt(2.0 / np.pi) * x * (1.0 + 0.044715 * x * x)
    return np.where(np.isneginf(x), 0.0, x * _sigmoid(2.0 * inner))  # 1 + tanh(u) is 2 sigmoid(2 u)


def _mish(x: FloatArray) -> FloatArray:
    return np.where(np.isneginf(x), 0.0, x * np.tanh(_softplus(x)))


def _hard_swish(x: FloatArray) -> FloatArray:
    return np.where(np.isneginf(x), 0.0, x * np.clip(x + 3.0, 0.0, 6.0) / 6.0)


CURVES: dict[str, Curve] = {
    "Atan": Curve(np.arctan, -np.pi / 2 - 1e-15, np.pi / 2 + 1e-15),
    "Cos": Curve(lambda x: np.full_like(x, np.nan), -1.0, 1.0),
    "Erf": Curve(_erf, -1.0, 1.0),
    "Exp": Curve(np.exp, 0.0),
    "Gelu": Curve(_gelu, -0.18, turns=(-0.7517915246935645,)),
    "HardSwish": Curve(_hard_swish, -0.375, turns=(-1.5,)),
    "Log": Curve(np.log),
    "Mish": Curve(_mish, -0.31, turns=(-1.1924312145154864,)),
    "Sigmoid": Curve(_sigmoid, 0.0, 1.0),
    "Sin": Curve(lambda x: np.full_like(x, np.nan), -1.0, 1.0),
    "Softplus": Curve(_softplus, 0.0),
    "Softsign": Curve(_softsign, -1.0, 1.0),
    "Sqrt": Curve(lambda x: np.sqrt(np.maximum(x, 0.0)), 0.0),
    "Tanh": Curve(np.tanh, -1.0, 1.0),
}
"""Curves without parameters, by operator."""


def curve(op: Operation) -> list[Extent]:
    """Every operator in `CURVES`."""
    x = op.extent(0)
    found = CURVES[op.node.op_type]
    if op.text("approximate", "none") == "tanh":
        found = Curve(_gelu_by_tanh, -0.18, turns=(-0.7524614220710162,))
    if op.node.op_type == "Sqrt":
        return [_root(x)]
    if op.node.op_type == "Log" and bool((x.lo < 0).any()):
        raise Unsupported("a logarithm of numbers that can be negative")
    return [between(found.interval(x.interval), x.axis, "its values lie on no grid")]


def _root(x: Extent) -> Extent:
    if bool((x.lo < 0).any()):
        raise Unsupported("a square root of numbers that can be negative")
    return between(CURVES["Sqrt"].interval(x.interval), x.axis, "its values lie on no grid")


def exponential_unit(op: Operation) -> list[Extent]:
    """Elu, Selu and Celu."""
    x = op.extent(0)
    kind = op.node.op_type
    alpha = float(np.float32(op.node.attributes.get_float("alpha", 1.6732632423543772 if kind == "Selu" else 1.0)))
    gamma = float(np.float32(op.node.attributes.get_float("gamma", 1.0507009873554805))) if kind == "Selu" else 1.0
    inner = alpha if kind == "Celu" else 1.0
    if alpha <= 0 or gamma <= 0:
        raise Unsupported("alpha or gamma is not above 0, so that it neither rises nor falls")
    found = Curve(lambda v: gamma * np.where(v > 0, v, alpha * np.expm1(np.minimum(v, 0) / inner)))
    return [between(found.interval(x.interval), x.axis, "its values lie on no grid")]


def leaky_relu(op: Operation) -> list[Extent]:
    """LeakyRelu and PRelu: ``x`` above 0 and ``slope * x`` below; both parts go through the lattice."""
    x = op.extent(0)
    if op.node.op_type == "PRelu":
        slope = op.constant(1, "slope")
        if slope.mantissa.size == 1:
            slope = elementwise.constant_of(float(numbers_of(slope).reshape(-1)[0]))
    else:
        slope = elementwise.constant_of(float(np.float32(op.node.attributes.get_float("alpha", 0.01))))
    zero = elementwise.constant_of(0.0)
    positive, negative = elementwise.clipped(x, zero, None), elementwise.clipped(x, None, zero)
    bent = scaled(negative, exact_numbers(slope))
    slopes = numbers_of(slope)
    # both parts meet at 0: the part that x does not reach adds nothing
    interval = np.minimum(positive.lo, bent.lo), np.maximum(positive.hi, bent.hi)
    below, above = multiply(slopes, x.lo)[0], multiply(slopes, x.hi)[1]
    rising = slopes >= 0
    lo = np.where(rising, np.where(x.lo >= 0, x.lo, below), interval[0] if rising.all() else _turn(x, slope))
    hi = np.where(rising, np.where(x.hi >= 0, x.hi, above), interval[1])
    whole = joined([positive, bent], x.axis)
    if whole.lattice is None:
        return [between((lo, hi), x.axis, whole.reason)]
    return [_cut(whole, lo, hi)]


def _turn(x: Extent, slope: Constant) -> FloatArray:
    """Return a lower bound of ``max(x, slope * x)`` for slopes below 0: it is least next to 0."""
    below, above = np.asarray(np.minimum(x.hi, 0)), np.asarray(np.maximum(x.lo, 0))
    slopes = numbers_of(slope)
    if x.lattice is None or x.rounded:
        return np.where((x.lo <= 0) & (x.hi >= 0), 0.0, np.maximum(multiply(slopes, below)[0], above))

    def least(first: Real, last: Real, factor: Real) -> float:
        values = [factor * n if sign_of(n) < 0 else n for n in (first, last)]
        return min(enclosed(value)[0] for value in values)

    return np.asarray(each(least, *elementwise.around_zero(x.lattice), exact_numbers(slope)), np.float64)


def _cut(x: Extent, lo: FloatArray, hi: FloatArray) -> Extent:
    """Return the extent with the part of its lattice that lies between the bounds."""
    if x.lattice is None:
        return between((lo, hi), x.axis, x.reason)
    lattice = x.lattice
    low, high = (
        each(lambda s, o, b, rounding=rounding: _position(s, o, b, rounding), lattice.scale, lattice.offset, bound)
        for bound, rounding in ((lo.astype(object), ceil), (hi.astype(object), floor))
    )
    limits = [np.broadcast_to(side, low.shape) for side in (lattice.low, lattice.high)]
    low = np.where(_missing(low), limits[0], low).astype(np.int64)
    high = np.where(_missing(high), limits[1], high).astype(np.int64)
    return on_lattice(replace(lattice, low=np.maximum(limits[0], low), high=np.minimum(limits[1], high)), x.axis)


def _missing(numbers: Reals) -> BoolArray:
    return each(lambda number: number is None, numbers).astype(bool)


def _position(scale: Real, offset: Real, bound: float, rounding: Callable[[Real], int]) -> int | None:
    from fractions import Fraction

    return rounding((Fraction(bound) - offset) / scale) if np.isfinite(bound) else None


def absolute(op: Operation) -> list[Extent]:
    """Abs."""
    x = op.extent(0)
    zero = elementwise.constant_of(0.0)
    negative = elementwise.negate(op)[0]
    lo = smallest_magnitude(x)
    hi = np.maximum(np.abs(x.lo), np.abs(x.hi))
    positive = elementwise.clipped(x, zero, None)
    whole = joined([positive, elementwise.clipped(negative, zero, None)], x.axis)
    return [_cut(whole, lo, hi) if whole.lattice is not None else between((lo, hi), x.axis, whole.reason)]


def hard_sigmoid(op: Operation) -> list[Extent]:
    """HardSigmoid: ``clip(alpha * x + beta, 0, 1)``."""
    alpha, beta = (
        elementwise.constant_of(float(np.float32(op.node.attributes.get_float(name, default))))
        for name, default in (("alpha", 0.2), ("beta", 0.5))
    )
    line = elementwise.shifted(scaled(op.extent(0), exact_numbers(alpha)), beta)
    return [elementwise.clipped(line, elementwise.constant_of(0.0), elementwise.constant_of(1.0))]


def rounded_whole(op: Operation) -> list[Extent]:
    """Floor, Ceil and Round (half to even): whole numbers."""
    x = op.extent(0)
    functions: dict[str, Callable[[FloatArray], FloatArray]] = {"Floor": np.floor, "Ceil": np.ceil, "Round": np.round}
    function = functions[op.node.op_type]
    lo, hi = function(x.lo), function(x.hi)
    if not x.bounded or max(np.abs(lo).max(), np.abs(hi).max()) >= 2.0**53:
        return [between((lo, hi), x.axis, x.reason or "its whole numbers are not bounded")]
    return [on_lattice(whole_numbers(lo, hi), x.axis)]


def whole_numbers(lo: FloatArray, hi: FloatArray) -> Lattice:
    """Return the lattice of whole numbers between bounds."""
    from fractions import Fraction

    ones, zeros = (reals([Fraction(n)], (1,) * lo.ndim) if lo.ndim else np.asarray(Fraction(n), object) for n in (1, 0))
    return Lattice(ones, zeros, lo.astype(np.int64), hi.astype(np.int64))


def is_whole(lattice: Lattice | None) -> bool:
    """Return whether every number of a lattice is a whole one, by its scale and offset."""
    return lattice is not None and all(
        getattr(number, "denominator", 0) == 1
        for array in (lattice.scale, lattice.offset)
        for number in {id(n): n for n in array.reshape(-1)}.values()
    )


def stored(x: Extent, datatype: ir.DataType | None, *, drops: bool) -> Extent:
    """Return x as a tensor of an element type holds it: whole numbers in integer types, that do not wrap around.

    ``drops`` says that the operator drops fractions, as the division of integers does; any other may round either way.
    Raises Unsupported where integers can leave their type.
    """
    if datatype is None or not datatype.is_integer() or (np.isneginf(x.lo).all() and np.isposinf(x.hi).all()):
        return x
    bits = datatype.bitwidth
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if datatype.is_signed() else (0.0, 2.0**bits - 1)
    if not x.bounded or x.lo.min() < low or x.hi.max() > high:
        raise Unsupported(f"its integers can leave {datatype.name} and wrap around; cast them to a wider type before")
    if is_whole(x.lattice):
        return x
    lo, hi = (np.trunc(x.lo), np.trunc(x.hi)) if drops else (np.floor(x.lo), np.ceil(x.hi))
    return on_lattice(whole_numbers(lo, hi), x.axis)


def cast(op: Operation) -> list[Extent]:
    """Cast to bool is 0 or 1, to an integer type it drops the fraction, to a float type of 32 bits it is the identity.

    A narrower float type keeps a grid all of whose numbers it holds.
    """
    x = op.extent(0)
    target = ir.DataType(op.integer("to", int(ir.DataType.FLOAT)))
    if target.is_floating_point():
        return [replace(x, sums=None) if target.bitwidth >= 32 else _narrowed(x, target)]
    if target == ir.DataType.BOOL:
        return truth(op)
    lo, hi = np.trunc(x.lo), np.trunc(x.hi)
    if not x.bounded or not target.is_integer():
        raise Unsupported(f"a cast of numbers without bounds to {target.name}")
    info = np.iinfo(target.numpy())
    if lo.min() < info.min or hi.max() > info.max:
        raise Unsupported(f"a cast to {target.name} that can overflow")
    return [replace(x, sums=None) if is_whole(x.lattice) else on_lattice(whole_numbers(lo, hi), x.axis)]


def _narrowed(x: Extent, target: ir.DataType) -> Extent:
    """Return x rounded to a narrow float type: its grid where the type holds all of it, else the rounded bounds."""
    if target not in _HALVES:
        raise Unsupported(f"a cast to {target.name}; use a FloatQuant for its rounding")
    info = ml_dtypes.finfo(target.numpy())  # type: ignore[no-untyped-call]
    size = np.maximum(np.abs(x.lo), np.abs(x.hi))
    if not (size <= float(info.max)).all():
        raise Unsupported(f"a cast to {target.name} that can overflow")
    if x.lattice is not None and not x.rounded:
        parts = [floats(part) for part in (x.lattice.scale, x.lattice.offset)]
        exact = all((low == high).all() for low, high in parts)
        units = np.minimum(*(unit_of(part[0], ()) for part in parts))
        if (
            exact
            and (units >= float(info.smallest_subnormal)).all()
            and (size <= 2.0 ** (info.nmant + 1) * units).all()
        ):
            return replace(x, sums=None)
    lo, hi = (side.astype(target.numpy()).astype(np.float64) for side in (x.lo, x.hi))
    return between((lo, hi), x.axis, x.reason or f"{target.name} does not hold all numbers of its grid")


def truth(op: Operation) -> list[Extent]:
    """IsInf, IsNaN and casts to bool: 0 or 1."""
    x = op.extent(0)
    zero, one = np.zeros((1,) * x.lo.ndim), np.ones((1,) * x.lo.ndim)
    return [on_lattice(whole_numbers(zero, one), x.axis)]


def comparison(op: Operation) -> list[Extent]:
    """Comparisons: 0 or 1, and only one of them where the numbers are on one side of each other."""
    a, b = op.extent(0), op.extent(1)
    kind = op.node.op_type
    if kind == "Equal":
        apart = (a.lo > b.hi) | (a.hi < b.lo)
        return [_flags(a, b, np.zeros(apart.shape, bool), ~apart)]
    if kind.startswith("Less"):
        a, b = b, a
    if kind.endswith("OrEqual"):
        return [_flags(a, b, a.lo >= b.hi, a.hi >= b.lo)]
    return [_flags(a, b, a.lo > b.hi, a.hi > b.lo)]


def logic(op: Operation) -> list[Extent]:
    """And, Or, Xor and Not of flags."""
    a = op.extent(0)
    if op.node.op_type == "Not":
        return [_flags(a, a, a.hi <= 0, a.lo <= 0)]
    b = op.extent(1)
    if op.node.op_type == "And":
        return [_flags(a, b, (a.lo > 0) & (b.lo > 0), (a.hi > 0) & (b.hi > 0))]
    if op.node.op_type == "Or":
        return [_flags(a, b, (a.lo > 0) | (b.lo > 0), (a.hi > 0) | (b.hi > 0))]
    unlike = ((a.lo > 0) & (b.hi <= 0)) | ((a.hi <= 0) & (b.lo > 0))
    alike = ((a.lo > 0) & (b.lo > 0)) | ((a.hi <= 0) & (b.hi <= 0))
    return [_flags(a, b, unlike, ~alike)]


def _flags(a: Extent, b: Extent, certain: BoolArray, possible: BoolArray) -> Extent:
    """Return flags that are 1 where certain, and 0 unless possible."""
    axis = a.axis if a.lo.ndim >= b.lo.ndim else b.axis
    return on_lattice(whole_numbers(certain.astype(np.float64), possible.astype(np.float64)), axis)


def power(op: Operation) -> list[Extent]:
    """Pow with a constant exponent that is 0.5, 1 or a small whole number."""
    x = op.extent(0)
    exponents = np.unique(numbers_of(op.constant(1, "exponent")))
    if len(exponents) != 1:
        raise Unsupported("it has several exponents")
    exponent = float(exponents[0])
    if exponent == 0.5:
        return [_root(x)]
    if exponent == 1.0:
        return [x]
    if exponent != int(exponent) or not 0 < exponent <= 64:
        raise Unsupported(f"the exponent {exponent:g}")
    return [elementwise.raised(x, int(exponent))]


def reciprocal(op: Operation) -> list[Extent]:
    """Reciprocal."""
    from qonnx_core.analyses.ranges.intervals import quotient_of

    x = op.extent(0)
    one = np.ones((1,) * x.lo.ndim)
    return [between(quotient_of((one, one), x.interval), x.axis, "its values lie on no grid")]


_CURVE_RULES: dict[str, Rule] = dict.fromkeys(CURVES, curve)
_TRUTH: dict[str, Rule] = {
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), comparison),
    **dict.fromkeys(("And", "Not", "Or", "Xor"), logic),
    **dict.fromkeys(("IsInf", "IsNaN"), truth),
}
UNARY: dict[str, Rule] = {
    **_CURVE_RULES,
    **_TRUTH,
    "Abs": absolute,
    "Cast": cast,
    "Ceil": rounded_whole,
    "Celu": exponential_unit,
    "Elu": exponential_unit,
    "Floor": rounded_whole,
    "HardSigmoid": hard_sigmoid,
    "LeakyRelu": leaky_relu,
    "PRelu": leaky_relu,
    "Pow": power,
    "Reciprocal": reciprocal,
    "Round": rounded_whole,
    "Selu": exponential_unit,
}
"""One rule for each operator, by name."""

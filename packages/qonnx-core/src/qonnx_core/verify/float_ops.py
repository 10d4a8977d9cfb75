"""Error bounds of the float operators: each takes bounded operands and returns the bounded result.

Every rule covers all the ways in which frameworks compute the operator in float32: sums in any order, with or
without fused multiply-add, a batch normalization folded to one factor and one offset or not. Functions without a
correctly rounded definition (exponential, logistic, hyperbolic tangent) get a documented allowance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from qonnx_core.verify.bounded import (
    SIGNIFICAND_UNITS,
    SLACK,
    TINY,
    UNIT_ROUNDOFF,
    Bounded,
    Float64,
    Mask,
    NoBound,
    SumTerms,
    gamma,
    is_float32,
    rounded,
    unit_of,
    with_errors,
)
from qonnx_core.verify.operands import Rule, axes_of, constant, first_operands, moved

EXP_ROUNDOFFS = 8.0
"""Allowed relative error of a float32 exponential, in unit roundoffs (four units in the last place)."""

FUNCTION_ROUNDOFFS = 64.0
"""Allowed absolute error of a float32 logistic function or hyperbolic tangent, in unit roundoffs.

Runtimes compute both by rational approximations whose error is bounded absolutely, not relative to the result.
"""

BATCH_NORM_ROUNDOFFS = 10.0
"""Roundoffs on the way to ``gain / sqrt(var + eps)`` and the product with it, in any of the usual formulas."""

# --- sums -------------------------------------------------------------------------------------------------------------


def add(a: Bounded, b: Bounded, sign: float = 1.0) -> Bounded:
    """Return ``a + sign * b``; what is added to a sum may be added at any place of it."""
    if not (a.is_real or b.is_real):
        value = a.value + b.value if sign > 0 else a.value - b.value  # type: ignore[operator]
        return Bounded(np.asarray(value))
    value, exact = _exact_sum(a.real, sign * b.real)
    result = rounded(value, a.errors + b.errors, exact)
    if a.terms is not None and b.terms is None:
        return _one_more_term(result, a.terms, b)
    if b.terms is not None and a.terms is None:
        return _one_more_term(result, b.terms, a)
    return result


def _exact_sum(x: Float64, y: Float64) -> tuple[Float64, Mask]:
    """Return a sum in float64, and where it has no rounding error."""
    value = np.asarray(x + y)
    part = value - x
    return value, np.asarray(((x - (value - part)) + (y - part)) == 0)


def _sum(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    """Return the sum of all operands, added from left to right as onnxruntime does."""
    first, *rest = first_operands(operands, len(operands))
    for term in rest:
        first = add(first, term, 1.0)
    return first


def _one_more_term(result: Bounded, terms: SumTerms, addend: Bounded) -> Bounded:
    """Return the bound of ``sum + addend`` where a computation may start the sum with the addend (a fused bias)."""
    count = terms.count + 1
    magnitude = terms.magnitude + np.abs(addend.real)
    propagated = terms.propagated + addend.errors
    unit = np.minimum(terms.unit, unit_of(addend.real, (), keepdims=True))
    merged = SumTerms(count, magnitude, propagated, unit)
    fused = sum_error(merged)
    return with_errors(result.real, np.maximum(np.where(fused == 0, 0.0, result.errors), fused), merged)


def sum_error(terms: SumTerms) -> Float64:
    """Return the error of a sum in any order; zero where every partial sum is a multiple below 2**24 of one unit."""
    unit = np.where(np.isinf(terms.unit), 1.0, terms.unit)
    exact = (terms.propagated == 0) & (terms.magnitude <= SIGNIFICAND_UNITS * unit) & (unit >= TINY)
    error = gamma(terms.count) * (terms.magnitude + terms.propagated) + terms.propagated + terms.count * TINY
    return np.asarray(np.where(exact, 0.0, error * SLACK))


def matmul(a: Bounded, b: Bounded) -> Bounded:
    """Return ``a @ b`` with the bound for sums in any order; zero where the sums are provably exact."""
    x, w = a.real, b.real
    if x.ndim < 1 or w.ndim < 1:
        raise NoBound("a scalar operand")
    lift_x, lift_w = x.ndim == 1, w.ndim == 1
    ex, ew = a.error, b.error
    if lift_x:
        x, ex = x[None, :], None if ex is None else ex[None, :]
    if lift_w:
        w, ew = w[:, None], None if ew is None else ew[:, None]
    value = x @ w
    abs_x, abs_w = np.abs(x), np.abs(w)
    magnitude = abs_x @ abs_w
    propagated = np.zeros(value.shape)
    if ex is not None:
        propagated = propagated + ex @ abs_w
    if ew is not None:
        propagated = propagated + (abs_x if ex is None else abs_x + ex) @ ew
    # an operand with an error has no unit; where the other factor is zero it does not matter, else propagated says so
    unit = unit_of(x if ex is None else np.where(ex == 0, x, 0.0), -1) * unit_of(
        w if ew is None else np.where(ew == 0, w, 0.0), -2
    )
    unit = np.broadcast_to(np.where(np.isnan(unit), np.inf, unit), value.shape)
    terms = SumTerms(x.shape[-1], magnitude, propagated, unit)
    squeeze = tuple(axis for axis, lifted in ((-2, lift_x), (-1, lift_w)) if lifted)
    if squeeze:
        return with_errors(np.squeeze(value, squeeze), np.squeeze(sum_error(terms), squeeze))
    return with_errors(value, sum_error(terms), terms)


def _matmul(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    a, b = first_operands(operands, 2)
    return matmul(a, b)


def _gemm(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    a, b = first_operands(operands, 2)
    if node.attributes.get_int("transA", 0):
        a = moved(a, np.transpose)
    if node.attributes.get_int("transB", 0):
        b = moved(b, np.transpose)
    result = matmul(a, b)
    alpha = node.attributes.get_float("alpha", 1.0)
    if alpha != 1.0:
        result = product(result, constant(alpha))
    addend = operands[2] if len(operands) > 2 else None
    if addend is None:
        return result
    beta = node.attributes.get_float("beta", 1.0)
    return add(result, addend if beta == 1.0 else product(addend, constant(beta)), 1.0)


def _reduce_sum(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = axes_of(node, operands)
    keep = bool(node.attributes.get_int("keepdims", 1))
    return _summed(x, axes, keep)


def _reduce_mean(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = axes_of(node, operands)
    total = _summed(x, axes, bool(node.attributes.get_int("keepdims", 1)))
    return quotient(total, constant(float(x.value.size // max(total.value.size, 1))))


def _global_average_pool(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = tuple(range(2, x.value.ndim))
    total = _summed(x, axes, keep=True)
    return quotient(total, constant(float(x.value.size // max(total.value.size, 1))))


def _summed(x: Bounded, axes: tuple[int, ...] | None, keep: bool) -> Bounded:
    value = np.asarray(np.sum(x.real, axis=axes, keepdims=keep))
    terms = SumTerms(
        x.value.size // max(value.size, 1),
        np.asarray(np.sum(np.abs(x.real), axis=axes, keepdims=keep)),
        np.asarray(np.sum(x.errors, axis=axes, keepdims=keep)),
        np.broadcast_to(unit_of(x.real, axes, keepdims=keep), value.shape),
    )
    return with_errors(value, sum_error(terms), terms)


# --- products and quotients -------------------------------------------------------------------------------------------


def product(a: Bounded, b: Bounded) -> Bounded:
    """Return ``a * b``."""
    if not (a.is_real or b.is_real):
        return Bounded(np.asarray(a.value * b.value))  # type: ignore[operator]
    x, y, ex, ey = a.real, b.real, a.errors, b.errors
    # two float32 numbers have a product of at most 48 digits, so float64 holds it exactly
    return rounded(x * y, np.abs(x) * ey + np.abs(y) * ex + ex * ey, exact=True)


def quotient(a: Bounded, b: Bounded) -> Bounded:
    """Return ``a / b``; without a bound where b may be 0."""
    if not (a.is_real or b.is_real):
        return Bounded(np.asarray(a.value // b.value))  # type: ignore[operator]
    x, y, ex, ey = a.real, b.real, a.errors, b.errors
    with np.errstate(divide="ignore", invalid="ignore"):
        value = x / y
        room = np.abs(y) - ey
        error = np.where(room > 0, (ex + np.abs(value) * ey) / room, np.inf)
        return rounded(value, error, is_float32(value) & (value * y == x))


def batch_normalization(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    """Return the batch normalization of data with its channels on axis 1, in the form for inference."""
    x, gain, bias, mean, variance = first_operands(operands, 5)
    epsilon = float(np.float32(node.attributes.get_float("epsilon", 1e-5)))
    shape = (1, -1) + (1,) * (x.value.ndim - 2)

    def channel(operand: Bounded) -> Float64:
        if operand.error is not None:
            raise NoBound("parameters that are computed")
        return operand.real.reshape(shape)

    factor = channel(gain) / np.sqrt(channel(variance) + epsilon)
    offset, center = channel(bias), channel(mean)
    value = (x.real - center) * factor + offset
    exact = _is_exactly_normalized(x.real, center, offset, channel(gain), channel(variance), epsilon)
    size = (np.abs(x.real) + x.errors + np.abs(center)) * np.abs(factor)
    own = UNIT_ROUNDOFF * (BATCH_NORM_ROUNDOFFS * size + 2.0 * np.abs(offset) + np.abs(value)) + TINY
    return with_errors(value, np.where(exact & (x.errors == 0), 0.0, (np.abs(factor) * x.errors + own) * SLACK))


def _is_exactly_normalized(
    x: Float64, center: Float64, offset: Float64, gain: Float64, variance: Float64, epsilon: float
) -> Mask:
    """Return where float32 holds every intermediate result of a batch normalization, by any of the usual formulas."""
    total, known = _exact_sum(variance, np.asarray(epsilon))
    root = np.sqrt(total)
    factor = gain / root
    known = known & (root * root == total) & (factor * root == gain) & (np.frexp(root)[0] == 0.5)
    distance, near = _exact_sum(x, -center)
    moved_offset, also = _exact_sum(offset, -(center * factor))
    last = [_exact_sum(distance * factor, offset), _exact_sum(x * factor, moved_offset)]
    known = known & near & also & last[0][1] & last[1][1]
    for number in (
        root,
        factor,
        distance,
        center * factor,
        moved_offset,
        distance * factor,
        distance / root,
        x * factor,
    ):
        known = known & is_float32(number)
    return np.asarray(known & is_float32(last[0][0]))


# --- one operand ------------------------------------------------------------------------------------------------------


def _abs(x: Bounded) -> Bounded:
    return Bounded(np.abs(x.real) if x.is_real else np.abs(x.value), x.error)


def _negative(x: Bounded) -> Bounded:
    return Bounded(-x.real if x.is_real else -x.value.astype(np.int64), x.error)


def _sqrt(x: Bounded) -> Bounded:
    value = np.sqrt(np.maximum(x.real, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.where(value > 0, x.errors / value, np.sqrt(x.errors))
    return rounded(value, root, is_float32(value) & (value * value == x.real), roundoffs=2.0)


def _reciprocal(x: Bounded) -> Bounded:
    return quotient(constant(1.0), x)


def _exp(x: Bounded) -> Bounded:
    value = np.exp(x.real)
    return rounded(value, value * np.expm1(x.errors), exact=False, roundoffs=EXP_ROUNDOFFS)


def _log(x: Bounded) -> Bounded:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(x.real)
        room = x.real - x.errors
        error = np.where(room > 0, x.errors / room, np.inf) + FUNCTION_ROUNDOFFS * UNIT_ROUNDOFF
    return with_errors(value, (error + UNIT_ROUNDOFF * np.abs(value)) * SLACK)


def _sigmoid(x: Bounded) -> Bounded:
    value = 0.5 * (1.0 + np.tanh(0.5 * x.real))
    return with_errors(value, (0.25 * x.errors + FUNCTION_ROUNDOFFS * UNIT_ROUNDOFF) * SLACK)


def _tanh(x: Bounded) -> Bounded:
    return with_errors(np.tanh(x.real), (x.errors + FUNCTION_ROUNDOFFS * UNIT_ROUNDOFF) * SLACK)


def _pow(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    base, exponent = first_operands(operands, 2)
    if exponent.error is not None or exponent.value.size != 1:
        raise NoBound("an exponent that is no exact scalar")
    power = float(exponent.real.reshape(-1)[0])
    if power == 0.5:
        return _sqrt(base)
    if power == 1.0:
        return base
    if power == 2.0:
        return product(base, base)
    raise NoBound(f"the exponent {power:g}")


def _relu(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    return _clipped(x, 0.0, np.inf)


def _leaky_relu(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    slope = float(np.float32(node.attributes.get_float("alpha", 0.01)))
    scaled = product(x, constant(slope))
    positive, unsure = x.real >= 0, np.abs(x.real) <= x.errors
    error = np.where(unsure, np.maximum(x.errors, scaled.errors), np.where(positive, x.errors, scaled.errors))
    return with_errors(np.where(positive, x.real, scaled.real), error)


def _prelu(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, slope = first_operands(operands, 2)
    scaled = product(x, slope)
    shape = scaled.value.shape
    real, errors = np.broadcast_to(x.real, shape), np.broadcast_to(x.errors, shape)
    positive, unsure = real >= 0, np.abs(real) <= errors
    error = np.where(unsure, np.maximum(errors, scaled.errors), np.where(positive, errors, scaled.errors))
    return with_errors(np.where(positive, real, scaled.real), error)


def _hard_sigmoid(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    gain = constant(float(np.float32(node.attributes.get_float("alpha", 0.2))))
    offset = constant(float(np.float32(node.attributes.get_float("beta", 0.5))))
    return _clipped(add(product(x, gain), offset), 0.0, 1.0)


def _where(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    condition, a, b = first_operands(operands, 3)
    if condition.error is not None:
        raise NoBound("a condition that is not exact")
    chosen = condition.value.astype(bool)
    if not (a.is_real or b.is_real):
        return Bounded(np.where(chosen, a.value, b.value))
    return with_errors(np.where(chosen, a.real, b.real), np.where(chosen, a.errors, b.errors))


def _clip(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)

    def bound(index: int, name: str, default: float) -> Float64:
        operand = operands[index] if len(operands) > index else None
        if operand is None:
            return np.asarray(float(np.float32(node.attributes.get_float(name, default))))
        if operand.error is not None:
            raise NoBound("bounds that are computed")
        return operand.real

    return _clipped(x, bound(1, "min", -np.inf), bound(2, "max", np.inf))


def _clipped(x: Bounded, low: Float64 | float, high: Float64 | float) -> Bounded:
    value = np.minimum(np.maximum(x.real, low), high)
    decided = (x.real + x.errors <= low) | (x.real - x.errors >= high)
    return with_errors(value, np.where(decided, 0.0, x.errors))


def _extreme(pick: Callable[[Float64, Float64], Float64]) -> Rule:
    def rule(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
        first, *others = first_operands(operands, len(operands))
        value, error = first.real, first.errors
        for other in others:
            value, error = pick(value, other.real), np.maximum(error, other.errors)
        return with_errors(value, error)

    return rule


def _softmax(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    opset = node.version or (node.graph.opset_imports.get("", 13) if node.graph is not None else 13)
    shape = x.value.shape
    axis = node.attributes.get_int("axis", -1 if opset >= 13 else 1) % max(len(shape), 1)
    values, errors = x.real, x.errors
    if opset < 13:  # the older definition flattens everything from the axis on
        leading = int(np.prod(shape[:axis], dtype=np.int64))
        values, errors, axis = values.reshape(leading, -1), errors.reshape(leading, -1), 1
    shifted = values - values.max(axis=axis, keepdims=True)
    powers = np.exp(shifted)
    value = powers / powers.sum(axis=axis, keepdims=True)
    # each exponent is off by its own error, that of the largest one, and the roundoff of their difference
    exponent = errors + errors.max(axis=axis, keepdims=True) + UNIT_ROUNDOFF * np.abs(shifted)
    worst = np.max(np.where(value > 0, exponent, 0.0), axis=axis, keepdims=True)
    relative = np.expm1(exponent + worst) + gamma(values.shape[axis]) + (2.0 * EXP_ROUNDOFFS + 4.0) * UNIT_ROUNDOFF
    error = (value * relative + TINY) * SLACK
    return with_errors(value.reshape(shape), error.reshape(shape))


def _shape(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    return Bounded(np.asarray(x.value.shape, dtype=np.int64))


def _cast(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    target = ir.DataType(node.attributes.get_int("to", int(ir.DataType.FLOAT)))
    if target in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return rounded(x.real, x.errors, exact=True)
    if x.error is not None or not target.is_integer():
        raise NoBound(f"a cast of an inexact value to {target.name}")
    return Bounded(np.trunc(x.real).astype(np.int64))


def _identity(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    return first_operands(operands, 1)[0]


def _binary(function: Callable[[Bounded, Bounded], Bounded]) -> Rule:
    def rule(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
        a, b = first_operands(operands, 2)
        return function(a, b)

    return rule


def _unary(function: Callable[[Bounded], Bounded]) -> Rule:
    return lambda _node, operands: function(first_operands(operands, 1)[0])


ARITHMETIC: dict[str, Rule] = {
    "Abs": _unary(_abs),
    "Add": _binary(lambda a, b: add(a, b, 1.0)),
    "BatchNormalization": batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _binary(quotient),
    "Dropout": _identity,
    "Exp": _unary(_exp),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "Log": _unary(_log),
    "MatMul": _matmul,
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Mul": _binary(product),
    "Neg": _unary(_negative),
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _unary(_reciprocal),
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": _relu,
    "Shape": _shape,
    "Sigmoid": _unary(_sigmoid),
    "Softmax": _softmax,
    "Sqrt": _unary(_sqrt),
    "Sub": _binary(lambda a, b: add(a, b, -1.0)),
    "Sum": _sum,
    "Tanh": _unary(_tanh),
    "Where": _where,
}
"""One rule for each operator; a rule raises `NoBound` where no bound is known."""

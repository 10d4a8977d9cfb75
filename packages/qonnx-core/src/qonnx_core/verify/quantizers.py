"""Quantizers as monotone steps: which outcomes a value with an error can have, and where the boundaries are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidModel
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.verify.bounded import SLACK, UNIT_ROUNDOFF, Bounded, Float64, is_float32, rounded

Int64 = NDArray[np.int64]

QUANTIZER_OPS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold"})
_MORE_STEPS = frozenset({"FloatQuant", "QuantAvgPool2d"})
_DOMAINS = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn", "finn.custom_op.general"})


def is_quantizer(node: ir.Node) -> bool:
    """Return whether a node's output lies on a grid whatever its input is."""
    if node.op_type == "Sign":
        return node.domain in ("", "ai.onnx")
    return node.op_type in QUANTIZER_OPS and node.domain in _DOMAINS


def is_step_function(node: ir.Node) -> bool:
    """Return whether a node decides between levels: the quantizers, and those whose levels are on no single grid."""
    return is_quantizer(node) or (node.op_type in _MORE_STEPS and node.domain in _DOMAINS)


def round_half_up(x: Float64) -> Float64:
    """Nearest integer, ties away from zero."""
    return np.asarray(np.trunc(x) + np.copysign((np.abs(x - np.trunc(x)) >= 0.5) * 1.0, x))


def round_half_down(x: Float64) -> Float64:
    """Nearest integer, ties towards zero."""
    return np.asarray(np.trunc(x) + np.copysign((np.abs(x - np.trunc(x)) > 0.5) * 1.0, x))


def round_up(x: Float64) -> Float64:
    """Next integer away from zero."""
    return np.asarray(np.copysign(np.ceil(np.abs(x)), x))


ROUNDING: dict[str, Callable[[Float64], Float64]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": round_up,
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": round_half_up,
    "HALF_DOWN": round_half_down,
}


@dataclass(frozen=True, slots=True)
class Steps:
    """The value before a quantizer in steps of its grid, with its error, ready for `Quantizer.outcome`."""

    position: Float64
    error: Float64


@dataclass(frozen=True, slots=True)
class Quantizer:
    """One quantizer node with its parameters: position in steps, monotone outcome (a level), and level to value."""

    tensor: str
    op_type: str
    steps: Callable[[Bounded], Steps]
    outcome: Callable[[Float64], Float64]
    value: Callable[[Float64], Bounded]
    level: Callable[[Float64], Float64]
    boundaries: Callable[[Float64], Float64] | None = None

    def outcomes(self, steps: Steps) -> tuple[Float64, Float64]:
        """Return the lowest and the highest level that a computation within the error can give."""
        reach = np.where(np.isfinite(steps.error), steps.error * SLACK, 0.0)
        low = self.outcome(steps.position - reach)
        high = self.outcome(steps.position + reach)
        return np.minimum(low, high), np.maximum(low, high)


def make_quantizer(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    """Return the quantizer of a node; ``operands`` are its inputs, of which all but the first have to be constants."""
    builders = {
        "Quant": _int_quant,
        "IntQuant": _int_quant,
        "BipolarQuant": _bipolar_quant,
        "Trunc": _trunc,
        "FloatQuant": _float_quant,
    }
    if node.op_type == "Sign":
        return _sign(node)
    if node.op_type == "MultiThreshold":
        return _multi_threshold(node, operands)
    if node.op_type == "QuantAvgPool2d":
        return _quant_average(node)
    return builders[node.op_type](node, operands)


def _operand(node: ir.Node, operands: Sequence[Bounded | None], index: int, name: str) -> Float64:
    operand = operands[index] if index < len(operands) else None
    if operand is None:
        raise InvalidModel(
            f"{node.name} ({node.op_type}): input {index} ({name}) is missing; expected a tensor. "
            "Write the quantizer with all of its inputs."
        )
    return operand.real


def _rounding(node: ir.Node, default: str) -> tuple[str, Callable[[Float64], Float64]]:
    name = node.attributes.get_string("rounding_mode", default).upper()
    if name not in ROUNDING:
        raise InvalidModel(
            f"{node.name} ({node.op_type}): rounding_mode is {name!r}; expected one of {', '.join(sorted(ROUNDING))}."
        )
    return name, ROUNDING[name]


def limits(bits: Float64, *, signed: bool, narrow: bool) -> tuple[Float64, Float64]:
    """Lowest and highest level of an integer quantizer of the given bit width."""
    with np.errstate(over="ignore"):
        if signed:
            return -(2.0 ** (bits - 1)) + (1.0 if narrow else 0.0), 2.0 ** (bits - 1) - 1.0
        return np.zeros_like(bits), 2.0**bits - 1.0 - (1.0 if narrow else 0.0)


def clamped(position: Float64, low: Float64, high: Float64) -> Float64:
    """Return the position between the bounds as the operators have it: ``low`` where that is above ``high``."""
    return np.asarray(np.maximum(np.minimum(position, high), low))


def _in_steps(x: Bounded, scale: Float64, zero_point: Float64) -> Steps:
    """``x / scale + zero_point`` with its error; division by a power of two is exact.

    The division counts two roundoffs, so that a computation that multiplies by the reciprocal is covered too.
    """
    quotient = x.real / scale
    exact = (x.errors == 0) & is_float32(quotient) & (quotient * scale == x.real)
    divided = rounded(quotient, x.errors / np.abs(scale), exact, roundoffs=2.0)
    if not zero_point.any():
        return Steps(divided.real, divided.errors)
    shifted = divided.real + zero_point
    error = divided.errors + np.where(
        (divided.errors == 0) & is_float32(shifted) & (shifted - zero_point == divided.real),
        0.0,
        UNIT_ROUNDOFF * np.abs(shifted),
    )
    return Steps(shifted, error)


def _dequantized(level: Float64, scale: Float64, zero_point: Float64) -> Bounded:
    shifted = level - zero_point
    value = shifted * scale
    return rounded(value, 0.0, np.abs(shifted) < 2.0**28)


def _half_steps(low: Float64, high: Float64) -> Callable[[Float64], Float64]:
    return lambda position: np.clip(np.floor(position) + 0.5, low + 0.5, high - 0.5)


def _whole_steps(low: Float64, high: Float64) -> Callable[[Float64], Float64]:
    return lambda position: np.clip(np.round(position), low, high)


def _boundaries_of(mode: str, low: Float64, high: Float64) -> Callable[[Float64], Float64]:
    """Return a function from a position to the nearest position at which the outcome changes."""
    if mode in ("ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN"):
        return _half_steps(low, high)
    if mode == "FLOOR":
        return _whole_steps(low + 1, high)
    if mode == "CEIL":
        return _whole_steps(low, high - 1)
    if mode == "UP":
        return _whole_steps(np.minimum(low + 1, 0), np.maximum(high - 1, 0))

    def away_from_zero(position: Float64) -> Float64:
        side = np.where((position >= 0) & (high > 0) | (low >= 0), 1.0, -1.0)
        nearest = np.round(position)
        return np.asarray(np.where(side > 0, np.clip(nearest, 1.0, high), np.clip(nearest, low, -1.0)))

    return away_from_zero


def _int_quant(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    scale = _operand(node, operands, 1, "scale")
    zero_point = _operand(node, operands, 2, "zeropt")
    bits = _operand(node, operands, 3, "bitwidth")
    signed = bool(node.attributes.get_int("signed", 1))
    narrow = bool(node.attributes.get_int("narrow", 0))
    mode, round_mode = _rounding(node, "ROUND")
    low, high = limits(bits, signed=signed, narrow=narrow)
    boundaries = _boundaries_of(mode, low, high)
    two_valued = (bits == 1.0) & signed

    def outcome(position: Float64) -> Float64:
        return np.where(two_valued, np.where(position >= 0, 1.0, -1.0), round_mode(clamped(position, low, high)))

    def level(value: Float64) -> Float64:
        position = value / scale + zero_point
        return np.where(two_valued, np.where(position >= 0, 1.0, -1.0), np.round(position))

    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=lambda x: _in_steps(x, scale, zero_point),
        outcome=outcome,
        value=lambda level: _dequantized(level, scale, zero_point),
        level=level,
        boundaries=lambda position: np.where(two_valued, 0.0, boundaries(position)),
    )


def _bipolar_quant(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    scale = _operand(node, operands, 1, "scale")
    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=lambda x: Steps(x.real, x.errors),
        outcome=lambda position: np.where(position >= 0, 1.0, -1.0),
        value=lambda level: _dequantized(level, scale, np.zeros(())),
        level=lambda value: np.sign(value / scale),
        boundaries=lambda position: np.zeros_like(position),
    )


def _sign(node: ir.Node) -> Quantizer:
    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=lambda x: Steps(x.real, x.errors),
        outcome=lambda position: np.sign(position),
        value=lambda level: Bounded(level),
        level=lambda value: np.sign(value),
        boundaries=lambda position: np.zeros_like(position),
    )


def _trunc(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    """Trunc v1 (five inputs) and v2 (six inputs, with clamping and its own output scale)."""
    scale = _operand(node, operands, 1, "scale")
    zero_point = _operand(node, operands, 2, "zeropt")
    _, round_mode = _rounding(node, "FLOOR")
    if len([operand for operand in operands if operand is not None]) >= 6:
        out_scale = _operand(node, operands, 4, "out_scale")
        out_bits = _operand(node, operands, 5, "out_bitwidth")
        step = 2.0 ** np.round(np.log2(out_scale / scale))
        low, high = limits(
            out_bits,
            signed=bool(node.attributes.get_int("signed", 1)),
            narrow=bool(node.attributes.get_int("narrow", 0)),
        )
        out_zero_point = zero_point / step
    else:
        in_bits = _operand(node, operands, 3, "in_bitwidth")
        out_bits = _operand(node, operands, 4, "out_bitwidth")
        step = 2.0 ** (in_bits - out_bits)
        low, high = np.asarray(-np.inf), np.asarray(np.inf)
        out_scale, out_zero_point = scale, zero_point
    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=lambda x: _in_steps(x, scale, zero_point),
        outcome=lambda position: round_mode(clamped(np.round(position) / step, low, high)),
        value=lambda level: _dequantized(level, out_scale, out_zero_point),
        level=lambda value: np.round(value / out_scale + out_zero_point),
    )


def _float_quant(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    """FloatQuant; a level is the minifloat itself, infinity for all that becomes infinite or NaN."""
    names = ("scale", "exponent_bitwidth", "mantissa_bitwidth", "exponent_bias", "max_val")
    scale, exponent_bits, mantissa_bits, bias, most = (
        _operand(node, operands, position, name) for position, name in enumerate(names, 1)
    )
    _, round_mode = _rounding(node, "ROUND")
    last, least = 2.0**exponent_bits - 1.0 - bias, 1.0 - bias
    top = np.minimum((2.0 - 2.0**-mantissa_bits) * 2.0**last, most)
    saturates = bool(node.attributes.get_int("saturation", 1))
    infinite = bool(node.attributes.get_int("has_inf", 0))

    def kept(position: Float64, mode: Callable[[Float64], Float64]) -> Float64:
        size = np.clip(np.abs(position), 2.0**least, 2.0**last)
        step = 2.0 ** (np.frexp(size)[1] - 1.0 - mantissa_bits)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(np.isinf(position), position, mode(position / step) * step))

    def outcome(position: Float64) -> Float64:
        found = kept(position, round_mode)
        if saturates:
            return np.clip(found, -top, top)
        beyond = np.copysign(np.inf, found) if infinite else np.full(found.shape, np.inf)
        return np.where(np.abs(found) > top, beyond, found)

    def value(level: Float64) -> Bounded:
        if np.isinf(level).any():
            with np.errstate(invalid="ignore"):
                return Bounded(np.where(np.isinf(level), level if infinite else np.nan, level) * scale)
        return _dequantized(level, scale, np.zeros(()))

    def level_of(values: Float64) -> Float64:
        found = values / scale
        return np.where(np.isfinite(found), kept(found, np.round), np.where(np.isnan(found), np.inf, found))

    return Quantizer(_output(node), node.op_type, lambda x: _in_steps(x, scale, np.zeros(())), outcome, value, level_of)


def _quant_average(node: ir.Node) -> Quantizer:
    """QuantAvgPool2d: the position is the sum of a window, the level its whole part after the shift."""
    pool = QuantAvgPool2d(
        stride=node.attributes.get_int("stride"), kernel=node.attributes.get_int("kernel"),
        ibits=node.attributes.get_int("ibits"), obits=node.attributes.get_int("obits"),
        signed=bool(node.attributes.get_int("signed", 0)),
        data_layout=node.attributes.get_string("data_layout", "NCHW"),
    )  # fmt: skip
    size = (pool.kernel, pool.kernel)

    def sums(array: Float64) -> Float64:
        windows = np.lib.stride_tricks.sliding_window_view(array, size, pool.axes)
        cut = [slice(None)] * array.ndim
        for axis in pool.axes:
            cut[axis] = slice(None, None, pool.stride)
        return np.asarray(windows[tuple(cut)].sum(axis=(-2, -1)))

    def steps(x: Bounded) -> Steps:
        total = sums(x.real)
        exact = (np.abs(total) < 2.0**53) & (sums(np.abs(x.real - np.round(x.real))) == 0)
        own = np.where(exact, 0.0, UNIT_ROUNDOFF * pool.kernel**2 * sums(np.abs(x.real)))
        return Steps(total, sums(x.errors) + own)

    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=steps,
        outcome=lambda position: np.floor(np.round(position) / 2.0**pool.shift),
        value=lambda level: Bounded(level),
        level=lambda value: np.round(value),
    )


def _multi_threshold(node: ir.Node, operands: Sequence[Bounded | None]) -> Quantizer:
    thresholds = np.sort(_operand(node, operands, 1, "thresholds"), axis=1)
    out_scale = np.asarray(node.attributes.get_float("out_scale", 1.0))
    out_bias = np.asarray(node.attributes.get_float("out_bias", 0.0))
    layout = node.attributes.get_string("data_layout", "")

    def count(position: Float64) -> Float64:
        axis = layout.index("C") if "C" in layout else min(1, position.ndim - 1)
        moved = np.moveaxis(position, axis, -1)
        result = np.empty(moved.shape)
        for channel in range(moved.shape[-1]):
            row = thresholds[channel % len(thresholds)]
            result[..., channel] = np.searchsorted(row, moved[..., channel], side="right")
        return np.moveaxis(np.where(np.isnan(moved), 0.0, result), -1, axis)

    def value_of(level: Float64) -> Bounded:
        scaled = out_scale * level
        value = scaled + out_bias
        part = value - scaled
        exact = is_float32(scaled) & ((scaled - (value - part)) + (out_bias - part) == 0)
        return rounded(value, 0.0, exact)

    return Quantizer(
        tensor=_output(node),
        op_type=node.op_type,
        steps=lambda x: Steps(x.real, x.errors),
        outcome=count,
        value=value_of,
        level=lambda value: np.round((value - out_bias) / out_scale),
    )


def _output(node: ir.Node) -> str:
    name = node.outputs[0].name
    if not name:
        raise InvalidModel(f"{node.name} ({node.op_type}): its output has no name; expected one. Run cleanup_model.")
    return name


__all__ = [
    "QUANTIZER_OPS",
    "ROUNDING",
    "Quantizer",
    "Steps",
    "is_quantizer",
    "is_step_function",
    "limits",
    "make_quantizer",
]

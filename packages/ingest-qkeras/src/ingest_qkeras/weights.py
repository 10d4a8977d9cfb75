"""Turns a weight and its QKeras quantizer into float weights plus a quantizer node that evaluates to the same numbers.

The weights of the model are kept where Quant of them gives what QKeras evaluates. Where it does not (an alpha that is
no power of two, a scale found by iterating, a ternary threshold), the weights are *baked*: the evaluated numbers are
stored, on whose own grid Quant changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingest_qkeras.graph import Scope
from ingest_qkeras.quantizer_facts import MAX_BITS, Facts, step
from qonnx_core.errors import Unsupported

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WeightGrid:
    """The levels of a quantized weight: ``scale * k``; ``bits`` None means one sign bit (BipolarQuant)."""

    scale: FloatArray
    bits: int | None
    signed: bool = True
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """Float values and the quantizer to apply to them; no grid means that the values are used as they are."""

    values: FloatArray
    grid: WeightGrid | None
    rounding: str = "ROUND"
    baked: bool = False

    def evaluate(self) -> FloatArray:
        """Return what the graph computes for this weight."""
        return self.values if self.grid is None else quantize(self.values, self.grid, self.rounding)


def quantize(x: FloatArray, grid: WeightGrid, rounding: str = "ROUND") -> FloatArray:
    """Return Quant (or BipolarQuant) of x in float32, as the operator defines it."""
    if grid.bits is None:
        return np.where(x >= 0, grid.scale, -grid.scale).astype(np.float32)
    if grid.signed:
        low, high = -(2 ** (grid.bits - 1)) + grid.narrow, 2 ** (grid.bits - 1) - 1
    else:
        low, high = 0, 2**grid.bits - 1 - grid.narrow
    y = np.clip((x / grid.scale).astype(np.float32), np.float32(low), np.float32(high))
    rounded = np.sign(y) * np.floor(np.abs(y) + np.float32(0.5)) if rounding == "HALF_UP" else np.round(y)
    return (rounded * grid.scale).astype(np.float32)


def quantize_weight(quantizer: Any, raw: npt.ArrayLike, where: str) -> QuantizedWeight:
    """Return a weight that the graph evaluates to what QKeras evaluates.

    Equal up to the noise of QKeras' straight-through estimator, at most one ulp of ``|raw| + |quantized|``; it is zero
    where the scale is a power of two.

    Raises:
        Unsupported: the quantizer has no exact counterpart.
    """
    values = np.asarray(raw, dtype=np.float32)
    if quantizer is None:
        return QuantizedWeight(values, None)
    facts = Facts(quantizer, where)
    if facts.name == "quantized_bits" and facts.alpha_text is not None and facts.bits == 1:
        raise facts.refusal(f"alpha is {facts.alpha_text!r} at 1 bit", "QKeras then has no levels", "Use binary")
    evaluated = _evaluate(quantizer, values, facts)
    grid = _grid_of(facts, evaluated)
    if grid is None:
        return QuantizedWeight(evaluated, None, baked=True)
    noise = np.spacing(np.abs(values) + np.abs(evaluated)) if not _is_power_of_two(grid.scale) else np.float32(0)
    for rounding in ("ROUND", "HALF_UP"):
        candidate = QuantizedWeight(values, grid, rounding)
        if _close(candidate.evaluate(), evaluated, noise):
            return candidate
    # Levels of QKeras; the division only has to find the nearest integer.
    levels = evaluated if grid.bits is None else np.rint(evaluated.astype(np.float64) / grid.scale) * grid.scale
    baked = QuantizedWeight(levels.astype(np.float32), grid, baked=True)
    if np.array_equal(baked.evaluate(), baked.values) and _close(baked.values, evaluated, noise):
        return baked
    raise Unsupported(
        f"{where}: {facts.name}: the evaluated weights do not lie on the grid of its formula; expected multiples of "
        f"{grid.scale.reshape(-1)[:4].tolist()}. Report this with the model."
    )


def emit_weight(weight: QuantizedWeight, scope: Scope, label: str) -> ir.Value:
    """Return the value of a weight: the initializer ``<layer>/<label>``, through its quantizer ``..._quant``."""
    value = scope.constant(label, weight.values)
    grid = weight.grid
    if grid is None:
        return value
    prefix, node = f"{label}_", f"{label}_quant"
    if grid.bits is None:
        return scope.bipolar(value, grid.scale, prefix=prefix, label=node)
    return scope.quant(
        value,
        grid.scale,
        grid.bits,
        signed=grid.signed,
        narrow=grid.narrow,
        rounding=weight.rounding,
        prefix=prefix,
        label=node,
    )


def _evaluate(quantizer: Any, values: FloatArray, facts: Facts) -> FloatArray:
    """Return what QKeras computes, by calling the quantizer; this also sets its ``scale``."""
    import tensorflow as tf

    try:
        evaluated = np.asarray(quantizer(tf.constant(values)).numpy(), dtype=np.float32)
    except (ArithmeticError, AssertionError, TypeError, ValueError, tf.errors.OpError) as error:
        raise facts.refusal(
            f"QKeras fails to evaluate it ({type(error).__name__}: {error})", "expected weights", "Change its settings"
        ) from error
    if evaluated.shape != values.shape or not np.isfinite(evaluated).all():
        raise facts.refusal(
            "QKeras evaluates the weights to numbers that are not finite or have another shape",
            f"expected finite numbers of shape {values.shape}",
            "Change its settings",
        )
    return evaluated


def _grid_of(facts: Facts, evaluated: FloatArray) -> WeightGrid | None:
    """Return the levels that the quantizer's formula gives; None for weights that are used as they are."""
    match facts.name:
        case "quantized_bits":
            return _grid_of_bits(facts)
        case "binary" | "stochastic_binary":
            if facts.flag("use_01"):
                return WeightGrid(_scale(facts), 1, signed=False)
            return WeightGrid(_raw_scale(facts), None)
        case "ternary" | "stochastic_ternary":
            return WeightGrid(_scale(facts), 2, narrow=True)
        case "quantized_relu":
            signed = facts.number("negative_slope") != 0.0
            return WeightGrid(step(facts.integer_bits - (facts.bits - signed)), facts.bits, signed=signed)
        case "quantized_tanh":
            return WeightGrid(step(1 - facts.bits), facts.bits, narrow=facts.flag("symmetric"))
        case "quantized_sigmoid":
            return WeightGrid(step(-facts.bits), facts.bits, signed=False)
        case "quantized_po2" | "quantized_relu_po2":
            return _grid_of_powers(evaluated)
        case _:
            raise facts.refusal("used on a weight", "it is an activation", "Use quantized_bits")


def _grid_of_bits(facts: Facts) -> WeightGrid:
    bits, signed = facts.bits, facts.keep_negative
    if facts.alpha_text is not None:
        # QKeras' automatic scales: levels -(2**(bits-1) - 1) to 2**(bits-1) - 1 whatever keep_negative says.
        return WeightGrid(_scale(facts) * step(facts.integer_bits - (bits - signed)), bits, narrow=True)
    if bits == 1 and signed:
        return WeightGrid(facts.alpha, None)
    scale = facts.alpha * step(facts.integer_bits - (bits - signed))
    return WeightGrid(scale, bits, signed=signed, narrow=signed and facts.flag("symmetric"))


def _grid_of_powers(evaluated: FloatArray) -> WeightGrid | None:
    """Return a grid of the smallest magnitude and as many bits as the largest needs; None above 24 bits."""
    magnitudes = np.abs(evaluated[evaluated != 0])
    if magnitudes.size == 0:
        return WeightGrid(step(0), 2, narrow=True)
    low, high = int(np.log2(magnitudes.min())), int(np.log2(magnitudes.max()))
    bits = high - low + 2
    return WeightGrid(step(low), bits, narrow=True) if bits <= MAX_BITS else None


def _raw_scale(facts: Facts) -> FloatArray:
    """Return the scale that the last evaluation found."""
    scale = facts.quantizer.scale
    return np.asarray(scale.numpy() if hasattr(scale, "numpy") else scale, dtype=np.float32)


def _scale(facts: Facts) -> FloatArray:
    """Return the scale that the last evaluation found; 1 where it is 0 (all weights of that channel are 0)."""
    array = _raw_scale(facts)
    return np.where(array == 0, np.float32(1), array).astype(np.float32)


def _is_power_of_two(scale: FloatArray) -> bool:
    mantissa, _ = np.frexp(scale)
    return bool((mantissa == 0.5).all())


def _close(found: FloatArray, expected: FloatArray, noise: npt.ArrayLike) -> bool:
    return bool((np.abs(found.astype(np.float64) - expected) <= noise).all())

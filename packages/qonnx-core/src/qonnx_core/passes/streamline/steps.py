"""Reads elementwise nodes of a QONNX graph as exact steps, and quantizer nodes as levels with a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import exact, quantizers
from qonnx_core.passes.streamline.constants import (
    Constant,
    float_attribute,
    int_attribute,
    quant_attributes,
    rounding_of,
)
from qonnx_core.passes.streamline.elementwise import Affine, Clip, Curve, LeakyRelu, Params, Step, at, shared
from qonnx_core.passes.streamline.quantizers import Boundary, Levels, canonical_rounding
from qonnx_core.passes.streamline.ranges import smallest_datatype

ONE, ZERO = Fraction(1), Fraction(0)

#: Turns a constant input into parameters of the tensor's channels.
ReadParams = Callable[[Constant], Params]
Inputs = Sequence[Constant | None]


def step_of(node: ir.Node, constants: Inputs, position: int, read: ReadParams) -> list[Step] | None:
    """Return the steps of an elementwise node, or None if it is none.

    ``constants`` are the node's inputs (None for the tensor itself, at ``position``, and for omitted ones). Raises
    Unsupported for a node that is elementwise but has no exact monotone form.
    """
    others = [c for i, c in enumerate(constants) if i != position and c is not None]
    match node.op_type:
        case "Identity" | "Dropout" | "Cast":
            return _cast(node)
        case "Add" | "Sub" | "Mul" | "Div" if len(others) == 1:
            return [_arithmetic(node.op_type, read(others[0]), position)]
        case "Neg":
            return [Affine((-ONE,), (ZERO,))]
        case "BatchNormalization":
            return [_batch_normalization(node, constants, read)]
        case "Relu":
            return [Clip((ZERO,), None)]
        case "Clip" | "Min" | "Max":
            step = _clip(node, constants, position, read)
            return [] if step is None else [step]
        case "LeakyRelu":
            return [_leaky((float_attribute(node, "alpha", 0.01),))]
        case "PRelu" if position == 0 and len(others) == 1:
            return [_leaky(read(others[0]))]
        case "HardSigmoid":
            gain, offset = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
            return [Affine((gain,), (offset,)), Clip((ZERO,), (ONE,))]
        case "Sigmoid" | "Tanh" | "Softplus" | "Softsign":
            return [Curve(node.op_type)]
        case "Elu" | "Selu":
            return _exponential_unit(node)
    return None


def _cast(node: ir.Node) -> list[Step]:
    if node.op_type == "Cast":
        target = node.attributes["to"].as_int()
        if target not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            raise Unsupported(f"a cast to {ir.DataType(target).name} rounds; quantize with a Quant node instead")
    return []


def _arithmetic(op_type: str, params: Params, position: int) -> Affine:
    match op_type:
        case "Add":
            return Affine((ONE,), params)
        case "Sub":
            return Affine((ONE,), tuple(-p for p in params)) if position == 0 else Affine((-ONE,), params)
        case "Mul":
            return Affine(params, (ZERO,))
    if position == 1:
        raise Unsupported("a constant divided by a tensor has no integer form; rewrite it, or give the node to host")
    if any(p == 0 for p in params):
        raise Unsupported("it divides by 0; correct the constant")
    return Affine(tuple(exact.reciprocal(p) for p in params), (ZERO,))


def _batch_normalization(node: ir.Node, constants: Inputs, read: ReadParams) -> Affine:
    if int_attribute(node, "training_mode", 0):
        raise Unsupported("training_mode is 1; export the model in inference mode")
    numbers: list[Params] = []
    for name, constant in zip(("scale", "bias", "mean", "variance"), constants[1:5], strict=False):
        if constant is None:
            raise Unsupported(f"its {name} is not constant; export the model in inference mode")
        numbers.append(read(constant))
    scale, bias, mean, variance = numbers
    epsilon = float_attribute(node, "epsilon", 1e-5)
    gains, offsets = [], []
    for c in range(max(len(p) for p in numbers)):
        radicand = at(variance, c) + epsilon
        if not isinstance(radicand, Fraction) or radicand <= 0:
            raise Unsupported("variance + epsilon is not above 0; the batch normalization is not defined there")
        gain = exact.surd(ZERO, at(scale, c) / radicand, radicand)  # type: ignore[arg-type]
        gains.append(gain)
        offsets.append(gain * -at(mean, c) + at(bias, c))
    return Affine(shared(gains), shared(offsets))


def _clip(node: ir.Node, constants: Inputs, position: int, read: ReadParams) -> Clip | None:
    """Return the step, or None where nothing bounds the tensor."""
    if node.op_type == "Clip":
        bounds = [constants[i] if i < len(constants) else None for i in (1, 2)]
        params = [None if b is None or _infinite(b) else read(b) for b in bounds]
        for i, name in enumerate(("min", "max")):
            if name in node.attributes:
                params[i] = (float_attribute(node, name, 0.0),)
            elif i + 1 < len(node.inputs) and node.inputs[i + 1] is not None and bounds[i] is None:
                raise Unsupported(f"its {name} is not constant; make it constant")
        return None if params == [None, None] else Clip(params[0], params[1])
    others = [read(c) for i, c in enumerate(constants) if i != position and c is not None]
    if len(others) != len(node.inputs) - 1:
        raise Unsupported("it compares two tensors; only constants are supported beside the tensor")
    if not others:
        return None
    pick = max if node.op_type == "Max" else min
    count = max(len(p) for p in others)
    bound: list[Fraction] = []
    for c in range(count):
        candidates = [at(p, c) for p in others]
        bound.append(pick(n for n in candidates if isinstance(n, Fraction)))
    return Clip(shared(bound), None) if node.op_type == "Max" else Clip(None, shared(bound))


def _infinite(constant: Constant) -> bool:
    return bool((np.abs(constant.mantissa) >= 3e38).all())


def _leaky(slope: Params) -> LeakyRelu:
    if any(exact.sign(s) < 0 for s in slope):
        raise Unsupported("a negative slope makes the function fall and rise; only slopes of at least 0 are monotone")
    return LeakyRelu(slope)


def _exponential_unit(node: ir.Node) -> list[Step]:
    if node.op_type == "Elu":
        alpha = float_attribute(node, "alpha", 1.0)
        gamma = ONE
    else:
        alpha = float_attribute(node, "alpha", 1.6732632423543772)
        gamma = float_attribute(node, "gamma", 1.0507009873554805)
    if alpha <= 0 or gamma <= 0:
        raise Unsupported("alpha or gamma is not above 0, so the function is not rising; use positive numbers")
    return [Curve("Elu", alpha)] if gamma == 1 else [Curve("Elu", alpha), Affine((gamma,), (ZERO,))]


@dataclass(frozen=True)
class Quantizer:
    """``y = before(x)``, then integers ``q = levels(y)``, then values ``after(q)``."""

    before: Affine
    levels: Levels
    after: Affine
    datatype: DataType


def quantizer_of(
    node: ir.Node, constants: Inputs, read: ReadParams, y_range: Callable[[Affine], tuple[int, int]]
) -> Quantizer | None:
    """Return a quantizer node as levels on a scaled input, or None if the node is none.

    ``y_range`` bounds the values after ``before`` (only an unclipped Trunc needs it).
    """
    match node.op_type:
        case "Quant" | "IntQuant":
            return _quant(node, constants, read)
        case "BipolarQuant":
            scale = _positive(_required(constants, 1, "scale", read))
            before = Affine(tuple(exact.reciprocal(s) for s in scale), (ZERO,))
            return Quantizer(before, quantizers.bipolar_levels(), Affine(scale, (ZERO,)), DataType.parse("BIPOLAR"))
        case "Sign":
            unit = Affine((ONE,), (ZERO,))
            return Quantizer(unit, quantizers.sign_levels(), unit, DataType.parse("INT2"))
        case "Trunc":
            return _trunc(node, constants, read, y_range)
    return None


def _quant(node: ir.Node, constants: Inputs, read: ReadParams) -> Quantizer:
    scale = _positive(_required(constants, 1, "scale", read))
    zero = _required(constants, 2, "zero point", read)
    spec = quant_attributes(node, constants[3] if len(constants) > 3 else None)
    before = Affine(tuple(exact.reciprocal(s) for s in scale), zero)
    if spec.bipolar:
        levels = quantizers.bipolar_levels()
    else:
        if spec.bits > 24:
            raise Unsupported(f"{spec.bits} bits; float32 holds integers of at most 24 bits. Use fewer bits")
        rounding = canonical_rounding(spec.rounding)
        levels = quantizers.rounded_levels(spec.lo, spec.hi, rounding)
    return Quantizer(before, levels, _back(scale, zero), spec.datatype)


def _trunc(
    node: ir.Node, constants: Inputs, read: ReadParams, y_range: Callable[[Affine], tuple[int, int]]
) -> Quantizer:
    scale = _positive(_required(constants, 1, "scale", read))
    zero = _required(constants, 2, "zero point", read)
    before = Affine(tuple(exact.reciprocal(s) for s in scale), zero)
    rounding = canonical_rounding(rounding_of(node, "FLOOR"))
    first, last = y_range(before)
    if len(constants) == 5:
        shift = int(_whole(constants, 3, "input bit width")) - int(_whole(constants, 4, "output bit width"))
        levels = quantizers.trunc_levels(None, None, shift, rounding, first, last)
        datatype = _smallest(levels)
        return Quantizer(before, levels, _back(scale, zero), datatype)
    out_scale = _positive(_required(constants, 4, "output scale", read))
    bits = int(_whole(constants, 5, "output bit width"))
    signed, narrow = bool(int_attribute(node, "signed", 1)), bool(int_attribute(node, "narrow", 0))
    lo, hi = quantizers.quant_range(bits, signed=signed, narrow=narrow)
    shifts = {
        round(float(np.log2(float(at(out_scale, c)) / float(at(scale, c)))))  # type: ignore[arg-type]
        for c in range(max(len(scale), len(out_scale)))
    }
    if len(shifts) != 1:
        raise Unsupported("its channels are shifted by different amounts; use one ratio of the scales for all channels")
    shift = shifts.pop()
    levels = quantizers.trunc_levels(lo, hi, shift, rounding, first, last)
    moved = tuple(z / Fraction(2) ** shift for z in zero)
    datatype = DataType.parse(f"{'' if signed else 'U'}INT{bits}")
    return Quantizer(before, levels, _back(out_scale, moved), datatype)


def multithreshold_of(node: ir.Node, rows: Sequence[Sequence[Fraction]]) -> tuple[list[Levels], Affine, DataType]:
    """Return the levels of each row of a MultiThreshold node, the affine of its count, and the count's data type."""
    scale = float_attribute(node, "out_scale", 1.0)
    bias = float_attribute(node, "out_bias", 0.0)
    levels = [Levels(0, 1, len(row), tuple(Boundary(t, closed=True) for t in sorted(row))) for row in rows]
    return levels, Affine((scale,), (bias,)), _smallest(levels[0])


def _back(scale: Params, zero: Params) -> Affine:
    count = max(len(scale), len(zero))
    return Affine(scale, shared([-at(zero, c) * at(scale, c) for c in range(count)]))


def _smallest(levels: Levels) -> DataType:
    return smallest_datatype(levels.lo, levels.hi)


def _required(constants: Inputs, position: int, name: str, read: ReadParams) -> Params:
    constant = constants[position] if position < len(constants) else None
    if constant is None:
        raise Unsupported(f"its {name} is not constant; fold it into a constant first (cleanup_model)")
    return read(constant)


def _whole(constants: Inputs, position: int, name: str) -> float:
    constant = constants[position] if position < len(constants) else None
    number = None if constant is None or constant.mantissa.size != 1 else float(constant.values().reshape(-1)[0])
    if number is None or number != int(number):
        raise Unsupported(f"its {name} is no constant whole number; a hardware data type needs one")
    return number


def _positive(scale: Params) -> Params:
    if any(exact.sign(s) <= 0 for s in scale):
        raise Unsupported("its scale is not above 0; a quantizer needs positive scales. Export the model again")
    return scale

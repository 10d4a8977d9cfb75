"""Constants of a QONNX graph as exact numbers: plain float32 arrays, and quantized weights as integers with a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.errors import QonnxError, Unsupported
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.passes.base import has_graphs
from qonnx_core.passes.fold_constants import GROWING, RANDOM
from qonnx_core.passes.streamline.elementwise import Params, shared
from qonnx_core.passes.streamline.quantizers import ALIASES, quant_range

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: Widest weights that still count as quantized.
MAX_WEIGHT_BITS = 16
_BEYOND = 1e300  # no product of float32 numbers comes near


@dataclass(frozen=True, eq=False)
class Constant:
    """``mantissa * scale`` as exact products, equal ranks; plain numbers have scale 1, quantized weights integers."""

    mantissa: FloatArray
    scale: FloatArray
    datatype: DataType | None = None  # of mantissa + zero_point, for the output of a quantizer
    zero_point: FloatArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.mantissa.shape

    def values(self) -> FloatArray:
        """Return the float32 numbers that an execution sees, as float64."""
        return self.single().astype(np.float64)

    def single(self) -> npt.NDArray[np.float32]:
        """Return the float32 numbers that an execution sees."""
        with np.errstate(over="ignore"):  # thresholds beyond all numbers become infinite
            numbers = self.mantissa.astype(np.float32)
        return numbers if (self.scale == 1).all() else numbers * self.scale.astype(np.float32)

    def fraction(self, position: int) -> Fraction:
        """Return one element, by flat position, exactly."""
        scale = np.broadcast_to(self.scale, self.shape)
        return Fraction(float(self.mantissa.flat[position])) * Fraction(float(scale.flat[position]))


def plain(array: npt.NDArray[np.generic]) -> Constant:
    """Return float numbers as a constant; raises Unsupported for NaN and infinity."""
    values = np.asarray(array).astype(np.float64)
    if not np.isfinite(values).all():
        raise Unsupported("a constant holds NaN or infinity; only finite numbers have an integer form")
    return Constant(values, np.ones((1,) * values.ndim))


def quantized_constant(node: ir.Node, x: Constant, others: list[Constant | None]) -> Constant:
    """Return what a quantizer node makes of a constant: the integers of a float32 execution, exactly scaled.

    Weights are rounded as the float32 execution of the node rounds them, elementwise and so without any freedom: the
    framework, the executed QONNX model and the hardware then hold the same integers even where ``w / scale`` is a tie.
    """
    if any(other is None for other in others):
        raise Unsupported("its scale, zero point or bit width is not constant; make them constants")
    scale = others[0].single()  # type: ignore[union-attr]
    values = x.single()
    if (scale == 0).any():
        raise Unsupported("its scale holds 0; a quantizer divides by the scale. Export the model again")
    if node.op_type == "BipolarQuant":
        signs = np.where(values >= 0, 1.0, -1.0)
        return _scaled(signs, scale, DataType.parse("BIPOLAR"), None)
    zero = others[1].single()  # type: ignore[union-attr]
    spec = quant_attributes(node, others[2])
    try:
        np.broadcast_shapes(values.shape, scale.shape, zero.shape)
    except ValueError as error:
        raise Unsupported(f"its parameters do not fit its data: {error}; correct their shapes") from error
    with np.errstate(over="ignore"):
        y = values / scale + zero
    if spec.bipolar:
        q = np.where(y >= 0, 1.0, -1.0)
    else:
        q = _round_float(np.clip(y, np.float32(spec.lo), np.float32(spec.hi)).astype(np.float64), spec.rounding)
    return _scaled(q - zero.astype(np.float64), scale, spec.datatype, zero.astype(np.float64))


@dataclass(frozen=True, slots=True)
class QuantSpec:
    """The constant part of a Quant node."""

    bits: int
    signed: bool
    lo: int
    hi: int
    rounding: str

    @property
    def bipolar(self) -> bool:
        """Whether this is the signed one-bit case, whose values are -1 and 1."""
        return self.signed and self.bits == 1

    @property
    def datatype(self) -> DataType:
        """Data type of the integers."""
        return DataType.parse("BIPOLAR" if self.bipolar else f"{'' if self.signed else 'U'}INT{self.bits}")


def quant_attributes(node: ir.Node, bitwidth: Constant | None) -> QuantSpec:
    """Return the range and rounding mode of a Quant node; raises Unsupported where they are no hardware numbers."""
    if bitwidth is None or bitwidth.mantissa.size != 1:
        raise Unsupported("its bit width is no constant scalar; a hardware data type needs one whole number")
    bits = float(bitwidth.values().reshape(-1)[0])
    if bits != int(bits) or bits < 1:
        raise Unsupported(f"bit width is {bits:g}; a hardware data type needs a whole number of at least 1. Round it")
    signed, narrow = bool(int_attribute(node, "signed", 1)), bool(int_attribute(node, "narrow", 0))
    lo, hi = quant_range(int(bits), signed=signed, narrow=narrow)
    return QuantSpec(int(bits), signed, lo, hi, rounding_of(node, "ROUND"))


def rounding_of(node: ir.Node, default: str) -> str:
    """Return the node's rounding mode without aliases, in upper case."""
    attribute = node.attributes.get("rounding_mode")
    text = default if attribute is None else attribute.as_string()
    return ALIASES.get(text.upper(), text.upper())


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> Fraction:
    """Return a float attribute, or its default, as the rational that the float32 stands for."""
    attribute = node.attributes.get(name)
    number = float(np.float32(default if attribute is None else attribute.as_float()))
    if not np.isfinite(number):
        raise Unsupported(f"attribute {name} is {number}; expected a finite number")
    return Fraction(number)


def evaluate_constant(node: ir.Node, inputs: list[Constant | None]) -> Constant:
    """Return the value of a node whose inputs are all constant, elementwise in float32 as an execution gives it."""
    if node.op_type in ("Quant", "IntQuant", "BipolarQuant") and inputs[0] is not None:
        return quantized_constant(node, inputs[0], inputs[1:])
    arrays = [c for c in inputs if c is not None]
    if not arrays or len(arrays) != len(inputs):
        raise Unsupported("a constant expression without inputs, or with an omitted one; put its result into the file")
    if node.op_type in ("Trunc", "FloatQuant"):
        return _quantized_again(node, arrays)
    first = arrays[0]
    match node.op_type:
        case "Identity" | "Dropout":
            return first
        case "Cast":
            known = first.mantissa if (first.scale == 1).all() else first.single()
            cast = _executed(node, [known])
            return first if np.array_equal(cast, first.values()) else plain(cast)
        case "Transpose":
            axes = permutation_of(node, len(first.shape))
            if sorted(axes) != list(range(len(first.shape))):
                raise Unsupported(f"perm is {axes}, the data have {len(first.shape)} axes; correct the attribute")
            return _moved(first, lambda a: a.transpose(axes))
        case "Reshape":
            shape = [int(d) for d in arrays[1].mantissa.reshape(-1)]
            dims = [first.shape[i] if d == 0 else d for i, d in enumerate(shape)]
            return _moved(first, lambda a: a.reshape(dims), broadcast=True)
        case "Squeeze" | "Unsqueeze" | "Flatten" | "Slice" | "Gather":
            return _moved(first, lambda a: _executed(node, [a, *(c.mantissa for c in arrays[1:])]), broadcast=True)
    values = [c.single() for c in arrays]
    with np.errstate(all="ignore"):
        match node.op_type:
            case "Add":
                result = values[0] + values[1]
            case "Sub":
                result = values[0] - values[1]
            case "Mul":
                result = values[0] * values[1]
            case "Div":
                result = values[0] / values[1]
            case "Pow":
                result = values[0] ** values[1]
            case "Sqrt":
                result = np.sqrt(values[0])
            case "Reciprocal":
                result = np.float32(1) / values[0]
            case "Neg":
                result = -values[0]
            case _:
                result = _executed(node, values)
    return plain(np.asarray(result))


def _quantized_again(node: ir.Node, inputs: list[Constant]) -> Constant:
    """Return what Trunc or FloatQuant makes of a constant: its numbers at scale 1, and the scale beside them."""
    x, scale, *others = (c.single() for c in inputs)
    after = others[2] if len(inputs) == 6 and node.op_type == "Trunc" else scale
    if (scale == 0).any() or (after == 0).any():
        raise Unsupported("a scale holds 0; a quantizer divides by the scale. Export the model again")
    step = np.ones((), np.float32)
    with np.errstate(all="ignore"):
        x = x / scale
        if after is not scale:
            step = np.exp2(np.round(np.log2(after.astype(np.float64) / scale))).astype(np.float32)
            others[2] = step
        ints = _executed(node, [x, np.ones_like(scale), *others]) / step.astype(np.float64)
    return _scaled(plain(ints).mantissa, after, None, None)


def _executed(node: ir.Node, inputs: Sequence[npt.NDArray[Any]]) -> FloatArray:
    """Return the output of a node for these inputs, as a run of the model computes it."""
    from qonnx_core.execute.compiled import compile_model  # which takes longer to import than all of this

    grows_or_varies = node.op_type in RANDOM | GROWING or has_graphs(node)
    if not isinstance(node.graph, ir.Graph) or len(node.outputs) != 1 or grows_or_varies:
        raise Unsupported("a constant expression that is not computed ahead; put its result into the file")
    values = []
    for number, (value, array) in enumerate(zip(node.inputs, inputs, strict=True)):
        kind = np.dtype(np.float32) if value is None or value.dtype is None else value.dtype.numpy()
        name = f"input_{number}"
        values.append(ir.val(name, const_value=ir.tensor(array.astype(kind), name=name)))
    twin = ir.Node(node.domain, node.op_type, values, list(node.attributes.values()), name=node.name)
    twin.outputs[0].name = "output"
    imports = dict(node.graph.opset_imports)
    graph = ir.Graph([], twin.outputs, nodes=[twin], initializers=values, name="constant", opset_imports=imports)
    try:
        found = compile_model(ir.Model(graph, ir_version=10)).run({})["output"]
    except QonnxError as error:
        raise Unsupported(f"a constant expression that cannot be computed: {error}") from error
    return np.asarray(found).astype(np.float64)


def initializer(value: ir.Value) -> Constant | None:
    """Return the constant behind a value, or None if the value is not constant."""
    array = constant_array(value)
    return None if array is None else plain(array)


def thresholds_of(value: ir.Value) -> Constant | None:
    """Return the thresholds behind a value, or None if it is not constant.

    Infinite ones and NaN become numbers that no finite value passes: -infinity is always reached, the others never.
    """
    array = constant_array(value)
    if array is None or array.dtype.kind not in "fiu":
        return initializer(value)
    wide = array.astype(np.float64)
    return plain(np.where(np.isnan(wide), _BEYOND, np.clip(wide, -_BEYOND, _BEYOND)))


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """``weights[k, n] * row[k] * column[n]``: integers with exact factors (one, or one per row or column)."""

    weights: IntArray
    row: Params
    column: Params


def integer_weights(constant: Constant) -> IntegerWeights:
    """Return a weight matrix ``[K, N]`` on an integer grid of at most 16 bits; raises Unsupported without one."""
    mantissa, scale = constant.mantissa, constant.scale
    if scale.shape[0] > 1 and scale.shape[1] > 1:
        if (scale == scale[:1]).all():
            scale = scale[:1]
        elif (scale == scale[:, :1]).all():
            scale = scale[:, :1]
        else:
            raise Unsupported("its weights have a scale for each element; use one per tensor, input or output channel")
    ints, unit = _dyadic_integers(mantissa, keep=constant.datatype is not None)
    row: Params = (Fraction(1),)
    column: tuple[Fraction, ...] = (Fraction(1),)
    if scale.shape[0] > 1:
        row = shared([Fraction(float(s)) for s in scale[:, 0]])
    else:
        column = tuple(Fraction(float(s)) for s in scale[0])
    count = max(len(column), len(unit))
    column = tuple(column[c % len(column)] * unit[c % len(unit)] for c in range(count))
    if any(c < 0 for c in column):  # a negative scale belongs to the integers
        ints = ints * np.asarray([-1 if c < 0 else 1 for c in column], np.int64)
        column = tuple(abs(c) for c in column)
    return IntegerWeights(ints, row, shared(column))


def _dyadic_integers(mantissa: FloatArray, *, keep: bool) -> tuple[IntArray, list[Fraction]]:
    limit = 1 << MAX_WEIGHT_BITS
    if keep and (mantissa == np.rint(mantissa)).all() and np.abs(mantissa).max(initial=0) < limit:
        return mantissa.astype(np.int64), [Fraction(1)]
    unit = _common_unit(mantissa)
    units = [unit]
    if np.abs(mantissa).max(initial=0) / float(unit) >= limit:
        units = [_common_unit(mantissa[:, n]) for n in range(mantissa.shape[1])]
    ints = np.rint(mantissa / np.asarray([float(u) for u in units])).astype(np.float64)
    if np.abs(ints).max(initial=0) >= limit:
        raise Unsupported(
            f"its weights are not quantized (they lie on no grid of at most {MAX_WEIGHT_BITS} bits). "
            "Put a Quant node on the weights, or give the node to host"
        )
    return ints.astype(np.int64), units


def _common_unit(values: FloatArray) -> Fraction:
    """Return the largest rational of which all (dyadic) numbers are integer multiples; 1 if all are 0."""
    unique = np.unique(np.abs(values[values != 0]))
    if not unique.size:
        return Fraction(1)
    result = Fraction(0)
    for value in unique:
        fraction = Fraction(float(value))
        common = gcd(result.numerator * fraction.denominator, fraction.numerator * result.denominator)
        result = Fraction(common, result.denominator * fraction.denominator)
        if unique[-1] / float(result) >= 1 << 40:  # hopeless: the numbers are real floats
            break
    return result


def _scaled(
    ints: FloatArray, scale: npt.NDArray[np.float32], datatype: DataType | None, zero: FloatArray | None
) -> Constant:
    wide = scale.astype(np.float64)
    rank = max(ints.ndim, wide.ndim)
    ints = ints.reshape((1,) * (rank - ints.ndim) + ints.shape)
    wide = wide.reshape((1,) * (rank - wide.ndim) + wide.shape)
    shape = np.broadcast_shapes(ints.shape, wide.shape)
    return Constant(np.broadcast_to(ints, shape), wide, datatype, zero)


def _moved(constant: Constant, move: object, *, broadcast: bool = False) -> Constant:
    assert callable(move)
    scale = constant.scale
    if scale.size == 1:
        moved = move(constant.mantissa)
        return Constant(moved, scale.reshape((1,) * moved.ndim), constant.datatype, constant.zero_point)
    if broadcast:
        scale = np.broadcast_to(scale, constant.shape)
    return Constant(move(constant.mantissa), move(scale), constant.datatype, constant.zero_point)


def _round_float(y: FloatArray, rounding: str) -> FloatArray:
    match rounding:
        case "ROUND":
            return np.rint(y)
        case "CEIL":
            return np.ceil(y)
        case "FLOOR":
            return np.floor(y)
        case "UP":
            return np.sign(y) * np.ceil(np.abs(y))
        case "DOWN":
            return np.trunc(y)
        case "HALF_UP":
            return np.sign(y) * np.floor(np.abs(y) + 0.5)
        case "HALF_DOWN":
            return np.sign(y) * np.ceil(np.abs(y) - 0.5)
    raise Unsupported(f"rounding mode {rounding!r} is unknown; see the QONNX format for the seven modes")

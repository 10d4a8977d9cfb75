"""Writes the definition of one operator as a list of plain steps, before they become nodes or numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.builder import Array, Operand, SpecializingBuilder
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import IntQuant, Quant


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the standard domain that is not in a graph; its values belong to no graph either."""

    op_type: str
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    attributes: Mapping[str, Any]


class StepBuilder(SpecializingBuilder):
    """Writes steps instead of nodes; constants are values with an array and no name."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.constants: dict[ir.Value, Array] = {}

    def constant(self, array: Array) -> ir.Value:
        """Return a new value that stands for the array."""
        kind = _TYPES.get(array.dtype) or ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value = ir.Value(type=kind)
        self.constants[value] = array
        return value

    def known(self, value: ir.Value) -> Array | None:
        """Return None: what is known was given as an array."""
        return None

    def node(
        self, op_type: str, inputs: Sequence[Operand], attributes: Mapping[str, Any] | None = None, outputs: int = 1
    ) -> Sequence[ir.Value]:
        """Return the outputs of a new step."""
        made = tuple([ir.Value() for _ in range(outputs)])
        self.steps.append(Step(op_type, tuple([self.value(x) for x in inputs]), made, attributes or {}))
        return made


@dataclass(frozen=True, slots=True)
class Expansion:
    """The definition of an operator in steps.

    Attributes:
        steps: what is to be computed, in order.
        x: the value that stands for the data.
        result: the value of the result; it can be ``x`` or a constant.
        constants: the arrays behind the values that no step computes.
    """

    steps: Sequence[Step]
    x: ir.Value
    result: ir.Value
    constants: Mapping[ir.Value, Array]


class Expander:
    """Writes definitions in steps; quantizers that differ in their scales alone are expanded once."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Expansion, ir.Value]] = {}

    def expand(self, op: QonnxOp, x: ir.Value, parameters: Sequence[Operand]) -> Expansion:
        """Return the steps that compute the operator.

        Args:
            op: the operator.
            x: the data; its element type has to be known, and its shape where the definition depends on it.
            parameters: the other inputs, as arrays where they are known.

        Raises:
            InvalidModel: the operator has no meaning for inputs of these types and shapes.
        """
        op.check_operands(x, parameters)
        if type(op) in (Quant, IntQuant) and x.dtype in _WIDE and len(parameters) == 3:
            found = self._quantizer(op, x.dtype, *parameters)
            if found is not None:
                return found
        builder = StepBuilder()
        result = builder.value(op.body(builder, x, *parameters))
        return Expansion(builder.steps, x, result, builder.constants)

    def _quantizer(
        self, op: QonnxOp, dtype: ir.DataType, scale: Operand, zeropt: Operand, bitwidth: Operand
    ) -> Expansion | None:
        """Return the steps where zero point and width are known numbers and no factor is 1: then scales are alike."""
        for operand in (scale, zeropt, bitwidth):
            if not isinstance(operand, np.ndarray) and isinstance(operand, ir.Value):  # arrays are told faster
                return None
        factors, zero, bits = np.asarray(scale), np.asarray(zeropt), np.asarray(bitwidth)
        if zero.ndim or bits.ndim or factors.dtype != dtype.numpy() or factors.size == 0 or _any_is_one(factors):
            return None
        key = (op, dtype, zero.dtype, float(zero), float(bits))
        found = self._known.get(key)
        if found is None:
            kind = ir.TensorType(dtype)
            x, factor, builder = ir.Value(type=kind), ir.Value(type=kind), StepBuilder()
            result = builder.value(op.body(builder, x, factor, zero, bits))
            found = Expansion(builder.steps, x, result, builder.constants), factor
            self._known[key] = found
        known, factor = found
        return Expansion(known.steps, known.x, known.result, {**known.constants, factor: factors})


def _any_is_one(factors: Array) -> bool:
    return factors.item() == 1 if factors.ndim == 0 else bool(np.any(factors == 1))


_WIDE = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_TYPES = {
    np.dtype(kind): ir.TensorType(ir.DataType.from_numpy(np.dtype(kind)))
    for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
}

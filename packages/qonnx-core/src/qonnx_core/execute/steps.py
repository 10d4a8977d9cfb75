"""Writes the definition of one operator as a list of plain steps, before they become nodes or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.builder import Array, Operand, SpecializingBuilder
from qonnx_core.ops.op import QonnxOp


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


def steps_of(op: QonnxOp, x: ir.Value, parameters: Sequence[Operand]) -> tuple[StepBuilder, ir.Value]:
    """Return the steps that compute the operator, and the value of its result, which can be ``x`` or a constant.

    Args:
        op: the operator.
        x: the data; its element type has to be known.
        parameters: the other inputs, as arrays where they are known.
    """
    builder = StepBuilder()
    return builder, builder.value(op.body(builder, x, *parameters))


_TYPES = {
    np.dtype(kind): ir.TensorType(ir.DataType.from_numpy(np.dtype(kind)))
    for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
}

"""An operator and a pass that live outside of qonnx-core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp


@dataclass(frozen=True)
class HalfWave(QonnxOp):
    """Return ``x`` where it is positive, and ``floor`` elsewhere."""

    op_type: ClassVar[str] = "HalfWave"
    domain: ClassVar[str] = "plugin.example"
    inputs: ClassVar[tuple[str, ...]] = ("x", "floor")

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the larger of the two."""
        x, floor = inputs
        return op("Max", x, op.like(floor, x))


@dataclass(frozen=True)
class ReluToHalfWave:
    """``Relu(x)`` becomes ``HalfWave(x, 0)``."""

    name: str = "relu_to_half_wave"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of edits."""
        found = [node for node in model.graph if node.domain == "" and node.op_type == "Relu"]
        for number, node in enumerate(found):
            floor = ir.val(f"half_wave_floor_{number}", const_value=ir.tensor(np.zeros((), np.float32)))
            model.graph.register_initializer(floor)
            (x,) = node.inputs
            assert x is not None
            made = HalfWave().node(x, floor, name=f"HalfWave_{number}", output=node.outputs[0].name)
            made.outputs[0].shape = node.outputs[0].shape
            ir.convenience.replace_nodes_and_values(
                model.graph, node, [node], [made], [node.outputs[0]], [made.outputs[0]]
            )
        if found:
            model.opset_imports.setdefault(HalfWave.domain, HalfWave.since_version)
        return len(found)

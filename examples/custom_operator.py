"""An operator of one's own: the definition is the body, everything else follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp


@dataclass(frozen=True)
class SoftRound(QonnxOp):
    """Return ``x`` rounded to multiples of ``scale``; half-way cases go to the even multiple."""

    op_type: ClassVar[str] = "SoftRound"
    domain: ClassVar[str] = "my_company.quantizers"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale")

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the nearest multiple of the scale."""
        x, scale = inputs
        scale = op.like(scale, x)
        return op("Mul", op("Round", op("Div", x, scale)), scale)

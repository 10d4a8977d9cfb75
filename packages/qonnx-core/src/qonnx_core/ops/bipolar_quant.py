"""BipolarQuant: the sign of the data, times a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array, Builder, Operand
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import bipolar


@dataclass(frozen=True)
class BipolarQuant(QonnxOp):
    """Return ``scale`` where ``x >= 0`` (zero included), else ``-scale`` (NaN included)."""

    op_type: ClassVar[str] = "BipolarQuant"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale")
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data",
        "scale": "absolute value of the result",
    }

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the sign times the scale."""
        x, scale = inputs
        return op("Mul", bipolar(op, x), op.like(scale, x))

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return ``BIPOLAR`` at scale 1, else None."""
        scale = inputs[1]
        return DataType.BIPOLAR if scale is not None and bool(np.all(scale == 1)) else None

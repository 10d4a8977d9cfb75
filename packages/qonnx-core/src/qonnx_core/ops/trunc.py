"""Trunc, versions 1 and 2: drop low bits of a quantized tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import bounds, clip
from qonnx_core.ops.rounding import Rounding, round_by

_DOUBLE = ir.DataType.DOUBLE


def _other_version(node: ir.Node, wanted: int) -> str:
    """Return the likely reason for a wrong number of inputs: the node is of the other version."""
    count = len(node.inputs)
    if (wanted, count) in ((1, 6), (2, 5)):
        return f"; {count} inputs are those of version {3 - wanted}, so the model has to import that version"
    return ""


@dataclass(frozen=True)
class TruncV1(QonnxOp):
    """Drop ``in_bw - out_bw`` low bits of the integers behind ``x``; scale and zero point stay as they are.

    ``(round(half_even(x / scale + zeropt) / 2^(in_bw - out_bw)) - zeropt) * scale``, without a clip: the meaning that
    files of domain version 1 have always had.
    """

    rounding_mode: Rounding = Rounding.FLOOR

    op_type: ClassVar[str] = "Trunc"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale", "zeropt", "in_bitwidth", "out_bitwidth")
    never_nan: ClassVar[tuple[str, ...]] = ("in_bitwidth", "out_bitwidth")
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, on the grid of scale and zeropt",
        "scale": "distance of two neighbours on the input grid",
        "zeropt": "the integer that stands for 0 on the input grid",
        "in_bitwidth": "number of bits of the input integers",
        "out_bitwidth": "number of bits of the output integers",
        "rounding_mode": "how the dropped bits are rounded",
    }

    @classmethod
    def hint(cls, node: ir.Node) -> str:
        """Name the other version where the number of inputs is its."""
        return _other_version(node, 1)

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the truncated data."""
        x, scale, zeropt, in_bitwidth, out_bitwidth = inputs
        scale, zeropt = op.like(scale, x), op.like(zeropt, x)
        integers = op("Round", op("Add", op("Div", x, scale), zeropt))
        dropped = op("Sub", op.cast(in_bitwidth, _DOUBLE), op.cast(out_bitwidth, _DOUBLE))
        divisor = op.like(op("Pow", np.float64(2), dropped), x)
        kept = round_by(op, self.rounding_mode, op("Div", integers, divisor))
        return op("Mul", op("Sub", kept, zeropt), scale)


@dataclass(frozen=True)
class Trunc(QonnxOp):
    """Bring the integers behind ``x`` to the coarser grid of ``out_scale`` and width ``out_bitwidth``.

    With ``t = 2^round(log2(out_scale / scale))``:
    ``(round(clip(half_even(x / scale + zeropt) / t)) - zeropt / t) * out_scale``.
    """

    rounding_mode: Rounding = Rounding.FLOOR
    signed: bool = True
    narrow: bool = False

    op_type: ClassVar[str] = "Trunc"
    since_version: ClassVar[int] = 2
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale", "zeropt", "in_bitwidth", "out_scale", "out_bitwidth")
    never_nan: ClassVar[tuple[str, ...]] = ("out_bitwidth",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, on the grid of scale and zeropt",
        "scale": "distance of two neighbours on the input grid",
        "zeropt": "the integer that stands for 0 on the input grid",
        "in_bitwidth": "number of bits of the input integers; changes no value",
        "out_scale": "distance of two neighbours on the output grid: scale times a power of two",
        "out_bitwidth": "number of bits of the output integers",
        "rounding_mode": "how the dropped bits are rounded",
        "signed": "1: two's complement output integers; 0: integers from 0 on",
        "narrow": "1: leave out the most negative (unsigned: the largest) output integer",
    }

    @classmethod
    def hint(cls, node: ir.Node) -> str:
        """Name the other version where the number of inputs is its."""
        return _other_version(node, 2)

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the truncated data."""
        x, scale, zeropt, _, out_scale, out_bitwidth = inputs
        ratio = op("Div", op.cast(out_scale, _DOUBLE), op.cast(scale, _DOUBLE))
        exponent = op("Round", op("Div", op("Log", ratio), np.float64(np.log(2.0))))
        step = op.like(op("Pow", np.float64(2), exponent), x)
        scale, zeropt, out_scale = op.like(scale, x), op.like(zeropt, x), op.like(out_scale, x)
        signed, narrow = op.attribute("signed", self.signed), op.attribute("narrow", self.narrow)
        low, high = bounds(op, signed, narrow, out_bitwidth)
        integers = op("Round", op("Add", op("Div", x, scale), zeropt))
        kept = round_by(op, self.rounding_mode, clip(op, op("Div", integers, step), op.like(low, x), op.like(high, x)))
        return op("Mul", op("Sub", kept, op("Div", zeropt, step)), out_scale)

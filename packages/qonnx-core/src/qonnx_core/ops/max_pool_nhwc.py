"""MaxPoolNHWC: maximum of windows, channels last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.windows import Shape, Window, channels_first, channels_last, check_window

_RANK = 4


@dataclass(frozen=True)
class MaxPoolNHWC(QonnxOp):
    """Return the maximum of every window of ``kernel_shape``, for data ``(N, H, W, C)``; else as MaxPool of ONNX.

    ``pads`` are the rows and columns of padding ``(top, left, bottom, right)``, which never is the maximum.
    """

    kernel_shape: tuple[int, ...]
    pads: tuple[int, ...]
    strides: tuple[int, ...]
    ceil_mode: bool = False

    op_type: ClassVar[str] = "MaxPoolNHWC"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, (N, H, W, C)",
        "kernel_shape": "size of a window: rows, columns",
        "pads": "padding: top, left, bottom, right",
        "strides": "distance of two windows: rows, columns",
        "ceil_mode": "1: a last window may reach beyond the end",
    }
    broadcasts: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window("kernel_shape", self.kernel_shape, 2, 1)
        check_window("strides", self.strides, 2, 1)
        check_window("pads", self.pads, 4, 0)

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the pooled data."""
        (x,) = inputs
        attributes = {
            "kernel_shape": op.passed("kernel_shape", "kernel_shape", self.kernel_shape),
            "pads": op.passed("pads", "pads", self.pads),
            "strides": op.passed("strides", "strides", self.strides),
            "ceil_mode": op.passed("ceil_mode", "ceil_mode", self.ceil_mode),
        }
        pooled: ir.Value = op.node("MaxPool", [channels_first(op, x, _RANK)], attributes)[0]
        return channels_last(op, pooled, _RANK)

    def infer_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return ``(N, H', W', C)``."""
        shape = shapes[0]
        if shape is None or len(shape) != _RANK:
            return None
        window = Window(self.kernel_shape, self.strides, (1, 1), self.pads, self.ceil_mode)
        return (shape[0], *window.counts(shape[1:3]), shape[3])

    def keeps_datatype(self, datatype: DataType) -> bool:
        """Return True: every output is one of the inputs."""
        return True

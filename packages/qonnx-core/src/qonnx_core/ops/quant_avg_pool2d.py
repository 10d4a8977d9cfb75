"""QuantAvgPool2d: sums of windows of integers, cut to fewer bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array, Builder, Operand
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.windows import Shape, output_size

_FLOAT = ir.DataType.FLOAT
_DOUBLE = ir.DataType.DOUBLE
_EXACT_BITS = 24  # whole numbers of this many bits are exact in float32
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class QuantAvgPool2d(QonnxOp):
    """Return ``floor(sum of the window / 2^shift)``: the average pooling of integers in hardware.

    The ``kernel * kernel`` windows lie ``stride`` apart, without padding. ``shift = max(0, bits - obits)``, with
    ``bits`` those of the largest sum of ``kernel^2`` unsigned numbers of ``ibits`` bits. The sum is exact; numbers that
    are not whole are rounded half to even after the sum.
    """

    stride: int
    kernel: int
    ibits: int
    obits: int
    signed: bool
    data_layout: str = "NCHW"

    op_type: ClassVar[str] = "QuantAvgPool2d"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "integers, (N, C, H, W) or (N, H, W, C)",
        "stride": "distance of two windows along both axes, from 1",
        "kernel": "rows and columns of a window, 1 to 1024",
        "ibits": "number of bits of the input integers, 1 to 32",
        "obits": "number of bits of the output integers, 2 to 32",
        "signed": "1: signed data types; 0: unsigned",
        "data_layout": "NCHW or NHWC",
    }
    broadcasts: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least, most in (("stride", 1, 2**31), ("kernel", 1, 2**10), ("ibits", 1, 32), ("obits", 2, 32)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InvalidModel(f"{name} is {value}; expected {least} to {most}. Correct the attribute.")
        if self.data_layout not in ("NCHW", "NHWC"):
            raise InvalidModel(f"data_layout is {self.data_layout!r}; expected NCHW or NHWC. Correct the attribute.")

    @property
    def sum_bits(self) -> int:
        """The bits of the largest sum."""
        return int((2**self.ibits - 1) * self.kernel**2).bit_length()

    @property
    def shift(self) -> int:
        """How many low bits of the sum are dropped."""
        return max(0, self.sum_bits - self.obits)

    @property
    def axes(self) -> tuple[int, int]:
        """The axes of height and width."""
        return (2, 3) if self.data_layout == "NCHW" else (1, 2)

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return what the window and the shift depend on."""
        return tuple((name, getattr(self, name)) for name in ("kernel", "stride", "ibits", "obits", "data_layout"))

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the shifted sums, in the element type of the data."""
        (x,) = inputs
        short = isinstance(x, ir.Value) and x.dtype in (_FLOAT, ir.DataType.FLOAT16)
        kind = _FLOAT if short and self.sum_bits <= _EXACT_BITS else _DOUBLE
        total = op.value(op.cast(x, kind))
        for axis in self.axes:
            total = op.typed(self._window_sums(op, total, axis), kind)
        cut = op("Mul", op("Round", total), op.cast(np.float64(2.0**-self.shift), kind))
        return op.like(op("Floor", cut), x)

    def _window_sums(self, op: Builder, x: ir.Value, axis: int) -> ir.Value:
        """Return the sums along one axis: one slice for each place in the window, all added."""
        if self.kernel == self.stride == 1:
            return x
        parts = []
        for place in range(self.kernel):
            behind = place + 1 - self.kernel
            numbers = ([place], [behind if behind < 0 else _LAST], [axis], [self.stride])
            parts.append(op.node("Slice", [x, *(np.asarray(number, dtype=np.int64) for number in numbers)])[0])
        return parts[0] if len(parts) == 1 else op.node("Sum", parts)[0]

    def infer_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return the shape of the data with fewer rows and columns."""
        shape = shapes[0]
        if shape is None or len(shape) != 4:
            return None
        return tuple(
            output_size(size, self.kernel, self.stride, 0) if axis in self.axes else size
            for axis, size in enumerate(shape)
        )

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return the integer type of ``obits`` bits."""
        return DataType.integer(self.obits) if self.signed else DataType.unsigned(self.obits)

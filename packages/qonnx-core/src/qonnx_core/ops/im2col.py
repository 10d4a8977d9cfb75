"""Im2Col: the windows of an image as rows of a matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.ops.builder import Builder, Operand, is_known
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.windows import Shape, Window, check_window

_INPUT_SHAPE = re.compile(
    r"\s*\(?\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*,?\s*\)?\s*"
)


@dataclass(frozen=True)
class Im2Col(QonnxOp):
    """Return every window of ``kernel_size`` as one row: ``(N, H, W, C)`` becomes ``(N, H', W', kh * kw * C)``.

    Within a row the order is (kh, kw, C). ``pad_amount`` is ``(top, left, bottom, right)``, filled with ``pad_value``.
    Any batch; ``input_shape`` is only read where the shape of the data is not known, and ``depthwise`` only by
    hardware.
    """

    stride: tuple[int, ...]
    kernel_size: tuple[int, ...]
    input_shape: str
    pad_amount: tuple[int, ...] = ()
    pad_value: int = 0
    depthwise: bool = False
    dilations: tuple[int, ...] = ()

    op_type: ClassVar[str] = "Im2Col"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, (N, H, W, C)",
        "stride": "distance of two windows: rows, columns",
        "kernel_size": "size of a window: rows, columns",
        "input_shape": "shape of the data as text, e.g. (1, 28, 28, 3)",
        "pad_amount": "padding: top, left, bottom, right",
        "pad_value": "the number in the padding",
        "depthwise": "1: each channel is a group of its own; changes no value",
        "dilations": "distance of two elements of a window: rows, columns",
    }
    broadcasts: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad_amount", self.pad_amount or (0, 0, 0, 0))
        object.__setattr__(self, "dilations", self.dilations or (1, 1))
        check_window("stride", self.stride, 2, 1)
        check_window("kernel_size", self.kernel_size, 2, 1)
        check_window("dilations", self.dilations, 2, 1)
        check_window("pad_amount", self.pad_amount, 4, 0)
        if _INPUT_SHAPE.fullmatch(self.input_shape) is None:
            raise InvalidModel(
                f"input_shape is {self.input_shape!r}; expected four numbers such as (1, 28, 28, 3). Correct it."
            )

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return nothing: the text attribute changes no value."""
        return ()

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the windows: one Gather over the pixels, with an index that is computed here where sizes are known."""
        (x,) = inputs
        assert isinstance(x, ir.Value)
        if x.shape is not None and len(x.shape) != 4:
            raise InvalidModel(f"its data have shape {x.shape}; expected (N, H, W, C). Check what it reads.")
        kernel, stride, dilations, pads = (
            op.attribute(name, getattr(self, name)) for name in ("kernel_size", "stride", "dilations", "pad_amount")
        )
        sizes = [
            op("Add", _size(op, x, axis + 1), op("Add", _item(op, pads, axis), _item(op, pads, axis + 2)))
            for axis in range(2)
        ]
        steps = [[_item(op, numbers, axis) for numbers in (kernel, stride, dilations)] for axis in range(2)]
        rows = op("Add", *_places(op, sizes[0], *steps[0], axes=(0, 2)))
        columns = op("Add", *_places(op, sizes[1], *steps[1], axes=(1, 3)))
        index = op("Add", op("Mul", rows, sizes[1]), columns)
        channels = _size(op, x, 3)
        pixels = _reshaped(op, self._padded(op, x, pads), 1, op("Mul", *sizes), channels)
        windows = op.node("Gather", [pixels, index], {"axis": 1})[0]  # (N, H', W', kh, kw, C)
        return _reshaped(op, windows, 3, op("Mul", op("Mul", _item(op, kernel, 0), _item(op, kernel, 1)), channels))

    def _padded(self, op: Builder, x: ir.Value, pads: Operand) -> ir.Value:
        value = op.value(op.like(op.attribute("pad_value", self.pad_value), x))
        if is_known(pads):
            top, left, bottom, right = (int(pad) for pad in np.asarray(pads))
            if not (top or left or bottom or right):
                return x
            return op.node("Pad", [x, np.asarray([0, top, left, 0, 0, bottom, right, 0], dtype=np.int64), value])[0]
        axes = np.asarray([1, 2], dtype=np.int64)
        return op.node("Pad", [x, pads, value, axes])[0]

    def infer_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return ``(N, H', W', kh * kw * C)``."""
        shape = shapes[0]
        if shape is None:
            match = _INPUT_SHAPE.fullmatch(self.input_shape)
            assert match is not None
            shape = (None, *(int(number) for number in match.groups()[1:]))
        if len(shape) != 4:
            return None
        window = Window(self.kernel_size, self.stride, self.dilations, self.pad_amount)
        row = shape[3] * self.kernel_size[0] * self.kernel_size[1] if isinstance(shape[3], int) else None
        return (shape[0], *window.counts(shape[1:3]), row)

    def keeps_datatype(self, datatype: DataType) -> bool:
        """Return whether the padding is a number of the type, or there is none."""
        if not any(self.pad_amount):
            return True
        return self.pad_value == 0 if datatype.kind is Kind.SCALEDINT else datatype.allows(self.pad_value)


def _item(op: Builder, numbers: Operand, index: int) -> Operand:
    """Return one of the numbers of a list."""
    if not isinstance(numbers, ir.Value):
        return np.asarray(np.asarray(numbers)[index])
    return op.node("Gather", [numbers, np.asarray(index, dtype=np.int64)])[0]


def _size(op: Builder, x: ir.Value, axis: int) -> Operand:
    if x.shape is not None and isinstance(x.shape[axis], int):
        return np.asarray(x.shape[axis], dtype=np.int64)
    return op.node("Squeeze", [op.node("Shape", [x], {"start": axis, "end": axis + 1})[0]])[0]


def _reshaped(op: Builder, x: ir.Value, kept: int, *sizes: Operand) -> ir.Value:
    """Return the data with the first axes kept and the others of these sizes; any of them can be empty."""
    vectors = [op("Reshape", size, np.asarray([1], dtype=np.int64)) for size in sizes]
    if is_known(*vectors) and all(np.all(np.asarray(vector)) for vector in vectors):
        target = np.concatenate([np.zeros(kept, np.int64), *(np.asarray(vector) for vector in vectors)])
        return op.node("Reshape", [x, target])[0]
    # A 0 for each axis that is kept would let onnxruntime write -1 for the computed size, which no empty axis allows.
    lead = op.node("Shape", [x], {"start": 0, "end": kept})[0]
    shape = op.node("Concat", [lead, *vectors], {"axis": 0})[0]
    return op.node("Reshape", [x, shape], {"allowzero": 1})[0]


def _places(
    op: Builder, size: Operand, kernel: Operand, stride: Operand, dilation: Operand, *, axes: tuple[int, int]
) -> tuple[Operand, Operand]:
    """Return where the windows start, and where their elements are, along ``axes`` of four."""
    zero, one = np.int64(0), np.int64(1)
    last = op("Sub", size, op("Mul", op("Sub", kernel, one), dilation))
    starts = op("Range", zero, last, stride)
    inside = op("Range", zero, op("Mul", kernel, dilation), dilation)
    first, second = (np.asarray([-1 if place == axis else 1 for place in range(4)], dtype=np.int64) for axis in axes)
    return op("Reshape", starts, first), op("Reshape", inside, second)

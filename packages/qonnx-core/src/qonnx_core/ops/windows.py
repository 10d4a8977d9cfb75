"""What operators that slide a window over an image share: sizes, checks of attributes, channels first and last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ops.builder import Builder, Operand

Shape = tuple[int | str | None, ...]


def output_size(size: int | str | None, kernel: int, stride: int, pads: int, dilation: int = 1) -> int | None:
    """Return how many windows of ``kernel`` elements fit along one axis; None where the size is not known.

    ``pads`` is the sum of both sides.
    """
    if not isinstance(size, int):
        return None
    return max(0, (size + pads - dilation * (kernel - 1) - 1) // stride + 1)


def ceiled_size(size: int | str | None, kernel: int, stride: int, begin: int, end: int, dilation: int) -> int | None:
    """Return the same where a last window may reach beyond the padded axis, if it begins before the end padding."""
    if not isinstance(size, int):
        return None
    extent = dilation * (kernel - 1) + 1
    count = -(-(size + begin + end - extent) // stride) + 1
    return count - 1 if (count - 1) * stride >= size + begin else count


def same_pads(
    sizes: Sequence[object] | None,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    upper: bool,
) -> tuple[int, ...] | None:
    """Return the pads of SAME_UPPER or SAME_LOWER, all begins first; None where a size that matters is not known.

    They give ``ceil(size / stride)`` windows, the odd element at the end or at the beginning (ONNX, operator Conv).
    With stride 1, or a window of one element, the size does not matter.
    """
    begins, ends = [], []
    for axis, (number, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        extent = dilation * (number - 1) + 1
        size = None if sizes is None or axis >= len(sizes) else sizes[axis]
        if stride == 1 or extent == 1:
            total = extent - 1
        elif isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        else:
            return None
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return (*begins, *ends)


@dataclass(frozen=True)
class Window:
    """Kernel, strides and dilations, one number per spatial axis; pads hold all begins, then all ends.

    With ``ceil`` a last window may reach beyond the padded axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    ceil: bool = False

    @property
    def num_axes(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def num_elements(self) -> int:
        """The number of elements of a window."""
        return prod(self.kernel)

    @property
    def begins(self) -> tuple[int, ...]:
        """The padding in front, for each axis."""
        return self.pads[: self.num_axes]

    @property
    def ends(self) -> tuple[int, ...]:
        """The padding behind, for each axis."""
        return self.pads[self.num_axes :]

    @property
    def is_pointwise(self) -> bool:
        """Whether every output sees exactly the one input at its own place."""
        return not any(self.pads) and all(number == 1 for number in (*self.kernel, *self.strides))

    def with_axis(self) -> Window:
        """Return the window with one more spatial axis behind the others, along which it does not reach."""
        pads = (*self.begins, 0, *self.ends, 0)
        return Window((*self.kernel, 1), (*self.strides, 1), (*self.dilations, 1), pads, self.ceil)

    def count(self, axis: int, size: int | str | None) -> int | None:
        """Return how many windows there are along an axis of this size; None where the size is not known."""
        kernel, stride, dilation = self.kernel[axis], self.strides[axis], self.dilations[axis]
        begin, end = self.begins[axis], self.ends[axis]
        if self.ceil:
            return ceiled_size(size, kernel, stride, begin, end, dilation)
        return output_size(size, kernel, stride, begin + end, dilation)

    def counts(self, sizes: Sequence[int | str | None]) -> tuple[int | None, ...]:
        """Return how many windows there are along each axis; None where a size is not known."""
        return tuple(self.count(axis, size) for axis, size in enumerate(sizes))


def read_window(
    node: ir.Node, kernel: tuple[int, ...], sizes: Sequence[object] | None, *, automatic: bool = True
) -> Window | str:
    """Return the window of an ONNX node over spatial axes of these sizes, or the reason why it is not known.

    What the node leaves out is written out, and ``auto_pad`` becomes numbers: ``VALID`` is no padding, the others are
    :func:`same_pads`. Without ``automatic`` these are left out, and the pads are those that are written.
    """
    axes = len(kernel)
    strides = tuple(node.attributes.get_ints("strides") or (1,) * axes)
    dilations = tuple(node.attributes.get_ints("dilations") or (1,) * axes)
    pads = tuple(node.attributes.get_ints("pads") or (0,) * (2 * axes))
    if not (len(strides) == len(dilations) == axes and len(pads) == 2 * axes):
        return f"kernel, strides, dilations and pads do not belong to the same number of axes ({axes})"
    mode = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    if mode == "VALID":
        pads = (0,) * (2 * axes)
    elif mode != "NOTSET" and automatic:
        found = same_pads(sizes, kernel, strides, dilations, upper=mode == "SAME_UPPER")
        if found is None:
            return f"auto_pad is {mode} and the size of the image is not fixed; write pads instead"
        pads = found
    return Window(kernel, strides, dilations, pads, bool(node.attributes.get_int("ceil_mode", 0)))


def filled(values: tuple[int, ...], count: int, default: int) -> tuple[int, ...]:
    """Return the values, or ``count`` times the default where a node leaves them out."""
    return values or (default,) * count


def check_window(name: str, values: Sequence[int], count: int, least: int) -> None:
    """Raise InvalidModel where a list does not hold ``count`` numbers of at least ``least``."""
    if len(values) != count or any(value < least for value in values):
        raise InvalidModel(
            f"{name} is {list(values)}; expected {count} numbers of at least {least}. Correct the attribute."
        )


def channels_first(op: Builder, x: Operand, rank: int | None) -> Operand:
    """Return ``(N, ..., C)`` as ``(N, C, ...)``; without a known rank by steps that fit every rank."""
    if not isinstance(x, ir.Value):
        if np.ndim(x) < 2:
            raise InvalidModel(f"its data have shape {np.shape(x)}; expected (N, ..., C). Check what it reads.")
        return np.moveaxis(np.asarray(x), -1, 1)
    if rank is not None:
        return x if rank < 3 else op.node("Transpose", [x], {"perm": [0, rank - 1, *range(1, rank - 1)]})[0]
    channels = op.node("Shape", [x], {"start": -1})[0]
    between = op.node("Shape", [x], {"start": 1, "end": -1})[0]
    return _moved(op, x, [_product(op, between), channels], [channels, between])


def channels_last(op: Builder, x: ir.Value, rank: int | None) -> ir.Value:
    """Return ``(N, C, ...)`` as ``(N, ..., C)``; without a known rank by steps that fit every rank."""
    if rank is not None:
        return x if rank < 3 else op.node("Transpose", [x], {"perm": [0, *range(2, rank), 1]})[0]
    channels = op.node("Shape", [x], {"start": 1, "end": 2})[0]
    between = op.node("Shape", [x], {"start": 2})[0]
    return _moved(op, x, [channels, _product(op, between)], [between, channels])


def _product(op: Builder, sizes: Operand) -> Operand:
    return op.node("ReduceProd", [sizes], {"keepdims": 1})[0]


def _moved(op: Builder, x: ir.Value, before: Sequence[Operand], after: Sequence[Operand]) -> ir.Value:
    """Reshape to ``(N, *before)`` of two axes, swap these, and reshape to ``(N, *after)``."""
    samples = op.node("Shape", [x], {"start": 0, "end": 1})[0]
    flat = op.node("Reshape", [x, op.node("Concat", [samples, *before], {"axis": 0})[0]], {"allowzero": 1})[0]
    swapped = op.node("Transpose", [flat], {"perm": [0, 2, 1]})[0]
    return op.node("Reshape", [swapped, op.node("Concat", [samples, *after], {"axis": 0})[0]], {"allowzero": 1})[0]


def rank_of(x: Operand) -> int | None:
    """Return the rank where it is known."""
    if isinstance(x, ir.Value):
        return None if x.shape is None else len(x.shape)
    return np.asarray(x).ndim

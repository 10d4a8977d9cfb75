"""What operators that slide a window over an image share: sizes, checks of attributes, channels first and last."""

from __future__ import annotations

from collections.abc import Sequence

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
    With stride 1 the size does not matter.
    """
    begins, ends = [], []
    for axis, (number, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        extent = dilation * (number - 1) + 1
        size = None if sizes is None or axis >= len(sizes) else sizes[axis]
        if stride == 1:
            total = extent - 1
        elif isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        else:
            return None
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return (*begins, *ends)


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

"""Operators that move slices without arithmetic: which slice of the input is which slice of the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.annotations import get_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import label_of
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.ir.slices import slice_along
from qonnx_core.passes.prune.slices import MAX_SLICES, Slices


def _pin(slices: Slices, node: ir.Node, reason: str) -> None:
    for value in (*node.inputs, *node.outputs):
        slices.pin_all(value, f"{label_of(node)} {reason}")


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring axes of one shape that hold the same elements as neighbouring axes of another."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def blocks(before: Sequence[int | None], after: Sequence[int | None]) -> list[Block] | None:
    """Return the blocks of a row-major reshape, or None where sizes are not known.

    An axis of unknown size has to stand alone in both shapes.
    """
    found: list[Block] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] is None and after[j] is None:
            found.append(Block((i,), (j,)))
            i, j = i + 1, j + 1
            continue
        left: list[int] = []
        right: list[int] = []
        p = q = 1
        while p != q or not (left or i == len(before)) or not (right or j == len(after)):
            if (p < q or (p == q and not left)) and i < len(before):
                size, taken = before[i], left
                p, i = p * (size or 0), i + 1
                taken.append(i - 1)
            elif (q < p or (p == q and not right)) and j < len(after):
                size, taken = after[j], right
                q, j = q * (size or 0), j + 1
                taken.append(j - 1)
            else:
                return None
            if not size:
                return None
        found.append(Block(tuple(left), tuple(right)))
    return found


def _reshape(slices: Slices, node: ir.Node) -> None:
    """Couple one axis of each block: the channels where a layout says which, else the first one longer than 1."""
    x, y = node.inputs[0], node.outputs[0]
    before, after = (None if value is None else slices.sizes(value) for value in (x, y))
    if x is None or before is None or after is None:
        _pin(slices, node, "has an input or output of unknown rank")
        return
    found = blocks(before, after)
    if found is None or (len(node.inputs) > 1 and constant_array(node.inputs[1]) is None and node.op_type == "Reshape"):
        _pin(slices, node, "has shapes that are not known")
        return
    for block in found:
        left = [axis for axis in block.before if before[axis] != 1]
        right = [axis for axis in block.after if after[axis] != 1]
        if not left or not right:
            continue
        first, second = _channel(x, left, len(before)), _channel(y, right, len(after))
        for value, axes, chosen in ((x, left, first), (y, right, second)):
            for axis in axes:
                if axis != chosen:
                    slices.pin(value, axis, f"{label_of(node)} joins it with other axes")
        if before[first] is None:
            continue
        if math.prod(before[axis] or 1 for axis in left) > MAX_SLICES:
            for value, chosen in ((x, first), (y, second)):
                slices.pin(value, chosen, f"{label_of(node)} joins more than {MAX_SLICES} elements")
            continue
        source = _coordinate([int(before[axis] or 1) for axis in left], left.index(first))
        target = _coordinate([int(after[axis] or 1) for axis in right], right.index(second))
        slices.move(node, x, first, y, second, source, target)


def _channel(value: ir.Value, axes: Sequence[int], rank: int) -> int:
    layout = get_layout(value)
    if layout is not None and len(layout) == rank and "C" in layout and layout.index("C") in axes:
        return layout.index("C")
    shuffled = _within_groups(value, axes, rank)
    if shuffled is not None:
        return shuffled
    producer = value.producer()
    if rank > 2 and rank - 1 in axes and producer is not None and _gives_channels_last(producer):
        return rank - 1
    return axes[0]


def _within_groups(value: ir.Value, axes: Sequence[int], rank: int) -> int | None:
    """Return the axis of the channels of a group where a shuffle swaps it with that of the groups, else None.

    A shuffle splits the channels in two axes, swaps these and joins them again; the groups stay, and each can lose the
    same channels.
    """
    if len(axes) != 2 or axes[1] != axes[0] + 1:
        return None
    swap = list(range(rank))
    swap[axes[0]], swap[axes[1]] = axes[1], axes[0]
    producer, readers = value.producer(), [use.node for use in value.uses()]
    if producer is not None and _swaps(producer, swap):
        source = producer.inputs[0].producer() if producer.inputs[0] is not None else None
        return axes[0] if source is not None and source.op_type == "Reshape" else None
    if producer is not None and producer.op_type == "Reshape" and len(readers) == 1 and _swaps(readers[0], swap):
        behind = [use.node for use in readers[0].outputs[0].uses()]
        return axes[1] if behind and all(node.op_type == "Reshape" for node in behind) else None
    return None


def _swaps(node: ir.Node, perm: list[int]) -> bool:
    return node.op_type == "Transpose" and list(node.attributes.get_ints("perm") or ()) == perm


def _gives_channels_last(node: ir.Node) -> bool:
    """Return whether what a node makes has its channels on the last axis, seen through elementwise operators."""
    for _ in range(16):
        if node.domain == "qonnx.custom_op.channels_last" or node.op_type in ("MaxPoolNHWC", "Im2Col", "MatMul"):
            return True
        if node.op_type == "Transpose":
            perm = node.attributes.get_ints("perm")
            return perm is not None and len(perm) > 2 and perm[-1] == 1
        source = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if source is None or node.op_type in ("Conv", "Reshape", "Flatten", "ConvTranspose", "GlobalAveragePool"):
            return False
        node = source
    return False


def _coordinate(sizes: Sequence[int], axis: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return, for every element of a tensor of this shape in row-major order, its place along the axis."""
    inner = math.prod(sizes[axis + 1 :])
    return (np.arange(math.prod(sizes), dtype=np.int64) // inner) % sizes[axis]


def _transpose(slices: Slices, node: ir.Node) -> None:
    x = node.inputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _pin(slices, node, "has an input of unknown rank")
        return
    for at, axis in enumerate(permutation_of(node, len(sizes))):
        slices.move(node, x, axis, node.outputs[0], at)


def _concat(slices: Slices, node: ir.Node) -> None:
    y = node.outputs[0]
    sizes = slices.sizes(y)
    if sizes is None:
        _pin(slices, node, "has an output of unknown rank")
        return
    axis = node.attributes.get_int("axis", 0) % len(sizes)
    offset: int | None = 0
    for value in node.inputs:
        if value is None:
            continue
        for index in range(len(sizes)):
            if index != axis:
                slices.same(value, index, y, index)
        ids = slices.ids(value, axis)
        if ids is None or offset is None:
            offset = None
            for each in (*node.inputs, y):
                slices.pin(each, axis, f"{label_of(node)} joins tensors of unknown size")
            continue
        source = np.arange(len(ids), dtype=np.int64)
        slices.move(node, value, axis, y, axis, source, source + offset)
        offset += len(ids)


def _split(slices: Slices, node: ir.Node) -> None:
    x = node.inputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _pin(slices, node, "has an input of unknown rank")
        return
    axis = node.attributes.get_int("axis", 0) % len(sizes)
    offset = 0
    for value in node.outputs:
        for index in range(len(sizes)):
            if index != axis:
                slices.same(x, index, value, index)
        ids = slices.ids(value, axis)
        if ids is None or sizes[axis] is None:
            slices.pin(x, axis, f"{label_of(node)} has parts of unknown size")
            return
        target = np.arange(len(ids), dtype=np.int64)
        slices.move(node, x, axis, value, axis, target + offset, target)
        offset += len(ids)


def slice_ranges(node: ir.Node, rank: int) -> dict[int, tuple[int, int, int]] | None:
    """Return ``{axis: (start, end, step)}`` of a Slice with constant ends, or None."""
    arrays = [None if value is None else constant_array(value) for value in node.inputs[1:]]
    if any(value is not None and array is None for value, array in zip(node.inputs[1:], arrays, strict=True)):
        return None
    starts, ends, axes, steps = [*arrays, None, None][:4]
    if starts is None or ends is None:
        return None
    count = starts.size
    where = range(count) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    by = [1] * count if steps is None else [int(step) for step in steps.reshape(-1)]
    return {
        axis: (int(start), int(end), step)
        for axis, start, end, step in zip(where, starts.reshape(-1), ends.reshape(-1), by, strict=True)
    }


def _slice(slices: Slices, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    ranges = None if sizes is None else slice_ranges(node, len(sizes))
    if x is None or sizes is None or ranges is None:
        _pin(slices, node, "has ends that are computed while the model runs")
        return
    for axis, size in enumerate(sizes):
        if size is None:
            continue
        chosen = (
            np.arange(size, dtype=np.int64)[slice_along(*ranges[axis], size)] if axis in ranges else np.arange(size)
        )
        if axis in ranges and ranges[axis][2] != 1:
            slices.pin(x, axis, f"{label_of(node)} takes every {ranges[axis][2]}th of them")
        else:
            slices.move(node, x, axis, y, axis, chosen.astype(np.int64), np.arange(len(chosen), dtype=np.int64))


def _gather(slices: Slices, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    indices = constant_array(node.inputs[1])
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None or indices is None or indices.ndim > 1:
        _pin(slices, node, "has indices that are computed while the model runs, or several axes of them")
        return
    axis = node.attributes.get_int("axis", 0) % len(sizes)
    for index in range(len(sizes)):
        if index != axis:
            slices.move(node, x, index, y, index - int(indices.ndim == 0 and index > axis))
    size = sizes[axis]
    if indices.ndim == 0 or size is None:
        slices.pin(x, axis, f"{label_of(node)} takes one of them")
        return
    slices.move(node, x, axis, y, axis, indices.astype(np.int64) % size, np.arange(indices.size, dtype=np.int64))


def _pad(slices: Slices, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    pads = constant_array(node.inputs[1])
    if x is None or sizes is None or pads is None:
        _pin(slices, node, "has pads that are computed while the model runs")
        return
    given = constant_array(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    axes = list(range(len(sizes))) if given is None else [int(axis) % len(sizes) for axis in given]
    if pads.size != 2 * len(axes):
        _pin(slices, node, "has pads that do not fit its input")
        return
    numbers = pads.reshape(2, len(axes))
    padded = {axis for k, axis in enumerate(axes) if numbers[:, k].any()}
    for axis in range(len(sizes)):
        if axis in padded:
            for value in (x, y):
                slices.pin(value, axis, f"{label_of(node)} pads this axis")
        else:
            slices.same(x, axis, y, axis)


def _shape(slices: Slices, node: ir.Node) -> None:
    slices.pin_all(node.inputs[0], f"{label_of(node)} reads its size")


MOVEMENTS: dict[str, Callable[[Slices, ir.Node], None]] = {
    "Concat": _concat,
    "Flatten": _reshape,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}

"""Error bounds of operators that move elements: each element brings its error along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.slices import slice_along
from qonnx_core.verify.bounded import Bounded, NoBound, with_errors
from qonnx_core.verify.operands import Rule, axes_of, first_operands, moved


def _reshape(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, shape = first_operands(operands, 2)
    sizes = [int(size) for size in shape.value.reshape(-1).tolist()]
    if not node.attributes.get_int("allowzero", 0):
        sizes = [x.value.shape[index] if size == 0 else size for index, size in enumerate(sizes)]
    return moved(x, lambda array: array.reshape(_reshaped_batch(array.size, sizes)))


def _reshaped_batch(size: int, sizes: list[int]) -> list[int]:
    """``sizes`` with the first one set free where a shape written for one frame meets a batch."""
    if -1 not in sizes and int(np.prod(sizes, dtype=np.int64)) != size:
        return [-1, *sizes[1:]]
    return sizes


def _flatten(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axis = node.attributes.get_int("axis", 1)
    leading = int(np.prod(x.value.shape[:axis], dtype=np.int64))
    return moved(x, lambda array: array.reshape(leading, -1))


def _transpose(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    order = node.attributes.get_ints("perm")
    return moved(x, lambda array: np.transpose(array, None if order is None else tuple(order)))


def _squeeze(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = axes_of(node, operands)
    return moved(x, lambda array: np.squeeze(array, axes))


def _unsqueeze(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = axes_of(node, operands)
    if axes is None:
        raise NoBound("no axes")
    return moved(x, lambda array: np.expand_dims(array, axes))


def _concat(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    parts = first_operands(operands, len(operands))
    axis = node.attributes.get_int("axis", 0)
    value = np.concatenate([part.value for part in parts], axis=axis)
    if all(part.error is None for part in parts):
        return Bounded(value)
    return with_errors(value, np.concatenate([part.errors for part in parts], axis=axis))


def _gather(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, indices = first_operands(operands, 2)
    axis = node.attributes.get_int("axis", 0)
    return moved(x, lambda array: np.take(array, indices.value.astype(np.int64), axis=axis))


def _integers(node: ir.Node, operands: Sequence[Bounded | None], position: int, name: str) -> list[int] | None:
    """Return whole numbers of an input, of an older attribute, or None where both are left out."""
    operand = operands[position] if len(operands) > position else None
    if operand is not None:
        return [int(number) for number in operand.value.reshape(-1).tolist()]
    found = node.attributes.get_ints(name)
    return None if found is None else [int(number) for number in found]


def _split(node: ir.Node, operands: Sequence[Bounded | None]) -> list[Bounded]:
    (x,) = first_operands(operands, 1)
    axis = node.attributes.get_int("axis", 0)
    size, count = x.value.shape[axis], len(node.outputs)
    sizes = _integers(node, operands, 1, "split")
    if sizes is None:
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
    ends = np.cumsum(sizes).tolist()
    return [
        moved(x, lambda array, start=end - part, end=end: np.take(array, np.arange(start, end), axis=axis))  # type: ignore[misc]
        for part, end in zip(sizes, ends, strict=True)
    ]


def _slice(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    starts, ends = _integers(node, operands, 1, "starts"), _integers(node, operands, 2, "ends")
    if starts is None or ends is None:
        raise NoBound("no starts or ends")
    axes = _integers(node, operands, 3, "axes") or list(range(len(starts)))
    steps = _integers(node, operands, 4, "steps") or [1] * len(starts)
    cuts = [slice(None)] * x.value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cuts[axis] = slice_along(start, end, step, x.value.shape[axis])
    return moved(x, lambda array: array[tuple(cuts)])


def _pad(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    pads = _integers(node, operands, 1, "pads")
    if pads is None or min(pads) < 0:
        raise NoBound("no padding, or a negative one")
    rank, half = x.value.ndim, len(pads) // 2
    amounts = [(0, 0)] * rank
    axes = _integers(node, operands, 3, "axes")
    for i, axis in enumerate(range(rank) if axes is None else axes):
        amounts[axis] = (pads[i], pads[half + i])
    mode = node.attributes.get_string("mode", "constant")
    if mode != "constant":
        return moved(x, lambda array: np.pad(array, amounts, mode))  # type: ignore[call-overload]
    filling = operands[2] if len(operands) > 2 else None
    number = node.attributes.get_float("value", 0.0) if filling is None else float(filling.real.reshape(-1)[0])
    error = None if x.error is None else np.pad(x.error, amounts)
    return Bounded(np.pad(x.value, amounts, constant_values=number), error)


def _tile(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, repeats = first_operands(operands, 2)
    return moved(x, lambda array: np.tile(array, repeats.value.astype(np.int64)))


def _expand(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, shape = first_operands(operands, 2)
    sizes = np.broadcast_shapes(x.value.shape, tuple(int(size) for size in shape.value))
    return moved(x, lambda array: np.broadcast_to(array, sizes))


def _depth_to_space(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    block = node.attributes.get_int("blocksize")
    n, c, h, w = x.value.shape
    inner = c // (block * block)
    if node.attributes.get_string("mode", "DCR") == "DCR":
        split, order = (n, block, block, inner, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, inner, block, block, h, w), (0, 1, 4, 2, 5, 3)
    return moved(x, lambda array: array.reshape(split).transpose(order).reshape(n, inner, h * block, w * block))


def _space_to_depth(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    block = node.attributes.get_int("blocksize")
    n, c, h, w = x.value.shape
    split = (n, c, h // block, block, w // block, block)
    result = (n, c * block * block, h // block, w // block)
    return moved(x, lambda array: array.reshape(split).transpose(0, 3, 5, 1, 2, 4).reshape(result))


MOVEMENT: dict[str, Rule] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""One rule for each operator; a rule raises `NoBound` where no bound is known."""

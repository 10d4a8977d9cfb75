"""In which order the axes of a stored tensor are those of the tensor that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qonnx_core.ops.builder import Array

# Axis i of the stored tensor is axis ``axes[i]`` of the tensor itself; None is an added axis of size 1.
Axes = tuple[int | None, ...]

LETTERS = {3: ("N", "C", "W"), 4: ("N", "C", "H", "W"), 5: ("N", "C", "D", "H", "W")}


def natural(rank: int) -> Axes:
    """Return the axes as they are."""
    return tuple(range(rank))


def channels_last(rank: int) -> Axes:
    """Return ``(N, ..., C)`` for a tensor ``(N, C, ...)``."""
    return (0, *range(2, rank), 1)


def moved_array(array: Array, axes: Axes) -> Array:
    """Return the stored array of an array with all axes."""
    known = [axis for axis in axes if axis is not None]
    return np.expand_dims(array.transpose(known), tuple(place for place, axis in enumerate(axes) if axis is None))


def moved_sizes(sizes: Sequence[Any], axes: Axes, added: Any = 1) -> list[Any]:
    """Return one entry per stored axis, ``added`` for the added ones."""
    return [added if axis is None else sizes[axis] for axis in axes]


def place_of(axis: int, axes: Axes) -> int:
    """Return which stored axis the axis is; it may count from the end."""
    rank = sum(entry is not None for entry in axes)
    return axes.index(axis % rank)


def without(axes: Axes, removed: Sequence[int]) -> Axes:
    """Return the axes of what is left when some axes, and the added ones, are taken away."""
    left = [axis for axis in axes if axis is not None and axis not in removed]
    number = {axis: index for index, axis in enumerate(sorted(left))}
    return tuple(number[axis] for axis in left)


def same_order(axes: Axes, sizes: Sequence[object]) -> bool:
    """Return whether the elements lie in the same order, stored or not: only axes of size 1 change places."""
    order = [axis for axis in axes if axis is not None and sizes[axis] != 1]
    return order == sorted(order)

"""Slices of tensors, one for each position along an axis, and the groups of them that can only go together.

Source of the grouping: the connected components of a graph, found by hooking each tree to a smaller label and halving
the paths (Y. Shiloach, U. Vishkin, "An O(log n) parallel connectivity algorithm", J. Algorithms 3, 1982).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.names import label_of

Ids = NDArray[np.int64]
MAX_SLICES = 2**24  # along one axis; a longer one counts as one of unknown size
_NO_REASON = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Contraction:
    """A product that sums over channels: slice ``i`` of the data meets slice ``i`` of the weights.

    For a convolution in several groups, ``groups`` of them follow each other on the axis of the data and share the
    slices of the weights.
    """

    node: ir.Node
    data: ir.Value
    data_axis: int
    weights: ir.Value
    weights_axis: int
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Move:
    """Slices ``source[k]`` of one axis become slices ``target[k]`` of another, without arithmetic."""

    node: ir.Node
    data: ir.Value
    data_axis: int
    result: ir.Value
    result_axis: int
    source: Ids
    target: Ids


class Slices:
    """Numbers every slice of every tensor, and collects which go together and which stay.

    Axes whose size is not known have no slices.
    """

    def __init__(self) -> None:
        self._start: dict[ir.Value, list[int]] = {}
        self._places: list[tuple[ir.Value, int, int, int]] = []  # value, axis, first id, size
        self._count = 0
        self._left: list[Ids] = []
        self._right: list[Ids] = []
        self._pins: list[tuple[Ids, str]] = []
        self._touched: set[tuple[ir.Value, int]] = set()
        self.contractions: list[Contraction] = []
        self.moves: dict[ir.Node, list[Move]] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def reasons(self) -> list[str]:
        """Why slices stay, in the order in which they were pinned."""
        return [reason for _, reason in self._pins]

    def sizes(self, value: ir.Value) -> tuple[int | None, ...] | None:
        """Return the size of each axis, None for one that is not known; None where the rank is not known."""
        tensor = value.const_value
        shape = tensor.shape if tensor is not None else value.shape
        if shape is None:
            return None
        return tuple(dim if isinstance(dim, int) and dim <= MAX_SLICES else None for dim in shape)

    def ids(self, value: ir.Value | None, axis: int) -> Ids | None:
        """Return the numbers of the slices along an axis, or None where there are none."""
        if value is None:
            return None
        sizes = self.sizes(value)
        if sizes is None or not -len(sizes) <= axis < len(sizes):
            return None
        axis %= len(sizes)
        self._touched.add((value, axis))
        size = sizes[axis]
        if size is None:
            return None
        if value not in self._start:
            self._start[value] = [-1] * len(sizes)
        if self._start[value][axis] < 0:
            self._start[value][axis] = self._count
            self._places.append((value, axis, self._count, size))
            self._count += size
        start = self._start[value][axis]
        return np.arange(start, start + size, dtype=np.int64)

    def number_all(self, graph: ir.Graph) -> None:
        """Give every slice of every tensor of the graph a number."""
        values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        for value in values:
            for axis in range(len(self.sizes(value) or ())):
                self.ids(value, axis)

    def places(self) -> Iterator[tuple[ir.Value, int, int, int]]:
        """Yield value, axis, first number and size of every axis with numbered slices."""
        yield from self._places

    def together(self, left: Ids | None, right: Ids | None) -> None:
        """Note that slice ``left[k]`` can only go with slice ``right[k]``."""
        if left is not None and right is not None:
            assert left.shape == right.shape
            self._left.append(left)
            self._right.append(right)

    def same(self, left: ir.Value | None, left_axis: int, right: ir.Value | None, right_axis: int) -> None:
        """Note that the slices of two axes belong together, one by one; they stay where a size is not known."""
        first, second = self.ids(left, left_axis), self.ids(right, right_axis)
        if first is not None and second is not None and len(first) == len(second):
            self.together(first, second)
        elif left is not None and right is not None:
            self._pin_pair(left, left_axis, right, right_axis)

    def move(self, node: ir.Node, data: ir.Value, data_axis: int, result: ir.Value, result_axis: int,
             source: Ids | None = None, target: Ids | None = None) -> None:  # fmt: skip
        """Note that slices of the data become slices of the result; without positions, each its own."""
        before, after = self.ids(data, data_axis), self.ids(result, result_axis)
        if before is None or after is None:
            self._pin_pair(data, data_axis, result, result_axis)
            return
        source = np.arange(len(before), dtype=np.int64) if source is None else source
        target = source if target is None else target
        self.together(before[source], after[target])
        self.moves.setdefault(node, []).append(Move(node, data, data_axis, result, result_axis, source, target))

    def _pin_pair(self, left: ir.Value, left_axis: int, right: ir.Value, right_axis: int) -> None:
        self.pin(left, left_axis, f"its counterpart in {right.name} is not known")
        self.pin(right, right_axis, f"its counterpart in {left.name} is not known")

    def pin(self, value: ir.Value | None, axis: int, reason: str) -> None:
        """Note why the slices along an axis stay."""
        ids = self.ids(value, axis)
        if ids is not None:
            self._pins.append((ids, reason))

    def pin_all(self, value: ir.Value | None, reason: str, *, but: Sequence[int] = ()) -> None:
        """Note why the slices along all axes stay, those in ``but`` excepted."""
        sizes = None if value is None else self.sizes(value)
        for axis in range(len(sizes or ())):
            if axis not in but:
                self.pin(value, axis, reason)

    def forget(self) -> None:
        """Forget which axes were asked for."""
        self._touched.clear()

    def pin_untouched(self, node: ir.Node) -> None:
        """Let all slices of the node's tensors stay that were not asked for since :meth:`forget`."""
        for value in (*node.inputs, *node.outputs):
            for axis in range(len((None if value is None else self.sizes(value)) or ())):
                assert value is not None
                if (value, axis) not in self._touched:
                    self.pin(value, axis, f"{label_of(node)} reads or makes this axis as a whole")

    def components(self) -> Components:
        """Return the groups of slices that go together."""
        label = np.arange(self._count, dtype=np.int64)
        if self._left:
            left, right = np.concatenate(self._left), np.concatenate(self._right)
            while True:
                first, second = label[left], label[right]
                different = first != second
                if not different.any():
                    break
                left, right, first, second = left[different], right[different], first[different], second[different]
                np.minimum.at(label, np.maximum(first, second), np.minimum(first, second))
                while not np.array_equal(shorter := label[label], label):
                    label = shorter
        reason = np.full(self._count, _NO_REASON, dtype=np.int64)
        for number, (ids, _) in enumerate(self._pins):
            np.minimum.at(reason, label[ids], number)
        return Components(label, reason[label] if self._count else reason)


@dataclass(frozen=True, slots=True)
class Components:
    """The group of every slice (its smallest number), and the first reason why the group stays."""

    label: Ids
    reason: NDArray[Any]

    def stays(self) -> NDArray[np.bool_]:
        """Return which slices stay."""
        return np.asarray(self.reason != _NO_REASON)

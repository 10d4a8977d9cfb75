"""In which order a reshaped tensor is stored, where the tensor itself is stored with its axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from qonnx_core.passes.layouts.axes import Axes


def regrouped(axes: Axes, before: Sequence[object], after: Sequence[object]) -> Axes | None:
    """Return the axes of the reshaped tensor when the stored one is reshaped, or None where that cannot be.

    A Reshape from ``before`` to ``after`` falls into groups of axes with the same number of elements. The stored tensor
    can be reshaped group by group where the axes of each group lie side by side in it, in order; axes of size 1 do not
    matter. For example ``(N, C, H, W)`` to ``(N, C, H * W)``: stored as ``(N, H, W, C)`` it becomes ``(N, H * W, C)``.

    Args:
        axes: how the tensor is stored.
        before: its sizes, numbers or symbols.
        after: the sizes of the reshaped tensor; a symbol stands for the same number as in ``before``.
    """
    groups = _groups(before, after)
    if groups is None:
        return None
    order = [axis for axis in axes if axis is not None and before[axis] != 1]
    result: list[int] = []
    place = 0
    while place < len(order):
        found = next((group for group in groups if group[0] and group[0][0] == order[place]), None)
        if found is None or order[place : place + len(found[0])] != found[0]:
            return None
        result += found[1]
        place += len(found[0])
    for index in range(len(after)):  # axes of size 1 that belong to no group: behind the one in front of them
        if index not in result:
            result.insert(result.index(index - 1) + 1 if index else 0, index)
    return tuple(result)


def _groups(before: Sequence[object], after: Sequence[object]) -> list[tuple[list[int], list[int]]] | None:
    """Return the groups, each with its axes before and after that are not of size 1; None where sizes are not known."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    groups = []
    while left and right:
        first, second = before[left[0]], after[right[0]]
        if not (isinstance(first, int) and isinstance(second, int)):
            if first is None or first != second:
                return None
            groups.append(([left.pop(0)], [right.pop(0)]))
            continue
        group: tuple[list[int], list[int]] = ([left.pop(0)], [right.pop(0)])
        a, b = first, second
        while a != b:
            rest, numbers, sizes = (left, group[0], before) if a < b else (right, group[1], after)
            size = sizes[rest[0]] if rest else None
            if not isinstance(size, int) or size < 1:
                return None
            numbers.append(rest.pop(0))
            if a < b:
                a *= size
            else:
                b *= size
        groups.append(group)
    return None if left or right else groups

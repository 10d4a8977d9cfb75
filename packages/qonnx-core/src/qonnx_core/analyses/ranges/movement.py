"""Rules of operators that move elements: each output element is an input element, or padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from qonnx_core.analyses.ranges import elementwise
from qonnx_core.analyses.ranges.elementwise import chosen, joined, shared_lattice
from qonnx_core.analyses.ranges.extent import MAX_ELEMENTS, BoolArray, Extent, IntArray, between, moved, on_lattice
from qonnx_core.analyses.ranges.operation import Operation, Rule, numbers_of, of_constant
from qonnx_core.errors import Unsupported
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.ir.slices import slice_along
from qonnx_core.passes.streamline.constants import Constant


def _follow(op: Operation, function: Callable[[IntArray], IntArray], axis: int | None = None) -> Extent:
    """Return the first input with its elements moved; all elements taken as alike where a size is not known."""
    x = op.extent(0)
    try:
        return moved(x, op.sizes(0), function, x.axis if axis is None else axis)
    except Unsupported:
        return x.whole()


def identity(op: Operation) -> list[Extent]:
    """Identity, Dropout, DebugMarker."""
    x = replace(op.extent(0), sums=None)
    masks = [replace(elementwise_truth(x), axis=x.axis)] if len(op.node.outputs) > 1 else []
    return [x, *masks]


def elementwise_truth(x: Extent) -> Extent:
    """Return 0 or 1 for each element."""
    from qonnx_core.analyses.ranges.curves import whole_numbers

    return on_lattice(whole_numbers(np.zeros((1,) * x.lo.ndim), np.ones((1,) * x.lo.ndim)), x.axis)


def transpose(op: Operation) -> list[Extent]:
    """Transpose; follows the channels."""
    x = op.extent(0)
    order = permutation_of(op.node, len(op.shape(0)))
    if any(array.ndim != len(order) for array in x.arrays):
        return [x.whole()]
    lattice = x.lattice
    if lattice is not None:
        scale, offset, low, high = (array.transpose(order) for array in lattice.arrays)
        lattice = replace(lattice, scale=scale, offset=offset, low=low, high=high)
    return [
        replace(x, lo=x.lo.transpose(order), hi=x.hi.transpose(order), lattice=lattice, sums=None,
                axis=order.index(x.axis))
    ]  # fmt: skip


def reshape(op: Operation) -> list[Extent]:
    """Reshape, Flatten, Squeeze and Unsqueeze: the elements in the same order."""
    from qonnx_core.analyses.ranges.operation import shape_of

    x = op.extent(0)
    shape = shape_of(op.node.outputs[0])
    if shape is None:
        return [x.whole()]
    try:
        count = prod(op.sizes(0))
    except Unsupported:
        return [x.whole()]
    known = prod(size for size in shape if size is not None)
    unknown = [a for a, size in enumerate(shape) if size is None]
    if len(unknown) > 1 or not known or count % known or (not unknown and known != count):
        return [x.whole()]
    sizes = [count // known if size is None else size for size in shape]
    axis = _channel_axis(op.sizes(0), x.axis, sizes)
    return [_follow(op, lambda places: places.reshape(sizes), axis)]


def _channel_axis(before: Sequence[int], axis: int, after: Sequence[int]) -> int:
    """Return the axis that holds the channels after a reshape: the one with as many elements before and after it."""
    if axis < len(before):
        for position, size in enumerate(after):
            if position and size == before[axis] and prod(after[:position]) == prod(before[:axis]):
                return position
    return max(len(after) - 1, 0)


def slice_(op: Operation) -> list[Extent]:
    """Slice, by attributes or constant inputs."""
    rank = len(op.shape(0))
    if "starts" in op.node.attributes:
        starts, ends = op.integers("starts") or [], op.integers("ends") or []
        axes, steps = op.integers("axes") or list(range(len(starts))), [1] * len(starts)
    else:
        try:
            starts, ends = op.numbers(1, "starts") or [], op.numbers(2, "ends") or []
            axes = op.numbers(3, "axes") or list(range(len(starts)))
            steps = op.numbers(4, "steps") or [1] * len(starts)
        except Unsupported:
            return [op.extent(0).whole()]
    ranges = {axis % rank: (i, j, by) for axis, i, j, by in zip(axes, starts, ends, steps, strict=True)}

    def taken(places: IntArray) -> IntArray:
        cuts = (slice_along(*ranges[a], size) if a in ranges else slice(None) for a, size in enumerate(places.shape))
        return places[tuple(cuts)]

    return [_follow(op, taken)]


def split(op: Operation) -> list[Extent]:
    """Split into the sizes of its outputs."""
    rank = len(op.shape(0))
    axis = op.integer("axis", 0) % rank
    try:
        sizes = [op.result_sizes(i)[axis] for i in range(len(op.node.outputs))]
    except Unsupported:
        return [op.extent(0).hull([axis])] * len(op.node.outputs)
    places = np.cumsum(sizes)[:-1].tolist()
    return [_follow(op, lambda full, i=i: np.split(full, places, axis)[i]) for i in range(len(sizes))]  # type: ignore[misc]


def gather(op: Operation) -> list[Extent]:
    """Gather with constant indices takes these, with others any element along its axis."""
    x = op.extent(0)
    rank = len(op.shape(0))
    axis = op.integer("axis", 0) % rank
    indices = op.inputs[1]
    if not isinstance(indices, Constant):
        extra = (indices.lo.ndim if indices is not None else 1) - 1
        kept = x.hull([axis])
        if extra == 0:
            return [kept]
        return [kept.whole()]
    places = np.asarray(indices.mantissa.astype(np.int64))
    moved_axis = x.axis + places.ndim - 1 if x.axis > axis else x.axis
    return [_follow(op, lambda full: np.take(full, places, axis=axis), moved_axis)]


def pad(op: Operation) -> list[Extent]:
    """Pad with a constant, by reflection, or with the elements at the edge."""
    x = op.extent(0)
    rank = len(op.shape(0))
    pads = op.integers("pads") if "pads" in op.node.attributes else op.numbers(1, "pads")
    if pads is None:
        raise Unsupported("its padding is not known")
    axes = op.numbers(3, "axes") if len(op.inputs) > 3 else None
    amounts = [(0, 0)] * rank
    half = len(pads) // 2
    for i, axis in enumerate(axes if axes is not None else range(rank)):
        amounts[axis % rank] = (pads[i], pads[half + i])
    mode = op.text("mode", "constant")
    if not any(any(pair) for pair in amounts):
        return [x]
    if min(amounts[0]) < 0 and op.shape(0)[0] is None:
        raise Unsupported("it cuts samples off an unknown number")
    # what a negative number cuts off goes first
    kept = tuple(slice(max(0, -before), min(0, after) or None) for before, after in amounts)
    cut = any(min(pair) < 0 for pair in amounts)
    amounts = [(max(before, 0), max(after, 0)) for before, after in amounts]
    if mode in ("reflect", "edge", "wrap"):
        return [_follow(op, lambda full: np.pad(full[kept], amounts, mode))]  # type: ignore[call-overload]
    filling = op.optional(2, "value") if len(op.inputs) > 2 else None
    number = (
        op.node.attributes.get_float("value", 0.0) if filling is None else float(numbers_of(filling).reshape(-1)[0])
    )
    outside = of_constant(elementwise.constant_of(float(np.float32(number))))
    if x.rounded:
        x = replace(x, rounded=False)
    try:
        sizes = op.sizes(0)
    except Unsupported:
        return [_hull_with(x, outside, [a for a, pair in enumerate(amounts) if any(pair)])]
    if cut:
        x = moved(x, sizes, lambda full: full[kept], x.axis)
        sizes = tuple(len(range(size)[part]) for size, part in zip(sizes, kept, strict=True))
    results = [size + sum(pair) for size, pair in zip(sizes, amounts, strict=True)]
    if prod(results) > MAX_ELEMENTS:
        return [_hull_with(x, outside, [a for a, pair in enumerate(amounts) if any(pair)])]
    inside = np.pad(np.ones(sizes, bool), amounts)
    spread = moved(x, sizes, lambda full: np.pad(full, amounts, "edge"), x.axis)
    return [_chosen(spread, outside, _collapsed_mask(inside))]


def _collapsed_mask(inside: BoolArray) -> BoolArray:
    for axis in range(inside.ndim):
        first = inside.take([0], axis=axis)
        if (inside == first).all():
            inside = first
    return inside


def _chosen(x: Extent, other: Extent, first: BoolArray) -> Extent:
    """Return x where ``first`` is True and the other elsewhere."""
    interval = np.where(first, x.lo, other.lo), np.where(first, x.hi, other.hi)
    if x.lattice is None or other.lattice is None:
        return between(interval, x.axis, x.reason or other.reason)
    try:
        left, right = shared_lattice(x.lattice, other.lattice)
    except Unsupported as error:
        return between(interval, x.axis, str(error))
    low, high = np.where(first, left.low, right.low), np.where(first, left.high, right.high)
    return on_lattice(replace(left, low=low, high=high), x.axis)


def _hull_with(x: Extent, other: Extent, axes: Sequence[int]) -> Extent:
    return joined([x.hull(axes), other], x.axis)


def concat(op: Operation) -> list[Extent]:
    """Concat: every element from its part."""
    parts = op.extents()
    rank = max(len(op.shape(i)) for i in range(len(op.inputs)))
    axis = op.integer("axis", 0) % rank
    try:
        sizes = [op.sizes(i) for i in range(len(op.inputs))]
    except Unsupported:
        return [joined([part.hull([axis]) for part in parts], parts[0].axis)]
    total = sum(size[axis] for size in sizes)
    results = list(sizes[0])
    results[axis] = total
    if prod(results) > MAX_ELEMENTS:
        return [joined([part.hull(range(rank)) for part in parts], parts[0].axis)]
    whole: Extent | None = None
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        before, after = start, total - start - size[axis]
        start += size[axis]
        amounts = [(before, after) if a == axis else (0, 0) for a in range(rank)]
        spread = _stretched(part, size, amounts, axis)
        if whole is None:
            whole = spread
            continue
        place = np.arange(total).reshape(tuple(total if a == axis else 1 for a in range(rank)))
        whole = chosen(whole, spread, place < before)
    if whole is None:
        raise Unsupported("it has no inputs")
    return [replace(whole, axis=parts[0].axis)]


def _stretched(x: Extent, sizes: Sequence[int], amounts: list[tuple[int, int]], axis: int) -> Extent:
    """Return x with its first and last element along an axis repeated."""
    known = np.broadcast_shapes(*(array.shape for array in x.arrays))
    if known[axis] == 1:
        return x
    slim = tuple(size if a == axis or known[a] > 1 else 1 for a, size in enumerate(sizes))
    return moved(x, slim, lambda full: np.pad(full, amounts, "edge"), x.axis)


def expand(op: Operation) -> list[Extent]:
    """Expand: the same elements along new or longer axes."""
    return [replace(op.extent(0), sums=None)]


def tile(op: Operation) -> list[Extent]:
    """Tile."""
    try:
        repeats = op.numbers(1, "repeats") or []
    except Unsupported:
        return [op.extent(0).whole()]
    return [_follow(op, lambda places: np.tile(places, repeats))]


def resize(op: Operation) -> list[Extent]:
    """Resize and Upsample: nearest neighbours keep the grid; linear interpolation stays between its neighbours."""
    x = op.extent(0)
    rank = len(op.shape(0))
    results = op.node.outputs[0].shape
    changed = [
        a for a, size in enumerate(op.shape(0)) if results is None or size is None or results[a] != size
    ]  # fmt: skip
    kept = x.hull(changed if len(changed) < rank else range(1, rank))
    if changed and 0 in changed and op.shape(0)[0] is not None:
        kept = kept.hull([0])
    mode = op.text("mode", "nearest")
    if op.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Unsupported("tf_crop_and_resize takes values from outside of the tensor")
    if mode == "nearest":
        return [kept]
    if mode == "linear":
        return [between(kept.interval, x.axis, "linear interpolation leaves the grid")]
    raise Unsupported(f"{mode} interpolation goes beyond its neighbours")


def depth_to_space(op: Operation) -> list[Extent]:
    """DepthToSpace, SpaceToDepth."""
    block = op.integer("blocksize", 1)
    n, c, h, w = op.sizes(0)
    if op.node.op_type == "SpaceToDepth":

        def gathered(places: IntArray) -> IntArray:
            split_ = places.reshape(n, c, h // block, block, w // block, block)
            return split_.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * block * block, h // block, w // block)

        return [_follow(op, gathered, 1)]
    inner = c // (block * block)
    column_first = op.text("mode", "DCR") == "DCR"

    def spread(places: IntArray) -> IntArray:
        if column_first:
            parts = places.reshape(n, block, block, inner, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = places.reshape(n, inner, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, inner, h * block, w * block)

    return [_follow(op, spread, 1)]


def im2col(op: Operation) -> list[Extent]:
    """Im2Col: windows as rows (kernel, then channels), with padding where the window reaches beyond the image."""
    x = op.extent(0)
    channels = op.shape(0)[-1]
    kernel = op.integers("kernel_size") or [1, 1]
    pads = op.integers("pad_amount") or [0]
    x = replace(x.hull([1, 2]), axis=3)
    if any(pads):
        value = of_constant(elementwise.constant_of(float(op.integer("pad_value", 0))))
        if x.rounded:
            x = replace(x, rounded=False)
        x = joined([x, value], 3)
    if channels is None:
        return [x.whole()]
    sizes = (1, 1, 1, channels)
    return [moved(x, sizes, lambda places: np.tile(places, (1, 1, 1, prod(kernel))), 3)]


def shape_of_tensor(op: Operation) -> list[Extent]:
    """Shape and Size: whole numbers of at least 0."""
    return [between((np.zeros(1), np.full(1, np.inf)), 0, "sizes of a tensor")]


MOVEMENT: dict[str, Rule] = {
    "Concat": concat,
    "DebugMarker": identity,
    "DepthToSpace": depth_to_space,
    "Dropout": identity,
    "Expand": expand,
    "Flatten": reshape,
    "Gather": gather,
    "Identity": identity,
    "Im2Col": im2col,
    "Pad": pad,
    "Reshape": reshape,
    "Resize": resize,
    "Shape": shape_of_tensor,
    "Size": shape_of_tensor,
    "Slice": slice_,
    "SpaceToDepth": depth_to_space,
    "Split": split,
    "Squeeze": reshape,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": reshape,
    "Upsample": resize,
}
"""One rule for each operator, by name."""

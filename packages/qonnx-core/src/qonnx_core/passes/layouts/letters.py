"""Which letters the axes of an operator's outputs have, given those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.elementwise import BROADCASTING, UNARY
from qonnx_core.passes.layouts.axes import LETTERS

Layout = tuple[str, ...]
Found = Layout | str | None  # the letters, or the reason why there are none, or nothing to say

FIRST: Mapping[int, Layout] = {2: ("N", "C"), **LETTERS}
LAST: Mapping[int, Layout] = {rank: (layout[0], *layout[2:], "C") for rank, layout in FIRST.items()}
ADDED = "x"  # an axis of size 1 that stands for nothing


class Letters:
    """What is known of the layouts of a graph while it is walked."""

    def __init__(self, imports: dict[str, int]) -> None:
        self.imports = imports
        self.known: dict[ir.Value, Layout] = {}

    def of(self, value: ir.Value | None) -> Layout | None:
        """Return the letters of a value, where they are known."""
        return None if value is None else self.known.get(value)


def rank_of(value: ir.Value | None) -> int | None:
    """Return the rank where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def layout_of_output(letters: Letters, node: ir.Node, output: ir.Value) -> Found:
    """Return the layout of one output, or why it is not known; None for scalars, lists and tensors without axes."""
    rank = rank_of(output)
    if rank is None:
        return "its rank is not known; infer shapes first"
    if rank < 2 or (is_standard(node) and node.op_type in _NO_TENSORS):
        return None
    rule = _rule(letters, node)
    if rule is None:
        return f"{node.op_type} says nothing about layouts; annotate the tensor"
    found = rule(letters, node, rank)
    if isinstance(found, tuple) and len(found) != rank:
        return f"{node.op_type} changes the number of axes in a way that has no letters; annotate the tensor"
    return found


_Rule = Callable[[Letters, ir.Node, int], Found]


def _rule(letters: Letters, node: ir.Node) -> _Rule | None:
    if is_standard(node):
        return _RULES.get(node.op_type)
    if node.domain == CHANNELS_LAST:
        return _channels_last
    found = op_class_of(node, letters.imports)
    if found is None:
        return None
    return _broadcast if found.broadcasts else _OURS.get(found.op_type, _same)


def _unknown(node: ir.Node, value: ir.Value | None) -> str:
    name = "" if value is None else value.name
    return f"{node.op_type} hands on the layout of {name}, which is not known; annotate that tensor"


def _channels_first(letters: Letters, node: ir.Node, rank: int) -> Found:
    return FIRST.get(rank, f"{node.op_type} works on {rank} axes, for which there are no letters")


def _channels_last(letters: Letters, node: ir.Node, rank: int) -> Found:
    return LAST.get(rank, f"{node.op_type} works on {rank} axes, for which there are no letters")


def _features(letters: Letters, node: ir.Node, rank: int) -> Found:
    return ("N", "C")


def _same(letters: Letters, node: ir.Node, rank: int) -> Found:
    return letters.of(node.inputs[0]) or _unknown(node, node.inputs[0])


def _broadcast(letters: Letters, node: ir.Node, rank: int) -> Found:
    """Merge the layouts of all operands with as many axes as the result."""
    layouts = [letters.of(value) for value in node.inputs if rank_of(value) == rank]
    known = [layout for layout in layouts if layout is not None]
    if not known:
        return _unknown(node, next((value for value in node.inputs if rank_of(value) == rank), node.inputs[0]))
    return _merged(node, known)


def _merged(node: ir.Node, layouts: Sequence[Layout]) -> Found:
    merged = []
    for column in zip(*layouts, strict=True):
        different = {letter for letter in column if letter != ADDED}
        if len(different) > 1:
            texts = " and ".join("".join(layout) for layout in dict.fromkeys(layouts))
            return f"{node.op_type} joins tensors of different layouts, {texts}; insert a Transpose or annotate them"
        merged.append(different.pop() if different else ADDED)
    return tuple(merged)


def _transpose(letters: Letters, node: ir.Node, rank: int) -> Found:
    layout = letters.of(node.inputs[0])
    if layout is None:
        return _unknown(node, node.inputs[0])
    return tuple(layout[axis] for axis in permutation_of(node, rank))


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    if "axes" in node.attributes:
        return [axis % rank for axis in node.attributes["axes"].as_ints()]
    if "axis" in node.attributes or node.op_type in ("ArgMax", "ArgMin"):
        return [node.attributes.get_int("axis", 0) % rank]
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return None if node.op_type == "Squeeze" else list(range(rank))
    array = constant_array(node.inputs[1])
    return None if array is None else [int(axis) % rank for axis in array.reshape(-1)]


def _removed(letters: Letters, node: ir.Node, rank: int) -> Found:
    """Drop the letters of the axes that a reduction, ArgMax or Squeeze takes away."""
    data = node.inputs[0]
    layout = letters.of(data)
    if layout is None:
        return _unknown(node, data)
    if len(layout) == rank:
        return layout
    axes = _axes(node, len(layout))
    if axes is None:
        return f"{node.op_type} takes axes away that are not known; infer shapes and fold constants first"
    return tuple(letter for axis, letter in enumerate(layout) if axis not in axes)


def _unsqueeze(letters: Letters, node: ir.Node, rank: int) -> Found:
    layout, axes = letters.of(node.inputs[0]), _axes(node, rank)
    if layout is None or axes is None:
        return _unknown(node, node.inputs[0])
    rest = iter(layout)
    return tuple(ADDED if axis in axes else next(rest, ADDED) for axis in range(rank))


def _reshape(letters: Letters, node: ir.Node, rank: int) -> Found:
    """Keep the letters where only axes of size 1 come and go; a sample in one row is ``NC``."""
    data, result = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None or result.shape is None:
        return _unknown(node, data)
    before, after, layout = list(data.shape), list(result.shape), letters.of(data)
    if layout is not None and len(layout) == len(before):
        wide = [(size, letter) for size, letter in zip(before, layout, strict=True) if size != 1]
        if [size for size, _ in wide] == [size for size in after if size != 1]:
            rest = iter(wide)
            if before == after:
                return layout
            return tuple(ADDED if size == 1 else next(rest)[1] for size in after)
    if rank == 2 and (layout is None or layout[0] == "N") and before and before[0] == after[0]:
        return ("N", "C")
    return f"{node.op_type} regroups {_text(before)} to {_text(after)}; annotate the tensor"


def _text(sizes: Sequence[object]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in sizes) + "]"


def _matmul(letters: Letters, node: ir.Node, rank: int) -> Found:
    """Keep the axes in front of the channels: a product over the last axis gives new channels."""
    left = letters.of(node.inputs[0])
    if left is None and rank == 2:
        return ("N", "C")
    if left is None:
        return _unknown(node, node.inputs[0])
    if left[-1] != "C" or len(left) != rank:
        return f"MatMul multiplies along {left[-1]} of {''.join(left)}, and what comes out has no letter; annotate it"
    return left


def _gather(letters: Letters, node: ir.Node, rank: int) -> Found:
    data, index = node.inputs[:2]
    layout, inner = letters.of(data), rank_of(index)
    if layout is None or inner is None:
        return _unknown(node, data)
    axis = node.attributes.get_int("axis", 0) % len(layout)
    if inner == 0:
        return (*layout[:axis], *layout[axis + 1 :])
    return layout if inner == 1 else f"Gather with {inner} axes of indices has no letters; annotate the tensor"


def _stated(letters: Letters, node: ir.Node, rank: int) -> Found:
    """Take the layout that the node's attribute states, else that of the data."""
    stated = node.attributes.get_string("data_layout", "") or ""
    if len(stated) == rank:
        return tuple(stated)
    known = letters.of(node.inputs[0])
    if known is not None:
        return known
    return LAST.get(rank, _unknown(node, node.inputs[0])) if stated.endswith("C") else _channels_first(
        letters, node, rank
    )  # fmt: skip


_NO_TENSORS = frozenset(("Constant", "ConstantOfShape", "EyeLike", "NonZero", "Range", "Shape", "Size"))
_WINDOWS = (
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "DepthToSpace",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN",
    "LpPool", "MaxPool", "MaxUnpool", "QLinearConv", "SpaceToDepth",
)  # fmt: skip
_KEEPS = (
    "CastLike", "Clip", "CumSum", "DequantizeLinear", "Dropout", "DynamicQuantizeLinear", "Expand", "Hardmax",
    "LayerNormalization", "LogSoftmax", "MeanVarianceNormalization", "Pad", "QuantizeLinear", "Resize", "Slice",
    "Softmax", "Split", "Tile", "TopK", "Trilu", "Upsample",
)  # fmt: skip
_REDUCES = (
    "ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Squeeze",
)  # fmt: skip
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_KEEPS, _same),
    **dict.fromkeys(_REDUCES, _removed),
    **dict.fromkeys(_WINDOWS, _channels_first),
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys((*BROADCASTING, "Concat"), _broadcast),
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": _features,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
_OURS: dict[str, _Rule] = {
    "Im2Col": _channels_last,
    "MaxPoolNHWC": _channels_last,
    "MultiThreshold": _stated,
    "QuantAvgPool2d": _stated,
    "XnorPopcountMatMul": _matmul,
}

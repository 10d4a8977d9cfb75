"""How the channels of the inputs of an operator are those of its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import label_of
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.op import DOMAIN
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.elementwise import ELEMENTWISE
from qonnx_core.passes.prune.movements import MOVEMENTS
from qonnx_core.passes.prune.slices import Contraction, Slices

_POOLS = frozenset(
    ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool", "QuantAvgPool2d")
)
_REDUCTIONS = frozenset(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)  # fmt: skip
_ALONG_ONE_AXIS = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "ArgMax": 0, "ArgMin": 0, "TopK": -1, "CumSum": 0,
                   "LpNormalization": -1}  # fmt: skip

Rule = Callable[[Slices, ir.Node], None]


def couple(model: ir.Model) -> Slices:
    """Return the slices of all tensors of the main graph, with what is known about how they belong together."""
    slices = Slices()
    for value in model.graph.inputs:
        if not value.is_initializer():
            slices.pin_all(value, f"{value.name} is an input of the model")
    for value in model.graph.outputs:
        slices.pin_all(value, f"{value.name} is an output of the model")
    for node in model.graph:
        rule = rule_for(node, model)
        if rule is None:
            inner = " and reads it in a graph of its own" if has_graphs(node) else ""
            reason = f"{label_of(node)} reads or makes it{inner}, and how it treats channels is not known"
            for read in (*node.inputs, *node.outputs):
                slices.pin_all(read, reason)
            _pin_captured(slices, node, reason)
        else:
            slices.forget()
            rule(slices, node)
            if rule is not _constant:
                slices.pin_untouched(node)
    slices.number_all(model.graph)
    return slices


def rule_for(node: ir.Node, model: ir.Model) -> Rule | None:
    """Return how the node treats channels, or None where nothing is known."""
    if has_graphs(node):
        return None
    if is_standard(node):
        if node.op_type in ELEMENTWISE:
            return elementwise
        if node.op_type in _POOLS:
            return _pool
        if node.op_type in _REDUCTIONS:
            return _reduce
        if node.op_type in _ALONG_ONE_AXIS:
            return _along_one_axis
        return _STANDARD.get(node.op_type) or MOVEMENTS.get(node.op_type)
    op = op_class_of(node, model.opset_imports)
    if op is None:
        return None
    if op.domain == DOMAIN and op.op_type in _GENERAL:
        return _GENERAL[op.op_type]
    if op.domain == CHANNELS_LAST:
        return _CHANNELS_LAST.get(op.op_type)
    return elementwise if op.broadcasts or op.op_type == "DebugMarker" else None


def _pin_captured(slices: Slices, node: ir.Node, reason: str) -> None:
    """Let all slices stay of what the graphs inside the node read from the graph around it."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            graph = attribute.as_graph()
            for inner in (graph, *graph.subgraphs()):
                for value in (*(value for each in inner for value in each.inputs), *inner.outputs):
                    if value is not None and value.graph is node.graph:
                        slices.pin_all(value, reason)


def elementwise(slices: Slices, node: ir.Node) -> None:
    """Broadcast the inputs: where an input is as long as the output, their slices are the same."""
    result = node.outputs[0]
    sizes = slices.sizes(result)
    if sizes is None:
        _unknown_rank(slices, node)
        return
    for value in node.inputs:
        known = None if value is None else slices.sizes(value)
        if known is None:
            continue
        for axis, size in enumerate(known):
            at = axis - len(known) + len(sizes)
            if at >= 0 and size is not None and size == sizes[at]:
                slices.same(value, axis, result, at)
            elif at >= 0 and size is None and value is not None:
                slices.pin(result, at, f"its counterpart in {value.name} is not known")


def _unknown_rank(slices: Slices, node: ir.Node) -> None:
    for value in (*node.inputs, *node.outputs):
        slices.pin_all(value, f"the rank of what {label_of(node)} makes is not known")


def _channel_axis(node: ir.Node, rank: int) -> int:
    layout = node.attributes.get_string("data_layout", "") or ""
    last = node.domain == CHANNELS_LAST or layout.endswith("C") or node.op_type in ("MaxPoolNHWC", "Im2Col")
    return rank - 1 if last or rank == 1 else 1


def _pool(slices: Slices, node: ir.Node) -> None:
    """Keep samples and channels, combine positions."""
    x, y = node.inputs[0], node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _unknown_rank(slices, node)
        return
    axis = _channel_axis(node, len(sizes))
    slices.same(x, axis, y, axis)
    for value in (x, y):
        slices.pin_all(value, f"{label_of(node)} has its windows along this axis", but=[axis])
    for extra in node.outputs[1:]:
        if extra.uses() or extra.is_graph_output():
            slices.pin(x, axis, f"{label_of(node)} gives positions in the whole tensor")


def _reduce(slices: Slices, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _unknown_rank(slices, node)
        return
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant_array(given)
    listed = node.attributes.get_ints("axes")
    rank = len(sizes)
    if given is not None and axes is None:
        reduced = set(range(rank))
    elif axes is not None and axes.size:
        reduced = {int(axis) % rank for axis in axes.reshape(-1)}
    elif listed:
        reduced = {axis % rank for axis in listed}
    else:
        reduced = set() if node.attributes.get_int("noop_with_empty_axes", 0) else set(range(rank))
    kept = node.attributes.get_int("keepdims", 1) != 0
    at = 0
    for axis in range(rank):
        if axis in reduced:
            slices.pin(x, axis, f"{label_of(node)} combines all of them")
            at += int(kept)
        else:
            slices.same(x, axis, y, at)
            at += 1


def _along_one_axis(slices: Slices, node: ir.Node) -> None:
    x = node.inputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _unknown_rank(slices, node)
        return
    axis = node.attributes.get_int("axis", _ALONG_ONE_AXIS[node.op_type]) % max(1, len(sizes))
    if node.op_type == "CumSum":
        position = constant_array(node.inputs[1])
        axis = -1 if position is None else int(position.reshape(-1)[0]) % len(sizes)
    removed = node.op_type in ("ArgMax", "ArgMin") and not node.attributes.get_int("keepdims", 1)
    for index in range(len(sizes)):
        if index == axis or axis < 0:
            slices.pin(x, index, f"{label_of(node)} compares or combines them")
            continue
        for output in node.outputs:
            slices.same(x, index, output, index - int(removed and index > axis))


def _pin_rest(slices: Slices, node: ir.Node, values: Sequence[ir.Value | None], but: Sequence[int]) -> None:
    for value in values:
        slices.pin_all(value, f"{label_of(node)} has positions along this axis", but=but)


def _conv(slices: Slices, node: ir.Node) -> None:
    """Weights ``(O, I / group, ...)``; with the channels last ``(O, ..., I / group)``."""
    x, w, *rest = node.inputs
    y = node.outputs[0]
    sizes, kernel = (None if value is None else slices.sizes(value) for value in (x, w))
    if x is None or w is None or sizes is None or kernel is None or len(kernel) != len(sizes) or len(sizes) < 3:
        _unknown_rank(slices, node)
        return
    axis = _channel_axis(node, len(sizes))
    inner = axis
    groups = node.attributes.get_int("group", 1)
    given, made = slices.ids(x, axis), slices.ids(y, axis)
    if groups > 1 and (given is None or made is None or len(given) != groups * (kernel[inner] or 0)
                       or len(made) % groups):  # fmt: skip
        for value in (*node.inputs, y):
            slices.pin_all(value, f"{label_of(node)} has groups that do not fit its channels")
        return
    _pin_rest(slices, node, (x, y), (axis,))
    slices.pin_all(w, f"{label_of(node)} has the taps of its kernel along this axis", but=[0, inner])
    slices.same(w, 0, y, axis)
    for bias in rest:
        slices.same(bias, 0, y, axis)
    if groups > 1 and given is not None and made is not None and len(given) == groups:  # depthwise
        slices.together(np.repeat(given, len(made) // groups), made)
        slices.pin(w, inner, f"{label_of(node)} has one channel for each group")
        return
    slices.contractions.append(Contraction(node, x, axis, w, inner, groups))
    if groups == 1:
        slices.same(x, axis, w, inner)
    else:
        slices.ids(w, inner)  # shared by the groups: what goes here is decided when all of them are known


def _conv_transpose(slices: Slices, node: ir.Node) -> None:
    """Weights ``(I, O / group, ...)``."""
    x, w, *rest = node.inputs
    y = node.outputs[0]
    sizes = None if w is None else slices.sizes(w)
    if x is None or w is None or sizes is None or len(sizes) < 3:
        _unknown_rank(slices, node)
        return
    _pin_rest(slices, node, (x, y), (1,))
    slices.pin_all(w, f"{label_of(node)} has the taps of its kernel along this axis", but=[0, 1])
    for bias in rest:
        slices.same(bias, 0, y, 1)
    groups = node.attributes.get_int("group", 1)
    given, made = slices.ids(x, 1), slices.ids(y, 1)
    if groups > 1 and given is not None and made is not None:
        slices.same(x, 1, w, 0)
        if len(given) == len(made) == groups:
            slices.together(given, made)
            slices.pin(w, 1, f"{label_of(node)} has one channel for each group")
        else:
            for value in (x, y):
                slices.pin(value, 1, f"{label_of(node)} has {groups} groups of several channels")
        return
    slices.same(w, 1, y, 1)
    slices.same(x, 1, w, 0)
    slices.contractions.append(Contraction(node, x, 1, w, 0))


def _matmul(slices: Slices, node: ir.Node) -> None:
    a, b = node.inputs[:2]
    y = node.outputs[0]
    left, right = (None if value is None else slices.sizes(value) for value in (a, b))
    if a is None or b is None or left is None or right is None:
        _unknown_rank(slices, node)
        return
    rank = max(len(left), len(right), 2)
    matrix = len(left) > 1 and len(right) > 1
    for value, sizes in ((a, left), (b, right)):
        for axis in range(len(sizes) - 2):  # batches broadcast
            at = axis - len(sizes) + rank
            made = slices.sizes(y)
            if made is not None and matrix and sizes[axis] == made[at]:
                slices.same(value, axis, y, at)
    inner = len(right) - 2 if len(right) > 1 else 0
    slices.same(a, len(left) - 1, b, inner)
    if len(left) > 1:
        slices.same(a, len(left) - 2, y, -2 if len(right) > 1 else -1)
    if len(right) > 1:
        slices.same(b, len(right) - 1, y, -1)
    slices.contractions.append(Contraction(node, a, len(left) - 1, b, inner))


def _xnor(slices: Slices, node: ir.Node) -> None:
    a, b = node.inputs[:2]
    y = node.outputs[0]
    reason = f"{label_of(node)} counts every channel, zeros too"
    slices.pin(a, -1, reason)
    slices.pin(b, 0, reason)
    slices.same(b, 1, y, -1)
    sizes = None if a is None else slices.sizes(a)
    for axis in range(len(sizes or ()) - 1):
        slices.same(a, axis, y, axis)


def _gemm(slices: Slices, node: ir.Node) -> None:
    a, b, *rest = node.inputs
    y = node.outputs[0]
    left = 0 if node.attributes.get_int("transA", 0) else 1
    right = 1 if node.attributes.get_int("transB", 0) else 0
    if a is None or b is None:
        return
    slices.same(a, left, b, right)
    slices.same(a, 1 - left, y, 0)
    slices.same(b, 1 - right, y, 1)
    slices.contractions.append(Contraction(node, a, left, b, right))
    made = slices.sizes(y)
    for bias in rest:
        known = None if bias is None else slices.sizes(bias)
        for axis, size in enumerate(known or ()):
            at = axis - len(known or ()) + 2
            if made is not None and size is not None and size == made[at]:
                slices.same(bias, axis, y, at)


def _per_channel(slices: Slices, node: ir.Node) -> None:
    """Batch and instance normalization: one parameter for each channel; everything else broadcasts."""
    x, *parameters = node.inputs
    y = node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _unknown_rank(slices, node)
        return
    axis = _channel_axis(node, len(sizes))
    for index in range(len(sizes)):
        slices.same(x, index, y, index)
    for value in parameters:
        slices.same(value, 0, y, axis)
    for output in node.outputs[1:]:
        slices.same(output, 0, y, axis)


def _multi_threshold(slices: Slices, node: ir.Node) -> None:
    v, thresholds = node.inputs[:2]
    y = node.outputs[0]
    sizes, rows = (None if value is None else slices.sizes(value) for value in (v, thresholds))
    if v is None or sizes is None or rows is None:
        _unknown_rank(slices, node)
        return
    for axis in range(len(sizes)):
        slices.same(v, axis, y, axis)
    slices.pin(thresholds, 1, f"{label_of(node)} counts along this axis")
    if rows[0] != 1:
        slices.same(thresholds, 0, y, _channel_axis(node, len(sizes)))


def _im2col(slices: Slices, node: ir.Node) -> None:
    """``(N, H, W, C)`` becomes ``(N, H', W', kh * kw * C)``, the channel fastest."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    given, made = slices.ids(x, 3), slices.ids(y, 3)
    _pin_rest(slices, node, (x, y), (3,))
    if given is not None and made is not None:
        target = np.arange(len(made), dtype=np.int64)
        padded = any(node.attributes.get_ints("pad_amount") or ())
        if padded:
            slices.together(given[target % len(given)], made)
        else:
            slices.move(node, x, 3, y, 3, target % len(given), target)


def _quantize_linear(slices: Slices, node: ir.Node) -> None:
    x, *parameters = node.inputs
    y = node.outputs[0]
    sizes = None if x is None else slices.sizes(x)
    if x is None or sizes is None:
        _unknown_rank(slices, node)
        return
    if node.attributes.get_int("block_size", 0):
        for value in (*node.inputs, y):
            slices.pin_all(value, f"{label_of(node)} has blocks")
        return
    for axis in range(len(sizes)):
        slices.same(x, axis, y, axis)
    for value in parameters:
        known = None if value is None else slices.sizes(value)
        if known is not None and len(known) == 1 and known[0] != 1:
            slices.same(value, 0, y, node.attributes.get_int("axis", 1) % len(sizes))


def _resize(slices: Slices, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    before, after = (None if value is None else slices.sizes(value) for value in (x, y))
    if x is None or before is None or after is None:
        _unknown_rank(slices, node)
        return
    known = any(constant_array(value) is not None for value in node.inputs[2:])
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if old is not None and old == new and axis < 2 and known:
            slices.move(node, x, axis, y, axis)
        else:
            for value in (x, y):
                slices.pin(value, axis, f"{label_of(node)} has positions along this axis")


def _dropout(slices: Slices, node: ir.Node) -> None:
    x = node.inputs[0]
    sizes = None if x is None else slices.sizes(x)
    for axis in range(len(sizes or ())):
        for output in node.outputs:
            slices.same(x, axis, output, axis)


def _constant(slices: Slices, node: ir.Node) -> None:
    """Do nothing: the tensor is cut where its readers ask for it."""


_STANDARD: dict[str, Rule] = {
    "BatchNormalization": _per_channel,
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DequantizeLinear": _quantize_linear,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "InstanceNormalization": _per_channel,
    "MatMul": _matmul,
    "QuantizeLinear": _quantize_linear,
    "Resize": _resize,
}
_GENERAL: dict[str, Rule] = {
    "Im2Col": _im2col,
    "MaxPoolNHWC": _pool,
    "MultiThreshold": _multi_threshold,
    "QuantAvgPool2d": _pool,
    "XnorPopcountMatMul": _xnor,
}
_CHANNELS_LAST: dict[str, Rule] = {"BatchNormalization": _per_channel, "Conv": _conv, "MaxPool": _pool}

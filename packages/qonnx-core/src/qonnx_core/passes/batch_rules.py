"""Proves, operator by operator, that the samples of a batch (axis 0) do not meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import has_graphs

_Rule = Callable[[ir.Node, Sequence[bool]], bool]


def first_mixing_node(model: ir.Model) -> ir.Node | None:
    """Return the first node that is not known to treat samples alike, or None where all do.

    Nodes that do not depend on the inputs are constants and count as known. The first axis of every graph input is the
    batch. Shapes have to be inferred.
    """
    batched: set[ir.Value] = set(model.graph.inputs)
    for node in model.graph:
        flags = [value is not None and value in batched for value in node.inputs]
        if has_graphs(node):
            return node
        if not any(flags):
            continue
        if not _treats_samples_alike(node, flags, model):
            return node
        batched.update(node.outputs)
    return None


def _treats_samples_alike(node: ir.Node, flags: Sequence[bool], model: ir.Model) -> bool:
    if node.domain not in ("", "ai.onnx"):
        op = op_class_of(node, model.opset_imports)
        if op is None:
            return False
        if op.batch_like:
            return _RULES[op.batch_like](node, flags)
        return _elementwise(node, flags) if op.broadcasts else _only_first(node, flags)
    rule = _RULES.get(node.op_type)
    return rule is not None and rule(node, flags)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _elementwise(node: ir.Node, flags: Sequence[bool]) -> bool:
    """All batched inputs have the rank of the result; the others do not reach the first axis, or have 1 there."""
    ranks = [_rank(value) for value in node.inputs if value is not None]
    if any(rank is None for rank in ranks):
        return False
    top = max(rank for rank in ranks if rank is not None)
    for value, batched in zip(node.inputs, flags, strict=True):
        if value is None:
            continue
        assert value.shape is not None
        if batched and len(value.shape) != top:
            return False
        if not batched and len(value.shape) == top and value.shape[0] != 1:
            return False
    return top > 0


def _only_first(node: ir.Node, flags: Sequence[bool]) -> bool:
    return flags[0] and not any(flags[1:]) and (_rank(node.inputs[0]) or 0) > 0


def _matmul(node: ir.Node, flags: Sequence[bool]) -> bool:
    left, right = (_rank(value) for value in node.inputs)
    if left is None or right is None:
        return False
    if flags[0] and flags[1]:
        return left == right and left >= 3
    data, other, other_value = (left, right, node.inputs[1]) if flags[0] else (right, left, node.inputs[0])
    if data < (2 if flags[0] else 3):
        return False
    assert other_value is not None
    assert other_value.shape is not None
    return other <= 2 if data == 2 else other < data or (other == data and other_value.shape[0] == 1)


def _gemm(node: ir.Node, flags: Sequence[bool]) -> bool:
    if not flags[0] or any(flags[1:]) or node.attributes.get_int("transA", 0) != 0:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return True
    return bias.shape is not None and (len(bias.shape) < 2 or bias.shape[0] == 1)


def _axis_is_not_batch(default: int) -> _Rule:
    def rule(node: ir.Node, flags: Sequence[bool]) -> bool:
        rank = _rank(node.inputs[0])
        if rank is None or not _only_first(node, flags):
            return False
        return node.attributes.get_int("axis", default) % rank != 0

    return rule


def _reduce(node: ir.Node, flags: Sequence[bool]) -> bool:
    rank = _rank(node.inputs[0])
    axes = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if rank is None or axes is None or axes.size == 0 or not _only_first(node, flags):
        return False
    return all(int(axis) % rank != 0 for axis in axes.reshape(-1))


def _concat(node: ir.Node, flags: Sequence[bool]) -> bool:
    rank = _rank(node.inputs[0])
    return rank is not None and all(flags) and node.attributes.get_int("axis", 0) % rank != 0


def _slice(node: ir.Node, flags: Sequence[bool]) -> bool:
    rank = _rank(node.inputs[0])
    axes = constant_array(node.inputs[3]) if len(node.inputs) > 3 else None
    if rank is None or axes is None or not _only_first(node, flags):
        return False
    return all(int(axis) % rank != 0 for axis in axes.reshape(-1))


def _transpose(node: ir.Node, flags: Sequence[bool]) -> bool:
    permutation = node.attributes.get_ints("perm")
    return permutation is not None and len(permutation) > 0 and permutation[0] == 0


def _flatten(node: ir.Node, flags: Sequence[bool]) -> bool:
    return node.attributes.get_int("axis", 1) == 1


def _reshape(node: ir.Node, flags: Sequence[bool]) -> bool:
    """Return whether the target keeps the first axis (0), or leaves it over (-1) and a sample fills the others."""
    data, target = node.inputs
    array = constant_array(target)
    if array is None or array.size == 0 or data is None or data.shape is None or not _only_first(node, flags):
        return False
    if node.attributes.get_int("allowzero", 0):
        return False
    first, rest = int(array[0]), [int(number) for number in array[1:]]
    if first == 0:
        return True
    inner = list(data.shape)[1:]
    if first != -1 or not all(isinstance(dim, int) for dim in inner) or any(number <= 0 for number in rest):
        return False
    return math.prod(dim for dim in inner if isinstance(dim, int)) == math.prod(rest)


def _axes_input_without_batch(node: ir.Node, flags: Sequence[bool]) -> bool:
    axes = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = _rank(node.outputs[0] if node.op_type == "Unsqueeze" else node.inputs[0])
    if axes is None or rank is None or not _only_first(node, flags):
        return False
    return all(int(axis) % rank != 0 for axis in axes.reshape(-1))


def _pad(node: ir.Node, flags: Sequence[bool]) -> bool:
    pads = constant_array(node.inputs[1])
    if pads is None or len(node.inputs) > 3 or not _only_first(node, flags):
        return False
    return not np.any(pads.reshape(2, -1)[:, 0])


def _resize(node: ir.Node, flags: Sequence[bool]) -> bool:
    scales = constant_array(node.inputs[2]) if len(node.inputs) == 3 else None
    return scales is not None and scales.size > 0 and float(scales[0]) == 1 and _only_first(node, flags)


def _batch_norm(node: ir.Node, flags: Sequence[bool]) -> bool:
    return _only_first(node, flags) and not node.attributes.get_int("training_mode", 0)


_ELEMENTWISE = (
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor",
    "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal",
    "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh",
    "ThresholdedRelu",
    "Where", "Xor",
)  # fmt: skip
_FIRST_ONLY = (
    "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
    "InstanceNormalization", "LRN", "MaxPool", "SpaceToDepth",
)  # fmt: skip
_REDUCE = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_FIRST_ONLY, _only_first),
    **dict.fromkeys(_REDUCE, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin", "Gather"), _axis_is_not_batch(0)),
    **dict.fromkeys(("Hardmax", "LayerNormalization", "LogSoftmax", "Softmax", "TopK"), _axis_is_not_batch(-1)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _axes_input_without_batch),
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _axis_is_not_batch(1)),
    "Split": _axis_is_not_batch(0),
    "Transpose": _transpose,
}

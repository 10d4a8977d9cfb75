"""Proves, operator by operator, that the samples of a batch (axis 0) do not meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.elementwise import ELEMENTWISE

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A node and what is known about its inputs.

    Attributes:
        node: the node.
        batched: for each input, whether it depends on the inputs of the graph.
        shapes: for each input its shape, None for sizes that are not numbers; None where nothing is known.
    """

    node: ir.Node
    batched: Sequence[bool]
    shapes: Sequence[Shape | None]

    def rank(self, index: int = 0) -> int | None:
        """Return how many axes an input has, None where that is not known."""
        shape = self.shapes[index]
        return None if shape is None else len(shape)

    def constant(self, index: int) -> NDArray[Any] | None:
        """Return the array behind an input that is there and a constant."""
        return constant_array(self.node.inputs[index]) if index < len(self.node.inputs) else None

    def is_only_first(self) -> bool:
        """Return whether the first input is batched, the others are not, and it has axes."""
        return self.batched[0] and not any(self.batched[1:]) and (self.rank() or 0) > 0


_Rule = Callable[[Call], bool]


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
        if not treats_samples_alike(Call(node, flags, [known_shape(value) for value in node.inputs]), model):
            return node
        batched.update(node.outputs)
    return None


def known_shape(value: ir.Value | ir.TensorProtocol | None) -> Shape | None:
    """Return the shape that a value has in the graph, or a tensor."""
    if value is None or value.shape is None:
        return None
    return tuple([dim if isinstance(dim, int) else None for dim in value.shape])


def treats_samples_alike(call: Call, model: ir.Model) -> bool:
    """Return whether a rule says that the samples of the batched inputs, on their first axes, do not meet in a node.

    Raises:
        InvalidModel: the node breaks the format of its operator.
    """
    node = call.node
    if is_standard(node):
        rule = _RULES.get(node.op_type)
        return rule is not None and rule(call)
    op = op_class_of(node, model.opset_imports)
    if op is None:
        return False
    if op.batch_like:
        op.check(node)
        return _RULES[op.batch_like](call)
    return _elementwise(call) if op.broadcasts else call.is_only_first()


def _elementwise(call: Call) -> bool:
    """All batched inputs have the rank of the result; the others do not reach the first axis, or have 1 there."""
    given = [(batched, shape) for value, batched, shape in zip(call.node.inputs, call.batched, call.shapes, strict=True)
             if value is not None]  # fmt: skip
    top = max([0 if shape is None else len(shape) for _, shape in given])
    for batched, shape in given:
        if shape is None or (batched and len(shape) != top):
            return False
        if not batched and len(shape) == top and (top == 0 or shape[0] != 1):
            return False
    return top > 0


def _max_pool(call: Call) -> bool:
    """Return whether nobody reads the indices, which count through all samples."""
    indices = call.node.outputs[1:]
    return call.is_only_first() and not any(value.uses() or value.is_graph_output() for value in indices)


def _matmul(call: Call) -> bool:
    left, right = call.rank(0), call.rank(1)
    if left is None or right is None:
        return False
    if all(call.batched):
        return left == right and left >= 3
    data, other, shape = (left, right, call.shapes[1]) if call.batched[0] else (right, left, call.shapes[0])
    if data < (2 if call.batched[0] else 3):
        return False
    assert shape is not None
    return other <= 2 if data == 2 else other < data or (other == data and shape[0] == 1)


def _gemm(call: Call) -> bool:
    if not call.batched[0] or any(call.batched[1:]) or call.node.attributes.get_int("transA", 0) != 0:
        return False
    if len(call.node.inputs) < 3 or call.node.inputs[2] is None:
        return True
    bias = call.shapes[2]
    return bias is not None and (len(bias) < 2 or bias[0] == 1)


def _axis_is_not_batch(default: int) -> _Rule:
    def rule(call: Call) -> bool:
        rank = call.rank()
        return rank is not None and call.is_only_first() and _misses_batch([_axis(call, default)], rank)

    return rule


def _axis(call: Call, default: int) -> int:
    return int(call.node.attributes.get_int("axis", default) or 0)


def _misses_batch(axes: Iterable[int], rank: int) -> bool:
    return all(int(axis) % rank != 0 for axis in axes)


def _reduce(call: Call) -> bool:
    rank, axes = call.rank(), call.constant(1)
    if rank is None or axes is None or axes.size == 0 or not call.is_only_first():
        return False
    return _misses_batch(axes.reshape(-1), rank)


def _concat(call: Call) -> bool:
    rank = call.rank()
    return rank is not None and rank > 0 and all(call.batched) and _misses_batch([_axis(call, 0)], rank)


def _slice(call: Call) -> bool:
    rank, axes = call.rank(), call.constant(3)
    return rank is not None and axes is not None and call.is_only_first() and _misses_batch(axes.reshape(-1), rank)


def _transpose(call: Call) -> bool:
    permutation = call.node.attributes.get_ints("perm")
    return permutation is not None and len(permutation) > 0 and permutation[0] == 0


def _flatten(call: Call) -> bool:
    return call.node.attributes.get_int("axis", 1) == 1


def _reshape(call: Call) -> bool:
    """Return whether the target keeps the first axis (0), or leaves it over (-1) and a sample fills the others."""
    array, shape = call.constant(1), call.shapes[0]
    if array is None or array.size == 0 or shape is None or not call.is_only_first():
        return False
    if call.node.attributes.get_int("allowzero", 0):
        return False
    first, rest = int(array[0]), [int(number) for number in array[1:]]
    if first == 0:
        return True
    inner = [dim for dim in shape[1:] if dim is not None]
    if first != -1 or len(inner) < len(shape) - 1 or any(number <= 0 for number in rest):
        return False
    return math.prod(inner) == math.prod(rest)


def _axes_input_without_batch(call: Call) -> bool:
    axes, rank = call.constant(1), call.rank()
    if axes is None or rank is None or not call.is_only_first():
        return False
    return _misses_batch(axes.reshape(-1), rank + (axes.size if call.node.op_type == "Unsqueeze" else 0))


def _pad(call: Call) -> bool:
    pads = call.constant(1)
    if pads is None or len(call.node.inputs) > 3 or not call.is_only_first():
        return False
    return not np.any(pads.reshape(2, -1)[:, 0])


def _quantize(call: Call) -> bool:
    """Return whether the scales are those of every batch: scales of blocks have an entry for each sample."""
    return call.node.attributes.get_int("block_size", 0) == 0 and _axis_is_not_batch(1)(call)


def _resize(call: Call) -> bool:
    """Return whether the first axis is neither scaled nor cropped: a region on it is a part of all samples."""
    if call.node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    rank = call.rank()
    if "axes" in call.node.attributes:  # of others than these, the sizes stay
        axes = call.node.attributes["axes"].as_ints()
        return rank is not None and call.is_only_first() and _misses_batch(axes, rank)
    scales = call.constant(2) if len(call.node.inputs) == 3 else None
    return scales is not None and scales.size > 0 and float(scales[0]) == 1 and call.is_only_first()


def _dropout(call: Call) -> bool:
    """Return whether nothing is dropped at random."""
    if len(call.node.inputs) < 3 or call.node.inputs[2] is None:
        return _elementwise(call)
    training = call.constant(2)
    return training is not None and not np.any(training) and _elementwise(call)


def _batch_norm(call: Call) -> bool:
    return call.is_only_first() and not call.node.attributes.get_int("training_mode", 0)


_FIRST_ONLY = (
    "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
    "InstanceNormalization", "LRN", "SpaceToDepth",
)  # fmt: skip
REDUCE = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(_FIRST_ONLY, Call.is_only_first),
    **dict.fromkeys(REDUCE, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin", "Gather"), _axis_is_not_batch(0)),
    **dict.fromkeys(("Hardmax", "LayerNormalization", "LogSoftmax", "Softmax", "TopK"), _axis_is_not_batch(-1)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _axes_input_without_batch),
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _quantize),
    "Split": _axis_is_not_batch(0),
    "Transpose": _transpose,
}

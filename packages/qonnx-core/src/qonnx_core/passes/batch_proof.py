"""Proves that samples do not meet from the graph alone: nothing is copied, edited or inferred by ``onnx``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from qonnx_core.ir.constants import constant_tensor
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.batch_rules import REDUCE, Call, Shape, known_shape, treats_samples_alike
from qonnx_core.passes.elementwise import ELEMENTWISE

_RANK_OF_FIRST = frozenset((
    "AveragePool", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Dropout",
    "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax", "MaxPool",
    "Pad", "Resize", "Slice", "Softmax", "SpaceToDepth", "Split", "Transpose",
))  # fmt: skip
_REDUCE = frozenset(REDUCE)


def samples_stay_apart(model: ir.Model) -> bool:
    """Return whether every sample of a batch, on the first axis of all inputs, is computed as if it were alone.

    What a file says about the shapes of inner tensors is not looked at: ranks are derived from the inputs and
    parameters. False where that is not enough, also where a node would have to be edited for another batch, such as
    a Reshape to ``[1, 784]``.
    """
    shapes: dict[ir.Value, Shape | None] = {value: _with_free_batch(value) for value in model.graph.inputs}
    batched: set[ir.Value] = set(shapes)
    for value in model.graph.initializers.values():
        if value in batched:
            return False
        shapes[value] = known_shape(constant_tensor(value))
    for node in model.graph:
        if has_graphs(node) or any(value is not None and value not in shapes for value in node.inputs):
            return False
        call = Call(
            node,
            [value is not None and value in batched for value in node.inputs],
            [None if value is None else shapes[value] for value in node.inputs],
        )
        is_batched = any(call.batched)
        if is_batched and not treats_samples_alike(call, model):
            return False
        shape = _shape_of_result(call, model.opset_imports)
        for index, value in enumerate(node.outputs):
            shapes[value] = shape if index == 0 else None
            if is_batched:
                batched.add(value)
    return True


def _with_free_batch(value: ir.Value) -> Shape | None:
    shape = known_shape(value)
    return shape and (None, *shape[1:])


def _shape_of_result(call: Call, imports: Mapping[str, int]) -> Shape | None:
    """Return the shape of the first output as far as it follows from those of the inputs; sizes are rarely needed."""
    node = call.node
    if not is_standard(node):
        op = op_class_of(node, dict(imports))
        return _broadcast(call.shapes) if op is not None and op.broadcasts else None
    if node.op_type == "Constant":
        return known_shape(constant_tensor(node.outputs[0]))
    if node.op_type in ELEMENTWISE:
        return _broadcast([shape for value, shape in zip(node.inputs, call.shapes, strict=True) if value is not None])
    rank = _rank_of_result(call)
    return None if rank is None else (None,) * rank


def _rank_of_result(call: Call) -> int | None:
    node = call.node
    if node.op_type in ("Flatten", "Gemm"):
        return 2
    first = call.rank() if node.inputs else None
    if first is None:
        return None
    if node.op_type in _RANK_OF_FIRST:
        return first
    if node.op_type == "MatMul":
        second = call.rank(1)
        return max(first, second) if second is not None and min(first, second) >= 2 else None
    axes = call.constant(1)
    if axes is None:
        return None
    if node.op_type == "Reshape":
        return int(axes.size)
    if node.op_type in _REDUCE and axes.size:
        return first if node.attributes.get_int("keepdims", 1) else first - int(axes.size)
    return None


def _broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape that NumPy's rules give; a size that is not known stays so unless another one decides it."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not known:
        return None
    if len(known) == 2 and not known[1]:
        return known[0]
    rank = max(map(len, known))
    result: list[int | None] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in known if len(shape) >= -axis} - {1}
        result.append(1 if not sizes else next(iter(sizes)) if len(sizes) == 1 else None)
    return tuple(result)

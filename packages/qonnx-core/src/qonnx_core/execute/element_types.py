"""Derives the element types of what a node computes, where one rule a kind of operator is enough."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

_INT64, _BOOL = ir.DataType.INT64, ir.DataType.BOOL
_LIKE_FIRST = frozenset((
    "Abs", "Add", "AveragePool", "BatchNormalization", "Ceil", "Clip", "Concat", "Conv", "ConvTranspose",
    "DepthToSpace", "Div", "Elu", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "LogSoftmax", "MatMul",
    "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceSum", "Relu", "Reshape", "Resize", "Round", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus",
    "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
_ALWAYS: Mapping[str, ir.DataType] = {
    **dict.fromkeys(("ArgMax", "ArgMin", "Shape", "Size"), _INT64),
    **dict.fromkeys(("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"), _BOOL),
}


def element_type(node: ir.Node, known: Mapping[ir.Value, ir.DataType | None]) -> ir.DataType | None:
    """Return the element type of the first output of a standard node, or None where no rule says it.

    Args:
        node: the node.
        known: the element types of its inputs.
    """
    always = _ALWAYS.get(node.op_type)
    if always is not None:
        return always
    source = None
    if node.op_type in _LIKE_FIRST:
        source = node.inputs[0] if node.inputs else None
    elif node.op_type == "Where":
        source = node.inputs[1] if len(node.inputs) > 1 else None
    elif node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0))
    return None if source is None else known.get(source)

"""Multiplies matrices the other way round where they are stored transposed: ``A B = (B^T A^T)^T``."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.passes.base import is_standard
from qonnx_core.passes.layouts.axes import Axes, natural
from qonnx_core.passes.layouts.conversion import Conversion


def convert_product(conversion: Conversion, node: ir.Node) -> bool:
    """Let a MatMul of stacks of matrices read them transposed where that takes fewer Transposes, as in attention."""
    if node.op_type != "MatMul" or not is_standard(node):
        return False
    left, right = node.inputs
    rank = conversion.rank(left)
    if left is None or right is None or rank is None or rank < 3 or conversion.rank(right) != rank:
        return False
    plain = natural(rank)
    swapped = (*plain[:-2], rank - 1, rank - 2)
    wish = conversion.wish(node.outputs[0])
    as_it_is = sum(_is_missing(conversion, value, plain) for value in (left, right)) + (wish == swapped)
    turned = sum(_is_missing(conversion, value, swapped) for value in (left, right)) + (wish != swapped)
    if turned >= as_it_is:
        return False
    inputs = [conversion.read(value, swapped, node) for value in (right, left)]
    conversion.replace(node, "MatMul", inputs, {}, [swapped])
    return True


def _is_missing(conversion: Conversion, value: ir.Value, axes: Axes) -> bool:
    """Return whether a node has to be added to store the value so."""
    return conversion.depends(value) and not conversion.has(value, axes)

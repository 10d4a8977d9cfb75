"""Removes operations that change neither a value nor a shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.base import can_replace, graphs_of, replace_value

_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_COMMUTATIVE = ("Add", "Mul")


@dataclass(frozen=True)
class RemoveIdentity:
    """Remove Identity, Dropout, Add/Sub of exactly 0, Mul/Div by exactly 1 and Pad by nothing.

    An operation whose constant widens the shape by broadcasting stays, and so does one between a graph input and a
    graph output, which both keep their names.
    """

    name: str = "remove_identity"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes removed."""
        removed = 0
        for graph in graphs_of(model):
            for node in list(graph):
                source = _unchanged_input(node)
                if source is not None and can_replace(node.outputs[0], source):
                    replace_value(node.outputs[0], source)
                    graph.remove(node, safe=True)
                    removed += 1
        return removed


def _unchanged_input(node: ir.Node) -> ir.Value | None:
    """Return the input that the node hands on as it is, or None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Identity":
        return node.inputs[0]
    if node.op_type == "Dropout":
        mask_is_read = len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
        return None if mask_is_read or _trains(node) else node.inputs[0]
    if node.op_type == "Pad":
        pads = constant_array(node.inputs[1] if len(node.inputs) > 1 else None)
        return node.inputs[0] if pads is not None and not np.any(pads) else None
    neutral = _NEUTRAL.get(node.op_type)
    if neutral is None:
        return None
    left, right = node.inputs
    assert left is not None
    assert right is not None
    if _is_all(right, neutral) and _keeps(left, right, node.outputs[0]):
        return left
    if node.op_type in _COMMUTATIVE and _is_all(left, neutral) and _keeps(right, left, node.outputs[0]):
        return right
    return None


def _trains(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    mode = constant_array(node.inputs[2])
    return mode is None or bool(mode)


def _is_all(value: ir.Value, number: int) -> bool:
    array = constant_array(value)
    return array is not None and array.size > 0 and bool(np.all(array == number))


def _keeps(data: ir.Value, constant: ir.Value, result: ir.Value) -> bool:
    """Return whether the shape of the result is known to be that of the data."""
    array = constant_array(constant)
    assert array is not None
    if array.ndim == 0:
        return True
    if data.shape is not None and array.ndim <= len(data.shape) and array.size == 1:
        return True
    known = data.shape is not None and result.shape is not None and not data.shape.has_unknown_dim()
    return known and data.shape == result.shape

"""Gives tensors behind a DebugMarker the name that it holds, beside their own."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.ops.debug_marker import DebugMarker
from qonnx_core.ops.registry import op_of


def add_debug_names(model: ir.Model) -> int:
    """Add to the main graph a tensor for every name that a DebugMarker holds; return how many.

    A name that a tensor has already stays that tensor's; of several markers with one name the last one counts.
    """
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    taken = {value.name for value in values}
    added = 0
    for node in reversed(list(graph)):
        op = op_of(node, model.opset_imports) if node.op_type == DebugMarker.op_type else None
        if not isinstance(op, DebugMarker) or not op.export_debug_name or op.export_debug_name in taken:
            continue
        copy = ir.node("Identity", [node.outputs[0]], name=f"{node.outputs[0].name}/debug_name")
        copy.outputs[0].name = op.export_debug_name
        copy.outputs[0].type, copy.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        graph.insert_after(node, copy)
        taken.add(op.export_debug_name)
        added += 1
    return added

"""Replaces one node by a few others, with names that tell where they come from."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ops.builder import GraphBuilder


def builder_for(root: ir.Graph, node: ir.Node, names: Names) -> GraphBuilder:
    """Return a builder of the nodes that will stand for this one; its constants go to the main graph ``root``."""
    return GraphBuilder(root, f"{node.outputs[0].name}/{node.op_type.lower()}", constant_array, names)


def substitute(graph: ir.Graph, node: ir.Node, builder: GraphBuilder, result: ir.Value) -> None:
    """Put the builder's nodes in the place of a node with one output, of which ``result`` takes name and shape."""
    old = node.outputs[0]
    if result.producer() not in builder.nodes:
        result = builder.node("Identity", [result])[0]
    stem, name = node.name or old.name, old.name
    for number, inner in enumerate(builder.nodes):
        kind = f"{inner.op_type.lower()}_{number}"
        inner.name = f"{stem}" if inner.outputs[0] is result else builder.names.free_for_node(f"{stem}/{kind}")
        inner.outputs[0].name = builder.names.free(f"{name}/{kind}")
        inner.outputs[0].type = inner.outputs[0].type or old.type
        inner.metadata_props.update(node.metadata_props)
    result.type, result.shape = old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], builder.nodes, [old], [result])

"""Lists the graphs of a model, and what nodes with graphs read."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

GRAPH_TYPES = frozenset((ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))


def graphs_of(model: ir.Model) -> list[ir.Graph]:
    """Return the main graph and every graph inside its nodes, outer ones first."""
    found: dict[ir.Graph, None] = {}
    _collect(model.graph, found)
    return list(found)


def _collect(graph: ir.Graph, found: dict[ir.Graph, None]) -> None:
    found[graph] = None
    for node in graph:
        for inner in graphs_in(node):
            if inner not in found:
                _collect(inner, found)


def reads_of(node: ir.Node) -> list[ir.Value]:
    """Return what the node and the graphs inside it read, those graphs' own tensors included."""
    values = [value for value in node.inputs if value is not None]
    for graph in graphs_in(node):
        values += [value for inner in graph for value in reads_of(inner)]
        values.extend(graph.outputs)
    return values


def graphs_in(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the graphs that the node holds, not those inside them."""
    for attribute in node.attributes.data.values():
        if attribute.type in GRAPH_TYPES and not attribute.is_ref():
            yield from (attribute.as_graph(),) if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()

"""Brings nodes into the order on which readable names depend."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of


@dataclass(frozen=True)
class SortGraph:
    """Order nodes by their level (the longest path from a source), and within a level by their place so far."""

    name: str = "sort_graph"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of graphs whose order changed."""
        return sum(_sort(graph) for graph in graphs_of(model))


def _sort(graph: ir.Graph) -> int:
    graph.sort()
    nodes = list(graph)
    levels: dict[ir.Node, int] = {}
    for node in nodes:
        above = [levels[source] for source in _sources(node, graph) if source in levels]
        levels[node] = max(above, default=-1) + 1
    ordered = sorted(nodes, key=levels.__getitem__)
    if ordered == nodes:
        return 0
    graph.remove(nodes)
    graph.extend(ordered)
    return 1


def _sources(node: ir.Node, graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes whose outputs the node or a graph inside it reads."""
    values = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            for inner in (attribute.as_graph(), *attribute.as_graph().subgraphs()):
                values += [value for other in inner for value in other.inputs if value is not None]
                values += [value for value in inner.outputs if value.graph is graph]
    return [producer for value in values if (producer := value.producer()) is not None]

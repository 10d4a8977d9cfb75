"""Lists the graphs of a model."""

from __future__ import annotations

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
        for attribute in node.attributes.data.values():
            if attribute.type not in GRAPH_TYPES or attribute.is_ref():
                continue
            inner = (attribute.as_graph(),) if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
            for one in inner:
                if one not in found:
                    _collect(one, found)

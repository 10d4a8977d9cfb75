"""Removes what nothing reads: nodes, initializers, functions and imports."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of, remove_node


@dataclass(frozen=True)
class RemoveUnused:
    """Remove nodes whose outputs nobody reads and initializers that nobody reads; graph outputs always stay."""

    name: str = "remove_unused"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes and initializers removed."""
        return sum(_clean(graph) for graph in reversed(graphs_of(model)))


def _clean(graph: ir.Graph) -> int:
    removed = 0
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            remove_node(node)
            removed += 1
    for value in list(graph.initializers.values()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            del graph.initializers[value.name or ""]
            removed += 1
    return removed

"""Copies models, so that public functions leave what they are given alone."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.graphs import graphs_of, reads_of
from qonnx_core.ir.verify import verify


def copy_model(model: ir.Model) -> ir.Model:
    """Return a copy with the nodes in topological order; tensors are shared, since nothing edits them in place.

    Raises:
        InvalidModel: a node reads what nothing produces, or a tensor is produced twice.
    """
    verify(model, before_normalization=True)
    if all(_is_sorted(graph) for graph in graphs_of(model)):
        return model.clone()
    copy = ir.from_proto(ir.to_proto(model))
    assert isinstance(copy, ir.Model)
    for old, new in zip(model.graph.all_nodes(), copy.graph.all_nodes(), strict=True):
        new.meta.update(old.meta)
    for graph in copy.graphs():
        sort_nodes(graph)
    return copy


def sort_nodes(graph: ir.Graph) -> None:
    """Bring the nodes into topological order.

    Raises:
        InvalidModel: they form a cycle.
    """
    try:
        graph.sort()
    except ValueError as error:
        raise InvalidModel(
            f"graph {graph.name}: has a cycle; expected nodes that follow each other. {error}"
        ) from error


def _is_sorted(graph: ir.Graph) -> bool:
    """Return whether every node, graphs inside it included, reads only what earlier nodes produce."""
    later = {value for node in graph for value in node.outputs}
    for node in graph:
        if any(value in later for value in reads_of(node)):
            return False
        later.difference_update(node.outputs)
    return True

"""What every pass is, and the few edits that passes share."""

from __future__ import annotations

from typing import Any, Protocol

import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.graphs import GRAPH_TYPES, graphs_in
from qonnx_core.ir.graphs import graphs_of as graphs_of  # passes find it here
from qonnx_core.ir.names import Names


class Pass(Protocol):
    """A change to a graph; run again, it changes nothing more."""

    @property
    def name(self) -> str:
        """The name under which reports mention the pass."""
        ...

    def run(self, model: ir.Model) -> int:
        """Edit the model in place and return the number of edits."""
        ...


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let every reader of ``old`` read ``new`` instead; the name of a graph output stays.

    ``new`` takes over the annotations that it lacks. Where ``old`` is a graph output and ``new`` cannot take its name
    (it is a graph input or output itself, or an initializer), nothing may be replaced: see :func:`can_replace`.
    """
    merge_annotations(old, new)
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    if old.is_graph_output():
        graph = old.graph
        assert graph is not None
        name = old.name
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = new
        old.name = f"{name}_replaced"
        new.name = name
    old.replace_all_uses_with(new)


def can_replace(old: ir.Value, new: ir.Value) -> bool:
    """Return whether ``new`` can stand for ``old`` everywhere, names of graph inputs and outputs included."""
    if not old.is_graph_output():
        return True
    return not (new.is_graph_input() or new.is_graph_output() or new.is_initializer()) and new.graph is old.graph


def remove_node(node: ir.Node) -> None:
    """Remove a node whose outputs nobody reads from its graph; the graphs inside it read nothing any more."""
    assert node.graph is not None
    for inner in graphs_in(node):
        inner.outputs.clear()
        for child in reversed(list(inner)):
            remove_node(child)
    node.graph.remove(node, safe=True)


def has_graphs(node: ir.Node) -> bool:
    """Return whether the node holds graphs of its own, as If and Loop do."""
    attributes = node.attributes.data  # the dictionary itself: every pass asks every node
    return bool(attributes) and any(attribute.type in GRAPH_TYPES for attribute in attributes.values())


def is_standard(node: ir.Node) -> bool:
    """Return whether the node is of the standard ONNX domain."""
    return node.domain in ("", "ai.onnx")


def new_initializer(graph: ir.Graph, stem: str, tensor: ir.TensorProtocol, names: Names) -> ir.Value:
    """Return a new initializer with a name that starts with ``stem`` and is free in the whole model."""
    value = ir.val(names.free(stem), const_value=tensor)
    graph.register_initializer(value)
    return value


def new_constant(graph: ir.Graph, stem: str, array: NDArray[Any], names: Names) -> ir.Value:
    """Return a new initializer that holds the array."""
    return new_initializer(graph, stem, ir.tensor(array), names)

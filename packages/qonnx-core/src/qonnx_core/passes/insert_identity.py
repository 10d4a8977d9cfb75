"""Puts Identity nodes next to tensors, so that other steps find a node where they need one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.names import Names


@dataclass(frozen=True)
class InsertIdentity:
    """A tensor goes through a new ``Identity``: the values stay, and so do the names of inputs and outputs.

    Args:
        tensors: names of tensors of the main graph.
        inputs: also all inputs of the graph.
        outputs: also all outputs of the graph.
        side: where the tensor keeps its name: ``consumer`` gives its readers ``<tensor>_identity``, ``producer`` lets
            the node that makes it write ``<tensor>_identity``. An input of the graph is always the first, an output
            always the second.
    """

    tensors: tuple[str, ...] = ()
    inputs: bool = False
    outputs: bool = False
    side: Literal["consumer", "producer"] = "consumer"
    name: str = "insert_identity"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes inserted; where there is an Identity already, none is.

        Raises:
            InvalidInput: the graph has no tensor of a name.
        """
        graph = model.graph
        values = {v.name: v for v in graph.inputs} | {v.name: v for node in graph for v in node.outputs if v.name}
        for name in self.tensors:
            if name not in values:
                near = difflib.get_close_matches(name, [key for key in values if key], n=3)
                hint = f"Did you mean {' or '.join(near)}?" if near else "List them with `qonnx info`."
                raise InvalidInput(f"tensor {name!r}: no node or input of the graph gives it; expected one. {hint}")
        names = Names(graph)
        wanted = [values[name] for name in self.tensors]
        wanted += [value for value in graph.inputs if self.inputs and not value.is_initializer()]
        wanted += [value for value in graph.outputs if self.outputs]
        inserted = 0
        for value in dict.fromkeys(wanted):
            before = value.is_graph_output() or (self.side == "producer" and not value.is_graph_input())
            if before and value.producer() is not None:
                inserted += _before(graph, value, names)
            elif not value.is_graph_output():
                inserted += _behind(graph, value, names)
        return inserted


def _behind(graph: ir.Graph, value: ir.Value, names: Names) -> int:
    uses = list(value.uses())
    if uses and all(use.node.op_type == "Identity" and use.node.domain == "" for use in uses):
        return 0
    node = ir.node("Identity", [value], name=names.free_for_node(f"Identity_{value.name}"))
    made = node.outputs[0]
    made.name, made.type, made.shape = names.free(f"{value.name}_identity"), value.type, value.shape
    merge_annotations(value, made)
    for reader, index in uses:
        reader.replace_input_with(index, made)
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    return 1


def _before(graph: ir.Graph, value: ir.Value, names: Names) -> int:
    producer = value.producer()
    assert producer is not None
    if producer.op_type == "Identity" and producer.domain == "":
        return 0
    node = ir.node("Identity", [value], name=names.free_for_node(f"Identity_{value.name}"))
    made = node.outputs[0]
    made.type, made.shape = value.type, value.shape
    merge_annotations(value, made)
    for reader, index in list(value.uses()):
        if reader is not node:
            reader.replace_input_with(index, made)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = made
    name = value.name
    value.name = names.free(f"{name}_identity")
    made.name = name
    graph.insert_after(producer, node)
    return 1

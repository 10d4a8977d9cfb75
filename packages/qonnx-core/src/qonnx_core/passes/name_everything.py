"""Gives nodes and tensors the names that users of QONNX tools know."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of


@dataclass(frozen=True)
class NameEverything:
    """Name nodes ``OpType_k``, and tensors ``<node>_out<i>``, ``<node>_param<k>``, ``global_in``, ``global_out``.

    Further inputs and outputs of the graph are ``global_in_1`` and so on. Numbers follow the order of the nodes. Graphs
    inside nodes are named along, so no inner name hides an outer one.

    Args:
        nodes: give nodes new names; without it those that have a name keep it, and tensors are named after that.
        tensors: ``readable`` names as above, ``numbered`` for ``tensor_0``, ``tensor_1``, ... in order, ``keep`` for
            the names that they have.
        prefix: what every new name of a node begins with, and numbered names of tensors.
    """

    nodes: bool = True
    tensors: Literal["readable", "numbered", "keep"] = "readable"
    prefix: str = ""
    name: str = "name_everything"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of names that changed."""
        nodes: dict[ir.Node, str] = {}
        values: dict[ir.Value, str] = {}
        self._name_graph(model.graph, "global", Counter(), nodes, values)
        changed = sum(node.name != name for node, name in nodes.items())
        for node, name in nodes.items():
            node.name = name
        if self.tensors == "keep":
            return changed
        if self.tensors == "numbered":
            values = {value: f"{self.prefix}tensor_{number}" for number, value in enumerate(values)}
        return changed + _rename(model, values)

    def _name_graph(
        self, graph: ir.Graph, stem: str, counts: Counter[str], nodes: dict[ir.Node, str], values: dict[ir.Value, str]
    ) -> None:
        for kind, ends in (("in", graph.inputs), ("out", graph.outputs)):
            for index, value in enumerate(ends):
                if value.graph is graph:
                    values.setdefault(value, f"{stem}_{kind}" + (f"_{index}" if index else ""))
        for node in graph:
            name = nodes[node] = self._node_name(node, counts)
            for index, value in enumerate(node.outputs):
                if value.name:
                    values.setdefault(value, f"{name}_out{index}")
            parameters = [value for value in node.inputs if value is not None and value.is_initializer()]
            for index, value in enumerate(dict.fromkeys(parameters)):
                values.setdefault(value, f"{name}_param{index}")
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                    self._name_graph(attribute.as_graph(), f"{name}_{attribute.name}", counts, nodes, values)
        for index, value in enumerate(graph.initializers.values()):
            values.setdefault(value, f"{stem}_param{index}")

    def _node_name(self, node: ir.Node, counts: Counter[str]) -> str:
        if not self.nodes and node.name:
            return node.name
        taken = {other.name for other in node.graph or ()} if not self.nodes else set()
        while True:
            name = f"{self.prefix}{node.op_type}_{counts[node.op_type]}"
            counts[node.op_type] += 1
            if name not in taken:
                return name


def _rename(model: ir.Model, values: dict[ir.Value, str]) -> int:
    changed = {value: name for value, name in values.items() if value.name != name}
    order = {graph: list(graph.initializers.values()) for graph in graphs_of(model)} if changed else {}
    for number, value in enumerate(changed):  # out of the way first: a new name may be another's old one
        value.name = f"\x00{number}"
    for value, name in changed.items():
        value.name = name
    for graph, initializers in order.items():  # a new name puts them last: numbers follow their order the next time too
        graph.initializers.clear()
        for value in initializers:
            graph.register_initializer(value)
    return len(changed)

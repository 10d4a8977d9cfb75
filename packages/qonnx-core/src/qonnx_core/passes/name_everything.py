"""Gives nodes and tensors the names that users of QONNX tools know."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class NameEverything:
    """Name nodes ``OpType_k``, and tensors ``<node>_out<i>``, ``<node>_param<k>``, ``global_in``, ``global_out``.

    Further inputs and outputs of the graph are ``global_in_1`` and so on. Numbers follow the order of the nodes. Graphs
    inside nodes are named along, so no inner name hides an outer one.
    """

    name: str = "name_everything"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of names that changed."""
        nodes: dict[ir.Node, str] = {}
        values: dict[ir.Value, str] = {}
        counts: Counter[str] = Counter()
        _name_graph(model.graph, "global", counts, nodes, values)
        changed = sum(node.name != name for node, name in nodes.items())
        for node, name in nodes.items():
            node.name = name
        return changed + _rename(model, values)


def _name_graph(
    graph: ir.Graph, prefix: str, counts: Counter[str], nodes: dict[ir.Node, str], values: dict[ir.Value, str]
) -> None:
    for kind, ends in (("in", graph.inputs), ("out", graph.outputs)):
        for index, value in enumerate(ends):
            if value.graph is graph:
                values.setdefault(value, f"{prefix}_{kind}" + (f"_{index}" if index else ""))
    for node in graph:
        name = f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += 1
        nodes[node] = name
        for index, value in enumerate(node.outputs):
            if value.name:
                values.setdefault(value, f"{name}_out{index}")
        parameters = [value for value in node.inputs if value is not None and value.is_initializer()]
        for index, value in enumerate(dict.fromkeys(parameters)):
            values.setdefault(value, f"{name}_param{index}")
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                _name_graph(attribute.as_graph(), f"{name}_{attribute.name}", counts, nodes, values)
    for index, value in enumerate(graph.initializers.values()):
        values.setdefault(value, f"{prefix}_param{index}")


def _rename(model: ir.Model, values: dict[ir.Value, str]) -> int:
    changed = {value: name for value, name in values.items() if value.name != name}
    for number, value in enumerate(changed):  # out of the way first: a new name may be another's old one
        value.name = f"\x00{number}"
    for value, name in changed.items():
        value.name = name
    return len(changed)

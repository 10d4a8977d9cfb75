"""Gives every reader of a parameter an initializer of its own."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of


@dataclass(frozen=True)
class UnshareParameters:
    """Copy initializers that several inputs read, so that each can be named after its reader and changed alone.

    The tensors behind them stay shared in memory.
    """

    name: str = "unshare_parameters"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of copies made."""
        names = Names(model.graph)
        return sum(_unshare(graph, names) for graph in graphs_of(model))


def _unshare(graph: ir.Graph, names: Names) -> int:
    made = 0
    seen: set[ir.Value] = {value for value in graph.outputs if value.is_initializer()}
    for node in graph:
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.graph is not graph:
                continue
            if value not in seen:
                seen.add(value)
                continue
            node.replace_input_with(index, _copy(graph, value, names))
            made += 1
    return made


def _copy(graph: ir.Graph, value: ir.Value, names: Names) -> ir.Value:
    copy = ir.val(
        names.numbered(f"{value.name}/copy"), type=value.type, shape=value.shape, const_value=value.const_value
    )
    merge_annotations(value, copy)
    graph.register_initializer(copy)
    return copy

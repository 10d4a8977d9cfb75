"""Adds nodes and constants to a graph, with names that are free and say where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of


def emitters(model: ir.Model) -> Iterator[Emitter]:
    """Return one emitter for each graph, outer ones first; they share the names that are free."""
    names = Names(model.graph)
    for graph in graphs_of(model):
        yield Emitter(model, graph, names)


def stem_of(node: ir.Node) -> str:
    """Return what new names around a node begin with: its name, or that of its output."""
    return node.name or node.outputs[0].name or node.op_type


class Emitter:
    """Adds to one graph of a model; constants go there too.

    Several emitters can share ``names``.
    """

    def __init__(self, model: ir.Model, graph: ir.Graph, names: Names | None = None) -> None:
        self.model = model
        self.graph = graph
        self._names = names or Names(model.graph)

    def fresh(self, stem: str) -> str:
        """Return a name that starts with ``stem`` and that no tensor has."""
        return self._names.free(stem)

    def fresh_for_node(self, stem: str) -> str:
        """Return a name that starts with ``stem`` and that no node has."""
        return self._names.free_for_node(stem)

    def constant(self, array: NDArray[Any], stem: str) -> ir.Value:
        """Return a new initializer that holds the array."""
        name = self.fresh(stem)
        value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
        self.graph.register_initializer(value)
        return value

    def vector(self, numbers: Sequence[int], stem: str = "axes") -> ir.Value:
        """Return an int64 initializer of these numbers, a new one each time: the format wants none shared."""
        return self.constant(np.asarray(numbers, dtype=np.int64), stem)

    def node(
        self,
        before: ir.Node | None,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        stem: str,
        outputs: Sequence[str] | None = None,
        domain: str = "",
        source: ir.Node | None = None,
    ) -> ir.Node:
        """Return a new node in front of ``before``.

        Args:
            before: the node that it is put in front of; None puts it at the end.
            op_type: its operator.
            inputs: what it reads.
            attributes: their values by name; None values are left out.
            stem: name of the node; a number is added where it is taken.
            outputs: names of the outputs, one output of the node's name by default.
            domain: the operator's domain.
            source: the node whose metadata it carries on.
        """
        wanted = [stem] if outputs is None else list(outputs)
        made = ir.Node(
            domain,
            op_type,
            list(inputs),
            [
                value if isinstance(value, ir.Attr) else ir.convenience.convert_attribute(name, value)
                for name, value in (attributes or {}).items()
                if value is not None
            ],
            num_outputs=len(wanted),
            name=self.fresh_for_node(f"{stem}" if outputs is not None else f"{stem}/node"),
        )
        for value, name in zip(made.outputs, wanted, strict=True):
            value.name = self.fresh(name)
        if source is not None:
            made.metadata_props.update(source.metadata_props)
        if before is None:
            self.graph.append(made)
        else:
            self.graph.insert_before(before, made)
        return made

"""The data flow of a model as the partitioner sees it: nodes that depend on an input, and their constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from qonnx_core.errors import InvalidModel


class Dataflow:
    """Nodes in topological order, split into those that depend on a model input and those that make constants.

    ``nodes`` holds the names of the former. Tensors and nodes are addressed by name; both are unique in a cleaned
    model. Everything returned is ordered, so that results do not depend on hashing.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        graph = model.graph
        self.inputs = [_name_of(value) for value in graph.inputs if value.name not in graph.initializers]
        self.outputs = [_name_of(value) for value in graph.outputs]
        self.by_name: dict[str, ir.Node] = {}
        self.nodes: list[str] = []
        self.constant_nodes: list[str] = []
        self.tensors: set[str] = {*self.inputs, *(name for name in graph.initializers)}
        self.producer: dict[str, str] = {}
        self.consumers: dict[str, list[str]] = {}
        flowing = set(self.inputs)
        for node in graph:
            name = node.name or ""
            if not name or name in self.by_name:
                what = "without a name" if not name else f"named {name}, which another node is named too"
                raise InvalidModel(
                    f"a node ({node.op_type}) is {what}; expected unique names. Run cleanup_model first."
                )
            self.by_name[name] = node
            reads = [value.name for value in node.inputs if value is not None and value.name]
            outputs = [_name_of(value) for value in node.outputs if value.name]
            self.tensors.update(outputs)
            if any(tensor in flowing for tensor in reads):
                self.nodes.append(name)
                flowing.update(outputs)
            else:
                self.constant_nodes.append(name)
            for tensor in dict.fromkeys(reads):
                self.consumers.setdefault(tensor, []).append(name)
            for tensor in outputs:
                self.producer[tensor] = name
        self.flowing = flowing
        self.position = {name: index for index, name in enumerate(self.by_name)}
        dynamic = set(self.nodes)
        self.successors: dict[str, list[str]] = {name: [] for name in self.nodes}
        self.predecessors: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name in self.nodes:
            for tensor in self.reads(name):
                source = self.producer.get(tensor)
                if source in dynamic and source is not None and name not in self.successors[source]:
                    self.successors[source].append(name)
                    self.predecessors[name].append(source)

    def reads(self, node: str) -> list[str]:
        """Return the tensors that depend on a model input and that a node reads, without repetition."""
        values = self.by_name[node].inputs
        names = [value.name for value in values if value is not None and value.name in self.flowing]
        return [name for name in dict.fromkeys(names) if name is not None]

    def writes(self, node: str) -> list[str]:
        """Return the tensors that a node gives."""
        return [value.name for value in self.by_name[node].outputs if value.name]

    def upstream_of(self, tensor: str) -> set[str]:
        """Return the nodes that a tensor depends on, its producer included."""
        producer = self.producer.get(tensor)
        if producer is None or producer not in self.predecessors:
            return set()
        return _reach([producer], lambda node: self.predecessors[node])

    def downstream_of(self, tensor: str) -> set[str]:
        """Return the nodes that depend on a tensor, its readers included."""
        readers = [node for node in self.consumers.get(tensor, []) if node in self.successors]
        return _reach(readers, lambda node: self.successors[node])

    def constants_of(self, nodes: Iterable[str]) -> list[str]:
        """Return the nodes that make the constants which the given nodes read, in topological order."""
        found: set[str] = set()
        waiting = list(nodes)
        constant = set(self.constant_nodes)
        while waiting:
            for value in self.by_name[waiting.pop()].inputs:
                source = self.producer.get(value.name) if value is not None and value.name else None
                if source is not None and source in constant and source not in found:
                    found.add(source)
                    waiting.append(source)
        return sorted(found, key=self.position.__getitem__)

    def in_order(self, nodes: Iterable[str]) -> list[str]:
        """Return nodes in topological order."""
        return sorted(nodes, key=self.position.__getitem__)


def _reach(start: Iterable[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    found = set(start)
    waiting = list(found)
    while waiting:
        for node in step(waiting.pop()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def _name_of(value: ir.Value) -> str:
    if not value.name:
        raise InvalidModel("a graph input or output has no name; expected one. Run cleanup_model first.")
    return value.name

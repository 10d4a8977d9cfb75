"""Finds names that nothing has yet."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from qonnx_core.ir.graphs import graphs_in


def numbered_name(stem: str, taken: Container[str | None], first: int = 1) -> str:
    """Return ``stem_1``, or from another number on, or one with a later number that is free.

    Where the numbers that are taken have no gap, it is the first free one. The steps grow with the logarithm of their
    count, so that many names of one stem are found in linear time.
    """
    number, step = first, 1  # every number that was looked at below this one is taken
    while f"{stem}_{number + step - 1}" in taken:
        number += step
        step *= 2
    while step > 1:
        step //= 2
        if f"{stem}_{number + step - 1}" in taken:
            number += step
    return f"{stem}_{number}"


def unused_name(name: str, taken: Container[str | None], first: int = 1) -> str:
    """Return the name, or one with a number (``name_1``, ...) where it is taken."""
    return numbered_name(name, taken, first) if name in taken else name


def label_of(node: ir.Node) -> str:
    """Return the name and the operator of a node, as messages have them; without a name it is that of its output."""
    return f"{node.name or (node.outputs[0].name if node.outputs else None) or 'node'} ({node.op_type})"


class Names:
    """Names that no tensor, or no node, of a graph and of those inside it has; each is given once.

    The graph is looked at when the first name is asked for.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._tensors: set[str] = set()
        self._nodes: set[str] = set()
        self._is_read = False

    def free(self, stem: str) -> str:
        """Return the stem for a tensor, or one with a number where it is taken."""
        self._read()
        return free_name(stem, self._tensors)

    def numbered(self, stem: str) -> str:
        """Return ``stem_1`` for a tensor, or with the next number that is free."""
        self._read()
        name = numbered_name(stem, self._tensors)
        self._tensors.add(name)
        return name

    def free_for_node(self, stem: str) -> str:
        """Return the stem for a node, or one with a number where it is taken."""
        self._read()
        return free_name(stem, self._nodes)

    def _read(self) -> None:
        if not self._is_read:
            self._is_read = True
            self._tensors.update(value.name or "" for value in _tensors(self._graph))
            self._note_nodes(self._graph)

    def _note_nodes(self, graph: ir.Graph) -> None:
        for node in graph:
            self._nodes.add(node.name or "")
            for inner in graphs_in(node):
                self._note_nodes(inner)


@contextmanager
def new_names_apart(graph: ir.Graph) -> Iterator[None]:
    """Give tensors that come in meanwhile other names than those that were there have, in any graph inside this one.

    The library numbers the tensors of one graph; inside of others a number would hide the outer tensor of that name.
    """
    before = set(_tensors(graph)) if any(True for node in graph for _ in graphs_in(node)) else None
    yield
    if before is None:
        return
    now = list(_tensors(graph))
    kept = {*graph.outputs, *(value for value in now if value in before)}
    taken = {value.name or "" for value in kept}
    for value in now:
        if value not in kept and value.name:
            value.name = free_name(value.name, taken)


def _tensors(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
        for inner in graphs_in(node):
            yield from _tensors(inner)


def free_name(name: str, taken: set[str] | set[str | None]) -> str:
    """Return the same; it is taken from then on."""
    free = unused_name(name, taken)
    taken.add(free)
    return free

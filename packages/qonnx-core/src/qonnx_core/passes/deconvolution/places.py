"""Finds where two nodes can become one transposed convolution, or why they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.deconvolution.weights import Refused

Plan = TypeVar("Plan")


@dataclass(frozen=True, eq=False)
class Place(Generic[Plan]):
    """A node, the one before it, the pointwise nodes between the two, and what to make of them (or why nothing)."""

    graph: ir.Graph
    node: ir.Node
    chain: list[ir.Node]
    before: ir.Node
    plan: Plan | Refused


def places(
    model: ir.Model,
    before: Callable[[ir.Node, ir.Model], tuple[list[ir.Node], ir.Node] | None],
    plan: Callable[[ir.Model, ir.Node, ir.Node], Plan],
) -> Iterator[Place[Plan]]:
    """Yield each place; the graph may be changed there before the next one is asked for.

    Args:
        model: the model.
        before: returns the chain and the node in front of a node, or None where the node is no such place.
        plan: returns what to make of the node in front and the node; raises Refused with the reason why nothing.
    """
    for graph in graphs_of(model):
        for node in list(graph):
            found = before(node, model)
            if found is None:
                continue
            chain, other = found
            made: Plan | Refused
            try:
                made = plan(model, other, node)
            except Refused as reason:
                made = reason
            yield Place(graph, node, chain, other, made)


def refusals(found: Iterator[Place[Plan]]) -> list[tuple[str, str]]:
    """Return the names of the nodes of which nothing is made, each with the reason."""
    return [(place.node.name or "", str(place.plan)) for place in found if isinstance(place.plan, Refused)]

"""What the shape of a graph is: its fan-outs, the order of its nodes, its element types, where its constants stand.

Each fact answers a question that is asked before something is done with a model. A linear graph becomes one chain of
hardware stages without duplicated streams. A tensor that several nodes read needs its stream duplicated, and a FIFO on
the shorter branch. Tools that execute node by node need sorted nodes, and the older ones float32 tensors and the
constant operand of a product in second place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from qonnx_core.ir.constants import constant_tensor
from qonnx_core.passes.base import graphs_of

_WITH_WEIGHTS = frozenset(("Add", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul"))


@dataclass(frozen=True, slots=True)
class Topology:
    """The facts of one model; all lists are empty for a plain chain of float32 nodes in order.

    ``fan_outs`` has the tensors that more than one place reads (a graph output is a place), ``joins`` the nodes that
    read more than one tensor that depends on the inputs. ``not_float32`` names tensors of other element types that
    depend on the inputs, ``unsorted`` nodes that stand before what they read, ``constant_first`` nodes whose constant
    stands where the data is expected.
    """

    fan_outs: dict[str, int]
    joins: tuple[str, ...]
    not_float32: tuple[str, ...]
    unsorted: tuple[str, ...]
    constant_first: tuple[str, ...]

    @property
    def is_linear(self) -> bool:
        """Whether the graph is one chain: no tensor is read twice, and no node joins two."""
        return not self.fan_outs and not self.joins

    @property
    def is_sorted(self) -> bool:
        """Whether every node stands behind the nodes that it reads."""
        return not self.unsorted

    @property
    def is_float32(self) -> bool:
        """Whether every tensor that depends on the inputs is float32."""
        return not self.not_float32

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "is_linear": self.is_linear,
            "is_sorted": self.is_sorted,
            "is_float32": self.is_float32,
            "fan_outs": dict(self.fan_outs),
            "joins": list(self.joins),
            "not_float32": list(self.not_float32),
            "unsorted": list(self.unsorted),
            "constant_first": list(self.constant_first),
        }


def topology(model: ir.Model) -> Topology:
    """Return the facts about a model's main graph, and about the order of nodes in all its graphs. Linear in both."""
    running = _running(model.graph)
    fan_outs = {name: count for name, count in tensor_fan_outs(model).items() if count > 1}
    joins, first = [], []
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        if len({value for value in inputs if value in running}) > 1:
            joins.append(_name(node))
        late = any(value in running for value in inputs[1:]) and inputs[0] not in running
        if late and node.op_type in _WITH_WEIGHTS:
            first.append(_name(node))
    others = [
        value.name or ""
        for value in _values(model.graph)
        if value in running and value.dtype not in (None, ir.DataType.FLOAT)
    ]
    return Topology(fan_outs, tuple(joins), tuple(others), tuple(_unsorted(model)), tuple(first))


def tensor_fan_outs(model: ir.Model) -> dict[str, int]:
    """Return how many places read each tensor that depends on the inputs; being an output of the graph is a place.

    A node that reads a tensor twice counts twice: hardware needs the stream twice.
    """
    running = _running(model.graph)
    outputs = list(model.graph.outputs)
    return {
        value.name or "": len(list(value.uses())) + sum(value is output for output in outputs)
        for value in _values(model.graph)
        if value in running
    }


def _running(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that depend on the inputs, or on something random or outside."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        constant = all(value is None or (value not in found and _is_known(value)) for value in node.inputs)
        if not constant or (not node.inputs and constant_tensor(node.outputs[0]) is None):
            found.update(node.outputs)
    return found


def _is_known(value: ir.Value) -> bool:
    return value.is_initializer() or value.producer() is not None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (value for value in graph.inputs if not value.is_initializer())
    for node in graph:
        yield from node.outputs


def _unsorted(model: ir.Model) -> Iterator[str]:
    """Yield the nodes that read what a later node of the same graph makes."""
    for graph in graphs_of(model):
        place = {node: position for position, node in enumerate(graph)}
        for node, position in place.items():
            makers = (value.producer() for value in node.inputs if value is not None)
            if any(maker is not None and place.get(maker, -1) > position for maker in makers):
                yield _name(node)


def _name(node: ir.Node) -> str:
    return node.name or f"{node.op_type} that makes {node.outputs[0].name}"

"""Checks the functions that a model brings along before they are put in place of their calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import onnx_ir as ir

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.ir.graphs import GRAPH_TYPES, graphs_in

MAX_NODES = 2**17
"""How many nodes a model may have after its functions have taken the places of their calls, and calls until then."""
MAX_NESTING = 28
"""How deep graphs may then lie in each other; protobuf reads no more than some thirty."""
_ENDS_OF_A_NODE = 64  # a node of more inputs and outputs counts as several


def check_functions(model: ir.Model) -> None:
    """Return nothing where the calls of the model's functions fit them and come to an end within reason.

    Raises:
        InvalidModel: functions call each other in a circle, a call has more inputs or outputs than its function, or a
            node in a function reads what no earlier one makes, or nothing makes an output.
        Unsupported: written out, the functions would be more than ``MAX_NODES`` nodes, or graphs inside each other
            more than ``MAX_NESTING`` deep.
    """
    if not model.functions:
        return
    sizes: dict[ir.OperatorIdentifier, _Size] = {}
    for identifier, function in model.functions.items():
        where = f"function {identifier[0]}::{identifier[1]}"
        _check_order(function, function.outputs, set(function.inputs), where)
        _size(identifier, model, sizes)
    total = _graph_size(model.graph, model, sizes)
    if total.nodes > MAX_NODES:
        raise Unsupported(
            f"model: its functions stand for {total.nodes} nodes and calls; at most {MAX_NODES} are written out. "
            "Export the model without functions that call each other over and over."
        )
    if total.depth > MAX_NESTING:
        raise Unsupported(
            f"model: its functions stand for graphs that lie in each other {total.depth} deep; at most {MAX_NESTING} "
            "are read. Export the model without functions that call each other inside of If, Loop or Scan."
        )


def refuse_given_graphs(model: ir.Model) -> None:
    """Return nothing where no graph of a node is one that the call of its function gives.

    Raises:
        Unsupported: one is; onnx-ir walks into what is not there, and copies of what is given have no bound.
    """
    waiting = [model.graph, *(function.graph for function in model.functions.values())]
    while waiting:
        for node in waiting.pop():
            for name, attribute in node.attributes.items():
                if attribute.type in GRAPH_TYPES and attribute.is_ref():
                    raise Unsupported(
                        f"{node.name or node.op_type} ({node.op_type}): attribute {name} stands for a graph that the "
                        "call of a function gives; expected the graph itself. Export the model without that function."
                    )
            waiting.extend(graphs_in(node))


def check_function_opsets(model: ir.Model) -> None:
    """Return nothing where the functions are written in the versions that the model imports.

    Raises:
        Unsupported: one is written in another version.
    """
    for (domain, name, _), function in model.functions.items():
        for imported, version in function.opset_imports.items():
            wanted = model.opset_imports.get(imported, version)
            if wanted != version:
                raise Unsupported(
                    f"function {domain}::{name}: imports version {version} of {imported or 'ai.onnx'}, the model "
                    f"{wanted}; expected one version. Export the model again."
                )


def _check_order(nodes: Iterable[ir.Node], outputs: Iterable[ir.Value], known: set[ir.Value], where: str) -> None:
    """Check nodes that read what is ``known``, which is the same afterwards, and make the outputs."""
    made: list[ir.Value] = []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in known:
                raise InvalidModel(
                    f"{where}: {node.name or node.op_type} ({node.op_type}) reads {value.name!r}, which no earlier "
                    "node makes; expected nodes in order. Export the model again."
                )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                inner = attribute.as_graph()
                own = {*inner.inputs, *inner.initializers.values()} - known
                known |= own
                _check_order(inner, inner.outputs, known, where)
                known -= own
        known.update(node.outputs)
        made.extend(node.outputs)
    for value in outputs:
        if value not in known:
            raise InvalidModel(
                f"{where}: gives {value.name!r}, which none of its nodes makes; expected an output that is made. "
                "Export the model again."
            )
    known.difference_update(made)


class _Size(NamedTuple):
    """What a function or a graph stands for when no call is left."""

    nodes: int
    depth: int


def _graph_size(graph: ir.Graph, model: ir.Model, sizes: dict[ir.OperatorIdentifier, _Size]) -> _Size:
    nodes = depth = 0
    waiting = [(graph, 0)]
    while waiting:
        inner, level = waiting.pop()
        depth = max(depth, level)
        for node in inner:
            size = _node_size(node, model, sizes)
            nodes += size.nodes
            depth = max(depth, level + size.depth)
            waiting.extend((each, level + 1) for each in graphs_in(node))
    return _Size(nodes, depth)


def _node_size(node: ir.Node, model: ir.Model, sizes: dict[ir.OperatorIdentifier, _Size]) -> _Size:
    """Return what a node stands for; a call counts, since functions that hold next to nothing are work as well."""
    function = model.functions.get(node.op_identifier())
    own = 1 + (len(node.inputs) + len(node.outputs)) // _ENDS_OF_A_NODE
    if function is None:
        return _Size(own, 0)
    label = f"{node.name or node.op_type} ({node.op_type})"
    if len(node.inputs) > len(function.inputs) or len(node.outputs) != len(function.outputs):
        raise InvalidModel(
            f"{label}: calls a function of {len(function.inputs)} inputs and {len(function.outputs)} outputs with "
            f"{len(node.inputs)} and {len(node.outputs)}; expected as many. Export it again."
        )
    size = sizes[node.op_identifier()]
    return _Size(own + size.nodes, size.depth)


def _size(start: ir.OperatorIdentifier, model: ir.Model, sizes: dict[ir.OperatorIdentifier, _Size]) -> None:
    """Note how many nodes each function stands for, the called ones first; without recursion, for any depth."""
    waiting, inside = [start], set[ir.OperatorIdentifier]()
    while waiting:
        identifier = waiting[-1]
        function = model.functions[identifier]
        calls = {node.op_identifier() for node in function.all_nodes()} & model.functions.keys()
        open_calls = [called for called in calls if called not in sizes]
        if identifier in sizes or not open_calls:
            if identifier not in sizes:
                sizes[identifier] = _graph_size(function.graph, model, sizes)
            inside.discard(identifier)
            waiting.pop()
            continue
        inside.add(identifier)
        circle = next((called for called in open_calls if called in inside), None)
        if circle is not None:
            raise InvalidModel(
                f"function {circle[0]}::{circle[1]}: calls itself, or functions that call it; expected an end. "
                "Export the model without recursion."
            )
        waiting.extend(open_calls)

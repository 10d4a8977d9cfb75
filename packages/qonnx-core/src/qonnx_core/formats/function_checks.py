"""Checks the functions that a model brings along before they are put in place of their calls."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qonnx_core.errors import InvalidModel, Unsupported

MAX_NODES = 2**17
"""How many nodes a model may have after its functions have taken the places of their calls."""


def check_functions(model: ir.Model) -> None:
    """Return nothing where the calls of the model's functions fit them and come to an end within reason.

    Raises:
        InvalidModel: functions call each other in a circle, a call has more inputs or outputs than its function, or a
            node in a function reads what no earlier one makes.
        Unsupported: written out, the functions would be more than ``MAX_NODES`` nodes.
    """
    if not model.functions:
        return
    sizes: dict[ir.OperatorIdentifier, int] = {}
    for identifier, function in model.functions.items():
        _check_order(function, set(function.inputs), f"function {identifier[0]}::{identifier[1]}")
        _size(identifier, model, sizes)
    total = sum(_node_size(node, model, sizes) for node in model.graph.all_nodes())
    if total > MAX_NODES:
        raise Unsupported(
            f"model: its functions stand for {total} nodes; at most {MAX_NODES} are written out. Export the model "
            "without functions that call each other over and over."
        )


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


def _check_order(nodes: Iterable[ir.Node], known: set[ir.Value], where: str) -> None:
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
                _check_order(inner, known | {*inner.inputs, *inner.initializers.values()}, where)
        known.update(node.outputs)


def _node_size(node: ir.Node, model: ir.Model, sizes: dict[ir.OperatorIdentifier, int]) -> int:
    function = model.functions.get(node.op_identifier())
    if function is None:
        return 1
    label = f"{node.name or node.op_type} ({node.op_type})"
    if len(node.inputs) > len(function.inputs) or len(node.outputs) != len(function.outputs):
        raise InvalidModel(
            f"{label}: calls a function of {len(function.inputs)} inputs and {len(function.outputs)} outputs with "
            f"{len(node.inputs)} and {len(node.outputs)}; expected as many. Export it again."
        )
    return sizes[node.op_identifier()]


def _size(start: ir.OperatorIdentifier, model: ir.Model, sizes: dict[ir.OperatorIdentifier, int]) -> None:
    """Note how many nodes each function stands for, the called ones first; without recursion, for any depth."""
    waiting, inside = [start], set[ir.OperatorIdentifier]()
    while waiting:
        identifier = waiting[-1]
        function = model.functions[identifier]
        calls = {node.op_identifier() for node in function.all_nodes()} & model.functions.keys()
        open_calls = [called for called in calls if called not in sizes]
        if identifier in sizes or not open_calls:
            if identifier not in sizes:
                sizes[identifier] = sum(_node_size(node, model, sizes) for node in function.all_nodes())
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

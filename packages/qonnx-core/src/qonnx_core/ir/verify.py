"""Checks the rules that every graph keeps, and says which node breaks which."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.annotations import get_datatype, get_layout, get_sparsity


def verify(model: ir.Model, *, before_normalization: bool = False) -> None:
    """Return nothing where the model keeps all rules.

    ``before_normalization`` leaves out what only holds in a normalised model (order, operators, annotations).

    Raises:
        InvalidModel: with every rule that is broken, and where.
    """
    found = list(violations(model, before_normalization=before_normalization))
    if found:
        raise InvalidModel("; ".join(found))


def violations(model: ir.Model, *, before_normalization: bool = False) -> Iterator[str]:
    """Yield one sentence for each broken rule."""
    yield from _check_graph(model.graph, set(), model, before_normalization)


def _check_graph(graph: ir.Graph, outer: set[ir.Value], model: ir.Model, raw: bool) -> Iterator[str]:
    names: dict[str, ir.Value] = {}
    defined = set(outer)
    for value in (*graph.inputs, *graph.initializers.values()):
        if value not in defined:
            yield from _check_name(value, names, "an input or initializer")
        defined.add(value)
    for value in graph.initializers.values():
        if value.const_value is None:
            yield f"initializer {value.name}: has no data; expected a tensor. Export the model again"
    every = defined | {output for node in graph for output in node.outputs}
    for node in graph:
        label = f"{node.name or 'node'} ({node.op_type})"
        for index, read in enumerate(node.inputs):
            if read is not None and read not in every:
                yield f"{label}: input {index} reads {read.name!r}, which nothing produces; expected an existing tensor"
            elif read is not None and read not in defined and not raw:
                yield f"{label}: input {index} reads {read.name!r} before it is produced; expected topological order"
        for value in node.outputs:
            if value.name:
                yield from _check_name(value, names, f"output of {label}")
            defined.add(value)
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                yield from _check_graph(attribute.as_graph(), set(every), model, raw)
        if not raw:
            yield from _check_op(node, label, model)
    for value in graph.outputs:
        if value not in defined:
            yield f"graph output {value.name!r}: nothing produces it; expected a tensor of the graph"
    if not raw:
        yield from _check_annotations(defined - outer)


def _check_name(value: ir.Value, names: dict[str, ir.Value], what: str) -> Iterator[str]:
    if not value.name:
        yield f"{what}: has no name; expected one"
    elif names.setdefault(value.name, value) is not value:
        yield f"tensor {value.name!r}: is produced twice; expected one producer"


def _check_op(node: ir.Node, label: str, model: ir.Model) -> Iterator[str]:
    from qonnx_core.ops.registry import op_class_of  # the operators read annotations in turn

    imports = model.opset_imports
    if node.domain and node.domain not in imports:
        yield f"{label}: is of domain {node.domain!r}, which the model does not import; expected an import"
    try:
        found = op_class_of(node, imports)
        if found is not None:
            found.check(node)
    except InvalidModel as error:
        yield str(error)


def _check_annotations(values: set[ir.Value]) -> Iterator[str]:
    for value in sorted(values, key=lambda value: value.name or ""):
        try:
            get_datatype(value)
            get_layout(value)
            get_sparsity(value)
        except InvalidModel as error:
            yield str(error)

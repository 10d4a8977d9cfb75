"""Checks the operators of ours in functions that a model brings along, before anything is put in place of a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.names import label_of
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import graphs_of

# For a function: which attributes of operators take the value of an attribute of the call, by its name.
_Passed = Mapping[str, list[tuple[type[QonnxOp], str]]]


def check_function_operators(model: ir.Model) -> None:
    """Return nothing where operators in functions keep their format, with the attributes that calls give them.

    An attribute that goes through several functions is looked at when these are put in place of their calls. Calls of
    functions of the model say what they compute themselves, in whatever domain.

    Raises:
        InvalidModel: a node breaks the format of its operator; says in which function.
    """
    if not model.functions:
        return
    passed: dict[ir.OperatorIdentifier, _Passed] = {}
    for identifier, function in model.functions.items():
        imports = {**model.opset_imports, **function.opset_imports}
        try:
            nodes = [node for node in function.all_nodes() if node.op_identifier() not in model.functions]
            passed[identifier] = _check_nodes(nodes, function, imports)
        except InvalidModel as error:
            raise InvalidModel(f"function {identifier[0]}::{identifier[1]}: {error}") from error
    calls = [node for graph in graphs_of(model) for node in graph]
    calls += [node for function in model.functions.values() for node in function.all_nodes()]
    for node in calls:
        given = passed.get(node.op_identifier())
        if not given:
            continue
        where = label_of(node)
        for name, readers in given.items():
            attribute = node.attributes.get(name)
            if attribute is None:
                continue
            for reader, field in readers:
                reader.check_attributes(where, {field: attribute})


def _check_nodes(nodes: Iterable[ir.Node], function: ir.Function, imports: dict[str, int]) -> _Passed:
    passed: dict[str, list[tuple[type[QonnxOp], str]]] = {}
    for node in nodes:
        found = op_class_of(node, imports)
        if found is None:
            continue
        references = {name: attribute for name, attribute in node.attributes.items() if attribute.is_ref()}
        if not references:
            found.check(node)
            continue
        where = label_of(node)
        found.check_attributes(where, node.attributes)
        for name, attribute in references.items():
            passed.setdefault(attribute.ref_attr_name or "", []).append((found, name))
            default = function.attributes.get(attribute.ref_attr_name or "")
            if default is not None and default.value is not None:
                found.check_attributes(where, {name: default})
    return passed

"""Adds the definitions of our operators to a model as ONNX functions, so that any ONNX runtime can run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.formats.function_types import forget_types, note_element_types
from qonnx_core.formats.opsets import TARGET_OPSET
from qonnx_core.ops.builder import FunctionBuilder, Operand
from qonnx_core.ops.op import QonnxOp, attribute_type
from qonnx_core.ops.registry import LISTED_ONLY, op_class_of, op_of

_TEXTS_OPSET = 19  # which brought Equal of strings


def add_functions(model: ir.Model) -> ir.Model:
    """Return a copy of the model that carries the function of every operator of ours that it uses.

    Models that GenericPartition nodes name take their places. A file with such functions is read back without them: the
    operators are those of the format, whatever body a file gives them. Runtimes put the bodies into the graph under the
    model's opset, so they are written in that one.

    Raises:
        Unsupported: an operator has no body in the opset of the model; lists the nodes of it.
    """
    from qonnx_core.formats.nested_models import inline_nested_models  # which reads models, and so functions

    copy = model.clone()
    inline_nested_models(copy)
    variants: dict[type[QonnxOp], dict[tuple[tuple[str, str | int], ...], QonnxOp]] = {}
    read: dict[type[QonnxOp], list[ir.Node]] = {}
    graphs = [*copy.graphs(), *(function.graph for function in copy.functions.values())]
    for node in (node for graph in graphs for node in graph):
        op = op_of(node, copy.opset_imports)
        if op is not None:
            variants.setdefault(type(op), {}).setdefault(op.variant(), op)
            read.setdefault(type(op), []).append(node)
    for op_class, found in variants.items():
        function = op_function(op_class, tuple(found[key] for key in sorted(found)))
        copy.functions[function.identifier()] = function
    opset = copy.opset_imports.get("", TARGET_OPSET)
    if opset != TARGET_OPSET:
        from qonnx_core.formats.convert_opset import convert_function  # which reads models, and so functions

        refused = []
        for op_class, found in variants.items():
            texts = _differing_texts(found)
            if texts and opset < _TEXTS_OPSET:
                refused.append(
                    f"{op_class.op_type}: its nodes differ in {', '.join(texts)}, which a definition tells apart from "
                    f"opset {_TEXTS_OPSET} on"
                )
                continue
            key = (op_class.domain, op_class.op_type)
            for function in [function for name, function in copy.functions.items() if name[:2] == key]:
                note_element_types(function, _common_types(read[op_class], len(function.inputs)))
                refused += convert_function(function, opset)
                forget_types(function)
        if refused:
            raise Unsupported(
                f"operators have no definition in opset {opset}, which the model imports; convert it to a newer one "
                "first, or to plain ONNX:",
                refused,
            )
    copy.ir_version = max(copy.ir_version, 9)
    return copy


def _common_types(nodes: Sequence[ir.Node], count: int) -> list[ir.DataType | None]:
    """Return the element type of each input of these nodes, None where it is not known or not the same for all."""
    found = []
    for index in range(count):
        values = (node.inputs[index] if index < len(node.inputs) else None for node in nodes)
        types = {None if value is None else value.dtype for value in values}
        found.append(next(iter(types)) if len(types) == 1 else None)
    return found


def _differing_texts(variants: Iterable[tuple[tuple[str, str | int], ...]]) -> list[str]:
    """Return the names of static attributes that are texts and not the same in all variants."""
    values: dict[str, set[str]] = {}
    for name, value in (setting for variant in variants for setting in variant):
        if isinstance(value, str):
            values.setdefault(name, set()).add(value)
    return sorted(name for name, found in values.items() if len(found) > 1)


def undefined_operators(model: ir.Model) -> tuple[str, ...]:
    """Return one sentence for each node that a stock runtime cannot run even with the functions attached."""
    known = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
    return tuple(
        f"{node.name or node.outputs[0].name} ({node.domain}::{node.op_type}): is defined neither by ONNX nor here"
        for graph in model.graphs()
        for node in graph
        if node.domain not in known
        and node.op_identifier() not in model.functions
        and op_class_of(node, model.opset_imports) is None
        and node.op_type not in LISTED_ONLY
    )


def op_function(op_class: type[QonnxOp], variants: Sequence[QonnxOp]) -> ir.Function:
    """Return the ONNX function of an operator for these settings of its static attributes.

    With one setting the body is plain; with several it compares the static attributes at run time.
    """
    builder = FunctionBuilder()
    inputs = [ir.val(name) for name in op_class.inputs]
    output = _dispatch(builder, variants, inputs)
    if output.producer() is None or output is not builder.nodes[-1].outputs[0]:
        output = builder.node("Identity", [output])[0]
    _name_values(builder.nodes, inputs, "v")
    output.name = op_class.output
    graph = ir.Graph(inputs, [output], nodes=builder.nodes, name=op_class.op_type, opset_imports={"": TARGET_OPSET})
    attributes = [_attribute(field) for field in dataclasses.fields(op_class)]
    return ir.Function(op_class.domain, op_class.op_type, graph=graph, attributes=attributes)


def _attribute(field: dataclasses.Field[object]) -> ir.Attr:
    kind = attribute_type(field)
    if field.default is dataclasses.MISSING or field.default == ():
        return ir.Attr(field.name, ir.AttributeType.UNDEFINED, None)
    default = str(field.default) if kind == ir.AttributeType.STRING else field.default
    return ir.Attr(field.name, kind, int(default) if isinstance(default, bool) else default)


def _dispatch(builder: FunctionBuilder, variants: Sequence[QonnxOp], inputs: list[ir.Value]) -> ir.Value:
    first, *rest = variants
    if not rest:
        return builder.value(first.body(builder, *inputs))
    is_first: Operand | None = None
    for name, setting in first.variant():
        same = _is_setting(builder, name, setting)
        is_first = same if is_first is None else builder.node("And", [is_first, same])[0]
    assert isinstance(is_first, ir.Value)
    branches = {"then_branch": _branch((first,), inputs), "else_branch": _branch(tuple(rest), inputs)}
    return builder.node("If", [is_first], branches)[0]


def _is_setting(builder: FunctionBuilder, name: str, setting: str | int) -> ir.Value:
    """Return whether the attribute of the function has this value.

    Two texts come out of one tensor of both: the reference evaluator of the onnx package compares no others.
    """
    field, kind = ("value_int", "INT") if isinstance(setting, int) else ("value_string", "STRING")
    given = ir.Node("", "Constant", [], [ir.RefAttr(field, name, ir.AttributeType[kind])])
    builder.nodes.append(given)
    if kind == "INT":
        return builder.node("Equal", [given.outputs[0], builder.node("Constant", [], {field: setting})[0]])[0]
    axes = builder.node("Constant", [], {"value_ints": [0]})[0]
    wanted = builder.node("Constant", [], {"value_strings": [setting]})[0]
    both = builder.node("Concat", [builder.node("Unsqueeze", [given.outputs[0], axes])[0], wanted], {"axis": 0})[0]
    pair = builder.node("Split", [both], {"axis": 0, "num_outputs": 2}, outputs=2)
    return builder.node("Squeeze", [builder.node("Equal", pair)[0], axes])[0]


def _branch(variants: Sequence[QonnxOp], inputs: list[ir.Value]) -> ir.Graph:
    builder = FunctionBuilder()
    output = _dispatch(builder, variants, inputs)
    text = "_".join(str(value) for variant in variants for _, value in variant.variant()) or "any"
    _name_values(builder.nodes, inputs, f"{len(variants)}_{text.lower()}")
    return ir.Graph([], [output], nodes=builder.nodes, name=text, opset_imports={"": TARGET_OPSET})


def _name_values(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value], prefix: str) -> None:
    for number, node in enumerate(nodes):
        node.name = f"{prefix}_n{number}"
        for index, value in enumerate(node.outputs):
            value.name = f"{prefix}_{number}_{index}"

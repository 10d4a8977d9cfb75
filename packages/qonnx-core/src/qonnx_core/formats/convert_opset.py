"""Brings a model to the opset that is asked for, older or newer, or says which node has no form there."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.lower_opset import LOWERINGS, Refused, Site
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ir.names import label_of, new_names_apart
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.remove_unused import RemoveUnused

OLDEST_TARGET = 9
_STANDARD = ("", "ai.onnx")
# What an attribute that an older opset does not have may be without a change, where the schema gives no default.
_NEUTRAL = {"dilations": 1, "output_padding": 0, "block_size": 0, "precision": 0, "output_dtype": 0}
# Values of attributes that an operator has only from an opset on.
_NEW_VALUES = {
    ("Pad", "mode", "wrap"): 19,
    ("Resize", "coordinate_transformation_mode", "half_pixel_symmetric"): 19,
    ("ScatterElements", "reduction", "max"): 18,
    ("ScatterElements", "reduction", "min"): 18,
    ("ScatterND", "reduction", "max"): 18,
    ("ScatterND", "reduction", "min"): 18,
    ("DepthToSpace", "mode", "CRD"): 11,
}


def convert_opset(model: ir.Model, target: int) -> ir.Model:
    """Return a copy of the model whose standard operators are those of opset ``target``; it computes the same values.

    Models that others store inside this one (functions, GenericPartition) take their places. Operators of other
    domains stay as they are. The functions of our operators, where they are attached, are converted too.

    Args:
        model: the model; it is not changed.
        target: the opset, from 9 to the newest that the installed onnx package knows.

    Raises:
        InvalidInput: there is no such opset.
        InvalidModel: the model breaks its format.
        Unsupported: nodes have no form in that opset; lists all of them with the reasons.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_TARGET <= target <= newest:
        raise InvalidInput(
            f"opset {target}: is none that can be written; expected {OLDEST_TARGET} to {newest}, the newest that onnx "
            f"{onnx.__version__} knows."
        )
    copy = normalized_copy(model)
    InferShapes().run(copy)
    convert_in_place(copy, target)
    RemoveUnused().run(copy)
    try:
        InferShapes().run(copy)
    except InvalidModel as error:  # it held in the opset that it came in
        raise Unsupported(f"the onnx package does not take the model in opset {target}:", [str(error)]) from error
    return copy


def convert_in_place(model: ir.Model, target: int) -> None:
    """Convert graphs and functions of a normalised model with known element types; see :func:`convert_opset`."""
    refused: list[str] = []
    with new_names_apart(model.graph):
        for graph in list(model.graphs()):
            refused += _convert_graph(graph, model.opset_imports[""], target)
            if "" in graph.opset_imports and graph is not model.graph:
                graph.opset_imports[""] = target
    model.opset_imports[""] = target
    refused += [reason for function in model.functions.values() for reason in convert_function(function, target)]
    if refused:
        raise Unsupported(f"the model has nodes without a form in opset {target}:", refused)


def convert_function(function: ir.Function, target: int) -> list[str]:
    """Convert a function in place; return which of its nodes have no form in that opset, and why."""
    source = function.opset_imports.get("", target)
    refused = []
    with new_names_apart(function.graph):
        for graph in (function.graph, *function.subgraphs()):
            refused += [f"{function.name}, {reason}" for reason in _convert_graph(graph, source, target)]
            graph.opset_imports[""] = target
    function.opset_imports[""] = target
    return refused


def _convert_graph(graph: ir.Graph | ir.Function, source: int, target: int) -> list[str]:
    refused = []
    for node in list(graph):
        if node.domain not in _STANDARD:
            continue
        try:
            _convert_node(node, source, target)
        except Refused as reason:
            refused.append(f"{label_of(node)}: {reason}")
    return refused


def _convert_node(node: ir.Node, source: int, target: int) -> None:
    site = Site(node, source)
    for op_types, before, lower in LOWERINGS:
        if node.op_type in op_types and target < before <= source:
            lower(site, target)
            if node.graph is None:  # others took its place
                return
    _check(node, source, target)


@functools.lru_cache(maxsize=4096)
def _schema(op_type: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None


def _check(node: ir.Node, source: int, target: int) -> None:
    """Drop attributes that say nothing, write out defaults that changed, and refuse what the target does not have."""
    old, new = _schema(node.op_type, source), _schema(node.op_type, target)
    if new is None:
        first = min((version for version in range(1, source + 1) if _schema(node.op_type, version)), default=source)
        raise Refused(f"is new in opset {first}")
    if new.deprecated:
        raise Refused(f"is withdrawn in opset {target}")
    if old is None or old.since_version == new.since_version:
        return
    for name, attribute in list(node.attributes.items()):
        since = _NEW_VALUES.get((node.op_type, name, str(attribute.value)), 0)
        if name not in new.attributes:
            if not _says_nothing(attribute, old):
                raise Refused(f"attribute {name} is {attribute.value!r}, which opset {target} does not have")
            node.attributes.pop(name)
        elif target < since:
            raise Refused(f"attribute {name} is {attribute.value!r}, which is new in opset {since}")
    for name, definition in new.attributes.items():
        before = old.attributes.get(name)
        if name in node.attributes or before is None:
            continue
        default = before.default_value
        if default.name and default != definition.default_value:
            node.attributes[name] = ir.serde.deserialize_attribute(default)
        elif definition.required:
            raise Refused(f"attribute {name} is missing, which opset {target} asks for")
    _check_inputs(node, new, target)


def _says_nothing(attribute: ir.Attr, old: onnx.defs.OpSchema) -> bool:
    if attribute.is_ref():
        return False
    definition = old.attributes.get(attribute.name)
    if definition is not None and definition.default_value.name:
        return bool(ir.serde.deserialize_attribute(definition.default_value).value == attribute.value)
    neutral = _NEUTRAL.get(attribute.name)
    values = attribute.value if isinstance(attribute.value, Sequence) else [attribute.value]
    return neutral is not None and all(value == neutral for value in values)


def _check_inputs(node: ir.Node, schema: onnx.defs.OpSchema, target: int) -> None:
    given = list(node.inputs)
    while given and given[-1] is None:
        given.pop()
    if not schema.min_input <= len(given) <= schema.max_input:
        raise Refused(f"has {len(given)} inputs, opset {target} takes {schema.min_input} to {schema.max_input}")
    if len(given) < len(node.inputs):
        node.resize_inputs(len(given))
    used: dict[str, str] = {}
    for formals, values in ((schema.inputs, node.inputs), (schema.outputs, node.outputs)):
        for index, value in enumerate(values):
            formal = formals[min(index, len(formals) - 1)]
            kind = None if value is None or value.type is None else type_text(value.type)
            if kind is None:
                continue
            if formal.types and kind not in formal.types:
                raise Refused(f"works on {kind}, which opset {target} does not have for it")
            other = used.setdefault(formal.type_str, kind) if formal.is_homogeneous else kind
            if formal.types and other != kind:
                raise Refused(f"works on {other} and {kind}, opset {target} takes one type")


def type_text(kind: ir.TypeProtocol) -> str | None:
    """Return a type as ONNX's schemas write it, or None where the element type is not known."""
    match kind:
        case ir.SequenceType() | ir.OptionalType():
            inner = type_text(kind.elem_type)
            word = "seq" if isinstance(kind, ir.SequenceType) else "optional"
            return None if inner is None else f"{word}({inner})"
        case ir.TensorType() if kind.dtype != ir.DataType.UNDEFINED:
            return f"tensor({kind.dtype.name.lower()})"
    return None

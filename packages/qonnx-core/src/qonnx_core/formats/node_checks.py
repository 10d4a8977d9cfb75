"""Checks nodes of standard ONNX operators against their schemas, so that everything else can rely on them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx.defs
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.names import label_of
from qonnx_core.passes.base import graphs_of

_STANDARD = ("", "ai.onnx")
_ELEMENT_TYPES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")  # attributes that are one each
_KNOWN = frozenset(int(dtype) for dtype in ir.DataType)
_SINGLE, _VARIADIC = "Single", "Variadic"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a version of an operator asks of its nodes."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    needed: tuple[int, ...]  # inputs that cannot be left out by an empty name
    attributes: dict[str, tuple[str, bool]]  # type, and whether a node has to have it


def check_standard_nodes(model: ir.Model) -> None:
    """Return nothing where standard nodes have the inputs, outputs and attribute types of their operator's version.

    Nodes of any operator have an output.
    Operators and versions that the installed ``onnx`` does not know are left to whoever runs them.

    Raises:
        InvalidModel: lists every node that breaks its schema.
    """
    found: list[str] = []
    for nodes, imports in _places(model):
        version = imports.get("", imports.get("ai.onnx", 0))
        for node in nodes:
            if not node.outputs:
                found.append(f"{node.name or node.op_type} ({node.op_type}): has no outputs, so nothing can read it; "
                             "expected at least one. Take it out of the model.")  # fmt: skip
            elif node.domain in _STANDARD:
                rules = _rules(node.op_type, version)
                if rules is not None:
                    found.extend(_broken(node, rules))
    if found:
        raise InvalidModel("; ".join(found))


def _places(model: ir.Model) -> Iterator[tuple[Iterable[ir.Node], dict[str, int]]]:
    for graph in graphs_of(model):
        yield graph, model.opset_imports
    for function in model.functions.values():
        yield function.all_nodes(), function.opset_imports


@functools.lru_cache(maxsize=2048)
def _rules(op_type: str, version: int) -> _Rules | None:
    try:
        schema = onnx.defs.get_schema(op_type, version, "")
    except (onnx.defs.SchemaError, TypeError, ValueError, OverflowError):
        return None
    kinds = [parameter.option.name for parameter in schema.inputs]
    needed = [index for index, kind in enumerate(kinds) if kind == _SINGLE]
    if kinds and kinds[-1] == _VARIADIC:
        needed += range(len(kinds) - 1, schema.min_input)
    return _Rules(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple(needed),
        {name: (attribute.type.name, attribute.required) for name, attribute in schema.attributes.items()},
    )


def _broken(node: ir.Node, rules: _Rules) -> Iterator[str]:
    """Yield a sentence for each rule that the node breaks."""
    for what, count, (least, most) in (
        ("inputs", len(node.inputs), rules.inputs),
        ("outputs", len(node.outputs), rules.outputs),
    ):
        if not least <= count <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            yield f"{label_of(node)}: has {count} {what}; the operator has {expected}. Check the node"
            return
    for index in rules.needed:
        if index < len(node.inputs) and node.inputs[index] is None:
            yield f"{label_of(node)}: input {index} is left out; the operator needs it. Check the node"
            return
    given = node.attributes
    for name, attribute in given.items():
        known = rules.attributes.get(name)
        if known is not None and attribute.type.name != known[0]:
            yield (
                f"{label_of(node)}: attribute {name} is of type {attribute.type.name}; the operator takes {known[0]}. "
                "Export it again"
            )
        elif known is not None and name in _ELEMENT_TYPES and not attribute.is_ref() and attribute.value not in _KNOWN:
            yield f"{label_of(node)}: attribute {name} is {attribute.value}, no element type of ONNX. Export it again"
    for name, (kind, required) in rules.attributes.items():
        if required and name not in given:
            yield f"{label_of(node)}: attribute {name} is missing; the operator needs it ({kind}). Set it"

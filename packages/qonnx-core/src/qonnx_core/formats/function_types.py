"""The element types inside a function, where those of its inputs are known; a function itself is of none."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import onnx
import onnx_ir as ir

from qonnx_core.ir.constants import constant_tensor


def note_element_types(function: ir.Function, inputs: Sequence[ir.DataType | None]) -> None:
    """Note on the values of a function the element types that follow from those of its inputs."""
    for value, dtype in zip(function.inputs, inputs, strict=True):
        if dtype is not None:
            value.dtype = dtype
    _note(function, function.opset_imports.get("", 1))


def forget_types(function: ir.Function) -> None:
    """Leave the values of a function without types and shapes."""
    for value in (*function.inputs, *(value for node in _nodes(function) for value in node.outputs)):
        value.type = value.shape = None


def _nodes(nodes: Iterable[ir.Node]) -> Iterator[ir.Node]:
    for node in nodes:
        yield node
        for attribute in node.attributes.values():
            if not attribute.is_ref() and attribute.type == ir.AttributeType.GRAPH:
                yield from _nodes(attribute.as_graph())


def _note(nodes: Iterable[ir.Node], opset: int) -> None:
    for node in nodes:
        results: list[ir.Value] = []
        for attribute in node.attributes.values():
            if not attribute.is_ref() and attribute.type == ir.AttributeType.GRAPH:
                _note(attribute.as_graph(), opset)
                results = list(attribute.as_graph().outputs)
        for index, output in enumerate(node.outputs):
            dtype = results[index].dtype if results else _given(node, index, opset)
            if output.dtype is None and dtype is not None:
                output.dtype = dtype


def _given(node: ir.Node, index: int, opset: int) -> ir.DataType | None:
    """Return the element type of an output: a constant's, that of a cast, the only one there is, or an input's."""
    if node.op_type == "Constant":
        tensor = constant_tensor(node.outputs[0])
        return None if tensor is None else tensor.dtype
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return None if like is None else like.dtype
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 1))
    schema = _schema(node.op_type, opset)
    if schema is None:
        return None
    formal = schema.outputs[min(index, len(schema.outputs) - 1)]
    if len(formal.types) == 1:
        return _dtype(next(iter(formal.types)))
    for place, value in enumerate(node.inputs):
        read = schema.inputs[min(place, len(schema.inputs) - 1)]
        if value is not None and value.dtype is not None and read.type_str == formal.type_str:
            return value.dtype
    return None


def _dtype(text: str) -> ir.DataType | None:
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    return ir.DataType[name] if name in ir.DataType.__members__ else None


@functools.lru_cache(maxsize=1024)
def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None

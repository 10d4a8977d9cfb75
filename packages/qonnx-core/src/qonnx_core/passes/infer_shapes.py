"""Infers element types and shapes of all values, through our operators as well."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import shape_inference

from qonnx_core.errors import InvalidModel
from qonnx_core.ops.registry import default_registry, op_class_of
from qonnx_core.ops.schemas import register_schemas, schema_name

_SMALL_BYTES = 1024  # tensors up to this size are shown to the inference, because shapes can follow from their values


@dataclass(frozen=True)
class InferShapes:
    """Write onto every value the element type and shape that follow from the inputs.

    What a file said about inner values is not trusted, except behind operators that nobody here knows.
    """

    name: str = "infer_shapes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of values that changed.

        Raises:
            InvalidModel: types or shapes contradict each other.
        """
        register_schemas()
        proto = _skeleton(model)
        try:
            inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
        except (shape_inference.InferenceError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InvalidModel(
                f"model: shapes or types contradict each other: {reason}; expected a graph that fits together. "
                "Check the node named there."
            ) from error
        changed = _merge(model.graph, inferred.graph)
        return changed


def _skeleton(model: ir.Model) -> onnx.ModelProto:
    """Return the model without large tensors: they become inputs of known type and shape."""
    proto = onnx.ModelProto(ir_version=max(model.ir_version or 0, 10))
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for function in model.functions.values():
        ir.serde.serialize_function_into(proto.functions.add(), function)
    graph = proto.graph
    graph.name = model.graph.name or "graph"
    for value in model.graph.inputs:
        _add_info(graph.input.add(), value)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or value.is_graph_input():
            continue
        if tensor.nbytes <= _SMALL_BYTES:
            ir.serde.serialize_tensor_into(graph.initializer.add(), tensor)
            graph.initializer[-1].name = value.name or ""
        else:
            info = graph.input.add(name=value.name or "")
            info.type.tensor_type.elem_type = int(tensor.dtype)
            info.type.tensor_type.shape.SetInParent()
            for dim in tensor.shape:
                info.type.tensor_type.shape.dim.add(dim_value=int(str(dim)))
    for node in model.graph:
        ir.serde.serialize_node_into(graph.node.add(), node)
        _use_schema_names(graph.node[-1], model)
        if _is_opaque(node, model):
            for value in node.outputs:
                if value.type is not None and value.name and not value.is_graph_output():
                    _add_info(graph.value_info.add(), value)
    for value in model.graph.outputs:
        info = graph.output.add(name=value.name or "")
        producer = value.producer()
        if producer is not None and _is_opaque(producer, model):
            info.Clear()
            _add_info(info, value)
    return proto


def _use_schema_names(node: onnx.NodeProto, model: ir.Model) -> None:
    """Give our operators, those of graphs inside the node included, the names under which ``onnx`` knows them."""
    if node.domain not in ("", "ai.onnx"):
        imported = model.opset_imports.get(node.domain)
        found = default_registry().find(node.domain, node.op_type, imported)
        if found is not None:
            node.op_type = schema_name(found)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                _use_schema_names(inner, model)


def _is_opaque(node: ir.Node, model: ir.Model) -> bool:
    """Return whether nothing can be inferred through the node."""
    if node.domain in ("", "ai.onnx", "ai.onnx.ml") or node.op_identifier() in model.functions:
        return False
    return op_class_of(node, model.opset_imports) is None


def _add_info(info: onnx.ValueInfoProto, value: ir.Value) -> None:
    ir.serde.serialize_value_into(info, value)


def _merge(graph: ir.Graph, inferred: onnx.GraphProto) -> int:
    found = {info.name: info for info in (*inferred.value_info, *inferred.output)}
    changed = 0
    for value in _values(graph):
        info = found.get(value.name or "")
        if info is not None and info.type.HasField("tensor_type"):
            changed += _update(value, info)
    by_name = {node.output[0]: node for node in inferred.node if node.output}
    for node in graph:
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                twin = by_name[node.outputs[0].name or ""]
                inner = next(other.g for other in twin.attribute if other.name == name)
                changed += _merge(attribute.as_graph(), inner)
    return changed


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]


def _update(value: ir.Value, info: onnx.ValueInfoProto) -> int:
    kind = ir.serde.deserialize_type_proto_for_type(info.type)
    shape = ir.serde.deserialize_type_proto_for_shape(info.type)
    changed = 0
    if kind is not None and kind.dtype != ir.DataType.UNDEFINED and kind != value.type:
        value.type = kind
        changed = 1
    if shape is not None and shape != value.shape:
        value.shape = shape
        changed = 1
    return changed

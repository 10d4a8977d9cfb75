"""Lets tensors read their data in the model's folder, wherever in the model they are."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.graphs import graphs_in

T = TypeVar("T", ir.TensorProtocol, ir.TensorProtocol | None)


def attach_external_data(model: ir.Model, folder: Path) -> None:
    """Let external tensors read in this folder, in place; their locations have been checked.

    Parameters of the main graph stay on disk until they are used. All others (in attributes, inner graphs and
    functions) become tensors of the model, mapped from their file: writing and running know external parameters alone.

    Raises:
        InvalidModel: a file cannot be read.
    """
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = folder
            if not tensor.size:
                value.const_value = _mapped(tensor, folder)  # onnx-ir finds no bytes of it
    bodies: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
    for graph in bodies:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            for inner in graphs_in(node):
                for value in inner.initializers.values():
                    value.const_value = _mapped(value.const_value, folder)
            for name, attribute in list(node.attributes.items()):
                if attribute.is_ref():
                    continue
                if attribute.type == ir.AttributeType.TENSOR:
                    if isinstance(tensor := attribute.as_tensor(), ir.ExternalTensor):
                        node.attributes[name] = ir.AttrTensor(name, _mapped(tensor, folder), attribute.doc_string)
                elif attribute.type == ir.AttributeType.TENSORS:
                    tensors = [_mapped(tensor, folder) for tensor in attribute.as_tensors()]
                    node.attributes[name] = ir.AttrTensors(name, tensors, attribute.doc_string)


def _mapped(tensor: T, folder: Path) -> ir.TensorProtocol | T:
    """Return an external tensor as one of the model, and any other as it is."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    tensor.base_dir = folder
    try:
        array = tensor.numpy()
    except OSError as error:
        raise InvalidModel(
            f"tensor {tensor.name}: its data file {str(tensor.location)!r} cannot be read ({error.strerror}); expected "
            "it beside the model. Check its permissions."
        ) from error
    return ir.Tensor(array, dtype=tensor.dtype, shape=tensor.shape, name=tensor.name, doc_string=tensor.doc_string)

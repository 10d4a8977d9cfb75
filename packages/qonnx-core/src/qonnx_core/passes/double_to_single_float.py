"""Makes a model of double precision one of single precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.passes.base import graphs_of, is_standard

_DOUBLE, _FLOAT = ir.DataType.DOUBLE, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


@dataclass(frozen=True)
class DoubleToSingleFloat:
    """Every float64 tensor becomes float32: constants are rounded, so the values of the model change.

    Constants, inputs, outputs and conversions to float64 alike, in graphs inside nodes too, so that the model stays
    consistent. Numbers beyond the range of float32 become infinite, as in any conversion.
    """

    name: str = "double_to_single_float"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of tensors and attributes that changed."""
        changed = 0
        for graph in graphs_of(model):
            for value in graph.initializers.values():
                if value.const_value is not None and value.const_value.dtype == _DOUBLE:
                    value.const_value = _single(value.const_value)
            values = [*graph.inputs, *graph.initializers.values()]
            for node in graph:
                values += node.outputs
                changed += _change_attributes(node)
            for value in values:
                if value.type is not None and value.dtype == _DOUBLE:
                    value.type = _single_type(value.type)  # a new one: copies of the model share the old
                    changed += 1
        return changed


def _single_type(kind: ir.TypeProtocol) -> ir.TypeProtocol:
    """Return the type of a tensor, or of a sequence or option of them, with float32 elements."""
    if isinstance(kind, ir.SequenceType):
        return ir.SequenceType(_single_type(kind.elem_type), denotation=kind.denotation)
    if isinstance(kind, ir.OptionalType):
        return ir.OptionalType(_single_type(kind.elem_type), denotation=kind.denotation)
    return type(kind)(_FLOAT, denotation=kind.denotation)  # type: ignore[call-arg]


def _change_attributes(node: ir.Node) -> int:
    changed = 0
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == _DOUBLE:
            node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
            changed += 1
        elif name in _TYPE_ATTRIBUTES and is_standard(node) and attribute.value == int(_DOUBLE):
            node.attributes[name] = ir.AttrInt64(name, int(_FLOAT))
            changed += 1
    return changed


def _single(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)

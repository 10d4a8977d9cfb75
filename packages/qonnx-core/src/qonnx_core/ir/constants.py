"""What is known about values before the model runs: constants, element types, static shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_CONSTANT_ATTRIBUTES = ("value", "value_int", "value_ints", "value_float", "value_floats")


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor behind an initializer or a Constant node, or None where the value is not known.

    A graph input with an initializer counts as a parameter of the model, as in all QONNX tools.
    """
    if value is None:
        return None
    if value.is_initializer() and value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is not None and node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
        for name in _CONSTANT_ATTRIBUTES:
            attribute = node.attributes.get(name)
            if attribute is not None and not attribute.is_ref():
                return attribute.value if name == "value" else _plain(name, attribute)
    return None


def _plain(name: str, attribute: ir.Attr) -> ir.TensorProtocol:
    dtype = np.int64 if "int" in name else np.float32
    return ir.tensor(np.asarray(attribute.value, dtype=dtype))


def constant_array(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return the array behind an initializer or a Constant node, or None where the value is not known."""
    tensor = constant_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def static_shape(value: ir.Value) -> tuple[int, ...] | None:
    """Return the shape where every dimension is a number, else None."""
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return tuple(int(dim) for dim in value.shape if isinstance(dim, int))

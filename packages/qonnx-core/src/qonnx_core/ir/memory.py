"""Where large tensors are: on pages of their own, which go back to the system when the tensor goes."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_FROM_BYTES = 2**18  # smaller arrays are on the heap: a mapping takes whole pages and a call of the system
_LARGE_MODEL_BYTES = 2**24


def on_pages(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a new array of zeros; a large one is on pages of its own, not on the heap.

    On the heap, large arrays that live long keep the memory of what was freed between them from going back.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _FROM_BYTES:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def own_tensors(model: ir.Model) -> int:
    """Copy the tensors of a large model out of the file's message, so that this can be freed; return how many.

    Only the main graph is looked at: one tensor that still reads from the message keeps all of it.
    """
    stored = [value for value in model.graph.initializers.values() if _is_plain(value.const_value)]
    if sum(value.const_value.nbytes for value in stored if value.const_value is not None) < _LARGE_MODEL_BYTES:
        return 0
    for value in stored:
        assert value.const_value is not None
        value.const_value = _owned(value.const_value)
    attributes = [
        (node, name, attribute)
        for node in model.graph
        for name, attribute in node.attributes.items()
        if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref() and _is_plain(attribute.as_tensor())
    ]
    for node, name, attribute in attributes:
        node.attributes[name] = ir.AttrTensor(name, _owned(attribute.as_tensor()), attribute.doc_string)
    return len(stored) + len(attributes)


def _is_plain(tensor: ir.TensorProtocol | None) -> bool:
    return isinstance(tensor, ir.serde.TensorProtoTensor) and tensor.dtype.numpy().kind in "fiub"


def _owned(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    array = np.asarray(tensor.numpy())
    copy = on_pages(array.shape, array.dtype)
    copy[...] = array
    return ir.Tensor(copy, dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def give_back() -> None:
    """Let the C library return freed memory to the system; it matters after large models, and only glibc has it."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found

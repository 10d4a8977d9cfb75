"""Lets Brevitas' quantized tensors pass through ``torch.export`` with real metadata.

An ``IntQuantTensor`` is a value with a scale, a zero point, a bit width and a sign. While a model is traced, its values
are symbolic, but Brevitas takes decisions on the metadata (are the two scales of an addition close enough?). So the
metadata stays real: it is held in a tensor type whose arithmetic leaves the tracer aside. Every check that Brevitas
makes is made, on the true numbers, and none of it ends up in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes


class Metadata(Tensor):  # type: ignore[misc]
    """A real tensor that no tracer sees, as long as it meets only its like."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute for real where every operand is real; hand the plain tensors to the tracer where one is not."""
        leaves, structure = pytree.tree_flatten((args, kwargs or {}))
        leaves = [plain(leaf) for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(leaves, structure)
        with torch._C.DisableTorchFunctionSubclass():
            if any(_is_traced(leaf) for leaf in leaves):
                return func(*args, **kwargs)
            with _disable_current_modes():
                result = func(*args, **kwargs)
        return pytree.tree_map_only(Tensor, as_metadata, result)


def plain(leaf: Any) -> Any:
    """Return a `Metadata` as the plain tensor that it is, anything else unchanged."""
    if isinstance(leaf, Metadata):
        with torch._C.DisableTorchFunctionSubclass():
            return leaf.as_subclass(Tensor)
    return leaf


def as_metadata(number: Any) -> Tensor:
    """Return a real tensor or a number as `Metadata`; a symbolic tensor unchanged."""
    if isinstance(number, Metadata) or (isinstance(number, Tensor) and _is_traced(number)):
        return number
    with _disable_current_modes():
        return torch.as_tensor(number).as_subclass(Metadata)


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, Tensor) and torch._is_functional_tensor(leaf))


@contextmanager
def real_metadata() -> Iterator[None]:
    """Make every ``IntQuantTensor`` created inside hold its metadata as `Metadata`."""
    original = IntQuantTensor.__new__

    def create(
        cls: Any, value: Any, scale: Any, zero_point: Any, bit_width: Any, signed: Any, training: Any
    ) -> IntQuantTensor:
        metadata = (as_metadata(each) for each in (scale, zero_point, bit_width, signed, training))
        return original(cls, value, *metadata)

    IntQuantTensor.__new__ = create
    try:
        yield
    finally:
        IntQuantTensor.__new__ = original

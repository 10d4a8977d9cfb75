"""The example call of a model: which of its arguments become inputs of the graph, and what they are called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from brevitas.quant_tensor import IntQuantTensor, QuantTensor
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from qonnx_core.errors import InvalidInput, Unsupported


@dataclass(frozen=True)
class ExampleCall:
    """A call of a model with example arguments; ``tensors`` are those that become graph inputs, ``names`` theirs."""

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]
    leaves: tuple[Any, ...]
    structure: Any

    @staticmethod
    def of(model: nn.Module, args: Any, kwargs: Mapping[str, Any] | None = None) -> ExampleCall:
        """Return the call ``model(*args, **kwargs)``.

        Args:
            model: the model.
            args: one tensor (or ``QuantTensor``), or the positional arguments as a tuple or list, whose last entry may
                be a dictionary of keyword arguments.
            kwargs: keyword arguments.

        Raises:
            InvalidInput: the arguments do not fit ``model.forward``, or hold no tensor.
            Unsupported: an argument is a quantized tensor other than an integer one.
        """
        named = dict(kwargs or {})
        is_one = isinstance(args, Tensor | QuantTensor) or not isinstance(args, tuple | list)
        positional = [args] if is_one else list(args)
        if positional and isinstance(positional[-1], dict) and not named:
            named = positional.pop()
        try:
            bound = inspect.signature(model.forward).bind(*positional, **named)
        except TypeError as error:
            raise InvalidInput(
                f"{type(model).__name__}.forward: the example arguments do not fit: {error}; expected arguments with "
                "which the model can be called. Give args= as one tensor or a tuple."
            ) from error
        leaves, structure = pytree.tree_flatten((tuple(positional), named), is_leaf=_is_leaf)
        names = _names(bound)
        tensors, tensor_names = [], []
        for leaf, name in zip(leaves, names, strict=True):
            if isinstance(leaf, QuantTensor) and not isinstance(leaf, IntQuantTensor):
                raise Unsupported(
                    f"{type(model).__name__}.forward, argument {name}: a {type(leaf).__name__}; expected a tensor or "
                    "an IntQuantTensor. Give its value as a plain tensor."
                )
            value = leaf.value if isinstance(leaf, IntQuantTensor) else leaf
            if isinstance(value, Tensor):
                tensors.append(value.detach())
                tensor_names.append(name)
        if not tensors:
            raise InvalidInput(
                f"{type(model).__name__}.forward: the example arguments hold no tensor; expected at least one, which "
                "becomes the graph's input. Give args= as a tensor such as torch.zeros(1, 784)."
            )
        return ExampleCall(tuple(tensors), tuple(tensor_names), tuple(leaves), structure)

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments with ``tensors`` in place of the example's."""
        args, kwargs = pytree.tree_unflatten(self._leaves_with(tensors), self.structure)
        return args, kwargs

    def with_batch_of_two(self) -> ExampleCall:
        """Return the call with each tensor of batch 1 doubled: a tracer takes a dimension of 1 for a constant."""
        doubled = tuple(torch.cat([each, each]) if each.dim() and each.shape[0] == 1 else each for each in self.tensors)
        return replace(self, tensors=doubled, leaves=tuple(self._leaves_with(doubled)))

    def _leaves_with(self, tensors: Sequence[Tensor]) -> Iterator[Any]:
        remaining = iter(tensors)
        for leaf in self.leaves:
            if isinstance(leaf, IntQuantTensor):
                yield IntQuantTensor(next(remaining), *leaf[1:])
            else:
                yield next(remaining) if isinstance(leaf, Tensor) else leaf


def output_tensors(output: Any) -> list[tuple[str, Tensor]]:
    """Return the tensors of a model's output with the names that its structure gives them ("" for a single one).

    Raises:
        Unsupported: something else than tensors, quantized tensors, tuples, lists and dictionaries of them.
    """
    if isinstance(output, QuantTensor):
        output = output.value
    if isinstance(output, Tensor):
        return [("", output)]
    if isinstance(output, Mapping):
        return [(_joined(str(key), name), each) for key, part in output.items() for name, each in output_tensors(part)]
    if isinstance(output, tuple | list):
        parts = enumerate(output)
        return [(_joined(str(key), name), each) for key, part in parts for name, each in output_tensors(part)]
    raise Unsupported(
        f"the model returns a {type(output).__name__}; expected tensors, or tuples, lists or dictionaries of them. "
        "Wrap the model in a module that returns the tensors."
    )


def _joined(first: str, rest: str) -> str:
    return f"{first}_{rest}" if rest else first


def _is_leaf(value: Any) -> bool:
    return isinstance(value, QuantTensor)


def _names(bound: inspect.BoundArguments) -> list[str]:
    """Return one name for each leaf of the arguments: the parameter's, with the place in it where it holds several."""
    names: list[str] = []
    for parameter, value in bound.arguments.items():
        kind = bound.signature.parameters[parameter].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            for key, each in value.items():
                names += _numbered(key, each)
        elif kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1:
            names += _numbered(parameter, value[0])
        else:
            names += _numbered(parameter, value)
    return names


def _numbered(name: str, value: Any) -> list[str]:
    count = len(pytree.tree_leaves(value, is_leaf=_is_leaf))
    return [name] if count == 1 else [f"{name}_{index}" for index in range(count)]

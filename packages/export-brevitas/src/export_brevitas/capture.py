"""Runs a model twice, once for real and once under ``torch.export``, and returns the program of the second run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from export_brevitas.handlers import Handlers, annotate_failure
from export_brevitas.metadata import real_metadata
from export_brevitas.quiet import quiet
from export_brevitas.signature import ExampleCall, output_tensors
from qonnx_core.errors import InvalidInput

# What the tracer and the code under it raise. QonnxError is none of these and passes through.
_FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    NotImplementedError,
    ArithmeticError,
)


@dataclass(frozen=True)
class Program:
    """A traced model: the exported program, and what the graph's outputs are called by the model's own structure."""

    exported: torch.export.ExportedProgram
    output_names: tuple[str, ...]


class Traced(nn.Module):  # type: ignore[misc]
    """The model as a function of its input tensors alone, returning a flat tuple of tensors."""

    def __init__(self, model: nn.Module, call: ExampleCall, handlers: Handlers) -> None:
        super().__init__()
        self.model = model
        self._call = call
        self._handlers = handlers

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the model's output tensors in order."""
        self._handlers.rewind()
        args, kwargs = self._call.arguments(tensors)
        return tuple(each for _, each in output_tensors(self.model(*args, **kwargs)))


def capture(model: nn.Module, call: ExampleCall, handlers: Handlers, *, dynamic_batch: bool) -> Program:
    """Return the traced program of ``model``, whose quantizers ``handlers`` stand in for. To be run in evaluation mode.

    Raises:
        InvalidInput: the model cannot be called with the example arguments.
        Unsupported: the model cannot be traced; names the module.
    """
    path = _Path(model)
    with path.followed(), quiet():
        try:
            args, kwargs = call.arguments(call.tensors)
            output = model(*args, **kwargs)
        except _FAILURES as error:
            raise InvalidInput(
                f"{path}: the model's own forward pass fails on the example: {type(error).__name__}: {error}; "
                "expected an input that the model accepts in evaluation mode. Try model.eval() and call it yourself."
            ) from error
    names = tuple(name for name, _ in output_tensors(output))
    handlers.start_tracing()
    with path.followed(), real_metadata(), quiet():
        try:
            exported = torch.export.export(
                Traced(model, call, handlers),
                call.tensors,
                dynamic_shapes=(_dynamic_shapes(call.tensors),) if dynamic_batch else None,
                strict=False,
            )
        except _FAILURES as error:
            way_out = "Keep decisions on values of tensors out of forward()"
            way_out += ", or export with dynamic_batch=False if the batch size is fixed." if dynamic_batch else "."
            raise annotate_failure(error, str(path), "tracing it", way_out) from error
    return Program(exported, names)


def _dynamic_shapes(tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Return the first dimension of every input as one symbol, where it is that of the first input."""
    batch = torch.export.Dim("batch")
    size = tensors[0].shape[0] if tensors[0].dim() else None
    return tuple({0: batch} if each.dim() and each.shape[0] == size else None for each in tensors)


class _Path:
    """Where in the model the forward pass is, for messages; stays where it was when something fails.

    The tracer wraps modules in objects of its own, which share the dictionary of attributes with the module.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module.__dict__): name for name, module in model.named_modules()}
        self._kinds = {id(module.__dict__): type(module).__name__ for module in model.modules()}
        self._root = type(model).__name__
        self._stack: list[nn.Module] = []

    @contextmanager
    def followed(self) -> Iterator[None]:
        self._stack.clear()
        hooks = [
            torch_module.register_module_forward_pre_hook(lambda module, _: self._enter(module)),
            torch_module.register_module_forward_hook(lambda module, _, __: self._leave(module)),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: nn.Module) -> None:
        if id(module.__dict__) in self._names:
            self._stack.append(module)

    def _leave(self, module: nn.Module) -> None:
        if self._stack and self._stack[-1].__dict__ is module.__dict__:
            self._stack.pop()

    def __str__(self) -> str:
        if not self._stack:
            return self._root
        module = self._stack[-1]
        return f"{self._names[id(module.__dict__)] or self._root} ({self._kinds[id(module.__dict__)]})"

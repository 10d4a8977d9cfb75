"""Leaves a model as it was found, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Dictionaries of a module that are filled and emptied in place.
_REGISTRIES = (
    "_parameters",
    "_buffers",
    "_modules",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
)


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put back every attribute, registry and buffer value of every submodule, and torch's random state, at the end.

    Training flags (each module's own), export handlers and caches are attributes, so they are put back too.
    """
    modules = list(dict.fromkeys(model.modules()))
    attributes = [dict(module.__dict__) for module in modules]
    registries = [{key: dict(module.__dict__[key]) for key in _REGISTRIES} for module in modules]
    buffers: list[tuple[Tensor, Tensor]] = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, attribute, registry in zip(modules, attributes, registries, strict=True):
                _put_back(module.__dict__, attribute)
                for key, entries in registry.items():
                    _put_back(module.__dict__[key], entries)
            with torch.no_grad():
                for buffer, value in buffers:
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


def _put_back(live: dict[str, Any], saved: dict[str, Any]) -> None:
    """Make ``live`` hold what ``saved`` holds; a dictionary that did not change is not touched."""
    if len(live) != len(saved) or any(key not in live or live[key] is not value for key, value in saved.items()):
        live.clear()
        live.update(saved)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run what is inside in evaluation mode without gradients, then leave the model as it was."""
    with preserved(model), torch.no_grad():
        model.eval()
        yield

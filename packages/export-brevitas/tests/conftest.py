"""What the tests of this package share: one thread, seeded layers, and looking into an exported graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

import qonnx_core
from export_brevitas import check_of, export_qonnx


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def calibrated(model: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """Return the model in evaluation mode after a few forward passes that set its activation scales."""
    model.train()
    for _ in range(3):
        model(*inputs)
    return model.eval()


class Exported:
    """An exported model with what a test asks of it."""

    def __init__(self, model: nn.Module, args: Any, **options: Any) -> None:
        self.model = model
        self.onnx = export_qonnx(model, args, **options)
        self.check = check_of(self.onnx)

    @property
    def op_types(self) -> list[str]:
        return [node.op_type for node in self.onnx.graph]

    @property
    def node_names(self) -> list[str]:
        return [str(node.name) for node in self.onnx.graph]

    def node(self, name: str) -> ir.Node:
        return next(node for node in self.onnx.graph if node.name == name)

    def constant(self, name: str) -> np.ndarray:
        return np.asarray(self.onnx.graph.initializers[name].const_value.numpy())

    def tensor(self, node: str, x: torch.Tensor) -> np.ndarray:
        """Return what a node computes from the model's input."""
        name = str(self.node(node).outputs[0].name)
        inputs = {str(self.onnx.graph.inputs[0].name): x.detach().numpy()}
        return qonnx_core.compile_model(self.onnx).run(inputs, intermediates=[name])[name]


@pytest.fixture
def exported() -> Callable[..., Exported]:
    """Return a function that exports a model on an example (after calibration, if asked) and checks the export."""

    def export(model: nn.Module, example: Any, *, calibrate: bool = True, **options: Any) -> Exported:
        inputs = example if isinstance(example, tuple) else (example,)
        result = Exported(calibrated(model, *inputs) if calibrate else model, example, **options)
        if options.get("verify", True):
            assert result.check is not None
            assert result.check.mismatch == result.check.boundary == 0, str(result.check)
        return result

    return export

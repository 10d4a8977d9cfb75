"""Bias quantizers, with scales of their own or of the accumulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from brevitas.nn import QuantIdentity, QuantLinear
from brevitas.quant import (
    Int8Bias,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFloat,
    Int16Bias,
    Int32Bias,
)
from torch import nn

from qonnx_core.errors import InvalidInput

X = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, *, quantized_input: bool = True, **options: Any) -> None:
        super().__init__()
        self.inp = QuantIdentity(return_quant_tensor=True) if quantized_input else nn.Identity()
        self.fc1 = QuantLinear(12, 7, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc1(self.inp(x))


def watched_bias(model: Net) -> np.ndarray:
    """Return the bias as the layer adds it."""
    seen = []
    hook = model.fc1.bias_quant.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        model(X)
    hook.remove()
    return (seen[0].value if hasattr(seen[0], "value") else seen[0]).numpy()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("quantizer", [Int8Bias, Int16Bias, Int32Bias, Int8BiasPerTensorFloatInternalScaling])
def test_a_quantized_bias_is_the_one_that_is_added(exported: Any, quantizer: type, per_channel: bool) -> None:
    options = {"weight_quant": Int8WeightPerChannelFloat} if per_channel else {}
    model = Net(bias_quant=quantizer, **options)
    result = exported(model, X)
    assert np.array_equal(result.tensor("fc1.bias_quant", X), watched_bias(model))
    assert np.array_equal(result.constant("fc1.bias"), model.fc1.bias.detach().numpy())


def test_a_float_bias_is_an_input_of_the_gemm(exported: Any) -> None:
    result = exported(Net(), X)
    assert [value.name for value in result.node("fc1").inputs][2] == "fc1.bias"


def test_a_layer_without_bias_has_none(exported: Any) -> None:
    assert len(exported(Net(bias=False), X).node("fc1").inputs) == 2


def test_a_bias_with_its_own_scale_needs_no_quantized_input(exported: Any) -> None:
    result = exported(Net(quantized_input=False, bias_quant=Int8BiasPerTensorFloatInternalScaling), X)
    assert "fc1.bias_quant" in result.node_names


def test_a_model_that_cannot_be_run_is_named(exported: Any) -> None:
    model = Net(quantized_input=False, bias_quant=Int8Bias)
    with pytest.raises(InvalidInput, match=r"fc1\.bias_quant .*own forward pass fails.*Input scale required"):
        exported(model, X, calibrate=False)

"""Weight quantizers: every one exactly, or from its own results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from brevitas.inject.enum import FloatToIntImplType, QuantType, RestrictValueType
from brevitas.nn import QuantIdentity, QuantLinear
from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, ShiftedUint8WeightPerTensorFloat
from brevitas.quant.binary import SignedBinaryWeightPerTensorConst
from brevitas.quant.ternary import SignedTernaryWeightPerTensorConst
from torch import nn

X = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc1 = QuantLinear(12, 7, bias=False, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc1(x)


class PowerOfTwo(Int8WeightPerTensorFloat):
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO


class PowerOfTwoPerChannel(Int8WeightPerChannelFloat):
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO


class Binary(SignedBinaryWeightPerTensorConst):
    scaling_init = 0.1


class Ternary(SignedTernaryWeightPerTensorConst):
    scaling_init = 0.2


class TernaryByThreshold(SignedTernaryWeightPerTensorConst):
    quant_type = QuantType.TERNARY
    threshold = 0.5
    scaling_init = 0.2


class TernaryAt80(TernaryByThreshold):
    threshold = 0.8


class TernaryAt30(TernaryByThreshold):
    threshold = 0.3


def quantized(model: Net) -> np.ndarray:
    return model.fc1.quant_weight().value.detach().numpy()


@pytest.mark.parametrize(
    ("bits", "narrow", "per_channel"),
    [(bits, narrow, (bits % 2 == 0) == narrow) for bits in range(2, 9) for narrow in (False, True)],
)
def test_integer_weights_keep_their_float_values(exported: Any, bits: int, narrow: bool, per_channel: bool) -> None:
    quantizer = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat
    model = Net(weight_quant=quantizer, weight_bit_width=bits, weight_narrow_range=narrow)
    result = exported(model, X)
    assert np.array_equal(result.tensor("fc1.weight_quant", X), quantized(model))
    assert np.array_equal(result.constant("fc1.weight"), model.fc1.weight.detach().numpy())
    attributes = result.node("fc1.weight_quant").attributes
    assert (attributes["signed"].as_int(), attributes["narrow"].as_int()) == (1, int(narrow))
    assert result.constant("fc1.weight_quant.bit_width") == bits
    assert result.constant("fc1.weight_quant.scale").shape == ((7, 1) if per_channel else ())


@pytest.mark.parametrize("quantizer", [PowerOfTwo, PowerOfTwoPerChannel])
def test_power_of_two_scales_give_equal_outputs_on_a_grid(exported: Any, quantizer: type) -> None:
    model = Net(weight_quant=quantizer, weight_bit_width=4)
    x = torch.randint(-8, 8, (40, 12), generator=torch.Generator().manual_seed(2)).float() / 4
    result = exported(model, X, verify_inputs=x)
    assert np.array_equal(result.tensor("fc1", x), model(x).detach().numpy())


@pytest.mark.parametrize(
    ("quantizer", "operator", "is_baked"),
    [
        (Binary, "BipolarQuant", False),
        (Ternary, "Quant", False),
        (TernaryByThreshold, "Quant", False),
        (TernaryAt80, "Quant", True),
        (TernaryAt30, "Quant", True),
        (ShiftedUint8WeightPerTensorFloat, "Quant", False),
    ],
)
def test_other_weights_are_what_the_layer_computes_with(
    exported: Any, quantizer: type, operator: str, is_baked: bool
) -> None:
    model = Net(weight_quant=quantizer)
    result = exported(model, X)
    assert result.op_types == [operator, "Gemm"]
    assert np.array_equal(result.tensor("fc1.weight_quant", X), quantized(model))
    trained = model.fc1.weight.detach().numpy()
    assert np.array_equal(result.constant("fc1.weight"), quantized(model) if is_baked else trained)


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "ROUND_TO_ZERO"])
def test_weights_rounded_in_another_way_are_written_as_their_results(exported: Any, mode: str) -> None:
    model = Net(weight_bit_width=4, weight_float_to_int_impl_type=FloatToIntImplType(mode))
    result = exported(model, X)
    assert result.node("fc1.weight_quant").attributes["rounding_mode"].as_string() == "ROUND"
    assert np.array_equal(result.constant("fc1.weight"), quantized(model))
    assert np.array_equal(result.tensor("fc1.weight_quant", X), quantized(model))


def test_a_rounding_mode_that_differs_in_no_weight_keeps_the_float_values(exported: Any) -> None:
    model = Net(weight_bit_width=4, weight_float_to_int_impl_type=FloatToIntImplType.DPU)  # other ties only
    result = exported(model, X)
    assert np.array_equal(result.constant("fc1.weight"), model.fc1.weight.detach().numpy())
    assert np.array_equal(result.tensor("fc1.weight_quant", X), quantized(model))


def test_baking_is_an_option(exported: Any) -> None:
    model = Net(weight_bit_width=3)
    result = exported(model, X, bake_weights=True)
    assert np.array_equal(result.constant("fc1.weight"), quantized(model))


def test_a_quantizer_that_two_layers_share_is_written_once(exported: Any) -> None:
    first = QuantLinear(12, 12, bias=False, weight_bit_width=3)
    second = QuantLinear(12, 12, bias=False, weight_quant=first.weight_quant)
    result = exported(nn.Sequential(QuantIdentity(), first, second), X)
    assert {"1.weight", "2.weight"} <= set(result.onnx.graph.initializers)
    scales = [name for name in result.onnx.graph.initializers if name.endswith("weight_quant.scale")]
    assert len(scales) == 1


def test_a_layer_without_weight_quantizer_stays_float(exported: Any) -> None:
    assert exported(Net(weight_quant=None), X).op_types == ["Gemm"]

"""Activation quantizers: equal on ties, at the ends of the range and beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from brevitas.inject.enum import QuantType, RestrictValueType
from brevitas.nn import QuantHardTanh, QuantIdentity, QuantReLU, QuantSigmoid, QuantTanh
from brevitas.quant import (
    Int8ActPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    Uint8ActPerTensorFloat,
)
from brevitas.quant.binary import SignedBinaryActPerTensorConst
from brevitas.quant.ternary import SignedTernaryActPerTensorConst
from torch import nn

from qonnx_core.errors import Unsupported

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)) * 1.5


class PowerOfTwo(Int8ActPerTensorFloat):
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO


class TernaryByThreshold(SignedTernaryActPerTensorConst):
    quant_type = QuantType.TERNARY
    threshold = 0.5
    scaling_init = 0.75
    min_val = -1.0
    max_val = 1.0


class TernaryAt55(TernaryByThreshold):
    threshold = 0.55


PER_CHANNEL = {
    "scaling_per_output_channel": True,
    "per_channel_broadcastable_shape": (1, 8),
    "scaling_stats_permute_dims": (1, 0),
}
CASES = {
    "identity": (lambda: QuantIdentity(), ["Quant"]),
    "identity of 3 bits, narrow": (lambda: QuantIdentity(bit_width=3, narrow_range=True), ["Quant"]),
    "identity, power of two": (lambda: QuantIdentity(act_quant=PowerOfTwo, bit_width=4), ["Quant"]),
    "identity, per channel": (lambda: QuantIdentity(**PER_CHANNEL), ["Quant"]),
    "identity, asymmetric": (lambda: QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat), ["Quant"]),
    "identity, asymmetric of 3 bits": (
        lambda: QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat, bit_width=3),
        ["Quant"],
    ),
    "relu": (lambda: QuantReLU(), ["Relu", "Quant"]),
    "relu of 1 bit": (lambda: QuantReLU(bit_width=1), ["Relu", "Quant"]),
    "relu of 2 bits": (lambda: QuantReLU(bit_width=2), ["Relu", "Quant"]),
    "relu, per channel": (lambda: QuantReLU(bit_width=4, **PER_CHANNEL), ["Relu", "Quant"]),
    "hard tanh": (lambda: QuantHardTanh(min_val=-1.0, max_val=1.0), ["Quant"]),
    "hard tanh, narrow": (
        lambda: QuantHardTanh(bit_width=3, narrow_range=True, min_val=-2.0, max_val=2.0),
        ["Quant"],
    ),
    "hard tanh, unsigned": (
        lambda: QuantHardTanh(act_quant=Uint8ActPerTensorFloat, bit_width=5, min_val=0.0, max_val=1.0),
        ["Quant"],
    ),
    "binary": (
        lambda: QuantIdentity(act_quant=SignedBinaryActPerTensorConst, scaling_init=0.5, min_val=-1, max_val=1),
        ["BipolarQuant"],
    ),
    "ternary": (
        lambda: QuantIdentity(act_quant=SignedTernaryActPerTensorConst, scaling_init=0.5, min_val=-1, max_val=1),
        ["Quant"],
    ),
    "ternary by threshold": (lambda: QuantIdentity(act_quant=TernaryByThreshold), ["Quant"]),
    "rounding down": (lambda: QuantIdentity(float_to_int_impl_type="FLOOR"), ["Quant"]),
    "rounding up": (lambda: QuantIdentity(float_to_int_impl_type="CEIL"), ["Quant"]),
    "rounding to zero": (lambda: QuantIdentity(float_to_int_impl_type="ROUND_TO_ZERO"), ["Quant"]),
    "sigmoid": (lambda: QuantSigmoid(bit_width=4), ["Sigmoid", "Quant"]),
    "tanh": (lambda: QuantTanh(bit_width=4), ["Tanh", "Quant"]),
}


class Net(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_an_activation_is_equal_everywhere(exported: Any, case: str) -> None:
    make, op_types = CASES[case]
    model = Net(make())
    result = exported(model, X)
    assert result.op_types == op_types
    scale = float(np.max(result.constant("act.act_quant.scale")))
    steps = torch.arange(-600, 600).float().repeat(8, 1).T / 4  # quarters of a step: every tie, and beyond both ends
    grid = torch.cat([steps * scale, torch.nextafter(steps, steps + 1) * scale, torch.zeros(1, 8)])
    if op_types[0] in ("Relu", "Quant", "BipolarQuant"):  # a sigmoid of two libraries differs in the last bit
        with torch.no_grad():
            assert np.array_equal(result.tensor("act.act_quant", grid), model(grid).numpy())
    assert result.check.equal + result.check.rounding == result.check.samples


def test_a_zero_point_is_written(exported: Any) -> None:
    result = exported(Net(QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat)), X)
    assert 0 < result.constant("act.act_quant.zero_point") < 255


def test_a_scale_per_channel_keeps_its_shape(exported: Any) -> None:
    assert exported(Net(QuantReLU(**PER_CHANNEL)), X).constant("act.act_quant.scale").shape == (1, 8)


def test_a_ternary_threshold_that_qonnx_does_not_have_is_refused(exported: Any) -> None:
    with pytest.raises(Unsupported, match=r"act\.act_quant: its ternary threshold is 0\.55 .*threshold = 0\.5"):
        exported(Net(QuantIdentity(act_quant=TernaryAt55)), X)


def test_a_quantizer_that_does_not_do_what_it_says_is_refused(exported: Any) -> None:
    with pytest.raises(Unsupported, match=r"act\.act_quant: no QONNX quantizer computes what this one computes"):
        exported(Net(QuantIdentity(quant_delay_steps=100)), X)


def test_one_signed_bit_of_integers_is_refused(exported: Any) -> None:
    with pytest.raises(Unsupported, match=r"act\.act_quant: no QONNX quantizer computes"):
        exported(Net(QuantIdentity(bit_width=1)), X)

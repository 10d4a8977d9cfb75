"""What has no exact counterpart is refused, with its path, its class and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from brevitas.nn import QuantIdentity, QuantLinear, QuantLSTM, QuantMultiheadAttention, QuantReLU
from torch import nn

from export_brevitas import export_qonnx
from qonnx_core.errors import InvalidInput, Unsupported

X = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers.values():
            x = layer(x)
        return x


def refusal(model: nn.Module, x: torch.Tensor = X, **options: Any) -> str:
    with pytest.raises(Unsupported) as caught:
        export_qonnx(model.eval(), x, **options)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["DPU", "STOCHASTIC_ROUND"])
def test_an_activation_rounding_that_qonnx_does_not_have(mode: str) -> None:
    message = refusal(Net(q=QuantIdentity(float_to_int_impl_type=mode)))
    assert f"layers.q.act_quant (ActQuantProxyFromInjector): rounding mode is {mode}; QONNX has ROUND" in message
    assert "Set float_to_int_impl_type to one of them." in message


def test_a_stochastic_weight_rounding() -> None:
    message = refusal(Net(fc=QuantLinear(32, 4, weight_float_to_int_impl_type="STOCHASTIC_ROUND")))
    assert "layers.fc.weight_quant (WeightQuantProxyFromInjector): rounding mode is STOCHASTIC_ROUND" in message


def test_groups_of_values_with_a_scale_each() -> None:
    from brevitas.quant.mx_quant_ocp import MXInt8Act, MXInt8Weight

    weights = refusal(Net(fc=QuantLinear(32, 4, weight_quant=MXInt8Weight)))
    assert "layers.fc.weight_quant (GroupwiseWeightQuantProxyFromInjector): one scale for each group" in weights
    activations = refusal(Net(q=QuantIdentity(act_quant=MXInt8Act, group_dim=1)))
    assert "layers.q.act_quant (GroupwiseActQuantProxyFromInjector): one scale for each group" in activations


def test_scales_that_depend_on_the_input() -> None:
    from brevitas.proxy.runtime_quant import DynamicActQuantProxyFromInjector
    from brevitas.quant import Int8ActPerTensorFloat

    class Dynamic(Int8ActPerTensorFloat):
        proxy_class = DynamicActQuantProxyFromInjector

    message = refusal(Net(q=QuantIdentity(act_quant=Dynamic)))
    assert "layers.q.act_quant (DynamicActQuantProxyFromInjector): the scale is computed from each input" in message


def test_small_floating_point_numbers() -> None:
    from brevitas.quant.float_quant_ocp import Fp8e4m3OCPActPerTensorFloat, Fp8e4m3OCPWeightPerTensorFloat

    net = Net(
        q=QuantIdentity(act_quant=Fp8e4m3OCPActPerTensorFloat),
        fc=QuantLinear(32, 4, weight_quant=Fp8e4m3OCPWeightPerTensorFloat),
    )
    message = refusal(net)
    assert "layers.q.act_quant (ActFloatQuantProxyFromInjector): not an integer quantizer" in message
    assert "layers.fc.weight_quant (WeightFloatQuantProxyFromInjector): not an integer quantizer" in message


def test_recurrent_layers() -> None:
    message = refusal(Net(lstm=QuantLSTM(8, 4)), torch.randn(3, 5, 8))
    assert "layers.lstm.layers.0.0 (_QuantLSTMLayer): recurrent layers have no QONNX form yet" in message


def test_every_reason_is_listed() -> None:
    net = Net(a=QuantIdentity(float_to_int_impl_type="DPU"), b=QuantReLU(), c=QuantReLU(float_to_int_impl_type="DPU"))
    with pytest.raises(Unsupported, match="Net: cannot be written exactly as QONNX") as caught:
        export_qonnx(net, X)
    assert [reason.split(" ")[0] for reason in caught.value.reasons] == ["layers.a.act_quant", "layers.c.act_quant"]


def test_numbers_of_another_type() -> None:
    message = refusal(Net(fc=QuantLinear(32, 4)).double(), X.double())
    assert "layers.fc.weight_quant: quantizes torch.float64; QONNX quantizers compute in float32" in message


def test_a_decision_on_the_values_of_a_tensor() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = QuantReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(x) if x.sum() > 0 else x

    message = refusal(Net(block=Decides()))
    assert message.startswith("layers.block (Decides): tracing it failed with")
    assert "Keep decisions on values of tensors out of forward()" in message


def test_a_forward_pass_that_fixes_the_batch() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = QuantReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(x).reshape(4, 8, 4)

    assert "export with dynamic_batch=False if the batch size is fixed" in refusal(Fixed())
    export_qonnx(Fixed().eval(), X, dynamic_batch=False)


def test_a_layer_that_cannot_be_traced_is_named() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = QuantMultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mha(x, x, x)[0]

    assert refusal(Attention(), torch.randn(3, 5, 8)).startswith("mha (QuantMultiheadAttention): tracing it failed")


def test_an_operator_without_onnx_form_is_named() -> None:
    class Unusual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = QuantReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(self.act(x))

    assert "aten._linalg_svd" in refusal(Unusual())


def test_an_output_that_is_no_tensor() -> None:
    class Talks(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
            return x, "done"

    assert "the model returns a str; expected tensors" in refusal(Talks())


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    model = nn.Sequential(QuantLinear(32, 4)).eval()
    with pytest.raises(InvalidInput, match=r"its folder does not exist"):
        export_qonnx(model, X, tmp_path / "missing" / "model.onnx")
    with pytest.raises(InvalidInput, match=r"expected a file name that ends in \.onnx\. Try model\.bin\.onnx"):
        export_qonnx(model, X, tmp_path / "model.bin")
    with pytest.raises(InvalidInput, match=r"expected one of them"):
        export_qonnx(model, X, tmp_path / "a.onnx", export_path=tmp_path / "b.onnx")

"""The model is as it was, after success and after failure."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from brevitas import config
from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.quant import Int32Bias
from torch import nn

from export_brevitas import export_qonnx, verify_export
from qonnx_core.errors import InvalidInput, QonnxError, Unsupported

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, *, fails: str = "") -> None:
        super().__init__()
        self.inp = QuantIdentity(return_quant_tensor=True)
        self.fc1 = QuantLinear(8, 8, bias_quant=Int32Bias)
        self.bn = nn.BatchNorm1d(8)
        self.act = QuantReLU()
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.seen = 0
        self.fails = fails

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.calls += 1
        y = self.drop(self.act(self.bn(self.fc1(self.inp(x)))))
        if self.fails == "tracing" and y.sum() > -1e9:
            y = y + 1
        if self.fails == "lowering":
            y = torch.linalg.svdvals(y)
        if self.fails == "running":
            raise RuntimeError("on purpose")
        return y


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return everything that an export could leave behind."""
    state: dict[str, Any] = {f"value of {key}": value.clone() for key, value in model.state_dict().items()}
    for name, module in model.named_modules():
        state[f"training of {name}"] = module.training
        state[f"hooks of {name}"] = len(module._forward_hooks) + len(module._forward_pre_hooks)
        if isinstance(module, QuantProxyFromInjector):
            state[f"handler of {name}"] = module.export_handler
            state[f"export mode of {name}"] = module.export_mode
            state[f"cache of {name}"] = getattr(module, "_cached_act", None)
    for name, parameter in model.named_parameters():
        state[f"identity of {name}"] = id(parameter)
        state[f"gradient of {name}"] = parameter.requires_grad
    return state


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        equal = torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key]
        assert equal, f"{key} was {value}, is {after[key]}"


def trained(fails: str = "", *, training: bool = False) -> Net:
    model = Net()
    model.train()
    for _ in range(3):
        model(X).sum().backward()
    model.fails = fails
    model.train(training)
    model.bn.eval()  # a module may stand in another mode than its parent
    return model


@pytest.mark.parametrize("training", [False, True])
def test_a_successful_export_changes_nothing(training: bool) -> None:
    model = trained(training=training)
    before, seen = state_of(model), model.seen
    random = torch.get_rng_state()
    made = export_qonnx(model, X)
    verify_export(model, made, X)
    assert_same(before, state_of(model))
    assert model.seen == seen
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("running", "the model's own forward pass fails on the example: RuntimeError: on purpose"),
        ("tracing", "tracing it failed with"),
        ("lowering", "torch's ONNX exporter cannot translate it"),
    ],
)
def test_a_failing_export_changes_nothing(fails: str, message: str, training: bool) -> None:
    model = trained(fails, training=training)
    before = state_of(model)
    with pytest.raises(QonnxError, match=message):
        export_qonnx(model, X)
    assert_same(before, state_of(model))
    assert config._ONGOING_EXPORT is None


@pytest.mark.parametrize("fails", ["tracing", "lowering"])
def test_the_forward_pass_gives_the_same_after_a_failed_export(fails: str) -> None:
    model = trained(fails)
    with torch.no_grad():
        before = model(X)
        with pytest.raises(Unsupported):
            export_qonnx(model, X)
        assert torch.equal(model(X), before)


def test_training_goes_on_after_a_failed_export() -> None:
    model = trained("lowering", training=True)
    with pytest.raises(Unsupported):
        export_qonnx(model, X)
    model.fails = ""
    model(X).sum().backward()
    assert all(parameter.grad is not None for parameter in model.fc1.parameters())


def test_a_refused_model_is_not_touched() -> None:
    model = nn.Sequential(QuantIdentity(float_to_int_impl_type="DPU"))
    before = state_of(model)
    with pytest.raises(Unsupported):
        export_qonnx(model, X)
    assert_same(before, state_of(model))


def test_wrong_arguments_are_refused_before_anything_happens() -> None:
    model = trained()
    seen = model.seen
    with pytest.raises(InvalidInput, match=r"Net\.forward: the example arguments do not fit: too many positional"):
        export_qonnx(model, (X, X))
    with pytest.raises(InvalidInput, match=r"Net\.forward: the example arguments hold no tensor"):
        export_qonnx(model, ("a word",))
    assert model.seen == seen

"""Verifying on export: what is counted, and that a defect stops the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
from torch import nn

from export_brevitas import check_of, export_qonnx, verify_export
from qonnx_core.errors import InvalidInput, Mismatch

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp = QuantIdentity()
        self.fc1 = QuantLinear(8, 8, weight_bit_width=4)
        self.act = QuantReLU(bit_width=3)
        self.fc2 = QuantLinear(8, 4, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(self.inp(x))))


def test_the_example_and_a_seeded_sample_are_compared(exported: Any) -> None:
    result = exported(Net(), X)
    assert (result.check.left, result.check.right) == ("Brevitas", "QONNX")
    assert result.check.samples == 3 + 4 * 32
    assert exported(Net(), X[:1]).check.samples == 1 + 4 * 32


@pytest.mark.parametrize("form", ["tensor", "array", "float64 array", "list", "dictionary"])
def test_own_inputs_are_compared_after_the_example(exported: Any, form: str) -> None:
    data = torch.randn(50, 8)
    inputs = {
        "tensor": data,
        "array": data.numpy(),
        "float64 array": data.numpy().astype(np.float64),
        "list": [data],
        "dictionary": {"x": data.numpy()},
    }[form]
    assert exported(Net(), X, verify_inputs=inputs).check.samples == 3 + 50


def test_inputs_under_another_name_are_refused(exported: Any) -> None:
    with pytest.raises(InvalidInput, match=r"verify_inputs: found \['y'\]; expected one array for each of .*\['x'\]"):
        exported(Net(), X, verify_inputs={"y": X})


def test_without_verifying_there_is_no_check(exported: Any) -> None:
    assert exported(Net(), X, verify=False).check is None


def test_an_export_can_be_verified_again(exported: Any) -> None:
    result = exported(Net(), X)
    check = verify_export(result.model, result.onnx, torch.randn(200, 8))
    assert (check.samples, check.mismatch, check.boundary) == (200, 0, 0)


def test_another_model_is_a_mismatch(exported: Any) -> None:
    result = exported(Net(), X)
    with torch.no_grad():
        result.model.fc1.weight.mul_(-1)
    check = verify_export(result.model, result.onnx, torch.randn(20, 8))
    assert check.mismatch > 0
    with pytest.raises(Mismatch, match="Brevitas = QONNX"):
        check.require()


def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    class Cheats(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_exporting():
                x = x * 2
            return super().forward(x)

    with pytest.raises(Mismatch, match=r"inp\.act_quant: 3 of 3 samples differ; expected none"):
        export_qonnx(Cheats().eval(), X, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_changed_weight_is_traced_to_its_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    import export_brevitas.export as export_module

    finish = export_module.finish

    def sabotaged(model: ir.Model, **options: Any) -> None:
        finish(model, **options)
        weight = model.graph.initializers["fc2.weight"]
        weight.const_value = ir.tensor(-weight.const_value.numpy(), name="fc2.weight")

    monkeypatch.setattr(export_module, "finish", sabotaged)
    with pytest.raises(Mismatch, match=r"^fc2\.weight_quant: "):
        export_qonnx(Net().eval(), X)


def test_integer_inputs_are_not_invented(exported: Any) -> None:
    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 8)
            self.act = QuantReLU()

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.act(self.table(tokens))

    result = exported(Embeds(), torch.tensor([[0, 4, 2], [1, 1, 3]]))
    assert result.check.equal == result.check.samples
    assert check_of(result.onnx) is result.check

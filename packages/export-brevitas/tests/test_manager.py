"""The entry points of older tutorials."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from brevitas.nn import QuantLinear
from torch import nn

import qonnx_core
from export_brevitas import BrevitasONNXManager, check_of, export_brevitas_onnx, export_qonnx
from qonnx_core.errors import InvalidInput


def model() -> nn.Module:
    return nn.Sequential(QuantLinear(8, 4, weight_bit_width=2)).eval()


def test_the_manager_takes_an_input_shape_and_a_path(tmp_path: Path) -> None:
    made = BrevitasONNXManager.export(model(), (1, 8), str(tmp_path / "model.onnx"))
    assert check_of(made) is not None
    assert len(qonnx_core.load(tmp_path / "model.onnx").graph) == 2


def test_keywords_of_older_versions_are_understood(tmp_path: Path) -> None:
    BrevitasONNXManager.export(model(), input_shape=(1, 8), export_path=str(tmp_path / "a.onnx"))
    export_brevitas_onnx(model(), input_t=torch.zeros(1, 8), export_path=str(tmp_path / "b.onnx"))
    export_qonnx(model(), torch.zeros(1, 8), export_path=str(tmp_path / "c.onnx"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "c.onnx"]


def test_the_alias_does_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    same = model()
    BrevitasONNXManager.export(same, (1, 8), tmp_path / "a.onnx")
    export_brevitas_onnx(same, (1, 8), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_shape_and_example_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="expected one of the two"):
        BrevitasONNXManager.export(model())
    with pytest.raises(InvalidInput, match="expected one of the two"):
        BrevitasONNXManager.export(model(), (1, 8), input_t=torch.zeros(1, 8))

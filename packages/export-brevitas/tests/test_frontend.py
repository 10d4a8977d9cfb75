"""The plug-in: found by name, imports no framework, explains what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
from torch import nn

from export_brevitas import FRONTEND, check_of
from qonnx_core import plugins
from qonnx_core.errors import InvalidInput
from qonnx_core.testing.frontend_contract import FrontendContract, UnsupportedCase

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def source() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        QuantIdentity(), QuantLinear(8, 6, weight_bit_width=3), nn.BatchNorm1d(6), QuantReLU(), QuantLinear(6, 4)
    )
    model(X)
    return model.eval(), X


@pytest.fixture(scope="module")
def unsupported() -> UnsupportedCase:
    model = nn.Sequential(QuantIdentity(float_to_int_impl_type="DPU"), QuantLinear(8, 4)).eval()
    return UnsupportedCase((model, X), "0.act_quant", "ActQuantProxyFromInjector")


class TestContract(FrontendContract):
    entry = "brevitas"


def test_it_is_found_by_its_name() -> None:
    assert plugins.frontends()["brevitas"] is FRONTEND
    assert FRONTEND.name == "brevitas"


def test_importing_it_imports_no_framework() -> None:
    program = (
        "import sys, export_brevitas\n"
        "from pathlib import Path\n"
        "assert not export_brevitas.FRONTEND.recognizes(Path('model.pt'))\n"
        "assert not export_brevitas.FRONTEND.recognizes(object())\n"
        "assert 'export_qonnx' in dir(export_brevitas)\n"
        "print([name for name in ('torch', 'brevitas', 'onnxscript', 'onnxruntime') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_it_recognizes_live_modules_only() -> None:
    assert FRONTEND.recognizes(nn.Linear(2, 2))
    assert not FRONTEND.recognizes(Path("model.pth"))
    assert not FRONTEND.recognizes("model.pth")
    assert not FRONTEND.recognizes(None)


def test_it_reads_a_live_module() -> None:
    made = FRONTEND.read(nn.Sequential(QuantLinear(8, 4)).eval(), X)
    assert check_of(made) is not None
    assert check_of(FRONTEND.read((nn.Sequential(QuantLinear(8, 4)).eval(), X))) is not None


def test_it_explains_why_a_file_is_not_enough() -> None:
    with pytest.raises(InvalidInput, match=r"model\.pth: not a live torch\.nn\.Module; .*export_qonnx\(model"):
        FRONTEND.read(Path("model.pth"))


def test_it_asks_for_an_example() -> None:
    with pytest.raises(InvalidInput, match=r"Sequential: no example input given; expected args="):
        FRONTEND.read(nn.Sequential(QuantLinear(8, 4)))


def test_an_unknown_name_is_an_attribute_error() -> None:
    import export_brevitas

    with pytest.raises(AttributeError, match="has no attribute 'export_finn'"):
        _ = export_brevitas.export_finn

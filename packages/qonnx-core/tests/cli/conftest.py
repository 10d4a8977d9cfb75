"""What the tests of several commands start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonnx_core import save
from qonnx_core.testing.random_mlp import random_mlp


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the path of a small network, written into the test's folder as ``model.onnx``."""
    path = tmp_path / "model.onnx"
    save(random_mlp(3), path)
    return path


@pytest.fixture(autouse=True)
def no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the width that the test run says it has: workers of a parallel run claim 80 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)

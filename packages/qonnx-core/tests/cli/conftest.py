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


TERMINAL = ("COLUMNS", "COLORTERM", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH", "TTY_COMPATIBLE")


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what is said of a terminal: parallel workers claim 80 columns, some services claim colors."""
    for name in TERMINAL:
        monkeypatch.delenv(name, raising=False)

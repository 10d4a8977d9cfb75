"""Refusals of `qonnx build` that need an installed backend to get that far."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qonnx_core import save
from qonnx_core.cli.app import app
from qonnx_core.testing.random_mlp import random_mlp


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("model.onnx", "is no folder; expected a folder for the build"),
        ("out", "input global_in: it is on no integer grid"),
    ],
)
def test_a_build_is_refused_in_one_sentence(output: str, sentence: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    save(random_mlp(3), model)
    result = CliRunner().invoke(app, ["build", str(model), "-o", str(tmp_path / output)])
    assert result.exit_code == 1
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr

"""`qonnx partition` writes the parts of a model into a folder, and leaves what is foreign there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qonnx_core import plugins
from qonnx_core.cli.app import app

ALL = "default: finn"
TWO = "{default: finn, rules: [{match: {name: MatMul_0}, backend: hls4ml}]}"


@pytest.fixture(autouse=True)
def _two_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "backends", lambda: {"finn": None, "hls4ml": None})


def cut(model: Path, rules: str, folder: Path) -> tuple[int, str, list[str]]:
    """Return exit code, errors, and the names in the folder after the model was cut into it."""
    file = model.with_name("rules.yaml")
    file.write_text(rules)
    words = ["partition", str(model), "--rules", str(file), "-o", str(folder), "--input-type", "INT4"]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stderr, sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_run_with_fewer_parts_leaves_none_of_the_run_before(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "parts"
    code, _, many = cut(model, TWO, folder)
    assert code == 0
    assert len(many) > 2
    (folder / "9_finn.onnx").write_text("somebody else's")
    (folder / "notes.txt").write_text("somebody else's")
    assert cut(model, ALL, folder) == (0, "", ["0_finn.onnx", "9_finn.onnx", "notes.txt", "parts.json"])
    assert json.loads((folder / "parts.json").read_text()) == ["0_finn.onnx"]


@pytest.mark.parametrize("text", ['["../model.onnx", "notes.txt", 3]', "{", '{"a": 1}', "[" * 10**5])
def test_a_list_of_parts_that_names_other_files_removes_none(text: str, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "parts.json").write_text(text)
    (folder / "notes.txt").write_text("")
    assert cut(model, ALL, folder) == (0, "", ["0_finn.onnx", "notes.txt", "parts.json"])
    assert model.exists()


def test_a_run_that_cannot_be_finished_changes_nothing(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    _, _, before = cut(model, ALL, folder)
    (folder / "1_hls4ml.onnx").mkdir()
    code, said, after = cut(model, TWO, folder)
    assert code == 1
    assert "1_hls4ml.onnx: is a folder" in said
    assert after == sorted([*before, "1_hls4ml.onnx"])

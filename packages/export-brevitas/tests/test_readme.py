"""The example of the README runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not README.exists():
        pytest.skip("README.md is not here; this test needs the package's folder")
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(program, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"))
    assert (tmp_path / "model.onnx").exists()
    assert " 0 mismatch" in capsys.readouterr().out

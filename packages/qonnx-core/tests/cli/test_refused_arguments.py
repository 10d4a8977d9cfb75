"""Arguments that name nothing are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from qonnx_core.cli.app import app


@pytest.mark.parametrize("command", [["clean"], ["prune", "--zero-channels"]])
@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_file_name_is_refused(command: list[str], path: str) -> None:
    done = CliRunner().invoke(app, [*command, path])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is no file; expected a model (.onnx)" in done.stderr


def test_a_type_without_a_name_is_refused_where_several_inputs_are(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[2] a, float[2] b) => (float[2] y) {y = Add(a, b)}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "two.onnx")
    done = CliRunner().invoke(app, ["range", str(tmp_path / "two.onnx"), "--input-type", "INT8"])
    assert done.exit_code == 1
    assert "--input-type INT8: names no input, and the model has 2" in done.stderr
    assert "Write for example a=INT8." in done.stderr

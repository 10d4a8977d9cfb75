"""Arguments that name nothing are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def test_results_are_not_written_over_what_is_read(tmp_path: Path) -> None:
    model, data = tmp_path / "m.onnx", tmp_path / "x.npy"
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), model)
    np.save(data, np.ones((3, 2), np.float32))
    before = model.read_bytes(), data.read_bytes()
    for target in (model, data):
        done = CliRunner().invoke(app, ["run", str(model), "--data", str(data), "-o", str(target)])
        assert done.exit_code == 1
        assert "is what is read; expected another file" in done.stderr
    assert (model.read_bytes(), data.read_bytes()) == before

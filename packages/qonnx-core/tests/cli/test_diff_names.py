"""Models of other nodes: what `qonnx diff` pairs, and what it says to try."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from typer.testing import CliRunner

from qonnx_core.cli.app import app

_HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) <float w = {1.0}, float b = {3.0}>'


def test_models_of_other_nodes_are_compared_by_the_names_in_their_files(tmp_path: Path) -> None:
    for name, body in (("left", "s = Add(x, w) y = Add(s, b)"), ("right", "t = Add(x, b) u = Relu(t) y = Add(u, w)")):
        onnx.save(onnx.parser.parse_model(f"{_HEAD} {{ {body} }}"), tmp_path / f"{name}.onnx")
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    arguments = ["diff", *(str(tmp_path / name) for name in ("left.onnx", "right.onnx"))]
    arguments += ["--data", str(tmp_path / "x.npy")]
    done = CliRunner().invoke(app, [*arguments, "--names", "cleaned"])
    assert done.exit_code == 3
    assert "The models have other nodes: try --names file." in done.stderr
    assert CliRunner().invoke(app, [*arguments, "--names", "file"]).exit_code == 0
    assert CliRunner().invoke(app, arguments).exit_code == 0

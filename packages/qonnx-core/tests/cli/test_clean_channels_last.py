"""`qonnx clean --channels-last`: the written model, and what it says about operators that stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from typer.testing import CliRunner

from qonnx_core import compile_model, load
from qonnx_core.cli.app import app
from qonnx_core.ir.annotations import get_layout

X = np.random.default_rng(0).integers(-4, 5, (2, 2, 5, 5)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a small network with one pool that has no channels-last form."""
    text = """<ir_version: 8, opset_import: ["": 18]>
      g (float[1, 2, 5, 5] x) => (float[1, 2, 4, 4] y, float[1, 2, 3, 3] z)
      <float[2, 2, 2, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}>
      { y = Conv(x, w) z = AveragePool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x) }"""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("option", ["--channels-last", "--channels-last-input"])
def test_the_written_model_is_channels_last_and_says_what_stays(model: Path, tmp_path: Path, option: str) -> None:
    target = tmp_path / "out.onnx"
    report = json.loads(run("clean", model, "-o", target, option, "--json"))
    (refusal,) = report["not_channels_last"]
    assert "AveragePool" in refusal
    assert "ceil_mode lets windows reach beyond the image" in refusal
    made = load(target)
    assert "qonnx.custom_op.channels_last" in {node.domain for node in made.graph}
    given = X if option == "--channels-last" else np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    assert (get_layout(made.graph.inputs[0]) == ("N", "H", "W", "C")) == (option == "--channels-last-input")
    expected = compile_model(load(model)).run({"x": X}).values()
    found = compile_model(made).run({"global_in": given}).values()
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)
    assert "stays channels-first" in run("clean", model, "-o", target, option)

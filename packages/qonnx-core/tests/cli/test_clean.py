"""The options of `qonnx clean`: channels-last models, other input shapes, no biases, folded quantizers."""

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


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """Write a convolution with a bias and a quantized weight."""
    text = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
      g (float[1, 1, 5, 5] x) => (float[1, 1, 4, 4] y)
      <float[1, 1, 2, 2] w = {1, 2, 3, 4}, float s = {1}, float z = {0}, float b = {4}, float[1] c = {3}>
      { q = qonnx.custom_op.general.Quant<signed = 1, narrow = 0>(w, s, z, b) y = Conv(x, q, c) }"""
    path = tmp_path / "quantized.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def operators(path: Path) -> list[str]:
    return sorted(node.op_type for node in load(path).graph)


def test_biases_and_quantizers_go_on_request(quantized: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    run("clean", quantized, "-o", target)
    assert operators(target) == ["Conv", "Quant"]
    run("clean", quantized, "-o", target, "--extract-bias")
    assert operators(target) == ["Add", "Conv", "Quant"]
    run("clean", quantized, "-o", target, "--extract-bias", "--fold-quantizers")
    assert operators(target) == ["Add", "Conv"]


@pytest.mark.parametrize("shape", ["x=1,1,8,7", "1,1,8,7", "(n, 1, 8, 7)"])
def test_an_input_gets_another_shape(quantized: Path, tmp_path: Path, shape: str) -> None:
    target = tmp_path / "out.onnx"
    run("clean", quantized, "-o", target, "--input-shape", shape)
    made = load(target)
    assert list(made.graph.inputs[0].shape)[1:] == [1, 8, 7]
    assert list(made.graph.outputs[0].shape)[1:] == [1, 7, 6]
    x = np.arange(112, dtype=np.float32).reshape(2, 1, 8, 7)
    assert compile_model(made).run({"global_in": x})["global_out"].shape == (2, 1, 7, 6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("v=1,1,8,7", "the model has no input 'v'; expected one of x"),
        ("1,1,8", "found 3 sizes; expected 4, one for each axis of input x"),
        ("1,1,0,7", "'0' is no size"),
        ("1,1,-3,7", "'-3' is no size"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(quantized: Path, tmp_path: Path, shape: str, message: str) -> None:
    result = CliRunner().invoke(app, ["clean", str(quantized), "-o", str(tmp_path / "o.onnx"), "--input-shape", shape])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "batch"),
    [
        ([], 1), (["--with-functions"], "batch"), (["--batch-size", "n"], "n"), (["--batch-size", "7"], 7),
        (["--with-functions", "--batch-size", "1"], 1), (["--input-shape", "1,1,5,5"], 1),
        (["--input-shape", "n,1,5,5"], "n"), (["--channels-last"], 1),
    ],
)  # fmt: skip
def test_the_batch_of_the_file_stays_unless_another_is_asked_for(
    quantized: Path, tmp_path: Path, options: list[str], batch: int | str
) -> None:
    """`qonnx` and FINN run files of a fixed batch alone; ours run at any."""
    target = tmp_path / "out.onnx"
    run("clean", quantized, "-o", target, *options)
    made = load(target)
    assert [made.graph.inputs[0].shape[0], made.graph.outputs[0].shape[0]] == [batch, batch]
    x = np.arange(7 * 25, dtype=np.float32).reshape(7, 1, 5, 5)
    expected = compile_model(load(quantized)).run({"x": x})["y"]
    np.testing.assert_array_equal(compile_model(made).run({"global_in": x})["global_out"], expected)


@pytest.mark.parametrize(
    "command",
    [
        ["transform", "--clean", "--pass", "extract_bias"],
        ["quantize", "--fixed-point", "FIXED<8,4>", "--op-type", "Conv"],
    ],
)
def test_other_commands_that_clean_leave_the_batch_too(quantized: Path, tmp_path: Path, command: list[str]) -> None:
    target = tmp_path / "out.onnx"
    run(command[0], quantized, "-o", target, *command[1:])
    assert load(target).graph.inputs[0].shape[0] == 1


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "9" * 19, "9" * 5000])
def test_a_batch_that_is_no_size_is_refused(quantized: Path, tmp_path: Path, size: str) -> None:
    arguments = ["clean", str(quantized), "-o", str(tmp_path / "o.onnx"), "--batch-size", size]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"--batch-size {size!r}: is no size; expected a number of at least 1" in " ".join(result.stderr.split())

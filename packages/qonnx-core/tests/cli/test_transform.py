"""`qonnx transform`: passes by name, in order, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest
from typer.testing import CliRunner

from qonnx_core import load, save
from qonnx_core.cli.app import app
from qonnx_core.testing.random_mlp import MlpShape, random_mlp


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    save(random_mlp(3, MlpShape(batch_norm=True)), path)
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["transform", *(str(argument) for argument in arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_passes_run_in_order_and_their_edits_are_reported(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    code, stdout, stderr = run(
        model, "--clean", "--pass", "batchnorm_to_affine", "--pass", "insert_topk:k=2", "-o", out, "--json"
    )
    assert code == 0, stderr
    report = json.loads(stdout)
    assert [(step["pass"], step["edits"] > 0) for step in report["passes"]] == [
        ("batchnorm_to_affine", True),
        ("insert_topk", True),
    ]
    ops = [node.op_type for node in load(out).graph]
    assert ops[-1] == "TopK"
    assert "BatchNormalization" not in ops


def test_tensors_without_a_data_type_are_listed_with_the_reason(model: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(model, "--clean", "--pass", "infer_datatypes", "-o", tmp_path / "out.onnx", "--json")
    assert code == 0, stderr
    untyped = json.loads(stdout)["untyped"]
    assert untyped["global_in"] == "is an input without a data type; annotate it to say more"
    assert run(model, "--pass", "infer_datatypes", "-o", tmp_path / "out.onnx")[0] == 0
    result = CliRunner().invoke(app, ["info", str(model), "--json"])
    assert json.loads(result.stdout)["untyped"] == untyped


def test_a_pass_says_what_it_leaves_and_why(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
      g (float[1, 1, 4, 4] x) => (y) <float[4, 1, 1, 1] w = {1, 2, 3, 4}>
      { k = Conv<strides = [2, 2]>(x, w) y = DepthToSpace<blocksize = 2>(k) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    options = (tmp_path / "m.onnx", "--pass", "sub_pixel_to_deconvolution", "-o", tmp_path / "o.onnx")
    code, stdout, stderr = run(*options, "--json")
    assert code == 0, stderr
    (step,) = json.loads(stdout)["passes"]
    assert step["edits"] == 0
    assert "the convolution has strides [2, 2]" in next(iter(step["kept"].values()))
    assert "what stays as it is" in run(*options)[1]


@pytest.mark.parametrize(
    ("step", "body", "reason"),
    [
        ("lower_convs_to_matmul", "y = Conv(x, w)", "has 3 spatial axes"),
        ("max_pool_to_nhwc", "y = MaxPool<kernel_shape = [2, 2, 2]>(x)", ""),
        ("convert_to_channels_last", "p, y = MaxPool<kernel_shape = [2, 2, 2]>(x)", "its indices are read"),
    ],
)
def test_layout_passes_say_what_they_leave_in_the_same_form(step: str, body: str, reason: str, tmp_path: Path) -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21]>
      g (float[1, 1, 4, 4, 4] x) => (y) <float[1, 1, 1, 1, 1] w = {{1}}> {{ {body} }}"""
    proto = onnx.parser.parse_model(text)
    proto.graph.node[0].name = "first"
    onnx.save(proto, tmp_path / "m.onnx")
    options = (tmp_path / "m.onnx", "--pass", step, "-o", tmp_path / "o.onnx")
    code, stdout, stderr = run(*options, "--json")
    assert code == 0, stderr
    (kept,) = json.loads(stdout)["passes"][0]["kept"].items()
    assert kept[0] == f"first ({proto.graph.node[0].op_type})"
    assert reason in kept[1]
    assert "what stays as it is" in run(*options)[1]


def test_the_list_names_every_pass(model: Path) -> None:
    code, stdout, _ = run("--list", "--json")
    assert code == 0
    listed = json.loads(stdout)
    assert {"fold_constants", "infer_datatypes"} <= {entry["name"] for entry in listed}
    assert run("--list")[0] == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "--output is missing"),
        (("-o", "x.onnx"), "--pass is missing"),
        (("--pass", "fold_constant", "-o", "x.onnx"), "Did you mean fold_constants"),
        (("--pass", "insert_topk:k=a", "-o", "x.onnx"), "expected a whole number"),
        (("--pass", "insert_topk:k=99", "-o", "x.onnx"), "choose fewer"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(model, *options)
    assert code == 1
    assert reason in stderr
    assert not (tmp_path / "x.onnx").exists()

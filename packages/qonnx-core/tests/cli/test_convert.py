"""`qonnx convert`: every form computes the same, and what cannot be converted is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from typer.testing import CliRunner

from qonnx_core import compile_model, load, save
from qonnx_core.cli.app import app
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
MODEL = """g (float[N, 4] x) => (float[N, 2] y) <float s = {0.5}, float z = {0}, float b = {4},
    float[4, 2] w = {1, 2, 3, 4, 5, 6, -7, 0.5}>
  { a = qonnx.custom_op.general.Quant(x, s, z, b) q = qonnx.custom_op.general.Quant<narrow = 1>(w, s, z, b)
    y = MatMul(a, q) }"""
BIPOLAR = (
    """g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}> { y = qonnx.custom_op.general.BipolarQuant(x, s) }"""
)
X = np.linspace(-6, 6, 36, dtype=np.float32).reshape(9, 4)


def write(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "model.onnx"
    save(from_proto(onnx.parser.parse_model(HEAD + body)), path)
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("form", ["qcdq", "quant", "plain", "functions"])
def test_every_form_computes_the_same(form: str, tmp_path: Path) -> None:
    model, target = write(tmp_path, MODEL), tmp_path / f"{form}.onnx"
    code, out, _ = run("convert", model, "--to", form, "-o", target, "--json")
    assert code == 0
    assert json.loads(out)["converted"] == (0 if form == "quant" else 2)
    wanted = compile_model(load(model)).run({"x": X})["y"]
    np.testing.assert_array_equal(compile_model(load(target)).run({"x": X})["y"], wanted)
    if form != "quant":
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], wanted)


def test_qcdq_and_back_gives_quant_nodes_again(tmp_path: Path) -> None:
    model, there, back = write(tmp_path, MODEL), tmp_path / "there.onnx", tmp_path / "back.onnx"
    assert run("convert", model, "--to", "qcdq", "-o", there)[0] == 0
    assert run("convert", there, "--to", "quant", "-o", back)[0] == 0
    assert sorted(node.op_type for node in load(back).graph) == ["MatMul", "Quant", "Quant"]


def test_what_has_no_qcdq_form_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = write(tmp_path, BIPOLAR)
    code, _, err = run("convert", model, "--to", "qcdq", "-o", tmp_path / "out.onnx")
    assert code == 1
    assert "y (BipolarQuant): is no integer quantizer" in " ".join(err.split())
    assert not (tmp_path / "out.onnx").exists()
    code, out, err = run("convert", model, "--to", "qcdq", "--partial", "-o", tmp_path / "out.onnx")
    assert code == 0
    assert "0 converted, 1 kept" in " ".join(out.split())
    assert "is no integer quantizer" in " ".join(err.split())


@pytest.mark.parametrize("form", [None, "plain", "qcdq", "functions"])
def test_a_form_is_written_in_the_opset_and_ir_version_asked_for(form: str | None, tmp_path: Path) -> None:
    model, target = write(tmp_path, MODEL), tmp_path / "old.onnx"
    chosen = [] if form is None else ["--to", form]
    code, out, _ = run("convert", model, *chosen, "--opset", 15, "--ir-version", 9, "-o", target, "--json")
    assert code == 0
    assert json.loads(out)["opset"] == 15
    proto = onnx.load(target)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 15
    assert proto.ir_version == 9
    wanted = compile_model(load(model)).run({"x": X})["y"]
    np.testing.assert_array_equal(compile_model(load(target)).run({"x": X})["y"], wanted)
    if form is not None:
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], wanted)


def test_a_newer_opset_has_more_types(tmp_path: Path) -> None:
    narrow = MODEL.replace("float b = {4}", "float b = {2}")
    model, target = write(tmp_path, narrow), tmp_path / "new.onnx"
    assert run("convert", model, "--to", "qcdq", "--opset", 25, "-o", target)[0] == 0
    types = {tensor.data_type for tensor in onnx.load(target).graph.initializer}
    assert onnx.TensorProto.INT2 in types
    wanted = compile_model(load(model)).run({"x": X})["y"]
    np.testing.assert_array_equal(compile_model(load(target)).run({"x": X})["y"], wanted)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path, MODEL)
    for arguments, message in (
        ([], "nothing is asked for; expected --to, --opset or --ir-version"),
        (["--to", "functions", "--opset", "11"], "operators have no definition in opset 11"),
        (["--opset", "99"], "opset 99: is none that can be written"),
        (["--ir-version", "3"], "IR version 3: does not hold this model; expected 10"),
    ):
        code, _, err = run("convert", model, *arguments, "-o", tmp_path / "out.onnx")
        assert code == 1
        assert message in " ".join(err.split())
        assert not (tmp_path / "out.onnx").exists()

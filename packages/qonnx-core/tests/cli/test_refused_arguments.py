"""Arguments that name nothing are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from qonnx_core.cli.app import app


@pytest.mark.parametrize("command", [["clean"], ["prune", "--zero-channels"]])
@pytest.mark.parametrize("path", [".", "/"])
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


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["clean", ""], "an argument"),
        (["clean", "m.onnx", "-o", ""], "-o"),
        (["clean", "m.onnx", "--output="], "--output"),
        (["clean", "m.onnx", "-o="], "--output"),
        (["partition", "m.onnx", "--rules", "r.yaml", "--output", ""], "--output"),
        (["stats", "m.onnx", "--data", "x.npy", "--plots", ""], "--plots"),
    ],
)
def test_an_empty_word_is_refused_instead_of_meaning_the_current_folder(arguments: list[str], place: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"error: {place}: is empty; expected a name or a value." in done.stderr


def test_an_equal_sign_behind_a_short_option_is_no_part_of_a_name(model: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["clean", str(model), f"-o={tmp_path / 'c.onnx'}"])
    assert done.exit_code == 0
    assert (tmp_path / "c.onnx").is_file()


def test_a_wrong_number_of_sizes_is_told_with_what_to_write(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    done = CliRunner().invoke(app, ["clean", str(tmp_path / "m.onnx"), "--input-shape", "x=1,2,9"])
    assert done.exit_code == 1
    assert "--input-shape x=1,2,9: found 3 sizes; expected 2, one for each axis of input x." in done.stderr
    assert "Write for example x=N,2." in done.stderr


def test_missing_rules_are_noticed_before_the_input_type_is_asked_for(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    rules, parts = tmp_path / "none.yaml", tmp_path / "parts"
    done = CliRunner().invoke(app, ["partition", str(tmp_path / "m.onnx"), "--rules", str(rules), "-o", str(parts)])
    assert done.exit_code == 1
    assert "none.yaml: cannot be read as rules (No such file or directory)" in " ".join(done.stderr.split())
    assert "--input-type" not in done.stderr


@pytest.mark.parametrize(
    ("domain", "node", "said"),
    [
        ("", "Softmax(x)", "Type 'tensor(int8)' of input parameter (x) of operator (Softmax) is invalid;"),
        (', "my.domain" : 1', "my.domain.Foo(x)", "my.domain:Foo is not a registered function/op;"),
    ],
)
def test_what_onnxruntime_does_not_compile_is_told_without_its_codes(
    domain: str, node: str, said: str, tmp_path: Path
) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 13{domain}]>
        g (int8[2] x) => (int8[2] y) {{ y = {node} }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros(2, np.int8))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "x.npy")])
    assert done.exit_code == 1
    assert f"model: onnxruntime does not accept it: {said} expected operators and types" in done.stderr


def test_convert_writes_beside_the_model_by_default(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    for arguments, name in ((["--to", "qcdq"], "m_qcdq.onnx"), (["--opset", "13"], "m_converted.onnx")):
        assert CliRunner().invoke(app, ["convert", str(tmp_path / "m.onnx"), *arguments]).exit_code == 0
        assert (tmp_path / name).is_file()


RELU = '<ir_version: 8, opset_import: ["" : 13]> g (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }'


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["clean", "{model}", "--input-shape", "x=99999999999999999999,2"], "is no size; expected a number"),
        (["run", "{model}", "--data", "{data}", "--threads", "100000000"], "threads: found 100000000; expected 1 to"),
        (["convert", "{model}", "--to", "plain", "--partial"], "--partial belongs to --to qcdq"),
        (["convert", "{model}", "--to", "plain", "--zero-points", "standard"], "--zero-points belongs to --to qcdq"),
        (["range", "{model}", "--channels"], "--channels belongs to --json"),
        (
            ["quantize", "{model}", "--fixed-point", "INT8", "--op-type", "Nope", "-o", "q.onnx"],
            "no Nope of the model reads a constant float",
        ),
        (["ingest", "{model}"], "is a QONNX file already; expected --output"),
        (
            ["partition", "{model}", "--rules", "{rules}", "-o", "{model}", "--input-type", "INT4"],
            "is no folder; expected one for the parts",
        ),
        (["transform", "{model}", "--pass", "change_batch", "-o", "t.onnx"], "Did you mean change_batch_size"),
    ],
)
def test_an_option_that_would_do_nothing_or_harm_is_refused(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(RELU), "m.onnx")
    np.save("x.npy", np.ones((3, 2), np.float32))
    Path("rules.yaml").write_text("default: host")
    before = Path("m.onnx").read_bytes()
    places = {"model": "m.onnx", "data": "x.npy", "rules": "rules.yaml"}
    done = CliRunner().invoke(app, [argument.format(**places) for argument in arguments])
    assert (done.exit_code, done.stdout) == (1, "")
    assert sentence in " ".join(done.stderr.split())
    assert Path("m.onnx").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "rules.yaml", "x.npy"]

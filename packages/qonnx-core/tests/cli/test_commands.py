"""The command line: what it prints, and how it says no."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

from qonnx_core import compile_model, load, save
from qonnx_core.cli.app import app
from qonnx_core.cli.guard import Terminated, guarded, sentence
from qonnx_core.errors import InvalidInput, Mismatch, StreamFault, ToolFailed, ToolMissing
from qonnx_core.ir.printable import shortened
from qonnx_core.testing.random_mlp import MlpShape, random_mlp


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    save(random_mlp(3), path)
    return path


@pytest.fixture
def samples(tmp_path: Path, model: Path) -> Path:
    graph = load(model)
    width = int(graph.graph.inputs[0].shape[1])
    x = np.random.default_rng(0).integers(0, 4, (7, width)).astype(np.float32)
    y = compile_model(graph).run({"global_in": x})["global_out"]
    path = tmp_path / "samples.npz"
    np.savez(path, x=x, y=y)
    return path


PLACES = {
    "model": "mlp.onnx",
    "text": "text.onnx",
    "out": "out",
    "folder": ".",
    "pipe": "pipe.onnx",
    "noout": "noout.onnx",
    "other": "model.txt",
}


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", ["doctor", "info", "clean", "run", "ingest", "partition", "build"])
def test_every_command_explains_itself(name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Usage" in out
    assert len(out.splitlines()) > 8


def test_run_compares_with_expected_outputs(model: Path, samples: Path, tmp_path: Path) -> None:
    code, out, _ = run("run", model, "--data", samples, "-o", tmp_path / "out.npz", "--json")
    assert code == 0
    check = json.loads(out)["check"]
    assert (check["samples"], check["equal"], check["mismatch"]) == (7, 7, 0)
    with np.load(samples) as given, np.load(tmp_path / "out.npz") as found:
        assert np.array_equal(given["y"], found["global_out"])


def test_a_wrong_expected_output_ends_with_code_3(model: Path, samples: Path) -> None:
    with np.load(samples) as given:
        wrong = given["y"].copy()
        wrong[4] += 1000
        np.savez(samples, x=given["x"], y=wrong)
    code, _, err = run("run", model, "--data", samples)
    assert code == 3
    assert "sample 4" in err


def test_info_prints_the_names_that_rules_use(model: Path) -> None:
    code, out, _ = run("info", model, "--json", "--input-type", "UINT2")
    assert code == 0
    nodes = json.loads(out)["nodes"]
    assert next(node["name"] for node in nodes if node["op_type"] == "MatMul") == "MatMul_0"
    assert any(node["grid"].startswith(("INT", "UINT", "BIPOLAR")) for node in nodes)


def test_clean_writes_a_file_that_stock_onnxruntime_runs(model: Path, samples: Path, tmp_path: Path) -> None:
    import onnxruntime

    target = tmp_path / "clean.onnx"
    assert run("clean", model, "-o", target, "--with-functions")[0] == 0
    with np.load(samples) as given:
        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"global_in": given["x"]})
        assert np.array_equal(found, given["y"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "nothing.onnx", "--data", "x.npz"], "nothing.onnx: found nothing"),
        (["run", "{model}", "--data", "nothing.npz"], "nothing.npz: found nothing"),
        (["run", "{model}", "--data", "{model}"], "not an .npz file"),
        (["clean", "{text}"], "text.onnx"),
        (["ingest", "{model}", "--frontend", "torch7"], "torch7: no such frontend"),
        (["info", "{model}", "--input-type", "pixels=UINT8"], "the model has no input pixels"),
        (["info", "{model}", "--input-type", "UINT8*1/0"], "UINT8*1/0"),
        (["build", "{model}", "-o", "{out}", "--backend", "vhdl"], "backend vhdl: there is none of this name; found "),
        (["build", "{model}", "-o", "{out}", "--backend", "fin"], "Did you mean finn?"),
        (["build", "{model}", "-o", "{out}", "--part", "xc9"], "xc9"),
        (
            ["build", "{model}", "-o", "{out}", "--clock-ns", "-1"],
            "--clock-ns: found -1.0; input should be greater than 0",
        ),
        (["build", "{model}", "-o", "{out}", "--synthesize", "asic"], "synthesis target asic is unknown"),
        (["build", "{model}", "-o", "{out}", "--target-fps", "1", "--target-cycles", "2"], "at most one"),
        (["build", "{model}", "-o", "{out}", "--target-fps", "nan"], "--target-fps: found nan"),
        (["build", "{model}", "-o", "{out}", "--target-cycles", "0"], "--target-cycles: found 0"),
        (["build", "{model}", "-o", "{out}", "--samples", "0"], "--samples: found 0"),
        (["build", "{model}", "-o", "{out}", "--seed", "-1"], "--seed: found -1"),
        (["build", "{model}", "-o", "{out}", "--steps", ","], "expected some of load, clean"),
        (["build", "{model}", "-o", "{out}", "--steps", "simulat"], "Did you mean simulate?"),
        (["build", "{model}", "-o", "{out}", "--backend", "finn", "--rules", "x"], "rules are given with backend finn"),
        (
            ["build", "{model}", "-o", "{out}", "--data", "nothing.npz"],
            "nothing.npz: found nothing; expected the",
        ),
        (["build", "{folder}", "-o", "{out}"], "found a folder; expected a QONNX model"),
        (["info", "{pipe}"], "found no file; expected a QONNX model"),
        (["info", "{noout}"], "the graph has no outputs"),
        (["info", "{other}"], "it is no .onnx file, and no installed frontend recognizes it"),
        (["info", "{model}", "--input-type", "x="], "--input-type x=: found no type"),
        (["info", "{model}", "--input-type", "UINT2", "--input-type", "UINT3"], "has two types, UINT2 and UINT3"),
        (["clean", "{model}", "-o", "nowhere/x.onnx"], "expected an existing, writable folder"),
        (["clean", "{model}", "-o", "/dev/null"], "is a device"),
    ],
)
def test_a_refusal_is_one_sentence(
    arguments: list[str], sentence: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("this is no model")
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "model.txt").write_text("this is no model")
    without = onnx.load(model)
    without.graph.ClearField("output")
    onnx.save(without, tmp_path / "noout.onnx")
    places = {name: str(tmp_path / file) for name, file in PLACES.items()}
    code, _, err = run(*(argument.format(**places) for argument in arguments))
    assert code == 1
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err


def test_a_typo_in_an_option_is_a_wrong_command_line(model: Path) -> None:
    assert run("build", model, "--outptu", "x")[0] == 2


def test_the_debug_option_may_stand_anywhere_and_shows_the_traceback() -> None:
    command = [sys.executable, "-c", "from qonnx_core.cli import main; main()", "clean", "nothing.onnx"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_doctor_names_every_required_tool() -> None:
    code, out, _ = run("doctor", "--json")
    found = {check["name"]: check for check in json.loads(out)}
    assert {"Python", "qonnx-core"} <= set(found)
    missing = [check for check in found.values() if check["required"] and not check["found"]]
    assert code == (4 if missing else 0)
    assert all(check["hint"] for check in missing)


def test_a_model_with_an_unknown_rounding_mode_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    node = next(node for node in proto.graph.node if node.op_type == "Quant")
    next(a for a in node.attribute if a.name == "rounding_mode").s = b"SIDEWAYS"
    broken = tmp_path / "broken.onnx"
    onnx.save(proto, broken)
    code, _, err = run("clean", broken)
    assert code == 1
    assert "SIDEWAYS" in err


def test_an_error_of_the_operating_system_is_a_sentence() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "out/parts")
    assert sentence(full) == (
        "out/parts: No space left on device. Check the path, its permissions and the space that is left there."
    )
    assert sentence(OSError(errno.ENOMEM, "Cannot allocate memory")).startswith("there is not enough memory (")
    assert sentence(OSError("4 requested and 0 written")) == "4 requested and 0 written"
    assert "not enough memory (no details); use fewer samples" in sentence(MemoryError())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 1),
        (Mismatch("x"), 3),
        (StreamFault("x"), 3),
        (ToolMissing("x"), 4),
        (ToolFailed("x", command=["x"], exit_code=1, log=None), 4),
        (OSError("x"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(15), 143),
    ],
)
def test_the_exit_code_tells_the_kind_of_failure(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as left:
        guarded(command)()
    assert left.value.exit_code == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_broken_model_is_told_once(model: Path) -> None:
    proto = onnx.load(model)
    proto.graph.node[4].input[0] = "nowhere"
    onnx.save(proto, model)
    done = subprocess.run(
        [sys.executable, "-c", "from qonnx_core.cli import main; main()", "info", str(model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "reads 'nowhere', which nothing produces" in done.stderr


def test_a_long_grid_is_shortened_in_the_table_only(tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    save(random_mlp(3, MlpShape(per_channel=True, power_of_two=False)), path)
    _, out, _ = run("info", path, "--input-type", "UINT2", "--json")
    assert max(len(node["grid"]) for node in json.loads(out)["nodes"]) > 60
    assert shortened("x" * 61) == "x" * 57 + "..."
    assert run("info", path, "--input-type", "UINT2")[0] == 0

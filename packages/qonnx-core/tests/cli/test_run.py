"""`qonnx run`: data from files and pipes, batch after batch; results whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from qonnx_core import compile_model, load, save
from qonnx_core.cli.app import app
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

COMMAND = [sys.executable, "-c", "from qonnx_core.cli import main; main()"]
X = np.random.default_rng(0).integers(-4, 4, (11, 6)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    save(random_mlp(3, MlpShape(widths=(6, 8, 5), tail=False)), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path


def outputs(model: Path, *names: str) -> dict[str, np.ndarray]:
    return compile_model(load(model)).run({"global_in": X}, names)


def run(*arguments: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("size", [1, 4, 11, 100])
def test_every_batch_size_gives_the_same_file(size: int, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert run("run", model, "--data", data, "-o", out, "--batch-size", size, "--intermediate", "*")[0] == 0
    expected = outputs(model, "*")
    with np.load(out) as found:
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    again = tmp_path / "again.npz"
    run("run", model, "--data", data, "-o", again, "--batch-size", 3, "--intermediate", "*")
    assert out.read_bytes() == again.read_bytes()


def test_one_output_can_be_an_npy(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    assert run("run", model, "--data", data, "-o", out, "--batch-size", 4)[0] == 0
    np.testing.assert_array_equal(np.load(out), outputs(model)["global_out"])
    code, _, err = run("run", model, "--data", data, "-o", out, "--intermediate", "*")
    assert code == 1
    assert "an .npy file holds one" in " ".join(err.split())
    np.testing.assert_array_equal(np.load(out), outputs(model)["global_out"])


def test_data_come_from_standard_input_and_results_go_to_standard_output(model: Path, data: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", str(model), "--data", "-", "-o", "-"],
        input=data.read_bytes(),
        capture_output=True,
        check=True,
    )
    with np.load(io.BytesIO(done.stdout)) as found:
        np.testing.assert_array_equal(found["global_out"], outputs(model)["global_out"])
    assert b"outputs" in done.stderr


def test_the_model_comes_from_standard_input(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    command = [*COMMAND, "run", "-", "--data", str(data), "-o", str(out), "--json"]
    done = subprocess.run(command, input=model.read_bytes(), capture_output=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [11, 5]
    assert done.stderr == b""


def test_labels_give_the_accuracy(model: Path, data: Path, tmp_path: Path) -> None:
    classes = outputs(model)["global_out"].argmax(axis=1)
    classes[[2, 5]] = (classes[[2, 5]] + 1) % 5
    np.save(tmp_path / "labels.npy", classes)
    np.savez(tmp_path / "both.npz", x=X, labels=classes, target=classes)
    expected = {"samples": 11, "correct": 9, "top1": 9 / 11}
    for arguments in (
        ("--data", data, "--labels", tmp_path / "labels.npy"),
        ("--data", tmp_path / "both.npz"),
        ("--data", tmp_path / "both.npz", "--labels", "target", "--batch-size", 2),
    ):
        code, out, _ = run("run", model, *arguments, "--json")
        assert (code, json.loads(out)["accuracy"]) == (0, expected)
    assert "accuracy: 9 of 11 (81.82%)" in run("run", model, "--data", tmp_path / "both.npz")[1]


def test_a_wrong_expected_output_is_found_in_its_batch(model: Path, tmp_path: Path) -> None:
    wrong = outputs(model)["global_out"].copy()
    wrong[7] += 1000
    np.savez(tmp_path / "d.npz", x=X, y=wrong)
    code, out, err = run("run", model, "--data", tmp_path / "d.npz", "--batch-size", 3, "--json")
    assert code == 3
    assert "sample 7" in err
    check = json.loads(out)["check"]
    assert (check["samples"], check["equal"], check["mismatch"], check["first"]["sample"]) == (11, 10, 1, 7)


def test_pixels_become_numbers_from_0_to_1(model: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    run("run", model, "--data", tmp_path / "x.npy", "--pixels", "-o", tmp_path / "y.npy")
    expected = compile_model(load(model)).run({"global_in": pixels.astype(np.float32) / np.float32(255)})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected["global_out"])


def test_centered_pixels_become_numbers_from_minus_1_to_1(model: Path, data: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6)).astype(np.uint8)
    np.save(tmp_path / "u.npy", pixels)
    run("run", model, "--data", tmp_path / "u.npy", "--pixels", "--center", "-o", tmp_path / "y.npy")
    centered = 2 * (pixels.astype(np.float32) / np.float32(255)) - np.float32(1)
    expected = compile_model(load(model)).run({"global_in": centered})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected["global_out"])
    code, _, err = run("run", model, "--data", tmp_path / "u.npy", "--center")
    assert (code, "--center: stands alone; expected --pixels with it" in err) == (1, True)
    code, _, err = run("run", model, "--data", data, "--pixels")
    assert (code, "--pixels: found inputs global_in of float32; expected integers" in err) == (1, True)


@pytest.mark.parametrize("size", [2, 4, 100])
def test_only_the_first_samples_are_run(size: int, model: Path, tmp_path: Path) -> None:
    wanted = outputs(model)["global_out"]
    np.savez(tmp_path / "d.npz", x=X, y=wanted, labels=wanted.argmax(axis=1))
    arguments = ("--samples", 5, "--batch-size", size, "-o", tmp_path / "o.npz", "--json")
    code, out, _ = run("run", model, "--data", tmp_path / "d.npz", *arguments)
    found = json.loads(out)
    assert (code, found["check"]["samples"], found["accuracy"]["samples"]) == (0, 5, 5)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npz")["global_out"], wanted[:5])
    code, out, _ = run("run", model, "--data", tmp_path / "d.npz", "--samples", 100, "--json")
    assert json.loads(out)["check"]["samples"] == len(X)


def test_json_has_texts_for_numbers_that_it_does_not_know(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[N, 1] x) => (float[N, 1] y) { y = Identity(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    for values, expected in (([1, np.inf], [1.0, "Infinity"]), ([-np.inf, np.nan], ["NaN", "NaN"])):
        np.save(tmp_path / "x.npy", np.array(values, np.float32).reshape(2, 1))
        _, out, _ = run("run", tmp_path / "m.onnx", "--data", tmp_path / "x.npy", "--allow-nan", "--json")
        row = json.loads(out, parse_constant=lambda text: pytest.fail(text))["outputs"][0]
        assert [row["min"], row["max"]] == expected


def test_fast_mode_runs(model: Path, data: Path, tmp_path: Path) -> None:
    code, _, err = run("run", model, "--data", data, "--mode", "fast", "--threads", 2, "-o", tmp_path / "y.npy")
    assert (code, err) == (0, "")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), outputs(model)["global_out"], rtol=1e-4)


def test_expected_outputs_are_compared_in_exact_mode_alone(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=outputs(model)["global_out"] + 1000)
    code, out, err = run("run", model, "--data", tmp_path / "d.npz", "--mode", "fast", "--json")
    assert (code, json.loads(out)["check"]) == (0, None)
    assert "expected outputs are compared in mode exact alone" in " ".join(err.split())
    assert run("run", model, "--data", tmp_path / "d.npz")[0] == 3


NAN = X.copy()
NAN[4, 2] = np.nan


@pytest.mark.parametrize(
    ("array", "arguments", "sentence", "code"),
    [
        (NAN, [], "input global_in: sample 4 holds NaN; expected numbers", 1),
        (NAN, ["--batch-size", "1"], "sample 4 holds NaN", 1),
        (NAN, ["--allow-nan"], "", 0),
        (X[:, :3], [], "input global_in: has shape (11, 3); expected (", 1),
        (np.asarray([None] * 3), [], "holds Python objects, which are never loaded", 1),
        (np.asarray(["a"]), [], "holds elements of type <U1; expected numbers", 1),
        (X / 3, ["--provider", "cuda"], "provider cuda: ", 4),
        (X, ["--labels", "nothing"], "--labels nothing: is neither an array of", 1),
        (X, ["--intermediate", "nothing"], "the model computes none of this name", 1),
        (X, ["--batch-size", "0"], "Invalid value for '--batch-size'", 2),
        (X, ["-o", "nowhere/out.npz"], "nowhere/out.npz: cannot be written", 1),
        (X, ["-o", "-", "--json"], "writes to standard output, as --json does", 1),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    array: np.ndarray, arguments: list[str], sentence: str, code: int, model: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    before = sorted(tmp_path.iterdir())
    found, _, err = run("run", model, "--data", tmp_path / "x.npy", *arguments)
    assert sentence in " ".join(err.replace("│", " ").split())
    assert found == code
    assert sorted(tmp_path.iterdir()) == before


def test_labels_have_to_be_as_many_as_samples(model: Path, data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(12, np.int64))
    code, _, err = run("run", model, "--data", data, "--labels", tmp_path / "labels.npy")
    assert (code, "holds 12 numbers; expected 11" in err) == (1, True)


def test_empty_standard_input_is_refused(model: Path) -> None:
    for arguments in (["run", model, "--data", "-"], ["run", "-", "--data", model]):
        code, _, err = run(*arguments, stdin=b"")
        assert code == 1
        assert err.startswith("error: standard input: ")
    assert "stands for several" in run("run", "-", "--data", "-", stdin=b"")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_old_file_and_nothing_else(number: int, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((300_000, 6), np.float32))
    out = tmp_path / "out.npz"
    out.write_text("as before")
    before = sorted(path.name for path in tmp_path.iterdir())
    command = [*COMMAND, "run", str(model), "--data", str(tmp_path / "x.npy"), "-o", str(out), "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not any(tmp_path.glob(".results-*/0.npy")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.decode().strip() == "interrupted; nothing half-written is left"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert out.read_text() == "as before"


def test_progress_is_shown_on_a_terminal_and_json_stays_pure(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((500, 6), np.float32))
    ours, theirs = pty.openpty()
    command = [*COMMAND, "run", str(model), "--data", str(tmp_path / "x.npy"), "--batch-size", "2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while block := os.read(ours, 4096):
                shown += block
        found = json.loads(process.stdout.read())
    os.close(ours)
    assert process.returncode == 0
    assert b"500" in shown
    assert found["outputs"][0]["shape"] == [500, 5]


def test_a_reader_that_has_seen_enough_is_no_error(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100_000, 6), np.float32))
    command = [*COMMAND, "run", str(model), "--data", str(tmp_path / "x.npy"), "-o", "-", "--intermediate", "*"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(4) == b"PK\x03\x04"
        process.stdout.close()
        err = process.stderr.read().decode()
        process.wait(timeout=60)
    assert process.returncode == 128 + signal.SIGPIPE
    assert "error" not in err
    assert "Traceback" not in err


def test_a_result_without_samples_in_front_is_shown_as_it_is(tmp_path: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 18]> g (bool c) => (float[2] y) <float[2] k = {1, 2}, float[2] l = {3, 4}>'
    )
    onnx.save(onnx.parser.parse_model(text + " { y = Where(c, k, l) }"), tmp_path / "m.onnx")
    np.save(tmp_path / "c.npy", np.asarray(True))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "c.npy"), "--json"])
    assert json.loads(done.stdout)["outputs"] == [
        {"name": "y", "shape": [2], "dtype": "float32", "min": 1.0, "max": 2.0},
    ]  # fmt: skip

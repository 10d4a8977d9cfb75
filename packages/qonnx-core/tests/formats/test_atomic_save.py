"""Saving is whole or not at all: whatever goes wrong, the file that was there is there and can be read."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.formats import writer


def model(number: float, size: int = 300) -> ir.Model:
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape(["N", size]))
    w = ir.val("w", const_value=ir.tensor(np.full(size, number, np.float32), name="w"))
    node = ir.node("Mul", [x, w])
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], name="g", opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def number_in(file: Path) -> float:
    return float(qonnx_core.load(file).graph.initializers["w"].const_value.numpy()[0])


@pytest.fixture(params=["inside", "beside"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep tensors in the file, or in one beside it as for models above 2 GB."""
    if request.param == "beside":
        monkeypatch.setattr(writer, "_MAX_INLINE_BYTES", 100)
    return str(request.param)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_failing_disk_leaves_the_old_file(
    place: str, call: str, turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn is which of the calls fails: with tensors beside the file there are two of each."""
    if turn and place == "inside":
        pytest.skip("there is one file to write")
    file = tmp_path / "m.onnx"
    qonnx_core.save(model(1), file)
    before = sorted(path.name for path in tmp_path.iterdir())
    calls = 0
    real = getattr(os, call)

    def fail(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == turn + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(InvalidInput, match=r"m.onnx: cannot be written \(Input/output error\)"):
            qonnx_core.save(model(2), file)
    assert number_in(file) == 1
    assert set(before) <= {path.name for path in tmp_path.iterdir()}
    qonnx_core.save(model(3), file)
    assert number_in(file) == 3
    assert len([path for path in tmp_path.iterdir() if not path.name.startswith(".")]) == len(before)


def test_a_full_disk_is_said_so_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    file = tmp_path / "m.onnx"
    qonnx_core.save(model(1), file)
    program = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_atomic_save import model
        import qonnx_core
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            qonnx_core.save(model(2, 5000), {str(file)!r})
        except qonnx_core.InvalidInput as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=True
    )
    assert "m.onnx: cannot be written (File too large); expected room on the disk" in done.stdout
    assert number_in(file) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    qonnx_core.save(model(0), file)
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_atomic_save import model
        import qonnx_core
        models = [model(number, 20000) for number in (1, 2)]
        print("ready", flush=True)
        while True:
            for each in models:
                qonnx_core.save(each, {str(file)!r})
    """
    for attempt in range(3):
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            child.wait(0.05 * (attempt + 1))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert child.returncode == -signal.SIGKILL
        assert number_in(file) in (0, 1, 2)

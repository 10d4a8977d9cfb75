"""Commands on damaged models, arrays and settings end with an exit code, and leave nothing that is half written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qonnx_core.testing.command_fuzzing import command_line, run_command


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_commands_on_damaged_files_end_with_an_exit_code(first: int, tmp_path: Path) -> None:
    """`nox -s fuzz` runs many more."""
    for case in range(first, first + 10):
        folder = tmp_path / str(case)
        folder.mkdir()
        assert run_command(case, folder) is None


def test_a_file_that_a_refused_command_leaves_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(generator: random.Random) -> list[str]:
        Path("out").joinpath("half").write_text("")
        return ["info", "nothing.onnx"]

    monkeypatch.setattr("qonnx_core.testing.command_fuzzing.command_line", leave)
    monkeypatch.chdir(tmp_path)
    assert "was refused and left" in (run_command(0, tmp_path) or "")


def test_every_command_that_reads_files_is_drawn() -> None:
    drawn = {command_line(random.Random(case))[0] for case in range(300)}
    assert drawn >= {"info", "cost", "range", "clean", "convert", "run", "diff", "stats", "partition", "build"}
    assert drawn >= {"prune", "quantize", "transform"}

"""A build's folder: recognized, held by one build at a time, changed only as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qonnx_core.build.folder import CONFIG, discard, held, make_directory, write_text
from qonnx_core.errors import InvalidInput


def test_a_folder_is_made_and_held_by_one(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with held(output, []), pytest.raises(InvalidInput, match="another build is using this folder"), held(output, []):
        pass
    with held(output, []):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom qonnx_core.build.folder import held\n"
        "with held(Path(sys.argv[1]), []):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    assert (tmp_path / ".lock").is_file()
    with held(tmp_path, []):
        pass


def test_what_no_build_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"holds parts, but no build \(build\.json\)"), held(tmp_path, ["parts"]):
        pass
    write_text(tmp_path / CONFIG, "{}")
    with held(tmp_path, ["parts"]):
        pass


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_a_file_is_no_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is no folder; expected a folder for the build"), held(tmp_path / place, []):
        pass


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"cannot be written \(.*\); expected a folder"), held(Path("/proc/x"), []):
        pass


def test_a_link_is_not_followed_to_lock_another_file(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="cannot be written"), held(tmp_path, []):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_fails_keeps_the_one_before(tmp_path: Path) -> None:
    final = tmp_path / "parts"
    make_directory(final, lambda place: write_text(place / "a", "old"))

    def broken(place: Path) -> None:
        write_text(place / "a", "new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_directory(final, broken)
    assert (final / "a").read_text() == "old"
    make_directory(final, lambda place: write_text(place / "a", "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert (final / "a").read_text() == "new"


def test_discarding_takes_what_an_interruption_left(tmp_path: Path) -> None:
    for name in ("step", ".partial-step", ".discarded-step"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    discard(tmp_path / "step")
    assert os.listdir(tmp_path) == []


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("")
    (tmp_path / "step").symlink_to(tmp_path / "elsewhere")
    discard(tmp_path / "step")
    assert (tmp_path / "elsewhere" / "file").exists()
    assert not (tmp_path / "step").is_symlink()

"""The folder of a build: made or recognized, held by one build at a time, and changed only as a whole.

A directory becomes visible under its own name when it is complete, and goes out of sight before it is taken apart, so
that a build that is killed at any moment leaves nothing that looks finished and is not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qonnx_core.errors import InvalidInput

CONFIG = "build.json"
LOCK = ".lock"
_PARTIAL = ".partial-"
_DISCARDED = ".discarded-"


@contextmanager
def held(output: Path, own_names: Iterable[str]) -> Iterator[None]:
    """Make the folder where it is missing, and hold it against every other build until the block ends.

    The lock is the kernel's: it ends with this process, however that ends.

    Raises:
        InvalidInput: when the path is no folder, cannot be written, is in use by another build, or holds entries under
            the names a build uses (``own_names``) that no build made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"{output}: it, or a part of it, is no folder; expected a folder for the build. Choose another --output."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(
            f"{output}: cannot be written ({reason}); expected a folder for the build. Choose another --output."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(
                f"{output}: another build is using this folder; wait for it, or choose another --output."
            ) from error
        if not (output / CONFIG).is_file() and (foreign := [n for n in own_names if os.path.lexists(output / n)]):
            raise InvalidInput(
                f"{output}: holds {', '.join(foreign)}, but no build ({CONFIG}); a build would replace what is there. "
                "Choose an empty folder as --output."
            )
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole: what was there stays until the new one is complete."""
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def make_directory(final: Path, make: Callable[[Path], None]) -> None:
    """Make a directory as a whole: ``make`` fills it under another name, and what was there before is discarded."""
    partial = final.with_name(f"{_PARTIAL}{final.name}")
    _remove(partial)
    partial.mkdir(parents=True)
    make(partial)
    _set_aside(final)
    os.replace(partial, final)


def discard(path: Path) -> None:
    """Remove a file or directory of the build, out of sight first, with what an interruption left of it."""
    _set_aside(path)
    _remove(path.with_name(f"{_PARTIAL}{path.name}"))


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{_DISCARDED}{path.name}")
    _remove(aside)
    if os.path.lexists(path):
        os.replace(path, aside)
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""Standard output of the command: how it ends where nobody reads on, or where there is no room for more."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class ReaderGone(BaseException):
    """Whoever read standard output has seen enough; passes all handlers of errors, so that it ends without a word."""


class _Output(io.FileIO):
    """Standard output whose closed reader is told apart from those of other pipes and sockets."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content) or 0
        except BrokenPipeError:
            raise ReaderGone from None


@contextmanager
def standard_output() -> Iterator[None]:
    """Let the program end as by SIGPIPE, and quietly, where the reader of its output has gone: ``| head`` does that.

    Scratch files are removed on the way. What is written last and finds no room raises OSError.
    """
    _open_closed()
    if not _is_plain(sys.stdout):
        yield
        return
    before = sys.stdout
    before.flush()
    raw = io.BufferedWriter(_Output(_STDOUT, "w", closefd=False))
    lines = before.isatty()
    # As on standard error: a name that the encoding lacks is written as \xe9, instead of ending a command that is done.
    stream = io.TextIOWrapper(raw, encoding=before.encoding, errors="backslashreplace", line_buffering=lines)
    sys.stdout = stream
    try:
        with _flushed(stream):
            yield
    except ReaderGone:
        raise SystemExit(128 + signal.SIGPIPE) from None
    finally:
        _forget(stream)
        sys.stdout = before


@contextmanager
def _flushed(stream: io.TextIOWrapper) -> Iterator[None]:
    """Write out what is left in the stream, unless there was an error, which is said already."""
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise
        stream.flush()
        raise
    stream.flush()


def _open_closed() -> None:
    """Let standard streams that the shell closed (``>&-``) lead nowhere, instead of into the next file opened."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= _STDERR:
        nowhere = os.dup(nowhere)
    os.close(nowhere)
    sys.stdin = sys.stdin or os.fdopen(_STDIN, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(_STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(_STDERR, "w", closefd=False)


def _is_plain(stream: Any) -> bool:
    """Return whether a stream writes to the process's standard output."""
    try:
        return bool(stream.fileno() == _STDOUT)
    except (OSError, ValueError, AttributeError):
        return False


def _forget(stream: io.TextIOWrapper) -> None:
    """Close the stream; what it could not write is written nowhere, instead of once more at the end of the process."""
    try:
        stream.flush()
    except (OSError, ReaderGone):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)
    with suppress(OSError, ValueError):
        stream.close()

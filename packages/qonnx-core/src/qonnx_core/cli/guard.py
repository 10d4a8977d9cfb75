"""Errors on the command line: one sentence on standard error and an exit code that tells the kind of failure."""

from __future__ import annotations

import functools
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

import typer

from qonnx_core.errors import Mismatch, QonnxError, StreamFault, ToolFailed, ToolMissing

EXIT_REFUSED = 1
EXIT_MISMATCH = 3
EXIT_TOOL = 4
EXIT_INTERRUPTED = 130

P = ParamSpec("P")
R = TypeVar("R")

_state = {"tracebacks": False}


def show_tracebacks(wanted: bool) -> None:
    """Let errors of this process be raised with their traceback (``--debug``), or be said in one sentence."""
    _state["tracebacks"] = wanted


class Terminated(BaseException):
    """The process was asked to end by a signal; raised where it happens, so that child processes end too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


INTERRUPTED = "interrupted; nothing half-written is left"


def guarded(command: Callable[P, R], interrupted: str = INTERRUPTED) -> Callable[P, R]:
    """Return the command with its errors turned into sentences and exit codes; says ``interrupted`` where it was."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _signals_raise():
                return command(*args, **kwargs)
        except (KeyboardInterrupt, Terminated) as stop:
            typer.echo(interrupted, err=True)
            code = 128 + stop.number if isinstance(stop, Terminated) else EXIT_INTERRUPTED
            raise typer.Exit(code) from None
        except (QonnxError, OSError, MemoryError) as error:
            raise typer.Exit(refused(error)) from None

    return run


def refused(error: Exception) -> int:
    """Say an error on standard error, with its traceback where that is wanted, and return its exit code."""
    if _state["tracebacks"]:
        traceback.print_exception(error)
    else:
        typer.echo(f"error: {sentence(error)}", err=True)
    return exit_code(error)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `Terminated`; only the main thread of a process may do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def sentence(error: Exception) -> str:
    """Return an error as one reads it; those of the operating system say what to look at."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({str(error) or 'no details'}); use fewer samples or a smaller model."
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}. Check the path, its permissions and the space that is left there."
    return str(error)


def exit_code(error: Exception) -> int:
    """Return the exit code that tells this kind of failure."""
    if isinstance(error, Mismatch | StreamFault):
        return EXIT_MISMATCH
    if isinstance(error, ToolMissing | ToolFailed):
        return EXIT_TOOL
    return EXIT_REFUSED

"""Errors on the command line: one sentence on standard error and an exit code that tells the kind of failure."""

from __future__ import annotations

import errno
import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from qonnx_core.cli.signals import Terminated, signals_raise
from qonnx_core.errors import Mismatch, QonnxError, StreamFault, ToolFailed, ToolMissing
from qonnx_core.ir.printable import printable

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


INTERRUPTED = "interrupted; nothing half-written is left"


def guarded(command: Callable[P, R], interrupted: str = INTERRUPTED) -> Callable[P, R]:
    """Return the command with its errors turned into sentences and exit codes; says ``interrupted`` where it was."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with signals_raise():
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
        parts = traceback.format_exception(error)
        typer.echo("\n".join(printable(part.strip("\n")) for part in parts), err=True)
    else:
        typer.echo(f"error: {printable(sentence(error))}", err=True)
    return exit_code(error)


def sentence(error: Exception) -> str:
    """Return an error as one reads it; those of the operating system say what to look at."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
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

"""Errors on the command line: one sentence on standard error and an exit code that tells the kind of failure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from qonnx_core.errors import Mismatch, QonnxError, ToolFailed, ToolMissing

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


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Return the command with its errors turned into sentences and exit codes."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("interrupted; finished steps are kept, the same command goes on from there", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (QonnxError, OSError) as error:
            if _state["tracebacks"]:
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(exit_code(error)) from None

    return run


def exit_code(error: Exception) -> int:
    """Return the exit code that tells this kind of failure."""
    if isinstance(error, Mismatch):
        return EXIT_MISMATCH
    if isinstance(error, ToolMissing | ToolFailed):
        return EXIT_TOOL
    return EXIT_REFUSED

"""Gathers the subcommands."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer import completion
from typer.core import TyperCommand, TyperGroup

from qonnx_core import __version__
from qonnx_core.cli import (
    build,
    clean,
    convert,
    cost,
    diff,
    doctor,
    info,
    ingest,
    partition,
    prune,
    quantize,
    ranges,
    run,
    stats,
    transform,
    view,
    zoo,
)
from qonnx_core.cli.guard import EXIT_REFUSED, INTERRUPTED, guarded, show_tracebacks


class _BareFlags:
    """Shows an option that takes no value without the name of a type, which reads as if one had to be given."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments and options."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class _Group(_BareFlags, TyperGroup):
    """The application."""


class _Command(_BareFlags, TyperCommand):
    """A subcommand; no argument or option of any of them is ever empty, and ``-o=FILE`` is ``-o FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty words, which would stand for the current folder where a path is meant."""
        options = args.index("--") if "--" in args else len(args)
        args = [
            f"--output={word[3:]}" if number < options and word.startswith("-o=") else word
            for number, word in enumerate(args)
        ]
        for before, word in zip(["", *args], args, strict=False):
            option = before if not word and before.startswith("-") else word.removesuffix("=")
            if not word or (word.startswith("--") and word.endswith("=")):
                typer.echo(
                    f"error: {option or 'an argument'}: is empty; expected a name or a value. Check variables of the "
                    "shell, or leave it out.",
                    err=True,
                )
                raise typer.Exit(EXIT_REFUSED)
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="qonnx",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,  # the options below, which name the shell, take its place
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Quantized neural networks from QONNX to verified hardware: run, check, cut and build models.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong command line, 3 results differ, 4 tool missing or failed, "
    "130 interrupted.",
)


def _flowing(text: str) -> str:
    """Return a help text whose paragraphs fill the width; indented lines and commands stay, brackets are no markup."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1] and line and not line.startswith((" ", "qonnx ")) and not lines[-1].startswith(" "):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return escape("\n".join(lines))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"qonnx-core {__version__}")
        raise typer.Exit


class Shell(StrEnum):
    """A shell that completes commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere on the line.")
    ] = False,
    install_completion: Annotated[
        Shell | None,
        typer.Option(
            "--install-completion",
            callback=completion.install_callback,
            is_eager=True,
            help="Let this shell complete commands, options, model files and tensors, from its next start on.",
        ),
    ] = None,
    show_completion: Annotated[
        Shell | None,
        typer.Option(
            "--show-completion",
            callback=completion.show_callback,
            is_eager=True,
            help="Print what this shell needs for that.",
        ),
    ] = None,
) -> None:
    """Take the options that every subcommand shares."""
    del version, install_completion, show_completion  # their callbacks have done all
    show_tracebacks(debug)
    # onnx-ir warns about a broken model before our own error says the same.
    logging.getLogger("onnx_ir").setLevel(logging.DEBUG if debug else logging.CRITICAL)


completion.completion_init()  # type: ignore[attr-defined]  # done only where typer adds options of its own
COMMANDS = (
    doctor,
    info,
    cost,
    ranges,
    clean,
    convert,
    run,
    diff,
    stats,
    view,
    zoo,
    ingest,
    partition,
    build,
    transform,
    prune,
    quantize,
)
for module in COMMANDS:
    app.command(module.NAME, cls=_Command, help=_flowing(module.HELP))(
        guarded(module.command, getattr(module, "INTERRUPTED", INTERRUPTED))
    )

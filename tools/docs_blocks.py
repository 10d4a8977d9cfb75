"""Finds the code blocks of a documentation page and runs them, in order, in one folder and one namespace.

What runs: ``python`` blocks, and ``sh`` blocks, whose commands have to be ``qonnx ...``. A comment in front of a block
changes that, and one behind it shows what the block printed::

    <!-- not run: needs Verilator -->      the block is only shown; the reason is for people who read the source
    <!-- exit code: 3 -->                  a command of the block ends with this code
    <!-- output -->                        stands for what the block printed
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

RUN = ("python", "sh")
_WIDTH = "132"  # columns of tables that commands print
_LIMIT_SECONDS = 60
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
_BEFORE = re.compile(r"<!-- (not run|exit code): (.+?) -->\s*\Z")
_OUTPUT = re.compile(r"\s*?\n *<!-- output -->")


class BlockFailed(Exception):
    """A code block of a page does not do what the page says."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text without indent, its first line in the page, and where it ends there."""

    language: str
    text: str
    line: int
    end: int
    indent: str
    not_run: str | None
    exit_code: int


def blocks_of(page: str) -> list[Block]:
    """Return all fenced blocks of a page in order."""
    found = []
    for match in _BLOCK.finditer(page):
        before = _BEFORE.search(page, 0, match.start())
        kind, value = before.groups() if before else ("", "")
        indent = match["indent"]
        text = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        found.append(
            Block(
                match["language"],
                text,
                page.count("\n", 0, match.start()) + 1,
                match.end(),
                indent,
                value if kind == "not run" else None,
                int(value) if kind == "exit code" else 0,
            )
        )
    return found


def commands_of(text: str) -> list[str]:
    """Return the commands of a ``sh`` block: lines, joined where one ends with a backslash; comments left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


def with_outputs(page: str, folder: Path, name: str) -> str:
    """Run the blocks of a page in ``folder`` and return the page with what they printed in its places.

    Raises:
        BlockFailed: a block fails, is of a kind that cannot be run, or is not run although its output is asked for.
    """
    module = types.ModuleType(f"page_{re.sub(r'[^0-9A-Za-z]', '_', name)}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    parts: list[str] = []
    start = 0
    try:
        for block in blocks_of(page):
            wanted = _OUTPUT.match(page, block.end)
            runs = block.language in RUN and block.not_run is None
            if wanted and not runs:
                raise BlockFailed(f"{name}:{block.line}: the output of a block that is not run cannot be shown")
            printed = _run(block, module, folder, f"{name}:{block.line}") if runs else ""
            parts.append(page[start : block.end])
            start = block.end
            if wanted:
                text = "\n".join(f"{block.indent}{line.rstrip()}" for line in printed.rstrip().splitlines())
                parts.append(f"\n\n{block.indent}```text\n{text}\n{block.indent}```")
                start = wanted.end()
    finally:
        del sys.modules[module.__name__]
    return "".join([*parts, page[start:]])


def _run(block: Block, module: types.ModuleType, folder: Path, where: str) -> str:
    action: Callable[[], None]
    if block.language == "python":
        action = lambda: exec(compile(block.text, where, "exec"), module.__dict__)  # noqa: E731, S102
    else:
        action = lambda: _run_commands(block, where)  # noqa: E731
    out = io.StringIO()
    with _working_in(folder), contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            action()
        except BlockFailed:
            raise
        except Exception as error:
            raise BlockFailed(f"{where}: {type(error).__name__}: {error}\n{out.getvalue()}") from error
    return out.getvalue()


def _run_commands(block: Block, where: str) -> None:
    commands = commands_of(block.text)
    for number, command in enumerate(commands):
        words = shlex.split(command)
        if words[0] != "qonnx":
            raise BlockFailed(f"{where}: {command!r} is no qonnx command; mark the block with <!-- not run: reason -->")
        if any(sign in words for sign in ("|", ">", "<", "&&")):
            code, errors = _in_shell(command)
        else:
            code, errors = _in_process(words[1:])
        expected = block.exit_code if number == len(commands) - 1 else 0
        if code != expected:
            raise BlockFailed(f"{where}: {command}: exit code {code}, expected {expected}\n{errors}")
        if expected:
            print(errors, end="")


def _in_process(arguments: list[str]) -> tuple[int, str]:
    """Return the exit code of the command line and what it wrote to standard error."""
    from qonnx_core.cli.app import app

    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            app(args=arguments, prog_name="qonnx")
        except SystemExit as end:
            return (end.code if isinstance(end.code, int) else 0 if end.code is None else 1), errors.getvalue()
    return 0, errors.getvalue()


def _in_shell(command: str) -> tuple[int, str]:
    """Run a line with pipes or redirections; what it prints is printed here."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    print(done.stdout, end="")
    return done.returncode, done.stderr


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Make a folder the working directory, and the terminal as wide as the pages."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before

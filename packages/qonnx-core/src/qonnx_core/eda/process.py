"""The one door to child processes: own process group, time limit, log kept, errors with the lines that matter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qonnx_core.errors import ToolFailed, ToolMissing

_RELEVANT = re.compile(r"%error|\berror\b|\bfatal\b|exception|undefined reference|no such file|killed", re.IGNORECASE)
_MAX_LINES = 12
_MAX_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Completed:
    """A tool that ended with exit code 0."""

    command: tuple[str, ...]
    log: Path
    seconds: float


def relevant_lines(text: str) -> list[str]:
    """Return the lines of a log that tell why a tool failed: those that speak of an error, else the last ones."""
    lines = [line.rstrip()[:400] for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _RELEVANT.search(line)]
    return telling[:_MAX_LINES] if telling else lines[-_MAX_LINES:]


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _MAX_LOG_BYTES))
        return stream.read().decode("utf-8", errors="replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and every descendant that stayed in its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def run_tool(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Completed:
    """Run a tool to its end, its output in ``log``; ``env`` is added to the environment.

    The tool gets a process group of its own, which is killed as a whole when the time (s) is up or the wait is
    interrupted, so that no grandchild (a mapper, a compiler pass) stays behind.

    Raises:
        ToolMissing: if the program does not exist.
        ToolFailed: if it ends with another exit code than 0, or runs out of time; with the relevant lines of the log.

    """
    words = tuple(str(word) for word in command)
    tool = name or Path(words[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if not cwd.is_dir():
                raise
            raise ToolMissing(f"{tool}: {words[0]} was not found; install it, `qonnx doctor` says how.") from error
        try:
            exit_code = process.wait(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            _kill_group(process)
            lines = "\n  ".join(relevant_lines(_tail(log)))
            raise ToolFailed(
                f"{tool}: did not end within {timeout:g} s and was stopped; log in {log}. "
                f"Allow more time or make the design smaller.\n  {lines}".rstrip(),
                command=words,
                exit_code=None,
                log=log,
            ) from error
        except BaseException:
            _kill_group(process)
            raise
    if exit_code != 0:
        _kill_group(process)
        lines = "\n  ".join(relevant_lines(_tail(log))) or "(no output)"
        ended = f"exit code {exit_code}" if exit_code > 0 else f"signal {signal.Signals(-exit_code).name}"
        raise ToolFailed(
            f"{tool}: ended with {ended}; log in {log}.\n  {lines}", command=words, exit_code=exit_code, log=log
        )
    return Completed(words, log, time.monotonic() - started)

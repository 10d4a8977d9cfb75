"""The one door to child processes: own process group, time limit, log kept, errors with the lines that matter."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
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

# The tool's group holds a second process that reads from this process. It reads nothing, until this process is gone,
# however that came about (SIGKILL too), and then ends the group. `exec` keeps the tool's exit code its own.
_LEASHED = (
    "/bin/sh",
    "-c",
    'exec 3<&0 </dev/null; { read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec 3<&-; exec "$@"',
    "leash",
)


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
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _require_program(program: str, tool: str, cwd: Path, environment: Mapping[str, str]) -> None:
    found = cwd / program if "/" in program else shutil.which(program, path=environment.get("PATH"))
    if found is None or not os.access(found, os.X_OK):
        raise ToolMissing(f"{tool}: {program} was not found; install it, `qonnx doctor` says how.")


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

    The tool gets a process group of its own, which is killed as a whole when the time (s) is up, the wait is
    interrupted, or this process dies, so that no grandchild (a mapper, a compiler pass) stays behind.

    Raises:
        ToolMissing: if the program does not exist.
        ToolFailed: if it ends with another exit code than 0, or runs out of time; with the relevant lines of the log.

    """
    words = tuple(str(word) for word in command)
    tool = name or Path(words[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **(env or {})}
    _require_program(words[0], tool, cwd, environment)
    started = time.monotonic()
    leash, ours = os.pipe()
    with log.open("wb") as output, os.fdopen(ours, "wb"):
        try:
            process = subprocess.Popen(
                (*_LEASHED, *words),
                cwd=cwd,
                env=environment,
                stdin=leash,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(leash)
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
        _kill_group(process)
    if exit_code != 0:
        lines = "\n  ".join(relevant_lines(_tail(log))) or "(no output)"
        ended = f"exit code {exit_code}" if exit_code > 0 else f"signal {signal.Signals(-exit_code).name}"
        raise ToolFailed(
            f"{tool}: ended with {ended}; log in {log}.\n  {lines}", command=words, exit_code=exit_code, log=log
        )
    return Completed(words, log, time.monotonic() - started)

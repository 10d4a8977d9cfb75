"""Child processes: time limits, process groups, errors with the lines that matter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qonnx_core.eda.process import relevant_lines, run_tool
from qonnx_core.errors import ToolFailed, ToolMissing


def is_alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(reached: Callable[[], bool]) -> None:
    """Wait for something that takes a moment; fail when it does not come."""
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    done = run_tool(
        [sys.executable, "-c", "import os; print('hello', os.environ['COLOUR'])"],
        cwd=tmp_path,
        log=tmp_path / "logs" / "tool.log",
        timeout=60,
        env={"COLOUR": "red"},
    )
    assert done.log.read_text() == "hello red\n"
    assert done.seconds < 60


def test_an_exit_code_is_an_error_with_the_relevant_lines(tmp_path: Path) -> None:
    script = "print('fine'); print('%Error: no such port'); print('more'); raise SystemExit(3)"
    with pytest.raises(ToolFailed, match="Simulator: ended with exit code 3") as caught:
        run_tool([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "l.log", timeout=60, name="Simulator")
    assert "%Error: no such port" in str(caught.value)
    assert "fine" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.log == tmp_path / "l.log"


def test_a_time_limit_kills_grandchildren(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    log = tmp_path / "slow.log"
    with pytest.raises(ToolFailed, match=r"did not end within 1\.5 s") as caught:
        run_tool([sys.executable, "-c", script], cwd=tmp_path, log=log, timeout=1.5)
    assert caught.value.exit_code is None
    grandchild = int(log.read_text().split()[0])
    wait_until(lambda: not is_alive(grandchild))


def test_an_interrupt_kills_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain_wait = subprocess.Popen.wait

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if not seen:
            seen.append(self.pid)
            raise KeyboardInterrupt
        return plain_wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tool(["sleep", "600"], cwd=tmp_path, log=tmp_path / "l.log", timeout=60)
    assert not is_alive(seen[0])


def test_a_kill_of_this_process_ends_the_tool_and_what_it_started(tmp_path: Path) -> None:
    tool = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    (tmp_path / "tool.py").write_text(tool)
    program = (
        "import sys\nfrom pathlib import Path\nfrom qonnx_core.eda.process import run_tool\n"
        "run_tool([sys.executable, 'tool.py'], cwd=Path.cwd(), log=Path('tool.log'), timeout=600)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    log = tmp_path / "tool.log"
    wait_until(lambda: log.is_file() and log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    assert is_alive(grandchild)
    running.kill()
    running.wait()
    wait_until(lambda: not is_alive(grandchild))


def test_a_tool_that_ends_leaves_nothing_running(tmp_path: Path) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    done = run_tool([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "l.log", timeout=60)
    wait_until(lambda: not is_alive(int(done.log.read_text())))


def test_a_tool_reads_no_input_and_its_signal_is_told(tmp_path: Path) -> None:
    script = "import os, sys; assert sys.stdin.read() == ''; os.kill(os.getpid(), 11)"
    with pytest.raises(ToolFailed, match="signal SIGSEGV"):
        run_tool([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "l.log", timeout=60)


def test_a_missing_program_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no_such_tool was not found; install it, `qonnx doctor`"):
        run_tool(["no_such_tool"], cwd=tmp_path, log=tmp_path / "l.log", timeout=5)


def test_without_an_error_line_the_last_lines_tell() -> None:
    assert relevant_lines("\n".join(str(number) for number in range(100)))[-1] == "99"
    assert relevant_lines("a\nERROR: broken\nb") == ["ERROR: broken"]

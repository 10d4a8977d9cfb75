"""A signal ends a command even where a library swallows the exception, and lets what is being tidied up be finished."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HEAD = """
import os, signal, sys, time
from qonnx_core.cli.signals import Terminated, signals_raise

def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
"""
FRESH = """
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):  # nohup has its children ignore the second
    signal.signal(number, signal.SIG_DFL)
"""
SWALLOWED = """
with signals_raise():
    try:
        os.kill(os.getpid(), NUMBER)
        wait(5)
    except:
        print("swallowed")
    wait(5)
    print("not reached")
"""
TIDIED_UP = """
with signals_raise():
    try:
        os.kill(os.getpid(), NUMBER)
        wait(5)
    finally:
        try:
            raise OSError
        except OSError:
            wait(0.5)
        print("tidied up")
"""
ASKED_TWICE = """
with signals_raise():
    try:
        os.kill(os.getpid(), NUMBER)
        wait(5)
    finally:
        os.kill(os.getpid(), NUMBER)
        wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        wait(0.5)
        print("tidied up")
"""
ASKED_LATER = """
from qonnx_core.cli import signals
signals.SAME_REQUEST_S = 0.2
with signals_raise():
    try:
        os.kill(os.getpid(), NUMBER)
        wait(5)
    finally:
        wait(0.5)
        os.kill(os.getpid(), NUMBER)
        wait(5)
        print("not reached")
"""
AFTERWARDS = """
try:
    with signals_raise():
        os.kill(os.getpid(), NUMBER)
        wait(5)
except (KeyboardInterrupt, Terminated):
    pass
wait(0.5)
print("alone", signal.getsignal(signal.SIGALRM) is signal.SIG_DFL)
"""
IGNORED = """
signal.signal(NUMBER, signal.SIG_IGN)
with signals_raise():
    os.kill(os.getpid(), NUMBER)
    wait(0.5)
    print("went on")
"""


def run(program: str, number: int) -> tuple[str, str]:
    """Return what the program printed and the last line of what it said, with signals as an interpreter starts."""
    text = HEAD + FRESH + program.replace("NUMBER", str(number))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, "KeyboardInterrupt"),
        (signal.SIGTERM, f"qonnx_core.cli.signals.Terminated: {signal.SIGTERM.value}"),
        (signal.SIGHUP, f"qonnx_core.cli.signals.Terminated: {signal.SIGHUP.value}"),
    ],
)
def test_a_signal_arrives_once_and_is_handled_to_the_end(number: int, error: str) -> None:
    assert run(SWALLOWED, number) == ("swallowed", error)
    assert run(TIDIED_UP, number) == ("tidied up", error)
    assert run(AFTERWARDS, number) == ("alone True", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_soon_after_another_lets_what_is_tidied_up_be_finished(number: int) -> None:
    said, error = run(ASKED_TWICE, number)
    assert said == "tidied up"
    assert error.startswith("KeyboardInterrupt" if number == signal.SIGINT else "qonnx_core.cli.signals.Terminated: 15")
    assert run(ASKED_LATER, number) == ("", error)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_ignored(number: int) -> None:
    assert run(IGNORED, number) == ("went on", "")

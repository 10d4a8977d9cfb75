"""Signals that ask a command to end become exceptions, and are asked again until one of them arrives."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_AGAIN_AFTER_S = 0.2
SAME_REQUEST_S = 2.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """The process was asked to end by a signal; raised where it happens, so that child processes end too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGINT into `KeyboardInterrupt`, SIGTERM and SIGHUP into `Terminated`, whatever the libraries in between do.

    A library with a bare ``except``, a finalizer or a callback from C may swallow the exception. So it is raised again
    every 0.2 seconds, unless the one before is just being handled, until this context is left. While it is handled,
    signals of the next 2 seconds belong to the same request (``timeout`` sends two, a key that is held down many)
    and do not cut short what is being tidied up; a later one does. A signal that the process was started to ignore
    (``nohup``, background jobs of a script) stays ignored. Only the main thread of a process may do any of this;
    elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    started_s = 0.0

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal started_s
        if asked and _is_being_handled() and time.monotonic() - started_s < SAME_REQUEST_S:
            return
        asked.append(number)
        started_s = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, ASKED_AGAIN_AFTER_S, ASKED_AGAIN_AFTER_S)
        raise _exception_of(number)

    def ask_again(_: int, __: FrameType | None) -> None:
        if asked and not _is_being_handled():
            raise _exception_of(asked[-1])

    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    alarm = signal.signal(signal.SIGALRM, ask_again) if before else None
    try:
        yield
    finally:
        if asked:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        if alarm is not None:
            signal.signal(signal.SIGALRM, alarm)


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def _is_being_handled() -> bool:
    error = sys.exception()
    while error is not None and not isinstance(error, (KeyboardInterrupt, Terminated)):
        error = error.__context__
    return error is not None

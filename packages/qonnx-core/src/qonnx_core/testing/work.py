"""How work grows with the size of a graph, counted in lines of Python run: the same number on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_ROOM = 1.25


def lines_run(work: Callable[[], object], at_most: float = float("inf")) -> int:
    """Return how many lines of Python, of this project and of libraries, some work runs in this thread.

    Work inside of C functions is not seen.

    Raises:
        AssertionError: there are more than ``at_most``; the work is left at that point.
    """
    count = 0

    def see(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count > at_most:
                raise AssertionError(f"more than {at_most:.0f} lines are run; expected work that is linear")
        return see

    before = sys.gettrace()
    sys.settrace(see)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def check_linear(work_of: Callable[[int], Callable[[], object]], size: int) -> None:
    """Check that work on four times the size runs about four times the lines.

    Args:
        work_of: makes the work for a size; only the work it returns is counted.
        size: the smaller size, large enough that the fixed part of the work does not matter.

    Raises:
        AssertionError: it runs more.
    """
    work_of(size)()  # what is imported and remembered once
    lines = lines_run(work_of(size))
    lines_run(work_of(4 * size), at_most=4 * _ROOM * lines)

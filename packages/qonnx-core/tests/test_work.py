"""The count of work is the same each time, and tells linear work from quadratic work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qonnx_core.testing.work import check_linear, lines_run


def probing(size: int) -> Callable[[], object]:
    """Return work that looks for each free name from the first one on."""

    def work() -> None:
        taken: set[int] = set()
        for _ in range(size):
            number = 0
            while number in taken:
                number += 1
            taken.add(number)

    return work


def counting(size: int) -> Callable[[], object]:
    return lambda: [str(number) for number in range(size) if number]


def test_the_count_is_the_same_each_time() -> None:
    assert lines_run(probing(30)) == lines_run(probing(30)) > 400


def test_only_linear_work_passes() -> None:
    check_linear(counting, 100)
    with pytest.raises(AssertionError, match="expected work that is linear"):
        check_linear(probing, 100)

"""Finds names that nothing has yet."""

from __future__ import annotations


def free_name(name: str, taken: set[str] | set[str | None]) -> str:
    """Return the name, or with a number (``name_1``, ...) one that is free; it is taken from then on.

    Where the numbers that are taken have no gap, it is the first free one. The steps grow with the logarithm of their
    count, so that many names of one stem are found in linear time.
    """
    free = name
    if name in taken:
        low, high = 0, 1  # the name with the number low is taken, the one with high is free in the end
        while f"{name}_{high}" in taken:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if f"{name}_{middle}" in taken else (low, middle)
        free = f"{name}_{high}"
    taken.add(free)
    return free

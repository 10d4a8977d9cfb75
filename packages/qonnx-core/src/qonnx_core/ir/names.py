"""Finds names that nothing has yet."""

from __future__ import annotations

from collections.abc import Container


def numbered_name(stem: str, taken: Container[str | None], first: int = 1) -> str:
    """Return ``stem_1``, or from another number on, or one with a later number that is free.

    Where the numbers that are taken have no gap, it is the first free one. The steps grow with the logarithm of their
    count, so that many names of one stem are found in linear time.
    """
    number, step = first, 1  # every number that was looked at below this one is taken
    while f"{stem}_{number + step - 1}" in taken:
        number += step
        step *= 2
    while step > 1:
        step //= 2
        if f"{stem}_{number + step - 1}" in taken:
            number += step
    return f"{stem}_{number}"


def unused_name(name: str, taken: Container[str | None], first: int = 1) -> str:
    """Return the name, or one with a number (``name_1``, ...) where it is taken."""
    return numbered_name(name, taken, first) if name in taken else name


def free_name(name: str, taken: set[str] | set[str | None]) -> str:
    """Return the same; it is taken from then on."""
    free = unused_name(name, taken)
    taken.add(free)
    return free

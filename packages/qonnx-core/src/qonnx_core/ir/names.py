"""Finds names that nothing has yet."""

from __future__ import annotations


def free_name(name: str, taken: set[str] | set[str | None]) -> str:
    """Return the name, or with a number (``name_1``, ...) the first one that is free; it is taken from then on."""
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free

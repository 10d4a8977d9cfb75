"""Shows texts that come from a file without letting them act on what shows them."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text with every character that is not printed written as in Python: ``\x1b``, ``\u202e``, ``\n``.

    Control characters steer terminals, and marks of direction let a text read as another one. A line break stays where
    two spaces follow it, as in our own messages of several lines, so that a name cannot begin a line of its own.
    """
    if text.isprintable():
        return text
    lines = text.split("\n  ")
    return "\n  ".join("".join(c if c.isprintable() else _escaped(c) for c in line) for line in lines)


def shortened(text: str, width: int = 60) -> str:
    """Return a text of at most this width; a longer one ends in dots."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

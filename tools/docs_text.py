"""Small pieces of Markdown that every page generator writes."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

_ROLE = re.compile(r":\w+:`~?([^`<]+)`")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def cell(text: str) -> str:
    """Return a text that fits into one cell: one line, with bars escaped."""
    return markdown(" ".join(text.split())).replace("|", "\\|")


def code_block(text: str, language: str) -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def docstring(thing: object) -> str:
    """Return the documentation of a class or function as Markdown; empty where there is none."""
    return markdown(inspect.getdoc(thing) or "")


def markdown(text: str) -> str:
    """Return a docstring as Markdown: double backticks become single ones, roles become code, sections lists."""
    text = re.sub(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n?|\n)+)", _section, text, flags=re.MULTILINE)
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def _section(match: re.Match[str]) -> str:
    """Return a section of a docstring as a list."""
    entries = re.split(r"\n(?=\S)", textwrap.dedent(match[2]).strip())
    title = {"Args": "Arguments"}.get(match[1], match[1])
    items = []
    for entry in entries:
        name, _, about = " ".join(entry.split()).partition(": ")
        items.append(f"- `{name}`: {about}" if about else f"- {name}")
    return f"{title}:\n\n" + "\n".join(items) + "\n"


def anchor(text: str) -> str:
    """Return the anchor that MkDocs gives a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())

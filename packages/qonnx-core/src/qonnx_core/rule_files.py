"""What the readers of users' rule files share: reading, parsing, and complaints that say where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qonnx_core.errors import InvalidInput


def rules_text(path: Path, form: str) -> str:
    """Return the text of a file of rules; ``form`` names the expected one, such as YAML.

    Raises:
        InvalidInput: no such file, or no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InvalidInput(
            f"{path}: cannot be read as rules ({found}); expected a {form} text file. Check the path."
        ) from error


def rules_mapping(text: str, source: str, keys: str, form: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Args:
        text: the text.
        source: what errors call it.
        keys: the expected keys, for a text that is no YAML.
        form: the expected keys and what to write, for one that holds something else than a mapping.

    Raises:
        InvalidInput: no YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
        raise InvalidInput(f"{source}: it is no YAML ({' '.join(str(error).split())}); expected {keys}.") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{source}: found {type(content).__name__}; expected {form}.")
    return content


def complaint(source: str, where: str, detail: Mapping[str, Any]) -> str:
    """Return the sentence for a complaint of pydantic that is not about an unknown key."""
    if detail["type"] == "missing":
        return f"{source}: {where}: the key is missing; expected a value. Add it."
    found = detail.get("input")
    shown = f" (found {found!r})" if isinstance(found, str | int | float | list) else ""
    return f"{source}: {where}: {detail['msg'].removeprefix('Value error, ')}{shown}"

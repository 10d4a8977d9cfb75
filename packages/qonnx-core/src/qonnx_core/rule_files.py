"""What the readers of users' rule files share: reading, parsing, and complaints that say where."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.printable import shortened

_MAX_BYTES = 2**26
_MAX_VALUES = 10**6
_SHOWN = 200


def source_name(path: Path) -> str:
    """Return what errors call a file of rules."""
    return "standard input" if str(path) == "/dev/stdin" else str(path)


def rules_text(path: Path, form: str) -> str:
    """Return the text of a file of rules; ``form`` names the expected one, such as YAML.

    Raises:
        InvalidInput: no such file, no text, or more than 64 MiB.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InvalidInput(
                f"{source_name(path)}: is larger than {_MAX_BYTES} bytes; expected a {form} text. Check the path."
            )
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InvalidInput(
            f"{source_name(path)}: cannot be read as rules ({found}); expected a {form} text. Check the path."
        ) from error


def rules_content(text: str, source: str, expected: str) -> Any:
    """Return what a YAML or JSON text holds; ``source`` names it in errors, and ``expected`` what it should have.

    Raises:
        InvalidInput: no YAML, or more than a million values, which few aliases of aliases can make.
    """
    try:
        try:
            content = json.loads(text)
        except json.JSONDecodeError:
            content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
        raise InvalidInput(
            f"{source}: it is no YAML or JSON ({' '.join(str(error).split())}); expected {expected}."
        ) from error
    if next(itertools.islice(_values(content), _MAX_VALUES, None), None) is not None:
        raise InvalidInput(f"{source}: holds more than {_MAX_VALUES} values; expected {expected}. Use fewer aliases.")
    return content


def _values(content: Any) -> Iterator[tuple[Any]]:
    """Give every value, each as often as it is reached; without end where one holds itself."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        yield (value,)
        if isinstance(value, dict):
            waiting += (*value.keys(), *value.values())
        elif isinstance(value, list | set | tuple):
            waiting += value


def rules_mapping(text: str, source: str, keys: str, form: str) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON text holds.

    Args:
        text: the text.
        source: what errors call it.
        keys: the expected keys, for a text that is no YAML.
        form: the expected keys and what to write, for one that holds something else than a mapping.

    Raises:
        InvalidInput: no YAML, no mapping, or more than a million values.
    """
    content = rules_content(text, source, keys)
    if not isinstance(content, dict):
        raise InvalidInput(f"{source}: found {type(content).__name__}; expected {form}.")
    return content


def complaint(source: str, where: str, detail: Mapping[str, Any]) -> str:
    """Return the sentence for a complaint of pydantic that is not about an unknown key."""
    if detail["type"] == "missing":
        return f"{source}: {where}: the key is missing; expected a value. Add it."
    found = detail.get("input")
    text = repr(found) if isinstance(found, str | int | float | list) else ""
    shown = f" (found {shortened(text, _SHOWN)})" if text else ""
    return f"{source}: {where}: {detail['msg'].removeprefix('Value error, ')}{shown}"

"""Finds plug-ins by entry points: operators, passes, front ends and back ends of other distributions.

A plug-in is loaded when it is asked for, not when this package is imported.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable, Mapping
from typing import Any

from qonnx_core.errors import InvalidInput, QonnxError

_GROUPS = ("ops", "passes", "frontends", "backends")


def ops() -> dict[str, Any]:
    """Return the operators that plug-ins define, by name of the entry point."""
    return _load_all("ops")


def passes() -> dict[str, Any]:
    """Return the passes that plug-ins define, by name."""
    return _load_all("passes")


def frontends() -> dict[str, Any]:
    """Return the installed front ends, by name."""
    return _load_all("frontends")


def backends() -> dict[str, Any]:
    """Return the installed back ends, by name."""
    return _load_all("backends")


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the installed plug-ins of a kind (``"backends"``, ...), sorted, without loading any."""
    return tuple(sorted(_entries(kind)))


def load(kind: str, name: str) -> Any:
    """Return one plug-in; only this one is imported.

    Raises:
        InvalidInput: there is none of this name.
        QonnxError: it cannot be imported.
    """
    entries = _entries(kind)
    if name not in entries:
        found = ", ".join(sorted(entries)) or "none"
        raise InvalidInput(f"{kind}: no plug-in is called {name!r}; installed: {found}. Install its package.")
    return _load(entries[name])


def _load_all(kind: str) -> dict[str, Any]:
    return {name: _load(entry) for name, entry in sorted(_entries(kind).items())}


@functools.cache
def _entries(kind: str) -> Mapping[str, importlib.metadata.EntryPoint]:
    if kind not in _GROUPS:
        raise InvalidInput(f"plug-ins: {kind!r} is no kind of plug-in; expected one of {', '.join(_GROUPS)}.")
    return unique_entries(f"qonnx_core.{kind}", importlib.metadata.entry_points(group=f"qonnx_core.{kind}"))


def unique_entries(
    group: str, entries: Iterable[importlib.metadata.EntryPoint]
) -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points by name.

    Raises:
        QonnxError: two distributions have one of the same name; one that is found twice on the path counts once.
    """
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in entries:
        other = found.get(entry.name)
        if other is not None and (other.value, _distribution(other)) != (entry.value, _distribution(entry)):
            raise QonnxError(
                f"{group}: two plug-ins are called {entry.name!r}: {other.value} of {_distribution(other)} and "
                f"{entry.value} of {_distribution(entry)}; expected one. Uninstall one of the two."
            )
        found[entry.name] = entry
    return found


def _load(entry: importlib.metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise QonnxError(
            f"{entry.group}: plug-in {entry.name!r} of distribution {_distribution(entry)} ({entry.value}) cannot be "
            f"loaded: {error}; expected an importable object. Reinstall or uninstall that distribution."
        ) from error


def _distribution(entry: importlib.metadata.EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else entry.dist.name

"""Lists every pass, ours and those of plug-ins, and makes one of a text like ``insert_topk:k=3,largest=no``."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from qonnx_core import plugins
from qonnx_core.errors import InvalidInput, QonnxError
from qonnx_core.passes.base import Pass

_NO_PASSES = frozenset(("base", "catalog"))
_TRUE, _FALSE = ("1", "on", "true", "yes"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a pass: its name, its type as Python writes it, and its default.

    ``from_text`` says whether the command line can give it.
    """

    name: str
    type: str
    default: object
    required: bool
    from_text: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One pass: its name, its class, the first sentence of its docstring, and its arguments."""

    name: str
    factory: type
    summary: str
    arguments: tuple[Argument, ...]
    plugin: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "class": f"{self.factory.__module__}.{self.factory.__qualname__}",
            "summary": self.summary,
            "arguments": [
                {"name": a.name, "type": a.type, "default": None if a.required else _plain(a.default)}
                for a in self.arguments
            ],
        }


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


@functools.cache
def catalog() -> Mapping[str, Entry]:
    """Return every pass by name, in the order of the names.

    The modules of :mod:`qonnx_core.passes` and its subpackages are imported at the first call; plug-ins come from the
    entry points of group ``qonnx_core.passes``.

    Raises:
        QonnxError: two passes have one name, or a plug-in is no pass.
    """
    found: dict[str, Entry] = {}
    for factory in _own_passes():
        _add(found, _entry(factory))
    for name, plugin in plugins.passes().items():
        if not _is_pass(plugin):
            raise QonnxError(
                f"plug-in {name} of group qonnx_core.passes: found {plugin!r}; expected a dataclass with a field "
                "`name` and a method `run`. Correct the entry point."
            )
        _add(found, _entry(plugin, plugin=True))
    return types.MappingProxyType({name: found[name] for name in sorted(found)})


def make_pass(text: str) -> Pass:
    """Return the pass that a text names: ``name``, or ``name:argument=value,argument=value``.

    A part without ``=`` belongs to the value in front of it, so that ``names=a,b`` is a tuple of two.

    Raises:
        InvalidInput: no such pass or argument, or a value that does not fit; offers the nearest.
    """
    name, _, rest = text.partition(":")
    entries = catalog()
    entry = entries.get(name.strip())
    if entry is None:
        raise InvalidInput(f"pass {name!r}: there is none of this name; expected one of the catalog. {_near(name)}")
    hints = typing.get_type_hints(entry.factory)
    known = {argument.name: argument for argument in entry.arguments}
    values: dict[str, Any] = {}
    for key, given in _assignments(name, rest):
        if key not in known:
            options = ", ".join(known) or "none"
            close = difflib.get_close_matches(key, list(known), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise InvalidInput(f"pass {name}: has no argument {key!r}; expected one of: {options}.{hint}")
        values[key] = _value(f"pass {name}: argument {key}", given, hints[key])
    missing = [a.name for a in entry.arguments if a.required and a.name not in values]
    if missing:
        raise InvalidInput(
            f"pass {name}: argument {', '.join(missing)} is missing; expected {name}:{missing[0]}=VALUE."
        )
    made = entry.factory(**values)
    assert hasattr(made, "run")
    return typing.cast("Pass", made)


def _near(name: str) -> str:
    close = difflib.get_close_matches(name.strip(), list(catalog()), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else "List them with `qonnx transform --list`."


def _own_passes() -> Iterator[type]:
    import qonnx_core.passes as home

    for module in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
        if module.name.rpartition(".")[2] in _NO_PASSES:
            continue
        loaded = importlib.import_module(module.name)
        for name, member in inspect.getmembers(loaded, inspect.isclass):
            if member.__module__ == loaded.__name__ and not name.startswith("_") and _is_pass(member):
                yield member


def _is_pass(kind: object) -> bool:
    """Return whether this is a class with the fields and methods of a pass."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and callable(getattr(kind, "run", None))):
        return False
    return any(field.name == "name" and isinstance(field.default, str) for field in dataclasses.fields(kind))


def _entry(factory: type, *, plugin: bool = False) -> Entry:
    fields = {field.name: field for field in dataclasses.fields(factory)}
    hints = typing.get_type_hints(factory)
    arguments = tuple(_argument(field, hints[name]) for name, field in fields.items() if name != "name" and field.init)
    summary = (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")
    return Entry(str(fields["name"].default), factory, summary, arguments, plugin)


def _argument(field: dataclasses.Field[Any], hint: Any) -> Argument:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    default = field.default
    if default is dataclasses.MISSING:
        default = None if field.default_factory is dataclasses.MISSING else field.default_factory()
    return Argument(field.name, str(field.type), default, required, _is_readable(hint))


def _add(found: dict[str, Entry], entry: Entry) -> None:
    other = found.setdefault(entry.name, entry)
    if other is not entry:
        places = " and ".join(f"{e.factory.__module__}.{e.factory.__qualname__}" for e in (other, entry))
        raise QonnxError(f"pass {entry.name}: defined by {places}; expected one. Rename or uninstall one of the two.")


def _assignments(name: str, text: str) -> list[tuple[str, str]]:
    result: list[tuple[str, str]] = []
    for part in text.split(",") if text.strip() else []:
        key, equals, value = part.partition("=")
        if equals and key.strip().isidentifier():
            result.append((key.strip(), value))
        elif result:
            result[-1] = (result[-1][0], f"{result[-1][1]},{part}")
        else:
            raise InvalidInput(f"pass {name}: found {part!r}; expected argument=value, separated by commas.")
    return result


def _is_readable(hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return len(inner) == 2 and inner[1] is Ellipsis and inner[0] in (bool, int, float, str)
    if origin in (Union, types.UnionType):
        return any(_is_readable(option) for option in inner if option is not type(None))
    if origin is Literal:
        return True
    return hint in (bool, int, float, str, Path) or (isinstance(hint, type) and issubclass(hint, Enum))


def _value(where: str, text: str, hint: Any) -> Any:
    """Return the text as a value of this type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and _is_readable(hint):
        return tuple(_value(where, part, inner[0]) for part in text.split(",")) if text.strip() else ()
    if origin in (Union, types.UnionType):
        if type(None) in inner and text.strip().lower() in ("none", ""):
            return None
        options = [option for option in inner if option is not type(None) and _is_readable(option)]
        for option in sorted(options, key=lambda option: option is str):  # a text fits always: last
            try:
                return _value(where, text, option)
            except InvalidInput:
                continue
        raise InvalidInput(f"{where}: found {text!r}; expected {_spoken(hint)}.")
    if origin is Literal:
        for option in inner:
            if text.strip() == str(option):
                return option
    elif hint is str:
        return text.strip()
    elif hint is Path:
        return Path(text.strip())
    elif hint is bool:
        if text.strip().lower() in (*_TRUE, *_FALSE):
            return text.strip().lower() in _TRUE
    elif hint in (int, float):
        try:
            return hint(text.strip())
        except ValueError:
            pass
    elif isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if text.strip().lower() in (member.name.lower(), str(member.value).lower()):
                return member
    else:
        raise InvalidInput(f"{where}: cannot be given as text, it is {_spoken(hint)}; use the pass from Python.")
    raise InvalidInput(f"{where}: found {text!r}; expected {_spoken(hint)}.")


def _spoken(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"values of type {_spoken(inner[0])}, separated by commas"
    if origin in (Union, types.UnionType):
        return " or ".join(_spoken(option) for option in inner)
    if origin is Literal:
        return " or ".join(str(option) for option in inner)
    if hint is bool:
        return "true or false"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(member.name for member in hint)
    names = {int: "a whole number", float: "a number", str: "a text", Path: "a path", type(None): "none"}
    return names.get(hint, str(hint))

"""The user's rules: which backend gets which nodes, read from a small YAML file.

    default: finn
    rules:
      - {match: {name: "MatMul_*"}, backend: finn}
      - {match: {op_type: Softmax}, backend: host}
      - {match: {from: Quant_3_out0, to: global_out}, backend: hls4ml}

The first rule that matches a node wins. Names are those of the cleaned model. A region is made of the nodes on paths
from one tensor to another; without ``from`` it starts at the model's inputs, without ``to`` it ends at its outputs.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qonnx_core.errors import InvalidInput
from qonnx_core.rule_files import complaint, rules_mapping, rules_text, source_name

HOST = "host"
"""The owner of nodes that stay float and are computed beside the hardware."""

_KEYS = {
    (): ("default", "rules"),
    ("rules",): ("match", "backend"),
    ("rules", "match"): ("name", "op_type", "from", "to"),
}


class Match(BaseModel):
    """What a rule matches: node names by a glob, an operator type, or a region between two tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str | None = None
    op_type: str | None = None
    start: str | None = Field(default=None, alias="from")
    end: str | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.name is not None, self.op_type is not None, self.start is not None or self.end is not None]
        if sum(kinds) != 1:
            raise ValueError(
                f"match holds {sum(kinds)} of the three kinds; expected exactly one: name, or op_type, or from and to"
            )
        return self

    def __str__(self) -> str:
        if self.name is not None:
            return f"name: {self.name}"
        if self.op_type is not None:
            return f"op_type: {self.op_type}"
        ends = [f"from: {self.start}"] if self.start is not None else []
        return ", ".join([*ends, *([f"to: {self.end}"] if self.end is not None else [])])


class Rule(BaseModel):
    """One line of the rules: nodes that match go to a backend, or to the host."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    match: Match
    backend: str


class Rules(BaseModel):
    """An ordered list of rules, the first match wins, and the backend of everything that no rule matches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    rules: tuple[Rule, ...] = ()

    @classmethod
    def from_file(cls, path: str | Path) -> Rules:
        """Return the rules of a YAML file.

        Raises:
            InvalidInput: no such file, no YAML, or unknown, missing or wrong keys; says which and where.
        """
        path = Path(path)
        return cls.from_text(rules_text(path, "YAML"), source=source_name(path))

    @classmethod
    def from_text(cls, text: str, *, source: str = "rules") -> Rules:
        """Return the rules of a YAML text; ``source`` names it in errors.

        Raises:
            InvalidInput: no YAML, or unknown, missing or wrong keys; says which and where.
        """
        form = "the keys default and rules. Write for example `default: finn`"
        content = rules_mapping(text, source, "keys default and rules", form)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InvalidInput("; ".join(_sentences(source, error))) from error

    @classmethod
    def single(cls, backend: str) -> Rules:
        """Return rules that give everything to one backend."""
        return cls(default=backend)

    @classmethod
    def split_after(cls, tensor: str, first: str, second: str) -> Rules:
        """Return rules that give everything up to ``tensor`` to the first backend, and the rest to the second."""
        return cls(default=second, rules=(Rule(match=Match.model_validate({"to": tensor}), backend=first),))

    def require_backends(self, known: Iterable[str]) -> None:
        """Check the backend of every rule, and the default, against those that exist.

        Raises:
            InvalidInput: an unknown backend; lists the known ones, the nearest first.
        """
        names = [*sorted(known), HOST]
        places = [("default", self.default), *((f"rule {n + 1}", rule.backend) for n, rule in enumerate(self.rules))]
        for place, name in places:
            if name not in names:
                hint = near(name, names) if len(names) > 1 else "No backend is installed; install backend-finn, say."
                raise InvalidInput(f"{place}: there is no backend {name!r}; expected {' or '.join(names)}. {hint}")


def near(word: str, known: Collection[str]) -> str:
    """Return a sentence that offers the known words most like ``word``, or all of a short list."""
    close = difflib.get_close_matches(word, list(known), n=4, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    shown = sorted(known)
    return f"There are {', '.join(shown[:12])}{' and more' if len(shown) > 12 else ''}."


def _sentences(source: str, error: ValidationError) -> list[str]:
    """One sentence for each complaint of pydantic, with the place in the file and near matches of unknown keys."""
    sentences = []
    for detail in error.errors():
        location = detail["loc"]
        where = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in location) or "the file"
        if detail["type"] == "extra_forbidden":
            allowed = _KEYS.get(_path(location[:-1]), ())
            key = str(location[-1])
            sentences.append(
                f"{source}: {where}: unknown key {key!r}; expected {' or '.join(allowed)}. {near(key, allowed)}"
            )
        else:
            sentences.append(complaint(source, where, detail))
    return sentences


def _path(location: Sequence[int | str]) -> tuple[str, ...]:
    return tuple(str(part) for part in location if not isinstance(part, int))

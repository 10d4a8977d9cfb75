"""The user's rules for quantizing a graph, read from a small YAML or JSON file.

    quantize:
      - match: {name: "Conv_0"}
        weights: {bits: 8, scale: max, per_channel: true, narrow: true}
        input: {bits: 8, scale: data, power_of_two: true}
      - match: {op_type: [Conv, MatMul, Gemm]}
        weights: {bits: 4, scale: max, narrow: true}
        input: {bits: 4, scale: 0.125, zero_point: 0}
        bias: {bits: 16, scale: 2.0e-4}
      - match: {op_type: "*Pool"}
        output: {bits: 8, signed: false, scale: data}

Names and operator types are globs, of all nodes, those in branches and bodies too. For each operand of a node the first
rule that matches the node and names the operand counts. ``input`` is the running data, ``weights`` the constant operand
of a product, ``bias`` its third operand, ``output`` the first output; ``inputs: {1: ...}`` and ``outputs: {2: ...}``
name any operand by its number.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.ir.datatypes import integer_range
from qonnx_core.ops.rounding import Rounding
from qonnx_core.rule_files import complaint, rules_mapping, rules_text, source_name

MOST_BITS = 32
Scale = float | tuple[float, ...] | Literal["max", "data", "product"]
ZeroPoint = float | tuple[float, ...] | Literal["data"]
Position = tuple[tuple[str, int], Sequence[object]]
Operand = Literal["input", "weights", "bias", "output"]


def _rounding(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Rounding.parse(value)
    except InvalidModel as error:
        raise ValueError(str(error)) from error


def _scale(value: object) -> Scale:
    if isinstance(value, str) and value in ("max", "data", "product"):
        return cast("Scale", value)
    numbers = _numbers(value)
    if numbers is None or any(number <= 0 for number in np.atleast_1d(numbers)):
        raise ValueError("expected a number above 0, a list of such numbers, max, data, or product")
    return numbers


def _zero_point(value: object) -> ZeroPoint:
    if value == "data":
        return "data"
    numbers = _numbers(value)
    if numbers is None:
        raise ValueError("expected a number, a list of numbers, or data")
    return numbers


def _numbers(value: object) -> float | tuple[float, ...] | None:
    """Return a finite number or a list of them as float32 holds them, or None for anything else."""
    items = value if isinstance(value, list | tuple) else [value]
    numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
    if not numbers or len(numbers) < len(items):
        return None
    try:
        with np.errstate(over="ignore"):
            found = tuple(float(np.float32(number)) for number in numbers)
    except OverflowError:  # an integer beyond every float
        return None
    if not np.all(np.isfinite(found)):
        return None
    return found if isinstance(value, list | tuple) else found[0]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Quantizer(BaseModel):
    """How one operand is quantized: the inputs and attributes of its Quant node.

    ``scale`` is a number, one number per channel, or where it comes from: ``max`` the largest values of a constant,
    ``data`` the smallest and largest values that a running tensor takes on the data, ``product`` for a bias the grid of
    the sum that it goes into: the scale of the input times that of the weights. ``zero_point`` may be ``data`` as
    well: then the levels cover the range from smallest to largest. ``power_of_two`` rounds such a scale up to a power
    of two. ``axis`` is the axis of the channels where ``per_channel`` asks for, or a list holds, one scale for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Field(ge=1, le=MOST_BITS, strict=True)]
    scale: Annotated[Scale, PlainValidator(_scale)] = "max"
    zero_point: Annotated[ZeroPoint, PlainValidator(_zero_point)] = 0.0
    signed: bool = True
    narrow: bool = False
    rounding: Annotated[Rounding, BeforeValidator(_rounding)] = Rounding.ROUND
    per_channel: bool = False
    axis: int | None = None
    power_of_two: bool = False

    @property
    def is_calibrated(self) -> bool:
        """Whether scale or zero point come from values instead of being given."""
        return self.scale in ("max", "data")

    @property
    def is_product(self) -> bool:
        """Whether the scale is that of the sum that a bias goes into."""
        return self.scale == "product"

    @property
    def levels(self) -> tuple[int, int]:
        """The smallest and the largest integer of the quantizer; -1 and 1 for signed numbers of one bit."""
        if self.signed and self.bits == 1:
            return -1, 1
        return integer_range(self.bits, self.signed, self.narrow)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.zero_point == "data" and not self.is_calibrated:
            raise ValueError("zero_point is data, but scale is given; expected scale: data (or max) as well")
        if self.power_of_two and not self.is_calibrated:
            raise ValueError("power_of_two rounds a scale that comes from max or data; this one is given")
        if self.is_product and (self.per_channel or self.zero_point != 0):
            raise ValueError(
                "scale is product, which has the channels of the weights and no zero point; leave them out"
            )
        if self.axis is not None and not (self.per_channel or isinstance(self.scale, tuple)
                                          or isinstance(self.zero_point, tuple)):  # fmt: skip
            raise ValueError(
                "axis says along which axis the channels are, but there is one scale; expected per_channel: true as "
                "well, or a list of scales"
            )
        if self.bits == 1 and self.narrow and not self.signed:
            raise ValueError("one unsigned, narrow bit has 0 as its only level; expected more bits")
        if self.bits == 1 and self.signed and self.zero_point != 0:
            raise ValueError("one signed bit is -1 or 1; expected a zero_point of 0")
        return self


class Match(BaseModel):
    """What a rule matches: nodes whose name or operator type fits one of these globs; of both where both are given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    op_type: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.name or self.op_type):
            raise ValueError("matches nothing; expected name or op_type")
        return self

    def fits(self, name: str, op_type: str) -> bool:
        """Return whether a node of this name and operator type is meant."""
        return all(
            not globs or any(fnmatch.fnmatchcase(text, glob) for glob in globs)
            for text, globs in ((name, self.name), (op_type, self.op_type))
        )

    def __str__(self) -> str:
        parts = [f"{key}: {', '.join(globs)}" for key, globs in (("name", self.name), ("op_type", self.op_type))]
        return "; ".join(part for part in parts if not part.endswith(": "))


class Rule(BaseModel):
    """Quantizers for the operands of the nodes that match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Match
    input: Quantizer | None = None
    weights: Quantizer | None = None
    bias: Quantizer | None = None
    output: Quantizer | None = None
    inputs: dict[Annotated[int, Field(ge=0)], Quantizer] = Field(default_factory=dict)
    outputs: dict[Annotated[int, Field(ge=0)], Quantizer] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (any(getattr(self, name) is not None for name in get_args(Operand)) or self.inputs or self.outputs):
            raise ValueError("quantizes nothing; expected input, weights, bias, output, inputs or outputs")
        return self


class QuantizationConfig(BaseModel):
    """An ordered list of rules; for each operand the first one that names it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantize: tuple[Rule, ...]

    @classmethod
    def from_file(cls, path: str | Path) -> QuantizationConfig:
        """Return the rules of a YAML or JSON file.

        Raises:
            InvalidInput: no such file, no YAML, or unknown, missing or wrong keys; says which and where.
        """
        path = Path(path)
        return cls.from_text(rules_text(path, "YAML or JSON"), source=source_name(path))

    @classmethod
    def from_text(cls, text: str, *, source: str = "rules") -> QuantizationConfig:
        """Return the rules of a YAML or JSON text; ``source`` names it in errors.

        Raises:
            InvalidInput: no YAML, or unknown, missing or wrong keys; says which and where.
        """
        content = rules_mapping(text, source, "the key quantize", "the key quantize with a list of rules")
        return cls.from_dict(content, source=source)

    @classmethod
    def from_dict(cls, content: dict[str, object], *, source: str = "rules") -> QuantizationConfig:
        """Return the rules of plain values, as a YAML or JSON file holds them.

        Raises:
            InvalidInput: unknown, missing or wrong keys; says which and where.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InvalidInput("; ".join(dict.fromkeys(_sentences(source, error)))) from error

    @classmethod
    def from_positions(cls, positions: Mapping[str, Mapping[str, Sequence[Position]]]) -> QuantizationConfig:
        """Return the rules that the dictionary of qonnx's ``QuantizeGraph`` means.

        It is ``{"name": {node: [...]}, "op_type": {operator: [...]}}`` with entries ``(("input" or "output", number),
        (scale, zero point, bits, narrow, signed, rounding mode))``. Names come before operator types.

        Raises:
            InvalidInput: an entry has another form, or values that no quantizer has.
        """
        if not isinstance(positions, Mapping) or not all(isinstance(each, Mapping) for each in positions.values()):
            raise InvalidInput('positions: expected {"name": {node: [...]}, "op_type": {operator: [...]}}.')
        unknown = sorted(str(key) for key in set(positions) - {"name", "op_type"})
        if unknown:
            raise InvalidInput(f"positions: found the key {unknown[0]!r}; expected name and op_type.")
        rules: list[object] = []
        for kind in ("name", "op_type"):
            for key, entries in positions.get(kind, {}).items():
                rule: dict[str, object] = {"match": {kind: fnmatch_escape(str(key))}}
                for side, number, quantizer in _placed(str(key), entries):
                    cast("dict[int, object]", rule.setdefault(f"{side}s", {}))[number] = quantizer
                rules.append(rule)
        return cls.from_dict({"quantize": rules}, source="positions")


def fnmatch_escape(name: str) -> str:
    """Return the glob that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _placed(where: str, entries: object) -> Iterator[tuple[str, int, dict[str, object]]]:
    """Yield the side, the number and the quantizer of each entry of one node or operator."""
    for entry in entries if isinstance(entries, list | tuple) else [entries]:
        match entry:
            case (("input" | "output" as side, int() | np.integer() as number), list() | tuple() as values):
                yield side, int(number), _from_parameters(where, values)
            case _:
                raise InvalidInput(
                    f"positions: {where}: found {entry!r}; expected ((input or output, number), (scale, zero point, "
                    "bits, narrow, signed, rounding mode))."
                )


def _from_parameters(where: str, values: Sequence[object]) -> dict[str, object]:
    if len(values) != 6:
        raise InvalidInput(
            f"positions: {where}: found {len(values)} parameters; expected scale, zero point, bits, narrow, signed and "
            "rounding mode."
        )
    arrays = (np.ndarray, np.generic)
    plain = [
        (value.item() if value.size == 1 else value.tolist()) if isinstance(value, arrays) else value
        for value in values
    ]
    scale, zero, bits, narrow, signed, rounding = plain
    return {
        "scale": scale, "zero_point": zero, "bits": bits, "narrow": bool(narrow), "signed": bool(signed),
        "rounding": rounding,
    }  # fmt: skip


_MODELS: dict[str, type[BaseModel]] = {"match": Match, **dict.fromkeys(get_args(Operand), Quantizer)}


def _sentences(source: str, error: ValidationError) -> list[str]:
    """One sentence for each complaint of pydantic, with the place in the file and near matches of unknown keys."""
    sentences = []
    for detail in error.errors():
        spoken = [
            part + 1 if place == 1 and isinstance(part, int) else part for place, part in enumerate(detail["loc"])
        ]
        where = ".".join(map(str, spoken)) or "the file"
        if detail["type"] == "extra_forbidden":
            key, known = str(detail["loc"][-1]), _keys_at(detail["loc"][:-1])
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            sentences.append(f"{source}: {where}: unknown key {key!r}; expected one of {', '.join(known)}.{hint}")
        else:
            sentences.append(complaint(source, where, detail))
    return sentences


def _keys_at(place: Sequence[int | str]) -> list[str]:
    """Return the keys that one may write at a place of the file."""
    names = [part for part in place if isinstance(part, str)]
    if not names:
        return list(QuantizationConfig.model_fields)
    inside = names[-1]
    if len(names) > 1 and names[1] in ("inputs", "outputs"):
        return list(Quantizer.model_fields)
    return list(_MODELS[inside].model_fields) if inside in _MODELS else list(Rule.model_fields)

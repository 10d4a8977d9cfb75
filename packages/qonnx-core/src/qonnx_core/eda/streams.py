"""The stream contract: descriptors, manifests, and the packing of integers into the words that a simulator drives.

A stream carries one tensor, channels-last and row-major, ``elements_per_beat`` elements a beat, element 0 in the least
significant bits, each element in the bits of its data type, the beat padded with zeros to whole bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator

from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from qonnx_core.passes.streamline import Port

MANIFEST_NAME = "manifest.json"
MAX_ELEMENT_BITS = 64

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_PREFIX = re.compile(r"(s|m)_axis_(0|[1-9][0-9]{0,3})")
_CHUNK_BITS = 1 << 28

Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How one element of a data type lies on the wire: its bits, its range, and whether -1/+1 travel as 0/1."""

    bits: int
    signed: bool
    lo: int
    hi: int
    bipolar: bool


def canonical_datatype(name: object) -> str:
    """Return the one spelling of a data type's name (``UINT1`` is ``BINARY``)."""
    from qonnx_core.ir.datatypes import DataType

    return str(DataType.parse(str(name)))


def wire_format(datatype: str) -> WireFormat:
    """Return how elements of a data type travel.

    Raises:
        InvalidInput: for a data type that is no integer type, or does not fit into INT64.

    """
    from qonnx_core.ir.datatypes import DataType

    parsed = DataType.parse(datatype)
    if datatype == "BIPOLAR":
        return WireFormat(1, signed=False, lo=-1, hi=1, bipolar=True)
    if not parsed.is_integer():
        raise InvalidInput(
            f"stream datatype: found {datatype}; expected an integer type (INT<n>, UINT<n>, BINARY, TERNARY, BIPOLAR). "
            "The wire carries the integers of a grid; put the factor into `scale`."
        )
    bits = int(parsed.bits)
    if bits > MAX_ELEMENT_BITS - (not parsed.signed):
        raise InvalidInput(f"stream datatype: found {datatype}; expected a type whose values fit into INT64.")
    return WireFormat(bits, bool(parsed.signed), int(parsed.min), int(parsed.max), bipolar=False)


def parse_scale(text: str) -> Fraction:
    """Return the exact value of a scale: ``1/255``, an integer, ``2^-4``, or a decimal, which means its float32."""
    try:
        if match := re.fullmatch(r"2\^(-?[0-9]{1,4})", text):
            return Fraction(2) ** int(match[1])
        if re.fullmatch(r"-?[0-9]+(/[0-9]+)?", text):
            return Fraction(text)
        value = float(np.float32(text))
        if not math.isfinite(value):
            raise ValueError(text)
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(
            f"scale: found {text!r}; expected a rational such as 1/255, a power such as 2^-4, or a float32 literal."
        ) from None


def _per_channel(values: list[str] | str, parse: Callable[[str], Fraction] = parse_scale) -> tuple[Fraction, ...]:
    return tuple(parse(value) for value in ([values] if isinstance(values, str) else values))


class StreamDescriptor(BaseModel):
    """One AXI4-Stream of a component: which tensor it carries, on which grid, and how it is cut into beats.

    ``beats`` and ``tdata_bits`` follow from the others and may be left out. ``shape`` is one frame, in the order in
    which it travels. The value of an element is ``scale * (integer - zero_point) + offset``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prefix: str
    direction: Direction
    tensor: str
    datatype: str
    scale: str | list[str] = "1"
    zero_point: int | list[int] = 0
    offset: str | list[str] = "0"
    shape: list[int]
    elements_per_beat: int
    beats: int = 0
    tdata_bits: int = 0
    tlast: bool = False

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        given = dict(data)
        if isinstance(given.get("shape"), tuple):
            given["shape"] = list(given["shape"])
        shape, per_beat = given.get("shape"), given.get("elements_per_beat")
        sizes_are_whole = isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)
        if not sizes_are_whole or not isinstance(per_beat, int) or per_beat < 1:
            raise ValueError(
                f"shape {shape!r}, elements_per_beat {per_beat!r}; both have to be made of whole numbers of at least 1"
            )
        elements = math.prod(shape)  # type: ignore[arg-type]
        if elements % per_beat:
            raise ValueError(
                f"elements_per_beat is {per_beat}; it has to divide the {elements} elements of a frame of shape {shape}"
            )
        try:
            given["datatype"] = canonical_datatype(given.get("datatype"))
            bits = wire_format(given["datatype"]).bits
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        for name, found, derived in (
            ("beats", given.get("beats"), elements // per_beat),
            ("tdata_bits", given.get("tdata_bits"), -(-per_beat * bits // 8) * 8),
        ):
            if found not in (None, 0, derived):
                raise ValueError(
                    f"{name} is {found}; it follows from shape, datatype and elements_per_beat as {derived}"
                )
            given[name] = derived
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        match = _PREFIX.fullmatch(self.prefix)
        if match is None or (match[1] == "s") != (self.direction == "in"):
            raise ValueError(
                f"prefix is {self.prefix!r} for direction {self.direction!r}; "
                "inputs are called s_axis_<n> and outputs m_axis_<n>"
            )
        if self.direction == "out" and not self.tlast:
            raise ValueError("tlast is false; an output marks the last beat of each frame with tlast")
        channels = self.shape[-1] if self.shape else 1
        for name, values in (("scale", self.scale), ("zero_point", self.zero_point), ("offset", self.offset)):
            if isinstance(values, list) and len(values) not in (1, channels):
                raise ValueError(
                    f"{name} has {len(values)} entries; expected one, or one for each of {channels} channels"
                )
        try:
            if any(value == 0 for value in _per_channel(self.scale)):
                raise ValueError("scale is 0; expected a non-zero number")
            _per_channel(self.offset)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return self

    @model_serializer(mode="wrap")
    def _without_zero_offset(self, handler: Callable[[StreamDescriptor], dict[str, object]]) -> dict[str, object]:
        values = handler(self)
        if all(value == 0 for value in _per_channel(self.offset)):
            values.pop("offset", None)
        return values

    @property
    def wire(self) -> WireFormat:
        """How one element travels."""
        return wire_format(self.datatype)

    @property
    def elements(self) -> int:
        """The number of elements of one frame."""
        return math.prod(self.shape)

    @property
    def payload_bits(self) -> int:
        """The bits of a beat that carry elements; the rest of ``tdata_bits`` is zero."""
        return self.elements_per_beat * self.wire.bits

    @property
    def words_per_beat(self) -> int:
        """The 32-bit words that hold a beat in a packed array."""
        return -(-self.tdata_bits // 32)

    def grid_difference(self, other: StreamDescriptor) -> str:
        """Return in words how the grid or shape of another stream differs from this one's; empty if they agree."""
        channels = self.shape[-1] if self.shape else 1

        def spread(values: tuple[object, ...]) -> tuple[object, ...]:
            return values * channels if len(values) == 1 else values

        def as_list(values: int | list[int]) -> tuple[object, ...]:
            return tuple(values) if isinstance(values, list) else (values,)

        checks: tuple[tuple[str, object, object, bool], ...] = (
            ("datatype", self.datatype, other.datatype, self.datatype == other.datatype),
            ("shape", self.shape, other.shape, self.shape == other.shape),
            ("scale", self.scale, other.scale, spread(_per_channel(self.scale)) == spread(_per_channel(other.scale))),
            (
                "zero_point",
                self.zero_point,
                other.zero_point,
                spread(as_list(self.zero_point)) == spread(as_list(other.zero_point)),
            ),
            (
                "offset",
                self.offset,
                other.offset,
                spread(_per_channel(self.offset)) == spread(_per_channel(other.offset)),
            ),
        )
        return ", ".join(f"{name} {mine} against {theirs}" for name, mine, theirs, equal in checks if not equal)


def check_file_name(name: str) -> str:
    """Return the name if it is a plain file name (no directory, no blank), so that it stays in its component."""
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(
            f"file name is {name!r}; expected a plain name of letters, digits, '_', '.' and '-', "
            "so that it stays in the component's directory"
        )
    return name


class Manifest(BaseModel):
    """What a component's directory holds and how its top module is driven; `manifest.json` is exactly this."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    top: str
    sources: list[str]
    data_files: list[str] = []
    clock: str = "ap_clk"
    reset: str = "ap_rst_n"
    clock_ns: float = 10.0
    streams: list[StreamDescriptor]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in (self.top, self.clock, self.reset):
            if not _IDENTIFIER.fullmatch(name):
                raise ValueError(f"name is {name!r}; expected a plain Verilog identifier")
        files = [check_file_name(name) for name in (*self.sources, *self.data_files)]
        if not self.sources:
            raise ValueError("sources is empty; a component has at least one source file")
        for kind, names in (("file", files), ("stream prefix", [stream.prefix for stream in self.streams])):
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{kind} {', '.join(repeated)} stands more than once; expected each once")
        for direction, letter in (("in", "s"), ("out", "m")):
            found = [stream.prefix for stream in self.streams if stream.direction == direction]
            expected = [f"{letter}_axis_{index}" for index in range(len(found))]
            if found != expected:
                raise ValueError(f"{direction}put streams are {found}; expected {expected}, in the order of the model")
        if not self.clock_ns > 0:
            raise ValueError(f"clock_ns is {self.clock_ns}; expected a positive period")
        return self

    @property
    def inputs(self) -> list[StreamDescriptor]:
        """The input streams in port order."""
        return [stream for stream in self.streams if stream.direction == "in"]

    @property
    def outputs(self) -> list[StreamDescriptor]:
        """The output streams in port order."""
        return [stream for stream in self.streams if stream.direction == "out"]

    def stream(self, prefix: str) -> StreamDescriptor:
        """Return the stream of a prefix; raise `InvalidInput` that lists the prefixes otherwise."""
        for stream in self.streams:
            if stream.prefix == prefix:
                return stream
        raise InvalidInput(
            f"{self.top}: found no stream {prefix!r}; expected one of {', '.join(s.prefix for s in self.streams)}."
        )

    def to_json(self) -> str:
        """Return the manifest as text: the same bytes every time."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    def write(self, directory: Path) -> Path:
        """Write ``manifest.json`` into a directory and return its path."""
        path = directory / MANIFEST_NAME
        path.write_text(self.to_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the manifest of a directory or of a file.

        Raises:
            InvalidInput: if there is none, or it breaks the form; the message names the field.

        """
        file = path / MANIFEST_NAME if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{file}: {error.strerror}; expected a component's {MANIFEST_NAME}.") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInput(f"{file}: {_in_words(error)}") from error


def _in_words(error: ValidationError) -> str:
    reasons = []
    for detail in error.errors():
        place = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        reasons.append(f"{place}: {message}" if place else message)
    return "; ".join(reasons)


def make_descriptor(**fields: object) -> StreamDescriptor:
    """Return a descriptor of the given fields; raise `InvalidInput` in one sentence where they do not fit together."""
    try:
        return StreamDescriptor.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(f"stream {fields.get('prefix', '')}: {_in_words(error)}") from error


def make_manifest(**fields: object) -> Manifest:
    """Return a manifest of the given fields; raise `InvalidInput` in one sentence where they do not fit together."""
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(f"manifest of {fields.get('top', '?')}: {_in_words(error)}") from error


def stream_descriptor(prefix: str, direction: Direction, port: Port, elements_per_beat: int) -> StreamDescriptor:
    """Return the descriptor of a port of an integer form, cut into beats of so many elements."""

    def texts(values: tuple[Fraction, ...]) -> str | list[str]:
        return str(values[0]) if len(set(values)) == 1 else [str(value) for value in values]

    zero_points = [int(value) for value in port.grid.zero_point]
    return make_descriptor(
        prefix=prefix,
        direction=direction,
        tensor=port.tensor,
        datatype=str(port.grid.datatype),
        scale=port.grid.scale_text(),
        zero_point=zero_points[0] if len(set(zero_points)) == 1 else zero_points,
        offset=texts(tuple(Fraction(value) for value in port.grid.offset)),
        shape=[int(size) for size in port.shape],
        elements_per_beat=elements_per_beat,
        tlast=direction == "out",
    )


@dataclass(frozen=True, slots=True)
class Component:
    """A directory with a synthesizable top module, its data files and its manifest."""

    directory: Path
    manifest: Manifest

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Return the component in a directory, all its files there; raise `InvalidInput` naming what is missing."""
        component = cls(directory, Manifest.read(directory))
        component.check_files()
        return component

    @property
    def source_paths(self) -> list[Path]:
        """The source files, in compile order."""
        return [self.directory / name for name in self.manifest.sources]

    @property
    def data_paths(self) -> list[Path]:
        """The memory files that the sources read."""
        return [self.directory / name for name in self.manifest.data_files]

    def check_files(self) -> None:
        """Raise `InvalidInput` if a file of the manifest is missing or leads out of the directory."""
        root = self.directory.resolve()
        for path in (*self.source_paths, *self.data_paths):
            if not path.is_file():
                raise InvalidInput(
                    f"{self.directory}: {path.name} of the manifest is missing; expected every source and data file "
                    "there. Emit the component again."
                )
            if path.resolve().parent != root:
                raise InvalidInput(f"{path}: leads out of the component's directory; expected a file inside.")


def pack(descriptor: StreamDescriptor, values: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return the beats of whole frames as words, ``(frames * beats, words_per_beat)``, least significant word first.

    ``values`` are integers of shape ``(frames, *shape)``, or ``(frames, *shape[1:])`` where the shape begins with 1.

    Raises:
        InvalidInput: for another shape, a type that is not integer, or a value outside of the data type.

    """
    ints = _checked(descriptor, np.asarray(values))
    frames = ints.shape[0]
    words = np.zeros((frames * descriptor.beats, descriptor.words_per_beat), dtype=np.uint32)
    if frames == 0:
        return words
    wire = descriptor.wire
    per_beat = descriptor.elements_per_beat
    beats = ints.reshape(frames * descriptor.beats, per_beat)
    step = max(1, _CHUNK_BITS // max(64, per_beat * max(8, wire.bits)))
    for start in range(0, len(beats), step):
        block = beats[start : start + step]
        raw = (block > 0).astype(np.int64) if wire.bipolar else block.astype(np.int64)
        octets = np.ascontiguousarray(raw.astype("<i8")).view(np.uint8).reshape(len(block), per_beat, 8)
        if wire.bits % 8 == 0:
            packed = octets[:, :, : wire.bits // 8].reshape(len(block), -1)
        else:
            needed = np.ascontiguousarray(octets[:, :, : -(-wire.bits // 8)])
            bits = np.unpackbits(needed, axis=2, count=wire.bits, bitorder="little").reshape(len(block), -1)
            packed = np.packbits(bits, axis=1, bitorder="little")
        target = np.zeros((len(block), descriptor.words_per_beat * 4), dtype=np.uint8)
        target[:, : packed.shape[1]] = packed
        words[start : start + step] = target.view("<u4")
    return words


def _checked(descriptor: StreamDescriptor, ints: npt.NDArray[Any]) -> npt.NDArray[Any]:
    shape = tuple(descriptor.shape)
    where = f"{descriptor.prefix} ({descriptor.tensor})"
    fits = ints.shape[1:] == shape or (shape[:1] == (1,) and ints.shape[1:] == shape[1:])
    if ints.ndim == 0 or not fits:
        raise InvalidInput(
            f"{where}: found an array of shape {ints.shape}; "
            f"expected (frames, {', '.join(map(str, shape))}) in travel order."
        )
    if ints.dtype.kind not in "iub":
        raise InvalidInput(
            f"{where}: found values of type {ints.dtype}; expected integers. Bring them onto the grid first."
        )
    wire = descriptor.wire
    if not ints.size:
        return ints
    in_range = int(ints.min()) >= wire.lo and int(ints.max()) <= wire.hi
    if not in_range or (wire.bipolar and bool((ints == 0).any())):
        wrong = (ints < wire.lo) | (ints > wire.hi) | ((ints == 0) if wire.bipolar else False)
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        expected = "-1 or +1" if wire.bipolar else f"{wire.lo} to {wire.hi}"
        raise InvalidInput(
            f"{where}: found {int(ints[index])} at {index}; expected {expected} of {descriptor.datatype}."
        )
    return ints


def padding_is_zero(descriptor: StreamDescriptor, words: npt.NDArray[np.uint32]) -> bool:
    """Return whether every bit of the beats above the payload is zero, as the contract wants it."""
    bits = descriptor.payload_bits
    whole, part = divmod(bits, 32)
    if part and bool((words[:, whole] >> np.uint32(part)).any()):
        return False
    return not bool(words[:, whole + (part > 0) :].any())


def unpack(descriptor: StreamDescriptor, words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the integers ``(frames, *shape)`` of beats as `pack` lays them out; padding bits are not looked at.

    Raises:
        InvalidInput: if the words are not whole frames.

    """
    if words.ndim != 2 or words.shape[1] != descriptor.words_per_beat or words.shape[0] % descriptor.beats:
        raise InvalidInput(
            f"{descriptor.prefix} ({descriptor.tensor}): found words of shape {words.shape}; expected whole frames of "
            f"{descriptor.beats} beats of {descriptor.words_per_beat} words."
        )
    wire = descriptor.wire
    per_beat = descriptor.elements_per_beat
    result = np.empty((len(words), per_beat), dtype=np.int64)
    step = max(1, _CHUNK_BITS // max(64, per_beat * max(8, wire.bits)))
    octet_count = -(-wire.bits // 8)
    for start in range(0, len(words), step):
        octets = np.ascontiguousarray(words[start : start + step].astype("<u4")).view(np.uint8)
        rows = len(octets)
        if wire.bits % 8 == 0:
            elements = octets[:, : per_beat * octet_count].reshape(rows, per_beat, octet_count)
        else:
            bits = np.unpackbits(octets, axis=1, count=per_beat * wire.bits, bitorder="little")
            elements = np.packbits(bits.reshape(rows, per_beat, wire.bits), axis=2, bitorder="little")
        wide = np.zeros((rows, per_beat, 8), dtype=np.uint8)
        wide[:, :, :octet_count] = elements
        raw = wide.view("<i8").reshape(rows, per_beat)
        if wire.bipolar:
            raw = 2 * raw - 1
        elif wire.signed and wire.bits < MAX_ELEMENT_BITS:
            unused = np.int64(MAX_ELEMENT_BITS - wire.bits)
            raw = (raw << unused) >> unused
        result[start : start + step] = raw
    return result.reshape(-1, *descriptor.shape)

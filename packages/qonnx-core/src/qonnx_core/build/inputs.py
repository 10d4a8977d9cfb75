"""The samples of a build: read or made, brought onto the input grid, and checked against the model's inputs."""

from __future__ import annotations

import difflib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from qonnx_core.build.config import require_file
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.array_files import HEADER_ERRORS
from qonnx_core.execute.samples import INPUT_ALIASES as INPUT_ALIASES
from qonnx_core.formats.writer import check_target, disk_errors
from qonnx_core.ir.grid import Grid

if TYPE_CHECKING:
    import onnx_ir as ir

OUTPUT_ALIASES = ("y", "output")
LABELS = "labels"
DEFAULT_SAMPLES = 256
MAX_INPUT_BITS = 32
FLOAT32_TINY = Fraction(2) ** -126
FLOAT32_HUGE = Fraction(2) ** 96  # so that the largest integer of an input type stays a float32
_SUGGESTED_FRACTION_BITS = 10

Array = npt.NDArray[np.generic]
Spoken = Sequence[str]
"""The names of one input or output: the cleaned model's, then the source's where it is another."""


@dataclass(frozen=True)
class Samples:
    """Inputs on their grids under the cleaned model's names, with the QONNX model's outputs for exactly these inputs.

    ``off_grid`` counts the samples that had to be rounded to get there.
    """

    inputs: dict[str, npt.NDArray[np.float32]]
    outputs: dict[str, Array]
    labels: Array | None
    off_grid: int

    @property
    def count(self) -> int:
        """The number of samples."""
        return int(next(iter(self.inputs.values())).shape[0])


def read_archive(path: Path) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file; pickled objects are refused.

    Raises:
        InvalidInput: when the file is missing, is no ``.npz``, or holds something else than numbers.
    """
    require_file(path, "an .npz with the inputs under their names or `x`")
    write = "write it with numpy.savez(path, x=inputs, y=outputs)"
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, NpzFile):
                raise InvalidInput(f"{path}: holds a single array; expected an .npz with arrays under names; {write}.")
            return {name: archive[name] for name in archive.files}
    except (*HEADER_ERRORS, OSError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(f"{path}: not an .npz file of numbers ({error}); {write}.") from error


def write_archive(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an ``.npz`` file of exactly this name, whole or not at all; the same arrays give the same bytes.

    Raises:
        InvalidInput: when the folder does not exist or cannot be written, the disk is full, or the path is a folder or
            device.
    """
    check_target(path)
    contents: dict[str, Any] = dict(arrays)
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".archive-") as scratch:
        part = Path(scratch) / path.name
        with part.open("wb") as stream:
            np.savez(stream, **contents)
        os.replace(part, path)


def pick(
    arrays: Mapping[str, Array], names: Sequence[Spoken], aliases: Sequence[str], what: str, where: str
) -> dict[str, Array]:
    """Return ``{index-th name of the model: array}`` for the model's inputs or outputs, which ``what`` says."""
    found: dict[str, Array] = {}
    for synonyms in names:
        keys = [key for key in synonyms if key in arrays]
        if not keys and len(names) == 1:
            keys = [key for key in aliases if key in arrays]
        if keys:
            found[synonyms[0]] = arrays[keys[0]]
        elif what == "input":
            near = difflib.get_close_matches(synonyms[-1], list(arrays), n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InvalidInput(
                f"{where}: no array for the model's input {' or '.join(synonyms)}; found {', '.join(arrays) or 'none'}."
                + hint
            )
    return found


def input_names(original: ir.Model, cleaned: ir.Model) -> list[Spoken]:
    """Return the names of each input, the cleaned one first, so that users may say either."""
    before = [value.name or "" for value in original.graph.inputs if value.name not in original.graph.initializers]
    return _paired([value.name or "" for value in cleaned.graph.inputs], before)


def output_names(original: ir.Model, cleaned: ir.Model) -> list[Spoken]:
    """Return the names of each output, the cleaned one first."""
    return _paired([v.name or "" for v in cleaned.graph.outputs], [v.name or "" for v in original.graph.outputs])


def _paired(after: list[str], before: list[str]) -> list[Spoken]:
    if len(before) != len(after):
        return [(name,) for name in after]
    return [(new,) if new == old else (new, old) for new, old in zip(after, before, strict=True)]


def spoken_list(names: Sequence[Spoken]) -> str:
    """Return the names as one lists them: ``global_in or pixels, global_in_1``."""
    return ", ".join(" or ".join(synonyms) for synonyms in names)


def input_grids(
    model: ir.Model,
    names: Sequence[Spoken],
    types: Mapping[str, str],
    arrays: Mapping[str, Array] | None,
    *,
    required: bool = True,
) -> dict[str, Grid]:
    """Return the grid of each model input: from the user's types, else from an integer annotation of the file.

    Raises:
        InvalidInput: for a type of an unknown input, and where grids are ``required`` for an input without one; lists
            types that fit the data.
    """
    from qonnx_core.ir.annotations import get_datatype

    known = {synonym: synonyms[0] for synonyms in names for synonym in synonyms}
    if len(names) == 1:
        known.setdefault("", names[0][0])
    given: dict[str, str] = {}
    for name, text in types.items():
        if name not in known and not name:
            raise InvalidInput(
                f"--input-type {text}: names no input, and the model has {len(names)}: {spoken_list(names)}; expected "
                f"NAME=TYPE. Write for example {names[0][-1]}={text}."
                if names
                else f"--input-type {text}: the model has no inputs; expected none of this option. Leave it out."
            )
        if name not in known:
            raise InvalidInput(
                f"--input-type {name}={text}: the model has no input {name}; its inputs are {spoken_list(names)}."
            )
        given[known[name]] = text
    grids: dict[str, Grid] = {}
    for value in model.graph.inputs:
        name = value.name or ""
        if name in given:
            grids[name] = _input_grid(given[name])
            continue
        annotated = get_datatype(value)
        if annotated is not None and annotated.is_integer():
            grids[name] = _input_grid(annotated.name)
            continue
        if not required:
            continue
        data = arrays.get(name) if arrays else None
        choices = fitting_types(data)
        fits = "fit the data" if data is not None else "are usual"
        spoken = next(synonyms for synonyms in names if synonyms[0] == name)[-1]
        raise InvalidInput(
            f"input {spoken}: it is on no integer grid, and hardware carries integers; say which grid it has with "
            f"--input-type {spoken}=TYPE. Types that {fits}: {', '.join(choices)}."
        )
    return grids


def _input_grid(text: str) -> Grid:
    """Return the grid of an input type; refuses one whose integers or values no float32 input can stand for."""
    grid = Grid.parse(text)
    if grid.datatype.bits > MAX_INPUT_BITS:
        raise InvalidInput(
            f"input type {text}: {grid.datatype.name} has {grid.datatype.bits} bits; expected at most "
            f"{MAX_INPUT_BITS}, as inputs are float32. Choose a narrower type."
        )
    if not all(FLOAT32_TINY <= scale <= FLOAT32_HUGE for scale in grid.scale):
        raise InvalidInput(
            f"input type {text}: its scale is out of the range of float32; expected {float(FLOAT32_TINY):.3g} to "
            f"{float(FLOAT32_HUGE):.3g}. Check the exponent."
        )
    return grid


def fitting_types(data: Array | None) -> list[str]:
    """Return input types on which the data lies, tightest first, or usual ones where there is no data."""
    if data is None or data.size == 0:
        return ["UINT8*1/255", "INT8", "FIXED<16,6>"]
    values = np.unique(np.asarray(data, np.float32))
    low, high = float(values[0]), float(values[-1])
    choices: list[str] = []
    if set(values.tolist()) <= {-1.0, 1.0}:
        choices.append("BIPOLAR")
    for fraction in range(_SUGGESTED_FRACTION_BITS + 1):
        scaled = values.astype(np.float64) * 2**fraction
        if (scaled == np.rint(scaled)).all():
            bits = _bits_for(float(scaled.min()), float(scaled.max()))
            kind = "INT" if low < 0 else "UINT"
            choices.append(f"{kind}{bits}" if fraction == 0 else f"{kind}{bits}*1/{2**fraction}")
            break
    if low >= 0 and high <= 1:
        for bits in range(1, 17):
            top = 2**bits - 1
            steps = np.rint(values.astype(np.float64) * top)
            if ((steps / top).astype(np.float32) == values).all():
                choices.append(f"UINT{bits}*1/{top}")
                break
    if not choices:
        integer_bits = 1 + max(1, int(np.ceil(np.log2(max(abs(low), abs(high)) + 1e-30))) + 1)
        width = max(16, integer_bits + _SUGGESTED_FRACTION_BITS)
        choices.append(f"FIXED<{width},{width - _SUGGESTED_FRACTION_BITS}> (rounds the data)")
    return list(dict.fromkeys(choices))


def _bits_for(low: float, high: float) -> int:
    if low < 0:
        return max(2, int(max(high, -low - 1)).bit_length() + 1)
    return max(1, int(high).bit_length())


def seeded_sample(
    model: ir.Model, grids: Mapping[str, Grid], count: int, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return inputs that cover each input's range: the lowest, the highest, alternating, and random grid points."""
    generator = np.random.default_rng(seed)
    inputs: dict[str, npt.NDArray[np.float32]] = {}
    for value in model.graph.inputs:
        name = value.name or ""
        shape = frame_shape(value)
        datatype = grids[name].datatype
        low, high = int(datatype.min), int(datatype.max)
        step = 2 if datatype.name == "BIPOLAR" else 1
        integers = low + step * generator.integers(0, (high - low) // step + 1, size=(count, *shape))
        integers[0] = low
        if count > 1:
            integers[1] = high
        if count > 2:
            integers[2] = np.where(np.indices(shape).sum(0) % 2 == 0, low, high) if shape else low
        # A third of the samples stays in a narrow band, where neighbouring thresholds are told apart.
        band = slice(3, 3 + count // 3)
        centre = generator.integers(low, high + 1, size=(len(integers[band]), *[1] * len(shape)))
        narrowed = np.clip(centre + (integers[band] - centre) // 8, low, high)
        integers[band] = low + (narrowed - low) // step * step
        inputs[name] = grids[name].to_values(integers)
    return inputs


def frame_shape(value: ir.Value) -> tuple[int, ...]:
    """Return the shape of one sample of a model input, without the batch dimension.

    Raises:
        InvalidInput: when a dimension other than the batch is not known.
    """
    if value.shape is None:
        raise InvalidInput(
            f"input {value.name}: its shape is unknown; expected a fixed shape after the batch dimension."
        )
    sizes = list(value.shape)[1:]
    known = tuple(size for size in sizes if isinstance(size, int))
    if len(known) != len(sizes):
        raise InvalidInput(
            f"input {value.name}: shape is {value.shape}; expected whole numbers after the batch dimension. "
            "Hardware is built for one frame size: set the dimensions before the build."
        )
    return known


def numbers(name: str, array: Array) -> npt.NDArray[np.float32]:
    """Return an array as float32; refuses what holds no numbers, or none that are finite in float32."""
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"data for {name}: has element type {array.dtype}; expected numbers. Convert it first.")
    with np.errstate(over="ignore"):
        values = np.asarray(array, np.float32)
    if not np.isfinite(values).all():
        raise InvalidInput(f"data for {name}: found NaN, infinity or more than float32 holds; expected finite numbers.")
    return values


def class_labels(labels: Array, count: int) -> npt.NDArray[np.int64]:
    """Return the class number of each of ``count`` samples; refuses everything else, such as one-hot rows."""
    whole = labels.dtype.kind in "iu" or (labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all()))
    if not whole or labels.shape not in ((count,), (count, 1)):
        raise InvalidInput(
            f"data for {LABELS}: found {labels.dtype} of shape {labels.shape}; expected {count} whole class numbers, "
            "one a sample. For one-hot rows store labels.argmax(1)."
        )
    return labels.astype(np.int64).reshape(-1)


def bring_on_grid(
    inputs: Mapping[str, Array], grids: Mapping[str, Grid]
) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.bool_]]:
    """Return the inputs rounded to their grids, and per sample whether it was there already.

    Raises:
        InvalidInput: for values that are not finite, and for inputs with different numbers of samples.
    """
    sizes = {name: array.shape[:1] for name, array in inputs.items()}
    if len(set(sizes.values())) != 1 or () in sizes.values() or (0,) in sizes.values():
        raise InvalidInput(
            f"data: numbers of samples are {sizes}; expected the same number, at least 1, for every input."
        )
    rounded: dict[str, npt.NDArray[np.float32]] = {}
    on_grid = np.ones(next(iter(sizes.values())), bool)
    for name, array in inputs.items():
        values = numbers(f"input {name}", array)
        integers, on = grids[name].to_integers(values)
        rounded[name] = grids[name].to_values(integers).reshape(values.shape)
        on_grid &= on.reshape(len(on), -1).all(1)
    return rounded, on_grid

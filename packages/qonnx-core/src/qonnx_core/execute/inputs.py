"""Checks the arrays that a model is to be run with, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput, Unsupported

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ExpectedInput:
    """What an input of a model takes; read from the graph once, because every call of a model checks against it."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None

    def shape_text(self) -> str:
        """Return the shape as a message shows it."""
        dims = ["?" if dim is None else str(dim) for dim in self.shape or ()]
        return "(" + ", ".join(dims) + ("," if len(dims) == 1 else "") + ")"


def expected_inputs(values: Sequence[ir.Value]) -> tuple[ExpectedInput, ...]:
    """Return what the inputs of a graph take.

    Raises:
        Unsupported: an input is a sequence of tensors.
    """
    for value in values:
        kind = value.type.elem_type if isinstance(value.type, ir.OptionalType) else value.type
        if isinstance(kind, ir.SequenceType):
            raise Unsupported(
                f"input {value.name}: is a sequence of tensors; expected one tensor, because every input is given as "
                "one array. Cut the model behind what reads the sequence."
            )
    return tuple(
        ExpectedInput(
            value.name or "",
            None if value.dtype in (None, ir.DataType.UNDEFINED) else value.dtype.numpy(),
            None if value.shape is None else tuple(d if isinstance(d, int) else d.value for d in value.shape),
        )
        for value in values
    )


def check_inputs(expected: Sequence[ExpectedInput], given: Mapping[str, Array]) -> tuple[dict[str, Array], int, int]:
    """Return the arrays in the model's element types, the number of samples, and how many samples one run takes.

    The two numbers are equal where one run takes the arrays as they are. Inputs without axes belong to every run.

    Raises:
        InvalidInput: a name is missing or unknown, a shape does not fit, or an element type would lose values.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput(
            f"inputs: found {type(given).__name__}; expected a dictionary with an array for each input, such as "
            f"{{{expected[0].name if expected else 'x'!r}: x}}. Name the array."
        )
    if len(given) != len(expected) or any(value.name not in given for value in expected):
        raise _wrong_names([value.name for value in expected], given)
    arrays: dict[str, Array] = {}
    batches: dict[str, tuple[int, int]] = {}  # input: (samples given, samples in one run)
    symbols: dict[str, tuple[str, int]] = {}
    for value in expected:
        array = _converted(value, given[value.name])
        arrays[value.name] = array
        _check_shape(value, array.shape, symbols)
        if value.shape:
            first = value.shape[0]
            samples = array.shape[0]
            batches[value.name] = (samples, first if isinstance(first, int) else samples)
    if all(samples == step for samples, step in batches.values()):
        return arrays, 1, 1
    runs = {(samples, step) for samples, step in batches.values()}
    samples, step = next(iter(runs))
    sliced = len(batches) == sum(value.shape != () for value in expected)
    if len(runs) > 1 or not sliced or step == 0 or samples % step:
        detail = ", ".join(f"{name} {samples} (the model takes {step})" for name, (samples, step) in batches.items())
        raise InvalidInput(f"inputs: first axes are {detail}; expected the same multiple for all. Check the batch.")
    return arrays, samples, step


def as_array(what: str, given: object) -> Array:
    """Return what somebody gave as an array.

    Raises:
        InvalidInput: its rows have different lengths; says ``what`` it is.
    """
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InvalidInput(f"{what}: is no array ({error}); expected rows of one length. Cut or pad them.") from error


def _wrong_names(names: Sequence[str], given: Mapping[str, Array]) -> InvalidInput:
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    found = ", ".join(repr(name) for name in given) or "none"
    return InvalidInput(
        f"inputs: found {found}; expected exactly {', '.join(repr(name) for name in names) or 'none'}. "
        + (f"Leave out {unknown[0]!r}." if unknown else f"Give an array for {missing[0]!r}.")
    )


def _converted(value: ExpectedInput, array: object) -> Array:
    given = as_array(f"input {value.name}", array)
    wanted = value.dtype
    if wanted is None:
        return given
    if given.dtype == wanted:
        return np.ascontiguousarray(given) if given.ndim else given
    if given.dtype.kind in "fiub" and wanted.kind in "fiub":
        with np.errstate(all="ignore"):
            converted = given.astype(wanted)
            back = converted.astype(given.dtype)
        if np.array_equal(back, given, equal_nan=given.dtype.kind == "f"):
            return converted
        raise InvalidInput(
            f"input {value.name}: holds {given.dtype} values that {wanted} cannot hold; expected {wanted}. "
            f"Convert it with .astype(numpy.{wanted}) if rounding is meant."
        )
    raise InvalidInput(
        f"input {value.name}: has element type {given.dtype}; expected {wanted}. Convert it with .astype."
    )


def _check_shape(value: ExpectedInput, shape: tuple[int, ...], symbols: dict[str, tuple[str, int]]) -> None:
    if value.shape is None:
        return
    fits = len(shape) == len(value.shape) and all(
        found == dim or axis == 0 or not isinstance(dim, int)
        for axis, (found, dim) in enumerate(zip(shape, value.shape, strict=True))
    )
    if not fits:
        raise InvalidInput(f"input {value.name}: has shape {shape}; expected {value.shape_text()}. Reshape it.")
    for axis, (found, dim) in enumerate(zip(shape, value.shape, strict=True)):
        if isinstance(dim, str):
            other, size = symbols.setdefault(dim, (value.name, found))
            if size != found:
                raise InvalidInput(
                    f"input {value.name}: axis {axis} ({dim}) is {found}, but {size} in input {other}; "
                    "expected the same number. Give all inputs the same batch size."
                )

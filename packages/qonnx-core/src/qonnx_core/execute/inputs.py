"""Checks the arrays that a model is to be run with, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput

Array = NDArray[Any]


def check_inputs(expected: Sequence[ir.Value], given: Mapping[str, Array]) -> tuple[dict[str, Array], int, int]:
    """Return the arrays in the model's element types, the number of samples, and how many samples one run takes.

    Raises:
        InvalidInput: a name is missing or unknown, a shape does not fit, or an element type would lose values.
    """
    names = [value.name or "" for value in expected]
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if unknown or missing:
        found = ", ".join(repr(name) for name in given) or "none"
        raise InvalidInput(
            f"inputs: found {found}; expected exactly {', '.join(repr(name) for name in names) or 'none'}. "
            + (f"Leave out {unknown[0]!r}." if unknown else f"Give an array for {missing[0]!r}.")
        )
    arrays = {value.name or "": _converted(value, given[value.name or ""]) for value in expected}
    batches: dict[str, tuple[int, int]] = {}  # input: (samples given, samples in one run)
    symbols: dict[str, tuple[str, int]] = {}
    for value in expected:
        name = value.name or ""
        _check_shape(value, arrays[name].shape, symbols)
        if value.shape is not None and len(value.shape) > 0:
            first = value.shape[0]
            batches[name] = (arrays[name].shape[0], first if isinstance(first, int) else arrays[name].shape[0])
    if all(samples == step for samples, step in batches.values()):
        return arrays, 1, 1
    runs = {(samples, step) for samples, step in batches.values()}
    samples, step = next(iter(runs))
    if len(runs) > 1 or len(batches) < len(arrays) or step == 0 or samples % step or samples == 0:
        detail = ", ".join(f"{name} {samples} (the model takes {step})" for name, (samples, step) in batches.items())
        raise InvalidInput(f"inputs: first axes are {detail}; expected the same multiple for all. Check the batch.")
    return arrays, samples, step


def _converted(value: ir.Value, array: object) -> Array:
    given = np.asarray(array)
    if value.dtype is None:
        return given
    wanted = value.dtype.numpy()
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


def _check_shape(value: ir.Value, shape: tuple[int, ...], symbols: dict[str, tuple[str, int]]) -> None:
    if value.shape is None:
        return
    expected = tuple(value.shape)
    text = "(" + ", ".join(str(dim) for dim in expected) + ("," if len(expected) == 1 else "") + ")"
    if len(shape) != len(expected):
        raise InvalidInput(f"input {value.name}: has shape {shape}; expected {text}. Reshape it.")
    for axis, (found, dim) in enumerate(zip(shape, expected, strict=True)):
        if isinstance(dim, int):
            if axis > 0 and found != dim:
                raise InvalidInput(f"input {value.name}: has shape {shape}; expected {text}. Reshape it.")
        elif dim.value is not None:
            other, size = symbols.setdefault(str(dim.value), (value.name or "", found))
            if size != found:
                raise InvalidInput(
                    f"input {value.name}: axis {axis} ({dim.value}) is {found}, but {size} in input {other}; "
                    "expected the same number. Give all inputs the same batch size."
                )

"""Computes the steps of a quantizer on a constant, with the bits that onnxruntime gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.execute.steps import Expansion, Step
from qonnx_core.ir.memory import on_pages
from qonnx_core.ops.builder import Array

# Each of these rounds at most once, as IEEE 754 says, so every implementation gives the same bits; NaN apart.
_SAME_BITS: Mapping[str, Callable[..., Any]] = {
    "Abs": np.absolute,
    "Add": np.add,
    "Ceil": np.ceil,
    "Clip": np.clip,  # of two zeros both give the first; onnxruntime's Max and Min give either, so they are not here
    "Div": np.divide,
    "Floor": np.floor,
    "GreaterOrEqual": np.greater_equal,
    "Mul": np.multiply,
    "Round": np.rint,
    "Sign": np.sign,
    "Sub": np.subtract,
}
_LARGE = 2**16  # elements from which on writing over an array pays
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def compute(expansion: Expansion, array: Array) -> Array | None:
    """Return the result of the steps where the data are this array; None where that is left to onnxruntime.

    Left are operations that round more than once or that are unknown here, element types other than float32 and
    float64, and NaN.
    """
    if array.dtype not in _FLOATS:
        return None
    with np.errstate(all="ignore"):
        found = _small(expansion, array) if array.size < _LARGE else _large(expansion, array)
    return None if found is None or (found.size and np.isnan(np.min(found))) else found


def _small(expansion: Expansion, array: Array) -> Array | None:
    known: dict[ir.Value, Array] = {**expansion.constants, expansion.x: array}
    for step in expansion.steps:
        made = _apply(step, [known[value] for value in step.inputs], None)
        if made is None:
            return None
        known[step.outputs[0]] = made
    return known[expansion.result]


def _large(expansion: Expansion, array: Array) -> Array | None:
    """Return the result, writing over arrays that are no longer needed and letting go of the others."""
    known: dict[ir.Value, Array] = {**expansion.constants, expansion.x: array}
    steps, result = expansion.steps, expansion.result
    fresh: set[ir.Value] = set()  # arrays that were made here and are read once more at most, so can be written over
    last = {value: number for number, step in enumerate(steps) for value in step.inputs}
    for number, step in enumerate(steps):
        target = next((v for v in step.inputs if v in fresh and last[v] == number and v is not result), None)
        made = _apply(step, [known[value] for value in step.inputs], None if target is None else known[target])
        if made is None:
            return None
        for value in step.inputs:
            if value in fresh and last[value] == number and value is not result:
                del known[value]
                fresh.discard(value)
        known[step.outputs[0]] = made
        fresh.add(step.outputs[0])
    return known[result]


def _apply(step: Step, inputs: Sequence[Array], target: Array | None) -> Array | None:
    if step.attributes or len(step.outputs) != 1:
        return None
    kind = inputs[-1].dtype
    for array in inputs[1:-1]:
        if array.dtype != kind:
            return None
    if step.op_type == "Where":
        return np.asarray(np.where(*inputs))
    function = _SAME_BITS.get(step.op_type)
    if function is None or inputs[0].dtype != kind:
        return None
    try:
        return np.asarray(function(*inputs, out=_target(step.op_type, inputs, target)))
    except ValueError:
        return None  # the shapes do not go together, and onnxruntime says which


def _target(op_type: str, inputs: Sequence[Array], target: Array | None) -> Array | None:
    """Return the array to write a large result into: the one that is no longer needed, where it has the right shape."""
    if op_type == "GreaterOrEqual" or max(array.size for array in inputs) < _LARGE:
        return None
    shape, dtype = np.broadcast_shapes(*(array.shape for array in inputs)), inputs[0].dtype
    return target if target is not None and (target.shape, target.dtype) == (shape, dtype) else on_pages(shape, dtype)

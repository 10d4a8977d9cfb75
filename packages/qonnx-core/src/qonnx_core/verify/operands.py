"""What the rules of float error bounds share: reading operands and axes, and moving values with their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.verify.bounded import Bounded, NoBound

Rule = Callable[[ir.Node, Sequence[Bounded | None]], Bounded | list[Bounded]]


def first_operands(operands: Sequence[Bounded | None], count: int) -> list[Bounded]:
    """Return the first operands, all of which have to be there; raises NoBound."""
    found = [operand for operand in operands[:count] if operand is not None]
    if len(found) != count:
        raise NoBound(f"an input among the first {count} is missing")
    return found


def axes_of(node: ir.Node, operands: Sequence[Bounded | None]) -> tuple[int, ...] | None:
    """Return the axes of a reduction by attribute or second input; None for all axes."""
    operand = operands[1] if len(operands) > 1 else None
    axes = node.attributes.get_ints("axes") if operand is None else operand.value.reshape(-1).tolist()
    if not axes:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            raise NoBound("a reduction without axes")
        return None
    return tuple(int(axis) for axis in axes)


def constant(value: float) -> Bounded:
    """Return one exact number."""
    return Bounded(np.asarray(value, dtype=np.float64))


def moved(x: Bounded, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Bounded:
    """Return a value and its error with their elements moved."""
    error = None if x.error is None else np.asarray(move(x.error), dtype=np.float64)
    return Bounded(np.asarray(move(x.value)), error)

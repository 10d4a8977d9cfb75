"""The branches of a Where whose condition compares a tensor with numbers: each knows on which side the tensor is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from qonnx_core.analyses.ranges.curves import UNARY
from qonnx_core.analyses.ranges.elementwise import ELEMENTWISE
from qonnx_core.analyses.ranges.extent import Extent, IntArray, between, each, fitted, on_lattice
from qonnx_core.analyses.ranges.operation import Known, Operation, exact_numbers, numbers_of, shape_of
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.exact import Real

#: The comparison that holds where one does not, and the one with its operands exchanged.
_NEGATED = {"Greater": "LessOrEqual", "GreaterOrEqual": "Less", "Less": "GreaterOrEqual", "LessOrEqual": "Greater"}
_EXCHANGED = {"Greater": "Less", "GreaterOrEqual": "LessOrEqual", "Less": "Greater", "LessOrEqual": "GreaterOrEqual"}


def branches(
    node: ir.Node, inputs: tuple[Known | None, ...], known: Callable[[ir.Value | None], Known | None], opset: int
) -> tuple[Known | None, ...]:
    """Return the inputs of a Where: branches that are the compared tensor, or a function of it, under the condition.

    Args:
        node: the Where.
        inputs: what is known of its inputs.
        known: what is known of any tensor before it.
        opset: the version of ONNX's operators.
    """
    condition = None if node.inputs[0] is None else node.inputs[0].producer()
    if condition is None or condition.domain not in ("", "ai.onnx") or condition.op_type not in _NEGATED:
        return inputs
    value, other = condition.inputs[:2]
    kind = condition.op_type
    if isinstance(known(value), Constant):
        value, other, kind = other, value, _EXCHANGED[kind]
    x, bound = known(value), known(other)
    if value is None or not isinstance(x, Extent) or not isinstance(bound, Constant) or x.rounded:
        return inputs
    if bound.mantissa.ndim > x.lo.ndim:
        return inputs
    found = list(inputs)
    for place, side in ((1, kind), (2, _NEGATED[kind])):
        part = _function(node.inputs[place], value, _limited(x, side, bound), known, opset)
        found[place] = part if part is not None else found[place]
    return tuple(found)


def _function(
    target: ir.Value | None,
    value: ir.Value,
    x: Extent,
    known: Callable[[ir.Value | None], Known | None],
    opset: int,
) -> Extent | None:
    """Return a tensor that is x or made of x and numbers alone by one elementwise operator; None for any other."""
    if target is value:
        return x
    node = None if target is None else target.producer()
    if target is None or node is None or node.domain not in ("", "ai.onnx") or value not in node.inputs:
        return None
    rule = ELEMENTWISE.get(node.op_type) or UNARY.get(node.op_type)
    inputs = tuple(x if operand is value else known(operand) for operand in node.inputs)
    if rule is None or any(isinstance(operand, Extent) and operand is not x for operand in inputs):
        return None
    try:
        return fitted(rule(Operation(node, inputs, opset))[0], shape_of(target))
    except Unsupported:
        return None


def _limited(x: Extent, kind: str, bound: Constant) -> Extent:
    """Return x where the comparison holds; as it is where it never does."""
    numbers = numbers_of(bound)
    above, strict = kind.startswith("Greater"), not kind.endswith("OrEqual")
    lo, hi = (np.maximum(x.lo, numbers), x.hi) if above else (x.lo, np.minimum(x.hi, numbers))
    possible = lo <= hi
    lo, hi = np.where(possible, lo, x.lo), np.where(possible, hi, x.hi)
    lattice = x.lattice
    if lattice is None:
        return between((lo, hi), x.axis, x.reason)

    def place(scale: Real, offset: Real, low: int, number: Real) -> int:
        """Return how many steps above the lowest the first number lies that holds (or the last one)."""
        steps = ((number - offset) / scale - low) * Fraction(1, lattice.step)
        if above:
            return exact.floor(steps) + 1 if strict else exact.ceil(steps)
        return exact.ceil(steps) - 1 if strict else exact.floor(steps)

    steps = each(place, lattice.scale, lattice.offset, lattice.low.astype(object), exact_numbers(bound))
    most = (lattice.high - lattice.low) // lattice.step
    limited = np.clip(steps, -1, most.astype(object) + 1).astype(np.int64)
    low: IntArray = lattice.low + np.where(above, np.maximum(limited, 0), 0) * lattice.step
    high: IntArray = lattice.high if above else lattice.low + np.minimum(limited, most) * lattice.step
    never = low > high
    low, high = np.where(never, lattice.low, low), np.where(never, lattice.high, high)
    return on_lattice(replace(lattice, low=low, high=high), x.axis)

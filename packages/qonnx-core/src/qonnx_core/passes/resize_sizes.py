"""Gives a Resize factors in place of sizes, so that it says nothing about the size of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import is_standard, new_constant


def sizes_of(node: ir.Node) -> ir.Value | None:
    """Return the sizes of a Resize that gives those of all axes and no factors; None where it is another node."""
    if node.op_type != "Resize" or not is_standard(node) or len(node.inputs) < 4 or "axes" in node.attributes:
        return None
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    return node.inputs[3] if _is_empty(node.inputs[1]) and _is_empty(node.inputs[2]) else None


def _is_empty(value: ir.Value | None) -> bool:
    array = constant_array(value)
    return value is None or (array is not None and array.size == 0)


def use_factors(
    graph: ir.Graph,
    node: ir.Node,
    kept: Sequence[int],
    before: Sequence[object],
    sizes: Sequence[object],
    names: Names,
) -> bool:
    """Let the node give factors, 1 for the axes ``kept``, where float32 holds them all; return whether it does.

    The runtime divides sizes itself otherwise, in float32, so these are the same factors.
    """
    factors = []
    for axis, (old, new) in enumerate(zip(before, sizes, strict=True)):
        if axis in kept or old == new:
            factors.append(1.0)
            continue
        if not (isinstance(old, int) and isinstance(new, int)) or old < 1 or new < 1:
            return False
        factor = float(np.float32(new / old))
        if Fraction(factor) * old != new:
            return False
        factors.append(factor)
    stem = f"{node.name or node.outputs[0].name}/scales"
    scales = new_constant(graph, stem, np.asarray(factors, np.float32), names)
    node.replace_input_with(2, scales)
    node.resize_inputs(3)
    return True

"""Removes quantizers that do again what another one has done."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.rounding import Rounding
from qonnx_core.passes.base import can_replace, graphs_of, replace_value
from qonnx_core.passes.remove_unused import RemoveUnused

_MAX_BITS = 20  # integers of this width survive a division by their scale with room to spare
_TO_NEAREST = (Rounding.ROUND, Rounding.HALF_UP, Rounding.HALF_DOWN)


@dataclass(frozen=True)
class RemoveDuplicateQuants:
    """A Quant or BipolarQuant of a tensor that the same quantizer made goes, and of two equal ones on a tensor one.

    Both keep all values to the bit. A second quantizer that rounds up or down stays unless its scale is a power of
    two: in float32, 3 steps of 0.1 divided by 0.1 may be just below 3.
    """

    name: str = "remove_duplicate_quants"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of quantizers removed."""
        removed = 0
        for graph in graphs_of(model):
            seen: dict[Hashable, ir.Value] = {}
            for node in list(graph):
                op = op_of(node, model.opset_imports)
                x = node.inputs[0] if node.inputs else None
                if not isinstance(op, Quant | BipolarQuant) or x is None:
                    continue
                arrays = [constant_array(value) for value in node.inputs[1:]]
                parameters = [np.asarray(array) for array in arrays if array is not None]
                if len(parameters) < len(arrays):
                    continue
                settings = (_kind(op), *(_key(array) for array in parameters))
                before = seen.get((settings, "made", x)) if _settles(op, parameters) else None
                other = before or seen.get((settings, "reads", x))
                result = node.outputs[0]
                if other is not None and other.shape == result.shape and can_replace(result, other):
                    replace_value(result, other)
                    graph.remove(node, safe=True)
                    removed += 1
                    continue
                seen.setdefault((settings, "reads", x), result)
                seen[(settings, "made", result)] = result
        if removed:
            RemoveUnused().run(model)
        return removed


def _kind(op: QonnxOp) -> Hashable:
    kind = Quant if isinstance(op, Quant) else type(op)  # IntQuant is Quant under another name
    return (kind, tuple(op.attributes().items()))


def _key(array: NDArray[Any]) -> Hashable:
    wide = np.asarray(array, np.float64)
    return (wide.shape, wide.tobytes())


def _settles(op: QonnxOp, parameters: list[NDArray[Any]]) -> bool:
    """Return whether the quantizer changes nothing of what it has made itself."""
    scale = np.asarray(parameters[0], np.float64)
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        return False
    if not isinstance(op, Quant):
        return True
    zero_point, bits = (np.asarray(array, np.float64) for array in parameters[1:3])
    whole = bool(np.all(zero_point == np.round(zero_point)) and np.all(bits == np.round(bits)))
    small = bool(np.all(bits <= _MAX_BITS) and np.all(np.abs(zero_point) < 2**_MAX_BITS))
    if op.signed and np.any(bits == 1) and np.any(zero_point != 0):
        return False  # bipolar around a zero point: the sign of the result is not that of the input
    powers = bool(np.all(np.frexp(scale)[0] == 0.5))
    return whole and small and (op.rounding_mode in _TO_NEAREST or powers)

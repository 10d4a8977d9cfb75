"""Writes quotients by constants as products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of, is_standard, new_constant
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class ConvertDivToMul:
    """``Div(x, c)`` of a constant becomes ``Mul(x, 1 / c)`` where every c is a power of two: the same to the bit.

    With ``rounding_allowed`` other constants are taken too, of which neither is 0 nor has an infinite reciprocal; then
    the reciprocal is rounded, and a result can differ by its last bit or two. Quotients of integers stay.
    """

    rounding_allowed: bool = False
    name: str = "convert_div_to_mul"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Div nodes rewritten."""
        names = Names(model.graph)
        done = 0
        for graph in graphs_of(model):
            made: dict[ir.Value, ir.Value] = {}
            for node in list(graph):
                array = constant_array(node.inputs[1]) if node.op_type == "Div" and is_standard(node) else None
                inverse = None if array is None else self._reciprocal(array)
                if inverse is None:
                    continue
                value = node.inputs[1]
                assert value is not None
                if value not in made:
                    made[value] = new_constant(graph, f"{value.name}/reciprocal", inverse, names)
                node.replace_input_with(1, made[value])
                node.op_type = "Mul"
                done += 1
        if done:
            RemoveUnused().run(model)
        return done

    def _reciprocal(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """Return the reciprocals, or None where they are not exact enough."""
        if array.dtype.kind != "f" or not np.all(np.isfinite(array)) or np.any(array == 0):
            return None
        with np.errstate(over="ignore", under="ignore"):
            inverse = np.asarray(1 / array).astype(array.dtype)
        if not np.all(np.isfinite(inverse)) or np.any(inverse == 0):
            return None
        is_exact = bool(np.all(np.abs(np.frexp(array.astype(np.float64))[0]) == 0.5))
        normal = bool(np.all(np.abs(inverse) >= np.finfo(array.dtype).tiny))
        return inverse if (is_exact and normal) or self.rounding_allowed else None

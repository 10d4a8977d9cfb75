"""Writes differences with constants as sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of, is_standard, new_constant
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class ConvertSubToAdd:
    """``Sub(x, c)`` of a constant becomes ``Add(x, -c)``: the same to the bit.

    Floats and integers alike (integers wrap around in the same way). A difference from a constant, ``Sub(c, x)``, and
    one of two running tensors stay.
    """

    name: str = "convert_sub_to_add"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Sub nodes rewritten."""
        names = Names(model.graph)
        done = 0
        for graph in graphs_of(model):
            made: dict[ir.Value, ir.Value] = {}
            for node in list(graph):
                array = constant_array(node.inputs[1]) if node.op_type == "Sub" and is_standard(node) else None
                if array is None:
                    continue
                value = node.inputs[1]
                assert value is not None
                if value not in made:
                    made[value] = new_constant(graph, f"{value.name}/negative", np.negative(array), names)
                node.replace_input_with(1, made[value])
                node.op_type = "Add"
                done += 1
        if done:
            RemoveUnused().run(model)
        return done

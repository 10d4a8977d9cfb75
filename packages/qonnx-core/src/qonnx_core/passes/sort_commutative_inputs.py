"""Puts the constants of sums and products last."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.constants import constant_tensor
from qonnx_core.passes.base import graphs_of, is_standard

_COMMUTATIVE = frozenset(("Add", "And", "Mul", "Or", "Xor"))


@dataclass(frozen=True)
class SortCommutativeInputs:
    """``Add(c, x)`` becomes ``Add(x, c)``; Mul, And, Or and Xor likewise: the same to the bit.

    Two running tensors and two constants keep their order. A Sum of two inputs is sorted as well; one of more is not,
    because the order in which it adds decides how it rounds.
    """

    name: str = "sort_commutative_inputs"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes whose inputs changed places."""
        swapped = 0
        for graph in graphs_of(model):
            for node in graph:
                commutes = node.op_type in _COMMUTATIVE or (node.op_type == "Sum" and len(node.inputs) == 2)
                if not commutes or not is_standard(node):
                    continue
                left, right = node.inputs
                if constant_tensor(left) is not None and constant_tensor(right) is None:
                    node.replace_input_with(0, right)
                    node.replace_input_with(1, left)
                    swapped += 1
        return swapped

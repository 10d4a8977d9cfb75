"""Removes transpositions that cancel, and stores constants and quantized constants transposed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.permutations import permutation_of
from qonnx_core.passes.base import can_replace, graphs_of, is_standard, replace_value
from qonnx_core.passes.layouts.emitter import Emitter, emitters
from qonnx_core.passes.layouts.shapes import know_shapes
from qonnx_core.passes.layouts.statics import Statics
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class FoldTransposes:
    """``Transpose(Transpose(x))`` becomes one Transpose or ``x``; the Transpose of a constant is stored instead.

    Constants may be behind quantizers and element-wise operators: their parameters per channel are moved along, and
    a quantizer that others read too gets a transposed twin. A Transpose that changes nothing goes.
    """

    name: str = "fold_transposes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Transpose nodes removed or rewired.

        Raises:
            InvalidModel: shapes contradict each other.
        """
        if not any(node.op_type == "Transpose" for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        edits = 0
        for emitter in emitters(model):
            statics = Statics(emitter)
            for node in list(emitter.graph):
                if node.op_type == "Transpose" and is_standard(node):
                    edits += _fold(emitter, statics, node)
        if edits:
            RemoveUnused().run(model)
        return edits


def _fold(emitter: Emitter, statics: Statics, node: ir.Node) -> int:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    permutation = _permutation(node)
    if permutation is None:
        return 0
    edits = 0
    inner = source.producer()
    before = _permutation(inner) if inner is not None and inner.op_type == "Transpose" and is_standard(inner) else None
    if inner is not None and before is not None and inner.inputs[0] is not None and inner.graph is node.graph:
        source = inner.inputs[0]
        permutation = [before[axis] for axis in permutation]
        node.replace_input_with(0, source)
        node.attributes["perm"] = ir.AttrInt64s("perm", permutation)
        edits = 1
    if permutation == sorted(permutation):
        if not can_replace(result, source):
            return edits
        replace_value(result, source)
        emitter.graph.remove(node, safe=True)
        return 1
    if not statics.can_move(source, len(permutation)):
        return edits
    order = tuple(permutation)
    moved = statics.moved(
        source, len(order), order, lambda array: np.transpose(array, order), node, suffix="transposed"
    )
    if moved is None or not can_replace(result, moved):
        return edits
    replace_value(result, moved)
    emitter.graph.remove(node, safe=True)
    return 1


def _permutation(node: ir.Node) -> list[int] | None:
    """Return the permutation, also where it is left out and the rank is known."""
    data = node.inputs[0]
    if data is None or data.shape is None:
        return list(node.attributes.get_ints("perm") or ()) or None
    return permutation_of(node, len(data.shape))

"""Moves the Transpose of a quantized weight into the stored tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import can_replace, graphs_of, new_constant, replace_value
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class FoldTransposeIntoQuantInit:
    """``Transpose(Quant(W, s, z, b))`` becomes ``Quant(W', s', z', b')`` with the constants transposed.

    Scales, zero points and bit widths per channel move their axes along. A quantizer that somebody else reads too is
    left alone.
    """

    name: str = "fold_transpose_into_quant_init"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Transpose nodes folded."""
        names = Names(model.graph)
        folded = 0
        for graph in graphs_of(model):
            for node in list(graph):
                if node.op_type == "Transpose" and node.domain == "" and _fold(model, graph, node, names):
                    folded += 1
        if folded:
            RemoveUnused().run(model)
        return folded


def _fold(model: ir.Model, graph: ir.Graph, transpose: ir.Node, names: Names) -> bool:
    source = transpose.inputs[0]
    quantizer = None if source is None else source.producer()
    if source is None or quantizer is None or len(source.uses()) != 1 or source.is_graph_output():
        return False
    op_class = op_class_of(quantizer, model.opset_imports)
    if op_class is None or not op_class.broadcasts or not can_replace(transpose.outputs[0], source):
        return False
    arrays = [constant_array(value) for value in quantizer.inputs]
    if any(array is None for array in arrays) or not _is_whole(op_class, arrays):
        return False
    rank = max(array.ndim for array in arrays if array is not None)
    permutation = permutation_of(transpose, rank)
    if sorted(permutation) != list(range(rank)):  # it does not fit; whoever infers shapes says so
        return False
    for index, (value, array) in enumerate(zip(list(quantizer.inputs), arrays, strict=True)):
        assert value is not None
        assert array is not None
        if array.size > 1 or (index == 0 and array.ndim > 0):
            quantizer.replace_input_with(index, _transposed(graph, value, array, rank, permutation, names))
    if source.shape is not None:
        source.shape = ir.Shape([source.shape[axis] for axis in permutation])
    replace_value(transpose.outputs[0], source)
    graph.remove(transpose, safe=True)
    return True


def _is_whole(op_class: type[QonnxOp], arrays: list[NDArray[Any] | None]) -> bool:
    """Return whether the quantized tensor has the shape of the weight: no parameter widens it."""
    shapes = [array.shape for array in arrays if array is not None]
    return np.broadcast_shapes(*shapes) == shapes[0]


def _transposed(
    graph: ir.Graph, value: ir.Value, array: NDArray[Any], rank: int, permutation: Sequence[int], names: Names
) -> ir.Value:
    wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
    made = new_constant(graph, f"{value.name}/transposed", np.ascontiguousarray(wide.transpose(permutation)), names)
    merge_annotations(value, made)
    return made

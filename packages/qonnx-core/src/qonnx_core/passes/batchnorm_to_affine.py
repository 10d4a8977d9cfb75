"""Writes batch normalization as the product and the sum that it is in inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of, is_standard
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.rewrite import builder_for, substitute


@dataclass(frozen=True)
class BatchNormToAffine:
    """``BatchNormalization(x)`` becomes ``Add(Mul(x, A), B)``.

    ``A = scale / sqrt(var + epsilon)`` and ``B = bias - mean * A`` are computed in float32 in the order of the
    executor (float64 for such data; float16 is cast to float32 and back), so that the values stay the same to the bit.
    Nodes whose parameters are computed, whose input has an
    unknown rank, or that train stay as they are.
    """

    name: str = "batchnorm_to_affine"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of BatchNormalization nodes rewritten."""
        names = Names(model.graph)
        rewritten = 0
        for graph in graphs_of(model):
            for node in list(graph):
                if node.op_type == "BatchNormalization" and is_standard(node):
                    rewritten += _rewrite(model.graph, graph, node, names)
        if rewritten:
            RemoveUnused().run(model)
        return rewritten


def _rewrite(root: ir.Graph, graph: ir.Graph, node: ir.Node, names: Names) -> int:
    x = node.inputs[0]
    arrays = [constant_array(value) for value in node.inputs[1:]]
    trains = node.attributes.get_int("training_mode", 0) != 0 or len(node.outputs) > 1
    if x is None or x.shape is None or trains or any(array is None for array in arrays):
        return 0
    dtype = ir.DataType.DOUBLE if x.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    kind = dtype.numpy().type
    scale, bias, mean, variance = (np.asarray(array, kind) for array in arrays)
    epsilon = kind(np.float32(node.attributes.get_float("epsilon", 1e-5)))
    with np.errstate(all="ignore"):
        gain = scale * (kind(1) / np.sqrt(variance + epsilon))
        offset = bias - mean * gain
    shape = (-1, *(1,) * (len(x.shape) - 2))
    builder = builder_for(root, node, names)
    wide = x if x.dtype is None else builder.cast(x, dtype)
    affine = builder("Add", builder("Mul", wide, gain.reshape(shape)), offset.reshape(shape))
    substitute(graph, node, builder, builder.value(affine if x.dtype is None else builder.cast(affine, x.dtype)))
    return 1

"""Writes batch normalization as the product and the sum that it is in inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.base import graphs_of, is_standard
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.rewrite import builder_for, substitute


@dataclass(frozen=True)
class BatchNormToAffine:
    """``BatchNormalization(x)`` becomes ``Add(Mul(x, A), B)``.

    ``A = scale / sqrt(var + epsilon)`` and ``B = bias - mean * A`` are computed in float32 in the order of the
    executor, so that the values stay the same to the bit. Nodes whose parameters are computed, whose input has an
    unknown rank, or that train stay as they are.
    """

    name: str = "batchnorm_to_affine"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of BatchNormalization nodes rewritten."""
        rewritten = 0
        for graph in graphs_of(model):
            for node in list(graph):
                if node.op_type == "BatchNormalization" and is_standard(node):
                    rewritten += _rewrite(model.graph, graph, node)
        if rewritten:
            RemoveUnused().run(model)
        return rewritten


def _rewrite(root: ir.Graph, graph: ir.Graph, node: ir.Node) -> int:
    x = node.inputs[0]
    arrays = [constant_array(value) for value in node.inputs[1:]]
    trains = node.attributes.get_int("training_mode", 0) != 0 or len(node.outputs) > 1
    if x is None or x.shape is None or trains or any(array is None for array in arrays):
        return 0
    scale, bias, mean, variance = (np.asarray(array, np.float32) for array in arrays)
    epsilon = np.float32(node.attributes.get_float("epsilon", 1e-5))
    with np.errstate(all="ignore"):
        gain = scale * (np.float32(1) / np.sqrt(variance + epsilon))
        offset = bias - mean * gain
    dtype = np.dtype(np.float32) if x.dtype is None else x.dtype.numpy()
    shape = (-1, *(1,) * (len(x.shape) - 2))
    builder = builder_for(root, node)
    product = builder("Mul", x, gain.reshape(shape).astype(dtype))
    substitute(graph, node, builder, builder.value(builder("Add", product, offset.reshape(shape).astype(dtype))))
    return 1

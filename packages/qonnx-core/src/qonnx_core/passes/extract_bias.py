"""Takes the bias out of convolutions and Gemm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ops.builder import GraphBuilder, Operand
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.passes.base import graphs_of, is_standard
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.rewrite import builder_for, substitute


@dataclass(frozen=True)
class ExtractBias:
    """``Conv(x, w, b)`` becomes ``Add(Conv(x, w), b)``; channels-last Conv, ConvTranspose and Gemm (its beta) likewise.

    The bias may be a quantized tensor; its quantizer stays. Values are the same up to the order of float32 sums, and
    to the bit where these are exact.
    """

    name: str = "extract_bias"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of biases taken out."""
        names = Names(model.graph)
        extracted = 0
        for graph in graphs_of(model):
            for node in list(graph):
                standard = node.op_type in ("Conv", "ConvTranspose", "Gemm") and is_standard(node)
                if standard or (node.op_type == "Conv" and node.domain == CHANNELS_LAST):
                    extracted += _extract(model.graph, graph, node, names)
        if extracted:
            RemoveUnused().run(model)
        return extracted


def _extract(root: ir.Graph, graph: ir.Graph, node: ir.Node, names: Names) -> int:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    result = node.outputs[0]
    if bias is None:
        return 0
    builder = builder_for(root, node, names)
    attributes = {attribute.name: attribute for attribute in node.attributes.values()}
    if node.op_type == "Gemm":
        beta = attributes.pop("beta", None)
        added = _scaled(builder, bias, 1.0 if beta is None else beta.as_float(), result)
    elif node.domain == CHANNELS_LAST:
        added = bias
    else:
        rank = _rank(node)
        if rank is None:
            return 0
        added = _on_channels(builder, bias, rank)
    inner = ir.Node(node.domain, node.op_type, node.inputs[:2], attributes.values(), version=node.version)
    builder.nodes.append(inner)
    inner.outputs[0].type, inner.outputs[0].shape = result.type, result.shape
    substitute(graph, node, builder, builder.node("Add", [inner.outputs[0], added])[0])
    return 1


def _rank(node: ir.Node) -> int | None:
    return next(
        (len(v.shape) for v in (*node.inputs[:2], *node.outputs) if v is not None and v.shape is not None), None
    )


def _on_channels(builder: GraphBuilder, bias: ir.Value, rank: int) -> Operand:
    """Return the bias with one axis for each axis behind the channels."""
    array = constant_array(bias)
    if array is not None:
        return array.reshape((-1, *(1,) * (rank - 2)))
    shape = np.asarray([-1, *(1,) * (rank - 2)], np.int64)
    return builder.node("Reshape", [bias, shape])[0]


def _scaled(builder: GraphBuilder, bias: ir.Value, beta: float, like: ir.Value) -> Operand:
    if beta == 1.0:
        return bias
    array = constant_array(bias)
    factor = np.asarray(beta, np.float32 if like.dtype is None else like.dtype.numpy())
    return builder("Mul", bias if array is None else np.asarray(array), factor)

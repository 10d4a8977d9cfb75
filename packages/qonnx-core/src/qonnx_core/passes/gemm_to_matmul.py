"""Splits Gemm into MatMul and Add, the two that integer arithmetic knows."""

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
class GemmToMatMul:
    """``Gemm(A, B, C)`` becomes ``Add(MatMul(A, B), C)``.

    A transposed constant is stored transposed, anything else gets a Transpose in front. ``alpha`` and ``beta`` other
    than 1 become a Mul behind the MatMul and a Mul (or a scaled constant) in front of the Add.
    """

    name: str = "gemm_to_matmul"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Gemm nodes split."""
        names = Names(model.graph)
        split = 0
        for graph in graphs_of(model):
            for node in list(graph):
                if node.op_type == "Gemm" and is_standard(node):
                    _split(graph, node, names)
                    split += 1
        if split:
            RemoveUnused().run(model)
        return split


def _split(graph: ir.Graph, gemm: ir.Node, names: Names) -> None:
    left, right, *rest = gemm.inputs
    assert left is not None
    assert right is not None
    result = gemm.outputs[0]
    dtype = np.dtype(np.float32) if result.dtype is None else result.dtype.numpy()
    nodes: list[ir.Node] = []
    if gemm.attributes.get_int("transA", 0) != 0:
        left = _transposed(graph, left, nodes, names)
    if gemm.attributes.get_int("transB", 0) != 0:
        right = _transposed(graph, right, nodes, names)
    current = _append(nodes, "MatMul", left, right)
    alpha, beta = gemm.attributes.get_float("alpha", 1.0), gemm.attributes.get_float("beta", 1.0)
    if alpha != 1.0:
        factor = new_constant(graph, f"{result.name}/alpha", np.asarray(alpha, dtype), names)
        current = _append(nodes, "Mul", current, factor)
    bias = rest[0] if rest else None
    if bias is not None and beta != 0.0:
        if beta != 1.0:
            bias = _scaled(graph, bias, np.asarray(beta, dtype), nodes, names)
        current = _append(nodes, "Add", current, bias)
    for node in nodes:
        node.outputs[0].type = result.type
    nodes[-1].outputs[0].shape = result.shape
    stem = gemm.name or "gemm"
    for number, node in enumerate(nodes):
        kind = f"{node.op_type.lower()}_{number}"
        node.name = stem if node is nodes[-1] else names.free_for_node(f"{stem}/{kind}")
        node.outputs[0].name = names.free(f"{result.name}/{kind}")
        node.metadata_props.update(gemm.metadata_props)
    ir.convenience.replace_nodes_and_values(graph, gemm, [gemm], nodes, [result], [nodes[-1].outputs[0]])


def _append(nodes: list[ir.Node], op_type: str, *inputs: ir.Value) -> ir.Value:
    nodes.append(ir.node(op_type, inputs))
    return nodes[-1].outputs[0]


def _transposed(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node], names: Names) -> ir.Value:
    array = constant_array(value)
    if array is not None:
        return new_constant(graph, f"{value.name}/transposed", np.ascontiguousarray(array.T), names)
    nodes.append(ir.node("Transpose", [value], {"perm": [1, 0]}))
    return nodes[-1].outputs[0]


def _scaled(graph: ir.Graph, bias: ir.Value, beta: NDArray[Any], nodes: list[ir.Node], names: Names) -> ir.Value:
    array = constant_array(bias)
    if array is not None:
        return new_constant(graph, f"{bias.name}/scaled", array * beta, names)
    return _append(nodes, "Mul", bias, new_constant(graph, f"{bias.name}/beta", beta, names))

"""Takes scale and zero point out of quantizers, so that what is left works on plain integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.builder import Operand
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.rewrite import builder_for, substitute


@dataclass(frozen=True)
class ExtractQuantScale:
    """``Quant(x, s, z, b)`` becomes Div by s, Add z, ``Quant(x, 1, 0, b)``, Sub z, Mul by s: the same to the bit.

    BipolarQuant becomes one of scale 1 and a Mul. Steps that change nothing (s = 1, z = 0) are left out.
    """

    name: str = "extract_quant_scale"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of quantizers that gave up their scale."""
        names = Names(model.graph)
        extracted = 0
        for graph in graphs_of(model):
            for node in list(graph):
                op = op_of(node, model.opset_imports)
                if isinstance(op, Quant | BipolarQuant) and not _is_plain(node):
                    _extract(model.graph, graph, node, op, names)
                    extracted += 1
        if extracted:
            RemoveUnused().run(model)
        return extracted


def _is_plain(node: ir.Node) -> bool:
    wanted = (1, 0)
    arrays = [constant_array(value) for value in node.inputs[1:3]]
    return all(array is not None and bool(np.all(array == n)) for array, n in zip(arrays, wanted, strict=False))


def _extract(root: ir.Graph, graph: ir.Graph, node: ir.Node, op: Quant | BipolarQuant, names: Names) -> None:
    builder = builder_for(root, node, names)
    x = node.inputs[0]
    assert x is not None
    known = [constant_array(value) for value in node.inputs]
    parameters = [v if k is None else np.asarray(k) for v, k in zip(node.inputs, known, strict=True) if v is not None]
    scale = builder.like(parameters[1], x)
    zeros: Operand | None = builder.like(parameters[2], x) if isinstance(op, Quant) else None
    steps: Operand = x
    if zeros is not None:
        steps = builder("Add", builder("Div", x, scale), zeros)
    dtype = np.float32 if x.dtype is None else x.dtype.numpy()
    plain = [np.asarray(1, dtype)]
    if isinstance(op, Quant):
        plain += [np.asarray(0, dtype), parameters[3]]  # type: ignore[list-item]
    integers = op.node(builder.value(steps), *(builder.value(part) for part in plain))
    builder.nodes.append(integers)
    made = integers.outputs[0]
    made.type = node.outputs[0].type
    made.shape = node.outputs[0].shape
    set_datatype(made, op.datatype(None, *(constant_array(value) for value in integers.inputs[1:])))
    result: Operand = made if zeros is None else builder("Sub", made, zeros)
    substitute(graph, node, builder, builder.value(builder("Mul", result, scale)))

"""Writes products of numbers -1 and 1 as counts of equal bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.names import Names
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.builder import GraphBuilder, Operand
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.xnor_popcount_matmul import XnorPopcountMatMul
from qonnx_core.passes.base import graphs_of, is_standard, new_constant
from qonnx_core.passes.datatypes.facts import Numbers
from qonnx_core.passes.datatypes.inference import Inference, infer
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.rewrite import builder_for, substitute

_EXACT_BITS = {ir.DataType.FLOAT16: 11, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


@dataclass(frozen=True)
class BipolarMatMulToXnorPopcount:
    """``MatMul(a, b)`` of numbers -1 and 1 becomes ``2 * XnorPopcountMatMul(a', b') - K``.

    ``a' = (a + 1) / 2`` and ``b'`` hold 0 and 1. Which tensors are bipolar follows from quantizers, constants and
    annotations (see :class:`~qonnx_core.passes.infer_datatypes.InferDataTypes`). Bipolar quantizers of constants become
    stored bits, other bipolar quantizers and thresholds become a MultiThreshold that gives bits, and anything else gets
    an Add and a Mul. Values stay the same to the bit. Gemm with ``alpha`` and ``beta`` of 1 likewise, its C is added
    (to the bit where that sum is exact). Products with K beyond what the element type counts, or an unknown one, stay.
    """

    name: str = "bipolar_matmul_to_xnor_popcount"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of products rewritten."""
        state: Inference | None = None
        names = Names(model.graph)
        done = 0
        for graph in graphs_of(model):
            bits: dict[ir.Value, ir.Value] = {}
            for node in list(graph):
                if node.op_type not in ("MatMul", "Gemm") or not is_standard(node):
                    continue
                state = state or infer(model)
                if all(_is_bipolar(value, state) for value in node.inputs[:2]) and _is_plain(node):
                    _rewrite(model, graph, node, bits, names)
                    done += 1
        if done:
            model.opset_imports.setdefault(DOMAIN, 1)
            RemoveUnused().run(model)
        return done


def _is_bipolar(value: ir.Value | None, state: Inference) -> bool:
    fact = state.fact_of(value)
    return isinstance(fact, Numbers) and fact.odd and fact.step == 1 and -1 <= fact.low <= fact.high <= 1


def _is_plain(node: ir.Node) -> bool:
    """Return whether the product is one of matrices, with a K that can be counted, and not scaled."""
    left, right = node.inputs[:2]
    assert left is not None
    assert right is not None
    if node.op_type == "Gemm" and any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return False
    if left.shape is None or right.shape is None or len(left.shape) < 2 or len(right.shape) < 2:
        return False
    size = _inner_size(node)
    return size is not None and size <= 1 << _EXACT_BITS.get(left.dtype or ir.DataType.FLOAT, 0)


def _inner_size(node: ir.Node) -> int | None:
    for value, turned, plain, transposed in zip(node.inputs[:2], ("transA", "transB"), (-1, -2), (-2, -1), strict=True):
        axis = transposed if node.attributes.get_int(turned, False) else plain
        if value is not None and value.shape is not None and isinstance(value.shape[axis], int):
            return int(str(value.shape[axis]))
    return None


def _rewrite(model: ir.Model, graph: ir.Graph, node: ir.Node, bits: dict[ir.Value, ir.Value], names: Names) -> None:
    builder = builder_for(model.graph, node, names)
    operands = []
    for value, turned in zip(node.inputs[:2], ("transA", "transB"), strict=True):
        assert value is not None
        operand = _as_bits(model, graph, value, bits, names)
        if node.op_type == "Gemm" and node.attributes.get_int(turned, False):
            operand = _transposed(graph, operand, builder)
        operands.append(operand)
    size = _inner_size(node)
    assert size is not None
    dtype = np.float32 if node.outputs[0].dtype is None else node.outputs[0].dtype.numpy()
    product = XnorPopcountMatMul().node(*operands)
    builder.nodes.append(product)
    count = product.outputs[0]
    count.shape = node.outputs[0].shape
    set_datatype(count, DataType.unsigned(32))
    result: Operand = builder("Add", builder("Mul", count, np.asarray(2, dtype)), np.asarray(-size, dtype))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        result = builder("Add", result, node.inputs[2])
    substitute(graph, node, builder, builder.value(result))


def _transposed(graph: ir.Graph, value: ir.Value, builder: GraphBuilder) -> ir.Value:
    array = constant_array(value)
    if array is None:
        made = builder.node("Transpose", [value], {"perm": [1, 0]})[0]
        made.type = value.type
    else:
        made = new_constant(graph, f"{value.name}/transposed", np.ascontiguousarray(array.T), builder.names)
    set_datatype(made, DataType.BINARY)
    return made


def _as_bits(
    model: ir.Model, graph: ir.Graph, value: ir.Value, bits: dict[ir.Value, ir.Value], names: Names
) -> ir.Value:
    """Return a tensor of 0 and 1 that stands for one of -1 and 1."""
    if value not in bits:
        bits[value] = _made_bits(model, graph, value, names)
        set_datatype(bits[value], DataType.BINARY)
    return bits[value]


def _made_bits(model: ir.Model, graph: ir.Graph, value: ir.Value, names: Names) -> ir.Value:
    array = constant_array(value)
    producer = value.producer()
    op = None if producer is None else op_of(producer, model.opset_imports)
    if array is None and producer is not None and isinstance(op, Quant | BipolarQuant):
        array = _quantized_constant(op, producer)
    if array is not None:
        return new_constant(graph, f"{value.name}/bits", ((array == 1) * np.ones((), array.dtype)), names)
    if producer is not None and producer.graph is graph:
        made = _threshold(graph, op, producer, value, names)
        if made is not None:
            graph.insert_after(producer, made)
            return made.outputs[0]
    dtype = np.float32 if value.dtype is None else value.dtype.numpy()
    one, half = (
        new_constant(graph, f"{value.name}/{n}", np.asarray(x, dtype), names) for n, x in (("one", 1), ("half", 0.5))
    )
    add = ir.node("Add", [value, one], name=names.free_for_node(f"{value.name}/bits_add"))
    scale = ir.node("Mul", [add.outputs[0], half], name=names.free_for_node(f"{value.name}/bits_mul"))
    for node, suffix in ((add, "bits_sum"), (scale, "bits")):
        node.outputs[0].name = names.free(f"{value.name}/{suffix}")
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, [add, scale])
    else:
        graph.insert_before(graph[0], [add, scale])
    return scale.outputs[0]


def _quantized_constant(op: QonnxOp, node: ir.Node) -> NDArray[np.generic] | None:
    arrays = [constant_array(value) for value in node.inputs]
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        return None
    found = op.body(GraphBuilder.apart(constant_array), *known)
    return np.asarray(found).astype(known[0].dtype)


def _threshold(graph: ir.Graph, op: QonnxOp | None, producer: ir.Node, value: ir.Value, names: Names) -> ir.Node | None:
    """Return a MultiThreshold that gives bits where the producer gives -1 and 1, or None."""
    source = producer.inputs[0] if producer.inputs else None
    if source is None:
        return None
    if isinstance(op, MultiThreshold) and (op.out_scale, op.out_bias) == (2.0, -1.0):
        thresholds = producer.inputs[1]
        assert thresholds is not None
        made = replace(op, out_dtype="BINARY", out_scale=1.0, out_bias=0.0)
    elif isinstance(op, Quant | BipolarQuant):
        dtype = np.float32 if value.dtype is None else value.dtype.numpy()
        thresholds = new_constant(graph, f"{value.name}/zero", np.zeros((1, 1), dtype), names)
        made = MultiThreshold("BINARY")
    else:
        return None
    name = names.free_for_node(f"{producer.name or value.name}/bits")
    node = made.node(source, thresholds, name=name, output=names.free(f"{value.name}/bits"))
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    node.metadata_props.update(producer.metadata_props)
    return node

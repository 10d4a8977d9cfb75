"""Functions of single elements between a convolution and its upsampling: they change places with the upsampling."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import is_standard

_POINTWISE = frozenset(
    ("Abs", "Add", "Clip", "Div", "Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mul", "Neg", "PRelu",
     "Relu", "Selu", "Sigmoid", "Sign", "Softplus", "Sub", "Tanh")
)  # fmt: skip


def chain_before(node: ir.Node, model: ir.Model) -> tuple[list[ir.Node], ir.Node | None]:
    """Return the pointwise nodes in front of a node, the first one first, and the node in front of these.

    Each works on every element alike: its other inputs are single numbers. Nobody else reads what it gives.
    """
    chain: list[ir.Node] = []
    value = node.inputs[0] if node.inputs else None
    while value is not None:
        producer = value.producer()
        if producer is None or len(value.uses()) != 1 or value.is_graph_output() or not _is_pointwise(producer, model):
            return chain, producer
        chain.insert(0, producer)
        value = producer.inputs[0]
    return chain, None


def _is_pointwise(node: ir.Node, model: ir.Model) -> bool:
    if len(node.outputs) != 1 or not node.inputs:
        return False
    if is_standard(node):
        if node.op_type not in _POINTWISE:
            return False
    else:
        kind = op_class_of(node, model.opset_imports)
        if kind is None or not (kind.broadcasts or issubclass(kind, MultiThreshold)):
            return False
        if issubclass(kind, MultiThreshold):
            thresholds = constant_array(node.inputs[1])
            return thresholds is not None and thresholds.shape[0] == 1
    others = [constant_array(value) for value in node.inputs[1:] if value is not None]
    return all(array is not None and array.size == 1 and array.ndim <= 4 for array in others)


def move_above(graph: ir.Graph, node: ir.Node, chain: Sequence[ir.Node]) -> None:
    """Let a node that moves elements work in front of the pointwise nodes that it reads; the result keeps its name."""
    if not chain:
        return
    source, result, last = chain[0].inputs[0], node.outputs[0], chain[-1].outputs[0]
    assert source is not None
    for reader, index in list(result.uses()):
        reader.replace_input_with(index, last)
    for index, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[index] = last
    node.replace_input_with(0, source)
    chain[0].replace_input_with(0, result)
    last.name, result.name = result.name, last.name
    for part in chain:
        part.outputs[0].shape = result.shape
    result.type = source.type
    set_datatype(result, get_datatype(source))
    graph.remove(node)
    graph.insert_before(chain[0], node)


def move_below(graph: ir.Graph, node: ir.Node, chain: Sequence[ir.Node], reader: ir.Node) -> None:
    """Let a node that repeats elements work behind the pointwise nodes between it and its reader."""
    if not chain:
        return
    source, result, last = node.inputs[0], node.outputs[0], chain[-1].outputs[0]
    assert source is not None
    chain[0].replace_input_with(0, source)
    node.replace_input_with(0, last)
    reader.replace_input_with(0, result)
    for part in chain:
        part.outputs[0].shape = source.shape
    result.type = last.type
    set_datatype(result, get_datatype(last))
    graph.remove(node)
    graph.insert_after(chain[-1], node)

"""Replaces what does not depend on the inputs by the tensors that it gives."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidModel
from qonnx_core.execute.lower import lower
from qonnx_core.execute.session import RUNTIME_ERRORS, open_session
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.constants import constant_tensor, static_shape
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import graphs_of, has_graphs
from qonnx_core.passes.remove_unused import RemoveUnused

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout")
)
# Element types that NumPy has not, and one for each that holds all of their numbers.
_CARRIERS = {
    ir.DataType.INT2: ir.DataType.INT8, ir.DataType.INT4: ir.DataType.INT8,
    ir.DataType.UINT2: ir.DataType.INT8, ir.DataType.UINT4: ir.DataType.INT8,
    ir.DataType.BFLOAT16: ir.DataType.FLOAT,
    ir.DataType.FLOAT8E4M3FN: ir.DataType.FLOAT, ir.DataType.FLOAT8E4M3FNUZ: ir.DataType.FLOAT,
    ir.DataType.FLOAT8E5M2: ir.DataType.FLOAT, ir.DataType.FLOAT8E5M2FNUZ: ir.DataType.FLOAT,
}  # fmt: skip
_PACKED = frozenset(kind for kind, carrier in _CARRIERS.items() if carrier is ir.DataType.INT8)
_GIVE_PACKED = frozenset(("Cast", "QuantizeLinear", "Transpose"))  # what onnxruntime has for these
GROWING = frozenset(("ConstantOfShape", "EyeLike", "Expand", "Pad", "Range", "Resize", "Tile"))
_MAX_GROWN_ELEMENTS = 2**24


@dataclass(frozen=True)
class FoldConstants:
    """Compute every node whose inputs are constants, in one run of all of them, and store what others read.

    Random nodes stay. So do our operators, because a quantizer of weights says how the weights are stored.

    Args:
        quantizers: fold our operators as well.
        keep_op_types: operators that stay as well, and with them what depends on their results; globs.
        keep_nodes: names of nodes that stay as well; globs.
    """

    quantizers: bool = False
    keep_op_types: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()
    name: str = "fold_constants"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes folded.

        Raises:
            InvalidModel: a constant part of the graph cannot be computed.
        """
        folded = sum(self._lift_constant_nodes(graph) for graph in graphs_of(model))
        nodes = self._foldable(model)
        if nodes:
            _store(model, nodes, _evaluate(model, nodes))
            folded += len(nodes)
        if folded:
            RemoveUnused().run(model)
        return folded

    def _lift_constant_nodes(self, graph: ir.Graph) -> int:
        """Make initializers of Constant nodes; text and sparse constants stay nodes."""
        lifted = 0
        for node in list(graph):
            if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or self._is_protected(node):
                continue
            tensor = constant_tensor(node.outputs[0])
            if tensor is None:
                continue
            old = node.outputs[0]
            new = _initializer(graph, old, ir.tensor(tensor.numpy()) if tensor.name else tensor)
            _swap(graph, old, new)
            graph.remove(node, safe=True)
            lifted += 1
        return lifted

    def _foldable(self, model: ir.Model) -> list[ir.Node]:
        known: set[ir.Value] = set()
        nodes = []
        for node in model.graph:
            if self._is_foldable(node, model) and all(
                value is None or value in known or self._is_constant(value) for value in node.inputs
            ):
                nodes.append(node)
                known.update(node.outputs)
        return nodes

    def _is_constant(self, value: ir.Value) -> bool:
        producer = value.producer()
        return constant_tensor(value) is not None and (producer is None or not self._is_protected(producer))

    def _is_protected(self, node: ir.Node) -> bool:
        return any(fnmatch.fnmatchcase(node.op_type, glob) for glob in self.keep_op_types) or any(
            fnmatch.fnmatchcase(node.name or "", glob) for glob in self.keep_nodes
        )

    def _is_foldable(self, node: ir.Node, model: ir.Model) -> bool:
        if has_graphs(node) or self._is_protected(node):
            return False
        if node.domain not in ("", "ai.onnx"):
            return self.quantizers and op_class_of(node, model.opset_imports) is not None
        if node.op_type in RANDOM or node.op_type == "Constant":
            return False
        if node.op_type not in _GIVE_PACKED and any(value.dtype in _PACKED for value in node.outputs):
            return False
        return node.op_type not in GROWING or not _grows_too_large(node)


def _grows_too_large(node: ir.Node) -> bool:
    shapes = [static_shape(value) for value in node.outputs]
    return any(shape is None or math.prod(shape) > _MAX_GROWN_ELEMENTS for shape in shapes)


def _initializer(graph: ir.Graph, old: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
    name = old.name or ""
    old.name = f"{name}/folded"
    value = ir.val(name, const_value=tensor)
    merge_annotations(old, value)
    graph.register_initializer(value)
    return value


def _swap(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    if old.is_graph_output():
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = new
    old.replace_all_uses_with(new)


def _frontier(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    """Return the outputs that anything outside of these nodes reads."""
    inside = set(nodes)
    return [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in inside for use in value.uses())
    ]


def _evaluate(model: ir.Model, nodes: list[ir.Node]) -> dict[ir.Value, NDArray[Any]]:
    """Return the values that these nodes give to the rest of the graph, all computed in one run."""
    copies: dict[ir.Value, ir.Value] = {}
    initializers: list[ir.Value] = []
    twins = []
    for node in nodes:
        inputs = [None if value is None else _twin(value, copies, initializers) for value in node.inputs]
        attributes, count = list(node.attributes.values()), len(node.outputs)
        twin = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=count, name=node.name)
        for old, new in zip(node.outputs, twin.outputs, strict=True):
            new.name, new.type, new.shape = old.name, old.type, old.shape
            copies[old] = new
        twins.append(twin)
    frontier = _frontier(nodes)
    outputs = []
    for value in frontier:
        carrier = None if value.dtype is None else _CARRIERS.get(value.dtype)
        attributes = [] if carrier is None else [ir.AttrInt64("to", int(carrier))]
        twin = ir.Node("", "Identity" if carrier is None else "Cast", [copies[value]], attributes)
        outputs.append(twin.outputs[0])
        outputs[-1].name = f"{value.name}/carried"
        outputs[-1].type = value.type if carrier is None else ir.TensorType(carrier)
        twins.append(twin)
    graph = ir.Graph(
        [], [], nodes=twins, initializers=initializers, name="constants", opset_imports=model.opset_imports
    )
    part = ir.Model(graph, ir_version=max(model.ir_version, 10))
    lower(part)
    graph.outputs.extend(outputs)  # not before: to take a node out of a graph is to look at all outputs
    if not frontier:
        return {}
    try:
        results = open_session(part).run(None, {})
    except RUNTIME_ERRORS as error:
        raise InvalidModel(
            f"model: its constant part cannot be computed: {' '.join(str(error).split())}; expected nodes that run."
        ) from error
    return dict(zip(frontier, results, strict=True))


def _twin(value: ir.Value, copies: dict[ir.Value, ir.Value], initializers: list[ir.Value]) -> ir.Value:
    if value not in copies:
        copies[value] = ir.val(value.name, const_value=constant_tensor(value))
        initializers.append(copies[value])
    return copies[value]


def _store(model: ir.Model, nodes: list[ir.Node], results: dict[ir.Value, NDArray[Any]]) -> None:
    for old, array in results.items():
        carried = old.dtype if old.dtype in _CARRIERS else None
        numbers = np.asarray(array) if carried is None else np.asarray(array).astype(carried.numpy())
        new = _initializer(model.graph, old, ir.tensor(numbers, dtype=carried))
        _swap(model.graph, old, new)
    for node in reversed(nodes):
        model.graph.remove(node, safe=True)

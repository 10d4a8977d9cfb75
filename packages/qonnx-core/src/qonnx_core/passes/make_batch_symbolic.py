"""Lets a model whose file fixes the batch to 1 run with any batch, where every operator treats samples alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import new_constant
from qonnx_core.passes.batch_rules import first_mixing_node
from qonnx_core.passes.fold_shapes import FoldShapes
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.resize_sizes import sizes_of, use_factors

BATCH = "batch"


@dataclass(frozen=True)
class MakeBatchSymbolic:
    """Turn the first axis of all inputs from 1 into ``batch``.

    Nothing changes unless a rule for every operator proves that samples do not meet: a model that is not understood
    keeps its batch of 1. Targets of Reshape that say 1 for the batch say 0 (the size that the input has) afterwards,
    and a Resize to given sizes gives factors.
    """

    name: str = "make_batch_symbolic"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return 1 where the batch became symbolic, else 0."""
        if not has_batch_of_one(model):
            return 0
        if not _needs_edits(model):
            return _open_in_place(model)
        trial = model.clone()
        try:
            _open_batch(trial)
        except InvalidModel:
            return 0
        if first_mixing_node(trial) is not None:
            return 0
        _open_batch(model)
        return 1


def _needs_edits(model: ir.Model) -> bool:
    """Return whether nodes hold or compute shapes, which have to be edited along with the batch."""
    return any(node.op_type in ("Reshape", "Resize", "Shape") and node.domain == "" for node in model.graph)


def _open_in_place(model: ir.Model) -> int:
    """Open the batch and close it again where samples meet; no node is edited, so types and shapes are all there is."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    before = [(value, value.type, value.shape) for value in values]
    try:
        _make_inputs_symbolic(model)
        _forget_shapes(model)
        InferShapes().run(model)
        is_open = first_mixing_node(model) is None
    except InvalidModel:
        is_open = False
    if not is_open:
        for value, kind, shape in before:
            value.type, value.shape = kind, shape
    return int(is_open)


def has_batch_of_one(model: ir.Model) -> bool:
    """Return whether the first axis of every input is 1, and there is an input."""
    shapes = [value.shape for value in model.graph.inputs]
    return bool(shapes) and all(shape is not None and len(shape) > 0 and shape[0] == 1 for shape in shapes)


def free_batch(value: ir.Value) -> ir.Shape:
    """Return the shape of an input that has one, with ``batch`` in front."""
    assert value.shape is not None
    return ir.Shape([ir.SymbolicDim(BATCH), *list(value.shape)[1:]])


def _open_batch(model: ir.Model) -> None:
    _make_inputs_symbolic(model)
    _forget_shapes(model)
    InferShapes().run(model)
    # Targets first: behind a Reshape that still says 1, a shape chain would see a batch of 1.
    while _open_targets(model) or FoldShapes().run(model):
        _forget_shapes(model)
        InferShapes().run(model)


def _make_inputs_symbolic(model: ir.Model) -> None:
    for value in model.graph.inputs:
        value.shape = free_batch(value)


def _forget_shapes(model: ir.Model) -> None:
    for node in model.graph:
        for value in node.outputs:
            value.shape = None


def _open_targets(model: ir.Model) -> int:
    """Let Reshape keep the batch where its target says 1 in front: ``[1, 784]`` becomes ``[0, 784]``; Resize too."""
    names = Names(model.graph)
    opened = sum(_open_sizes(model.graph, node, names) for node in model.graph if node.op_type == "Resize")
    for node in model.graph:
        if node.op_type != "Reshape" or node.domain != "":
            continue
        data, target = node.inputs[0], node.inputs[1]
        array = constant_array(target)
        if node.attributes.get_int("allowzero", 0) != 0:
            continue
        if array is None or data is None or data.shape is None or array.size == 0 or int(array[0]) != 1:
            continue
        if len(data.shape) == 0 or isinstance(data.shape[0], int) or data.shape[0] != BATCH:
            continue
        rest = list(data.shape)[1:]
        sizes = [int(number) for number in array[1:]]
        numbers = [dim for dim in rest if isinstance(dim, int)]
        if -1 not in sizes and (len(numbers) != len(rest) or 0 in sizes or math.prod(numbers) != math.prod(sizes)):
            continue
        assert target is not None
        any_batch = np.concatenate([[0], array[1:]]).astype(np.int64)
        node.replace_input_with(1, new_constant(model.graph, f"{target.name}/any_batch", any_batch, names))
        opened += 1
    return opened


def _open_sizes(graph: ir.Graph, node: ir.Node, names: Names) -> bool:
    """Let a Resize to constant sizes, of which the first is 1, give factors."""
    data, array = node.inputs[0], constant_array(sizes_of(node))
    if data is None or data.shape is None or array is None or array.size != len(data.shape) or array.size < 2:
        return False
    if int(array[0]) != 1 or isinstance(data.shape[0], int) or data.shape[0] != BATCH:
        return False
    return use_factors(graph, node, [0], list(data.shape), [int(number) for number in array], names)

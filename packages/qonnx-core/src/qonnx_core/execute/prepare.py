"""Brings a model to the plain graph that is run, by the shortest way that is right for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.execute.automatic_pads import write_pads
from qonnx_core.execute.debug_names import add_debug_names
from qonnx_core.execute.inputs import ExpectedInput, expected_inputs
from qonnx_core.execute.lower import lower
from qonnx_core.execute.plain_graph import NotReady, PlainGraph
from qonnx_core.execute.tensors import Tensors
from qonnx_core.formats.node_checks import check_standard_nodes
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ir.sizes import check_growth, has_negative_size
from qonnx_core.passes.base import has_graphs
from qonnx_core.passes.batch_proof import samples_stay_apart
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic, free_batch, has_batch_of_one


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model in plain ONNX, with what its user has to know: its inputs, outputs and tensors."""

    plain: PlainGraph
    inputs: tuple[ExpectedInput, ...]
    outputs: tuple[str, ...]
    tensors: Tensors


def prepare(model: ir.Model) -> Prepared:
    """Return the model in plain ONNX; the model itself is not changed.

    A normalised model is read in one sweep. Another one is copied, normalised, and its shapes are inferred. Both ways
    a batch of 1 becomes symbolic where that is provably the same.

    Raises:
        InvalidModel: the model breaks its format, or its shapes contradict each other.
        Unsupported: an operator belongs to the format, but nothing here defines it, a tensor would be too
            large, or an input is a sequence of tensors.
    """
    check_standard_nodes(model)
    check_growth(model)
    inputs = _inputs_of_any_batch(model)
    if inputs is not None:
        try:
            return _prepared(PlainGraph(model, prepared=False, inputs=inputs), model, inputs)
        except NotReady:
            pass
    copy = normalized_copy(model)
    if not MakeBatchSymbolic().run(copy):  # which infers shapes where it opens the batch
        InferShapes().run(copy)
    add_debug_names(copy)
    if not any(has_graphs(node) for node in copy.graph):
        write_pads(copy)
        try:
            return _prepared(PlainGraph(copy, prepared=True), copy, copy.graph.inputs)
        except NotReady:  # the definition of an operator holds a graph
            pass
    tensors = Tensors(copy.graph)  # before there are more of them
    lower(copy)
    return Prepared(PlainGraph(copy, prepared=True), expected_inputs(copy.graph.inputs), _outputs(copy), tensors)


def _inputs_of_any_batch(model: ir.Model) -> Sequence[ir.Value] | None:
    """Return values like the inputs whose batch is free; None where it is 1 and the graph alone does not prove more.

    Also None where a size is negative, which normalising says to be unknown.
    """
    if any(map(has_negative_size, model.graph.inputs)):
        return None
    if not has_batch_of_one(model):
        return model.graph.inputs
    if not samples_stay_apart(model):
        return None
    return [ir.Value(name=value.name, type=value.type, shape=free_batch(value)) for value in model.graph.inputs]


def _prepared(plain: PlainGraph, model: ir.Model, inputs: Sequence[ir.Value]) -> Prepared:
    return Prepared(plain, expected_inputs(inputs), _outputs(model), Tensors(model.graph))


def _outputs(model: ir.Model) -> tuple[str, ...]:
    return tuple(value.name or "" for value in model.graph.outputs)

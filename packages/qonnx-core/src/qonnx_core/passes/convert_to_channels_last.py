"""Brings a whole model to channels-last operators, with a Transpose only where the model itself has a border."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.layouts.conversion import Conversion
from qonnx_core.passes.layouts.emitter import emitters
from qonnx_core.passes.layouts.refusals import refusal_sentences
from qonnx_core.passes.layouts.shapes import know_shapes
from qonnx_core.passes.layouts.to_channels_last import ChannelsLastTarget
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class ConvertToChannelsLast:
    """A model on ``(N, C, ...)`` becomes the same one on ``(N, ..., C)``, for one, two and three spatial axes.

    Conv, MaxPool and BatchNormalization become those of ``qonnx.custom_op.channels_last``; MultiThreshold and
    QuantAvgPool2d get their layout; everything between them works on the same data in the new order. Weights, scales
    and flattened features are reordered in the stored tensors, quantized ones too. A Transpose is left where a tensor
    of 3 to 5 axes enters or leaves the graph, and around operators that know no other layout. In a model that is
    channels-last in parts, such as one with Im2Col, the Transposes move to where they cancel.

    Equal to the bit where sums are exact in float32; else only the sums of AveragePool, of means, of a MatMul or Gemm
    behind a Flatten and of a MatMul of two running tensors (attention) are made in another order. Graph inputs keep
    their layout unless ``make_input_channels_last``; graph outputs always keep it.

    ``strict`` raises Unsupported where an operator with a channels-last form cannot take it; otherwise it stays, and
    :meth:`refusals` says why.
    """

    make_input_channels_last: bool = False
    strict: bool = False
    name: str = "convert_to_channels_last"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes and inputs that changed.

        Raises:
            InvalidModel: shapes contradict each other.
            Unsupported: ``strict``, and an operator cannot be converted; with all reasons.
        """
        target = ChannelsLastTarget(model)
        nodes = [node for graph in graphs_of(model) for node in graph]
        has_candidates = any(target.is_candidate(node) for node in nodes)
        if not has_candidates and not any(_is_converted(node) for node in nodes):
            return 0
        edits = 0
        if has_candidates:
            know_shapes(model)
            reasons = self.refusals(model)
            if self.strict and reasons:
                raise Unsupported("model: has operators that cannot be brought to channels last", reasons)
            edits = _convert(model, inputs=self.make_input_channels_last)
            if edits and any(node.domain == CHANNELS_LAST for graph in graphs_of(model) for node in graph):
                # Versions of this domain are those of ONNX; the newest form has every attribute of the older ones.
                version = model.opset_imports.get("", 1)
                model.opset_imports[CHANNELS_LAST] = max(model.opset_imports.get(CHANNELS_LAST, 1), version)
        while _can_lose_transposes(model):
            know_shapes(model)
            edits += _convert(model, without_seeds=True)
        return edits

    def refusals(self, model: ir.Model) -> list[str]:
        """Return one sentence for each operator that has a channels-last form and stays as it is, and why."""
        return refusal_sentences(model, ChannelsLastTarget(model).refusal)


def _convert(model: ir.Model, *, inputs: bool = False, without_seeds: bool = False) -> int:
    target = ChannelsLastTarget(model)
    edits = 0
    for emitter in emitters(model):
        change = inputs and emitter.graph is model.graph
        edits += Conversion(emitter, target).run(change_inputs=change, without_seeds=without_seeds)
    if edits:
        RemoveUnused().run(model)
    return edits


def _is_converted(node: ir.Node) -> bool:
    """Return whether the node works on channels-last data already."""
    if node.domain == CHANNELS_LAST or node.op_type in ("Im2Col", "MaxPoolNHWC"):
        return True
    layout = node.attributes.get_string("data_layout", "") or ""
    return node.op_type in ("MultiThreshold", "QuantAvgPool2d") and len(layout) > 2 and layout.endswith("C")


def _can_lose_transposes(model: ir.Model) -> bool:
    """Return whether moving transpositions along leaves fewer of them; tried on a copy."""
    before = _num_transposes(model)
    if before < 2:
        return False
    trial = model.clone()
    know_shapes(trial)
    return _convert(trial, without_seeds=True) > 0 and _num_transposes(trial) < before


def _num_transposes(model: ir.Model) -> int:
    return sum(node.op_type == "Transpose" for graph in graphs_of(model) for node in graph)

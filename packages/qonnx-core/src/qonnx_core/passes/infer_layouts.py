"""Annotates tensors with their layouts: which axis is the batch, which the channels, which a place in the image."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.annotations import get_layout, set_layout
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.layouts.letters import FIRST, Layout, Letters, layout_of_output, rank_of
from qonnx_core.passes.layouts.shapes import know_shapes


@dataclass(frozen=True)
class InferLayouts:
    """Write ``['N', 'C', 'H', 'W']`` and the like onto every tensor whose axes are known; no value changes.

    The layout of a graph input is its annotation, or else guessed from its rank: NC, NCW, NCHW, NCDHW. It is followed
    through the operators: Transpose permutes it, Conv and the pools of ONNX are channels-first and those of the
    channels-last domain channels-last by definition, Flatten gives NC, MatMul new channels. An axis that Unsqueeze
    adds has the letter ``x``. What follows from an operator replaces an annotation of its output; an annotation of a
    tensor about which nothing follows stays, and is followed further. See :func:`infer_layouts_report` for the rest.
    """

    name: str = "infer_layouts"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of annotations that changed.

        Raises:
            InvalidModel: shapes contradict each other.
        """
        know_shapes(model)
        found, _ = _infer(model)
        changed = 0
        for value, layout in found.items():
            if get_layout(value) != layout:
                set_layout(value, layout)
                changed += 1
        return changed


def infer_layouts_report(model: ir.Model) -> list[tuple[str, str]]:
    """Return the tensors of two or more axes without a known layout, in the order of the graph, each with the reason.

    The model needs inferred shapes and is not changed.
    """
    return [(value.name or "", reason) for value, reason in _infer(model)[1].items()]


def _infer(model: ir.Model) -> tuple[dict[ir.Value, Layout], dict[ir.Value, str]]:
    """Return the layouts that are known, and why the others are not."""
    letters = Letters(model.opset_imports)
    reasons: dict[ir.Value, str] = {}
    for graph in graphs_of(model):
        for value in graph.inputs:
            rank = rank_of(value)
            guessed = FIRST.get(rank or 0) if graph is model.graph else None
            layout = _annotated(value) or guessed
            if layout is not None:
                letters.known[value] = layout
            elif rank is None or rank > 1:
                why = "its rank is not known" if rank is None else f"there are no letters for {rank} axes"
                reasons[value] = f"is an input of the graph, and {why}; annotate it"
        dynamic = _dynamic(graph, model)
        for node in graph:
            for value in node.outputs:
                if value not in dynamic or not value.name:
                    continue
                found = layout_of_output(letters, node, value)
                if isinstance(found, str):
                    layout = _annotated(value)
                    if layout is None:
                        reasons[value] = found
                        continue
                    found = layout
                if found is not None:
                    letters.known[value] = found
    return letters.known, reasons


def _annotated(value: ir.Value) -> Layout | None:
    """Return the annotation where it fits the number of axes."""
    layout = get_layout(value)
    return layout if layout is not None and rank_of(value) in (None, len(layout)) else None


def _dynamic(graph: ir.Graph, model: ir.Model) -> set[ir.Value]:
    """Return the outputs that depend on an input of the graph; all of them in a graph inside a node."""
    if graph is not model.graph:
        return {value for node in graph for value in node.outputs}
    dynamic: set[ir.Value] = set(graph.inputs)
    for node in graph:
        inner = any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
        if inner or any(value in dynamic for value in node.inputs):
            dynamic.update(node.outputs)
    return dynamic

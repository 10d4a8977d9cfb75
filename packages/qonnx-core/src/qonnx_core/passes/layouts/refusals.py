"""Says of every operator that a layout pass leaves as it is, why."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of


def refusal_sentences(model: ir.Model, refusal: Callable[[ir.Node], str | None]) -> list[str]:
    """Return one sentence for each node of which ``refusal`` returns a reason: which node, and why."""
    return [
        f"{node.name or node.outputs[0].name} ({node.op_type}): {reason}."
        for graph in graphs_of(model)
        for node in graph
        if (reason := refusal(node)) is not None
    ]

"""Says of every operator that a layout pass leaves as it is, why."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qonnx_core.ir.names import label_of
from qonnx_core.passes.base import graphs_of


def refusal_sentences(model: ir.Model, refusal: Callable[[ir.Node], str | None]) -> list[str]:
    """Return one sentence for each node of which ``refusal`` returns a reason: which node, and why."""
    return [
        f"{label_of(node)}: {reason}."
        for graph in graphs_of(model)
        for node in graph
        if (reason := refusal(node)) is not None
    ]

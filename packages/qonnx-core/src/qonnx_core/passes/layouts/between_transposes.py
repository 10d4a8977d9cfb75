"""Puts one channels-last operator between two transpositions in the place of a channels-first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from qonnx_core.ir.annotations import get_datatype, set_datatype, set_layout
from qonnx_core.passes.base import replace_value
from qonnx_core.passes.layouts.axes import LETTERS, channels_last, moved_sizes
from qonnx_core.passes.layouts.emitter import Emitter, stem_of


def channels_last_between(
    emitter: Emitter, node: ir.Node, op_type: str, attributes: Mapping[str, Any], domain: str
) -> None:
    """Replace a node with one input and one output, ``(N, C, ...)``, by Transpose, the new operator and Transpose."""
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    assert data.shape is not None
    rank = len(data.shape)
    axes, stem = channels_last(rank), stem_of(node)
    letters = LETTERS[rank]
    last = tuple(letters[axis] for axis in axes if axis is not None)
    to_last = emitter.node(
        node,
        "Transpose",
        [data],
        {"perm": list(axes)},
        stem=f"{stem}/to_channels_last",
        outputs=[f"{stem}/in_channels_last"],
        source=node,
    ).outputs[0]
    made = emitter.node(
        node, op_type, [to_last], attributes, stem=stem, outputs=[f"{stem}/channels_last"], domain=domain, source=node
    )
    back = emitter.node(
        node,
        "Transpose",
        [made.outputs[0]],
        {"perm": [0, rank - 1, *range(1, rank - 1)]},
        stem=f"{stem}/to_channels_first",
        outputs=[f"{stem}/channels_first"],
        source=node,
    ).outputs[0]
    to_last.type, to_last.shape = data.type, ir.Shape(moved_sizes(list(data.shape), axes))
    made.outputs[0].type = back.type = result.type
    back.shape = result.shape
    if result.shape is not None:
        made.outputs[0].shape = ir.Shape(moved_sizes(list(result.shape), axes))
    for value, source in ((to_last, data), (made.outputs[0], result)):
        set_datatype(value, get_datatype(source))
        set_layout(value, last)
    name, own = result.name, node.name
    replace_value(result, back)
    emitter.graph.remove(node, safe=True)
    result.name = f"{name}_replaced"
    back.name = name
    made.name = own or made.name

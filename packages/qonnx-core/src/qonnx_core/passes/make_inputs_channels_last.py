"""Lets a model take channels-last images."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.annotations import get_layout, merge_annotations, set_layout
from qonnx_core.passes.layouts.axes import LETTERS, channels_last, moved_sizes
from qonnx_core.passes.layouts.emitter import Emitter


@dataclass(frozen=True)
class MakeInputChannelsLast:
    """``model(x)`` becomes ``model'(x')`` with ``x'`` of shape ``(N, ..., C)`` and ``x = Transpose(x')`` inside.

    Every input of 3 to 5 axes is taken, unless its layout is annotated as channels-last already or it is an output
    as well. Names stay. With :class:`ConvertToChannelsLast` behind it (or with the option
    ``make_input_channels_last`` of that) no Transpose is left.
    """

    name: str = "make_inputs_channels_last"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of inputs changed."""
        emitter = Emitter(model, model.graph)
        changed = 0
        for index, value in enumerate(model.graph.inputs):
            rank = 0 if value.shape is None else len(value.shape)
            layout = get_layout(value)
            if rank not in LETTERS or value.is_graph_output() or (layout is not None and layout[-1] == "C"):
                continue
            _change(emitter, index, value, rank)
            changed += 1
        return changed


def _change(emitter: Emitter, index: int, value: ir.Value, rank: int) -> None:
    assert value.shape is not None
    axes, letters = channels_last(rank), get_layout(value) or LETTERS[rank]
    made = ir.Value(name=value.name, shape=ir.Shape(moved_sizes(list(value.shape), axes)), type=value.type)
    made.doc_string = value.doc_string
    made.metadata_props.update(value.metadata_props)
    first = emitter.graph[0] if len(emitter.graph) else None
    inside = emitter.node(
        first,
        "Transpose",
        [made],
        {"perm": [0, rank - 1, *range(1, rank - 1)]},
        stem=f"{value.name}/to_channels_first",
        outputs=[f"{value.name}/channels_first"],
    ).outputs[0]
    inside.type, inside.shape = value.type, value.shape
    for target in (made, inside):
        merge_annotations(value, target)
    set_layout(made, tuple(letters[axis] for axis in axes if axis is not None))
    set_layout(inside, tuple(letters))
    emitter.graph.inputs[index] = made
    value.replace_all_uses_with(inside)

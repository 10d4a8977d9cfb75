"""What the partitioner asks about each tensor: the grid it lies on, and whether integers are made right there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline.interpreter import interpret
from qonnx_core.passes.streamline.quantize import QuantizerOptions
from qonnx_core.passes.streamline.representation import Failed, Represented
from qonnx_core.verify.quantizers import is_quantizer

_STAND_IN = Grid.parse("INT24*2^-12")
_UNKNOWN = "nothing is known about its grid"


@dataclass(frozen=True, slots=True)
class TensorGrids:
    """The grid of each tensor that depends on an input, or why it has none, and the tensors that are integers.

    ``made`` holds the tensors for which hardware makes an integer tensor: results of quantizers, products and sums of
    two tensors, and the inputs. The others are elementwise functions of these, which no stream carries. ``causes``
    says, by tensor, what has no integer form for a reason of its own, and not because of something before it.
    """

    grids: Mapping[str, Grid | str]
    made: frozenset[str]
    causes: Mapping[str, str]

    def of(self, tensor: str) -> Grid | str:
        """Return the grid of a tensor, or the reason why it has none."""
        return self.grids.get(tensor, _UNKNOWN)

    def obstacle(self, tensor: str, *, wire: bool) -> str | None:
        """Return why the model cannot be cut at a tensor, or None; ``wire``: hardware reads it there."""
        grid = self.of(tensor)
        if isinstance(grid, str):
            return f"the numbers are floats ({grid.rstrip('.')})"
        if not wire:
            return None
        if tensor not in self.made:
            return "the numbers are a function of integers that are made before, and no integers themselves"
        if any(grid.offset):
            return "the grid has an offset that is no multiple of its scale, which a stream does not carry"
        return None


def tensor_grids(model: ir.Model, input_grids: Mapping[str, Grid], without: Collection[str] = ()) -> TensorGrids:
    """Return what is known about the tensors of a cleaned model.

    The inputs in ``without`` have no grid, and only the host reads them. What depends on them is a float up to the
    next quantizer, whose grid is its own whatever comes in.
    """
    known = interpret(
        model, {**input_grids, **dict.fromkeys(without, _STAND_IN)}, QuantizerOptions(only_grids=True)
    ).known
    floats = set(without)
    for node in model.graph:
        if any(value is not None and value.name in floats for value in node.inputs) and not is_quantizer(node):
            floats.update(value.name for value in node.outputs if value.name)
    grids: dict[str, Grid | str] = dict.fromkeys(floats, "it depends on an input without a grid")
    made: set[str] = set()
    causes: dict[str, str] = {}
    for name, knowledge in known.items():
        if name in floats:
            continue
        if isinstance(knowledge, Represented):
            grids[name] = knowledge.grid()
            if knowledge.fresh:
                made.add(name)
        elif isinstance(knowledge, Failed):
            grids[name] = knowledge.reason
            if knowledge.own:
                causes[name] = knowledge.reason
    return TensorGrids(grids, frozenset(made), causes)

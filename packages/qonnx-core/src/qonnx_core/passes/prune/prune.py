"""Removes channels, with everything along them, from a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import Unsupported
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.names import Names
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.prune.edits import add_constant, kept_slices, remove_slices
from qonnx_core.passes.prune.masks import Channels, insert_masks
from qonnx_core.passes.prune.plan import Plan, Refusal, make_plan
from qonnx_core.passes.prune.slices import Contraction
from qonnx_core.passes.remove_unused import RemoveUnused

Array = NDArray[Any]
_NONE: Channels = {}


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was removed: ``{tensor: {axis: (channels,)}}`` for every tensor that changed, and what was refused."""

    removed: Mapping[str, Mapping[int, tuple[int, ...]]]
    refused: tuple[Refusal, ...] = ()

    @property
    def num_slices(self) -> int:
        """The number of slices removed, over all tensors."""
        return sum(len(channels) for axes in self.removed.values() for channels in axes.values())

    def to_dict(self) -> dict[str, dict[str, list[int]]]:
        """Return what was removed as plain JSON values."""
        return {
            tensor: {str(axis): list(channels) for axis, channels in axes.items()}
            for tensor, axes in self.removed.items()
        }


@dataclass(frozen=True)
class PruneChannels:
    """The model without some channels equals the model in which every sum reads 0 for them.

    By default only channels go that provably change nothing: those whose weights are zero in every product that reads
    them, and those that are always the same, whose share then goes into a bias. The values are equal where sums are
    exact in float32 (integers on one grid below 2^24), else up to rounding. With ``lossy`` the channels go whatever
    they hold.

    ``channels`` is ``{tensor: {axis: channels}}``, counted in the model as it is: a second run would remove others.
    ``zero_channels`` adds all that change nothing; with ``input_grids``, all that change nothing for inputs on these
    grids, such as channels that a Relu always stops. Whole groups go: through elementwise operators, quantizers,
    normalization, residual sums, concatenation, reshapes, channel shuffles, depthwise and grouped convolutions.
    """

    channels: Channels = field(default_factory=dict)
    zero_channels: bool = False
    lossy: bool = False
    input_grids: Mapping[str, Grid] = field(default_factory=dict)
    name: str = "prune_channels"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of slices removed, over all tensors.

        Raises:
            InvalidInput: a tensor, axis or channel does not exist.
            Unsupported: channels have to stay; lists all of them with the reasons. The model is not changed then.
        """
        report = prune_channels(
            model,
            self.channels,
            zero_channels=self.zero_channels,
            lossy=self.lossy,
            strict=True,
            input_grids=self.input_grids,
        )
        return report.num_slices


def prune_channels(
    model: ir.Model,
    channels: Channels = _NONE,
    *,
    zero_channels: bool = False,
    lossy: bool = False,
    strict: bool = False,
    input_grids: Mapping[str, Grid] | None = None,
) -> PruneReport:
    """Remove channels from the model in place as :class:`PruneChannels` says, and return what went and what stayed.

    Args:
        model: the model; shapes are inferred first.
        channels: ``{tensor: {axis: channels}}``.
        zero_channels: also remove all channels that provably change nothing.
        lossy: remove channels whatever they hold.
        strict: refuse everything where some of ``channels`` have to stay, instead of removing the others.
        input_grids: the grids of inputs, by name; then a channel may go that changes nothing for inputs on them.

    Raises:
        InvalidInput: a tensor, axis or channel does not exist.
        Unsupported: with ``strict``, channels have to stay; lists them with the reasons.
    """
    if not channels and not zero_channels:
        return PruneReport({})
    InferShapes().run(model)
    counted = _Counted()
    plan = make_plan(model, channels, zero_channels=zero_channels, lossy=lossy, input_grids=input_grids)
    refused = plan.refused
    if strict and refused:
        raise Unsupported("the model cannot lose these channels:", [str(refusal) for refusal in refused])
    while plan.removed.any():
        counted.note(plan)
        _apply(model, plan, lossy=lossy)
        if not zero_channels:
            break
        plan = make_plan(model, {}, zero_channels=True, lossy=lossy, input_grids=input_grids)  # what fed only those
    return PruneReport(counted.removed(), refused)


class _Counted:
    """Counts removed channels as the model had them before the first step."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, int], Array] = {}
        self._gone: dict[str, dict[int, list[int]]] = {}

    def note(self, plan: Plan) -> None:
        """Note the slices that a step removes."""
        for value, axis, first, size in plan.slices.places():
            gone = plan.removed[first : first + size]
            if gone.any():
                key = (value.name or "", axis)
                numbers = self._left.get(key, np.arange(size))
                self._gone.setdefault(key[0], {}).setdefault(axis, []).extend(int(c) for c in numbers[gone])
                self._left[key] = numbers[~gone]

    def removed(self) -> dict[str, dict[int, tuple[int, ...]]]:
        """Return ``{tensor: {axis: (channels,)}}``."""
        return {
            name: {axis: tuple(sorted(channels)) for axis, channels in axes.items()}
            for name, axes in self._gone.items()
        }


def mask_channels(model: ir.Model, channels: Channels, *, lossy: bool = True) -> ir.Model:
    """Return a copy of the model with all its shapes in which the channels read 0 wherever they are summed.

    It computes what the model pruned of these channels computes, so it shows what pruning costs in accuracy.

    Raises:
        InvalidInput: a tensor, axis or channel does not exist.
        Unsupported: channels have to stay; lists them with the reasons.
    """
    copy = model.clone()
    InferShapes().run(copy)
    plan = make_plan(copy, channels, lossy=lossy)
    if plan.refused:
        raise Unsupported("the model cannot lose these channels:", [str(refusal) for refusal in plan.refused])
    sites = {}
    for contraction, gone in _removed_data(plan).items():
        if gone.any():
            sites[contraction] = ~gone
    insert_masks(copy, sites)
    return copy


def _removed_data(plan: Plan) -> dict[Contraction, NDArray[np.bool_]]:
    result = {}
    for contraction in plan.slices.contractions:
        ids = plan.slices.ids(contraction.data, contraction.data_axis)
        if ids is not None:
            result[contraction] = plan.removed[ids]
    return result


def _apply(model: ir.Model, plan: Plan, *, lossy: bool) -> None:
    additions = []
    if not lossy:
        for contraction, gone in _removed_data(plan).items():
            share = plan.shares.get(contraction)
            if share is None or share.amounts is None or not gone.any():
                continue
            amounts = share.amounts[gone & share.constant & ~share.nothing].sum(0)
            ids = plan.slices.ids(contraction.node.outputs[0], _result_axis(contraction))
            left = amounts if ids is None else amounts[~plan.removed[ids]]
            if left.any():
                additions.append((contraction, left))
    remove_slices(model, kept_slices(plan.slices, plan.removed))
    names = Names(model.graph)
    for contraction, amounts in additions:
        add_constant(model.graph, contraction, amounts, names)
    RemoveUnused().run(model)
    InferShapes().run(model)


def _result_axis(contraction: Contraction) -> int:
    node = contraction.node
    return 1 if node.op_type == "Conv" and node.domain in ("", "ai.onnx") else -1

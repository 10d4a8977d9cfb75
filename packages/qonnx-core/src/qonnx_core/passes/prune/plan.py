"""Decides which slices go: those asked for, all that go with them, and none that has to stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.names import label_of
from qonnx_core.passes.prune.constant_channels import ConstantChannels, Share
from qonnx_core.passes.prune.masks import Channels
from qonnx_core.passes.prune.rules import couple
from qonnx_core.passes.prune.slices import Contraction, Slices

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Channels along an axis of a tensor that stay, and why."""

    tensor: str
    axis: int
    channels: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        return f"{self.tensor}, axis {self.axis}, channels {_listed(self.channels)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The slices that go, which requests are refused, and what the removed channels gave to each product."""

    slices: Slices
    removed: Flags
    refused: tuple[Refusal, ...]
    shares: Mapping[Contraction, Share]


def _listed(channels: Iterable[int]) -> str:
    numbers = list(channels)
    return ", ".join(str(c) for c in numbers[:8]) + (f", ... ({len(numbers)} in all)" if len(numbers) > 8 else "")


def make_plan(
    model: ir.Model,
    channels: Channels,
    *,
    zero_channels: bool = False,
    lossy: bool = False,
    input_grids: Mapping[str, Grid] | None = None,
) -> Plan:
    """Return what can be removed of the channels asked for (and of all that change nothing, with ``zero_channels``).

    With ``input_grids`` it is enough that a channel changes nothing for inputs on these grids.

    Raises:
        InvalidInput: a tensor, axis or channel does not exist.
    """
    slices = couple(model)
    asked = _asked(model, slices, channels)
    groups = slices.components()
    label, stays = groups.label, groups.stays()
    reason: dict[int, str] = {}
    texts = slices.reasons
    shares: dict[Contraction, Share] = {}
    changes: dict[int, str] = {}
    if zero_channels or not lossy:
        shares, changes = _effects(model, slices, label, input_grids)
    chosen = np.zeros(len(slices), bool)  # by label
    for _, _, ids in asked:
        chosen[label[ids]] = True
    if zero_channels:
        candidates = _contracted(slices)
        free = np.zeros(len(slices), bool)
        free[label[candidates]] = True
        free[list(changes)] = False
        chosen |= free & ~stays
    wanted = np.flatnonzero(chosen)
    for root in wanted:
        if stays[root]:
            reason[int(root)] = texts[int(groups.reason[root])]
        elif not lossy and int(root) in changes:
            reason[int(root)] = changes[int(root)]
    chosen[list(reason)] = False
    explicit = np.zeros(len(slices), bool)
    for _, _, ids in asked:
        explicit[label[ids]] = True
    _settle(slices, label, stays, {} if lossy else changes, chosen, explicit, reason)
    refused = []
    for tensor, axis, ids in asked:
        by_reason: dict[str, list[int]] = {}
        for number in ids:
            why = reason.get(int(label[number]))
            if why is not None:
                first = slices.ids(tensor, axis)
                assert first is not None
                by_reason.setdefault(why, []).append(int(number - first[0]))
        refused += [Refusal(tensor.name or "", axis, tuple(found), why) for why, found in by_reason.items()]
    return Plan(slices, chosen[label], tuple(refused), shares)


def _asked(model: ir.Model, slices: Slices, channels: Channels) -> list[tuple[ir.Value, int, NDArray[np.int64]]]:
    graph = model.graph
    by_name = {
        value.name: value
        for value in (*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs))
        if value.name
    }
    asked = []
    for name, axes in channels.items():
        value = by_name.get(name)
        if value is None:
            raise InvalidInput(f"tensor {name!r}: the model has none of this name; expected one of its tensors.")
        rank = len(slices.sizes(value) or ())
        for axis, numbers in axes.items():
            ids = slices.ids(value, axis)
            if ids is None:
                raise InvalidInput(
                    f"tensor {name}: axis {axis} of {rank} does not exist or has no known size; expected one of a "
                    "known size. Clean the model up first."
                )
            chosen = np.asarray(sorted(numbers), np.int64)
            if chosen.size and (chosen[0] < 0 or chosen[-1] >= len(ids)):
                raise InvalidInput(
                    f"tensor {name}: axis {axis} has {len(ids)} channels; found {_listed(chosen.tolist())} to prune. "
                    "Count them from 0."
                )
            asked.append((value, axis % rank, ids[chosen]))
    return asked


def _contracted(slices: Slices) -> NDArray[np.int64]:
    """Return the slices that some product sums over."""
    found = [slices.ids(c.data, c.data_axis) for c in slices.contractions]
    known = [ids for ids in found if ids is not None]
    return np.concatenate(known) if known else np.zeros(0, np.int64)


def _effects(
    model: ir.Model, slices: Slices, label: NDArray[np.int64], input_grids: Mapping[str, Grid] | None
) -> tuple[dict[Contraction, Share], dict[int, str]]:
    """Return what each channel gives to each product, and why the removal of a group would change the result."""
    known = ConstantChannels(model, input_grids)
    shares: dict[Contraction, Share] = {}
    changes: dict[int, str] = {}
    for contraction in slices.contractions:
        ids = slices.ids(contraction.data, contraction.data_axis)
        if ids is None:
            continue
        share = known.share(contraction)
        nothing = np.zeros(len(ids), bool) if share is None else share.nothing | share.constant
        if share is not None:
            shares[contraction] = share
        for number in np.flatnonzero(~nothing):
            changes.setdefault(
                int(label[ids[number]]),
                f"{label_of(contraction.node)} adds it to its results, and neither is it always the same nor are its "
                "weights zero; removing it would change them. Prune with lossy if that is meant.",
            )
    return shares, changes


def _settle(
    slices: Slices,
    label: NDArray[np.int64],
    stays: Flags,
    changes: Mapping[int, str],
    chosen: Flags,
    explicit: Flags,
    reason: dict[int, str],
) -> None:
    """Bring the choice to one that leaves every tensor and every convolution whole; edits ``chosen`` and ``reason``.

    Convolutions in groups lose whole groups, or the same channels of each; what is missing for that is added.
    """
    grouped = [c for c in slices.contractions if c.groups > 1]
    while True:
        before = chosen.copy()
        for contraction in grouped:
            _complete(slices, label, stays, changes, chosen, reason, contraction)
        for value, axis, first, size in slices.places():
            roots = label[first : first + size]
            if size == 0 or not chosen[roots].all():
                continue
            mine = [int(root) for root in np.unique(roots) if chosen[root]]
            if not any(explicit[root] for root in mine):
                mine = mine[:1]  # found by itself: one is left
            for root in mine:
                chosen[root] = False
                reason[root] = f"{value.name} would lose all {size} channels of axis {axis}; expected at least one left"
        if np.array_equal(before, chosen):
            return


def _complete(
    slices: Slices,
    label: NDArray[np.int64],
    stays: Flags,
    changes: Mapping[int, str],
    chosen: Flags,
    reason: dict[int, str],
    contraction: Contraction,
) -> None:
    """Add what is missing so that each group of a convolution has as many channels as the others, or refuse."""
    groups = contraction.groups
    data = slices.ids(contraction.data, contraction.data_axis)
    made = slices.ids(contraction.node.outputs[0], contraction.data_axis)
    inner = slices.ids(contraction.weights, contraction.weights_axis)
    if data is None or made is None or inner is None:
        return
    given, results = data.reshape(groups, -1), made.reshape(groups, -1)
    while True:
        lost, gone = chosen[label[given]], chosen[label[results]]
        empty: Flags = np.asarray(lost.all(1) | gone.all(1))
        shared_in = np.asarray(lost[~empty].any(0) | chosen[label[inner]])
        shared_out = np.asarray(gone[~empty].any(0))
        more_in, more_out = (empty[:, None] | shared for shared in (shared_in, shared_out))
        needed = np.concatenate([given[more_in], results[more_out], inner[shared_in]])
        roots = np.unique(label[needed])
        new = roots[~chosen[roots]]
        if not len(new):
            return
        kept = [int(root) for root in new if stays[root] or int(root) in changes or int(root) in reason]
        if kept:
            ids = np.concatenate([data, made, inner])
            why = (
                f"{label_of(contraction.node)} has {groups} groups, which can only lose the same channels each or go "
                "whole, and others of its channels have to stay"
            )
            for root in np.unique(label[ids]):
                if chosen[root]:
                    chosen[root] = False
                    reason[int(root)] = why
            return
        chosen[new] = True

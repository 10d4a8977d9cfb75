"""Operators that move, choose or join values: what comes out went in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qonnx_core.ir.permutations import permutation_of
from qonnx_core.passes.datatypes.call import Call
from qonnx_core.passes.datatypes.facts import (
    Fact,
    NotInferred,
    Numbers,
    common_grid,
    from_array,
    integers,
    united,
)

Rule = Callable[[Call], "Fact | list[Fact | None]"]


def same(call: Call) -> Fact:
    """Return the fact of the first input, which is the output."""
    return call.fact(0)


def moved(call: Call) -> Fact:
    """Return the fact of the first input for the same values in other places."""
    fact = call.fact(0)
    return fact.moved() if isinstance(fact, Numbers) else fact


def split(call: Call) -> list[Fact | None]:
    """Return the fact of the input for every part of it."""
    return [moved(call)] * len(call.node.outputs)


def transposed(call: Call) -> Fact:
    """Return the fact with its scales along the moved axes."""
    fact = call.fact(0)
    if not isinstance(fact, Numbers) or fact.scale is None or fact.scale.ndim == 0:
        return fact
    rank = call.rank(0)
    permutation = permutation_of(call.node, rank)
    if sorted(permutation) != list(range(rank)) or fact.scale.ndim > rank:
        raise NotInferred("the permutation does not fit the tensor")
    wide = fact.scale.reshape((1,) * (rank - fact.scale.ndim) + fact.scale.shape)
    return replace(fact, scale=wide.transpose(permutation))


def joined(call: Call) -> Fact:
    """Return what holds all inputs: of one format, on one grid, or on scales per channel."""
    facts = [call.fact(index) for index in range(len(call.node.inputs))]
    if not facts:
        raise NotInferred("it has no inputs")
    formats = {fact.datatype for fact in facts if not isinstance(fact, Numbers)}
    if formats:
        if len(formats) == 1 and not any(isinstance(fact, Numbers) for fact in facts):
            return facts[0]
        raise NotInferred("the inputs are of different formats")
    numbers = [fact.moved() for fact in call.all_numbers()]
    scales = {None if fact.scale is None else float(fact.scale) for fact in numbers if not fact.is_zero}
    try:
        return united(numbers)
    except NotInferred:
        if call.node.op_type != "Concat" or scales == {1.0}:
            raise
    low, high = min(fact.low for fact in numbers), max(fact.high for fact in numbers)
    return Numbers(low, high, None, scaled=True)


def chosen(call: Call) -> Fact:
    """Return what holds both choices of Where."""
    return united([call.numbers(1), call.numbers(2)])


def padded(call: Call) -> Fact:
    """Return what holds the data and the number that Pad puts around them."""
    data = call.fact(0)
    if call.text("mode", "constant") != "constant":
        return moved(call)
    if not isinstance(data, Numbers):
        if call.has(2):
            raise NotInferred("the padding is not known to be of the same format")
        return data
    number = call.numbers(2) if call.has(2) else integers(0, 0)
    return with_number(data.moved(), number)


def with_number(data: Numbers, number: Numbers) -> Numbers:
    """Return what holds the data and a padding; the declared type stays where the padding belongs to it."""
    made = united([data, number])
    inside = data.low <= made.low and made.high <= data.high and made.scale is data.scale
    return data if inside and not data.odd else made


def scattered(call: Call) -> Fact:
    """Return what holds the data and the updates."""
    if call.text("reduction", "none") != "none":
        raise NotInferred(f"reduction {call.text('reduction', 'none')} is not followed")
    return united([call.numbers(0).moved(), call.numbers(2).moved()])


def resized(call: Call) -> Fact:
    """Return the fact of the input for the nearest neighbour."""
    if call.text("mode", "nearest") != "nearest":
        raise NotInferred(f"mode {call.text('mode', 'nearest')} computes averages")
    if call.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise NotInferred("pixels outside of the image get a value of their own")
    return moved(call)


def dropped_out(call: Call) -> Fact:
    """Return the fact of the input where nothing is dropped: in inference."""
    if call.has(2):
        mode = call.array(2)
        if mode is None or np.any(mode):
            raise NotInferred("in training it drops and scales values")
    return same(call)


def pooled(call: Call) -> Fact:
    """Return the fact of the input for the largest values of windows; scales of channels stay."""
    fact = call.fact(0)
    if isinstance(fact, Numbers) and fact.scale is not None and fact.scale.ndim:
        rank = call.rank(0)
        wide = fact.scale.reshape((1,) * (rank - fact.scale.ndim) + fact.scale.shape)
        if wide.ndim == rank and all(size == 1 for size in wide.shape[2:]):
            return replace(fact, scale=wide)
    return moved(call)


def clipped(call: Call) -> Fact:
    """Return the numbers within bounds that lie on their grid."""
    data = call.numbers(0)
    bounds = [call.array(index) for index in (1, 2)]
    if any(call.has(index) and bounds[index - 1] is None for index in (1, 2)):
        raise NotInferred("a bound is computed")
    if any(bound is not None and (bound.size != 1 or bound.dtype.kind not in "fiu") for bound in bounds):
        raise NotInferred("a bound is no single number")
    low, high = (_on_grid(data, bound, side) for bound, side in zip(bounds, (-1, 1), strict=True))
    if low is None or high is None:  # refine the grid to hold the bounds
        known = [from_array(bound) for bound in bounds if bound is not None and np.all(np.isfinite(bound))]
        (data, *ends), _ = common_grid([data, *(_required(fact) for fact in known)])
        return united([_within(data, end.low, end.high) for end in ends])
    return data if low <= data.low and data.high <= high else _within(data, low, high)


def _within(data: Numbers, low: int, high: int) -> Numbers:
    first, last = (min(max(end, low), high) for end in (data.low, data.high))
    return data.derived(first, last, odd=data.odd and first == data.low and last == data.high)


def _required(fact: Numbers | None) -> Numbers:
    if fact is None:
        raise NotInferred("a bound is on no grid of few bits")
    return fact


def _on_grid(data: Numbers, bound: NDArray[Any] | None, side: int) -> int | None:
    """Return the integer behind a bound, or one beyond the data where it does not count; None where it is off grid."""
    end = data.low if side < 0 else data.high
    if bound is None or not np.isfinite(bound):
        return end
    number = float(bound.item())
    if data.scale is None or data.scale.ndim:
        if number == 0:
            return 0
        raise NotInferred("the bound cannot be compared with several scales")
    scale = float(data.scale)
    if (number <= end * scale) if side < 0 else (number >= end * scale):
        return end
    k = round(number / scale)
    return k if np.float32(k * scale) == np.float32(number) else None


def rectified(call: Call) -> Fact:
    """Return the numbers with 0 instead of the negative ones."""
    data = call.numbers(0)
    return data if data.low >= 0 else data.derived(0, max(0, data.high))


def extreme(call: Call) -> Fact:
    """Return the bounds of Max or Min of all inputs."""
    facts = call.all_numbers()
    if not facts:
        raise NotInferred("it has no inputs")
    if len(facts) == 1:
        return facts[0]
    aligned, grid = common_grid(facts)
    pick = max if call.node.op_type == "Max" else min
    declared = {fact.declared for fact in facts}
    low, high = pick(f.low for f in aligned), pick(f.high for f in aligned)
    made = grid.derived(low, high, odd=all(f.odd for f in aligned))
    return replace(made, declared=declared.pop()) if len(declared) == 1 else made


def top_k(call: Call) -> list[Fact | None]:
    """Return the fact of the data for the values, and the range of places for the indices."""
    places = integers(0, max(0, call.size(0, call.integer("axis", -1)) - 1))
    try:
        values: Fact | None = moved(call)
    except NotInferred:
        values = None
    return [values, places]


def arg(call: Call) -> Fact:
    """Return the range of places along the axis."""
    return integers(0, max(0, call.size(0, call.integer("axis", 0)) - 1))


def flag(call: Call) -> Fact:
    """Return 0 or 1."""
    return integers(0, 1)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity",), same),
    **dict.fromkeys(
        (
            "Compress", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
            "ReduceMax", "ReduceMin", "Reshape", "ReverseSequence", "Slice",
            "SpaceToDepth", "Squeeze", "Tile", "Unsqueeze",
        ),
        moved,
    ),
    **dict.fromkeys(
        (
            "And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor",
        ),
        flag,
    ),
    **dict.fromkeys(("Max", "Min"), extreme),
    **dict.fromkeys(("Resize", "Upsample"), resized),
    **dict.fromkeys(("ScatterElements", "ScatterND"), scattered),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg),
    **dict.fromkeys(("GlobalMaxPool", "MaxPool"), pooled),
    "Dropout": dropped_out,
    "Split": split,
    "Transpose": transposed,
    "Concat": joined,
    "Where": chosen,
    "Pad": padded,
    "Clip": clipped,
    "Relu": rectified,
    "TopK": top_k,
}  # fmt: skip

"""Quantizers on integers: thresholds, or a constant, a shift, a rounding and a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import exact, ranges
from qonnx_core.passes.streamline.builder import IntegerGraph
from qonnx_core.passes.streamline.elementwise import Affine, Chain, Clip, GridValue, at, compose, on_channel
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.quantizers import ROUNDING, Levels
from qonnx_core.passes.streamline.representation import Represented
from qonnx_core.passes.streamline.steps import Quantizer
from qonnx_core.passes.streamline.thresholds import find_thresholds
from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]
Form = Literal["thresholds", "shift"]

_HALF_MODES = ("ROUND", "HALF_UP", "HALF_DOWN")

#: Channels whose power-of-two scales differ by more bits than this do not share one shift.
_MAX_SPREAD = 16


@dataclass(frozen=True, slots=True)
class QuantizerOptions:
    """Which form a quantizer takes: the preferred one, and how many bits may still become thresholds.

    ``only_grids`` leaves quantizers unwritten, for callers that want to know what grid each tensor lies on.
    """

    form: Form = "thresholds"
    max_threshold_bits: int = 8
    only_grids: bool = False


def quantize(
    graph: IntegerGraph, x: Represented, quantizer: Quantizer, name: str, output: str, options: QuantizerOptions
) -> Represented:
    """Return the quantizer's output on new integers (or on the same, where it changes nothing)."""
    scaled = x.after(quantizer.before)
    levels = quantizer.levels
    if _changes_nothing(scaled, levels):
        return Represented(x.base, (quantizer.after,), x.shape, x.index, quantizer.datatype, True)
    if options.only_grids:
        base = graph.placeholder(output, x.base.shape, quantizer.datatype, levels.lo, levels.hi)
        return Represented(base, (quantizer.after,), x.shape, x.index, quantizer.datatype, True)
    fits = levels.count < 1 << options.max_threshold_bits
    if not fits:
        levels = _reached(scaled.chain, levels)
        fits = levels.count < 1 << options.max_threshold_bits
    made: IntTensor | None = None
    reason = ""
    if options.form == "shift" or not fits:
        plan = shift_form(scaled.chain, levels)
        if isinstance(plan, ShiftForm):
            made = _emit_shift(graph, x.base, plan, name, output, quantizer.datatype)
        else:
            reason = plan
    if made is None and not fits:
        raise Unsupported(
            f"{levels.count + 1} levels are too many for thresholds (at most {1 << options.max_threshold_bits}), and "
            f"it is no shift-and-round: {reason}. Use fewer bits, power-of-two scales, or raise max_threshold_bits"
        )
    if made is None:
        made = emit_thresholds(graph, x.base, [scaled.chain], [levels], name, output, quantizer.datatype)
    return Represented(made, (quantizer.after,), x.shape, x.index, quantizer.datatype, True)


def _reached(chain: Chain, levels: Levels) -> Levels:
    """Return the levels that are left where a Clip stands in front of the quantizer: all, where that is not known."""
    bounded = None if levels.rounding is None or levels.step != 1 else affine_with_bounds(chain)
    if bounded is None or isinstance(bounded, str) or levels.rounding is None:
        return levels
    mode = ROUNDING[levels.rounding]
    ends = []
    for bounds, default, outer in ((bounded[1], levels.lo, min), (bounded[2], levels.hi, max)):
        steps = [mode(bound) if isinstance(bound, Fraction) else default for bound in bounds]
        ends.append(min(max(outer(steps), levels.lo), levels.hi))
    return Levels(ends[0], 1, ends[1] - ends[0], None, levels.rounding)


def emit_thresholds(
    graph: IntegerGraph,
    base: IntTensor,
    chains: Sequence[Chain],
    levels: Sequence[Levels],
    name: str,
    output: str,
    datatype: DataType,
) -> IntTensor:
    """Return new integers that count thresholds; one chain and one list of levels for all channels, or one each."""
    if len(levels) == 1:
        found = find_thresholds(chains[0], levels[0], base.lo, base.hi)
        table, sign = found.thresholds, found.sign
    else:
        rows = [
            find_thresholds(chains[c], levels[c], base.lo[c : c + 1], base.hi[c : c + 1]) for c in range(base.channels)
        ]
        table = np.concatenate([row.thresholds for row in rows])
        sign = np.concatenate([row.sign for row in rows])
    flipped = graph.scale(name, base, sign)
    return graph.thresholds(name, output, flipped, table, levels[0].base, levels[0].step, datatype)


def per_channel(chain: Chain, channels: int) -> list[Chain]:
    """Return the chain of each channel."""
    return [on_channel(chain, c) for c in range(channels)]


def _changes_nothing(scaled: Represented, levels: Levels) -> bool:
    if levels.step != 1 or levels.rounding is None:
        return False
    if any(isinstance(step, GridValue) and not step.is_linear() for step in scaled.chain):
        return False
    affine = scaled.affine()
    unit = affine is not None and affine.gain == (Fraction(1),) and affine.offset == (Fraction(0),)
    lo, hi = scaled.base.lo, scaled.base.hi
    return unit and int(lo.min()) >= levels.lo and int(hi.max()) <= levels.hi


@dataclass(frozen=True)
class ShiftForm:
    """``clip(round((factor * k + constant) / 2**shift), lo, hi)``, factor and constant one or one per channel."""

    factor: IntArray
    constant: IntArray
    shift: int
    rounding: str
    lo: int
    hi: int


def shift_form(chain: Chain, levels: Levels) -> ShiftForm | str:
    """Return the quantizer behind a chain as a shift with rounding, or why it is none.

    An offset that is no multiple of the grid costs at most one more bit: where only comparisons with integers matter,
    an offset strictly between two integers is as good as the half between them. Channels with different powers of two
    share the largest shift, the others are scaled up before it.
    """
    if levels.rounding is None or levels.step != 1:
        return "its levels come from no rounding"
    bounded = affine_with_bounds(chain)
    if isinstance(bounded, str):
        return bounded
    affine, low, high = bounded
    shifts = []
    for gain in affine.gain:
        if not isinstance(gain, Fraction) or gain == 0 or not _is_power_of_two(abs(gain)):
            return "its scale ratio is no power of two"
        shifts.append(gain.denominator.bit_length() - abs(gain.numerator).bit_length())
    shift = max(shifts)
    if shift - min(shifts) > _MAX_SPREAD:
        return "its channels' scales are too far apart for one shift"
    mode = ROUNDING[levels.rounding]
    ends: list[int] = []
    for bounds, default in ((low, levels.lo), (high, levels.hi)):
        clipped = set()
        for bound in bounds:
            if bound is None:
                clipped.add(default)
                continue
            if not isinstance(bound, Fraction):
                return "a clipping bound is irrational"
            clipped.add(min(max(mode(bound), levels.lo), levels.hi))
        if len(clipped) != 1:
            return "its channels are clipped at different bounds"
        ends.append(clipped.pop())
    factor = [exact.sign(g) << (shift - s) for g, s in zip(affine.gain, shifts, strict=True)]
    more, constants = _resolved(list(affine.offset), shift, levels.rounding in _HALF_MODES)
    if any(abs(c) >= ranges.LIMIT for c in constants) or more > 52:
        return "its offset is too large for the grid"
    return ShiftForm(
        np.asarray(factor, np.int64) << more,
        np.asarray(constants, np.int64),
        shift + more,
        levels.rounding,
        ends[0],
        ends[1],
    )


def _resolved(offsets: list[Real], shift: int, halves: bool) -> tuple[int, list[int]]:
    """Return how many bits finer than ``2**-shift`` the grid has to be, and each offset on the finer grid."""
    most = max(0, (1 if halves else 0) - shift)
    for more in range(most + 1):
        scaled = [offset * Fraction(2) ** (shift + more) for offset in offsets]
        if all(isinstance(s, Fraction) and s.denominator == 1 for s in scaled):
            return more, [exact.floor(s) for s in scaled]
    scaled = [offset * Fraction(2) ** (shift + most) for offset in offsets]
    whole = [isinstance(s, Fraction) and s.denominator == 1 for s in scaled]
    return most + 1, [2 * exact.floor(s) + (0 if w else 1) for s, w in zip(scaled, whole, strict=True)]


Bounds = list[Real | None]


def affine_with_bounds(chain: Chain) -> tuple[Affine, Bounds, Bounds] | str:
    """Return a chain as an affine function clipped at its ends (None: open), or why it is more than that."""
    affine = Affine((Fraction(1),), (Fraction(0),))
    low: Bounds = [None]
    high: Bounds = [None]
    for step in chain:
        if isinstance(step, GridValue):
            if not step.is_linear():
                return "the input's grid values are no float32 numbers"
            affine = compose(affine, step.linear())
        elif isinstance(step, Affine):
            count = max(step.channels, len(low))
            pairs = [(_moved(low[c % len(low)], step, c), _moved(high[c % len(high)], step, c)) for c in range(count)]
            pairs = [pair[::-1] if step.direction(c) < 0 else pair for c, pair in enumerate(pairs)]
            low, high = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            affine = compose(affine, step)
        elif isinstance(step, Clip):
            count = max(step.channels, len(low))
            low = [_clipped(low[c % len(low)], step, c, -1) for c in range(count)]
            high = [_clipped(high[c % len(high)], step, c, 1) for c in range(count)]
        else:
            return f"{type(step).__name__} stands before it"
    return affine, low, high


def _moved(bound: Real | None, step: Affine, channel: int) -> Real | None:
    return None if bound is None else bound * at(step.gain, channel) + at(step.offset, channel)


def _clipped(bound: Real | None, step: Clip, channel: int, infinity: int) -> Real | None:
    """Return ``min(max(bound, low), high)`` where a bound of None is infinite with the given sign."""
    result = bound
    if step.low is not None:
        low = at(step.low, channel)
        if (result is None and infinity < 0) or (result is not None and exact.compare(result, low) < 0):
            result = low
    if step.high is not None:
        high = at(step.high, channel)
        if (result is None and infinity > 0) or (result is not None and exact.compare(result, high) > 0):
            result = high
    return result


def _is_power_of_two(value: Fraction) -> bool:
    return not (value.numerator & (value.numerator - 1) or value.denominator & (value.denominator - 1))


def _emit_shift(
    graph: IntegerGraph, base: IntTensor, plan: ShiftForm, name: str, output: str, datatype: DataType
) -> IntTensor:
    moved = graph.add_constant(name, graph.scale(name, base, plan.factor), plan.constant)
    return graph.requantize(name, output, moved, plan.shift, plan.rounding, plan.lo, plan.hi, datatype)

"""Integer thresholds of a quantizer behind a chain of elementwise functions, found exactly and fast.

Each boundary between two levels is pulled back through the chain in enclosed float64 arithmetic, all channels and
levels at once; where the enclosure holds no integer, the threshold is decided. The rest (ties, above all) is pulled
back once more in exact arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.elementwise import (
    Chain,
    Condition,
    chain_channels,
    chain_direction,
    pull_back,
    pull_bounds_back,
)
from qonnx_core.passes.streamline.quantizers import Levels

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class IntegerThresholds:
    """Thresholds ``[C, T]`` on ``sign[c] * k``: rows sorted, C = 1 when all channels share one row.

    ``sign`` (length 1 or C) is -1 where the chain falls. A level that no integer of the range reaches has the
    threshold one above the range; one that every integer reaches has the lower end of the range.
    """

    thresholds: IntArray
    sign: IntArray


def find_thresholds(chain: Chain, levels: Levels, lo: IntArray, hi: IntArray) -> IntegerThresholds:
    """Return the thresholds on k in ``[lo, hi]`` (one bound, or one per channel) where ``levels(chain(k))`` rises."""
    same_range = bool((lo == lo[0]).all() and (hi == hi[0]).all())
    count = max(chain_channels(chain), 1 if same_range else len(lo))
    directions = [chain_direction(chain, c) for c in range(count)]
    sign = np.asarray([direction for direction, _ in directions], np.int64)
    constant = np.asarray([constant for _, constant in directions])
    lows = np.broadcast_to(lo[:1] if same_range else lo, (count,))
    highs = np.broadcast_to(hi[:1] if same_range else hi, (count,))
    bottom = np.where(sign > 0, lows, -highs)[:, None]
    top = np.where(sign > 0, highs, -lows)[:, None] + 1
    if not levels.boundaries:
        return IntegerThresholds(np.zeros((count, 0), np.int64), sign)
    exact_bounds = np.asarray([exact.float_bounds(b.bound) for b in levels.boundaries], np.float64)
    start = np.broadcast_to(exact_bounds.T[:, None, :], (2, count, len(levels.boundaries)))
    below, above = pull_bounds_back(chain, start[0], start[1])
    falls = (sign < 0)[:, None]
    below, above = np.where(falls, -above, below), np.where(falls, -below, above)
    with np.errstate(invalid="ignore"):
        ceiling = np.ceil(below)
        undecided = ~((ceiling > above) & (np.floor(below) < below)) & ~np.isinf(below)
        undecided |= np.isnan(below) | np.isnan(above) | (np.isinf(below) & (below != above))
        # outside the range an undecided bound is as good as decided
        undecided &= ~((above < bottom) | (below > top))
        clamped = np.clip(np.nan_to_num(ceiling, nan=0.0, posinf=2.0**62, neginf=-(2.0**62)), bottom, top)
    result = clamped.astype(np.int64)
    for c, t in np.argwhere(undecided):
        edge = levels.boundaries[t]
        answer = pull_back(chain, Condition(edge.bound, edge.closed), int(c))
        result[c, t] = min(max(_first_integer(answer, int(bottom[c, 0]), int(top[c, 0])), bottom[c, 0]), top[c, 0])
    mirrored = constant & (sign < 0)  # every threshold is at one end of the range: no need to flip the input
    result[mirrored] = np.where(result == bottom, lows[:, None], highs[:, None] + 1)[mirrored]
    sign[mirrored] = 1
    if count > 1 and (result == result[0]).all() and (sign == sign[0]).all():
        result, sign = result[:1], sign[:1]
    return IntegerThresholds(result, sign)


def _first_integer(answer: Condition | bool, bottom: int, top: int) -> int:
    if isinstance(answer, bool):
        return bottom if answer else top
    if answer.upward:
        return exact.ceil(answer.bound) if answer.closed else exact.floor(answer.bound) + 1
    return -exact.floor(answer.bound) if answer.closed else 1 - exact.ceil(answer.bound)

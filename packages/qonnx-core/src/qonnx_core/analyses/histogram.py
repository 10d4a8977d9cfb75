"""A histogram that needs no range ahead: its bins widen by powers of two while numbers come, and counts stay exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 128
MAX_LEVELS = 256

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Bins:
    """Counts of numbers in bins of one width: bin ``k`` holds those from ``start + k * width`` up to the next one.

    ``width`` is a power of two and ``start`` a multiple of it, so that the bins depend on the lowest and the highest
    number alone. It is 0 where all numbers are ``start``.
    """

    start: float
    width: float
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the bins as JSON values."""
        return {"start": self.start, "width": self.width, "counts": list(self.counts)}


class Histogram:
    """Counts finite numbers, those of a few levels one by one, all of them in at most ``MAX_BINS`` bins."""

    def __init__(self) -> None:
        self._levels: dict[float, int] | None = {}
        self._same: tuple[float, int] | None = None  # the only number so far, and how often
        self._exponent = 0
        self._first = 0  # index of the first bin, which starts at first * 2**exponent
        self._counts = np.zeros(0, np.int64)

    def add(self, numbers: Array) -> None:
        """Count more numbers, all finite; the order in which they come changes nothing."""
        if not numbers.size:
            return
        values = numbers.reshape(-1).astype(np.float64) + 0.0  # -0 and 0 are one level
        self._count_levels(values)
        low, high = float(values.min()), float(values.max())
        if self._same is not None and low == high == self._same[0]:
            self._same = (low, self._same[1] + values.size)
        elif self._same is None and not self._counts.size and low == high:
            self._same = (low, values.size)
        else:
            if self._same is not None:
                low, high = min(low, self._same[0]), max(high, self._same[0])
            self._cover(low, high)
            if self._same is not None:
                self._counts[self._index(np.asarray([self._same[0]]))[0] - self._first] += self._same[1]
                self._same = None
            found = np.bincount(self._index(values) - self._first, minlength=self._counts.size)
            self._counts += found

    @property
    def levels(self) -> dict[float, int] | None:
        """Each number with its count, in order; None where there are more than ``MAX_LEVELS`` different ones."""
        return None if self._levels is None else dict(sorted(self._levels.items()))

    @property
    def bins(self) -> Bins:
        """The counts in bins, from that of the lowest to that of the highest number."""
        if self._same is not None:
            return Bins(self._same[0], 0.0, (self._same[1],))
        used = np.flatnonzero(self._counts)
        if not used.size:
            return Bins(0.0, 0.0, ())
        start = math.ldexp(float(self._first + used[0]), self._exponent)
        counts = self._counts[used[0] : used[-1] + 1]
        return Bins(start, math.ldexp(1.0, self._exponent), tuple(int(count) for count in counts))

    def _count_levels(self, values: Array) -> None:
        if self._levels is None:
            return
        if np.unique(values[: 4 * MAX_LEVELS]).size > MAX_LEVELS:
            self._levels = None
            return
        found, counts = np.unique(values, return_counts=True)
        if found.size > MAX_LEVELS:
            self._levels = None
            return
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            self._levels[value] = self._levels.get(value, 0) + count
        if len(self._levels) > MAX_LEVELS:
            self._levels = None

    def _index(self, values: Array) -> NDArray[np.int64]:
        return np.floor(np.ldexp(values, -self._exponent)).astype(np.int64)

    def _cover(self, low: float, high: float) -> None:
        """Widen the bins until they hold both numbers."""
        if self._counts.size:
            used = np.flatnonzero(self._counts)
            ends = (self._first + used[[0, -1]]).astype(np.int64)
            exponent = self._exponent
            while _num_bins(low, high, exponent, *(int(end) >> (exponent - self._exponent) for end in ends)) > MAX_BINS:
                exponent += 1
        else:
            exponent = math.frexp(high / MAX_BINS - low / MAX_BINS)[1] - 1
            while _num_bins(low, high, exponent) > MAX_BINS:
                exponent += 1
        shift = exponent - self._exponent
        old = self._first + np.arange(self._counts.size)
        merged = old >> shift if self._counts.size else old
        bottom, top = (math.floor(math.ldexp(number, -exponent)) for number in (low, high))
        if self._counts.size:
            bottom, top = min(bottom, int(merged[0])), max(top, int(merged[-1]))
        counts = np.zeros(top - bottom + 1, np.int64)
        np.add.at(counts, merged - bottom, self._counts)
        self._exponent, self._first, self._counts = exponent, bottom, counts


def _num_bins(low: float, high: float, exponent: int, *others: int) -> int:
    bottom, top = (math.floor(math.ldexp(number, -exponent)) for number in (low, high))
    return max(top, *others, top) - min(bottom, *others, bottom) + 1

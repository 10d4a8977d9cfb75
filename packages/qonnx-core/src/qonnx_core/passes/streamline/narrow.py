"""Makes the integers of a residual sum as small as the quantizer behind it allows.

Two float scales without a simple ratio need integer factors of more than 24 bits, but the quantizer behind the sum
tells few of its values apart. Smaller factors with thresholds of their own do the same where no pair of integers
changes sides, which is tried on all pairs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qonnx_core.passes.streamline import ranges
from qonnx_core.passes.streamline.quantizers import ROUNDING
from qonnx_core.passes.streamline.view import Add, IntTensor, Layer, Requantize, Scale, Thresholds, inputs_of

IntArray = npt.NDArray[np.int64]

#: Sums of at most this many bits stay as they are.
NARROW_BITS = 16
#: So many pairs of integers are tried.
MAX_PAIRS = 1 << 18
#: A rounding with more levels than this stays one.
MAX_LEVELS = 256

Quantizer = Thresholds | Requantize


def narrow_sums(layers: Sequence[Layer], outputs: Collection[str]) -> list[Layer]:
    """Return the layers with smaller factors and thresholds around wide residual sums; all other tensors are the same.

    A sum is changed where both its terms are scaled by one factor each and one quantizer is all that reads it; a
    `Requantize` becomes `Thresholds`. ``outputs`` names the tensors that have to stay.
    """
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for tensor in inputs_of(layer):
            readers.setdefault(tensor.name, []).append(layer)
    made = {layer.output.name: layer for layer in layers}
    changed: dict[str, Layer] = {}
    for layer in layers:
        if isinstance(layer, Add):
            found = _alone(layer, made, readers, outputs)
            if found is not None:
                changed.update({new.output.name: new for new in _narrowed(layer, *found)})
    return [changed.get(layer.output.name, layer) for layer in layers]


@dataclass(frozen=True)
class _Table:
    """All pairs of integers in the order of their sum: the pairs, and how many lie below each threshold."""

    left: IntArray
    right: IntArray
    below: IntArray

    def thresholds(self, factors: tuple[int, int]) -> IntArray | None:
        """Return the thresholds of the sums with other factors; None where a pair would change sides."""
        sums = self.left * factors[0] + self.right * factors[1]
        least_above = np.minimum.accumulate(sums[::-1])[::-1]
        most_below = np.maximum.accumulate(sums)
        inner = self.below[(self.below > 0) & (self.below < len(sums))]
        if (most_below[inner - 1] >= least_above[inner]).any():
            return None
        beyond = np.append(least_above, most_below[-1] + 1)
        return np.asarray(beyond[self.below], np.int64)


def _alone(
    add: Add, made: dict[str, Layer], readers: dict[str, list[Layer]], outputs: Collection[str]
) -> tuple[Scale, Scale, Quantizer] | None:
    """Return the two scales and the quantizer around a wide sum that nothing else reads."""
    behind = readers.get(add.output.name, [])
    terms = [made.get(tensor.name) for tensor in add.inputs]
    names = {add.output.name, *(tensor.name for tensor in add.inputs)}
    alone = all(len(readers[name]) == 1 for name in names if name in readers) and not names & set(outputs)
    if not alone or len(names) != 3 or len(behind) != 1 or not isinstance(behind[0], Quantizer):
        return None
    left, right = terms
    if not isinstance(left, Scale) or not isinstance(right, Scale):
        return None
    if len({int(f) for f in left.factor}) != 1 or len({int(f) for f in right.factor}) != 1:
        return None
    wide = ranges.magnitude(add.output.lo, add.output.hi).bit_length() > NARROW_BITS
    return (left, right, behind[0]) if wide else None


def _narrowed(add: Add, left: Scale, right: Scale, quantizer: Quantizer) -> list[Layer]:
    """Return the four layers with the smallest factors that keep every output, or none."""
    spans = [np.arange(int(x.input.lo.min()), int(x.input.hi.max()) + 1) for x in (left, right)]
    if len(spans[0]) * len(spans[1]) > MAX_PAIRS:
        return []
    factors = (int(left.factor[0]), int(right.factor[0]))
    a, b = (grid.reshape(-1) for grid in np.meshgrid(*spans, indexing="ij"))
    sums = a * factors[0] + b * factors[1]
    order = np.argsort(sums, kind="stable")
    thresholds = _as_thresholds(quantizer, sums[order])
    if thresholds is None:
        return []
    below = np.searchsorted(sums[order], thresholds.thresholds.reshape(-1), side="left")
    table = _Table(a[order], b[order], below)
    for smaller in _candidates(factors):
        rows = table.thresholds(smaller)
        if rows is not None:
            terms = [_scaled(scale, factor) for scale, factor in zip((left, right), smaller, strict=True)]
            lo, hi = ranges.sum_range(*((term.output.lo, term.output.hi) for term in terms))
            total = _tensor(add.output, lo, hi)
            return [
                *terms,
                replace(add, inputs=(terms[0].output, terms[1].output), output=total),
                replace(thresholds, input=total, thresholds=rows.reshape(thresholds.thresholds.shape)),
            ]
    return []


def _as_thresholds(quantizer: Quantizer, ordered: IntArray) -> Thresholds | None:
    """Return the quantizer as thresholds on the given sums, which rise; None for one of too many levels."""
    if isinstance(quantizer, Thresholds):
        return quantizer
    mode, unit = ROUNDING[quantizer.rounding], Fraction(2) ** quantizer.shift

    def level(value: np.int64) -> int:
        return min(max(mode(int(value) / unit), quantizer.lo), quantizer.hi)

    base, top = level(ordered[0]), level(ordered[-1])
    if not 1 <= top - base < MAX_LEVELS:
        return None
    first = [bisect_left(ordered, wanted, key=level) for wanted in range(base + 1, top + 1)]
    return Thresholds(quantizer.name, quantizer.input, quantizer.output, ordered[first].reshape(1, -1), base, 1)


def _candidates(factors: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield pairs of about the same ratio, the smallest first, all smaller than the given one."""
    largest = max(abs(factor) for factor in factors)
    seen = set()
    for top in (*range(1, 65), *(1 << bits for bits in range(7, largest.bit_length()))):
        pair = (round(factors[0] * top / largest), round(factors[1] * top / largest))
        if 0 not in pair and pair not in seen and top < largest:
            seen.add(pair)
            yield pair


def _scaled(scale: Scale, factor: int) -> Scale:
    lo, hi = ranges.scaled_range(scale.input.lo, scale.input.hi, np.asarray([factor]))
    return replace(scale, factor=np.full_like(scale.factor, factor), output=_tensor(scale.output, lo, hi))


def _tensor(tensor: IntTensor, lo: IntArray, hi: IntArray) -> IntTensor:
    return replace(tensor, datatype=ranges.smallest_datatype(int(lo.min()), int(hi.max())), lo=lo, hi=hi)

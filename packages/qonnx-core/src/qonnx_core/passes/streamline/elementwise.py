"""Exact elementwise functions of one variable per channel, and pulling a comparison back through a chain of them.

A quantizer behind a chain ``f`` asks for the integers ``k`` with ``f(k) >= b``. Every function here is monotone, so
that question becomes ``k >= b'`` or ``k <= b'`` one function at a time, without evaluating ``f`` anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.ir.grid import Grid, nearest_float32
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.exact import Real

FloatArray = npt.NDArray[np.float64]
Params = tuple[Real, ...]  # one number, or one per channel
#: Grids of at most so many steps are looked at number by number.
_MAX_LISTED = 16


@dataclass(frozen=True, slots=True)
class Condition:
    """``x >= bound`` (upward, closed), ``x > bound`` (upward), ``x <= bound`` (closed) or ``x < bound``."""

    bound: Real
    closed: bool
    upward: bool = True


#: What pulling back gives: a condition on the input, or the answer for every input.
Answer = Condition | bool


def at(params: Params, channel: int) -> Real:
    """Return the number of a channel."""
    return params[channel] if len(params) > 1 else params[0]


def channels_of(*params: Params) -> int:
    """Return how many channels these parameters tell apart."""
    return max(len(p) for p in params)


@dataclass(frozen=True, slots=True)
class Affine:
    """``x -> gain * x + offset``; a gain may be negative or 0."""

    gain: Params
    offset: Params

    @property
    def channels(self) -> int:
        """Number of channels told apart."""
        return channels_of(self.gain, self.offset)

    def direction(self, channel: int) -> int:
        """Return 1, -1 or 0 as the function rises, falls or is constant."""
        return exact.sign(at(self.gain, channel))

    def pull(self, condition: Condition, channel: int) -> Answer:
        """Return the condition on x under which the condition holds for the function's value."""
        gain, offset = at(self.gain, channel), at(self.offset, channel)
        direction = exact.sign(gain)
        if direction == 0:
            order = exact.compare(offset, condition.bound)
            return (order == 0 and condition.closed) or order == (1 if condition.upward else -1)
        bound = (condition.bound - offset) / gain
        return Condition(bound, condition.closed, condition.upward == (direction > 0))

    def pull_bounds(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return enclosures of the pulled-back bounds; NaN where only exact arithmetic can tell."""
        gain_low, gain_high = _enclosures(self.gain)
        offset_low, offset_high = _enclosures(self.offset)
        constant = (gain_low == 0) & (gain_high == 0)
        straddling = (gain_low <= 0) & (gain_high >= 0)
        safe_low, safe_high = np.where(straddling, 1.0, gain_low), np.where(straddling, 1.0, gain_high)
        top, bottom = _up(high - offset_low), _down(low - offset_high)
        quotients = [bottom / safe_low, bottom / safe_high, top / safe_low, top / safe_high]
        new_low = _down(np.minimum.reduce(quotients))
        new_high = _up(np.maximum.reduce(quotients))
        # a constant channel: bound below the value is always reached, above it never, in either direction
        flat = np.where(high < offset_low, -np.inf, np.where(low > offset_high, np.inf, np.nan))
        flat = np.where(constant, flat, np.nan)
        return np.where(straddling, flat, new_low), np.where(straddling, flat, new_high)


@dataclass(frozen=True, slots=True)
class Clip:
    """``x -> min(max(x, low), high)``; None leaves a side open. Relu is ``Clip(low=0)``."""

    low: Params | None
    high: Params | None

    @property
    def channels(self) -> int:
        """Number of channels told apart."""
        return channels_of(*(p for p in (self.low, self.high) if p is not None))

    def direction(self, channel: int) -> int:
        """Return 1: clipping rises."""
        return 1

    def pull(self, condition: Condition, channel: int) -> Answer:
        """Return the condition on x under which the condition holds for the clipped value."""
        # min is applied last, as ONNX does where the bounds cross
        if self.high is not None:
            order = exact.compare(condition.bound, at(self.high, channel))
            if order > 0 or (order == 0 and condition.upward != condition.closed):
                return not condition.upward
        if self.low is not None:
            order = exact.compare(condition.bound, at(self.low, channel))
            if order < 0 or (order == 0 and condition.upward == condition.closed):
                return condition.upward
        return condition

    def pull_bounds(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return enclosures of the pulled-back bounds; NaN where only exact arithmetic can tell."""
        if self.high is not None:
            ceiling_low, ceiling_high = _enclosures(self.high)
            low, high = _decided(low, high, low > ceiling_high, np.inf, high < ceiling_low)
        if self.low is not None:
            floor_low, floor_high = _enclosures(self.low)
            low, high = _decided(low, high, high < floor_low, -np.inf, low > floor_high)
        return low, high


@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """``x -> x`` above 0 and ``slope * x`` below, slope at least 0 (PRelu with one slope per channel too)."""

    slope: Params

    @property
    def channels(self) -> int:
        """Number of channels told apart."""
        return len(self.slope)

    def direction(self, channel: int) -> int:
        """Return 1: with slopes of at least 0 the function rises."""
        return 1

    def pull(self, condition: Condition, channel: int) -> Answer:
        """Return the condition on x under which the condition holds for the function's value."""
        slope = at(self.slope, channel)
        if exact.sign(condition.bound) >= 0 and (exact.sign(condition.bound) > 0 or exact.sign(slope) > 0):
            return condition
        if exact.sign(slope) == 0:
            return Clip((Fraction(0),), None).pull(condition, channel)
        return Condition(condition.bound / slope, condition.closed, condition.upward)

    def pull_bounds(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return enclosures of the pulled-back bounds; NaN where only exact arithmetic can tell."""
        slope_low, slope_high = _enclosures(self.slope)
        flat = slope_high == 0
        divisor_low, divisor_high = np.where(flat, 1.0, slope_low), np.where(flat, 1.0, slope_high)
        negative = high < 0
        scaled_low = np.where(flat, -np.inf, _down(np.minimum(low / divisor_low, low / divisor_high)))
        scaled_high = np.where(flat, -np.inf, _up(np.maximum(high / divisor_low, high / divisor_high)))
        new_low = np.where(negative, scaled_low, np.where(low > 0, low, np.nan))
        new_high = np.where(negative, scaled_high, np.where(low > 0, high, np.nan))
        return new_low, new_high


@dataclass(frozen=True, slots=True)
class Curve:
    """A strictly rising function by its ONNX name: Sigmoid, Tanh, Softplus, Softsign, or Elu with its alpha."""

    name: str
    alpha: Fraction = Fraction(1)

    @property
    def channels(self) -> int:
        """Return 1: the function is the same for every channel."""
        return 1

    def direction(self, channel: int) -> int:
        """Return 1: every curve rises."""
        return 1

    def limits(self) -> tuple[Fraction | None, Fraction | None]:
        """Return the bounds that the value approaches and never takes; None for an unbounded side."""
        match self.name:
            case "Sigmoid":
                return Fraction(0), Fraction(1)
            case "Tanh" | "Softsign":
                return Fraction(-1), Fraction(1)
            case "Softplus":
                return Fraction(0), None
            case "Elu":
                return -self.alpha, None
        raise AssertionError(f"unknown curve {self.name}")

    def pull(self, condition: Condition, channel: int) -> Answer:
        """Return the condition on x under which the condition holds for the function's value."""
        low, high = self.limits()
        if low is not None and exact.compare(condition.bound, low) <= 0:
            return condition.upward
        if high is not None and exact.compare(condition.bound, high) >= 0:
            return not condition.upward
        return Condition(self._inverse(condition.bound), condition.closed, condition.upward)

    def _inverse(self, y: Real) -> Real:
        match self.name:
            case "Sigmoid":
                return exact.logarithm(y / (1 - y))
            case "Tanh":
                return exact.logarithm((1 + y) / (1 - y)) * Fraction(1, 2)
            case "Softsign":
                return y / (1 - y) if exact.sign(y) >= 0 else y / (1 + y)
            case "Softplus":
                return exact.logarithm(exact.exponential(y) - 1)
        return y if exact.sign(y) >= 0 else exact.logarithm(y / self.alpha + 1)

    def pull_bounds(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return enclosures of the pulled-back bounds; NaN where only exact arithmetic can tell."""
        floor, ceiling = self.limits()
        always = high < float(floor) if floor is not None else np.zeros(low.shape, bool)
        never = low > float(ceiling) if ceiling is not None else np.zeros(low.shape, bool)
        inside = np.ones(low.shape, bool)
        if floor is not None:  # close to the floor, the rounding of y / alpha would be blown up by the logarithm
            inside &= low > float(floor) + (1e-3 * float(self.alpha) if self.name == "Elu" else 1e-12)
        if ceiling is not None:
            inside &= high < float(ceiling) - 1e-12
        middle = np.where(inside, low, 0.5), np.where(inside, high, 0.5)
        pulled = [self._inverse_float(side) for side in middle]
        margins = [1e-12 * (1 + np.abs(side)) for side in pulled]
        outside = np.where(always, -np.inf, np.where(never, np.inf, np.nan))
        decided = inside & ~always & ~never
        return np.where(decided, pulled[0] - margins[0], outside), np.where(decided, pulled[1] + margins[1], outside)

    def _inverse_float(self, y: FloatArray) -> FloatArray:
        match self.name:
            case "Sigmoid":
                return np.log(y) - np.log1p(-y)
            case "Tanh":
                return np.asarray(np.arctanh(y))
            case "Softsign":
                return np.asarray(y / (1 - np.abs(y)))
            case "Softplus":
                return y + np.log(-np.expm1(-y))
        return np.asarray(np.where(y >= 0, y, np.log1p(np.minimum(y, 0) / float(self.alpha))))


@dataclass(frozen=True, slots=True)
class GridValue:
    """``k -> the float32 nearest to what the integer k stands for``: what a float32 model sees at its input."""

    grid: Grid

    @property
    def channels(self) -> int:
        """Number of channels told apart."""
        return self.grid.channels

    def direction(self, channel: int) -> int:
        """Return 1: scales are positive, and rounding to float32 keeps the order."""
        return 1

    def linear(self) -> Affine:
        """Return the rational line that the float32 numbers follow."""
        grid, count = self.grid, self.grid.channels
        gain = tuple(Fraction(grid.exact(1, c) - grid.exact(0, c)) for c in range(count))
        return Affine(gain, tuple(grid.exact(0, c) for c in range(count)))

    def is_linear(self) -> bool:
        """Return whether every integer's rational is itself a float32 number."""
        low, high = self.grid.integers
        if high - low > 1 << 24:
            return False
        for channel in range(self.channels):
            gain = self.grid.exact(1, channel) - self.grid.exact(0, channel)
            zero = self.grid.exact(0, channel)
            if any(f.denominator & (f.denominator - 1) or f.denominator.bit_length() > 120 for f in (gain, zero)):
                return False
            step = Fraction(1, max(gain.denominator, zero.denominator))
            largest = max(abs(self.grid.exact(low, channel)), abs(self.grid.exact(high, channel)))
            if largest / step < 1 << 24:
                continue
            numbers = [self.grid.exact(k, channel) for k in range(low, min(high, low + _MAX_LISTED) + 1)]
            if high - low > _MAX_LISTED or any(Fraction(float(nearest_float32(n))) != n for n in numbers):
                return False
        return True

    def pull(self, condition: Condition, channel: int) -> Answer:
        """Return the condition on k under which the condition holds for the float32 number."""
        gain = self.grid.exact(1, channel) - self.grid.exact(0, channel)
        k = exact.floor((condition.bound - self.grid.exact(0, channel)) / gain)

        def below(j: int) -> bool:  # the number of j lies below an upward condition (or fulfils a downward one)
            order = exact.compare(Fraction(float(nearest_float32(self.grid.exact(j, channel)))), condition.bound)
            return order < 0 or (order == 0 and condition.closed != condition.upward)

        step = 1
        while below(k):
            k, step = k + step, step * 2
        low = k - 1
        step = 1
        while not below(low):
            k, low, step = low, low - step, step * 2
        while k - low > 1:
            middle = (k + low) // 2
            if below(middle):
                low = middle
            else:
                k = middle
        return Condition(Fraction(k), closed=condition.upward, upward=condition.upward)

    def pull_bounds(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return enclosures of the pulled-back bounds; NaN where only exact arithmetic can tell."""
        margin = 2.0**-23
        with np.errstate(over="ignore"):
            wide_low = low - np.where(np.isfinite(low), np.abs(low) * margin + 1e-44, 0.0)
            wide_high = high + np.where(np.isfinite(high), np.abs(high) * margin + 1e-44, 0.0)
        return self.linear().pull_bounds(wide_low, wide_high)


Step = Affine | Clip | LeakyRelu | Curve | GridValue
Chain = tuple[Step, ...]


def then(chain: Chain, step: Step) -> Chain:
    """Return the chain followed by one more step; neighbouring affine steps become one where that stays exact."""
    if chain and isinstance(chain[-1], Affine) and isinstance(step, Affine):
        merged = _merged(chain[-1], step)
        if merged is not None:
            return (*chain[:-1], merged)
    return (*chain, step)


def chain_channels(chain: Chain) -> int:
    """Return how many channels a chain tells apart."""
    return max((step.channels for step in chain), default=1)


def chain_direction(chain: Chain, channel: int) -> tuple[int, bool]:
    """Return 1 or -1 as the chain rises or falls on a channel (its constant steps left out), and whether it has any."""
    direction, constant = 1, False
    for step in chain:
        sign = step.direction(channel)
        constant |= sign == 0
        direction *= sign or 1
    return direction, constant


def pull_back(chain: Chain, condition: Condition, channel: int) -> Answer:
    """Return the condition on the chain's input under which the condition holds for its output."""
    answer: Answer = condition
    for step in reversed(chain):
        if isinstance(answer, bool):
            return answer
        answer = step.pull(answer, channel)
    return answer


def pull_bounds_back(chain: Chain, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return enclosures ``[C, L]`` of the pulled-back bounds; +-inf where settled, NaN where undecided."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for step in reversed(chain):
            low, high = step.pull_bounds(low, high)
    return low, high


def on_channel(chain: Chain, channel: int) -> Chain:
    """Return the chain of one channel alone."""
    return mapped(chain, lambda params: (at(params, channel),))


def mapped(chain: Chain, move: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Chain:
    """Return the chain with every list of per-channel parameters (longer than one) rewritten by ``move``."""

    def each(params: tuple[Any, ...]) -> tuple[Any, ...]:
        return move(params) if len(params) > 1 else params

    result: list[Step] = []
    for step in chain:
        match step:
            case Affine(gain, offset):
                result.append(Affine(each(gain), each(offset)))
            case Clip(low, high):
                result.append(Clip(None if low is None else each(low), None if high is None else each(high)))
            case LeakyRelu(slope):
                result.append(LeakyRelu(each(slope)))
            case GridValue(grid):
                parts = (each(grid.scale), each(grid.zero_point), each(grid.offset))
                result.append(GridValue(Grid(grid.datatype, *parts)))
            case _:
                result.append(step)
    return tuple(result)


def as_affine(chain: Chain) -> Affine | None:
    """Return the chain as one affine step, or None if it is more than that."""
    result = Affine((Fraction(1),), (Fraction(0),))
    for step in chain:
        linear = step.linear() if isinstance(step, GridValue) else step
        if not isinstance(linear, Affine):
            return None
        result = compose(result, linear)
    return result


def compose(first: Affine, second: Affine) -> Affine:
    """Return ``second`` after ``first`` as one affine step, whatever kind of number it takes."""
    count = max(first.channels, second.channels)
    gain = tuple(at(first.gain, c) * at(second.gain, c) for c in range(count))
    offset = tuple(at(first.offset, c) * at(second.gain, c) + at(second.offset, c) for c in range(count))
    return Affine(shared(gain), shared(offset))


def shared(params: Sequence[Real]) -> Params:
    """Return the parameters with equal entries collapsed into one."""
    first = params[0]
    return (first,) if all(p == first for p in params[1:]) else tuple(params)


def _merged(first: Affine, second: Affine) -> Affine | None:
    merged = compose(first, second)
    return None if any(isinstance(p, exact.Expression) for p in (*merged.gain, *merged.offset)) else merged


def _enclosures(params: Params) -> tuple[FloatArray, FloatArray]:
    bounds = np.asarray([exact.float_bounds(p) if p != 0 else (0.0, 0.0) for p in params], np.float64)
    return bounds[:, :1], bounds[:, 1:]


def _decided(
    low: FloatArray, high: FloatArray, settled: npt.NDArray[np.bool_], value: float, unchanged: npt.NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    rest = np.where(settled, value, np.nan)
    return np.where(unchanged, low, rest), np.where(unchanged, high, rest)


def _down(x: FloatArray) -> FloatArray:
    return np.where(np.isinf(x), x, np.nextafter(x, -np.inf))


def _up(x: FloatArray) -> FloatArray:
    return np.where(np.isinf(x), x, np.nextafter(x, np.inf))

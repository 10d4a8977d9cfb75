"""Sums, products and averages: bounds from the bounds of the operands and the number of terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qonnx_core.passes.datatypes.call import Call
from qonnx_core.passes.datatypes.facts import (
    Fact,
    NotInferred,
    Numbers,
    as_scale,
    common_grid,
    from_container,
    integers,
    rounded,
    united,
    with_signs,
)
from qonnx_core.passes.datatypes.movement import Rule

Scale = NDArray[np.float64] | None


def times(a: Numbers, b: Numbers, scale: Scale) -> Numbers:
    """Return the bounds of products, on a grid with this scale."""
    ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return Numbers(min(ends), max(ends), scale, a.odd and b.odd, a.scaled or b.scaled)


def plus(a: Numbers, b: Numbers) -> Numbers:
    """Return the bounds of sums.

    Raises:
        NotInferred: the grids differ.
    """
    (left, right), grid = common_grid([a, b])
    return grid.derived(left.low + right.low, left.high + right.high)


def negated(a: Numbers) -> Numbers:
    """Return the bounds of the negative numbers."""
    return a.derived(-a.high, -a.low, odd=a.odd)


def summed(a: Numbers, count: int) -> Numbers:
    """Return the bounds of sums of so many of these numbers."""
    return a.derived(a.low * count, a.high * count)


def averaged(a: Numbers, count: int) -> Numbers:
    """Return the numbers that averages of ``count`` of these can be: the scale becomes finer by that factor."""
    if count < 1:
        raise NotInferred("an average of nothing has no value")
    scaled = a.scaled or count & (count - 1) != 0
    return replace(summed(a, count), scale=None if a.scale is None else np.asarray(a.scale / count), scaled=scaled)


def add(call: Call) -> Fact:
    """Return the sum of two or more inputs."""
    if not call.node.inputs:
        raise NotInferred("it has no inputs")
    total, *others = call.all_numbers()
    for other in others:
        total = plus(total, other)
    return rounded(total, call.dtype, max(1, len(others)))


def subtract(call: Call) -> Fact:
    """Return the difference."""
    return rounded(plus(call.numbers(0), negated(call.numbers(1))), call.dtype)


def multiply(call: Call) -> Fact:
    """Return the product; a constant on no grid scales the other operand."""
    for data, constant in ((0, 1), (1, 0)):
        factor = call.array(constant)
        if factor is not None and (call.known(constant) is None or _is_power_of_two(factor)):
            return _scaled(call.numbers(data), factor)
    a, b = call.numbers(0), call.numbers(1)
    return rounded(times(a, b, product_scale(a.scale, b.scale)), call.dtype)


def product_scale(a: Scale, b: Scale) -> Scale:
    """Return the scale of elementwise products."""
    if a is None or b is None:
        return None
    try:
        return np.asarray(a * b)
    except ValueError as error:
        raise NotInferred("the scales do not broadcast") from error


def divide(call: Call) -> Fact:
    """Return the quotient by a constant, which makes the scale finer."""
    divisor = call.array(1)
    if divisor is None:
        raise NotInferred("the divisor is computed")
    if divisor.dtype.kind in "iu":
        raise NotInferred("quotients of integers are cut, which is not followed")
    with np.errstate(divide="ignore"):
        return _scaled(call.numbers(0), 1.0 / divisor.astype(np.float64))


def _scaled(data: Numbers, factor: NDArray[np.float64]) -> Numbers:
    size, positive, negative = as_scale(factor)
    low, high = with_signs(data.low, data.high, positive, negative)
    exact = size.ndim == 0 and np.frexp(size)[0] == 0.5
    return Numbers(low, high, product_scale(data.scale, size), data.odd, data.scaled or not exact)


def _is_power_of_two(array: NDArray[Any]) -> bool:
    """Return whether all entries are the same power of two, positive or negative."""
    first = np.abs(np.ravel(array)[:1].astype(np.float64))
    return first.size == 1 and bool(np.all(array == np.ravel(array)[0])) and bool(np.frexp(first[0])[0] == 0.5)


def negate(call: Call) -> Fact:
    """Return the negative numbers."""
    return rounded(negated(call.numbers(0)), call.dtype)


def absolute(call: Call) -> Fact:
    """Return the absolute numbers."""
    data = call.numbers(0)
    if data.low >= 0:
        return data
    top = max(-data.low, data.high)
    return rounded(data.derived(1 if data.odd else 0, top, odd=data.odd), call.dtype)


def sign(call: Call) -> Fact:
    """Return -1, 0 and 1; without 0 where the numbers are odd or not negative numbers and 0."""
    data = call.known(0)
    if not isinstance(data, Numbers):
        return integers(-1, 1)
    low, high = (int(np.sign(end)) for end in (data.low, data.high))
    return integers(low, high, odd=data.odd)


def _nearest(number: float) -> int:
    return round(number)


_TO_WHOLE: dict[str, Callable[[float], int]] = {"Floor": math.floor, "Ceil": math.ceil, "Round": _nearest}


def whole(call: Call) -> Fact:
    """Return the numbers rounded to whole ones."""
    data = call.numbers(0)
    if data.step is None:
        raise NotInferred("the rounding of a scale that is no power of two is not followed")
    if data.step >= 1:
        return data
    rounding: Callable[[float], int] = _TO_WHOLE[call.node.op_type]
    return integers(rounding(data.low * data.step), rounding(data.high * data.step))


def leaky(call: Call) -> Fact:
    """Return the positive numbers, and the negative ones times a constant slope."""
    data = call.numbers(0)
    if data.low >= 0:
        return data
    positive = data.derived(0, max(0, data.high))
    negative = data.derived(data.low, min(0, data.high))
    if call.node.op_type == "LeakyRelu":
        slope = np.asarray(call.number("alpha", 0.01), np.float64)
        return united([positive, _scaled(negative, slope)])
    factor = call.numbers(1)
    return united([positive, times(negative, factor, product_scale(data.scale, factor.scale))])


def single_scale(fact: Numbers, name: str | None, axes: str) -> NDArray[np.float64]:
    """Return the one scale of a tensor.

    Raises:
        NotInferred: it has several, or one that is not known.
    """
    if fact.scale is None or fact.scale.ndim:
        raise NotInferred(f"{name} has several scales along {axes}, whose products are on no common grid")
    return fact.scale


def reduce_sum(call: Call) -> Fact:
    """Return the sum along axes."""
    data = call.numbers(0)
    count = _count(call)
    single_scale(data, call.value(0).name, "the axes summed over")
    return rounded(summed(data, count), call.dtype, count)


def reduce_mean(call: Call) -> Fact:
    """Return the average along axes."""
    data = call.numbers(0)
    count = _count(call)
    if from_container(call.dtype) is not None:
        raise NotInferred("averages of integers are cut, which is not followed")
    single_scale(data, call.value(0).name, "the axes averaged over")
    return rounded(averaged(data, count), call.dtype, count)


def _count(call: Call) -> int:
    axes = call.axes(1)
    if not axes:
        if call.integer("noop_with_empty_axes", 0):
            return 1
        axes = tuple(range(call.rank(0)))
    return math.prod(call.size(0, axis) for axis in axes)


def global_average(call: Call) -> Fact:
    """Return the average of every channel; the scales of channels stay."""
    data = call.numbers(0)
    axes = range(2, call.rank(0))
    count = math.prod(call.size(0, axis) for axis in axes)
    scale = channel_scale(data, call.rank(0), call.value(0).name)
    return rounded(averaged(replace(data, scale=scale), count), call.dtype, count)


def channel_scale(data: Numbers, rank: int, name: str | None) -> NDArray[np.float64]:
    """Return a scale that does not change along the spatial axes of ``(N, C, ...)``.

    Raises:
        NotInferred: it does, or is not known.
    """
    if data.scale is not None:
        wide = data.scale.reshape((1,) * (rank - data.scale.ndim) + data.scale.shape) if data.scale.ndim else data.scale
        if wide.ndim == 0 or all(size == 1 for size in wide.shape[2:]):
            return wide
    raise NotInferred(f"{name} has several scales along spatial axes")


def average_pool(call: Call) -> Fact:
    """Return the average of windows that all have the same number of terms."""
    data = call.numbers(0)
    count = math.prod(call.integers("kernel_shape"))
    has_pads = any(call.integers("pads")) or call.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if call.integer("ceil_mode", 0) or (has_pads and not call.integer("count_include_pad", 0)):
        raise NotInferred("windows at the border average fewer numbers")
    scale = channel_scale(data, call.rank(0), call.value(0).name)
    low, high = (min(0, data.low), max(0, data.high)) if has_pads else (data.low, data.high)
    return rounded(averaged(replace(data, low=low, high=high, scale=scale), count), call.dtype, count)


def accumulated(products: Numbers, count: int, *, padded: bool = False) -> Numbers:
    """Return the bounds of sums of up to ``count`` products; with padding, some of them may be 0."""
    low, high = products.low, products.high
    if padded:
        low, high = min(0, low), max(0, high)
    return products.derived(low * count, high * count)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sum"), add),
    **dict.fromkeys(("Ceil", "Floor", "Round"), whole),
    **dict.fromkeys(("LeakyRelu", "PRelu"), leaky),
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Neg": negate,
    "Abs": absolute,
    "Sign": sign,
    "ReduceSum": reduce_sum,
    "ReduceMean": reduce_mean,
    "GlobalAveragePool": global_average,
    "AveragePool": average_pool,
}

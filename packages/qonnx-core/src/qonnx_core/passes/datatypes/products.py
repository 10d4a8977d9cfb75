"""Matrix products and convolutions: an accumulator that holds K products of the operands' ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qonnx_core.passes.datatypes.arithmetic import accumulated, plus, single_scale, times
from qonnx_core.passes.datatypes.call import Call
from qonnx_core.passes.datatypes.facts import Fact, NotInferred, Numbers, as_scale, from_array, rounded, with_signs
from qonnx_core.passes.datatypes.movement import Rule

Scales = NDArray[np.float64]


def matmul(call: Call) -> Fact:
    """Return the sums of K products; the scales may change along rows of the left and columns of the right operand."""
    a, b = call.numbers(0), call.numbers(1)
    left, right = _matrix_scales(call, a, b)
    return _sum(call, times(a, b, np.asarray(left * right)), call.size(0, -1))


def _matrix_scales(call: Call, a: Numbers, b: Numbers) -> tuple[Scales, Scales]:
    names = [call.value(index).name for index in (0, 1)]
    if (a.scale is None or a.scale.ndim == 0) and (b.scale is None or b.scale.ndim == 0):
        return single_scale(a, names[0], "the K of a product"), single_scale(b, names[1], "the K of a product")
    rank_a, rank_b = call.rank(0), call.rank(1)
    if rank_a < 2 or rank_b < 2 or a.scale is None or b.scale is None:
        raise NotInferred("a scale per channel is not known")
    return _without(a.scale, rank_a, -1, names[0]), _without(b.scale, rank_b, -2, names[1])


def _without(scale: Scales, rank: int, axis: int, name: str | None) -> Scales:
    """Return a scale of full rank that is the same all along one axis."""
    if scale.ndim == 0:
        return scale
    wide = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
    if wide.shape[axis] != 1:
        raise NotInferred(f"{name} has several scales along the K of a product")
    return wide


def _sum(call: Call, products: Numbers, count: int, bias: int | None = None, *, padded: bool = False) -> Fact:
    total = accumulated(products, count, padded=padded)
    if bias is not None and call.has(bias):
        fact = call.numbers(bias)
        if total.scale is not None and total.scale.ndim and fact.scale is not None and fact.scale.ndim == 1:
            fact = replace(fact, scale=fact.scale.reshape((-1, *(1,) * (total.scale.ndim - 1))))
        total = plus(total, fact)
    return rounded(total, call.dtype, count + 1)


def gemm(call: Call) -> Fact:
    """Return ``alpha * A B + beta * C``."""
    a, b = (_transposed(call.numbers(i), call.integer(name, 0)) for i, name in ((0, "transA"), (1, "transB")))
    left, right = (
        _without(_known(fact.scale), 2, axis, call.value(index).name)
        for index, (fact, axis) in enumerate(((a, -1), (b, -2)))
    )
    count = call.size(0, 0 if call.integer("transA", 0) else 1)
    total = accumulated(times(a, b, np.asarray(left * right)), count)
    total = _multiplied(total, call.number("alpha", 1.0))
    if call.has(2) and call.number("beta", 1.0) != 0:
        total = plus(total, _multiplied(call.numbers(2), call.number("beta", 1.0)))
    return rounded(total, call.dtype, count + 3)


def _known(scale: Scales | None) -> Scales:
    if scale is None:
        raise NotInferred("a scale per channel is not known")
    return scale


def _transposed(fact: Numbers, wanted: int) -> Numbers:
    if not wanted or fact.scale is None or fact.scale.ndim == 0:
        return fact
    wide = fact.scale.reshape((1,) * (2 - fact.scale.ndim) + fact.scale.shape)
    return replace(fact, scale=wide.T)


def _multiplied(fact: Numbers, factor: float) -> Numbers:
    if factor == 1.0:
        return fact
    known = from_array(np.asarray(factor, np.float32))
    if known is not None:
        return times(fact, known, None if fact.scale is None or known.scale is None else fact.scale * known.scale)
    size, positive, negative = as_scale(np.asarray(factor))
    low, high = with_signs(fact.low, fact.high, positive, negative)
    return Numbers(low, high, None if fact.scale is None else np.asarray(fact.scale * size), scaled=True)


def conv(call: Call) -> Fact:
    """Return the sums of all products of a window; the weights may have a scale for each output channel."""
    x, w = call.numbers(0), call.numbers(1)
    shape = call.shape(1)
    per_channel = output_scale(w, len(shape), 0, call.value(1).name)
    scale = single_scale(x, call.value(0).name, "the channels that a convolution sums over") * per_channel
    return _sum(call, times(x, w, np.asarray(scale)), math.prod(shape[1:]), 2, padded=True)


def output_scale(w: Numbers, rank: int, axis: int, name: str | None) -> Scales:
    """Return the scale of weights per output channel, as it stands before ``(C, 1, 1)``: one or C numbers.

    Raises:
        NotInferred: it changes along another axis, or is not known.
    """
    scale = _known(w.scale)
    if scale.ndim == 0:
        return scale
    wide = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
    if any(size != 1 for index, size in enumerate(wide.shape) if index != axis):
        raise NotInferred(f"{name} has several scales along axes that the product sums over")
    return wide.reshape((-1, *(1,) * (rank - 2)))


def conv_transpose(call: Call) -> Fact:
    """Return the sums of the products that meet in one place: of all input channels, and of taps a stride apart."""
    x, w = call.numbers(0), call.numbers(1)
    shape = call.shape(1)
    rank, group = len(shape), call.integer("group", 1)
    strides = call.integers("strides") or (1,) * (rank - 2)
    dilations = call.integers("dilations") or (1,) * (rank - 2)
    if rank < 3 or group < 1 or {len(strides), len(dilations)} != {rank - 2} or min(*strides, *dilations) < 1:
        raise NotInferred("its attributes do not fit its weights")
    per_channel = output_scale(w, rank, 1, call.value(1).name)
    if per_channel.ndim and group > 1:
        raise NotInferred("scales per output channel of several groups are not followed")
    scale = single_scale(x, call.value(0).name, "the channels that a convolution sums over") * per_channel
    count = shape[0] // group * _meeting(shape[2:], strides, dilations)
    return _sum(call, times(x, w, np.asarray(scale)), count, 2, padded=True)


def _meeting(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> int:
    apart = [stride // math.gcd(stride, dilation) for stride, dilation in zip(strides, dilations, strict=True)]
    return math.prod(-(-size // step) for size, step in zip(kernel, apart, strict=True))


def conv_channels_last(call: Call) -> Fact:
    """Return the same for data ``(N, ..., C)`` and weights ``(O, ..., C / group)``."""
    x, w = call.numbers(0), call.numbers(1)
    shape = call.shape(1)
    per_channel = output_scale(w, len(shape), 0, call.value(1).name)
    scale = single_scale(x, call.value(0).name, "the channels that a convolution sums over") * per_channel.reshape(
        (-1,) if per_channel.ndim else ()
    )
    return _sum(call, times(x, w, np.asarray(scale)), math.prod(shape[1:]), 2, padded=True)


def integer_product(call: Call) -> Fact:
    """Return the sums of products of integers that have their zero points subtracted (MatMulInteger, ConvInteger)."""
    operands = []
    for index in (0, 1):
        data = call.numbers(index)
        if call.has(index + 2):
            zero = call.numbers(index + 2)
            data = data.derived(data.low - zero.high, data.high - zero.low)
        operands.append(data)
    a, b = operands
    is_conv = call.node.op_type == "ConvInteger"
    count = math.prod(call.shape(1)[1:]) if is_conv else call.size(0, -1)
    return _sum(call, times(a, b, np.asarray(1.0)), count, padded=is_conv)


RULES: dict[str, Rule] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MatMulInteger": integer_product,
    "ConvInteger": integer_product,
}

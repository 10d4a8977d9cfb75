"""Random layers for random graphs: convolutions, matrix products, pooling, joins and arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from qonnx_core.testing.graph_writer import SIGNIFICAND, Array, GraphWriter, Tensor
from qonnx_core.testing.random_quantizers import activation, weights

_MOST_STEPS = 2.0**20  # what a tensor may reach without a quantizer before the next layer


def dense(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after MatMul or Gemm, with weights that can be transposed and a bias."""
    rows, columns = x.shape[1], writer.choose([2, 3, 4, 6, 8])
    x = fine_enough(writer, x, rows, exact, version)
    form = writer.choose(["MatMul", "MatMul", "Transpose", "Gemm", "GemmB"])
    turned = form in ("Transpose", "GemmB")
    w, grid, bound = weights(writer, (columns, rows) if turned else (rows, columns), 0 if turned else 1, exact)
    out = sum_of(x, grid, bound, rows)
    shape = (1, columns)
    if form.startswith("Gemm"):
        bias = bias_for(writer, out, (columns,)) if writer.chance(0.6) else None
        extra = [w] if bias is None else [w, writer.constant(bias)]
        most = 0.0 if bias is None else float(np.abs(bias).max())
        attributes = {"transB": int(turned)}
        return writer.same(x, "Gemm", extra, shape=shape, attributes=attributes, **widened(out, most))
    if turned:
        w = writer.node("Transpose", [w], (rows, columns), fixed=True, perm=[1, 0])
    y = writer.same(x, "MatMul", [w], shape=shape, **widened(out, 0.0))
    return _biased(writer, y, (columns,)) if writer.chance(0.4) else y


def conv(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after a convolution: pointwise, 3x3, padded, strided, dilated, grouped or depthwise."""
    channels, spatial = x.shape[1], x.shape[2:]
    kernel = tuple(writer.choose([size for size in (1, 2, 3) if size <= extent]) for extent in spatial)
    group = writer.choose([number for number in range(1, channels + 1) if channels % number == 0])
    group = writer.choose([1, 1, group, channels])
    filters = group * (writer.pick(1, 2) if group > 1 else writer.choose([2, 3, 4, 6]))
    terms = channels // group * math.prod(kernel)
    x = fine_enough(writer, x, terms, exact, version)
    stride = tuple(writer.choose([1, 1, 2]) for _ in kernel)
    dilation = tuple(2 if size > 1 and 2 * (size - 1) + 1 <= extent and writer.chance(0.1) else 1
                     for size, extent in zip(kernel, spatial, strict=True))  # fmt: skip
    same = writer.chance(0.4)
    before = [size // 2 if same else writer.choose([0, 0, 1]) if size > 1 else 0 for size in kernel]
    after = [(size - 1) // 2 if same else pad for size, pad in zip(kernel, before, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": list(kernel), "strides": list(stride), "group": group}
    attributes |= {"pads": before + after, "dilations": list(dilation)}
    if not any(before + after) and writer.chance(0.3):
        del attributes["pads"]
    if group == 1 and writer.chance(0.3):
        del attributes["group"]
    w, grid, bound = weights(writer, (filters, channels // group, *kernel), 0, exact)
    out = sum_of(x, grid, bound, terms)
    bias = bias_for(writer, out, (filters,)) if writer.chance(0.4) else None
    sizes = tuple(
        (extent + first + last - d * (size - 1) - 1) // step + 1
        for extent, first, last, d, size, step in zip(spatial, before, after, dilation, kernel, stride, strict=True)
    )
    extra = [w] if bias is None else [w, writer.constant(bias)]
    most = 0.0 if bias is None else float(np.abs(bias).max())
    return writer.same(x, "Conv", extra, shape=(1, filters, *sizes), attributes=attributes, **widened(out, most))


def batch_norm(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    """Return the tensor after a batch norm; exact ones have a variance plus epsilon that is a power of four."""
    channels, generator = x.shape[1], writer.generator
    epsilon = 2.0**-10
    if exact:
        roots = 2.0 ** generator.integers(-1, 2, channels)
        variance = roots**2 - epsilon
        gain = generator.choice([-2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 3.0], channels)
        mean = generator.integers(-4, 5, channels) * 2.0**x.grid
        grid = x.grid - 2
        offset = generator.integers(-8, 9, channels) * 2.0**grid
    else:
        variance = generator.uniform(0.3, 2.0, channels)
        roots, grid = np.sqrt(variance + epsilon), x.grid
        gain, mean, offset = (
            generator.normal(1, 0.6, channels),
            generator.normal(0, 1, channels),
            generator.normal(0, 0.5, channels),
        )
    end = float(((x.bound + np.abs(mean)) * np.abs(gain) / roots + np.abs(offset)).max())
    parameters = [writer.constant(array.astype(np.float32)) for array in (gain, offset, mean, variance)]
    attributes = {"epsilon": epsilon}
    return writer.same(x, "BatchNormalization", parameters, grid=grid, low=-end, high=end, attributes=attributes)


def constant_arithmetic(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    """Return the tensor after Add, Sub, Mul or Div with a constant on either side, one or per channel."""
    op_type = writer.choose(["Add", "Sub", "Mul", "Div"])
    shape = (x.shape[1],) + (1,) * (len(x.shape) - 2) if writer.chance(0.5) else ()
    generator = writer.generator
    first = False
    if op_type in ("Add", "Sub"):
        array = np.asarray(generator.integers(-8, 9, shape) * 2.0**x.grid)
        end = x.bound + float(np.abs(array).max())
        changes: dict[str, Any] = {"low": -end, "high": end}
        first = writer.chance(0.3)
    else:
        exponents = np.asarray(generator.integers(-1, 2, shape))
        array = generator.choice([-1.0, 1.0, 1.0], shape) * 2.0**exponents
        end = x.bound * 2
        changes = {"grid": x.grid - 1, "low": -end, "high": end}
        first = op_type == "Mul" and writer.chance(0.3)
    if not exact:
        array = array * generator.uniform(0.8, 1.2)
    constant = writer.constant(np.asarray(array, np.float32))
    if not first:
        return writer.same(x, op_type, [constant], **changes)
    value = writer.node(op_type, [constant, x.value], x.shape)
    return replace(x, value=value, quantized=None, **changes)


def join(writer: GraphWriter, tensors: list[Tensor], x: Tensor) -> Tensor:
    """Return the sum with an earlier tensor of the same shape, or its concatenation with one of the same image size."""
    alike = [other for other in tensors[-6:] if other.shape == x.shape]
    beside = [other for other in tensors[-6:] if other.shape[2:] == x.shape[2:] and len(other.shape) == len(x.shape)]
    if alike and writer.chance(0.7):
        other = writer.choose(alike)
        grid, end = min(x.grid, other.grid), x.bound + other.bound
        if math.ldexp(end, -grid) <= _MOST_STEPS:
            return writer.same(x, "Add", [other.value], grid=grid, low=x.low + other.low, high=x.high + other.high)
    if beside and x.shape[1] <= 8:
        other = writer.choose(beside)
        shape = (1, x.shape[1] + other.shape[1], *x.shape[2:])
        grid, ends = min(x.grid, other.grid), (min(x.low, other.low), max(x.high, other.high))
        if math.ldexp(max(abs(end) for end in ends), -grid) <= _MOST_STEPS:
            return writer.same(
                x, "Concat", [other.value], shape=shape, grid=grid, low=ends[0], high=ends[1], attributes={"axis": 1}
            )
    return writer.same(x, "Add", [x.value], low=2 * x.low, high=2 * x.high)


def split_and_join(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the channels in two parts, one of them rectified, and put together the other way round."""
    channels = x.shape[1]
    if channels < 2:
        return x
    first = channels // 2 if channels % 2 == 0 else writer.pick(1, channels - 1)
    shapes = [(1, size, *x.shape[2:]) for size in (first, channels - first)]
    if channels % 2 == 0 and writer.chance(0.5):
        parts = writer.nodes_of("Split", [x.value], shapes, axis=1, num_outputs=2)
    else:
        parts = writer.nodes_of("Split", [x.value, writer.ints(first, channels - first)], shapes, axis=1)
    rectified = writer.node("Relu", [parts[0]], shapes[0])
    value = writer.node("Concat", [parts[1], rectified], x.shape, axis=1)
    return replace(x, value=value, low=min(0.0, x.low), high=max(0.0, x.high), quantized=None)


def transposed(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    """Return the tensor after arithmetic with the channels on the last axis, between two Transpose nodes."""
    if len(x.shape) == 2:
        return writer.same(x, "Relu", low=max(0.0, x.low), high=max(0.0, x.high))
    rank = len(x.shape)
    perm = [0, *range(2, rank), 1]
    last = writer.same(x, "Transpose", shape=tuple(x.shape[axis] for axis in perm), attributes={"perm": perm})
    array = np.asarray(writer.generator.integers(-8, 9, x.shape[1]) * 2.0**x.grid, np.float32)
    end = x.bound + float(np.abs(array).max())
    last = writer.same(last, "Add", [writer.constant(array)], low=-end, high=end)
    back = [0, rank - 1, *range(1, rank - 1)]
    return writer.same(last, "Transpose", shape=x.shape, attributes={"perm": back})


def average(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    """Return the tensor after AveragePool or GlobalAveragePool; exact ones average a power of two of elements."""
    spatial = x.shape[2:]
    count = math.prod(spatial)
    if (not exact or count & (count - 1) == 0) and writer.chance(0.5):
        grid = x.grid - math.ceil(math.log2(count)) if count > 1 else x.grid
        return writer.same(x, "GlobalAveragePool", shape=(*x.shape[:2], *(1 for _ in spatial)), grid=grid)
    kernel = [2 if extent >= 2 else 1 for extent in spatial]
    stride = writer.pick(1, 2)
    sizes = tuple((extent - size) // stride + 1 for extent, size in zip(spatial, kernel, strict=True))
    attributes = {"kernel_shape": kernel, "strides": [stride] * len(spatial)}
    return writer.same(
        x, "AveragePool", shape=(*x.shape[:2], *sizes), grid=x.grid - len(spatial), attributes=attributes
    )


def pad(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor padded in space by a number of its grid."""
    rank = len(x.shape)
    before, after = ([writer.pick(0, 1) for _ in x.shape[2:]] for _ in range(2))
    number = writer.choose([0.0, 0.0, 2.0**x.grid])
    shape = (*x.shape[:2], *(a + b + c for a, b, c in zip(before, x.shape[2:], after, strict=True)))
    pads = writer.ints(0, 0, *before, 0, 0, *after)
    extra = [pads] if number == 0 and writer.chance(0.5) else [pads, *writer.numbers(number)]
    assert rank == len(shape)
    return writer.same(
        x, "Pad", extra, shape=shape, low=min(x.low, number), high=max(x.high, number), attributes={"mode": "constant"}
    )


def fine_enough(writer: GraphWriter, x: Tensor, terms: int, exact: bool, version: int) -> Tensor:
    """Return the tensor, quantized where a sum of so many products with weights could leave float32's integers."""
    coarsest_weights = 2.0**7  # steps of the widest weights here, with scales per channel
    if not exact or x.steps * coarsest_weights * terms <= SIGNIFICAND / 4:
        return x
    return activation(writer, x, exact, version, bits=3)


def sum_of(x: Tensor, grid: int, bound: float, terms: int) -> Tensor:
    """Return what is known of a sum of so many products with weights of this grid and bound."""
    end = x.bound * bound * terms
    return replace(x, grid=x.grid + grid, low=-end, high=end)


def widened(x: Tensor, more: float) -> dict[str, Any]:
    """Return what is known of a tensor to which numbers of up to this magnitude are added."""
    return {"grid": x.grid, "low": x.low - more, "high": x.high + more}


def bias_for(writer: GraphWriter, out: Tensor, shape: tuple[int, ...]) -> Array:
    """Return numbers on the grid of a sum that leave it room for exact float32."""
    most = max(1, int(min(out.steps / 4, 64)))
    return np.asarray(writer.generator.integers(-most, most + 1, shape) * 2.0**out.grid, np.float32)


def _biased(writer: GraphWriter, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    bias = bias_for(writer, x, shape)
    return writer.same(x, "Add", [writer.constant(bias)], **widened(x, float(np.abs(bias).max())))

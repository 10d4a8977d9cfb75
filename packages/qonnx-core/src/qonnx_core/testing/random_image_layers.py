"""Random layers on signals, images and volumes in every form that exporters write them in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qonnx_core.ops.windows import ceiled_size
from qonnx_core.testing.graph_writer import QONNX, GraphWriter, Tensor
from qonnx_core.testing.random_layers import bias_for, fine_enough, sum_of, widened
from qonnx_core.testing.random_quantizers import activation, weights


def any_conv(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after a convolution of any groups and strides, with uneven or automatic padding or dilation."""
    channels, spatial = x.shape[1], x.shape[2:]
    kernel = [writer.choose([size for size in (1, 2, 3) if size <= extent]) for extent in spatial]
    group = writer.choose([1, 1, channels, *(n for n in range(1, channels + 1) if channels % n == 0)])
    filters = group * writer.pick(1, 2) if group > 1 else writer.choose([2, 3, 4])
    terms = channels // group * math.prod(kernel)
    x = fine_enough(writer, x, terms, exact, version)
    attributes, sizes = _window(writer, spatial, kernel)
    attributes |= {"group": group} if group > 1 or writer.chance(0.3) else {}
    w, grid, bound = weights(writer, (filters, channels // group, *kernel), 0, exact)
    return _summed(writer, x, "Conv", [w], sum_of(x, grid, bound, terms), (1, filters, *sizes), attributes)


def patches(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after a convolution of windows that lie side by side, as at the front of a transformer."""
    channels, spatial = x.shape[1], x.shape[2:]
    kernel = [2 if extent % 2 == 0 else 1 for extent in spatial]
    terms = channels * math.prod(kernel)
    x = fine_enough(writer, x, terms, exact, version)
    filters = writer.pick(2, 4)
    w, grid, bound = weights(writer, (filters, channels, *kernel), 0, exact)
    sizes = [extent // step for extent, step in zip(spatial, kernel, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": kernel}
    return _summed(writer, x, "Conv", [w], sum_of(x, grid, bound, terms), (1, filters, *sizes), attributes)


def conv_transpose(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after a transposed convolution with strides, groups and cropping."""
    channels, spatial = x.shape[1], x.shape[2:]
    kernel = [writer.pick(1, 3) for _ in spatial]
    group = writer.choose([1, 1, *(n for n in range(1, channels + 1) if channels % n == 0)])
    terms = channels // group * math.prod(kernel)
    x = fine_enough(writer, x, terms, exact, version)
    strides = [writer.choose([1, 2]) if extent <= 4 else 1 for extent in spatial]
    begin, end = ([writer.pick(0, (size - 1) // 2) for size in kernel] for _ in range(2))
    more = [writer.pick(0, step - 1) for step in strides]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": begin + end, "group": group}
    attributes |= {"output_padding": more} if any(more) else {}
    per_group = writer.pick(1, 2)
    w, grid, bound = weights(writer, (channels, per_group, *kernel), 1, exact)
    sizes = [
        step * (extent - 1) + extra + size - first - last
        for extent, size, step, extra, first, last in zip(spatial, kernel, strides, more, begin, end, strict=True)
    ]
    shape = (1, per_group * group, *sizes)
    return _summed(writer, x, "ConvTranspose", [w], sum_of(x, grid, bound, terms), shape, attributes)


def any_pool(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor after MaxPool or AveragePool with rounding up, uneven or automatic padding, and dilation.

    Windows of averages are of 1 or 2 along each axis, so that their elements are powers of two in number.
    """
    spatial = x.shape[2:]
    average = writer.chance(0.4)
    most = 2 if average else 3
    kernel = [writer.pick(1, min(most, extent)) for extent in spatial]
    attributes, sizes = _window(writer, spatial, kernel, pooling=True, dilates=not average)
    if average:
        attributes |= {"count_include_pad": 1} if writer.chance(0.5) else {}
        shape = (*x.shape[:2], *sizes)
        low, high = min(x.low, 0.0), max(x.high, 0.0)
        grid = x.grid - len(spatial)
        return writer.same(x, "AveragePool", shape=shape, grid=grid, low=low, high=high, attributes=attributes)
    return writer.same(x, "MaxPool", shape=(*x.shape[:2], *sizes), attributes=attributes)


def whole_image(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor after the largest or the sum of all pixels, which stand for the image as one pixel."""
    shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
    count = math.prod(x.shape[2:])
    axes = list(range(2, len(x.shape)))
    form = writer.choose(["GlobalMaxPool", "ReduceMax", "ReduceSum", "ReduceSum", "squeezed"])
    if form == "GlobalMaxPool":
        return writer.same(x, form, shape=shape)
    if form != "squeezed":
        factor = count if form == "ReduceSum" else 1
        changes = {"low": min(x.low * factor, x.low), "high": max(x.high * factor, x.high)}
        return writer.same(x, form, [writer.ints(*axes)], shape=shape, attributes={"keepdims": 1}, **changes)
    flat = writer.same(x, "ReduceMax", [writer.ints(*axes)], shape=x.shape[:2], attributes={"keepdims": 0})
    return writer.same(flat, "Unsqueeze", [writer.ints(*axes)], shape=shape)


def upsampled(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor larger: repeated pixels and a convolution, or a convolution and its channels as pixels."""
    if len(x.shape) != 4 or max(x.shape[2:]) > 8:
        return x
    if x.shape[1] % 4 == 0 and writer.chance(0.3):
        return _depth_to_space(writer, x)
    channels, block = x.shape[1], 2
    kernel = writer.choose([1, 3])
    terms = channels * kernel**2
    x = fine_enough(writer, x, terms * block**2, exact, version)
    filters = writer.pick(1, 3)
    attributes = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
    if writer.chance(0.5):
        w, grid, bound = weights(writer, (filters * block**2, channels, kernel, kernel), 0, exact)
        shape = (1, filters * block**2, *x.shape[2:])
        y = writer.same(x, "Conv", [w], shape=shape, attributes=attributes, **widened(sum_of(x, grid, bound, terms), 0))
        return _depth_to_space(writer, y)
    sizes = tuple(size * block for size in x.shape[2:])
    larger = writer.same(
        x,
        "Resize",
        [None, writer.constant(np.asarray([1, 1, block, block], np.float32))],
        shape=(*x.shape[:2], *sizes),
        attributes={"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    )
    w, grid, bound = weights(writer, (filters, channels, kernel, kernel), 0, exact)
    known = widened(sum_of(x, grid, bound, terms), 0)
    return writer.same(larger, "Conv", [w], shape=(1, filters, *sizes), attributes=attributes, **known)


def branches(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return two pointwise convolutions of the tensor side by side; half of the first may be of zeros only."""
    channels = x.shape[1]
    x = fine_enough(writer, x, channels, exact, version)
    parts = []
    for _ in range(2):
        filters = writer.pick(1, 3)
        w, grid, bound = weights(writer, (filters, channels, *(1 for _ in x.shape[2:])), 0, exact)
        known = widened(sum_of(x, grid, bound, channels), 0.0)
        y = writer.same(x, "Conv", [w], shape=(1, filters, *x.shape[2:]), **known)
        parts.append(writer.same(y, "Relu", low=max(0.0, y.low), high=max(0.0, y.high)) if writer.chance(0.5) else y)
    shape = (1, sum(part.shape[1] for part in parts), *x.shape[2:])
    ends = {"low": min(part.low for part in parts), "high": max(part.high for part in parts)}
    grid = min(part.grid for part in parts)
    return writer.same(parts[0], "Concat", [parts[1].value], shape=shape, grid=grid, attributes={"axis": 1}, **ends)


def with_zero_channels(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after two convolutions; some filters of the first hold zeros only, as pruning leaves them."""
    channels, ones = x.shape[1], [1 for _ in x.shape[2:]]
    x = fine_enough(writer, x, channels * 4, exact, version)
    raw = writer.generator.integers(-2, 3, (4, channels, *ones)).astype(np.float32)
    raw[[writer.pick(0, 1), writer.pick(2, 3)]] = 0
    known = widened(sum_of(x, 0, 2.0, channels), 0.0)
    y = writer.same(x, "Conv", [writer.constant(raw, "weights")], shape=(1, 4, *x.shape[2:]), **known)
    y = writer.same(y, "Relu", low=max(0.0, y.low), high=max(0.0, y.high))
    y = fine_enough(writer, y, 4, exact, version)
    w, grid, bound = weights(writer, (3, 4, *ones), 0, exact)
    return writer.same(y, "Conv", [w], shape=(1, 3, *x.shape[2:]), **widened(sum_of(y, grid, bound, 4), 0.0))


def squeeze_excite(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the channels times factors that follow from the largest pixel of each."""
    x = activation(writer, x, exact, version, bits=3)
    factors = activation(writer, writer.same(x, "GlobalMaxPool", shape=(*x.shape[:2], *(1 for _ in x.shape[2:]))),
                         exact, version, bits=2)  # fmt: skip
    end = x.bound * factors.bound
    return writer.same(x, "Mul", [factors.value], grid=x.grid + factors.grid, low=-end, high=end)


def quant_avg_pool(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the sums of windows of the tensor as whole numbers of 0 to 15, cut to fewer bits."""
    if len(x.shape) != 4 or min(x.shape[2:]) < 2:
        return x
    attributes = {"signed": 0, "narrow": 0, "rounding_mode": "ROUND"}
    value = writer.node("Quant", [x.value, *writer.numbers(1, 0, 4)], x.shape, domain=QONNX, **attributes)
    x = writer.remember(replace(x, value=value, grid=0, low=0.0, high=15.0, quantized=None))
    stride = writer.pick(1, 2)
    shape = (*x.shape[:2], *((size - 2) // stride + 1 for size in x.shape[2:]))
    window = {"stride": stride, "kernel": 2, "ibits": 4, "obits": writer.pick(2, 6), "signed": 0}
    attributes = {"domain": QONNX, "data_layout": "NCHW", **window}
    return writer.same(x, "QuantAvgPool2d", shape=shape, grid=0, low=0.0, high=63.0, attributes=attributes)


def _depth_to_space(writer: GraphWriter, x: Tensor) -> Tensor:
    shape = (1, x.shape[1] // 4, *(size * 2 for size in x.shape[2:]))
    attributes = {"blocksize": 2, "mode": writer.choose(["DCR", "CRD"])}
    return writer.same(x, "DepthToSpace", shape=shape, attributes=attributes)


def _summed(
    writer: GraphWriter, x: Tensor, op_type: str, extra: list[Any], out: Tensor, shape: tuple[int, ...],
    attributes: dict[str, Any],
) -> Tensor:  # fmt: skip
    """Return what the operator makes of the tensor, with a bias or without."""
    bias = bias_for(writer, out, (shape[1],)) if writer.chance(0.4) else None
    inputs = extra if bias is None else [*extra, writer.constant(bias)]
    most = 0.0 if bias is None else float(np.abs(bias).max())
    return writer.same(x, op_type, inputs, shape=shape, attributes=attributes, **widened(out, most))


def _window(
    writer: GraphWriter, spatial: Sequence[int], kernel: Sequence[int], *, pooling: bool = False, dilates: bool = True
) -> tuple[dict[str, Any], list[int]]:
    """Return attributes of a window of this kernel, of which some may be left out, and the sizes of the result."""
    strides = [writer.choose([1, 1, 2, 3]) for _ in kernel]
    dilations = [
        2 if dilates and size > 1 and 2 * size - 1 <= extent and writer.chance(0.3) else 1
        for size, extent in zip(kernel, spatial, strict=True)
    ]
    reach = [step * (size - 1) + 1 for step, size in zip(dilations, kernel, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": list(kernel)} if pooling or writer.chance(0.7) else {}
    attributes |= {"strides": strides} if max(strides) > 1 or writer.chance(0.3) else {}
    attributes |= {"dilations": dilations} if max(dilations) > 1 else {}
    mode = writer.choose(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
    fits = max(dilations) == 1 and all(step <= size for step, size in zip(strides, kernel, strict=True))
    if mode.startswith("SAME") and fits:  # onnxruntime computes these, and others in other ways or not
        attributes["auto_pad"] = mode
        return attributes, [-(-extent // step) for extent, step in zip(spatial, strides, strict=True)]
    begin, end = ([writer.pick(0, 1) if size > 1 else 0 for size in kernel] for _ in range(2))
    if mode == "VALID":
        attributes["auto_pad"] = mode
        begin, end = [0] * len(kernel), [0] * len(kernel)
    elif any(begin + end) or writer.chance(0.3):
        attributes["pads"] = begin + end
    free = [extent + first + last - size
            for extent, first, last, size in zip(spatial, begin, end, reach, strict=True)]  # fmt: skip
    sizes = [number // step + 1 for number, step in zip(free, strides, strict=True)]
    if pooling and mode == "NOTSET" and writer.chance(0.4):
        rounded = [-(-number // step) + 1 for number, step in zip(free, strides, strict=True)]
        # onnxruntime refuses some models with a window that starts in the padding at the end.
        if rounded == list(map(ceiled_size, spatial, kernel, strides, begin, end, dilations)):
            attributes["ceil_mode"] = 1
            sizes = rounded
    return attributes, sizes

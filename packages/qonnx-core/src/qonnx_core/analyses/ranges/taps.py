"""Which elements of a window lie inside the tensor: near its border some of them are padding."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges.operation import Operation
from qonnx_core.errors import Unsupported
from qonnx_core.ops.windows import Window, read_window

Mask = npt.NDArray[np.bool_]

#: Windows of more patterns times elements than this are bounded without looking at each pattern.
_MAX_PATTERNS = 1 << 22


def window_of(op: Operation, kernel: tuple[int, ...], sizes: tuple[int | None, ...]) -> Window:
    """Return the window of an ONNX node over spatial axes of these sizes; raises Unsupported where it is not known."""
    window = read_window(op.node, kernel, sizes)
    if isinstance(window, str):
        raise Unsupported(window)
    return window


def can_leave(window: Window) -> bool:
    """Return whether a window can reach beyond the tensor."""
    return window.ceil or any(window.pads)


def axis_patterns(window: Window, axis: int, size: int) -> tuple[Mask, Mask]:
    """Return for each window along an axis which elements lie in the tensor, and which in the padded tensor."""
    kernel, stride, dilation = window.kernel[axis], window.strides[axis], window.dilations[axis]
    begin, end = window.begins[axis], window.ends[axis]
    count = window.count(axis, size)
    if count is None or count < 1:
        raise Unsupported("its window is larger than the padded tensor")
    places = np.arange(count)[:, None] * stride - begin + np.arange(kernel)[None, :] * dilation
    inside = (places >= 0) & (places < size)
    return inside, (places >= -begin) & (places < size + end)


def patterns(window: Window, sizes: tuple[int | None, ...]) -> Mask | None:
    """Return the different patterns ``[P, kernel elements]`` of elements in the tensor; None where not listed."""
    if not can_leave(window):
        return np.ones((1, window.num_elements), bool)
    if any(size is None for size in sizes):
        return None
    axes = [np.unique(axis_patterns(window, a, int(s or 0))[0], axis=0) for a, s in enumerate(sizes)]
    if prod(len(axis) for axis in axes) * window.num_elements > _MAX_PATTERNS:
        return None
    return reduce(_outer, axes)


def transposed_window_of(op: Operation, kernel: tuple[int, ...], sizes: tuple[int | None, ...]) -> Window | None:
    """Return the window of a ConvTranspose; None where its padding depends on sizes that are not known.

    Padding that follows from the size of the result has its odd element at the end for SAME_UPPER, else at the
    beginning (ONNX, operator ConvTranspose); none is below 0.
    """
    axes = len(kernel)
    window = read_window(op.node, kernel, sizes, automatic=False)
    if isinstance(window, str):
        raise Unsupported(window)
    mode, wanted = op.text("auto_pad", "NOTSET"), op.integers("output_shape")
    if not wanted and mode in ("", "NOTSET", "VALID"):
        return window
    if any(size is None for size in sizes):
        return None
    strides, added = window.strides, op.integers("output_padding") or [0] * axes
    known = [int(size or 0) for size in sizes]
    results = wanted[-axes:] if wanted else [n * stride for n, stride in zip(known, strides, strict=True)]
    begins, ends = [], []
    for axis, size in enumerate(known):
        extent = window.dilations[axis] * (kernel[axis] - 1) + 1
        total = max(0, (size - 1) * strides[axis] + added[axis] + extent - results[axis])
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return replace(window, pads=(*begins, *ends))


def transposed_patterns(window: Window, sizes: tuple[int | None, ...], results: tuple[int | None, ...]) -> Mask | None:
    """Return the patterns of kernel elements that reach an output of a transposed convolution; None where not known."""
    if len(results) != len(sizes) or any(size is None for size in (*sizes, *results)):
        return None
    axes = []
    for a, (size, result) in enumerate(zip(sizes, results, strict=True)):
        places = np.arange(int(result or 0))[:, None] + window.begins[a]
        places = places - np.arange(window.kernel[a])[None, :] * window.dilations[a]
        source = places // window.strides[a]
        inside = (places % window.strides[a] == 0) & (source >= 0) & (source < int(size or 0))
        axes.append(np.unique(inside, axis=0))
    if prod(len(axis) for axis in axes) * window.num_elements > _MAX_PATTERNS:
        return None
    return reduce(_outer, axes)


def _outer(a: Mask, b: Mask) -> Mask:
    return np.asarray((a[:, None, :, None] & b[None, :, None, :]).reshape(len(a) * len(b), -1))

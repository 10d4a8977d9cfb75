"""Which elements of a window lie inside the tensor: near its border some of them are padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt

from qonnx_core.analyses.ranges.operation import Operation
from qonnx_core.errors import Unsupported
from qonnx_core.ops.windows import same_pads

Mask = npt.NDArray[np.bool_]

#: Windows of more patterns times elements than this are bounded without looking at each pattern.
_MAX_PATTERNS = 1 << 22


@dataclass(frozen=True)
class Windows:
    """Kernel, strides, dilations and padding of an operator with sliding windows, one number for each spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    ceil: bool = False

    @property
    def count(self) -> int:
        """Number of elements of a window."""
        return prod(self.kernel)

    @property
    def padded(self) -> bool:
        """Whether a window can reach beyond the tensor."""
        return self.ceil or any(self.begins) or any(self.ends)


def windows_of(op: Operation, kernel: tuple[int, ...], sizes: tuple[int | None, ...]) -> Windows:
    """Return the windows of an ONNX node over spatial axes of these sizes."""
    axes = len(kernel)
    strides = tuple(op.integers("strides", [1] * axes) or ())
    dilations = tuple(op.integers("dilations", [1] * axes) or ())
    pads = op.integers("pads", [0] * 2 * axes) or [0] * 2 * axes
    mode = op.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        automatic = same_pads(sizes, kernel, strides, dilations, upper=mode == "SAME_UPPER")
        if automatic is None:
            raise Unsupported("auto_pad with an axis of unknown size")
        pads = list(automatic)
    elif mode == "VALID":
        pads = [0] * 2 * axes
    ceil = bool(op.integer("ceil_mode", 0))
    return Windows(kernel, strides, dilations, tuple(pads[:axes]), tuple(pads[axes:]), ceil)


def axis_patterns(windows: Windows, axis: int, size: int) -> tuple[Mask, Mask]:
    """Return for each window along an axis which elements lie in the tensor, and which in the padded tensor."""
    kernel, stride, dilation = windows.kernel[axis], windows.strides[axis], windows.dilations[axis]
    begin, end = windows.begins[axis], windows.ends[axis]
    room = size + begin + end - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if windows.ceil else room // stride) + 1
    if windows.ceil and (count - 1) * stride >= size + begin:
        count -= 1
    if count < 1:
        raise Unsupported("its window is larger than the padded tensor")
    places = np.arange(count)[:, None] * stride - begin + np.arange(kernel)[None, :] * dilation
    inside = (places >= 0) & (places < size)
    return inside, (places >= -begin) & (places < size + end)


def patterns(windows: Windows, sizes: tuple[int | None, ...]) -> Mask | None:
    """Return the different patterns ``[P, kernel elements]`` of elements in the tensor; None where not listed."""
    if not windows.padded:
        return np.ones((1, windows.count), bool)
    if any(size is None for size in sizes):
        return None
    axes = [np.unique(axis_patterns(windows, a, int(s or 0))[0], axis=0) for a, s in enumerate(sizes)]
    if prod(len(axis) for axis in axes) * windows.count > _MAX_PATTERNS:
        return None
    return reduce(_outer, axes)


def transposed_patterns(
    windows: Windows, sizes: tuple[int | None, ...], results: tuple[int | None, ...]
) -> Mask | None:
    """Return the patterns of kernel elements that reach an output of a transposed convolution."""
    if any(size is None for size in (*sizes, *results)):
        return None
    axes = []
    for a, (size, result) in enumerate(zip(sizes, results, strict=True)):
        places = np.arange(int(result or 0))[:, None] + windows.begins[a]
        places = places - np.arange(windows.kernel[a])[None, :] * windows.dilations[a]
        source = places // windows.strides[a]
        inside = (places % windows.strides[a] == 0) & (source >= 0) & (source < int(size or 0))
        axes.append(np.unique(inside, axis=0))
    if prod(len(axis) for axis in axes) * windows.count > _MAX_PATTERNS:
        return None
    return reduce(_outer, axes)


def _outer(a: Mask, b: Mask) -> Mask:
    return np.asarray((a[:, None, :, None] & b[None, :, None, :]).reshape(len(a) * len(b), -1))

"""The window of a convolution or pooling with everything written out that ONNX lets a node leave out."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ops.windows import same_pads


@dataclass(frozen=True)
class Window:
    """Kernel, strides and dilations, one number per spatial axis; pads hold all begins, then all ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def num_axes(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def is_pointwise(self) -> bool:
        """Whether every output sees exactly the one input at its own place."""
        return not any(self.pads) and all(number == 1 for number in (*self.kernel, *self.strides))

    def with_axis(self) -> Window:
        """Return the window with one more spatial axis behind the others, along which it does not reach."""
        axes = self.num_axes
        pads = (*self.pads[:axes], 0, *self.pads[axes:], 0)
        return Window((*self.kernel, 1), (*self.strides, 1), (*self.dilations, 1), pads)


def window_of(node: ir.Node, *, automatic: bool = True) -> Window | str:
    """Return the window of a Conv, MaxPool, AveragePool or ConvTranspose, or the reason why it is not known.

    ``auto_pad`` becomes numbers: ``VALID`` is no padding; ``SAME_UPPER`` and ``SAME_LOWER`` pad so that there are
    ``ceil(size / stride)`` outputs, the odd one at the end or at the beginning (ONNX, operator Conv). The size of the
    image has to be known for that, unless the stride is 1. Without ``automatic`` it is left out, and the pads are 0.
    """
    kernel = _kernel(node)
    if kernel is None:
        return "the size of its kernel is not known; infer shapes, or write kernel_shape"
    axes = len(kernel)
    strides = tuple(node.attributes.get_ints("strides") or (1,) * axes)
    dilations = tuple(node.attributes.get_ints("dilations") or (1,) * axes)
    pads = tuple(node.attributes.get_ints("pads") or (0,) * (2 * axes))
    if not (len(strides) == len(dilations) == axes and len(pads) == 2 * axes):
        return f"kernel, strides, dilations and pads do not belong to the same number of axes ({axes})"
    mode = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    if mode == "VALID":
        pads = (0,) * (2 * axes)
    elif mode != "NOTSET" and automatic:
        data = node.inputs[0]
        sizes = None if data is None or data.shape is None else list(data.shape)[2:]
        found = same_pads(sizes, kernel, strides, dilations, upper=mode == "SAME_UPPER")
        if found is None:
            return f"auto_pad is {mode} and the size of the image is not fixed; write pads instead"
        pads = found
    if any(pad < 0 for pad in pads):
        return f"pads are {list(pads)}; expected no negative numbers"
    return Window(kernel, strides, dilations, pads)


def conv_window_of(node: ir.Node, *, channels_last: bool = False, automatic: bool = True) -> Window | str:
    """Return the window of a Conv whose weights are known to fit it, or the reason why there is none."""
    window = window_of(node, automatic=automatic)
    data, weights = node.inputs[:2]
    if isinstance(window, str):
        return window
    if weights is None or weights.shape is None:
        return "the shape of its weights is not known; infer shapes first"
    sizes = list(weights.shape)
    spatial = sizes[1:-1] if channels_last else sizes[2:]
    if len(sizes) != window.num_axes + 2 or spatial != list(window.kernel):
        return f"its weights are {weights.shape} and its kernel is {list(window.kernel)}; expected the same sizes"
    per_group, group = sizes[-1 if channels_last else 1], node.attributes.get_int("group", 1)
    if data is None or data.shape is None or len(data.shape) != len(sizes):
        return f"its data are not known to have {len(sizes)} axes; infer shapes first"
    channels = data.shape[-1 if channels_last else 1]
    whole = isinstance(per_group, int) and isinstance(sizes[0], int)
    if not whole or group < 1 or int(str(sizes[0])) % group:
        return f"its weights are {weights.shape}, which does not fit {group} groups"
    if isinstance(channels, int) and isinstance(per_group, int) and channels != per_group * group:
        return f"its data have {channels} channels and its weights {per_group} in each of {group} groups"
    return window


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    written = node.attributes.get_ints("kernel_shape")
    if written:
        return tuple(written)
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    if weights is None or weights.shape is None:
        return None
    sizes = list(weights.shape)[2:]
    return tuple(size for size in sizes if isinstance(size, int)) if all(isinstance(s, int) for s in sizes) else None

"""The window of a convolution or pooling with everything written out that ONNX lets a node leave out."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.ops.windows import Window, read_window


def window_of(node: ir.Node, *, automatic: bool = True) -> Window | str:
    """Return the window of a Conv, MaxPool, AveragePool or ConvTranspose, or the reason why it is not known.

    ``auto_pad`` becomes numbers, for which the size of the image has to be known, unless the stride is 1. Without
    ``automatic`` SAME_UPPER and SAME_LOWER are left out, and the pads are those that are written.
    """
    kernel = _kernel(node)
    if kernel is None:
        return "the size of its kernel is not known; infer shapes, or write kernel_shape"
    data = node.inputs[0]
    sizes = None if data is None or data.shape is None else list(data.shape)[2:]
    window = read_window(node, kernel, sizes, automatic=automatic)
    if isinstance(window, str):
        return window
    if any(pad < 0 for pad in window.pads):
        return f"pads are {list(window.pads)}; expected no negative numbers"
    return window


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

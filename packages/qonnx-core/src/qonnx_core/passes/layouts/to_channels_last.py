"""The target of channels-last models: ``(N, ..., C)`` for every tensor of 3 to 5 axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.layouts.axes import Axes, channels_last
from qonnx_core.passes.layouts.conversion import Conversion
from qonnx_core.passes.layouts.emitter import stem_of
from qonnx_core.passes.layouts.flattening import convert_flattening, know_absorbing
from qonnx_core.passes.layouts.rules import attributes_of, rule_of
from qonnx_core.passes.layouts.swapped_product import convert_product
from qonnx_core.passes.layouts.window import conv_window_of, window_of

_RANKS = (3, 4, 5)
_LAYOUTS = {3: "NWC", 4: "NHWC", 5: "NDHWC"}
_CHANGES_RANK = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze"))


@dataclass(frozen=True)
class ChannelsLastTarget:
    """Conv, MaxPool and BatchNormalization become those of the channels-last domain, the rest follows.

    AveragePool becomes the sum of each window (a depthwise Conv with ones) divided by the number of its elements, or
    ReduceMean where the window is the whole image; the global pools become ReduceMean and ReduceMax.
    """

    model: ir.Model
    suffix: str = "channels_last"

    def axes(self, rank: int) -> Axes | None:
        """Return ``(N, ..., C)`` for 3 to 5 axes."""
        return channels_last(rank) if rank in _RANKS else None

    def letters(self, layout: tuple[str, ...], axes: Axes) -> tuple[str, ...] | None:
        """Return the letters in the order in which the axes are stored, for channels-last tensors."""
        if axes != self.axes(len(axes)) or len(layout) != len(axes):
            return None
        return tuple(layout[axis] for axis in axes if axis is not None)

    def is_candidate(self, node: ir.Node) -> bool:
        """Return whether the node has a channels-last form, as far as it is known without shapes."""
        return _converter(node, self.model) is not None

    def is_seed(self, node: ir.Node) -> bool:
        """Return whether the node has a channels-last form and can take it."""
        return self.is_candidate(node) and self.refusal(node) is None

    def refusal(self, node: ir.Node) -> str | None:
        """Return why a node with a channels-last form cannot take it, or None where it can or has none."""
        if not self.is_candidate(node):
            return None
        if Conversion.rank(node.inputs[0]) not in _RANKS:
            return "the rank of its data is not 3, 4 or 5, or not known; infer shapes first"
        check = _CHECKS.get(node.op_type) if is_standard(node) else None
        return None if check is None else check(node)

    def prepare(self, conversion: Conversion, nodes: Sequence[ir.Node]) -> None:
        """Find the matrices whose columns may come in any order."""
        know_absorbing(conversion, nodes)

    def convert(self, conversion: Conversion, node: ir.Node) -> bool:
        """Convert a node with a channels-last form, or one that can follow."""
        if self.is_seed(node):
            make = _converter(node, self.model)
            data = node.inputs[0]
            rank = conversion.rank(data)
            assert make is not None
            assert data is not None
            assert rank is not None
            make(conversion, node, conversion.read(data, channels_last(rank), node))
            return True
        done = convert_flattening(conversion, node)
        if done is not None:
            return done
        rule = rule_of(conversion, node)
        return rule(conversion, node) if rule is not None else convert_product(conversion, node)

    def follows(self, conversion: Conversion, node: ir.Node) -> bool:
        """Return whether there is a rule for the node."""
        return (is_standard(node) and node.op_type in _CHANGES_RANK) or rule_of(conversion, node) is not None


_Make = Callable[[Conversion, ir.Node, ir.Value], None]


def _converter(node: ir.Node, model: ir.Model) -> _Make | None:
    rank = Conversion.rank(node.inputs[0]) if node.inputs else None
    if rank is not None and rank < 3:
        return None
    if is_standard(node):
        return _STANDARD.get(node.op_type)
    if node.op_type not in ("MultiThreshold", "QuantAvgPool2d"):
        return None
    op = op_of(node, model.opset_imports)
    if isinstance(op, MultiThreshold):
        return None if op.channels_last else _multithreshold
    return _quant_avg_pool if isinstance(op, QuantAvgPool2d) and op.data_layout == "NCHW" else None


# Checks: why a node cannot be converted


def _no_window(node: ir.Node) -> str | None:
    return _does_not_fit(node, window_of(node))


def _no_conv(node: ir.Node) -> str | None:
    return _does_not_fit(node, conv_window_of(node))


def _does_not_fit(node: ir.Node, window: Window | str) -> str | None:
    if isinstance(window, str):
        return window
    rank = Conversion.rank(node.inputs[0])
    return None if rank == window.num_axes + 2 else f"its kernel has {window.num_axes} axes and its data {rank}"


def _no_max_pool(node: ir.Node) -> str | None:
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "its indices are read, which the channels-last domain does not have"
    automatic = node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "")
    if automatic and node.attributes.get_int("ceil_mode", 0) != 0:
        return "auto_pad and ceil_mode are combined; write pads instead"
    return _no_window(node)


def _no_batch_norm(node: ir.Node) -> str | None:
    trains = node.attributes.get_int("training_mode", 0) != 0 or len(node.outputs) > 1
    return "it is in training mode; export the model for inference" if trains else None


def _no_average_pool(node: ir.Node) -> str | None:
    found = _no_window(node)
    data = node.inputs[0]
    if found is not None or data is None or data.shape is None:
        return found or "the shape of its data is not known; infer shapes first"
    window = window_of(node)
    assert isinstance(window, Window)
    sizes = list(data.shape)[2:]
    fixed = all(isinstance(size, int) for size in sizes)
    if node.attributes.get_int("ceil_mode", 0) != 0 and not (fixed and _divides(window, sizes)):
        return "ceil_mode lets windows reach beyond the image; expected windows that fit"
    if _is_whole(window, sizes):
        return None
    if not isinstance(data.shape[1], int) or data.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return "the number of its channels or the element type of its data is not known; infer shapes first"
    if any(window.pads) and not node.attributes.get_int("count_include_pad", 0) and not fixed:
        return "it leaves out the padding of an image whose size is not fixed; give the input a fixed size"
    return None


def _divides(window: Window, sizes: list[Any]) -> bool:
    return all(
        (size + window.begins[axis] + window.ends[axis] - window.dilations[axis] * (window.kernel[axis] - 1) - 1)
        % window.strides[axis]
        == 0
        for axis, size in enumerate(sizes)
    )


def _is_whole(window: Window, sizes: list[Any]) -> bool:
    return list(window.kernel) == sizes and not any(window.pads) and all(step == 1 for step in window.dilations)


_CHECKS: dict[str, Callable[[ir.Node], str | None]] = {
    "AveragePool": _no_average_pool,
    "BatchNormalization": _no_batch_norm,
    "Conv": _no_conv,
    "MaxPool": _no_max_pool,
}


# The channels-last forms


def _axes_of(node: ir.Node) -> Axes:
    rank = Conversion.rank(node.inputs[0])
    assert rank is not None
    return channels_last(rank)


def _window(node: ir.Node) -> Window:
    window = window_of(node)
    assert isinstance(window, Window), "it was looked at before"
    return window


def _conv(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    axes, window = _axes_of(node), _window(node)
    weights = node.inputs[1]
    assert weights is not None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    inputs = [data, conversion.read(weights, axes, node), None if bias is None else conversion.natural(bias, node)]
    group = node.attributes.get_int("group", 1)
    conversion.replace(node, "Conv", inputs, _conv_attributes(window, group), [axes], domain=CHANNELS_LAST)


def _conv_attributes(window: Window, group: int) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "pads": window.pads,
        "group": group,
    }


def _max_pool(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    window = _window(node)
    attributes: dict[str, Any] = {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "pads": window.pads,
        "ceil_mode": node.attributes.get_int("ceil_mode", 0) or None,
        "dilations": window.dilations if any(step != 1 for step in window.dilations) else None,
    }
    if len(node.outputs) > 1:
        node.resize_outputs(1)
    conversion.replace(node, "MaxPool", [data], attributes, [_axes_of(node)], domain=CHANNELS_LAST)


def _batch_norm(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    inputs = [data, *(None if value is None else conversion.natural(value, node) for value in node.inputs[1:])]
    attributes = {name: node.attributes.get_float(name, default) for name, default in _BATCH_NORM.items()}
    conversion.replace(node, "BatchNormalization", inputs, attributes, [_axes_of(node)], domain=CHANNELS_LAST)


_BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}


def _global(op_type: str) -> _Make:
    def make(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
        axes = _axes_of(node)
        places = conversion.emitter.vector(range(1, len(axes) - 1), f"{stem_of(node)}/axes")
        conversion.replace(node, op_type, [data, places], {"keepdims": 1}, [axes])

    return make


def _average_pool(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    axes, window = _axes_of(node), _window(node)
    source = node.inputs[0]
    assert source is not None
    assert source.shape is not None
    sizes = list(source.shape)[2:]
    if _is_whole(window, sizes):
        _global("ReduceMean")(conversion, node, data)
        return
    channels = source.shape[1]
    assert isinstance(channels, int)
    assert source.dtype is not None
    dtype = source.dtype.numpy()
    stem = stem_of(node)
    ones = conversion.emitter.constant(np.ones((channels, *window.kernel, 1), dtype), f"{stem}/ones")
    total = conversion.emitter.node(
        node,
        "Conv",
        [data, ones],
        _conv_attributes(window, channels),
        stem=f"{stem}/sum",
        outputs=[f"{stem}/total"],
        domain=CHANNELS_LAST,
        source=node,
    ).outputs[0]
    total.type = source.type
    if node.outputs[0].shape is not None:
        total.shape = ir.Shape([node.outputs[0].shape[axis] for axis in axes if axis is not None])
    counts = conversion.emitter.constant(_counts(node, window, sizes).astype(dtype), f"{stem}/counts")
    conversion.replace(node, "Div", [total, counts], {}, [axes])


def _counts(node: ir.Node, window: Window, sizes: list[Any]) -> Any:
    """Return how many elements each window has: one number, or ``(1, ..., 1)`` where padding does not count."""
    if not any(window.pads) or node.attributes.get_int("count_include_pad", 0) != 0:
        return np.asarray(np.prod(window.kernel))
    axes = window.num_axes
    result = np.ones((1,) * (axes + 2))
    for axis in range(axes):
        size, begin, end = sizes[axis], window.begins[axis], window.ends[axis]
        reach = window.dilations[axis] * np.arange(window.kernel[axis])
        last = size + begin + end - int(reach[-1])
        starts = np.arange(0, last, window.strides[axis])
        places = starts[:, None] + reach - begin
        inside = ((places >= 0) & (places < size)).sum(1)
        result = result * inside.reshape([-1 if place == axis + 1 else 1 for place in range(axes + 2)])
    return result


def _multithreshold(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    axes = _axes_of(node)
    inputs = [data, *(None if value is None else conversion.natural(value, node) for value in node.inputs[1:])]
    attributes = attributes_of(node, data_layout=_LAYOUTS[len(axes)])
    conversion.replace(node, node.op_type, inputs, attributes, [axes])


def _quant_avg_pool(conversion: Conversion, node: ir.Node, data: ir.Value) -> None:
    op = op_of(node, conversion.model.opset_imports)
    assert isinstance(op, QuantAvgPool2d)
    attributes = dataclasses.replace(op, data_layout="NHWC").attributes()
    conversion.replace(node, node.op_type, [data], attributes, [_axes_of(node)])


_STANDARD: dict[str, _Make] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "GlobalAveragePool": _global("ReduceMean"),
    "GlobalMaxPool": _global("ReduceMax"),
    "MaxPool": _max_pool,
}

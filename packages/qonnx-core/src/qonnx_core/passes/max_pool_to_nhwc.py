"""Writes MaxPool as MaxPoolNHWC, the form that hardware flows of the format know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.op import DOMAIN
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import graphs_of, is_standard
from qonnx_core.passes.layouts.between_transposes import channels_last_between
from qonnx_core.passes.layouts.emitter import emitters
from qonnx_core.passes.layouts.refusals import refusal_sentences
from qonnx_core.passes.layouts.shapes import know_shapes
from qonnx_core.passes.layouts.window import window_of


@dataclass(frozen=True)
class MaxPoolToNHWC:
    """``MaxPool(x)`` in 2-D becomes ``Transpose(MaxPoolNHWC(Transpose(x)))``.

    A MaxPool of the channels-last domain becomes MaxPoolNHWC without Transposes. Dilated windows, unequal padding on
    two sides and the indices of the maxima are not part of MaxPoolNHWC; such nodes stay, or raise Unsupported with
    ``strict``.
    """

    strict: bool = False
    name: str = "max_pool_to_nhwc"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of MaxPool nodes changed.

        Raises:
            InvalidModel: shapes contradict each other.
            Unsupported: ``strict``, and a MaxPool cannot be written so; with all reasons.
        """
        if not any(_is_max_pool(node) for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        reasons = self.refusals(model)
        if self.strict and reasons:
            raise Unsupported("model: has MaxPool nodes that cannot be written as MaxPoolNHWC", reasons)
        changed = 0
        for emitter in emitters(model):
            for node in list(emitter.graph):
                if not _is_max_pool(node) or isinstance(attributes := _attributes(node, model), str):
                    continue
                if is_standard(node):
                    node.resize_outputs(1)
                    channels_last_between(emitter, node, "MaxPoolNHWC", attributes, DOMAIN)
                else:
                    node.op_type, node.domain = "MaxPoolNHWC", DOMAIN
                    node.attributes.clear()
                    node.attributes.update(
                        {name: ir.convenience.convert_attribute(name, value) for name, value in attributes.items()}
                    )
                changed += 1
        if changed:
            model.opset_imports.setdefault(DOMAIN, 1)
        return changed

    def refusals(self, model: ir.Model) -> list[str]:
        """Return one sentence for each MaxPool that stays as it is, and why."""
        return refusal_sentences(model, lambda node: _refusal(node, model))


def _refusal(node: ir.Node, model: ir.Model) -> str | None:
    attributes = _attributes(node, model) if _is_max_pool(node) else None
    return attributes if isinstance(attributes, str) else None


def _is_max_pool(node: ir.Node) -> bool:
    return node.op_type == "MaxPool" and (is_standard(node) or node.domain == CHANNELS_LAST)


def _attributes(node: ir.Node, model: ir.Model) -> dict[str, Any] | str:
    """Return the attributes of MaxPoolNHWC, or the reason why there are none."""
    data = node.inputs[0]
    if data is None or data.shape is None or len(data.shape) != 4:
        return "its data are not known to have 4 axes; MaxPoolNHWC has 2 spatial ones"
    if data.dtype is not None and not data.dtype.is_floating_point():
        return f"its data are of type {data.dtype.name}; MaxPoolNHWC takes floats"
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "its indices are read, which MaxPoolNHWC does not have"
    ceiled = node.attributes.get_int("ceil_mode", 0)
    if is_standard(node):
        if ceiled and node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", ""):
            return "auto_pad and ceil_mode are combined; write pads instead"
        window = window_of(node)
    else:
        op: Any = op_of(node, model.opset_imports)
        dilations = getattr(op, "dilations", ()) or (1, 1)
        window = Window(op.kernel_shape, op.strides, dilations, op.pads)
    if isinstance(window, str):
        return window
    if any(step != 1 for step in window.dilations):
        return f"dilations are {list(window.dilations)}; expected 1"
    if window.pads[:2] != window.pads[2:]:
        return f"pads are {list(window.pads)}; expected the same on both sides. Put a Pad in front"
    return {
        "kernel_shape": window.kernel,
        "pads": window.pads,
        "strides": window.strides,
        "ceil_mode": int(bool(ceiled)),
    }

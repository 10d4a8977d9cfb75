"""The target of networks on signals that become networks on images: ``(N, C, W)`` stored as ``(N, C, W, 1)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.layouts.axes import LETTERS, Axes
from qonnx_core.passes.layouts.conversion import Conversion
from qonnx_core.passes.layouts.flattening import convert_flattening
from qonnx_core.passes.layouts.rules import attributes_of, rule_of
from qonnx_core.passes.layouts.window import conv_window_of, window_of

_AXES: Axes = (0, 1, 2, None)
_WINDOWS = frozenset(("AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool"))
_SAME = frozenset(("BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization"))
_CHANGES_RANK = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze"))


@dataclass(frozen=True)
class FourAxesTarget:
    """Convolutions, pools and normalizations of signals get a spatial axis of size 1 at the end."""

    model: ir.Model
    suffix: str = "four_axes"

    def axes(self, rank: int) -> Axes | None:
        """Return ``(N, C, W, 1)`` for 3 axes."""
        return _AXES if rank == 3 else None

    def letters(self, layout: tuple[str, ...], axes: Axes) -> tuple[str, ...] | None:
        """Return ``(N, C, H, W)`` for signals ``(N, C, W)``: the added axis is a width of 1."""
        return LETTERS[4] if layout == LETTERS[3] and axes == _AXES else None

    def is_seed(self, node: ir.Node) -> bool:
        """Return whether the node works on a signal and has the same form for images."""
        return self.is_candidate(node) and self.refusal(node) is None

    def refusal(self, node: ir.Node) -> str | None:
        """Return why an operator on a signal cannot become one on an image, or None where it can or is none."""
        if not self.is_candidate(node) or node.op_type not in _WINDOWS:
            return None
        find = conv_window_of if node.op_type == "Conv" else window_of
        window = find(node, automatic=False)
        if isinstance(window, str):
            return window
        weights = Conversion.rank(node.inputs[1]) if node.op_type.startswith("Conv") else 3
        if window.num_axes != 1 or weights != 3:
            return f"its kernel has {window.num_axes} axes and its data 3"
        storage = node.attributes.get_int("storage_order", 0)
        return "it numbers its indices by columns (storage_order 1); expected by rows" if storage else None

    def prepare(self, conversion: Conversion, nodes: Sequence[ir.Node]) -> None:
        """Need nothing: no order of elements changes."""

    def convert(self, conversion: Conversion, node: ir.Node) -> bool:
        """Convert an operator on signals, or one that can follow."""
        if self.is_seed(node):
            _make(conversion, node)
            return True
        done = convert_flattening(conversion, node)
        if done is not None:
            return done
        rule = rule_of(conversion, node)
        return rule is not None and rule(conversion, node)

    def follows(self, conversion: Conversion, node: ir.Node) -> bool:
        """Return whether there is a rule for the node."""
        return (is_standard(node) and node.op_type in _CHANGES_RANK) or rule_of(conversion, node) is not None

    def is_candidate(self, node: ir.Node, *, known: bool = True) -> bool:
        """Return whether the node works on a signal; without ``known`` also where its rank is not known."""
        rank = Conversion.rank(node.inputs[0]) if node.inputs else 0
        if rank != 3 and (known or rank is not None):
            return False
        if is_standard(node):
            return node.op_type in _WINDOWS | _SAME
        op = op_of(node, self.model.opset_imports) if node.op_type == "MultiThreshold" else None
        return isinstance(op, MultiThreshold) and not op.channels_last


def _make(conversion: Conversion, node: ir.Node) -> None:
    data, *rest = node.inputs
    assert data is not None
    attributes: dict[str, Any] = attributes_of(node)
    inputs: list[ir.Value | None] = [conversion.read(data, _AXES, node)]
    if node.op_type in ("Conv", "ConvTranspose"):
        weights = rest.pop(0)
        assert weights is not None
        inputs.append(conversion.read(weights, _AXES, node))
    inputs += [None if value is None else conversion.natural(value, node) for value in rest]
    if node.op_type in _WINDOWS:
        attributes.update(_window(node))
    elif node.op_type == "MultiThreshold" and "data_layout" in attributes:
        attributes["data_layout"] = "NCHW"
    conversion.replace(node, node.op_type, inputs, attributes, [_AXES] * len(node.outputs))


def _window(node: ir.Node) -> dict[str, Any]:
    """Return the attributes of the window with one more axis; automatic padding is written out where it is known."""
    window = window_of(node)
    automatic = node.op_type == "ConvTranspose" and "auto_pad" in node.attributes
    if isinstance(window, str):
        window, automatic = window_of(node, automatic=False), True
    assert isinstance(window, Window), "it was looked at before"
    wide = window.with_axis()
    changed: dict[str, Any] = {"kernel_shape": wide.kernel, "strides": wide.strides, "pads": wide.pads}
    if "dilations" in node.attributes or node.op_type in ("Conv", "ConvTranspose"):
        changed["dilations"] = wide.dilations
    if automatic and node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        changed["pads"] = None
    else:
        changed["auto_pad"] = None
    for name, added in (("output_padding", 0), ("output_shape", 1)):
        numbers = node.attributes.get_ints(name)
        if numbers:
            changed[name] = (*numbers, added)
    return changed

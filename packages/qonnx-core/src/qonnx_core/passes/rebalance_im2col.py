"""Moves neighbouring pixels of one-channel images into channels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ops.im2col import Im2Col
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.layouts.emitter import Emitter, emitters, stem_of
from qonnx_core.passes.layouts.shapes import know_shapes


@dataclass(frozen=True)
class RebalanceIm2Col:
    """``Im2Col(x)`` of ``(N, H, W, 1)`` becomes ``Im2Col'(Reshape(x, (N, H, W / e, e)))``, row by row the same numbers.

    ``e`` is ``extract_channels``; the kernel and the stride along W are divided by it. For hardware that works on many
    channels at once better than on many pixels. Im2Col nodes stay as they are where W, the kernel, the stride or the
    padding along W is no multiple of ``e``, where the windows are dilated along W, or for depthwise convolutions.
    With 1, the default, nothing changes.

    Raises:
        InvalidInput: ``extract_channels`` is less than 1.
    """

    extract_channels: int = 1
    name: str = "rebalance_im2col"

    def __post_init__(self) -> None:
        if self.extract_channels < 1:
            raise InvalidInput(
                f"rebalance_im2col: extract_channels is {self.extract_channels}; expected at least 1. Give a divisor "
                "of the kernel's width."
            )

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Im2Col nodes rebalanced.

        Raises:
            InvalidModel: shapes contradict each other.
        """
        if self.extract_channels == 1:
            return 0
        if not any(node.op_type == "Im2Col" for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        changed = 0
        for emitter in emitters(model):
            for node in list(emitter.graph):
                op = op_of(node, model.opset_imports) if node.op_type == "Im2Col" else None
                data = node.inputs[0] if node.inputs else None
                if isinstance(op, Im2Col) and data is not None and self._fits(op, data):
                    self._rebalance(emitter, node, op, data)
                    changed += 1
        return changed

    def _fits(self, op: Im2Col, data: ir.Value) -> bool:
        if data.shape is None or len(data.shape) != 4 or data.shape[3] != 1 or op.depthwise:
            return False
        sizes = (data.shape[2], op.kernel_size[1], op.stride[1], op.pad_amount[1], op.pad_amount[3])
        whole = all(isinstance(size, int) and size % self.extract_channels == 0 for size in sizes)
        return whole and isinstance(data.shape[1], int) and op.dilations[1] == 1

    def _rebalance(self, emitter: Emitter, node: ir.Node, op: Im2Col, data: ir.Value) -> None:
        assert data.shape is not None
        extracted = self.extract_channels
        height, width = int(str(data.shape[1])), int(str(data.shape[2])) // extracted
        stem = f"{stem_of(node)}/rebalanced"
        target = emitter.vector([0, height, width, extracted], f"{stem}/shape")
        made = emitter.node(
            node, "Reshape", [data, target], stem=f"{stem}/reshape", outputs=[stem], source=node
        ).outputs[0]
        made.type, made.shape = data.type, ir.Shape([data.shape[0], height, width, extracted])
        set_datatype(made, get_datatype(data))
        node.replace_input_with(0, made)
        batch = data.shape[0] if isinstance(data.shape[0], int) else 1
        top, left, bottom, right = op.pad_amount
        changed = dataclasses.replace(
            op,
            kernel_size=(op.kernel_size[0], op.kernel_size[1] // extracted),
            stride=(op.stride[0], op.stride[1] // extracted),
            pad_amount=(top, left // extracted, bottom, right // extracted),
            input_shape=f"({batch},{height},{width},{extracted})",
        )
        for name, value in changed.attributes().items():
            node.attributes[name] = ir.convenience.convert_attribute(name, value)

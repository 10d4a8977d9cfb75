"""Lets QuantAvgPool2d work on channels-last data, as hardware does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.layouts.between_transposes import channels_last_between
from qonnx_core.passes.layouts.emitter import emitters
from qonnx_core.passes.layouts.shapes import know_shapes


@dataclass(frozen=True)
class ChangeDataLayoutQuantAvgPool2d:
    """``QuantAvgPool2d<NCHW>(x)`` becomes ``Transpose(QuantAvgPool2d<NHWC>(Transpose(x)))``; sums of integers stay.

    Other operators are left as they are: :class:`ConvertToChannelsLast` converts a whole model without the Transposes.
    """

    name: str = "change_quant_avg_pool_layout"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of QuantAvgPool2d nodes changed.

        Raises:
            InvalidModel: shapes contradict each other.
        """
        if not any(node.op_type == "QuantAvgPool2d" for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        changed = 0
        for emitter in emitters(model):
            for node in list(emitter.graph):
                if node.op_type != "QuantAvgPool2d" or node.inputs[0] is None or node.inputs[0].shape is None:
                    continue
                op = op_of(node, model.opset_imports)
                if isinstance(op, QuantAvgPool2d) and op.data_layout == "NCHW":
                    attributes = dataclasses.replace(op, data_layout="NHWC").attributes()
                    channels_last_between(emitter, node, "QuantAvgPool2d", attributes, node.domain)
                    changed += 1
        return changed

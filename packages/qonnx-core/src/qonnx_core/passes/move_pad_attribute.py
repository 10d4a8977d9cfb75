"""Brings Pad nodes of old exporters into the form with inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.names import Names
from qonnx_core.passes.base import graphs_of, is_standard, new_constant


@dataclass(frozen=True)
class MovePadAttributeToTensor:
    """``Pad<pads, value>(x)``, the form before opset 11, becomes ``Pad(x, pads, value)``: the same values.

    :func:`qonnx_core.load` does so while it brings a model to opset 21; this pass is for models that come from
    elsewhere, also those that keep the attribute in an opset that no longer has it.
    """

    name: str = "move_pad_attribute_to_tensor"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of Pad nodes changed."""
        names = Names(model.graph)
        moved = 0
        for graph in graphs_of(model):
            for node in graph:
                if node.op_type != "Pad" or not is_standard(node) or "pads" not in node.attributes:
                    continue
                pads = node.attributes.pop("pads").as_ints()
                fill = node.attributes.pop("value", None)
                x = node.inputs[0]
                dtype = np.float32 if x is None or x.dtype is None else x.dtype.numpy()
                name = node.name or node.outputs[0].name
                inputs = [new_constant(graph, f"{name}/pads", np.asarray(pads, np.int64), names)]
                if fill is not None:
                    value = np.asarray(fill.as_float(), dtype)
                    inputs.append(new_constant(graph, f"{name}/value", value, names))
                node.resize_inputs(1 + len(inputs))
                for index, constant in enumerate(inputs, 1):
                    node.replace_input_with(index, constant)
                moved += 1
        return moved

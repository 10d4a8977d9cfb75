"""Let a classifier answer with the class index instead of the logits."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import is_standard

_KEEPS_ORDER = frozenset({"Softmax", "LogSoftmax"})


@dataclass(frozen=True)
class AppendArgMax:
    """The one output ``(N, C)`` becomes the index of its largest element, ``(N, 1)``; ties go to the lowest index.

    A final Softmax over the last axis is dropped: it keeps the order. The output keeps its name.
    """

    name: str = "append_argmax"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place and return the number of edits.

        Raises:
            Unsupported: when the model has several outputs, or one that is not ``(N, C)``.
        """
        graph = model.graph
        shape = graph.outputs[0].shape if len(graph.outputs) == 1 else None
        if shape is None or len(shape) != 2:
            shapes = ", ".join(f"{value.name} {value.shape}" for value in graph.outputs)
            raise Unsupported(
                f"label select: the model's outputs are {shapes}; expected one output of shape (N, C). "
                "Build without label select, or end the model in ArgMax yourself."
            )
        output = graph.outputs[0]
        producer = output.producer()
        if producer is None:
            raise Unsupported(f"label select: output {output.name} is no node's result; expected logits.")
        standard = is_standard(producer)
        if standard and producer.op_type in ("ArgMax", "TopK"):
            return 0
        name, batch = output.name, shape[0]
        logits = output
        keeps_order = standard and producer.op_type in _KEEPS_ORDER
        if keeps_order and producer.attributes.get_int("axis", -1) in (-1, 1):
            source = producer.inputs[0]
            assert source is not None
            logits = source
        names = Names(graph)
        if logits is output:
            output.name = names.free(f"{name}_logits")
        own = names.free_for_node("ArgMax_label")
        node = ir.node("ArgMax", [logits], attributes={"axis": -1, "keepdims": 1}, name=own)
        label = node.outputs[0]
        label.dtype, label.shape = ir.DataType.INT64, ir.Shape([batch, 1])
        graph.append(node)
        graph.outputs[0] = label
        if logits is not output:
            graph.remove(producer, safe=True)
            output.name = f"{name}_probabilities"
        label.name = name
        return 1

"""Lets a model answer with the indices of its largest outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import is_standard, new_constant


@dataclass(frozen=True)
class InsertTopK:
    """The one output becomes the indices of its ``k`` largest (or smallest) entries along ``axis``, in order.

    Ties go to the lowest index. The output keeps its name; its elements are int64 then.
    """

    k: int = 5
    axis: int = -1
    largest: bool = True
    sorted: bool = True
    name: str = "insert_topk"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return 1, or 0 where the output comes from a TopK already.

        Raises:
            InvalidInput: ``k`` is below 1 or more than the axis has, or there is no such axis.
            Unsupported: the model has several outputs, or its output is no node's result.
        """
        graph = model.graph
        if len(graph.outputs) != 1:
            names = ", ".join(value.name or "" for value in graph.outputs)
            raise Unsupported(f"TopK: the model has outputs {names}; expected one. Append it yourself.")
        output = graph.outputs[0]
        producer = output.producer()
        if producer is None:
            raise Unsupported(f"TopK: output {output.name} is no node's result; expected one. Clean the model first.")
        if producer.op_type == "TopK" and is_standard(producer):
            return 0
        self._check(output)
        name = output.name
        own = Names(graph)
        output.name = own.free(f"{name}_all")
        count = new_constant(graph, f"{name}/k", np.asarray([self.k], np.int64), own)
        attributes = {"axis": self.axis, "largest": int(self.largest), "sorted": int(self.sorted)}
        node = ir.node("TopK", [output, count], attributes, num_outputs=2, name=own.free_for_node(f"TopK_{name}"))
        values, indices = node.outputs
        values.name, indices.name = own.free(f"{name}_values"), name
        values.type, indices.dtype = output.type, ir.DataType.INT64
        if output.shape is not None:
            dims = list(output.shape)
            dims[self.axis] = self.k
            values.shape, indices.shape = ir.Shape(dims), ir.Shape(dims)
        graph.append(node)
        graph.outputs[0] = indices
        return 1

    def _check(self, output: ir.Value) -> None:
        rank = None if output.shape is None else len(output.shape)
        if self.k < 1 or (rank is not None and not -rank <= self.axis < rank):
            raise InvalidInput(
                f"TopK: k is {self.k} and axis {self.axis} of {output.name} {output.shape}; expected k of at least 1 "
                "and an axis of the output."
            )
        size = None if output.shape is None else output.shape[self.axis]
        if isinstance(size, int) and self.k > size:
            raise InvalidInput(f"TopK: k is {self.k}, but {output.name} has {size} entries there; choose fewer.")

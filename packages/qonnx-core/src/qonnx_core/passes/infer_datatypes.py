"""Annotates the outputs of our operators with the data types that follow from their constants."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import graphs_of

_KEEPS_TYPE = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "MaxPool", "Gather"))


@dataclass(frozen=True)
class InferDataTypes:
    """Write ``INT4``, ``BIPOLAR``, ... onto outputs of quantizers, and along operators that move data."""

    name: str = "infer_datatypes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of annotations that changed."""
        changed = 0
        for graph in graphs_of(model):
            for node in graph:
                if not node.outputs:
                    continue
                op = op_of(node, model.opset_imports)
                if op is not None:
                    found = op.datatype(*(constant_array(value) for value in node.inputs))
                    known = None if node.inputs[0] is None else get_datatype(node.inputs[0])
                    if found is None and known is not None and op.keeps_datatype(known):
                        found = known
                elif node.op_type in _KEEPS_TYPE and node.inputs[0] is not None:
                    found = get_datatype(node.inputs[0])
                else:
                    continue
                if found is not None and found != get_datatype(node.outputs[0]):
                    set_datatype(node.outputs[0], found)
                    changed += 1
        return changed

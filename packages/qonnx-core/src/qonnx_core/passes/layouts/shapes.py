"""Makes sure of the shapes that moving axes rests on."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.infer_shapes import InferShapes


def know_shapes(model: ir.Model) -> None:
    """Infer all shapes, and let every initializer have the shape of its data: files can say something else.

    Raises:
        InvalidModel: shapes contradict each other.
    """
    for graph in graphs_of(model):
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and value.shape != tensor.shape:
                value.shape = ir.Shape([int(str(size)) for size in tensor.shape])
                value.dtype = tensor.dtype
    InferShapes().run(model)

"""The clean-up that every road starts with."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.formats.normalize import normalize
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.inline_functions import InlineFunctions


def cleanup_model(model: ir.Model) -> ir.Model:
    """Return a cleaned copy of the model."""
    copy = model.clone()
    normalize(copy)
    InlineFunctions().run(copy)
    InferShapes().run(copy)
    return copy

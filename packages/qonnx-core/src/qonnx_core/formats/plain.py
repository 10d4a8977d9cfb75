"""Writes a model with standard ONNX operators alone, for runtimes that know no others."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.execute.lower import lower
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.remove_unused import RemoveUnused

_STANDARD = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def lower_to_plain_onnx(model: ir.Model) -> ir.Model:
    """Return a copy in which every operator of ours is a few standard nodes; it computes the same values to the bit.

    Quantizers of constants are computed once and stored. Tensors keep their names; grids of weights are no longer
    recorded, so this is a form for deployment, not for further work.

    Raises:
        InvalidModel: the model breaks its format.
        Unsupported: an operator is defined neither by ONNX nor here; lists all of them.
    """
    copy = normalized_copy(model)
    InferShapes().run(copy)
    FoldConstants(quantizers=True).run(copy)
    lower(copy)
    RemoveUnused().run(copy)
    unknown = [node for graph in copy.graphs() for node in graph if node.domain not in _STANDARD]
    if unknown:
        reasons = [f"{node.name or node.outputs[0].name} ({node.domain}::{node.op_type})" for node in unknown]
        raise Unsupported("the model has operators that neither ONNX nor qonnx_core defines:", reasons)
    copy.opset_imports.pop(DOMAIN, None)
    InferShapes().run(copy)
    return copy

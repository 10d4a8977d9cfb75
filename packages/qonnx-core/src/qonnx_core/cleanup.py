"""The clean-up that every road starts with."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import OutputFixPass

from qonnx_core.formats.from_qcdq import from_qcdq, has_qcdq
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ir.verify import verify
from qonnx_core.passes.base import Pass
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.fold_shapes import FoldShapes
from qonnx_core.passes.fold_transpose import FoldTransposeIntoQuantInit
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic
from qonnx_core.passes.name_everything import NameEverything
from qonnx_core.passes.remove_identity import RemoveIdentity
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.sort_graph import SortGraph
from qonnx_core.passes.unshare_parameters import UnshareParameters

# What these change has no influence on the shapes of the tensors that stay, or they infer them themselves.
_KEEP_SHAPES = (MakeBatchSymbolic, NameEverything, RemoveUnused, SortGraph, UnshareParameters)


def cleanup_passes(*, fold_quantizers: bool = False, open_batch: bool = True) -> tuple[Pass, ...]:
    """Return the passes of the clean-up, in order."""
    opened = (MakeBatchSymbolic(),) if open_batch else ()
    return (
        RemoveUnused(),
        SortGraph(),  # names depend on the order before folding too
        InferShapes(),
        FoldConstants(quantizers=fold_quantizers),  # targets of Reshape that are computed from constants
        *opened,
        FoldShapes(),
        FoldConstants(quantizers=fold_quantizers),
        InferShapes(),
        RemoveIdentity(),
        FoldTransposeIntoQuantInit(),
        RemoveUnused(),
        UnshareParameters(),
        SortGraph(),
        NameEverything(),
        InferShapes(),
    )


def cleanup_model(model: ir.Model, *, fold_quantizers: bool = False, open_batch: bool = True) -> ir.Model:
    """Return a cleaned copy of the model, which computes the same values.

    Shapes and element types are inferred, a batch of 1 becomes symbolic where that is provably the same, constants are
    folded, operations without effect and unread tensors removed, and nodes and tensors named by the scheme of the
    format: ``OpType_k``, ``<node>_out<i>``, ``<node>_param<k>``, ``global_in[_i]``, ``global_out[_i]``.

    Chains of QuantizeLinear, Clip and DequantizeLinear become Quant first (see :func:`from_qcdq`): folding the
    constants of such a model would lose the grids of its weights.

    Args:
        model: the model; it is not changed.
        fold_quantizers: also compute quantizers of constants, such as those of weights. They stay by default, because
            they say on which grid the weights are.
        open_batch: let a batch of 1 become symbolic. Without it the batch stays as the file has it, which is what
            ``qonnx`` and FINN want of a file; models run at any batch here in either case.

    Raises:
        InvalidModel: the model breaks its format, or its shapes contradict each other.
    """
    copy = normalized_copy(model)
    if has_qcdq(copy):
        copy = from_qcdq(copy).model
    OutputFixPass()(copy)
    _run(copy, cleanup_passes(fold_quantizers=fold_quantizers, open_batch=open_batch))
    verify(copy)
    return copy


def _run(model: ir.Model, passes: Sequence[Pass]) -> None:
    """Run the passes; shapes are not inferred again where no edit since the last time can have changed one."""
    inferred = False
    for step in passes:
        if isinstance(step, InferShapes):
            if not inferred:
                step.run(model)
            inferred = True
        elif step.run(model) and not isinstance(step, _KEEP_SHAPES):
            inferred = False

"""Makes networks on signals networks on images, which is what hardware flows know."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.layouts.conversion import Conversion
from qonnx_core.passes.layouts.emitter import emitters
from qonnx_core.passes.layouts.refusals import refusal_sentences
from qonnx_core.passes.layouts.shapes import know_shapes
from qonnx_core.passes.layouts.to_4d import FourAxesTarget
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class Change3DTo4D:
    """A network on ``(N, C, W)`` becomes the same one on ``(N, C, W, 1)``: the same numbers, one more axis.

    Convolutions (transposed ones too), pools, normalizations and thresholds get a second spatial axis along which they
    do nothing; all that stands between them follows. An operator that knows three axes only keeps them: a Squeeze and
    an Unsqueeze stand around it. Equal for data without NaN, which onnxruntime's MaxPool drops in one dimension only.

    Graph inputs and outputs keep their three axes, so that the model is used as before. With ``change_io`` the inputs
    that such an operator reads, and the outputs that come from one, have four axes instead and no Squeeze and
    Unsqueeze are left there.

    ``strict`` raises Unsupported where an operator on signals cannot be converted; otherwise it stays, and
    :meth:`refusals` says why.
    """

    change_io: bool = False
    strict: bool = False
    name: str = "change_3d_to_4d"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of nodes and inputs that changed.

        Raises:
            InvalidModel: shapes contradict each other.
            Unsupported: ``strict``, and an operator cannot be converted; with all reasons.
        """
        target = FourAxesTarget(model)
        if not any(target.is_candidate(node, known=False) for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        reasons = self.refusals(model)
        if self.strict and reasons:
            raise Unsupported("model: has operators on 3 axes that have no form on 4", reasons)
        edits = 0
        for emitter in emitters(model):
            change = self.change_io and emitter.graph is model.graph
            edits += Conversion(emitter, target).run(change_inputs=change, change_outputs=change)
        if edits:
            RemoveUnused().run(model)
        return edits

    def refusals(self, model: ir.Model) -> list[str]:
        """Return one sentence for each operator on signals that stays as it is, and why."""
        return refusal_sentences(model, FourAxesTarget(model).refusal)

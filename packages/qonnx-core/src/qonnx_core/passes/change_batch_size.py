"""Sets the batch size that a model says it takes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.sizes import END_OF_SIZES, is_size
from qonnx_core.passes.batch_rules import first_mixing_node
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.make_batch_symbolic import BATCH, MakeBatchSymbolic

_MAX_SHOWN = 40


@dataclass(frozen=True)
class ChangeBatchSize:
    """Set the first axis of all inputs to ``size``, a number or a name; every sample keeps its values.

    A batch of 1 becomes any other where every operator is known to treat samples alike; targets of Reshape follow.
    """

    size: int | str = BATCH
    name: str = "change_batch_size"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return 1 where the batch size changed, else 0.

        Raises:
            InvalidInput: the size is a number below 1 or larger than a file holds, or a text that is no name.
            Unsupported: the model mixes samples, or fixes a batch other than 1.
        """
        if not is_size(self.size):
            huge = isinstance(self.size, int) and abs(self.size) >= END_OF_SIZES
            found = "a huge number" if huge else repr(self.size)[:_MAX_SHOWN]
            raise InvalidInput(
                f"batch size: found {found}; expected a number of at least 1 that a tensor can have, or a name. "
                "Write for example 1 or batch."
            )
        wanted = self.size if isinstance(self.size, int) else ir.SymbolicDim(self.size)
        inputs = model.graph.inputs
        if any(value.shape is None or len(value.shape) == 0 for value in inputs):
            raise Unsupported("batch size: an input has no batch axis, or its shape is not known. Infer shapes first.")
        if all(value.shape is not None and value.shape[0] == wanted for value in inputs):
            return 0
        MakeBatchSymbolic().run(model)
        old = {value.shape[0] for value in inputs if value.shape is not None}
        if len(old) > 1 or any(isinstance(dim, int) for dim in old):
            sizes = ", ".join(f"{value.name} {value.shape}" for value in inputs)
            mixing = first_mixing_node(model)
            where = "" if mixing is None else f" ({mixing.name or mixing.op_type} mixes samples or is not known)"
            raise Unsupported(
                f"batch size: the inputs are {sizes}, and no other batch is known to keep the values{where}; expected "
                "a batch of 1 or a name that all inputs share. Export the model with a dynamic batch."
            )
        before = old.pop()
        for value in (*inputs, *(output for node in model.graph for output in node.outputs)):
            if value.shape is not None:
                value.shape = ir.Shape([wanted if dim == before else dim for dim in value.shape])
        InferShapes().run(model)
        return 1

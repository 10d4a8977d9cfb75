"""Makes inner tensors outputs of the graph."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.passes.infer_shapes import InferShapes


@dataclass(frozen=True)
class ExposeIntermediates:
    """Inner tensors become further outputs of the graph, behind those it has: the values of these stay.

    Without a new output file, :meth:`qonnx_core.CompiledModel.run` returns inner tensors as well; this pass is for
    other programs that run the model.

    Args:
        tensors: names of tensors of the main graph, or globs: ``MatMul_*``, ``*``.
        parameters: let globs mean stored tensors too; a full name always does.
    """

    tensors: tuple[str, ...] = ()
    parameters: bool = False
    name: str = "expose_intermediates"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of new outputs.

        Raises:
            InvalidInput: a name or glob matches no tensor.
        """
        if not self.tensors:
            return 0
        graph = model.graph
        running = [value for node in graph for value in node.outputs if value.name]
        stored = [value for value in graph.initializers.values() if value.name]
        inputs = [value for value in graph.inputs if value.name]
        chosen: dict[ir.Value, None] = {}
        for pattern in self.tensors:
            found = [v for v in (*inputs, *running, *stored) if v.name == pattern]
            if not found:
                pool = [*running, *stored] if self.parameters else running
                found = [value for value in pool if fnmatch.fnmatchcase(value.name or "", pattern)]
            if not found:
                known = [value.name or "" for value in (*inputs, *running, *stored)]
                near = difflib.get_close_matches(pattern, known, n=3)
                hint = f"Did you mean {' or '.join(near)}?" if near else "List them with `qonnx info`."
                raise InvalidInput(f"tensor {pattern!r}: matches none of the graph; expected a name or glob. {hint}")
            chosen.update(dict.fromkeys(found))
        new = [value for value in chosen if not value.is_graph_output()]
        if any(value.type is None or value.shape is None for value in new):
            InferShapes().run(model)
        graph.outputs.extend(new)
        return len(new)

"""Compiles a model once and runs it over arrays: any batch size, any intermediate tensor, the same bits every time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.execute.debug_names import add_debug_names
from qonnx_core.execute.inputs import check_inputs, expected_inputs
from qonnx_core.execute.lower import lower
from qonnx_core.execute.session import RUNTIME_ERRORS, open_session
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.passes.base import has_graphs
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic

Array = NDArray[Any]


def compile_model(model: ir.Model, *, outputs: Sequence[str] | None = None, threads: int = 1) -> CompiledModel:
    """Return the model ready to run; the model itself is not changed.

    Args:
        model: the model.
        outputs: names of the tensors to return; by default those of the graph's outputs.
        threads: threads of the session. The bits do not depend on the machine with the default of 1.

    Raises:
        InvalidModel: the model breaks its format, or onnxruntime does not accept it.
        InvalidInput: an output name is unknown.
    """
    return CompiledModel(model, outputs=outputs, threads=threads)


class CompiledModel:
    """A model that is ready to run; keep it and call :meth:`run` again for more data."""

    def __init__(self, model: ir.Model, *, outputs: Sequence[str] | None = None, threads: int = 1) -> None:
        self._threads = threads
        self._model = normalized_copy(model)
        InferShapes().run(self._model)
        MakeBatchSymbolic().run(self._model)
        add_debug_names(self._model)
        self._expected = expected_inputs(self._model.graph.inputs)
        self.input_names = tuple(value.name for value in self._expected)
        self._graph_outputs = tuple(value.name or "" for value in self._model.graph.outputs)
        self._tensors = tuple(_named_values(self._model.graph))
        self._all_tensors = frozenset(self._tensors)
        self._dependent = _dependent_names(self._model.graph)
        lower(self._model)
        self.output_names = self._graph_outputs if outputs is None else self._known(outputs)
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        self._session(self.output_names)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The names of all tensors that :meth:`run` can return, in the order of the graph."""
        return self._tensors

    def run(self, inputs: Mapping[str, Array], intermediates: Iterable[str] = ()) -> dict[str, Array]:
        """Return the outputs, and the named intermediate tensors, by name.

        Args:
            inputs: one array for each input of the model, under its name. The batch (first axis) can have any size,
                even where the file says 1: then every sample is run by itself.
            intermediates: names of further tensors to return.

        Raises:
            InvalidInput: a name, shape or element type does not fit, or an intermediate tensor is unknown.
        """
        wanted = self._known([*self.output_names, *intermediates])
        arrays, samples, step = check_inputs(self._expected, inputs)
        session = self._session(wanted)
        if samples == step:
            return self._call(session, wanted, arrays)
        parts = []
        for start in range(0, samples, step):
            parts.append(self._call(session, wanted, {name: x[start : start + step] for name, x in arrays.items()}))
        return {name: self._joined(name, [part[name] for part in parts], step) for name in wanted}

    def _joined(self, name: str, parts: list[Array], step: int) -> Array:
        if name not in self._dependent:
            return parts[0]
        if parts[0].ndim == 0 or parts[0].shape[0] != step:
            raise InvalidInput(
                f"tensor {name}: has shape {parts[0].shape} for a batch of {step}, so the results of several batches "
                f"cannot be joined; expected the batch on the first axis. Run {step} sample(s) at a time."
            )
        return np.concatenate(parts)

    def _call(
        self, session: onnxruntime.InferenceSession, wanted: tuple[str, ...], arrays: dict[str, Array]
    ) -> dict[str, Array]:
        try:
            results = session.run(list(wanted), arrays)
        except RUNTIME_ERRORS as error:
            shapes = ", ".join(f"{name} {x.shape}" for name, x in arrays.items())
            raise InvalidInput(
                f"model: cannot run with inputs {shapes}: {' '.join(str(error).split())}; expected shapes that fit the "
                "graph. Check the shapes."
            ) from error
        return dict(zip(wanted, results, strict=True))

    def _known(self, names: Iterable[str]) -> tuple[str, ...]:
        unique = tuple(dict.fromkeys(names))
        for name in unique:
            if name not in self._all_tensors:
                raise InvalidInput(
                    f"tensor {name!r}: the model computes none of this name (shapes are known ahead); expected one of "
                    f"its {len(self._tensors)} tensors, such as {', '.join(self._tensors[:4])}. Check the spelling."
                )
        return unique

    def _session(self, wanted: tuple[str, ...]) -> onnxruntime.InferenceSession:
        if wanted not in self._sessions:
            copy = self._model.clone()
            values = _named_values(copy.graph)
            copy.graph.outputs.clear()
            copy.graph.outputs.extend(values[name] for name in wanted)
            self._sessions[wanted] = open_session(copy, threads=self._threads)
        return self._sessions[wanted]


def _named_values(graph: ir.Graph) -> dict[str, ir.Value]:
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    return {value.name: value for value in values if value.name}


def _dependent_names(graph: ir.Graph) -> frozenset[str]:
    """Return the names of the tensors that depend on the inputs of the graph; nodes with inner graphs count as such."""
    dependent = set(graph.inputs)
    for node in graph:
        if has_graphs(node) or any(value in dependent for value in node.inputs):
            dependent.update(node.outputs)
    return frozenset(value.name or "" for value in dependent)

"""Compiles a model once and runs it over arrays: any batch size, any intermediate tensor, the same bits every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.execute.inputs import check_inputs
from qonnx_core.execute.messages import runtime_message
from qonnx_core.execute.optimizers import Mode
from qonnx_core.execute.prepare import prepare
from qonnx_core.execute.samples import Progress, Samples, SampleSource, default_batch_size, open_samples
from qonnx_core.execute.session import RUNTIME_ERRORS, SessionSettings, open_plain

Array = NDArray[Any]

_MAX_SESSIONS = 6  # each one holds the parameters


def compile_model(
    model: ir.Model,
    *,
    outputs: Sequence[str] | None = None,
    threads: int = 1,
    mode: Mode = "exact",
    providers: str | Sequence[str] | None = None,
) -> CompiledModel:
    """Return the model ready to run; the model itself is not changed.

    In mode ``"exact"`` onnxruntime does its basic graph optimizations but those that fuse or re-order float arithmetic,
    and packs no weights in advance. The bits then are those of the operators computed
    one by one with the same batch, whatever intermediate tensors are asked for. In mode ``"fast"`` onnxruntime works
    as it does by default, but for three optimizations that are wrong about QuantizeLinear: a sum may differ in its last
    bits, a value near a rounding boundary then takes the next step of its quantizer, and what follows differs by that.
    ``benchmarks/modes.py`` measures both.

    Where all sums are exact in float32 (integers below 2^24 on one grid) there is one result: for both modes, every
    batch size, number of threads and machine. Elsewhere onnxruntime takes the sums of a MatMul or Gemm over a single
    sample in another order than those over several, and further threads, or the vector units of another machine, can
    do the same; their last bits may differ.

    Args:
        model: the model.
        outputs: names or patterns (as in :meth:`CompiledModel.run`) of the tensors to return; by default those of the
            graph's outputs.
        threads: threads of the session; 0 lets onnxruntime take one for each core.
        mode: ``"exact"`` or ``"fast"``.
        providers: what computes: ``"cpu"`` (the default), ``"cuda"``, or onnxruntime's own names of its execution
            providers, the preferred one first. Operators that one lacks run on the CPU. The exact bits are those of
            the CPU: other devices take sums in another order.

    Raises:
        InvalidModel: the model breaks its format, or onnxruntime does not accept it.
        InvalidInput: an output name, the mode or a provider is unknown.
        Unsupported: an input or output is of an element type that NumPy lacks, such as bfloat16.
        ToolMissing: a provider is not available here.
    """
    return CompiledModel(model, outputs=outputs, settings=SessionSettings.of(mode, threads, providers))


@dataclass(frozen=True, slots=True)
class _Plan:
    """A session and what it returns."""

    names: list[str]
    session: onnxruntime.InferenceSession


class CompiledModel:
    """A model that is ready to run; keep it and call :meth:`run` again for more data."""

    def __init__(
        self, model: ir.Model, *, outputs: Sequence[str] | None = None, settings: SessionSettings | None = None
    ) -> None:
        self.settings = settings or SessionSettings()
        prepared = prepare(model)
        self._plain = prepared.plain
        self._expected = prepared.inputs
        self.input_names = tuple(value.name for value in self._expected)
        self._tensors = prepared.tensors
        self.output_names = self._tensors.select(prepared.outputs if outputs is None else outputs)
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._main = self._plan(())

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The names of all tensors that :meth:`run` can return, in the order of the graph."""
        return self._tensors.names

    @property
    def activation_names(self) -> tuple[str, ...]:
        """The names of the tensors that depend on the inputs, these included, in the order of the graph."""
        return self._tensors.activations

    def run(self, inputs: Mapping[str, Array], intermediates: str | Iterable[str] = ()) -> dict[str, Array]:
        """Return the outputs, and the named intermediate tensors, by name.

        Args:
            inputs: one array for each input of the model, under its name. The batch (first axis) can have any size,
                even where the file says 1: then every sample is run by itself.
            intermediates: names of further tensors to return, or patterns: ``"*_out0"``, ``"*"``. A pattern stands
                for all inputs and computed tensors that it matches; parameters have to be named, or be all it matches.

        Raises:
            InvalidInput: a name, shape or element type does not fit, or an intermediate tensor is unknown.
        """
        return self._run(self._plan(intermediates) if intermediates else self._main, inputs)

    def stream(
        self,
        data: Samples,
        *,
        batch_size: int | None = None,
        intermediates: str | Iterable[str] = (),
        progress: Progress | None = None,
    ) -> Iterator[dict[str, Array]]:
        """Yield what :meth:`run` returns, batch after batch; memory is that of one batch, however many samples.

        Args:
            data: the samples: an array for a model with one input (also a memory-mapped one), a dictionary of arrays,
                the path of an ``.npy`` or ``.npz`` file with the same, or an iterable that gives one sample after the
                other, without the batch axis: an array, or a dictionary of arrays.
            batch_size: samples in one run; the last ones may be smaller, but are no single sample where the number of
                samples is known and the size above 2. By default up to 256, fewer where a sample is large.
            intermediates: as in :meth:`run`.
            progress: called after every batch with the number of samples done, and of all where it is known.

        Raises:
            InvalidInput: the data do not fit the model, a file cannot be read, or the batch size is below 1.
        """
        plan = self._plan(intermediates) if intermediates else self._main
        if batch_size is None:
            batch_size = default_batch_size(value.shape or () for value in self._expected)
        if batch_size < 1:
            raise InvalidInput(f"batch size: found {batch_size}; expected 1 or more.")
        firsts = [dim for value in self._expected for dim in (value.shape or ())[:1]]
        fixed = max([1, *(dim for dim in firsts if isinstance(dim, int))])
        size = fixed * max(1, batch_size // fixed)
        return self._batches(plan, open_samples(data, self._expected), size, progress)

    def _batches(
        self, plan: _Plan, source: SampleSource, size: int, progress: Progress | None
    ) -> Iterator[dict[str, Array]]:
        done = 0
        for batch in source.batches(size):
            yield self._run(plan, batch)
            if progress is not None:
                done += next((len(x) for x in batch.values() if x.ndim), 1)
                progress(done, source.count)

    def _run(self, plan: _Plan, inputs: Mapping[str, Array]) -> dict[str, Array]:
        arrays, samples, step = check_inputs(self._expected, inputs)
        if samples == step:
            return self._call(plan, arrays)
        if samples == 0:
            return self._empty(plan, arrays, step)
        parts = [self._call(plan, _slice(arrays, start, start + step)) for start in range(0, samples, step)]
        return {name: self._joined(name, [part[name] for part in parts], step) for name in plan.names}

    def _empty(self, plan: _Plan, arrays: dict[str, Array], step: int) -> dict[str, Array]:
        """Return the results for no samples: those of one run on zeros, without its samples."""
        zeros = {name: np.zeros((step, *x.shape[1:]), x.dtype) if x.ndim else x for name, x in arrays.items()}
        found = self._call(plan, zeros)
        return {
            name: self._joined(name, [x], step)[:0] if name in self._tensors.dependent else x
            for name, x in found.items()
        }

    def _joined(self, name: str, parts: list[Any], step: int) -> Array:
        if name not in self._tensors.dependent:
            first: Array = parts[0]
            return first
        if not isinstance(parts[0], np.ndarray) or parts[0].ndim == 0 or parts[0].shape[0] != step:
            shape = f"shape {parts[0].shape}" if isinstance(parts[0], np.ndarray) else "no shape"
            raise InvalidInput(
                f"tensor {name}: has {shape} for a batch of {step}, so the results of several batches "
                f"cannot be joined; expected the batch on the first axis. Run {step} sample(s) at a time."
            )
        return np.concatenate(parts)

    def _call(self, plan: _Plan, arrays: dict[str, Array]) -> dict[str, Array]:
        try:
            results = plan.session.run(plan.names, arrays)
        except RUNTIME_ERRORS as error:
            shapes = ", ".join(f"{name} {x.shape}" for name, x in arrays.items())
            raise InvalidInput(
                f"model: cannot run with inputs {shapes}: {runtime_message(error)}; expected shapes that fit the "
                "graph. Check the shapes."
            ) from error
        return dict(zip(plan.names, results, strict=True))

    def _plan(self, intermediates: str | Iterable[str]) -> _Plan:
        asked = (intermediates,) if isinstance(intermediates, str) else tuple(intermediates)
        plan = self._plans.get(asked)
        if plan is None:
            names = tuple(dict.fromkeys((*self.output_names, *self._tensors.select(asked))))
            plan = _Plan(list(names), open_plain(self._plain, names, self.settings))
            if len(self._plans) >= _MAX_SESSIONS:
                del self._plans[next(iter(self._plans))]
            self._plans[asked] = plan
        return plan


def _slice(arrays: dict[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: x[start:stop] if x.ndim else x for name, x in arrays.items()}

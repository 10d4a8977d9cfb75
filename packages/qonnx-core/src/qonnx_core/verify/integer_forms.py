"""A QONNX model compared with its integer form: every quantized tensor in topological order, then the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.verify.bounded import UNIT_ROUNDOFF, Float64, Mask
from qonnx_core.verify.check import Check, FirstDifference
from qonnx_core.verify.compare import (
    BATCH,
    Outcomes,
    Runner,
    boundary_case,
    differs,
    first_difference,
    first_true,
    number_of_samples,
    require_same_shapes,
    within,
)
from qonnx_core.verify.error_bounds import Decision, ErrorBounds, SelectorDecision, iterate_batches

if TYPE_CHECKING:
    from qonnx_core.ir.grid import Grid
    from qonnx_core.passes.streamline import IntegerForm, Port

Array = NDArray[Any]


def compare_integer_form(
    model: ir.Model,
    form: IntegerForm,
    inputs: Mapping[str, Array],
    left: str = "QONNX",
    right: str = "integer form",
    *,
    batch: int = BATCH,
) -> Check:
    """Return how a QONNX model compares with its integer form on the same inputs, tensor by tensor.

    The inputs, float and under the model's tensor names, are first brought onto the grids of the form's inputs. Then
    every quantized tensor is compared in topological order as integers, and last the outputs, which the form's host
    model makes from integers. The first tensor that differs puts a sample into its class: it is ``boundary`` where
    every differing element was computed from a value within its float error bound of a rounding boundary, so that
    both integers are right; ``mismatch`` where not. Where all quantized tensors are equal, outputs within their bound
    are ``rounding``. A sum within its float error bound of its integer is no difference.

    Raises:
        InvalidInput: an input is missing, or has a wrong shape.
    """
    samples = number_of_samples(inputs)
    comparison = _Comparison(model, form, left, right)
    checks = [
        comparison.check({name: array[part] for name, array in inputs.items()}, part.start)
        for part in iterate_batches(samples, batch)
    ]
    return Check.merge(checks) if checks else Check(left, right, 0, 0)


@dataclass(slots=True)
class _Tensor:
    """A quantized tensor on both sides of one batch, as integers in travel order, ``(N, ...)``."""

    port: Port
    wanted: NDArray[np.int64]
    found: NDArray[np.int64]

    def unequal(self) -> Mask:
        return np.asarray(self.wanted != self.found)

    def difference(self, sample: int, element: tuple[int, ...], detail: str = "") -> FirstDifference:
        wanted, found = int(self.wanted[sample][element]), int(self.found[sample][element])
        return FirstDifference(self.port.tensor, sample, element, wanted, found, detail=detail)


@dataclass(frozen=True, slots=True)
class _Place:
    """A differing sample: its row among the analysed samples, and its number in the batch."""

    row: int
    sample: int


class _Comparison:
    """One model and its form, ready for batch after batch."""

    def __init__(self, model: ir.Model, form: IntegerForm, left: str, right: str) -> None:
        self._form = form
        self._left, self._right = left, right
        model = _with_the_outputs_of(form, model)
        self._runner = Runner(model)
        inputs = {port.tensor for port in form.inputs}
        order = [value.name for node in model.graph for value in node.outputs]
        self._names = [name for name in order if name in form.quantized and name not in inputs]
        self._outputs = [value.name or "" for value in model.graph.outputs]

    def check(self, inputs: Mapping[str, Array], offset: int) -> Check:
        form = self._form
        integers, _ = form.quantize_inputs(inputs)
        given = {**inputs, **{port.tensor: _on_grid(port, integers[port.name], inputs) for port in form.inputs}}
        wanted = self._runner.run(given, self._names)
        needed = [form.quantized[name].name for name in self._names]
        found = form.run(integers, needed)
        tensors = [
            _Tensor(port, port.to_integers(wanted[name])[0], found[port.name].reshape(-1, *port.shape[1:]))
            for name, port in ((name, form.quantized[name]) for name in self._names)
        ]
        outputs = form.finish({port.name: found[port.name] for port in form.outputs})
        require_same_shapes({name: wanted[name] for name in self._outputs}, outputs, self._right)
        samples = number_of_samples(inputs)
        differing = np.zeros(samples, dtype=bool)
        for tensor in tensors:
            differing |= differs(tensor.wanted, tensor.found)
        for name in self._outputs:
            differing |= differs(wanted[name], outputs[name])
        result = Outcomes(self._left, self._right, samples, offset)
        if differing.any():
            self._classify(given, np.flatnonzero(differing), wanted, tensors, outputs, result)
        return result.check()

    def _classify(
        self,
        inputs: Mapping[str, Array],
        rows: NDArray[np.int64],
        wanted: Mapping[str, Array],
        tensors: list[_Tensor],
        outputs: Mapping[str, Array],
        result: Outcomes,
    ) -> None:
        analysis = self._runner.analysis
        more = [name for name in analysis.quantized if name not in wanted]
        everything = {**wanted, **(self._runner.run(inputs, more) if more else {})}
        errors = {port.tensor: _input_error(port.grid, inputs[port.tensor][rows]) for port in self._form.inputs}
        bounds = analysis.run(
            {name: array[rows] for name, array in inputs.items()},
            {name: everything[name][rows] for name in analysis.quantized},
            input_errors=errors,
            keep=self._names,
        )
        result.note(bounds)
        open_rows = np.ones(len(rows), dtype=bool)
        for tensor in tensors:
            unequal = tensor.unequal()[rows]
            if bounds.decision(tensor.port.tensor) is None:
                unequal &= ~_float_noise(bounds, tensor, wanted, rows)
            here = open_rows & unequal.reshape(len(rows), -1).any(axis=1)
            if here.any():
                explained = _explained(bounds, tensor, wanted, rows)
                for position in np.flatnonzero(here):
                    place = _Place(int(position), int(rows[position]))
                    self._add(tensor, bounds, unequal[position], explained, place, result)
            open_rows &= ~here
        for position in np.flatnonzero(open_rows):
            place = _Place(int(position), int(rows[position]))
            self._add_output(bounds, wanted, outputs, place, rows, result)

    def _add(
        self,
        tensor: _Tensor,
        bounds: ErrorBounds,
        unequal: Mask,
        explained: Mask | None,
        place: _Place,
        result: Outcomes,
    ) -> None:
        """Put one sample, whose first differing tensor this is, into its class."""
        decision = bounds.decision(tensor.port.tensor)
        if explained is None or decision is None:
            result.add("mismatch", tensor.difference(place.sample, first_true(unequal)))
            return
        wrong = unequal & ~explained[place.row]
        element = first_true(wrong if wrong.any() else unequal)
        where = _model_index(decision, tensor.port, element)
        case = boundary_case(decision, (place.row, *where), place.sample, where)
        if wrong.any():
            text = f"before its quantizer the value is {case.before!r} steps, its float error at most {case.bound:.3g}"
            result.add("mismatch", tensor.difference(place.sample, element, text))
        else:
            result.add("boundary", tensor.difference(place.sample, element), case)

    def _add_output(
        self,
        bounds: ErrorBounds,
        wanted: Mapping[str, Array],
        outputs: Mapping[str, Array],
        place: _Place,
        rows: NDArray[np.int64],
        result: Outcomes,
    ) -> None:
        position, sample = place.row, place.sample
        unequal = [n for n in self._outputs if differs(wanted[n][None, sample], outputs[n][None, sample])[0]]
        if not unequal:  # a sum within its float error is the same number; what is made of it is equal
            return
        name = unequal[0]
        difference = first_difference(name, sample, wanted[name][sample], outputs[name][sample])
        sides = {n: (wanted[n][rows], outputs[n][rows]) for n in self._outputs}
        if all(within(bounds, n, *sides[n])[position].all() for n in self._outputs):
            result.add("rounding", difference)
            return
        decision = bounds.decision(name)
        if decision is not None:
            explained = decision.explains(decision.levels(sides[name][1]))[position]
            if bool(np.all(explained)):
                result.add(
                    "boundary",
                    difference,
                    boundary_case(decision, (position, *difference.element), sample, difference.element),
                )
                return
        result.add("mismatch", difference)


def _with_the_outputs_of(form: IntegerForm, model: ir.Model) -> ir.Model:
    """Return the model itself, or with the selection of the largest logit that the form was asked to end with.

    Raises:
        InvalidInput: the form was made from another model.
    """
    names = [value.name for value in form.post.graph.outputs]
    kinds = [value.dtype for value in form.post.graph.outputs]
    if kinds == [ir.DataType.INT64] and [value.dtype for value in model.graph.outputs] != kinds:
        model = model.clone()
        AppendArgMax().run(model)
    found = [value.name or "" for value in model.graph.outputs]
    if found != names:
        raise InvalidInput(
            f"integer form: it ends in {', '.join(map(str, names))}; the model ends in {', '.join(found)}. "
            "Compare a form with the model that it was made from."
        )
    return model


def _on_grid(port: Port, integers: NDArray[np.int64], inputs: Mapping[str, Array]) -> Array:
    """Return the float32 numbers of an input's integers, in the shape of the QONNX tensor."""
    values = port.grid.to_values(integers)
    shape = np.shape(inputs[port.tensor])
    if port.perm is None:
        return values.reshape(shape)
    return values.reshape([shape[axis] for axis in port.perm]).transpose(np.argsort(port.perm))


def _input_error(grid: Grid, values: Array) -> Float64:
    """How far the float32 numbers of an input can be from the rationals that their integers stand for."""
    numbers = [*grid.scale, *grid.offset]
    dyadic = not any(number.denominator & (number.denominator - 1) for number in numbers)
    narrow = all(abs(number.numerator) * (abs(grid.integers[0]) + grid.integers[1] + 1) < 2**24 for number in numbers)
    exact = dyadic and narrow and not any(grid.offset)
    return np.zeros(values.shape) if exact else UNIT_ROUNDOFF * np.abs(values.astype(np.float64))


def _float_noise(bounds: ErrorBounds, tensor: _Tensor, wanted: Mapping[str, Array], rows: NDArray[np.int64]) -> Mask:
    """Where a sum is within its float error bound of the integer that the form found: not a difference at all."""
    bounded = bounds.tensors.get(tensor.port.tensor)
    model_side = wanted[tensor.port.tensor][rows]
    if bounded is None or bounded.value.shape != model_side.shape:
        return np.zeros(tensor.found[rows].shape, dtype=bool)
    exact = tensor.port.grid.to_values(tensor.found[rows]).astype(np.float64)
    reach = tensor.port.to_wire(bounded.errors) + UNIT_ROUNDOFF * np.abs(exact)
    near = np.abs(tensor.port.to_wire(model_side.astype(np.float64)) - exact) <= reach
    return np.asarray(near & np.isfinite(reach))


def _explained(
    bounds: ErrorBounds, tensor: _Tensor, wanted: Mapping[str, Array], rows: NDArray[np.int64]
) -> Mask | None:
    """In travel order: where both integers are results of correct float32 computations; None if nothing is known."""
    decision = bounds.decision(tensor.port.tensor)
    if decision is None:
        return None
    model_side = wanted[tensor.port.tensor][rows]
    mine = decision.explains(decision.levels(model_side))
    if isinstance(decision, SelectorDecision):
        theirs = decision.explains(tensor.found[rows].reshape(model_side.shape).astype(np.float64))
        return tensor.port.to_wire(mine & theirs)
    ends = [
        np.broadcast_to(decision.quantizer.value(level).real, mine.shape) for level in (decision.low, decision.high)
    ]
    reach = 4.0 * UNIT_ROUNDOFF * np.maximum(*np.abs(ends))
    lowest = tensor.port.to_wire(np.minimum(*ends) - reach)
    highest = tensor.port.to_wire(np.maximum(*ends) + reach)
    values = tensor.port.grid.to_values(tensor.found[rows])
    return np.asarray((lowest <= values) & (values <= highest) & tensor.port.to_wire(mine))


def _model_index(decision: Decision, port: Port, element: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index within one sample of the QONNX tensor of an element in travel order."""
    if isinstance(decision, SelectorDecision):
        return element
    shape = decision.position.shape[1:]
    numbers = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(1, *shape)
    flat = int(port.to_wire(numbers)[(0, *element)])
    return tuple(int(axis) for axis in np.unravel_index(flat, shape))

"""Comparisons of the verification chain: outputs with outputs, a QONNX model with its integer form, integers.

Every comparison counts samples in the four classes of `Check`. The float error analysis is run only for samples that
differ, so that a comparison of equal results costs one execution.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.verify.bounded import Float64, Mask
from qonnx_core.verify.check import MAX_LISTED_CASES, BoundaryCase, Check, FirstDifference
from qonnx_core.verify.error_bounds import Decision, ErrorAnalysis, ErrorBounds, iterate_batches

if TYPE_CHECKING:
    from qonnx_core import CompiledModel

Array = NDArray[np.generic]

BATCH = 1024
"""Samples that are executed and analysed at a time."""


def compare_outputs(
    model: ir.Model,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    left: str = "framework",
    right: str = "QONNX",
    *,
    batch: int = BATCH,
) -> Check:
    """Return how the executed ``model`` compares with outputs that somebody else computed from the same inputs.

    Args:
        model: a QONNX model.
        inputs: one array for each model input, samples along the first axis.
        expected: one array for each output to compare (``left``), shaped as the model gives it.
        left: name of the other side, for reports.
        right: name of this side.
        batch: samples that are executed at a time.

    A sample whose outputs differ is ``rounding`` where both sides lie within the computed float error bound of the
    exact value; else ``boundary`` where a quantizer before the output had to decide about a value within its bound of
    a rounding boundary; else ``mismatch``.

    Raises:
        InvalidInput: an unknown output name, a wrong shape, or different numbers of samples.
    """
    samples = number_of_samples(inputs, scalars=True)
    names = [value.name or "" for value in model.graph.outputs]
    _check_expected(expected, names, samples)
    runner = Runner(model)
    checks: list[Check] = []
    for part in iterate_batches(samples, batch):
        given = samples_at(inputs, part)
        wanted = {name: np.asarray(array)[part] for name, array in expected.items()}
        found = runner.run(given)
        require_same_shapes(found, wanted, left)
        differing = np.flatnonzero(np.any([differs(wanted[name], found[name]) for name in wanted], axis=0))
        outcomes = Outcomes(left, right, part.stop - part.start, part.start)
        if differing.size:
            runner.classify(given, wanted, differing, outcomes)
        checks.append(outcomes.check())
    return Check.merge(checks) if checks else Check(left, right, 0, 0)


def compare_integers(
    left_values: Mapping[str, Array], right_values: Mapping[str, Array], left: str = "left", right: str = "right"
) -> Check:
    """Return how two sets of integer tensors compare, sample by sample: equal or mismatch, nothing between.

    Both sides have the same names and shapes, samples along the first axis; tensors are compared in the order of the
    left side.

    Raises:
        InvalidInput: different names or shapes, or numbers that are no integers.
    """
    if set(left_values) != set(right_values):
        raise InvalidInput(
            f"{left} = {right}: the tensors are {sorted(left_values)} and {sorted(right_values)}; "
            "expected the same names on both sides."
        )
    samples = number_of_samples(left_values)
    wrong = np.zeros(samples, dtype=bool)
    first: FirstDifference | None = None
    for name, wanted in left_values.items():
        found = np.asarray(right_values[name])
        wanted = np.asarray(wanted)
        if wanted.shape != found.shape:
            raise InvalidInput(
                f"{name}: its shape is {wanted.shape} in {left} and {found.shape} in {right}; expected the same."
            )
        for side, array in ((left, wanted), (right, found)):
            if array.dtype.kind not in "iub" and not np.array_equal(array, np.round(array)):
                raise InvalidInput(
                    f"{name}: {side} holds numbers that are no integers; compare them with compare_outputs."
                )
        unequal = differs(wanted, found)
        news = np.flatnonzero(unequal & ~wrong)
        if news.size and (first is None or news[0] < first.sample):
            first = first_difference(name, int(news[0]), wanted[news[0]], found[news[0]])
        wrong |= unequal
    count = int(wrong.sum())
    return Check(left, right, samples, samples - count, mismatch=count, first=first)


@dataclass(slots=True)
class Outcomes:
    """Collects the differing samples of one batch; ``offset`` is the number of its first sample."""

    left: str
    right: str
    samples: int
    offset: int
    rounding: int = 0
    boundary: int = 0
    mismatch: int = 0
    first: FirstDifference | None = None
    cases: tuple[BoundaryCase, ...] = ()
    notes: tuple[str, ...] = ()

    def add(self, kind: str, difference: FirstDifference, case: BoundaryCase | None = None) -> None:
        """Count one sample (numbered within the batch) under its class."""
        setattr(self, kind, getattr(self, kind) + 1)
        sample = difference.sample + self.offset
        rank = {"mismatch": 0, "boundary": 1, "rounding": 2}
        if self.first is None or rank[kind] < rank[self.first.kind]:
            detail = f"{case.tensor}: {case}" if case is not None else difference.detail
            self.first = replace(difference, sample=sample, kind=kind, detail=detail)
        if case is not None and len(self.cases) < MAX_LISTED_CASES:
            self.cases = (*self.cases, replace(case, sample=sample))

    def note(self, bounds: ErrorBounds) -> None:
        """Remember which operators have no error bound."""
        reasons = [reason for reason in bounds.unbounded.values() if not reason.startswith("no bound for its input")]
        self.notes = tuple(dict.fromkeys([*self.notes, *(f"no float error bound: {reason}" for reason in reasons)]))

    def check(self) -> Check:
        """Return the counts as a `Check`."""
        equal = self.samples - self.rounding - self.boundary - self.mismatch
        return Check(
            self.left, self.right, self.samples, equal, self.rounding, self.boundary, self.mismatch,
            self.first, self.cases, self.notes,
        )  # fmt: skip


class Runner:
    """Executes one model, and analyses the samples whose outputs differ; both are prepared on first use."""

    def __init__(self, model: ir.Model) -> None:
        from qonnx_core import compile_model

        self._model = model
        self._compiled: CompiledModel = compile_model(model)
        self._analysis: ErrorAnalysis | None = None

    @property
    def analysis(self) -> ErrorAnalysis:
        """The error analysis of the model."""
        if self._analysis is None:
            self._analysis = ErrorAnalysis(self._model)
        return self._analysis

    def run(self, inputs: Mapping[str, Array], intermediates: Sequence[str] = ()) -> dict[str, Array]:
        """Return the outputs and the named intermediate tensors."""
        return dict(self._compiled.run(dict(inputs), intermediates=list(intermediates)))

    def classify(
        self, inputs: Mapping[str, Array], wanted: Mapping[str, Array], differing: NDArray[np.int64], out: Outcomes
    ) -> None:
        """Put every differing sample of a batch into a class."""
        quantized = self.analysis.quantized
        found = self.run(inputs, quantized)
        bounds = self.analysis.run(
            samples_at(inputs, differing), samples_at({name: found[name] for name in quantized}, differing)
        )
        out.note(bounds)
        unexplained = np.zeros(len(differing), dtype=bool)
        for name, array in wanted.items():
            unexplained |= ~within(bounds, name, array[differing], found[name][differing]).all(axis=1)
        ambiguous = [(decision, decision.ambiguous()) for decision in bounds.decisions]
        for position, sample in enumerate(differing):
            difference = next(
                first_difference(name, int(sample), array[sample], found[name][sample])
                for name, array in wanted.items()
                if differs(array[None, sample], found[name][None, sample])[0]
            )
            if not unexplained[position]:
                out.add("rounding", difference)
                continue
            case = _first_ambiguous(ambiguous, position, int(sample))
            out.add("mismatch" if case is None else "boundary", difference, case)


def within(bounds: ErrorBounds, name: str, wanted: Array, found: Array) -> Mask:
    """Return where both sides are equal, or within the bound of exact: ``(N, elements of a sample)``."""
    equal = equal_elements(wanted, found)
    bounded = bounds.tensors.get(name)
    if bounded is not None and bounded.is_real and bounded.value.shape == wanted.shape:
        error, exact = bounded.errors, bounded.real
        near = (_distance(wanted, exact) <= error) & (_distance(found, exact) <= error) & np.isfinite(error)
        equal = equal | near
    rows = np.atleast_1d(equal)
    return np.asarray(rows.reshape(len(rows), math.prod(rows.shape[1:])))


def _distance(values: Array, exact: Float64) -> Float64:
    with np.errstate(invalid="ignore"):  # equal infinities have no distance, and are equal to begin with
        return np.asarray(np.abs(values.astype(np.float64) - exact))


def _first_ambiguous(decisions: Sequence[tuple[Decision, Mask]], position: int, sample: int) -> BoundaryCase | None:
    """Return the first decision that a correct float32 computation could have taken differently for one sample."""
    for decision, ambiguous in decisions:
        if ambiguous.ndim and position < len(ambiguous) and ambiguous[position].any():
            element = first_true(ambiguous[position])
            return boundary_case(decision, (position, *element), sample, element)
    return None


def boundary_case(decision: Decision, index: tuple[int, ...], sample: int, element: tuple[int, ...]) -> BoundaryCase:
    """Return what there is to say about one ambiguous decision, at an index into all samples analysed."""
    inside = decision.position.shape == decision.ambiguous().shape
    return BoundaryCase(
        tensor=decision.tensor,
        sample=sample,
        element=element,
        before=float(decision.position[index]) if inside else float("nan"),
        bound=float(decision.error[index]) if inside else float(np.max(decision.error[index[:1]])),
        boundary=decision.boundary(index),
    )


def samples_at(arrays: Mapping[str, Array], rows: slice | NDArray[np.int64]) -> dict[str, Array]:
    """Return some samples of all arrays; one without axes belongs to every sample."""
    return {name: array[rows] if np.ndim(array) else array for name, array in arrays.items()}


def equal_elements(wanted: Array, found: Array) -> Mask:
    """Return where two arrays agree; zeros of both signs do, and so does NaN with NaN."""
    if wanted.dtype.kind == "f" and found.dtype.kind == "f":
        return np.asarray((wanted == found) | (np.isnan(wanted) & np.isnan(found)))
    return np.asarray(wanted == found)


def differs(wanted: Array, found: Array) -> Mask:
    """Per sample: True where any element differs; zeros of both signs are equal, and so is NaN to NaN."""
    equal = np.atleast_1d(equal_elements(wanted, found))
    return np.asarray(~equal.reshape(len(equal), math.prod(equal.shape[1:])).all(axis=1))


def first_difference(name: str, sample: int, wanted: Array, found: Array, detail: str = "") -> FirstDifference:
    """Return the first differing element of one sample of one tensor."""
    wanted, found = np.asarray(wanted), np.asarray(found)
    element = first_true(~equal_elements(wanted, found))
    return FirstDifference(name, sample, element, _number(wanted[element]), _number(found[element]), detail=detail)


def first_true(mask: Mask) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(axis) for axis in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _number(value: np.generic) -> float | int:
    return int(value) if np.asarray(value).dtype.kind in "iub" else float(value)


def require_same_shapes(found: Mapping[str, Array], other: Mapping[str, Array], side: str) -> None:
    """Check that the arrays of the other side have the shapes that the model gives.

    Raises:
        InvalidInput: a shape differs; says both.
    """
    for name, array in other.items():
        if found[name].shape != array.shape:
            raise InvalidInput(
                f"output {name}: its shape is {('N', *array.shape[1:])} in {side}; the model gives "
                f"{('N', *found[name].shape[1:])}. Reshape it to what the model gives."
            )


def number_of_samples(arrays: Mapping[str, Array], *, scalars: bool = False) -> int:
    """Return the common length of the first axes.

    Args:
        arrays: arrays by name.
        scalars: take arrays without axes too, which belong to every sample; if there are no others, that is one sample.

    Raises:
        InvalidInput: the arrays have different numbers of samples, one has no axis, or there are none.
    """
    without = [name for name, array in arrays.items() if not np.shape(array)]
    if without and scalars:
        arrays = {name: array for name, array in arrays.items() if np.shape(array)}
        if not arrays:
            return 1
    elif without:
        raise InvalidInput(
            f"samples: {', '.join(without)} has no axis; expected samples along the first axis of every array. "
            "Compare the results of two runs instead."
        )
    sizes = {name: np.shape(array)[0] for name, array in arrays.items()}
    if len(set(sizes.values())) != 1:
        found = ", ".join(f"{name}: {size}" for name, size in sizes.items()) or "no arrays"
        raise InvalidInput(f"samples: found {found}; expected the same number along the first axis of every array.")
    return int(next(iter(sizes.values())))


def _check_expected(expected: Mapping[str, Array], names: Sequence[str], samples: int) -> None:
    if not expected:
        raise InvalidInput(f"expected outputs: found none; expected an array for {' or '.join(names)}.")
    for name, array in expected.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Use those names."
            raise InvalidInput(
                f"expected output {name}: the model has no such output; it has {', '.join(names)}. {hint}"
            )
        if (np.shape(array) or (0,))[0] != samples:
            raise InvalidInput(
                f"expected output {name}: it has {(np.shape(array) or (0,))[0]} samples; the inputs have {samples}."
            )

"""Compares two models on the same inputs, tensor by tensor, and finds the first place where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.cleanup import cleanup_model
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.passes.base import has_graphs
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic
from qonnx_core.verify.check import BoundaryCase, Check, FirstDifference
from qonnx_core.verify.compare import (
    Array,
    Outcomes,
    boundary_case,
    differs,
    equal_elements,
    first_difference,
    first_true,
    number_of_samples,
    samples_at,
    within,
)
from qonnx_core.verify.correspond import by_name, computed_alike, corresponding, operator
from qonnx_core.verify.error_bounds import ErrorAnalysis, ErrorBounds, iterate_batches

Names = Literal["auto", "cleaned", "file"]
BATCH = 64
"""Samples that both models run at a time; all their tensors are held in memory."""


@dataclass(slots=True)
class TensorDiff:
    """How one tensor of two models compares: in how many samples it differs, and how far apart it is at most.

    ``op_type`` is the operator that makes it; a parameter (a tensor that no input changes) counts as one sample, and a
    tensor without the samples along its first axis as one in each batch, numbered as the first sample of the batch.
    ``other_shape`` marks one that has another shape in the other model.
    """

    name: str
    op_type: str
    parameter: bool
    output: bool = False
    samples: int = 0
    differing: int = 0
    largest: float = 0.0
    first: FirstDifference | None = None
    other_shape: bool = False

    def add(self, left: Array, right: Array, offset: int) -> NDArray[np.bool_]:
        """Compare one batch, whose first sample has the number ``offset``; return which samples differ."""
        unequal = differs(left, right)
        self.samples += len(unequal)
        if unequal.any():
            self.differing += int(unequal.sum())
            if left.dtype.kind in "fiub" and right.dtype.kind in "fiub":
                with np.errstate(all="ignore"):
                    distance = np.abs(left.astype(np.float64) - right.astype(np.float64))
                self.largest = max(self.largest, float(np.nan_to_num(distance, nan=np.inf, posinf=np.inf).max()))
            if self.first is None:
                sample = int(np.argmax(unequal))
                self.first = first_difference(self.name, offset + sample, left[sample], right[sample])
        return unequal

    def add_other_shape(self, samples: int) -> None:
        """Count samples that cannot be compared, because the tensor has another shape in the other model."""
        self.samples += samples
        self.differing += samples
        self.other_shape = True

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "tensor": self.name,
            "op_type": self.op_type,
            "parameter": self.parameter,
            "output": self.output,
            "samples": self.samples,
            "differing": self.differing,
            "largest": self.largest,
            "other_shape": self.other_shape,
            "first": None if self.first is None else self.first.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """Two models compared: samples by class, tensors in the order of the left model, names without a partner."""

    check: Check
    tensors: tuple[TensorDiff, ...]
    unpaired_left: tuple[str, ...] = ()
    unpaired_right: tuple[str, ...] = ()

    @property
    def first(self) -> TensorDiff | None:
        """The first tensor that differs anywhere, in the order in which the left model computes them."""
        return next((tensor for tensor in self.tensors if tensor.differing), None)

    @property
    def equal(self) -> bool:
        """True where every compared tensor, parameters included, is the same in every sample."""
        return self.first is None

    @property
    def explained(self) -> bool:
        """True where no sample is a mismatch, and every parameter and every shape is the same."""
        beyond = any(tensor.other_shape or (tensor.parameter and tensor.differing) for tensor in self.tensors)
        return self.check.passed and not beyond

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        first = self.first
        return {
            "equal": self.equal,
            "check": self.check.to_dict(),
            "first": None if first is None else first.to_dict(),
            "tensors": [tensor.to_dict() for tensor in self.tensors],
            "unpaired": {"left": list(self.unpaired_left), "right": list(self.unpaired_right)},
        }


def compare_models(
    left: ir.Model,
    right: ir.Model,
    inputs: Mapping[str, Array],
    *,
    names: Names = "auto",
    left_name: str = "left",
    right_name: str = "right",
    batch: int = BATCH,
) -> ModelDiff:
    """Return how two models compare on the same inputs, tensor by tensor.

    Tensors are paired by name where both models make them by the same operator. Inputs and outputs are paired by name
    where both models have the same names, else by position.
    A sample is ``rounding`` where every pair is equal or within the float error bound of the right model, ``boundary``
    where the first pair beyond it is a quantizer that may decide so, else ``mismatch``.

    Args:
        left: a model; it is not changed.
        right: the other one.
        inputs: one array for each input of the left model under its name, samples first, at least one. An array
            without axes belongs to every sample.
        names: ``cleaned`` cleans both models first and pairs by the names of the format (``Conv_0_out0``); ``file``
            pairs by the names in the files; ``auto`` cleans both and pairs what is connected alike, whatever it is
            called and in whatever order nodes stand. Where the two are not built alike it is ``cleaned`` if both have
            the same operators in the same order, else ``file``, because cleaned names count nodes and would pair
            strangers; where that finds outputs alone that differ, what both compute alike from their inputs is
            compared too.
        left_name: name of the left model, for reports.
        right_name: name of the right model.
        batch: samples that run at a time.

    Raises:
        InvalidInput: inputs or outputs of the models do not correspond, or there are no samples.
    """
    if names not in ("auto", "cleaned", "file"):
        raise InvalidInput(f"names: found {names!r}; expected auto, cleaned or file.")
    given = _inputs(left, right, inputs)
    samples = number_of_samples(given[0], scalars=True)
    if not samples:
        raise InvalidInput("samples: found none; expected at least one. Check the data.")
    outputs = _output_places(left, right)
    places = by_name(*(_input_names(model) for model in (left, right)))
    sides = [_Side(model, cleaned=names != "file") for model in (left, right)]
    graphs = (sides[0].model.graph, sides[1].model.graph)
    same = corresponding(*graphs, places, outputs) if names == "auto" else None

    def compare(sides: Sequence[_Side], same: Mapping[str, str] | None) -> ModelDiff:
        pairs = _pairs(sides[0], sides[1], outputs, same)
        return _compare(sides, pairs, given, samples, batch, (left_name, right_name))

    if names != "auto" or same is not None or sides[0].nodes() == sides[1].nodes():
        return compare(sides, same)
    result = compare([_Side(model, cleaned=False) for model in (left, right)], None)
    if result.first is None or not result.first.output:
        return result
    again = compare(sides, computed_alike(*graphs, places))
    return result if again.first is None or again.first.output else again


def _compare(
    sides: Sequence[_Side],
    pairs: Sequence[_Pair],
    given: Sequence[Mapping[str, Array]],
    samples: int,
    batch: int,
    names: tuple[str, str],
) -> ModelDiff:
    """Return how the paired tensors compare."""
    fixed = max(side.fixed_batch for side in sides)
    if fixed and not all(pair.sampled or pair.parameter for pair in pairs):
        batch = fixed  # results of several runs can be joined along samples alone
    tensors = {pair.left: TensorDiff(pair.left, pair.op_type, pair.parameter, pair.output) for pair in pairs}
    checks = []
    for part in iterate_batches(samples, batch):
        fed = [side.feed(samples_at(arrays, part)) for side, arrays in zip(sides, given, strict=True)]
        found = [side.run(arrays, pairs, index) for index, (side, arrays) in enumerate(zip(sides, fed, strict=True))]
        checks.append(_compare_batch(sides[1], fed[1], pairs, found, tensors, part, names))
    paired = ({pair.left for pair in pairs}, {pair.right for pair in pairs})
    rest = [tuple(n for n in side.tensors if n not in known) for side, known in zip(sides, paired, strict=True)]
    return ModelDiff(Check.merge(checks), tuple(tensors.values()), *rest)


@dataclass(frozen=True, slots=True)
class _Pair:
    left: str
    right: str
    op_type: str
    parameter: bool
    sampled: bool
    output: bool


@dataclass(slots=True)
class _Tensor:
    op_type: str
    parameter: bool
    sampled: bool  # samples along the first axis
    frame: tuple[int | None, ...] | None  # the shape of one sample, or of all where there are none; None: not known


class _Side:
    """One of the two models: prepared, compiled, with what there is to know about its tensors."""

    def __init__(self, model: ir.Model, *, cleaned: bool) -> None:
        self.model = cleanup_model(model) if cleaned else normalized_copy(model)
        InferShapes().run(self.model)
        MakeBatchSymbolic().run(self.model)
        self.inputs = [value.name or "" for value in self.model.graph.inputs]
        self.outputs = [value.name or "" for value in self.model.graph.outputs]
        self.tensors = _tensors(self.model.graph)
        self._compiled = compile_model(self.model)
        self._analysis: ErrorAnalysis | None = None

    @property
    def analysis(self) -> ErrorAnalysis:
        """The float error analysis, made on first use."""
        if self._analysis is None:
            self._analysis = ErrorAnalysis(self.model)
        return self._analysis

    @property
    def fixed_batch(self) -> int:
        """The number of samples that the model takes at a time; 0 where it takes any number."""
        sizes = [value.shape[0] for value in self.model.graph.inputs if value.shape]
        return max([0, *(size for size in sizes if isinstance(size, int))])

    def nodes(self) -> list[tuple[str, int]]:
        """Return the operator and the number of outputs of every node, in order."""
        return [(operator(node), len(node.outputs)) for node in self.model.graph]

    def feed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays under the names of this side."""
        return dict(zip(self.inputs, arrays.values(), strict=True))

    def run(self, arrays: Mapping[str, Array], pairs: Sequence[_Pair], side: int) -> dict[str, Array]:
        """Return the paired tensors under their names here."""
        names = [pair.right if side else pair.left for pair in pairs]
        return dict(self._compiled.run(arrays, intermediates=names))


def _tensors(graph: ir.Graph) -> dict[str, _Tensor]:
    """Return all named tensors but the inputs, in the order in which the model computes them."""
    dependent: set[ir.Value] = set(graph.inputs)
    batch = {str(value.shape[0]) for value in graph.inputs if value.shape}
    found: dict[str, _Tensor] = {}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.is_initializer() and value.name:
                found.setdefault(value.name, _Tensor("initializer", True, False, None))
        runs = has_graphs(node) or any(value in dependent for value in node.inputs)
        for value in node.outputs:
            if runs:
                dependent.add(value)
            if value.name:
                sampled = runs and value.shape is not None and len(value.shape) > 0 and str(value.shape[0]) in batch
                found[value.name] = _Tensor(operator(node), not runs, sampled, _frame(value, sampled) if runs else None)
    return found


def _frame(value: ir.Value, sampled: bool) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return sizes[1:] if sampled else sizes


def _output_places(left: ir.Model, right: ir.Model) -> list[int]:
    """Return for each output of the left model its place among those of the right one."""
    names = [[value.name or "" for value in model.graph.outputs] for model in (left, right)]
    if len(names[0]) != len(names[1]):
        raise InvalidInput(
            f"outputs: one model has {len(names[0])} ({', '.join(names[0])}), the other {len(names[1])} "
            f"({', '.join(names[1])}); expected as many."
        )
    return by_name(names[0], names[1])


def _pairs(left: _Side, right: _Side, places: Sequence[int], same: Mapping[str, str] | None) -> list[_Pair]:
    """Return the tensors to compare: outputs, and those that are the same or else have the same name."""
    outputs = {name: right.outputs[place] for name, place in zip(left.outputs, places, strict=True)}
    pairs = []
    for name, mine in left.tensors.items():
        other = outputs.get(name, name if same is None else same.get(name, ""))
        theirs = right.tensors.get(other)
        if theirs is None or mine.parameter != theirs.parameter:
            continue
        sampled, output = mine.sampled and theirs.sampled, name in outputs
        alike = (mine.op_type, mine.sampled) == (theirs.op_type, theirs.sampled) and _alike(mine.frame, theirs.frame)
        if output or ((alike or same is not None) and other not in outputs.values()):
            pairs.append(_Pair(name, other, mine.op_type, mine.parameter, sampled, output))
    return pairs


def _alike(left: tuple[int | None, ...] | None, right: tuple[int | None, ...] | None) -> bool:
    """Return whether two shapes can be the same, as far as they are known."""
    if left is None or right is None:
        return True
    return len(left) == len(right) and all(None in (a, b) or a == b for a, b in zip(left, right, strict=True))


def _input_names(model: ir.Model) -> list[str]:
    return [value.name or "" for value in model.graph.inputs if not value.is_initializer()]


def _inputs(left: ir.Model, right: ir.Model, inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return the arrays in the order of each model's inputs."""
    names = [_input_names(model) for model in (left, right)]
    if len(names[0]) != len(names[1]):
        raise InvalidInput(
            f"inputs: one model has {len(names[0])} ({', '.join(names[0])}), the other {len(names[1])} "
            f"({', '.join(names[1])}); expected as many."
        )
    missing = [name for name in names[0] if name not in inputs]
    if missing or len(inputs) != len(names[0]):
        raise InvalidInput(
            f"inputs: found {', '.join(inputs) or 'none'}; expected exactly {', '.join(names[0])}, the inputs of the "
            "first model."
        )
    ordered = {name: np.asarray(inputs[name]) for name in names[0]}
    places = {place: name for name, place in zip(names[0], by_name(names[0], names[1]), strict=True)}
    return [ordered, {names[1][place]: ordered[places[place]] for place in range(len(places))}]  # `feed` renames them


@dataclass(slots=True)
class _Batch:
    """The differences of one batch, pair by pair."""

    pairs: list[_Pair] = field(default_factory=list)
    unequal: list[NDArray[np.bool_]] = field(default_factory=list)


def _compare_batch(
    right: _Side,
    fed: Mapping[str, Array],
    pairs: Sequence[_Pair],
    found: Sequence[Mapping[str, Array]],
    tensors: Mapping[str, TensorDiff],
    part: slice,
    names: tuple[str, str],
) -> Check:
    size = part.stop - part.start
    seen = _Batch()
    for pair in pairs:
        mine, theirs = np.asarray(found[0][pair.left]), np.asarray(found[1][pair.right])
        tensor = tensors[pair.left]
        if pair.sampled and mine.shape == theirs.shape and mine.shape[:1] != (size,):
            pair = replace(pair, sampled=False)  # computed axes put something else in front
        if pair.parameter and part.start:
            continue
        if mine.shape != theirs.shape and pair.output and not pair.parameter:
            raise InvalidInput(
                f"tensor {pair.left}: its shape is {mine.shape} in {names[0]} and {theirs.shape} in {names[1]}; "
                "expected the same. Compare models of one network."
            )
        if mine.shape != theirs.shape:
            tensor.add_other_shape(size if pair.sampled else 1)
        elif pair.parameter:
            tensor.add(mine[None], theirs[None], 0)
        else:
            sides = (mine, theirs) if pair.sampled else (mine[None], theirs[None])
            unequal = tensor.add(*sides, part.start)
            seen.pairs.append(pair)
            seen.unequal.append(np.broadcast_to(unequal, (size,)))
    outcomes = Outcomes(names[0], names[1], size, part.start)
    rows = np.flatnonzero(np.any(seen.unequal, axis=0)) if seen.unequal else np.zeros(0, np.int64)
    if rows.size:
        _classify(right, fed, seen, found, rows, outcomes)
    return outcomes.check()


def _classify(
    right: _Side,
    fed: Mapping[str, Array],
    seen: _Batch,
    found: Sequence[Mapping[str, Array]],
    rows: NDArray[np.int64],
    outcomes: Outcomes,
) -> None:
    compared = {pair.right for pair in seen.pairs}
    # what all samples together give is analysed for all of them
    taken = rows if all(pair.sampled for pair in seen.pairs) else np.arange(outcomes.samples)
    sampled = {pair.right for pair in seen.pairs if pair.sampled}
    quantized = {name: found[1][name] for name in right.analysis.quantized if name in compared}
    quantized = {name: array[taken] if name in sampled else array for name, array in quantized.items()}
    bounds = right.analysis.run(samples_at(fed, taken), quantized, keep=compared)
    outcomes.note(bounds)
    near = [_near(bounds, pair, found[0][pair.left], found[1][pair.right], taken) for pair in seen.pairs]
    hidden = [decision for decision in bounds.decisions if decision.tensor not in compared]
    for position in map(int, np.flatnonzero(np.isin(taken, rows))):
        sample = taken[position]
        first = next(i for i, unequal in enumerate(seen.unequal) if unequal[sample])
        beyond = next((i for i, inside in enumerate(near) if not inside[position]), None)
        pair = seen.pairs[first if beyond is None else beyond]
        sides = [found[0][pair.left], found[1][pair.right]]
        mine, theirs = (side[sample] for side in sides) if pair.sampled else sides
        difference = first_difference(pair.left, int(sample), mine, theirs)
        if beyond is None:
            outcomes.add("rounding", difference)
            continue
        case = _boundary(bounds, pair, mine, theirs, position if pair.sampled else None, int(sample))
        ambiguous = any(_is_ambiguous(decision.ambiguous(), position) for decision in hidden)
        kind = "boundary" if case is not None or ambiguous else "mismatch"
        outcomes.add(kind, difference, case)


def _near(bounds: ErrorBounds, pair: _Pair, mine: Array, theirs: Array, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each sample whether a tensor is equal on both sides, or within its error bound."""
    if pair.sampled:
        return np.asarray(within(bounds, pair.right, mine[rows], theirs[rows]).all(axis=1))
    return np.broadcast_to(within(bounds, pair.right, mine, theirs).all(), rows.shape)


def _boundary(
    bounds: ErrorBounds, pair: _Pair, mine: Array, theirs: Array, position: int | None, sample: int
) -> BoundaryCase | None:
    """Return the decision that may come out as the left model has it, or None where it may not."""
    decision = bounds.decision(pair.right)
    if decision is None:
        return None
    unequal = ~equal_elements(mine, theirs)
    levels = np.asarray(mine) if position is None else np.repeat(mine[None], len(decision.position), axis=0)
    allowed = decision.explains(decision.levels(levels))
    allowed = allowed if position is None else allowed[position]
    if allowed.shape != unequal.shape or not np.all(allowed[unequal]):
        return None
    element = first_true(unequal)
    index = element if position is None else (position, *element)
    return boundary_case(decision, index, sample, element)


def _is_ambiguous(mask: NDArray[np.bool_], position: int) -> bool:
    return bool(mask.ndim and position < len(mask) and mask[position].any())

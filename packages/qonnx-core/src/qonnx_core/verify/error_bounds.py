"""Running float32 error analysis of a cleaned QONNX graph: how far any float32 computation can be from exact.

The exact meaning of a graph takes its constants and inputs as the numbers they are and computes without rounding,
except in its quantizers. `ErrorAnalysis` evaluates that meaning in float64 between the quantizers, given what each
quantizer decided, together with a bound on the error of every float32 computation, in any order of the sums. From
both follows which decisions a correct float32 computation could have taken differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.verify.bounded import SLACK, Bounded, Float64, Mask, NoBound, with_errors
from qonnx_core.verify.float_rules import float_rule
from qonnx_core.verify.quantizers import Quantizer, is_step_function, make_quantizer

Array = NDArray[np.generic]

_SELECTORS = frozenset({"ArgMax", "ArgMin", "TopK"})


@dataclass(frozen=True, slots=True)
class QuantizerDecision:
    """What a quantizer decides, given its input: the reachable levels of every element, from ``low`` to ``high``."""

    tensor: str
    quantizer: Quantizer
    position: Float64
    error: Float64
    low: Float64
    high: Float64

    def ambiguous(self) -> Mask:
        """Return where two correct float32 computations can give different levels."""
        return np.asarray((self.low != self.high) & np.isfinite(self.error))

    def explains(self, levels: Float64) -> Mask:
        """Return where a correct float32 computation can give this level."""
        inside = (self.low <= levels) & (levels <= self.high)
        return np.asarray(inside & np.isfinite(self.error))

    def levels(self, values: Array) -> Float64:
        """Return the levels of output values of the quantizer."""
        return self.quantizer.level(np.asarray(values, dtype=np.float64))

    def boundary(self, index: tuple[int, ...]) -> float | None:
        """Return the rounding boundary nearest to the value before the quantizer, in steps, if they can be listed."""
        if self.quantizer.boundaries is None:
            return None
        return float(np.broadcast_to(self.quantizer.boundaries(self.position), self.position.shape)[index])


@dataclass(frozen=True, slots=True)
class SelectorDecision:
    """What ArgMax, ArgMin or TopK decides: ``possible[..., index, rank]`` says which index can take which rank.

    ``position`` and ``error`` are those of the candidates, ``axis`` is where indices and ranks lie.
    """

    tensor: str
    position: Float64
    error: Float64
    certain_wins: NDArray[np.int64]
    possible_wins: NDArray[np.int64]
    ranks: int
    axis: int
    keep_axis: bool

    def _taken(self) -> Mask:
        """Shape ``(..., candidates, ranks)``: True where the candidate can take the rank."""
        ranks = np.arange(self.ranks)
        return np.asarray((self.certain_wins[..., None] <= ranks) & (ranks <= self.possible_wins[..., None]))

    def _restore(self, result: Array) -> Array:
        return np.moveaxis(result, -1, self.axis) if self.keep_axis else result[..., 0]

    def ambiguous(self) -> Mask:
        """Return where two correct float32 computations can give different indices."""
        return np.asarray(self._restore(self._taken().sum(axis=-2) > 1), dtype=bool)

    def explains(self, levels: Float64) -> Mask:
        """Return where a correct float32 computation can give this index."""
        wanted = levels.astype(np.int64)
        wanted = np.moveaxis(wanted, self.axis, -1) if self.keep_axis else wanted[..., None]
        inside = (wanted >= 0) & (wanted < self.position.shape[-1])
        safe = np.where(inside, wanted, 0)
        possible = np.take_along_axis(self._taken(), safe[..., None, :], axis=-2)[..., 0, :]
        return np.asarray(self._restore(possible & inside), dtype=bool)

    def levels(self, values: Array) -> Float64:
        """Return the indices as float64."""
        return np.asarray(values, dtype=np.float64)

    def boundary(self, index: tuple[int, ...]) -> float | None:
        """None: a tie between two values is no fixed boundary."""
        del index
        return None


Decision = QuantizerDecision | SelectorDecision


@dataclass(slots=True)
class ErrorBounds:
    """Exact values with error bounds of the kept tensors, and every decision in topological order.

    ``unbounded`` names each tensor whose operator has no known bound, with the reason.
    """

    tensors: dict[str, Bounded] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    unbounded: dict[str, str] = field(default_factory=dict)

    def decision(self, tensor: str) -> Decision | None:
        """Return the decision that gives a tensor, or None where no quantizer or selection does."""
        return next((decision for decision in self.decisions if decision.tensor == tensor), None)


class ErrorAnalysis:
    """The error analysis of one model; constants are evaluated once, `run` is called for each batch."""

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self._outputs = [_name(value) for value in graph.outputs]
        self._inputs = [_name(value) for value in graph.inputs if _name(value) not in graph.initializers]
        self._constants: dict[str, Bounded] = {}
        self._unbounded: dict[str, str] = {}
        for name, value in graph.initializers.items():
            if value.const_value is None:
                raise InvalidModel(
                    f"initializer {name}: it has no data; expected a tensor. Keep external data beside it."
                )
            self._constants[name] = _exact(value.const_value.numpy())
        self._nodes: list[ir.Node] = []
        for node in graph:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._constants[_name(node.outputs[0])] = _exact(_constant_of(node))
            elif all(value is None or value.name in self._constants for value in node.inputs):
                self._evaluate(node, self._constants, {}, ErrorBounds(unbounded=self._unbounded))
            else:
                self._nodes.append(node)
        self._uses = Counter(
            value.name for node in self._nodes for value in node.inputs if value is not None and value.name
        )

    @property
    def quantized(self) -> list[str]:
        """The tensors whose values depend on the input and come right from a quantizer, in topological order."""
        return [_name(node.outputs[0]) for node in self._nodes if is_step_function(node)]

    def run(
        self,
        inputs: Mapping[str, Array],
        quantized: Mapping[str, Array] | None = None,
        *,
        input_errors: Mapping[str, Float64] | None = None,
        keep: Collection[str] = (),
    ) -> ErrorBounds:
        """Return bounds for the model's outputs and the tensors in ``keep``, and all decisions.

        ``quantized`` holds what a computation found for each quantized tensor; bounds are those under the condition
        that every computation found the same. Without it the decisions of the exact meaning are taken.
        ``input_errors`` bounds how far the inputs are from what they stand for (absent: they are exact).
        """
        result = ErrorBounds(unbounded=dict(self._unbounded))
        values: dict[str, Bounded] = dict(self._constants)
        for name in self._inputs:
            if name not in inputs:
                raise InvalidInput(f"input {name}: found no array; expected one for each of {', '.join(self._inputs)}.")
            values[name] = _exact(np.asarray(inputs[name]))
            if input_errors is not None and name in input_errors:
                values[name] = with_errors(values[name].real, input_errors[name])
        wanted = {*self._outputs, *keep}
        uses = self._uses.copy()
        for node in self._nodes:
            with np.errstate(all="ignore"):  # beyond the largest number a bound is infinite or not a number: none
                self._evaluate(node, values, quantized or {}, result)
            for value in node.inputs:
                if value is None or not value.name:
                    continue
                uses[value.name] -= 1
                if not uses[value.name] and value.name not in wanted:
                    values.pop(value.name, None)
        result.tensors = {name: values[name] for name in wanted if name in values}
        return result

    def _evaluate(
        self,
        node: ir.Node,
        values: dict[str, Bounded],
        quantized: Mapping[str, Array],
        result: ErrorBounds,
    ) -> None:
        operands = [None if value is None or not value.name else values.get(value.name) for value in node.inputs]
        missing = [
            value.name
            for value, operand in zip(node.inputs, operands, strict=True)
            if value is not None and value.name and operand is None
        ]
        outputs = [_name(value) for value in node.outputs if value.name]
        if is_step_function(node) and (not missing or (outputs[0] in quantized and missing == [node.inputs[0].name])):  # type: ignore[union-attr]
            values[outputs[0]] = _quantize(node, operands, quantized.get(outputs[0]), result)
            return
        if missing:
            for name in outputs:
                result.unbounded.setdefault(name, f"no bound for its input {missing[0]}")
            return
        rule = float_rule(node)
        try:
            if node.op_type in _SELECTORS and node.domain in ("", "ai.onnx"):
                for name, bounded in zip(outputs, _select(node, operands, result), strict=False):
                    values[name] = bounded
            elif rule is None:
                raise NoBound("no float error bound is known for this operator")
            else:
                found = rule(node, operands)
                values.update(zip(outputs, found if isinstance(found, list) else [found], strict=False))
        except NoBound as reason:
            for name in outputs:
                result.unbounded[name] = f"{node.name} ({node.op_type}): {reason}"
        except (ArithmeticError, IndexError, ValueError) as error:  # a file that contradicts itself
            for name in outputs:
                result.unbounded[name] = f"{node.name} ({node.op_type}): its operands do not fit together ({error})"


def _quantize(node: ir.Node, operands: list[Bounded | None], found: Array | None, result: ErrorBounds) -> Bounded:
    """Return the exact value of what a quantizer gave; a decision is noted too."""
    quantizer = make_quantizer(node, operands)
    before = operands[0]
    if before is None:
        level = quantizer.level(np.asarray(found, dtype=np.float64))
        unknown = np.full(level.shape, np.nan)
        result.decisions.append(
            QuantizerDecision(quantizer.tensor, quantizer, unknown, np.full(level.shape, np.inf), level, level)
        )
        return quantizer.value(level)
    steps = quantizer.steps(before)
    if found is not None:
        level = quantizer.level(np.asarray(found, dtype=np.float64))
    else:
        # float32 as the executor divides; exact wherever the decision is not within the error of a boundary
        level = quantizer.outcome(steps.position.astype(np.float32).astype(np.float64))
    low, high = quantizer.outcomes(steps)
    result.decisions.append(QuantizerDecision(quantizer.tensor, quantizer, steps.position, steps.error, low, high))
    return quantizer.value(level)


def _select(node: ir.Node, operands: list[Bounded | None], result: ErrorBounds) -> list[Bounded]:
    """Return the outputs of ArgMax, ArgMin or TopK: indices (ties to the lowest) and, for TopK, the selected values."""
    x = operands[0]
    if x is None or node.attributes.get_int("select_last_index", 0) == 1:
        raise NoBound("ties that go to the last index")
    largest = node.op_type == "ArgMax" or (node.op_type == "TopK" and node.attributes.get_int("largest", 1) == 1)
    axis = node.attributes.get_int("axis", -1 if node.op_type == "TopK" else 0) % x.value.ndim
    count = 1
    if node.op_type == "TopK":
        operand = operands[1] if len(operands) > 1 else None
        if operand is None or not node.attributes.get_int("sorted", 1):
            raise NoBound("an unknown number of places or places in no order")
        count = int(operand.value.reshape(-1)[0])
    values = np.moveaxis(x.real, axis, -1) * (1.0 if largest else -1.0)
    errors = np.moveaxis(x.errors, axis, -1)
    certain, possible = _wins(values, errors)
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    keep = node.op_type == "TopK" or bool(node.attributes.get_int("keepdims", 1))
    decision = SelectorDecision(_name(node.outputs[-1]), values, errors, certain, possible, count, axis, keep_axis=keep)
    result.decisions.append(decision)
    indices = np.moveaxis(order, -1, axis) if keep else order[..., 0]
    if node.op_type != "TopK":
        return [Bounded(indices.astype(np.int64))]
    selected = np.take_along_axis(x.real, indices, axis=axis)
    error = np.broadcast_to(np.max(x.errors, axis=axis, keepdims=True), selected.shape)
    return [with_errors(selected, np.asarray(error)), Bounded(indices.astype(np.int64))]


def _wins(values: Float64, errors: Float64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each candidate: how many others come before it for certain, and how many possibly."""
    candidates = values.shape[-1]
    certain = np.zeros(values.shape, dtype=np.int64)
    possible = np.zeros(values.shape, dtype=np.int64)
    for other in range(candidates):
        value, error = values[..., other, None], errors[..., other, None]
        exact_tie = (value == values) & (error == 0) & (errors == 0)
        first = np.arange(candidates) > other
        certain += (value - error * SLACK > values + errors * SLACK) | (exact_tie & first)
        reachable = (value + error * SLACK >= values - errors * SLACK) & ~exact_tie
        possible += (reachable | (exact_tie & first)) & (np.arange(candidates) != other)
    return certain, possible


def _exact(array: Array) -> Bounded:
    array = np.asarray(array)
    if array.dtype.kind in "iub":
        return Bounded(array.astype(np.int64))
    return Bounded(array.astype(np.float64))


def _constant_of(node: ir.Node) -> Array:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.TENSOR:
            return np.asarray(attribute.as_tensor().numpy())
        if attribute.type == ir.AttributeType.FLOAT:
            return np.asarray(attribute.as_float(), dtype=np.float32)
        if attribute.type == ir.AttributeType.INT:
            return np.asarray(attribute.as_int(), dtype=np.int64)
        if attribute.type == ir.AttributeType.FLOATS:
            return np.asarray(attribute.as_floats(), dtype=np.float32)
        if attribute.type == ir.AttributeType.INTS:
            return np.asarray(attribute.as_ints(), dtype=np.int64)
    raise InvalidModel(f"{node.name} (Constant): found no numbers in it; expected a tensor. Run cleanup_model.")


def _name(value: ir.Value) -> str:
    return value.name or ""


def iterate_batches(samples: int, batch: int) -> Iterator[slice]:
    """Slices of at most ``batch`` samples that cover all of them."""
    return (slice(start, min(start + batch, samples)) for start in range(0, samples, batch))

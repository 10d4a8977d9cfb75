"""Integer layers as one combinational network of adders and comparators: distributed arithmetic by alkaid.

The solver shares partial sums between the columns of a constant matrix. Tensors are carried as a traced part plus a
known integer offset, so that biases, bases of quantizers and the -1/+1 of bipolar tensors are folded into the next
layer's constants instead of costing adders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backend_hls4ml.arithmetic import (
    Value,
    arg_extreme,
    arg_ranked,
    count_at_least,
    fresh,
    is_constant,
    plus,
    shift_round_clip,
    times,
    tree_sum,
)
from backend_hls4ml.optimize import optimize
from backend_hls4ml.options import Options
from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import view

IntArray = npt.NDArray[np.int64]

SOLVER_OPTIONS = {"binary_lut": False}
"""Off throughout: alkaid 0.8.2 reads these tables of one-bit inputs backwards where the bits carry a negative sign."""

_ADDER_SIZE, _CARRY_SIZE, _NO_CUTOFF = 1, -1, -1
_LIMIT = 2**30  # alkaid keeps constants in 32 bits
_BLOCK_COLUMNS = 64
_WEIGHT_BITS = 16  # alkaid takes a matrix in single precision; wider weights go in parts


@dataclass(frozen=True, slots=True)
class Bundle:
    """The elements of a tensor, row-major: ``values[i] + offset[i]``, or ``offset[i]`` where ``values[i]`` is None."""

    values: tuple[Value | None, ...]
    offset: IntArray

    def element(self, index: int) -> Value | None:
        """Return an element with its offset added, or None for a constant."""
        value = self.values[index]
        return None if value is None else plus(value, int(self.offset[index]))


@dataclass(frozen=True)
class Network:
    """A traced partition: alkaid's logic, and what its columns are.

    The inputs of the logic are the elements of all input ports, in order. ``columns[p][i]`` is the output column that
    holds element ``i`` of output port ``p``, or -1 where the element is the constant ``constants[p][i]``. Bipolar
    elements are bits.
    """

    logic: Any
    input_sizes: tuple[int, ...]
    bipolar_inputs: tuple[bool, ...]
    bipolar_outputs: tuple[bool, ...]
    columns: tuple[tuple[int, ...], ...]
    constants: tuple[tuple[int, ...], ...]

    @property
    def cost(self) -> float:
        """The LUTs by alkaid's estimate; for ranking."""
        return float(self.logic.cost)

    def run(self, inputs: Sequence[IntArray]) -> list[IntArray]:
        """Return the integers ``(N, elements)`` of every output for those of every input, both in port order."""
        raw = [
            (x > 0).astype(np.float64) if bipolar else x.astype(np.float64)
            for x, bipolar in zip(inputs, self.bipolar_inputs, strict=True)
        ]
        arguments = np.ascontiguousarray(np.concatenate(raw, axis=1))
        produced = np.rint(np.asarray(self.logic.predict(arguments, n_threads=1))).astype(np.int64)
        produced = produced.reshape(len(arguments), -1)
        results = []
        for columns, constants, bipolar in zip(self.columns, self.constants, self.bipolar_outputs, strict=True):
            result = np.where(np.asarray(columns) < 0, np.asarray(constants), produced[:, np.maximum(columns, 0)])
            results.append(2 * result - 1 if bipolar else result)
        return results


def signed_digits(weights: IntArray) -> int:
    """Return how many non-zero digits the weights have in canonical signed-digit form: the adders before sharing."""
    magnitude = np.abs(weights).astype(np.uint64)
    return int(np.bitwise_count((magnitude * 3) ^ magnitude).sum())


def trace_network(
    inputs: Sequence[view.IntTensor], outputs: Sequence[view.IntTensor], layers: Sequence[view.Layer], options: Options
) -> Network:
    """Return the layers between the inputs and outputs as one network.

    Raises:
        Unsupported: for a layer that is not covered, a range beyond 31 bits, or a network beyond ``max_digits``.
    """
    _check_size(layers, options)
    try:
        return _trace(inputs, outputs, layers, options)
    except AssertionError:
        # alkaid's clean-up passes evaluate the logic again; where that finds a wider range, its tables do not cover it
        if options.threshold_form == "comparators":
            raise
        return _trace(inputs, outputs, layers, replace(options, threshold_form="comparators"))


def _trace(
    inputs: Sequence[view.IntTensor], outputs: Sequence[view.IntTensor], layers: Sequence[view.Layer], options: Options
) -> Network:
    bundles: dict[str, Bundle] = {}
    traced_inputs: list[Value] = []
    for tensor in inputs:
        values = _input_values(tensor)
        traced_inputs += values
        if is_bipolar(tensor):
            bundles[tensor.name] = _bundle([v * 2.0 for v in values], np.full(len(values), -1))
        else:
            bundles[tensor.name] = _bundle(values, np.zeros(len(values), dtype=np.int64))
    for layer in layers:
        bundles[layer.output.name] = _apply(layer, bundles, options)
    return _finish(traced_inputs, inputs, outputs, bundles, options)


def _input_values(tensor: view.IntTensor) -> list[Value]:
    """Return fresh values of all that the element's bits can hold, which is what alkaid's passes assume of inputs."""
    from alkaid.trace import FVArray, HWConfig

    bits, signed = (1, False) if is_bipolar(tensor) else (int(tensor.datatype.bits), bool(tensor.datatype.signed))
    size = 2**bits
    lo = np.full(tensor.elements, -size / 2 if signed else 0.0)
    hardware = HWConfig(_ADDER_SIZE, _CARRY_SIZE, _NO_CUTOFF)
    array = FVArray.from_lhs(lo, lo + (size - 1), np.ones_like(lo), hwconf=hardware, solver_options=SOLVER_OPTIONS)
    return list(np.asarray(array))


def is_bipolar(tensor: view.IntTensor) -> bool:
    """Return whether a tensor holds only -1 and +1, which travel as 0 and 1."""
    return bool(tensor.datatype == DataType.BIPOLAR)


def _check_size(layers: Sequence[view.Layer], options: Options) -> None:
    digits = {layer.name: signed_digits(layer.weights) for layer in layers if isinstance(layer, view.MatMul)}
    total = sum(digits.values())
    if total > options.max_digits:
        largest = max(digits, key=lambda name: digits[name])
        raise Unsupported(
            f"{largest}: the weights of this part have {total} non-zero signed digits ({digits[largest]} here); "
            f"fully unrolled distributed arithmetic is built up to {options.max_digits}. "
            "Give the largest layers to the finn backend, which folds them, or raise the option max_digits."
        )


def _bundle(values: Sequence[Value | float | None], offset: IntArray) -> Bundle:
    """Move constants into the offset and refuse ranges that alkaid's 32-bit constants cannot hold."""
    kept: list[Value | None] = []
    total = np.array(offset, dtype=np.int64)
    for i, value in enumerate(values):
        if value is None:
            kept.append(None)
        elif isinstance(value, int | float):
            total[i] += int(value)
            kept.append(None)
        elif is_constant(value):
            total[i] += int(value.low)
            kept.append(None)
        else:
            kept.append(value)
            if max(abs(value.low), abs(value.high)) + abs(int(total[i])) > _LIMIT:
                raise Unsupported(
                    f"distributed arithmetic: a value ranges over {value.low:.0f} .. {value.high:.0f} plus {total[i]}; "
                    f"at most {_LIMIT} in magnitude is exact here. Use fewer bits, or the finn backend for this layer."
                )
    if np.abs(total).max(initial=0) > _LIMIT:
        raise Unsupported(
            f"distributed arithmetic: a constant is {np.abs(total).max()}; at most {_LIMIT} in magnitude is exact. "
            "Use fewer bits, or the finn backend for this layer."
        )
    return Bundle(tuple(kept), total)


def _apply(layer: view.Layer, bundles: dict[str, Bundle], options: Options) -> Bundle:
    if isinstance(layer, view.Add):
        left, right = (bundles[tensor.name] for tensor in layer.inputs)
        return _bundle(
            [b if a is None else a if b is None else a + b for a, b in zip(left.values, right.values, strict=True)],
            left.offset + right.offset,
        )
    source = bundles[layer.input.name]
    count = len(source.values)
    match layer:
        case view.MatMul():
            return _matmul(source, layer, options)
        case view.Reshape():
            return source
        case view.Thresholds():
            return _thresholds(source, layer, options)
        case view.Requantize():
            return _requantize(source, layer)
        case view.Scale():
            factor = _spread(layer.factor, count)
            scaled = [None if v is None else times(v, int(f)) for v, f in zip(source.values, factor, strict=True)]
            return _bundle(scaled, source.offset * factor)
        case view.AddConstant():
            return _bundle(source.values, source.offset + _spread(layer.constant, count))
        case view.LabelSelect():
            return _label_select(source, layer)
        case _:
            raise Unsupported(f"{layer.name}: {type(layer).__name__} has no form in distributed arithmetic.")


def _spread(per_channel: IntArray, count: int) -> IntArray:
    return np.resize(np.asarray(per_channel, dtype=np.int64).reshape(-1), count)


def _matmul(source: Bundle, layer: view.MatMul, options: Options) -> Bundle:
    rows, columns = layer.weights.shape
    bias = np.zeros(columns, dtype=np.int64) if layer.bias is None else np.asarray(layer.bias, dtype=np.int64)
    values: list[Value | None] = []
    offsets: list[IntArray] = []
    for start in range(0, len(source.values), rows):
        part, offset = source.values[start : start + rows], source.offset[start : start + rows]
        values += _vector_times_matrix(part, layer.weights, options.block_weights)
        offsets.append(offset @ layer.weights + bias)
    return _bundle(values, np.concatenate(offsets))


def _vector_times_matrix(vector: Sequence[Value | None], weights: IntArray, block_weights: int) -> list[Value | None]:
    """Return the traced part of ``vector @ weights``, in blocks that the solver takes in one piece."""
    from alkaid.trace import FVArray

    if np.abs(weights).max(initial=0) >= 2**_WEIGHT_BITS:
        low = weights % 2**_WEIGHT_BITS
        halves = [(weights - low) >> _WEIGHT_BITS, low]
        high_part, low_part = (_vector_times_matrix(vector, half, block_weights) for half in halves)
        return [_joined(a, b) for a, b in zip(high_part, low_part, strict=True)]
    live = [i for i, value in enumerate(vector) if value is not None and weights[i].any()]
    columns = weights.shape[1]
    sums: list[list[Value]] = [[] for _ in range(columns)]
    for first in range(0, columns, _BLOCK_COLUMNS):
        width = min(_BLOCK_COLUMNS, columns - first)
        pieces = max(1, -(-len(live) * width // block_weights))
        for rows in np.array_split(np.asarray(live, dtype=np.int64), pieces):
            block = weights[rows, first : first + width]
            if not block.any():
                continue
            array = FVArray(np.array([vector[i] for i in rows], dtype=object), SOLVER_OPTIONS)
            for j, value in enumerate(np.asarray(array @ block.astype(np.float64)).ravel()):
                if block[:, j].any():
                    sums[first + j].append(value)
    return [tree_sum(terms) if terms else None for terms in sums]


def _joined(high: Value | None, low: Value | None) -> Value | None:
    if high is None:
        return low
    high = fresh(high) * 2.0**_WEIGHT_BITS
    return high if low is None else high + low


def _thresholds(source: Bundle, layer: view.Thresholds, options: Options) -> Bundle:
    table = np.asarray(layer.thresholds, dtype=np.int64)
    values: list[Value | None] = []
    offset = np.full(len(source.values), layer.base, dtype=np.int64)
    for i, value in enumerate(source.values):
        row = table[i % len(table)] - source.offset[i]
        if value is None:
            values.append(None)
            offset[i] += layer.step * int((row <= 0).sum())
            continue
        counted, always = count_at_least(value, [int(t) for t in row], options.threshold_form)
        offset[i] += layer.step * always
        values.append(None if counted is None else counted * float(layer.step))
    return _bundle(values, offset)


def _requantize(source: Bundle, layer: view.Requantize) -> Bundle:
    values: list[Value | None] = []
    offset = np.zeros(len(source.values), dtype=np.int64)
    for i, value in enumerate(source.values):
        if value is None:
            offset[i] = requantize_integer(int(source.offset[i]), layer.shift, layer.rounding, layer.lo, layer.hi)
            values.append(None)
        else:
            rounded = shift_round_clip(
                value, int(source.offset[i]), layer.shift, layer.rounding, layer.lo, layer.hi
            )  # fmt: skip
            values.append(rounded)
    return _bundle(values, offset)


def requantize_integer(x: int, shift: int, rounding: str, lo: int, hi: int) -> int:
    """Return ``clip(round(x / 2**shift), lo, hi)`` of one integer, exactly."""
    if shift <= 0:
        return min(max(x << -shift, lo), hi)
    unit, half = 1 << shift, 1 << (shift - 1)
    magnitude, negative = abs(x), x < 0
    match rounding:
        case "FLOOR":
            rounded = x >> shift
        case "CEIL":
            rounded = -(-x >> shift)
        case "ROUND":
            rounded = (x + half - 1 + (x >> shift & 1)) >> shift
        case "UP":
            rounded = (magnitude + unit - 1) >> shift
        case "DOWN":
            rounded = magnitude >> shift
        case "HALF_UP":
            rounded = (magnitude + half) >> shift
        case "HALF_DOWN":
            rounded = (magnitude + half - 1) >> shift
        case _:
            raise Unsupported(f"rounding mode {rounding!r}; expected a rounding mode of the QONNX format.")
    if rounding in ("UP", "DOWN", "HALF_UP", "HALF_DOWN") and negative:
        rounded = -rounded
    return min(max(rounded, lo), hi)


def _label_select(source: Bundle, layer: view.LabelSelect) -> Bundle:
    from alkaid.trace.fixed_variable import FVariable

    channels = layer.input.channels
    hardware = next((v.hwconf for v in source.values if v is not None), None)
    values: list[Value | float | None] = []
    for start in range(0, len(source.values), channels):
        candidates = []
        for i in range(start, start + channels):
            element = source.element(i)
            if element is None:
                constant = float(source.offset[i])
                element = FVariable.from_const(constant, hwconf=hardware) if hardware is not None else constant
            candidates.append(element)
        if hardware is None:
            numbers = [source.offset[i] for i in range(start, start + channels)]
            order = np.argsort(-np.asarray(numbers) if layer.largest else numbers, kind="stable")
            values += [float(index) for index in order[: layer.k]]
        elif layer.k == 1:
            values.append(arg_extreme(candidates, layer.largest))
        else:
            values += [float(v) if isinstance(v, int) else v for v in arg_ranked(candidates, layer.k, layer.largest)]
    return _bundle(values, np.zeros(len(values), dtype=np.int64))


def _finish(
    traced_inputs: list[Value],
    inputs: Sequence[view.IntTensor],
    outputs: Sequence[view.IntTensor],
    bundles: dict[str, Bundle],
    options: Options,
) -> Network:
    from alkaid.trace import trace

    produced: list[Value] = []
    columns: list[tuple[int, ...]] = []
    constants: list[tuple[int, ...]] = []
    for tensor in outputs:
        bundle, bipolar = bundles[tensor.name], is_bipolar(tensor)
        constants.append(tuple((int(c) + 1) // 2 if bipolar else int(c) for c in bundle.offset))
        row: list[int] = []
        for i, part in enumerate(bundle.values):
            row.append(-1 if part is None else len(produced))
            if part is not None:
                value = plus(part, int(bundle.offset[i]))
                produced.append((value + 1.0) * 0.5 if bipolar else value)
        columns.append(tuple(row))
    if not produced:
        produced.append(traced_inputs[0])  # every output is a constant; the pipeline keeps its rhythm all the same
    logic = trace(traced_inputs, produced, optimize=False)
    return Network(
        logic=optimize(logic) if options.optimize else logic,
        input_sizes=tuple(tensor.elements for tensor in inputs),
        bipolar_inputs=tuple(is_bipolar(tensor) for tensor in inputs),
        bipolar_outputs=tuple(is_bipolar(tensor) for tensor in outputs),
        columns=tuple(columns),
        constants=tuple(constants),
    )

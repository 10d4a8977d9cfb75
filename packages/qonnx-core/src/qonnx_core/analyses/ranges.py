"""What every tensor of a quantized model can be: its integer grid, its proven range, and channels that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import onnx_ir as ir

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.elementwise import Affine, at
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.interpreter import Interpretation, interpret
from qonnx_core.passes.streamline.quantize import Bounds, QuantizerOptions, affine_with_bounds
from qonnx_core.passes.streamline.ranges import smallest_datatype
from qonnx_core.passes.streamline.representation import Failed, Represented

_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_SUMS = frozenset(("Add", "Sub", "Sum"))


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What is proven about one tensor; every bound holds for all inputs on their grids.

    ``low`` and ``high`` bound the integers behind the tensor, one entry per channel (last axis in travel order, all
    elements where a frame is flat); ``integers`` is the narrowest type that holds them. ``values`` encloses the
    tensor's exact values. ``stuck`` lists channels that have one value for every input. ``accumulator`` is the
    narrowest type that a sum (a product, a residual addition) needs: partial sums beyond it wrap around and come back.
    ``reason`` says why there is no grid, or nothing at all.
    """

    name: str
    op_type: str
    grid: Grid | None = None
    integers: DataType | None = None
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    values: tuple[float, float] | None = None
    stuck: tuple[int, ...] = ()
    reason: str = ""
    accumulator: DataType | None = None

    def to_dict(self, *, channels: bool = False) -> dict[str, Any]:
        """Return plain JSON values; the bounds of every channel only where asked for."""
        result: dict[str, Any] = {
            "name": self.name,
            "op_type": self.op_type,
            "grid": None if self.grid is None else str(self.grid),
            "integers": None if self.integers is None else str(self.integers),
            "accumulator": None if self.accumulator is None else str(self.accumulator),
            "low": min(self.low) if self.low else None,
            "high": max(self.high) if self.high else None,
            "values": None if self.values is None else list(self.values),
            "stuck_channels": list(self.stuck),
            "reason": self.reason,
        }
        if channels:
            result["channels"] = {"low": list(self.low), "high": list(self.high)}
        return result


def tensor_ranges(model: ir.Model, input_grids: Mapping[str, Grid]) -> dict[str, TensorRange]:
    """Return what is proven about every tensor of a cleaned QONNX model, by name, in the order of the graph.

    Ranges go through products, sums, elementwise functions and quantizers as integers, per channel; a product's range
    is reached by some input, seen by itself. A quantizer that has too many levels to count its thresholds passes on
    the range of its type.
    """
    state = interpret(model, input_grids, QuantizerOptions())
    coarse: Interpretation | None = None
    result: dict[str, TensorRange] = {}
    tensors = [(value, "input") for value in model.graph.inputs if not value.is_initializer()]
    tensors += [(value, node.op_type) for node in model.graph for value in node.outputs]
    for value, op_type in tensors:
        name = value.name or ""
        knowledge = state.known[name]
        if isinstance(knowledge, Failed):
            coarse = coarse or interpret(model, input_grids, QuantizerOptions(only_grids=True))
            knowledge = coarse.known[name]
        if isinstance(knowledge, Constant):
            continue
        if isinstance(knowledge, Failed):
            result[name] = TensorRange(name, op_type, reason=knowledge.reason)
        else:
            result[name] = _range(name, op_type, knowledge, input_grids.get(name))
    return result


def _range(name: str, op_type: str, known: Represented, given: Grid | None) -> TensorRange:
    low, high = (tuple(int(end) for end in side) for side in (known.base.lo, known.base.hi))
    found = known.grid()
    grid = given if given is not None else found if isinstance(found, Grid) else None
    reason = "" if grid is not None else str(found)
    ends = _ends(known, given)
    integers = smallest_datatype(min(low), max(high))
    sums = op_type in _PRODUCTS or (op_type in _SUMS and known.fresh)  # a constant that is added stays outside
    accumulator = integers if sums else None
    if ends is None:
        same = tuple(c for c, (a, b) in enumerate(zip(low, high, strict=True)) if a == b)
        return TensorRange(name, op_type, grid, integers, low, high, None, same, reason, accumulator)
    values = (min(_enclosed(a)[0] for a, _ in ends), max(_enclosed(b)[1] for _, b in ends))
    stuck = tuple(c for c, (a, b) in enumerate(ends) if exact.compare(a, b) == 0)
    return TensorRange(name, op_type, grid, integers, low, high, values, stuck, reason, accumulator)


def _ends(known: Represented, given: Grid | None) -> list[tuple[Real, Real]] | None:
    """Return the smallest and largest value of each channel, or None where the function of the integers is no line."""
    base = known.base
    if given is not None:
        return [(given.exact(int(base.lo[c]), c), given.exact(int(base.hi[c]), c)) for c in range(base.channels)]
    affine = known.affine()
    if affine is not None:
        line: Affine = affine
        lows: Bounds = [None]
        highs: Bounds = [None]
    else:
        bounded = affine_with_bounds(known.chain)
        if isinstance(bounded, str):
            return None
        line, lows, highs = bounded
    ends = []
    for c in range(base.channels):
        gain, offset = at(line.gain, c), at(line.offset, c)
        pair = [_clipped(gain * int(k[c]) + offset, lows, highs, c) for k in (base.lo, base.hi)]
        ends.append((pair[1], pair[0]) if exact.sign(gain) < 0 else (pair[0], pair[1]))
    return ends


def _clipped(value: Real, lows: Bounds, highs: Bounds, channel: int) -> Real:
    low, high = lows[channel % len(lows)], highs[channel % len(highs)]
    if low is not None and exact.compare(value, low) < 0:
        value = low
    if high is not None and exact.compare(value, high) > 0:
        value = high
    return value


def _enclosed(value: Real) -> tuple[float, float]:
    """Return the float64 that is the value, twice, or the two around it."""
    if isinstance(value, Fraction) and abs(value) < 1 << 1000 and Fraction(float(value)) == value:
        return float(value), float(value)
    return exact.float_bounds(value)

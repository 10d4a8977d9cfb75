"""One forward walk over a cleaned graph: every tensor's extent from those of the inputs. Linear in the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import onnx_ir as ir

from qonnx_core.analyses.ranges.branches import branches
from qonnx_core.analyses.ranges.curves import UNARY, stored
from qonnx_core.analyses.ranges.elementwise import ELEMENTWISE
from qonnx_core.analyses.ranges.extent import Extent, Lattice, between, fitted, on_lattice, reals, unbounded
from qonnx_core.analyses.ranges.intervals import FloatArray
from qonnx_core.analyses.ranges.movement import MOVEMENT
from qonnx_core.analyses.ranges.operation import Known, Operation, Rule, shape_of
from qonnx_core.analyses.ranges.pooling import POOLING
from qonnx_core.analyses.ranges.products import PRODUCTS
from qonnx_core.analyses.ranges.quantizers import QUANTIZERS
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.annotations import get_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.sizes import has_no_elements, is_without_elements
from qonnx_core.ops.registry import is_defined
from qonnx_core.passes.streamline import constants
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.elementwise import GridValue

_MAX_CONSTANT = 1 << 27
_NO_ELEMENTS = "a tensor has no elements, so it has no range"
_DIVISIONS = frozenset(("Div", "Mean", "ReduceMean"))
_ALL: dict[str, Rule] = {**MOVEMENT, **ELEMENTWISE, **UNARY, **QUANTIZERS, **PRODUCTS, **POOLING}


def rule_of(node: ir.Node) -> Rule | None:
    """Return the rule of a node's operator, or None where there is none."""
    return _ALL.get(node.op_type) if is_defined(node) else None


class Walk:
    """What is known about each value of a graph, by value."""

    def __init__(
        self, model: ir.Model, grids: Mapping[str, Grid], intervals: Mapping[str, tuple[float, float]]
    ) -> None:
        self._model = model
        self._known: dict[ir.Value, Known] = {}
        self._folded: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] | None = None
        self._opset = model.opset_imports.get("", 21)
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        names = {value.name or "" for value in inputs}
        for name in (*grids, *intervals):
            if name not in names:
                raise InvalidInput(
                    f"ranges: {name} is no input of the model; expected one of {', '.join(sorted(names))}."
                )
        for value in inputs:
            name = value.name or ""
            self._known[value] = fitted(_input(value, grids.get(name), intervals.get(name)), shape_of(value))
        for node in model.graph:
            self._visit(node)

    def extent(self, value: ir.Value) -> Extent | None:
        """Return a tensor's extent, or None for a constant."""
        known = self._known[value]
        return known if isinstance(known, Extent) else None

    def _of(self, value: ir.Value | None) -> Known | None:
        if value is None:
            return None
        if value not in self._known:
            array = constant_array(value)
            if array is None:
                self._known[value] = fitted(unbounded(f"tensor {value.name} comes from outside"), shape_of(value))
            else:
                self._known[value] = _constant(np.asarray(array), f"tensor {value.name}")
        return self._known[value]

    def _visit(self, node: ir.Node) -> None:
        inputs = tuple(self._of(value) for value in node.inputs)
        where = f"{node.name or node.op_type} ({node.op_type})"
        reading = any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
                      for attribute in node.attributes.values())  # fmt: skip
        if not reading and not any(isinstance(known, Extent) for known in inputs):
            for value, known in zip(node.outputs, self._constants(node, inputs, where), strict=True):
                self._known[value] = known
            return
        axis = next((known.axis for known in inputs if isinstance(known, Extent)), 0)
        found: list[Extent] = []
        try:
            if is_without_elements(node) and (len(node.outputs) == 1 or any(map(has_no_elements, node.inputs))):
                raise Unsupported(_NO_ELEMENTS)
            rule = rule_of(node)
            if rule is None:
                raise Unsupported("no range of this operator is known; a quantizer behind it bounds it again")
            operands = branches(node, inputs, self._of, self._opset) if node.op_type == "Where" else inputs
            with np.errstate(all="ignore"):  # bounds that are not finite, or NaN, are no bounds
                found = [
                    stored(extent, value.dtype, drops=node.op_type in _DIVISIONS)
                    for extent, value in zip(rule(Operation(node, operands, self._opset)), node.outputs, strict=False)
                ]
        except Unsupported as error:
            found = [unbounded(f"{where}: {error}", axis)]
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            # a file can contradict itself in ways that no check of its shapes sees; such a node computes nothing
            found = [unbounded(f"{where}: its inputs and attributes do not fit together ({error})", axis)]
        cause = self._cause(node, inputs, where)
        for position, value in enumerate(node.outputs):
            extent = found[position] if position < len(found) else unbounded(f"{where}: an output without a rule", axis)
            if has_no_elements(value):
                extent = unbounded(f"{where}: {_NO_ELEMENTS}", axis)
            extent = fitted(extent, shape_of(value))
            if extent.lattice is None:
                extent = replace(extent, reason=cause or _own(extent.reason, where))
            self._known[value] = extent

    def _cause(self, node: ir.Node, inputs: Iterable[Known | None], where: str) -> str:
        """Return why a node's output cannot be on a grid, where that is its input's fault."""
        if rule_of(node) is None or node.op_type in QUANTIZERS:
            return ""
        for value, known in zip(node.inputs, inputs, strict=True):
            if isinstance(known, Extent) and known.lattice is None and value is not None:
                return f"it depends on {value.name}"
        return ""

    def _constants(self, node: ir.Node, inputs: tuple[Known | None, ...], where: str) -> list[Known]:
        """Return what a node makes of constants; quantized weights stay integers with a scale."""
        try:
            if not node.inputs and node.op_type != "Constant":
                raise Unsupported("numbers that are not known before it runs")
            _check_size(node)
            if node.op_type == "Constant":
                array = constant_array(node.outputs[0])
                if array is None:
                    raise Unsupported("a constant that is no array of numbers")
                return [_constant(np.asarray(array), where)]
            found = constants.evaluate_constant(node, [k if isinstance(k, Constant) else None for k in inputs])
            return [found]
        except (ArithmeticError, IndexError, TypeError, ValueError, Unsupported) as error:
            results: list[Known] = []
            for value in node.outputs:
                array = self._executed(value)
                if array is None:
                    results.append(fitted(unbounded(f"{where}: {error}"), shape_of(value)))
                else:
                    results.append(_constant(array, where))
            return results

    def _executed(self, value: ir.Value) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """Return a constant tensor as constant folding computes it."""
        if prod(size for size in shape_of(value) or () if size is not None) > _MAX_CONSTANT:
            return None
        if self._folded is None:
            from qonnx_core.passes.fold_constants import FoldConstants

            copy = self._model.clone()
            FoldConstants(quantizers=True).run(copy)
            self._folded = {
                name: np.asarray(tensor.const_value.numpy())
                for name, tensor in copy.graph.initializers.items()
                if tensor.const_value is not None
            }
        return self._folded.get(value.name or "")


def _check_size(node: ir.Node) -> None:
    """Raise Unsupported where a constant is too large to be looked at."""
    for value in node.outputs:
        count = prod(size for size in shape_of(value) or () if size is not None)
        if count > _MAX_CONSTANT:
            raise Unsupported(f"a constant of {count} elements; at most {_MAX_CONSTANT} are looked at")


def _own(reason: str, where: str) -> str:
    return reason if reason.startswith(where) else f"{where}: {reason or 'its values lie on no grid'}"


def _constant(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], where: str) -> Known:
    if array.size > _MAX_CONSTANT:
        return fitted(unbounded(f"{where}: a constant of {array.size} elements is not looked at"), array.shape)
    if array.dtype.kind not in "fiub":
        return fitted(unbounded(f"{where}: it holds no numbers"), array.shape)
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        if np.isnan(values).any():
            return fitted(unbounded(f"{where}: it holds NaN"), array.shape)
        return replace(between((values, values), 0, f"{where}: it holds infinities"), shape=array.shape)
    return Constant(values, np.ones((1,) * values.ndim))


def _input(value: ir.Value, grid: Grid | None, interval: tuple[float, float] | None) -> Extent:
    """Return the extent of a model input."""
    shape = shape_of(value)
    rank = len(shape) if shape is not None else 0
    axis = _channel_axis(value, rank)
    if grid is None:
        reason = f"input {value.name}: it lies on no integer grid; name one, e.g. --input-type {value.name}=UINT8*1/255"
        if interval is None:
            return unbounded(reason, axis)
        low, high = interval
        if not low <= high:
            raise InvalidInput(f"input {value.name}: range {low:g} to {high:g}; expected two numbers in rising order.")
        return between((np.full((1,) * rank, float(low)), np.full((1,) * rank, float(high))), axis, reason)
    size = shape[axis] if shape else None
    if grid.channels not in (1, size):
        raise InvalidInput(
            f"input {value.name}: its grid has {grid.channels} channels, the tensor {size}. Give one scale per channel."
        )

    def along(numbers: list[Fraction]) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
        return reals(numbers, tuple(len(numbers) if a == axis else 1 for a in range(rank)) or (1,))

    zeros = [grid.exact(0, c) for c in range(grid.channels)]
    scales = [grid.exact(1, c) - zero for c, zero in enumerate(zeros)]
    ends = [np.full((1,) * max(rank, 1), int(end), np.int64) for end in grid.integers]
    lattice = Lattice(along(scales), along(zeros), ends[0], ends[1], grid.datatype)
    found = on_lattice(lattice, axis)
    if GridValue(grid).is_linear():
        return found
    # the float32 nearest to a number between two float32 numbers is one of these
    below, above = found.lo.astype(np.float32), found.hi.astype(np.float32)
    lo = np.minimum(found.lo, np.nextafter(below, np.float32(-np.inf)).astype(np.float64))
    hi = np.maximum(found.hi, np.nextafter(above, np.float32(np.inf)).astype(np.float64))
    return Extent(_nearest(found.lo, lo), _nearest(found.hi, hi), axis, lattice, rounded=True)


def _nearest(value: FloatArray, wide: FloatArray) -> FloatArray:
    """Return the value where it is a float32, else the wider bound."""
    same = value.astype(np.float32).astype(np.float64) == value
    return np.where(same, value, wide)


def _channel_axis(value: ir.Value, rank: int) -> int:
    """Return the axis of an input's channels: by its layout, else axis 1 of pictures and the last axis of the rest."""
    layout = get_layout(value)
    if layout is not None and "C" in layout and len(layout) == rank:
        return layout.index("C")
    if rank == 4 and value.shape is not None:
        sizes = [size if isinstance(size, int) else 0 for size in value.shape]
        return 3 if not sizes[1] > 4 >= sizes[3] > 0 and sizes[1] > 4 >= sizes[3] else 1
    return max(rank - 1, 0)

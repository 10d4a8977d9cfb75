"""Computes shapes ahead of time, batch included: a chain from Shape to Reshape becomes a constant such as [0, -1]."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import new_constant
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.passes.resize_sizes import sizes_of, use_factors

_Dim = int | str  # a number, or the name of a symbolic dimension
_MAX_ELEMENTS = 64  # longer integer tensors are data, not shapes


@dataclass(frozen=True)
class _Vector:
    """An integer tensor of rank 0 or 1 whose elements are numbers or symbols."""

    dims: tuple[_Dim, ...]
    rank: int


@dataclass(frozen=True)
class FoldShapes:
    """Replace integers that follow from shapes by constants.

    What depends on numbers only becomes a constant. Where a Reshape's target holds one symbol, it becomes 0 (the
    dimension of the input at that place) or -1. A Resize whose sizes hold symbols gives factors where the input has
    the same symbols at their places.
    """

    name: str = "fold_shapes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of values and targets that became constants."""
        graph = model.graph
        known: dict[ir.Value, _Vector] = {}
        computed: set[ir.Value | None] = set()  # constants that this run made
        names = Names(graph)
        folded = 0
        for node in list(graph):
            if node.domain not in ("", "ai.onnx"):
                continue
            if node.op_type == "Reshape":
                folded += _fold_target(graph, node, known, names)
            elif node.op_type == "Resize":
                folded += _fold_sizes(graph, node, known, names)
            vector = _evaluate(node, known)
            if vector is None:
                continue
            known[node.outputs[0]] = vector
            # What is made of constants of the file alone is left to constant folding.
            is_new = node.op_type == "Shape" or any(
                value in computed or constant_array(value) is None for value in node.inputs
            )
            if is_new and all(isinstance(dim, int) for dim in vector.dims):
                folded += _make_constant(graph, node.outputs[0], vector, computed, names)
        if folded:
            RemoveUnused().run(model)
        return folded


def _evaluate(node: ir.Node, known: Mapping[ir.Value, _Vector]) -> _Vector | None:
    if node.op_type == "Shape":
        return _shape_of(node)
    rule = _RULES.get(node.op_type)
    if rule is None or len(node.outputs) != 1:
        return None
    inputs = [_vector(value, known) for value in node.inputs]
    if not inputs or any(vector is None for vector in inputs):
        return None
    return rule(node, [vector for vector in inputs if vector is not None])


def _vector(value: ir.Value | None, known: Mapping[ir.Value, _Vector]) -> _Vector | None:
    if value is None:
        return None
    if value in known:
        return known[value]
    array = constant_array(value)
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1 or array.size > _MAX_ELEMENTS:
        return None
    return _Vector(tuple(int(number) for number in array.reshape(-1)), array.ndim)


def _shape_of(node: ir.Node) -> _Vector | None:
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    dims: list[_Dim] = []
    for dim in data.shape:
        if isinstance(dim, int):
            dims.append(dim)
        elif dim.value is not None:
            dims.append(str(dim.value))
        else:
            return None
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", None)
    return _Vector(tuple(dims[start:end]), 1)


def _gather(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    data, indices = inputs
    if data.rank != 1 or node.attributes.get_int("axis", 0) not in (0, -1):
        return None
    picked = []
    for index in indices.dims:
        if not isinstance(index, int) or not -len(data.dims) <= index < len(data.dims):
            return None
        picked.append(data.dims[index])
    return _Vector(tuple(picked), indices.rank)


def _concat(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    if any(vector.rank != 1 for vector in inputs):
        return None
    return _Vector(tuple(dim for vector in inputs for dim in vector.dims), 1)


def _unsqueeze(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    return _Vector(inputs[0].dims, 1) if inputs[0].rank == 0 and len(inputs[1].dims) == 1 else None


def _squeeze(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    return _Vector(inputs[0].dims, 0) if len(inputs[0].dims) == 1 else None


def _slice(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    numbers: list[int] = []
    for vector in inputs[1:]:
        if len(vector.dims) != 1 or not isinstance(vector.dims[0], int):
            return None
        numbers.append(vector.dims[0])
    if inputs[0].rank != 1 or len(node.inputs) != len(inputs):
        return None
    start, end, axis, step = [*numbers, *([0, 1][len(numbers) - 2 :])]
    if axis not in (0, -1) or step <= 0:
        return None
    return _Vector(inputs[0].dims[start:end:step], 1)


def _same(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
    if node.op_type == "Cast" and node.attributes.get_int("to", 0) != int(ir.DataType.INT64):
        return None
    return inputs[0]


def _arithmetic(
    compute: Callable[[int, int], int | None], neutral: int, *, commutes: bool
) -> Callable[[ir.Node, Sequence[_Vector]], _Vector | None]:
    """Return the rule of an operator on numbers, element by element; a symbol and the neutral number give the symbol.

    ``compute`` returns None where it leaves the result to the runtime.
    """

    def rule(node: ir.Node, inputs: Sequence[_Vector]) -> _Vector | None:
        left, right = inputs
        size = max(len(left.dims), len(right.dims))
        if {len(left.dims), len(right.dims)} - {1, size}:
            return None
        results: list[_Dim] = []
        for index in range(size):
            a, b = left.dims[index % len(left.dims)], right.dims[index % len(right.dims)]
            found: _Dim | None = None
            if isinstance(a, int) and isinstance(b, int):
                found = compute(a, b)
            elif b == neutral:
                found = a
            elif a == neutral and commutes:
                found = b
            if found is None:
                return None
            results.append(found)
        return _Vector(tuple(results), max(left.rank, right.rank))

    return rule


_RULES: Mapping[str, Callable[[ir.Node, Sequence[_Vector]], _Vector | None]] = {
    "Add": _arithmetic(operator.add, 0, commutes=True),
    "Cast": _same,
    "Concat": _concat,
    "Div": _arithmetic(lambda a, b: a // b if a >= 0 and b > 0 else None, 1, commutes=False),
    "Gather": _gather,
    "Identity": _same,
    "Mul": _arithmetic(operator.mul, 1, commutes=True),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _arithmetic(operator.sub, 0, commutes=False),
    "Unsqueeze": _unsqueeze,
}


def _make_constant(
    graph: ir.Graph, value: ir.Value, vector: _Vector, computed: set[ir.Value | None], names: Names
) -> int:
    if not value.uses() or value.is_graph_output():
        return 0
    shape = () if vector.rank == 0 else (len(vector.dims),)
    array = np.asarray(vector.dims, dtype=np.int64).reshape(shape)
    made = new_constant(graph, f"{value.name}/known", array, names)
    value.replace_all_uses_with(made)
    computed.add(made)
    return 1


def _fold_target(graph: ir.Graph, node: ir.Node, known: Mapping[ir.Value, _Vector], names: Names) -> int:
    data, target = node.inputs[0], node.inputs[1]
    vector = None if target is None else known.get(target)
    if data is None or data.shape is None or node.attributes.get_int("allowzero", 0) != 0:
        return 0
    if vector is None:
        return _keep_first_axis(graph, node, data, target, names)
    dims: list[int] = []
    for axis, dim in enumerate(vector.dims):
        if isinstance(dim, int):
            dims.append(dim)
        elif axis < len(data.shape) and not isinstance(data.shape[axis], int) and data.shape[axis] == dim:
            dims.append(0)
        else:
            dims.append(-1)
    if dims.count(-1) > 1:
        return 0
    assert target is not None
    node.replace_input_with(1, new_constant(graph, f"{target.name}/known", np.asarray(dims, np.int64), names))
    return 1


def _fold_sizes(graph: ir.Graph, node: ir.Node, known: Mapping[ir.Value, _Vector], names: Names) -> int:
    """Let a Resize to sizes of which some are symbols that the input has at their places give factors instead."""
    data, sizes = node.inputs[0], sizes_of(node)
    vector = None if sizes is None else known.get(sizes)
    if vector is None or data is None or data.shape is None or len(vector.dims) != len(data.shape):
        return 0
    if all(isinstance(dim, int) for dim in vector.dims):
        return 0
    before = [dim if isinstance(dim, int) else dim.value for dim in data.shape]
    return int(use_factors(graph, node, (), before, vector.dims, names))


def _keep_first_axis(graph: ir.Graph, node: ir.Node, data: ir.Value, target: ir.Value | None, names: Names) -> int:
    """Let a constant target ``[-1, ...]`` say 0 in front, where that is the symbolic first dimension of the data."""
    array = constant_array(target)
    assert data.shape is not None
    dims = list(data.shape)
    if array is None or array.ndim != 1 or array.size == 0 or array[0] != -1 or not dims or isinstance(dims[0], int):
        return 0
    inner, rest = [dim for dim in dims[1:] if isinstance(dim, int)], [int(number) for number in array[1:]]
    if len(inner) != len(dims) - 1 or 0 in rest or math.prod(inner) != math.prod(rest):
        return 0
    assert target is not None
    node.replace_input_with(1, new_constant(graph, f"{target.name}/known", np.asarray([0, *rest], np.int64), names))
    return 1

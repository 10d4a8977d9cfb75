"""Values that do not depend on the inputs, such as quantized weights, brought into another shape."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.constants import constant_array, static_shape
from qonnx_core.ir.names import label_of
from qonnx_core.ops.builder import Array
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.elementwise import BROADCASTING, UNARY
from qonnx_core.passes.layouts.emitter import Emitter

Move = Callable[[Array], Array]

_MAX_DEPTH = 16  # nodes between a constant and the value; deeper trees are left to constant folding


class Statics:
    """Rebuilds constants, and element-wise operators on constants, so that a moved tensor comes out.

    ``move`` gets an array with ``rank`` axes, of which some may be 1 because the operator broadcasts them, and returns
    the moved array; it must keep such axes broadcastable. What was rebuilt once is given back the second time.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._imports = emitter.model.opset_imports
        self._made: dict[tuple[ir.Value, Hashable], ir.Value | None] = {}

    def moved(
        self,
        value: ir.Value,
        rank: int,
        key: Hashable,
        move: Move,
        before: ir.Node,
        *,
        data_move: Move | None = None,
        suffix: str = "moved",
    ) -> ir.Value | None:
        """Return the moved value, or None where it is no such tree.

        Args:
            value: the value to move.
            rank: its number of axes.
            key: what tells this move from others.
            move: moves the arrays.
            before: new nodes are put in front of this one.
            data_move: moves what is quantized, where that differs from what happens to the quantizer's parameters.
            suffix: last part of new names.
        """
        return self._moved(value, rank, key, (move, data_move or move), before, suffix, 0, parameter=False)

    def can_move(self, value: ir.Value, rank: int) -> bool:
        """Return whether :meth:`moved` would return a value, for the same move of data and parameters."""
        return can_move(value, rank, self._imports)

    def _moved(
        self,
        value: ir.Value,
        rank: int,
        key: Hashable,
        moves: tuple[Move, Move],
        before: ir.Node,
        suffix: str,
        depth: int,
        *,
        parameter: bool,
    ) -> ir.Value | None:
        memo = (value, (key, parameter))
        if memo not in self._made:
            self._made[memo] = self._make(value, rank, key, moves, before, suffix, depth, parameter)
        return self._made[memo]

    def _make(
        self,
        value: ir.Value,
        rank: int,
        key: Hashable,
        moves: tuple[Move, Move],
        before: ir.Node,
        suffix: str,
        depth: int,
        parameter: bool,
    ) -> ir.Value | None:
        array = constant_array(value)
        if array is not None:
            if array.ndim > rank:
                return None
            if array.size == 1 and array.ndim <= 1 and (parameter or rank > 1):
                return value
            wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
            made = self._emitter.constant(moves[0 if parameter else 1](wide), f"{value.name}/{suffix}")
            merge_annotations(value, made)
            return made
        node = value.producer()
        if node is None or depth >= _MAX_DEPTH or len(node.outputs) != 1 or any(x is None for x in node.inputs):
            return None
        kind = _kind(node, self._imports)
        if kind is None or (kind == "standard" and moves[0] is not moves[1]):
            return None
        sizes = [np.shape(known) for x in node.inputs if (known := constant_array(x)) is not None]
        if kind != "unary":
            _broadcast(node, sizes)
        if kind == "unary":
            shared = [False] + [True] * (len(node.inputs) - 1)
        elif kind == "standard":
            shared = [parameter] * len(node.inputs)
        else:
            shared = [parameter] + [True] * (len(node.inputs) - 1)
        inputs: list[ir.Value] = []
        for index, source in enumerate(node.inputs):
            assert source is not None
            if kind == "unary" and index > 0:
                found: ir.Value | None = source if is_static_scalar(source) else None
            else:
                found = self._moved(
                    source, rank, key, moves, before, suffix, depth + 1, parameter=shared[index] or parameter
                )
            if found is None:
                return None
            inputs.append(found)
        return self._again(node, inputs, before, suffix)

    def _again(self, node: ir.Node, inputs: list[ir.Value], before: ir.Node, suffix: str) -> ir.Value:
        old = node.outputs[0]
        made = self._emitter.node(
            before,
            node.op_type,
            inputs,
            {attribute.name: attribute for attribute in node.attributes.values()},
            stem=f"{node.name or old.name}/{suffix}",
            outputs=[f"{old.name}/{suffix}"],
            domain=node.domain,
            source=node,
        )
        result = made.outputs[0]
        result.type = old.type
        shapes = [static_shape(value) for value in inputs]
        if all(shape is not None for shape in shapes):
            result.shape = ir.Shape(_broadcast(node, [shape for shape in shapes if shape is not None]))
        merge_annotations(old, result)
        return result


def can_move(value: ir.Value, rank: int, imports: dict[str, int]) -> bool:
    """Return whether the value, of at most ``rank`` axes, is a constant or element-wise operators on constants."""
    return _can_move(value, rank, imports, 0, {})


def _can_move(
    value: ir.Value, rank: int, imports: dict[str, int], depth: int, known: dict[tuple[ir.Value, int], bool]
) -> bool:
    if (value, depth) not in known:
        known[value, depth] = _is_movable(value, rank, imports, depth, known)
    return known[value, depth]


def _is_movable(
    value: ir.Value, rank: int, imports: dict[str, int], depth: int, known: dict[tuple[ir.Value, int], bool]
) -> bool:
    array = constant_array(value)
    if array is not None:
        return array.ndim <= rank
    node = value.producer()
    if node is None or depth >= _MAX_DEPTH or len(node.outputs) != 1 or any(x is None for x in node.inputs):
        return False
    kind = _kind(node, imports)
    if kind is None:
        return False
    sources = [source for source in node.inputs if source is not None]
    if kind == "unary":
        scalars = all(is_static_scalar(source) for source in sources[1:])
        return scalars and _can_move(sources[0], rank, imports, depth + 1, known)
    return all(_can_move(source, rank, imports, depth + 1, known) for source in sources)


def _kind(node: ir.Node, imports: dict[str, int]) -> str | None:
    """Return how the node treats its inputs: ``quantizer``, ``standard`` (broadcasting), ``unary`` or None."""
    if is_standard(node):
        if node.op_type in BROADCASTING:
            return "standard"
        return "unary" if node.op_type in UNARY else None
    found = op_class_of(node, imports)
    return "quantizer" if found is not None and found.broadcasts else None


def _broadcast(node: ir.Node, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the common shape of the operands of a node, or say that there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        texts = ", ".join(str(shape) for shape in shapes)
        raise InvalidModel(
            f"{label_of(node)}: inputs have shapes {texts}, which do not go "
            "together; expected shapes that broadcast. Check the parameters."
        ) from error


def is_static_scalar(value: ir.Value) -> bool:
    """Return whether the value is a constant of one element."""
    array = constant_array(value)
    return array is not None and array.size == 1

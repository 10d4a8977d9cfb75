"""How axes in another order go through operators that change the number of axes, and into the weights behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.builder import Array
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.elementwise import ELEMENTWISE
from qonnx_core.passes.layouts.axes import Axes, natural, place_of, same_order, without
from qonnx_core.passes.layouts.conversion import Conversion
from qonnx_core.passes.layouts.emitter import stem_of
from qonnx_core.passes.layouts.regroup import regrouped
from qonnx_core.passes.layouts.rules import attributes_of

Index = NDArray[np.intp]


def convert_flattening(conversion: Conversion, node: ir.Node) -> bool | None:
    """Convert a node that changes the number of axes or reads shuffled columns; None where it is another node."""
    if any(value in conversion.shuffled for value in node.inputs):
        return _absorb(conversion, node)
    if not is_standard(node):
        return None
    if node.op_type in ("Flatten", "Reshape"):
        return _flatten(conversion, node) or _regroup(conversion, node) or _unflatten(conversion, node)
    if node.op_type == "Squeeze":
        return _squeeze(conversion, node)
    return _unsqueeze(conversion, node) if node.op_type == "Unsqueeze" else None


def know_absorbing(conversion: Conversion, nodes: Sequence[ir.Node]) -> None:
    """Note the matrices whose columns can come in any order, because every reader can move its weights instead."""
    for node in reversed(nodes):
        for value in node.outputs:
            readers = [reader for reader, _ in value.uses()]
            if (
                readers
                and conversion.rank(value) == 2
                and not value.is_graph_output()
                and all(reader.graph is conversion.graph and _absorbs(conversion, reader, value) for reader in readers)
            ):
                conversion.absorbed.add(value)


def _absorbs(conversion: Conversion, node: ir.Node, value: ir.Value) -> bool:
    others = [other for other in node.inputs if other is not None and other is not value]
    if node.op_type == "Concat" and is_standard(node):
        widths = [_width(other) for other in node.inputs]
        return node.outputs[0] in conversion.absorbed and _joins_columns(node) and None not in widths
    if sum(other is value for other in node.inputs) != 1:
        return False
    if is_standard(node) and node.op_type in ("MatMul", "Gemm"):
        weights = node.inputs[1]
        return (
            node.inputs[0] is value
            and weights is not None
            and node.attributes.get_int("transA", 0) == 0
            and conversion.rank(weights) == 2
            and _can_move(conversion, weights)
        )
    if not all(output in conversion.absorbed for output in node.outputs):
        return False
    if _kind(conversion, node) == "rows":
        return node.inputs[0] is value and all(constant_array(other) is not None for other in others)
    return _kind(conversion, node) == "elementwise" and all(
        (conversion.rank(other) or 0) <= 2 and _can_move(conversion, other) for other in others
    )


def _width(value: ir.Value | None) -> int | None:
    """Return the number of columns of a matrix, where it is known."""
    width = None if value is None or value.shape is None or len(value.shape) != 2 else value.shape[1]
    return width if isinstance(width, int) else None


def _joins_columns(node: ir.Node) -> bool:
    return node.attributes.get_int("axis", 0) in (1, -1)


def _can_move(conversion: Conversion, value: ir.Value) -> bool:
    return not conversion.depends(value) and conversion.statics.can_move(value, 2)


def _kind(conversion: Conversion, node: ir.Node) -> str:
    """Return ``elementwise``, ``rows`` (parameters with one row per column of the data), or nothing."""
    if is_standard(node):
        if node.op_type in ELEMENTWISE:
            return "elementwise"
        trains = node.attributes.get_int("training_mode", 0) != 0 or len(node.outputs) > 1
        return "rows" if node.op_type == "BatchNormalization" and not trains else ""
    found = op_class_of(node, conversion.model.opset_imports)
    if found is None:
        return ""
    return "elementwise" if found.broadcasts else "rows" if found.op_type == "MultiThreshold" else ""


def _absorb(conversion: Conversion, node: ir.Node) -> bool:
    """Let the node read the shuffled columns, with its own constants in the same order."""
    if node.op_type == "Concat":
        return _absorb_concat(conversion, node)
    value = next(value for value in node.inputs if value in conversion.shuffled)
    stored, index = conversion.shuffled[value]
    if is_standard(node) and node.op_type in ("MatMul", "Gemm"):
        weights = node.inputs[1]
        assert weights is not None
        axis = 1 if node.attributes.get_int("transB", 0) != 0 else 0
        moved = _taken(conversion, weights, index, axis, node)
        rest = [None if other is None else conversion.natural(other, node) for other in node.inputs[2:]]
        conversion.replace(node, node.op_type, [stored, moved, *rest], attributes_of(node), [natural(2)])
        return True
    inputs: list[ir.Value | None] = []
    for other in node.inputs:
        if other is value:
            inputs.append(stored)
        elif other is None:
            inputs.append(None)
        elif _kind(conversion, node) == "rows":
            array = np.asarray(constant_array(other))
            one_row = array.shape[0] != len(index) or len(index) == 1
            inputs.append(other if one_row else conversion.emitter.constant(array[index], f"{other.name}/moved"))
        else:
            inputs.append(_taken(conversion, other, index, 1, node))
    made = conversion.replace(node, node.op_type, inputs, attributes_of(node), [natural(2)] * len(node.outputs))
    for old, new in zip(node.outputs, made.outputs, strict=True):
        conversion.shuffled[old] = (new, index)
    return True


def _absorb_concat(conversion: Conversion, node: ir.Node) -> bool:
    """Join shuffled columns, and others as they are."""
    inputs, indices, start = [], [], 0
    for value in node.inputs:
        width = _width(value)
        assert value is not None
        assert width is not None
        stored, index = conversion.shuffled.get(value, (None, np.arange(width)))
        inputs.append(conversion.natural(value, node) if stored is None else stored)
        indices.append(index + start)
        start += width
    made = conversion.replace(node, "Concat", inputs, attributes_of(node), [natural(2)])
    conversion.shuffled[node.outputs[0]] = (made.outputs[0], np.concatenate(indices))
    return True


def _taken(conversion: Conversion, value: ir.Value, index: Index, axis: int, node: ir.Node) -> ir.Value:
    def move(array: Array) -> Array:
        return array if array.shape[axis] == 1 else np.take(array, index, axis)

    moved = conversion.statics.moved(value, 2, ("columns", axis, index.tobytes()), move, node)
    assert moved is not None, "it was looked at before"
    return moved


def _data(conversion: Conversion, node: ir.Node) -> tuple[ir.Value, Axes] | None:
    """Return the data and the axes of a form other than the natural one, where the natural one is not there."""
    data = node.inputs[0]
    rank = conversion.rank(data)
    if data is None or rank is None or conversion.has(data, natural(rank)) or data.shape is None:
        return None
    axes = conversion.target.axes(rank)
    return (data, axes) if axes is not None and conversion.has(data, axes) else None


def _flatten(conversion: Conversion, node: ir.Node) -> bool:
    """Flatten the stored tensor where that gives the same order, or where the next weights take the other one."""
    found = _data(conversion, node)
    result = node.outputs[0]
    if found is None:
        return False
    data, axes = found
    assert data.shape is not None
    stored = conversion.read(data, axes, node)
    sizes = list(data.shape)
    if same_order(axes, sizes):
        return _reshape(conversion, node, stored, result)
    frame = [size for size in sizes[1:] if isinstance(size, int)]
    whole = result.shape is not None and len(result.shape) == 2 and result.shape[0] == sizes[0]
    fills = whole and result.shape is not None and result.shape[1] == int(np.prod(frame))
    if len(frame) != len(sizes) - 1 or not fills or result not in conversion.absorbed or axes[0] != 0:
        return False
    order = [axis - 1 for axis in axes if axis is not None and axis != 0]
    index = np.arange(int(np.prod(frame))).reshape(frame).transpose(order).reshape(-1)
    made = _flat(conversion, node, stored, [0, int(np.prod(frame))])
    conversion.shuffled[result] = (made, index)
    return True


def _regroup(conversion: Conversion, node: ir.Node) -> bool:
    """Reshape the stored tensor to a stored form of the result, where axes that are joined lie side by side."""
    data, result = node.inputs[0], node.outputs[0]
    rank = conversion.rank(data)
    if data is None or rank is None or result.shape is None or conversion.has(data, natural(rank)):
        return False
    before, after = list(data.shape or ()), list(result.shape)
    axes = next(iter(conversion.forms(data)))
    made = conversion.wish(result)
    wished = None if made is None else regrouped(made, after, before)
    if wished is None or made is None:
        made = regrouped(axes, before, after)
    else:
        axes = wished
    if made is None or None in made or 0 in before:
        return False
    target = [after[axis] for axis in made if axis is not None]
    symbols = [place for place, size in enumerate(target) if not isinstance(size, int)]
    if len(symbols) > 1:
        return False
    numbers = [size if isinstance(size, int) else -1 for size in target]
    if symbols == [0] and axes[0] == 0 and before[0] == after[0]:
        numbers[0] = 0
    vector = conversion.emitter.vector(numbers, f"{stem_of(node)}/shape")
    conversion.replace(node, "Reshape", [conversion.read(data, axes, node), vector], {}, [made])
    return True


def _flat(conversion: Conversion, node: ir.Node, stored: ir.Value, target: Sequence[int]) -> ir.Value:
    """Return the stored tensor in another shape, as the stand-in of the node's output; a Flatten stays a Flatten."""
    inputs, attributes = [stored], attributes_of(node)
    if node.op_type == "Reshape":
        attributes = {}  # without allowzero: a 0 of the new target keeps a size
        inputs.append(conversion.emitter.vector(target, f"{stem_of(node)}/shape"))
    made = conversion.replace(node, node.op_type, inputs, attributes, [natural(len(target))])
    return made.outputs[0]


def _reshape(conversion: Conversion, node: ir.Node, stored: ir.Value, result: ir.Value) -> bool:
    """Replace a Flatten or Reshape whose data lie in the same order as before."""
    if node.op_type == "Flatten":
        if node.attributes.get_int("axis", 1) not in (0, 1):
            return False
        conversion.replace(node, "Flatten", [stored], attributes_of(node), [natural(2)])
        return True
    target = _target(node, result)
    if target is None:
        return False
    _flat(conversion, node, stored, target)
    return True


def _target(node: ir.Node, result: ir.Value) -> list[int] | None:
    """Return the target of a Reshape without sizes that are copied from the data behind the first axis."""
    data, array = node.inputs[0], constant_array(node.inputs[1])
    if array is None or data is None or data.shape is None or node.attributes.get_int("allowzero", 0) != 0:
        return None
    target = [int(number) for number in array.reshape(-1)]
    for place in range(1, len(target)):
        if target[place] == 0:
            size = data.shape[place] if place < len(data.shape) else None
            if not isinstance(size, int):
                return None
            target[place] = size
    return target


def _unflatten(conversion: Conversion, node: ir.Node) -> bool:
    """Let a Reshape give the wanted layout at once, where that is the same order of elements."""
    data, result = node.inputs[0], node.outputs[0]
    rank = conversion.rank(result)
    axes = None if rank is None else conversion.target.axes(rank)
    if node.op_type != "Reshape" or data is None or axes is None or not conversion.is_wanted(result):
        return False
    target = _target(node, result)
    sizes = list(result.shape or ())
    if target is None or axes[0] != 0 or not same_order(axes, sizes):
        return False
    moved = [1 if axis is None else target[axis] for axis in axes]
    inputs = [conversion.natural(data, node), conversion.emitter.vector(moved, f"{stem_of(node)}/shape")]
    conversion.replace(node, "Reshape", inputs, {}, [axes])
    return True


def _squeeze(conversion: Conversion, node: ir.Node) -> bool:
    """Remove the stored axes of size 1."""
    found = _data(conversion, node)
    numbers = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if found is None or numbers is None:
        return False
    data, axes = found
    removed = [int(axis) % len(data.shape or ()) for axis in numbers.reshape(-1)]
    places = [place_of(axis, axes) for axis in removed]
    places += [place for place, axis in enumerate(axes) if axis is None]
    vector = conversion.emitter.vector(sorted(places), f"{stem_of(node)}/axes")
    conversion.replace(node, "Squeeze", [conversion.read(data, axes, node), vector], {}, [without(axes, removed)])
    return True


def _unsqueeze(conversion: Conversion, node: ir.Node) -> bool:
    """Insert axes where the wanted layout has them."""
    data, result = node.inputs[0], node.outputs[0]
    rank, own = conversion.rank(result), conversion.rank(data)
    axes = None if rank is None else conversion.target.axes(rank)
    numbers = constant_array(node.inputs[1])
    if data is None or axes is None or rank is None or own is None or numbers is None:
        return False
    if not conversion.is_wanted(result):
        return False
    added = {int(axis) % rank for axis in numbers.reshape(-1)}
    kept = [axis for axis in axes if axis is not None and axis not in added]
    number = {axis: index for index, axis in enumerate(sorted(kept))}
    inner = tuple(number[axis] for axis in kept)
    places = [place for place, axis in enumerate(axes) if axis is None or axis in added]
    vector = conversion.emitter.vector(places, f"{stem_of(node)}/axes")
    conversion.replace(node, "Unsqueeze", [conversion.read(data, inner, node), vector], {}, [axes])
    return True

"""How operators between others work on tensors whose axes are stored in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.elementwise import ELEMENTWISE
from qonnx_core.passes.layouts.axes import Axes, moved_sizes, natural, place_of, without
from qonnx_core.passes.layouts.conversion import Conversion, fitting_permutation
from qonnx_core.passes.layouts.emitter import stem_of

Rule = Callable[[Conversion, ir.Node], bool]

_REDUCTIONS = tuple(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)


def rule_of(conversion: Conversion, node: ir.Node) -> Rule | None:
    """Return the rule for a node that can work in any order of axes, or None."""
    if is_standard(node):
        return _RULES.get(node.op_type)
    found = op_class_of(node, conversion.model.opset_imports)
    return elementwise if found is not None and found.broadcasts else None


def attributes_of(node: ir.Node, **changed: Any) -> dict[str, Any]:
    """Return the attributes of a node with some of them replaced."""
    return {**{attribute.name: attribute for attribute in node.attributes.values()}, **changed}


def elementwise(conversion: Conversion, node: ir.Node) -> bool:
    """Work on the elements in the order in which they are stored; operands broadcast along the same axes."""
    axes = conversion.choose(node)
    ranks = [conversion.rank(value) for value in node.inputs]
    if axes is None or any(rank is None and value is not None for rank, value in zip(ranks, node.inputs, strict=True)):
        return False
    inputs = [None if value is None else conversion.read_wide(value, axes, node) for value in node.inputs]
    conversion.replace(node, node.op_type, inputs, attributes_of(node), [axes] * len(node.outputs))
    return True


def dropout(conversion: Conversion, node: ir.Node) -> bool:
    """Pass on the data; the further inputs are scalars."""
    axes = conversion.choose(node)
    data = node.inputs[0]
    if axes is None or data is None or conversion.rank(data) is None:
        return False
    rest = [None if value is None else conversion.natural(value, node) for value in node.inputs[1:]]
    inputs = [conversion.read(data, axes, node), *rest]
    conversion.replace(node, node.op_type, inputs, attributes_of(node), [axes] * len(node.outputs))
    return True


def concat(conversion: Conversion, node: ir.Node) -> bool:
    """Concatenate along the stored axis."""
    axes = conversion.choose(node)
    values = [value for value in node.inputs if value is not None]
    if axes is None or any(conversion.rank(value) != len(node.outputs[0].shape or ()) for value in values):
        return False
    inputs = [conversion.read(value, axes, node) for value in values]
    axis = place_of(node.attributes.get_int("axis", 0), axes)
    conversion.replace(node, "Concat", inputs, {"axis": axis}, [axes])
    return True


def along_axis(default: int) -> Rule:
    """Return the rule of an operator that works along its attribute ``axis`` and keeps the shape or its rank."""

    def rule(conversion: Conversion, node: ir.Node) -> bool:
        data = node.inputs[0]
        rank = conversion.rank(data)
        axes = conversion.choose(node, rank)
        if axes is None or data is None or any(conversion.rank(value) != rank for value in node.outputs):
            return False
        rest = [None if value is None else conversion.natural(value, node) for value in node.inputs[1:]]
        changed = attributes_of(node, axis=place_of(node.attributes.get_int("axis", default), axes))
        inputs = [conversion.read(data, axes, node), *rest]
        conversion.replace(node, node.op_type, inputs, changed, [axes] * len(node.outputs))
        return True

    return rule


def quantize_linear(conversion: Conversion, node: ir.Node) -> bool:
    """Quantize per tensor, or per channel along the stored axis; blocked quantization stays as it is."""
    data, scale = node.inputs[:2]
    if scale is None or data is None or node.attributes.get_int("block_size", 0) != 0:
        return False
    if conversion.rank(scale) not in (0, 1):
        return False
    if conversion.rank(scale) == 0 or (scale.shape is not None and list(scale.shape) == [1]):
        return dropout(conversion, node)
    return along_axis(1)(conversion, node)


def slices(conversion: Conversion, node: ir.Node) -> bool:
    """Slice along the stored axes."""
    data, starts = node.inputs[:2]
    axes = conversion.choose(node)
    listed = list(node.inputs) + [None] * 5
    numbers = constant_array(listed[3])
    if axes is None or data is None or starts is None or (listed[3] is not None and numbers is None):
        return False
    if numbers is None:
        count = None if starts.shape is None else starts.shape[0]
        if not isinstance(count, int):
            return False
        numbers = np.arange(count)
    places = conversion.emitter.vector(
        [place_of(int(axis), axes) for axis in numbers.reshape(-1)], f"{stem_of(node)}/axes"
    )
    rest = [None if value is None else conversion.natural(value, node) for value in listed[1:5]]
    rest[2] = places
    conversion.replace(node, "Slice", [conversion.read(data, axes, node), *rest], {}, [axes])
    return True


def pad(conversion: Conversion, node: ir.Node) -> bool:
    """Pad along the stored axes; the amounts are written for all axes."""
    data, pads = node.inputs[:2]
    axes = conversion.choose(node)
    value, chosen = [*node.inputs, None, None][2:4]
    rank = conversion.rank(data)
    if axes is None or rank is None or data is None or pads is None:
        return False
    numbers, listed = constant_array(pads), constant_array(chosen)
    if numbers is not None and (chosen is None or listed is not None):
        begins, ends = np.zeros(rank, np.int64), np.zeros(rank, np.int64)
        places = np.arange(rank) if listed is None else listed.reshape(-1) % rank
        begins[places], ends[places] = numbers.reshape(2, -1)
        moved = [*moved_sizes(begins.tolist(), axes, 0), *moved_sizes(ends.tolist(), axes, 0)]
        amounts = conversion.emitter.vector(moved, f"{stem_of(node)}/pads")
    elif chosen is None and None not in axes:
        order = [axis for axis in axes if axis is not None]
        picked = conversion.emitter.vector([*order, *(axis + rank for axis in order)], f"{stem_of(node)}/order")
        amounts = conversion.insert(node, "Gather", [conversion.natural(pads, node), picked], pads, "moved", axis=0)
    else:
        return False
    inputs = [conversion.read(data, axes, node), amounts, value]
    conversion.replace(node, "Pad", inputs, attributes_of(node), [axes])
    return True


def resize(conversion: Conversion, node: ir.Node) -> bool:
    """Resize along the stored axes, where onnxruntime computes the same bits there: nearest, and linear in 2-D."""
    data = node.inputs[0]
    axes = conversion.choose(node)
    mode = node.attributes.get_string("mode", "nearest")
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if axes is None or data is None or policy != "stretch":
        return False
    if mode != "nearest" and not (mode == "linear" and axes == (0, 2, 3, 1)):
        return False
    region, *sizes = [*node.inputs, None, None, None][1:4]
    region_array = constant_array(region)
    if region is not None and (region_array is None or region_array.size > 0):
        return False
    attributes = attributes_of(node)
    inputs: list[ir.Value | None] = [conversion.read(data, axes, node), None]
    if any(value is not None and not _can_list(node, data, value, axes) for value in sizes):
        if "axes" not in node.attributes:
            return False
        attributes["axes"] = [place_of(axis, axes) for axis in node.attributes["axes"].as_ints()]
        inputs += [None if value is None else conversion.natural(value, node) for value in sizes]
        conversion.replace(node, "Resize", inputs, attributes, [axes])
        return True
    for what, value in zip(("scales", "sizes"), sizes, strict=True):
        inputs.append(None if value is None else _listed(conversion, node, data, value, what, axes))
    attributes.pop("axes", None)
    conversion.replace(node, "Resize", inputs, attributes, [axes])
    return True


def _can_list(node: ir.Node, data: ir.Value, value: ir.Value, axes: Axes) -> bool:
    """Return whether the scales or sizes of all stored axes are known, or computed for all axes."""
    numbers = constant_array(value)
    if "axes" not in node.attributes:
        return numbers is not None or None not in axes
    if numbers is None or data.shape is None:
        return False
    return numbers.dtype.kind == "f" or all(isinstance(size, int) for size in data.shape)


def _listed(
    conversion: Conversion, node: ir.Node, data: ir.Value, value: ir.Value, what: str, axes: Axes
) -> ir.Value | None:
    """Return the scales or sizes of all stored axes, None where they are empty."""
    numbers = constant_array(value)
    if numbers is None:
        order = [axis for axis in axes if axis is not None]
        picked = conversion.emitter.vector(order, f"{stem_of(node)}/order")
        return conversion.insert(node, "Gather", [conversion.natural(value, node), picked], value, what, axis=0)
    if numbers.size == 0:
        return None
    whole: list[Any] = numbers.reshape(-1).tolist()
    if "axes" in node.attributes:
        rank = len(axes) - axes.count(None)
        kept = [1.0] * rank if numbers.dtype.kind == "f" else list(data.shape or ())
        for axis, number in zip(node.attributes["axes"].as_ints(), whole, strict=True):
            kept[axis % rank] = number
        whole = kept
    return conversion.emitter.constant(np.asarray(moved_sizes(whole, axes), numbers.dtype), f"{stem_of(node)}/{what}")


def tile(conversion: Conversion, node: ir.Node) -> bool:
    """Repeat along the stored axes."""
    data = node.inputs[0]
    axes, numbers = conversion.choose(node), constant_array(node.inputs[1])
    if axes is None or data is None or numbers is None:
        return False
    repeats = conversion.emitter.vector(
        [int(str(number)) for number in moved_sizes(numbers.reshape(-1).tolist(), axes)], f"{stem_of(node)}/repeats"
    )
    conversion.replace(node, "Tile", [conversion.read(data, axes, node), repeats], {}, [axes])
    return True


def transpose(conversion: Conversion, node: ir.Node) -> bool:
    """Note that the output is the input in another order; nothing moves until somebody asks for it."""
    data = node.inputs[0]
    rank = conversion.rank(data)
    permutation = None if rank is None else fitting_permutation(node, rank)
    if data is None or permutation is None:
        return False
    forms = {
        tuple(None if axis is None else permutation.index(axis) for axis in axes): stored
        for axes, stored in conversion.forms(data).items()
    }
    conversion.put_forms(node.outputs[0], forms)
    conversion.drop(node)
    return True


def _stored_axes(conversion: Conversion, node: ir.Node) -> Axes | None:
    """Return the axes in which the data of a node that changes the rank should be read, or None for as they are."""
    data = node.inputs[0]
    rank = conversion.rank(data)
    axes = None if rank is None else conversion.target.axes(rank)
    if data is None or rank is None or axes is None or not conversion.depends(data):
        return None
    if conversion.has(data, natural(rank)):
        return axes if any(conversion.is_wanted(value) for value in node.outputs) else None
    return axes if conversion.has(data, axes) else None


def _constant_axes(node: ir.Node, rank: int) -> list[int] | None:
    """Return the axes of the second input, counted from the front; all where there is none; None where not known."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return list(range(rank))
    array = constant_array(node.inputs[1])
    if array is None:
        return None
    if array.size == 0:
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return [int(axis) % rank for axis in array.reshape(-1)]


def reduction(conversion: Conversion, node: ir.Node) -> bool:
    """Reduce the stored axes; equal to the bit where sums are exact."""
    data = node.inputs[0]
    axes = _stored_axes(conversion, node)
    rank = conversion.rank(data)
    reduced = None if rank is None else _constant_axes(node, rank)
    if axes is None or data is None or not reduced:
        return False
    keeps = node.attributes.get_int("keepdims", 1) != 0
    places = sorted(place_of(axis, axes) for axis in reduced)
    result = axes if keeps else without(axes, reduced)
    if not keeps:
        places = sorted([*places, *(place for place, axis in enumerate(axes) if axis is None)])
    vector = conversion.emitter.vector(places, f"{stem_of(node)}/axes")
    conversion.replace(
        node, node.op_type, [conversion.read(data, axes, node), vector], {"keepdims": int(keeps)}, [result]
    )
    return True


def arg_reduction(conversion: Conversion, node: ir.Node) -> bool:
    """Find the index along the stored axis."""
    data = node.inputs[0]
    axes = _stored_axes(conversion, node)
    rank = conversion.rank(data)
    keeps = node.attributes.get_int("keepdims", 1) != 0
    if axes is None or data is None or rank is None or (None in axes and not keeps):
        return False
    axis = node.attributes.get_int("axis", 0) % rank
    result = axes if keeps else without(axes, [axis])
    changed = attributes_of(node, axis=place_of(axis, axes))
    conversion.replace(node, node.op_type, [conversion.read(data, axes, node)], changed, [result])
    return True


def gather(conversion: Conversion, node: ir.Node) -> bool:
    """Pick along the stored axis, with a list of places or a single one; other indices give no layout."""
    data, index = node.inputs[:2]
    axes = _stored_axes(conversion, node)
    rank, inner = conversion.rank(data), conversion.rank(index)
    if axes is None or data is None or index is None or rank is None or inner not in (0, 1):
        return False
    axis = node.attributes.get_int("axis", 0) % rank
    if inner == 0 and None in axes:
        return False
    result = axes if inner == 1 else without(axes, [axis])
    inputs = [conversion.read(data, axes, node), conversion.natural(index, node)]
    conversion.replace(node, "Gather", inputs, {"axis": place_of(axis, axes)}, [result])
    return True


def shape(conversion: Conversion, node: ir.Node) -> bool:
    """Take the sizes of the stored tensor and put them in order: cheaper than to move the tensor."""
    data = node.inputs[0]
    rank = conversion.rank(data)
    if data is None or rank is None or conversion.has(data, natural(rank)):
        return False
    axes, stored = next(iter(conversion.forms(data).items()))
    first, last, _ = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank)).indices(rank)
    order = [place_of(axis, axes) for axis in range(first, last)]
    whole = conversion.insert(node, "Shape", [stored], node.outputs[0], "stored")
    whole.shape = ir.Shape([len(axes)])
    inputs = [whole, conversion.emitter.vector(order, f"{stem_of(node)}/order")]
    conversion.replace(node, "Gather", inputs, {"axis": 0}, [natural(1)])
    return True


_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), along_axis(-1)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), quantize_linear),
    "Concat": concat,
    "Dropout": dropout,
    "Gather": gather,
    "Pad": pad,
    "Resize": resize,
    "Shape": shape,
    "Slice": slices,
    "Split": along_axis(0),
    "Tile": tile,
    "TopK": along_axis(-1),
    "Transpose": transpose,
}

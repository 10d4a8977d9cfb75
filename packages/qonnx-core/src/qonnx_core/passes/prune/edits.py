"""Takes slices out of a model: tensors, attributes, shapes and annotations follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import get_sparsity, merge_annotations, set_sparsity
from qonnx_core.ir.constants import constant_array, constant_tensor
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import is_standard, new_constant, replace_value
from qonnx_core.passes.prune.movements import slice_ranges
from qonnx_core.passes.prune.slices import Contraction, Slices

Kept = Mapping[ir.Value, Mapping[int, NDArray[np.bool_]]]


def kept_slices(slices: Slices, removed: NDArray[np.bool_]) -> dict[ir.Value, dict[int, NDArray[np.bool_]]]:
    """Return, for every tensor and axis that loses slices, which of them it keeps."""
    kept: dict[ir.Value, dict[int, NDArray[np.bool_]]] = {}
    for value, axis, first, size in slices.places():
        gone = removed[first : first + size]
        if gone.any():
            kept.setdefault(value, {})[axis] = ~gone
    return kept


def remove_slices(model: ir.Model, kept: Kept) -> None:
    """Edit the model in place: every tensor keeps the slices given for it."""
    names = Names(model.graph)
    for node in list(model.graph):
        _edit_node(model.graph, node, kept, names)
    for value, axes in kept.items():
        tensor = constant_tensor(value)
        before = list(value.shape or ()) if tensor is None else [int(str(size)) for size in tensor.shape]
        if tensor is not None:
            array = np.asarray(tensor.numpy())
            for axis, keep in axes.items():
                array = np.compress(keep, array, axis=axis)
            _store(value, ir.tensor(np.ascontiguousarray(array), dtype=tensor.dtype, name=value.name))
        dims = [int(np.count_nonzero(axes[axis])) if axis in axes else dim for axis, dim in enumerate(before)]
        value.shape = ir.Shape(dims)
        _follow_sparsity(value, axes)


def _store(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    if value.is_initializer():
        value.const_value = tensor
        return
    node = value.producer()
    assert node is not None
    node.attributes.clear()
    node.attributes["value"] = ir.AttrTensor("value", tensor)
    value.const_value = None


def _follow_sparsity(value: ir.Value, axes: Mapping[int, NDArray[np.bool_]]) -> None:
    """Renumber the channels that a sparsity annotation lists by axis."""
    sparsity = get_sparsity(value)
    if not sparsity:
        return
    changed: dict[object, object] = {}
    for key, entry in sparsity.items():
        keep = axes.get(key) if isinstance(key, int) else None
        if keep is None or not isinstance(entry, set | list | tuple):
            changed[key] = entry
            continue
        number = np.cumsum(keep) - 1
        left = {int(number[c]) for c in entry if isinstance(c, int) and 0 <= c < len(keep) and keep[c]}
        if left:
            changed[key] = left if isinstance(entry, set) else type(entry)(sorted(left))
    set_sparsity(value, changed or None)


def _axes(kept: Kept, value: ir.Value | None) -> Mapping[int, NDArray[np.bool_]]:
    return {} if value is None else kept.get(value, {})


def _edit_node(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    if node.op_type in ("Conv", "ConvTranspose"):
        _edit_groups(node, kept)
    elif node.op_type == "Im2Col":
        _edit_input_shape(node, kept)
    elif is_standard(node) and node.op_type in _EDITS:
        _EDITS[node.op_type](graph, node, kept, names)


def _edit_groups(node: ir.Node, kept: Kept) -> None:
    """Leave out the groups that lose all channels."""
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        return
    x = node.inputs[0]
    assert x is not None
    last = len(x.shape or ()) - 1 if node.domain not in ("", "ai.onnx") else 1
    keep = _axes(kept, x).get(last)
    if keep is not None:
        left = int(keep.reshape(groups, -1).any(1).sum())
        node.attributes["group"] = ir.AttrInt64("group", left)


def _edit_input_shape(node: ir.Node, kept: Kept) -> None:
    keep = _axes(kept, node.inputs[0]).get(3)
    if keep is not None:
        text = node.attributes.get_string("input_shape", "") or ""
        numbers = [part.strip() for part in text.strip("() ").rstrip(",").split(",")]
        numbers[3] = str(int(keep.sum()))
        node.attributes["input_shape"] = ir.AttrString("input_shape", f"({','.join(numbers)})")


def _replace_ints(graph: ir.Graph, node: ir.Node, index: int, numbers: NDArray[np.int64], names: Names) -> None:
    value = new_constant(graph, f"{node.outputs[0].name}/{node.op_type.lower()}_{index}", numbers, names)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _edit_reshape(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    axes = _axes(kept, node.outputs[0])
    target = constant_array(node.inputs[1])
    if axes and target is not None:
        numbers = target.astype(np.int64)
        for axis, keep in axes.items():
            if numbers[axis] > 0:
                numbers[axis] = int(keep.sum())
        _replace_ints(graph, node, 1, numbers, names)


def _edit_resize(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    axes = _axes(kept, node.outputs[0])
    sizes = constant_array(node.inputs[3]) if len(node.inputs) > 3 else None
    if axes and sizes is not None and sizes.size:
        numbers = sizes.astype(np.int64)
        given = list(node.attributes.get_ints("axes") or range(len(numbers)))
        for axis, keep in axes.items():
            if axis in given:
                numbers[given.index(axis)] = int(keep.sum())
        _replace_ints(graph, node, 3, numbers, names)


def _edit_split(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    x = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    rank = len((x.shape if x is not None else None) or ())
    axis %= max(1, rank)
    if axis not in _axes(kept, x):
        return
    sizes = []
    for output in node.outputs:
        keep = _axes(kept, output).get(axis)
        size = output.shape[axis] if output.shape is not None else 0
        sizes.append(int(keep.sum()) if keep is not None else int(str(size)))
    node.attributes.pop("num_outputs", None)
    _replace_ints(graph, node, 1, np.asarray(sizes, np.int64), names)


def _edit_slice(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    x = node.inputs[0]
    axes = _axes(kept, x)
    ranges = slice_ranges(node, len((x.shape if x is not None else None) or ()))
    if ranges is None or not set(axes) & set(ranges):
        return
    starts, ends = [], []
    for axis, (start, end, step) in ranges.items():
        keep = axes.get(axis)
        if keep is not None:
            first, last, _ = slice(start, end).indices(len(keep))
            before = np.concatenate([[0], np.cumsum(keep)])
            start, end = int(before[first]), int(before[max(first, last)])
        starts.append(start)
        ends.append(end)
        assert step == 1 or keep is None  # others are pinned
    order = np.asarray(list(ranges), np.int64)
    steps = np.asarray([step for _, _, step in ranges.values()], np.int64)
    for index, numbers in enumerate((np.asarray(starts), np.asarray(ends), order, steps), start=1):
        _replace_ints(graph, node, index, numbers.astype(np.int64), names)


def _edit_gather(graph: ir.Graph, node: ir.Node, kept: Kept, names: Names) -> None:
    x = node.inputs[0]
    rank = len((x.shape if x is not None else None) or ())
    axis = node.attributes.get_int("axis", 0) % max(1, rank)
    keep = _axes(kept, x).get(axis)
    indices = constant_array(node.inputs[1])
    if keep is None or indices is None:
        return
    number = np.cumsum(keep) - 1
    chosen = indices.astype(np.int64) % len(keep)
    _replace_ints(graph, node, 1, number[chosen[keep[chosen]]].astype(np.int64), names)


_EDITS = {
    "Gather": _edit_gather,
    "Reshape": _edit_reshape,
    "Resize": _edit_resize,
    "Slice": _edit_slice,
    "Split": _edit_split,
}


def add_constant(graph: ir.Graph, contraction: Contraction, amounts: NDArray[np.float64], names: Names) -> None:
    """Add, behind a product, what its removed channels gave to each output; in the bias of a Conv where it has one."""
    node = contraction.node
    y = node.outputs[0]
    dtype = np.dtype(np.float32) if y.dtype is None else y.dtype.numpy()
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    known = constant_array(bias)
    if node.op_type == "Conv" and (bias is None or known is not None):
        total = amounts if known is None else amounts + known.astype(np.float64)
        value = new_constant(graph, f"{y.name}/bias", total.astype(dtype), names)
        if bias is not None:
            merge_annotations(bias, value)
        node.resize_inputs(3)
        node.replace_input_with(2, value)
        return
    amounts = amounts * node.attributes.get_float("alpha", 1.0)
    rank = len(y.shape or ())
    last = node.op_type != "Conv" or node.domain not in ("", "ai.onnx")
    shape = [1] * rank
    shape[rank - 1 if last else 1] = len(amounts)
    constant = new_constant(graph, f"{y.name}/removed_channels", amounts.astype(dtype).reshape(shape), names)
    add = ir.node("Add", [y, constant], name=names.free_for_node(f"{node.name or y.name}/removed_channels"))
    total_value = add.outputs[0]
    total_value.type, total_value.shape = y.type, y.shape
    total_value.name = f"{y.name}/sum"
    name = y.name
    graph.insert_after(node, add)
    replace_value(y, total_value)
    add.replace_input_with(0, y)
    y.name, total_value.name = names.free(f"{name}/without_removed_channels"), name
    y.meta.pop("quant_parameter_tensor_names", None)

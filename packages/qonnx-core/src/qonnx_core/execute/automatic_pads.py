"""Writes padding in a way that onnxruntime computes as ONNX says: automatic padding, and padding wider than windows."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.graphs import graphs_of
from qonnx_core.ir.names import Names, label_of
from qonnx_core.ops.windows import Window, read_window

_POOLS = frozenset(("AveragePool", "LpPool", "MaxPool"))
_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_SAME = ("SAME_LOWER", "SAME_UPPER")


def needs_pads(node: ir.Node) -> bool:
    """Return whether the node has padding that a runtime gets wrong or refuses.

    For ``SAME_UPPER`` and ``SAME_LOWER`` onnxruntime 1.32 looks past dilations, and where a window is shorter than the
    stride it pads by a negative number. It refuses pools whose padding is not smaller than the kernel.
    """
    is_pool = node.op_type in _POOLS
    if (not is_pool and node.op_type not in _WEIGHTS) or node.domain not in ("", "ai.onnx"):
        return False
    attributes = node.attributes
    automatic = attributes.get_string("auto_pad", "NOTSET") if "auto_pad" in attributes else "NOTSET"
    if automatic in _SAME:
        kernel, strides = _kernel(node), attributes.get_ints("strides") or ()
        dilated = any(number != 1 for number in attributes.get_ints("dilations") or ())
        return dilated or kernel is None or any(a < b for a, b in zip(kernel, strides, strict=False))
    return is_pool and automatic != "VALID" and "pads" in attributes and _is_wide(node, attributes.get_ints("pads"))


def write_pads(model: ir.Model) -> int:
    """Write the padding of these nodes out in place; return how many there were. Shapes have to be inferred.

    A MaxPool gets a Pad of its own where it needs one.

    Raises:
        Unsupported: a node's padding depends on sizes that are known at run time only, or is too wide for its pool.
    """
    names = Names(model.graph)
    count = 0
    for graph in graphs_of(model):
        for node in list(graph):
            if needs_pads(node):
                _write(graph, node, names)
                count += 1
    return count


def _write(graph: ir.Graph, node: ir.Node, names: Names) -> None:
    where = label_of(node)
    data, kernel = node.inputs[0], _kernel(node)
    assert data is not None
    sizes = None if data.shape is None else list(data.shape)[2:]
    window = None if kernel is None else read_window(node, kernel, sizes)
    if not isinstance(window, Window):
        raise Unsupported(
            f"{where}: {window or 'the shape of its weights is not known; write kernel_shape'}. onnxruntime pads "
            "otherwise than ONNX says where windows are dilated or shorter than the stride."
        )
    automatic = node.attributes.get_string("auto_pad", "NOTSET") in _SAME
    pads: tuple[int, ...] = window.pads
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes.pop("auto_pad", None)
    if automatic:
        node.attributes.pop("ceil_mode", None)  # there are ceil(size / stride) windows, with it or without
    if node.op_type not in _POOLS or not _is_wide(node, pads):
        return
    if node.op_type != "MaxPool" or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise Unsupported(
            f"{where}: pads are {list(pads)} for a kernel of {list(window.kernel)}; onnxruntime takes only smaller "
            "ones. Write smaller pads."
        )
    if window.ceil and not automatic:
        pads = _reached(where, window, sizes)
        node.attributes.pop("ceil_mode")
    _pad_before(graph, node, data, pads, names)


def _is_wide(node: ir.Node, pads: Sequence[int] | None) -> bool:
    kernel = _kernel(node)
    if kernel is None or pads is None or len(pads) != 2 * len(kernel):
        return False
    return any(map(ge, pads, (*kernel, *kernel)))


def _reached(where: str, window: Window, sizes: Sequence[Any] | None) -> tuple[int, ...]:
    """Return pads with which as many windows fit as there are where a last one may reach beyond the padding."""
    ends = []
    for axis, size in enumerate([None] * window.num_axes if sizes is None else sizes):
        count = window.count(axis, size)
        if count is None:
            raise Unsupported(f"{where}: ceil_mode and the size of the image is not fixed; write pads without it.")
        extent = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        ends.append(max(0, (count - 1) * window.strides[axis] + extent - size - window.begins[axis]))
    return (*window.begins, *ends)


def _pad_before(graph: ir.Graph, node: ir.Node, data: ir.Value, pads: tuple[int, ...], names: Names) -> None:
    """Let a Pad with the least of all numbers stand between the data and the node, which then has no padding."""
    kind: np.dtype[Any] = np.dtype(np.float32) if data.dtype is None else data.dtype.numpy()
    least = np.asarray(-np.inf if kind.kind == "f" else np.iinfo(kind).min, kind)
    axes = len(pads) // 2
    amounts = np.asarray([0, 0, *pads[:axes], 0, 0, *pads[axes:]], np.int64)
    constants = [ir.node("Constant", [], {"value": ir.tensor(array)}) for array in (amounts, least)]
    pad = ir.node("Pad", [data, *(constant.outputs[0] for constant in constants)])
    name = node.name or node.outputs[0].name
    for made, part in zip((*constants, pad), ("amounts", "least", "padded"), strict=True):
        made.name, made.outputs[0].name = names.free_for_node(f"{name}/{part}"), names.free(f"{name}/{part}")
    pad.outputs[0].type = data.type
    graph.insert_before(node, [*constants, pad])
    node.replace_input_with(0, pad.outputs[0])
    node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(pads))


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    written = node.attributes.get_ints("kernel_shape")
    if written:
        return tuple(written)
    index = _WEIGHTS.get(node.op_type, 0)
    weights = node.inputs[index] if 0 < index < len(node.inputs) else None
    dims = () if weights is None or weights.shape is None else tuple(weights.shape)[2:]
    sizes = tuple(dim for dim in dims if isinstance(dim, int))
    return sizes if sizes and len(sizes) == len(dims) else None

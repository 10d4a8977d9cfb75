"""Gives the sizes that ``onnx`` could not infer the names that they have, or new ones that the next run finds again."""

from __future__ import annotations

import itertools
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from qonnx_core.ir.graphs import graphs_of
from qonnx_core.ops.windows import output_size

_GENERATED = re.compile(r"unk__\d+")
_Dims = Sequence[Any]  # the ``Dimension`` messages of a shape
_Constants = Mapping[str, onnx.TensorProto]


def settle_symbols(skeleton: onnx.ModelProto, inferred: onnx.ModelProto, model: ir.Model) -> None:
    """Rename the symbols that inference made up, in place.

    Where a node keeps an axis (Resize by 1, Tile once, Expand to 1, a padded convolution with stride 1), its size is
    that of the data. What is left keeps the made-up name that it has in the model, so that a second run changes
    nothing, also after nodes went; new ones are numbered in the order of the nodes.
    """
    given = {dim.dim_param for info in (*skeleton.graph.input, *skeleton.graph.value_info) for dim in _dims_of(info)}
    if not any(_is_new(dim, given) for graph in _graphs(inferred.graph) for info in _infos(graph)
               for dim in _dims_of(info)):  # fmt: skip
        return
    known: dict[str, str | int] = {}
    _collect(inferred.graph, ChainMap(), ChainMap(), given, known)
    left: list[tuple[Any, str, str | None]] = []  # a size, its symbol, and its name so far
    shapes: Iterator[dict[str, list[str | None]]] = itertools.chain(
        map(_shapes_of, graphs_of(model)), itertools.repeat({})
    )
    for graph, before in zip(_graphs(inferred.graph), shapes, strict=False):
        place = {name: number for number, node in enumerate(graph.node) for name in node.output}
        for info in sorted(_infos(graph), key=lambda info: place.get(info.name, len(place))):
            dims = _dims_of(info)
            old = before.get(info.name, [])
            for dim, name in zip(dims, old if len(old) == len(dims) else [None] * len(dims), strict=True):
                if not _is_new(dim, given):
                    continue
                size = _resolved(dim.dim_param, known)
                if isinstance(size, int):
                    dim.dim_value = size
                elif _GENERATED.fullmatch(size) and size not in given:
                    left.append((dim, size, name))
                else:
                    dim.dim_param = size
    names: dict[str, str] = {}
    taken = set(given)
    for _, symbol, name in left:
        if name is not None and symbol not in names and name not in taken and _GENERATED.fullmatch(name):
            names[symbol] = name
            taken.add(name)
    fresh = (name for name in (f"unk__{number}" for number in itertools.count()) if name not in taken)
    for dim, symbol, _ in left:
        dim.dim_param = names[symbol] if symbol in names else names.setdefault(symbol, next(fresh))


def _shapes_of(graph: ir.Graph) -> dict[str, list[str | None]]:
    """Return the names of the sizes of what the nodes of a graph compute, None for numbers."""
    return {
        value.name or "": [None if isinstance(dim, int) else dim.value for dim in value.shape]
        for node in graph
        for value in node.outputs
        if value.shape is not None
    }


def _resolved(size: str | int, known: Mapping[str, str | int]) -> str | int:
    while isinstance(size, str) and size in known:
        size = known[size]
    return size


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _infos(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.value_info, *graph.output]


def _dims_of(info: onnx.ValueInfoProto) -> _Dims:
    return list(info.type.tensor_type.shape.dim) if info.type.HasField("tensor_type") else []


def _is_new(dim: Any, given: set[str]) -> bool:
    return bool(_GENERATED.fullmatch(dim.dim_param)) and dim.dim_param not in given


def _collect(
    graph: onnx.GraphProto, outer: ChainMap[str, _Dims], constants: ChainMap[str, onnx.TensorProto],
    given: set[str], known: dict[str, str | int],
) -> None:  # fmt: skip
    """Note for generated symbols which size they stand for."""
    shapes = outer.new_child({info.name: _dims_of(info) for info in (*graph.input, *_infos(graph))})
    tensors = constants.new_child({tensor.name: tensor for tensor in graph.initializer})
    for node in graph.node:
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is not None and node.output and node.input:
            before, after = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
            more = len(after) - len(before)  # axes that Expand puts in front
            if before and more >= 0:
                for axis in rule(node, shapes, tensors):
                    if axis >= 0:
                        _note(after[axis + more], before[axis], given, known)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _collect(attribute.g, shapes, tensors, given, known)


def _note(new: Any, old: Any, given: set[str], known: dict[str, str | int]) -> None:
    if not _is_new(new, given) or new.dim_param in known:
        return
    size = _resolved(old.dim_value if old.HasField("dim_value") else old.dim_param, known)
    if size != "" and size != new.dim_param:
        known[new.dim_param] = size


# Rules: which axes of the first input a node keeps


def _array(node: onnx.NodeProto, index: int, tensors: _Constants) -> list[Any] | None:
    name = node.input[index] if index < len(node.input) else ""
    return None if name not in tensors else np.ravel(onnx.numpy_helper.to_array(tensors[name])).tolist()


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])


def _resize(node: onnx.NodeProto, shapes: Mapping[str, _Dims], tensors: _Constants) -> list[int]:
    scales, rank = _array(node, 2, tensors), len(shapes.get(node.input[0], []))
    axes = [axis % rank for axis in _ints(node, "axes")] or list(range(rank))
    if scales is not None and len(scales) not in (0, len(axes)):
        return []
    return [axis for axis in range(rank) if axis not in axes or (scales and scales[axes.index(axis)] == 1)]


def _once(node: onnx.NodeProto, shapes: Mapping[str, _Dims], tensors: _Constants) -> list[int]:
    numbers, rank = _array(node, 1, tensors), len(shapes.get(node.input[0], []))
    return [] if numbers is None else [rank - len(numbers) + n for n, size in enumerate(numbers) if size == 1]


def _window(node: onnx.NodeProto, shapes: Mapping[str, _Dims], tensors: _Constants) -> list[int]:
    rank = len(shapes.get(node.input[0], []))
    kernel = _ints(node, "kernel_shape")
    if not kernel and node.op_type == "Conv" and len(node.input) > 1:
        name = node.input[1]
        sizes = tensors[name].dims if name in tensors else [dim.dim_value for dim in shapes.get(name, [])]
        kernel = [int(size) for size in sizes[2:]]
    axes = len(kernel)
    strides, dilations = (_ints(node, name) or [1] * axes for name in ("strides", "dilations"))
    pads = _ints(node, "pads") or [0] * (2 * axes)
    modes = [attribute.s for attribute in node.attribute if attribute.name == "auto_pad"]
    if axes != rank - 2 or 0 in kernel or not len(strides) == len(dilations) == axes or len(pads) != 2 * axes:
        return []
    if any(mode.startswith(b"SAME") for mode in modes):
        return [axis + 2 for axis in range(axes) if strides[axis] == 1]
    far = 2**20  # any size that the window fits into
    sums = [pads[axis] + pads[axis + axes] for axis in range(axes)]
    kept = [output_size(far, kernel[axis], 1, sums[axis], dilations[axis]) == far for axis in range(axes)]
    return [axis + 2 for axis in range(axes) if kept[axis] and strides[axis] == 1]


_RULES: dict[str, Callable[[onnx.NodeProto, Mapping[str, _Dims], _Constants], list[int]]] = {
    **dict.fromkeys(("AveragePool", "Conv", "LpPool", "MaxPool"), _window),
    **dict.fromkeys(("Expand", "Tile"), _once),
    "Resize": _resize,
}

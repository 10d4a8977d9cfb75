"""Weights of a convolution that can be rewritten: constants, or quantizers of constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import Unsupported
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.windows import Window, read_window
from qonnx_core.passes.base import new_constant

Array = NDArray[Any]


class Refused(Unsupported):
    """A pattern is there, but cannot be rewritten with the same values; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """A stored array, and the quantizer that it goes through, if any, with the quantizer's other inputs."""

    value: ir.Value
    array: Array
    quantizer: ir.Node | None = None
    op: QonnxOp | None = None
    others: tuple[Array, ...] = ()


def read_parameter(value: ir.Value | None, what: str, model: ir.Model) -> Parameter:
    """Return what stands behind an input.

    Raises:
        Refused: it is computed in another way than by one quantizer of constants of the same shape.
    """
    if value is None:
        raise Refused(f"the {what} are missing")
    array = constant_array(value)
    if array is not None:
        return Parameter(value, np.asarray(array))
    node = value.producer()
    op = None if node is None else op_of(node, model.opset_imports)
    if node is None or op is None or not op.broadcasts:
        raise Refused(f"the {what} {value.name} are computed")
    arrays = [constant_array(part) for part in node.inputs]
    known = [np.asarray(part) for part in arrays if part is not None]
    if len(known) < len(arrays) or np.broadcast_shapes(*(part.shape for part in known)) != known[0].shape:
        raise Refused(f"the {what} {value.name} come from a quantizer with computed or wider inputs")
    source = node.inputs[0]
    assert source is not None
    return Parameter(source, known[0], node, op, tuple(known[1:]))


def rearranged(
    graph: ir.Graph, parameter: Parameter, change: Callable[[Array], Array], nodes: list[ir.Node], names: Names
) -> ir.Value:
    """Return the parameter with its elements in other places, and its quantizer's scales along with them.

    ``change`` moves the elements of an array of the parameter's shape. New quantizers are added to ``nodes``.
    """
    array = np.ascontiguousarray(change(parameter.array))
    stored = new_constant(graph, f"{parameter.value.name}/deconvolution", array, names)
    merge_annotations(parameter.value, stored)
    if parameter.quantizer is None or parameter.op is None:
        return stored
    inputs = [stored]
    for value, other in zip(parameter.quantizer.inputs[1:], parameter.others, strict=True):
        assert value is not None
        if other.size == 1:
            inputs.append(value)
            continue
        moved = _compressed(change(np.broadcast_to(other, parameter.array.shape)))
        inputs.append(new_constant(graph, f"{value.name}/deconvolution", np.ascontiguousarray(moved), names))
    return quantized(parameter, parameter.op, inputs, nodes, names)


def quantized(
    parameter: Parameter, op: QonnxOp, inputs: Sequence[ir.Value], nodes: list[ir.Node], names: Names
) -> ir.Value:
    """Return the output of a new quantizer in the place of the parameter's."""
    assert parameter.quantizer is not None
    old = parameter.quantizer.outputs[0]
    name = names.free_for_node(f"{parameter.quantizer.name or parameter.quantizer.op_type}/deconvolution")
    node = op.node(*inputs, name=name, output=names.free(f"{old.name}/deconvolution"))
    node.outputs[0].type = old.type
    node.metadata_props.update(parameter.quantizer.metadata_props)
    nodes.append(node)
    return node.outputs[0]


def _compressed(array: Array) -> Array:
    """Return the array with size 1 along every axis on which it does not change."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    return array


def stride_1_window(conv: ir.Node, kernel: tuple[int, ...]) -> Window:
    """Return the window of a convolution.

    Raises:
        Refused: it has strides or dilations, or more padding than a transposed convolution can crop.
    """
    for name in ("strides", "dilations"):
        if any(step != 1 for step in conv.attributes.get_ints(name) or ()):
            raise Refused(f"the convolution has {name} {list(conv.attributes.get_ints(name) or ())}; expected only 1")
    window = read_window(conv, kernel, None)
    if isinstance(window, str):
        raise Refused(f"of the convolution: {window}")
    if any(pad > size - 1 or pad < 0 for pad, size in zip(window.pads, kernel * 2, strict=True)):
        raise Refused(f"the convolution has pads {list(window.pads)}; expected 0 to one less than the kernel")
    return window


def by_group(weights: Array, group: int) -> Array:
    """Return weights ``(O, C / group, ...)`` of a convolution as ``(C, O / group, ...)``, not yet mirrored."""
    outputs, inputs, *kernel = weights.shape
    wide = weights.reshape(group, outputs // group, inputs, *kernel)
    return wide.swapaxes(1, 2).reshape(group * inputs, outputs // group, *kernel)


def replace_by_deconvolution(
    graph: ir.Graph,
    old: Sequence[ir.Node],
    inputs: Sequence[ir.Value],
    attributes: dict[str, Any],
    nodes: list[ir.Node],
) -> None:
    """Put ``nodes`` and a ConvTranspose in the place of the nodes ``old``, the last of which gives the result."""
    result = old[-1].outputs[0]
    stem = old[-1].name or result.name or "deconvolution"
    node = ir.node("ConvTranspose", list(inputs), attributes, name=stem)
    made = node.outputs[0]
    made.type, made.shape = result.type, result.shape
    for source in old:
        node.metadata_props.update(source.metadata_props)
    ir.convenience.replace_nodes_and_values(graph, old[-1], list(old), [*nodes, node], [result], [made])

"""A convolution that computes sub-pixels becomes a transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.names import Names
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.deconvolution.places import places, refusals
from qonnx_core.passes.deconvolution.pointwise import chain_before, move_above
from qonnx_core.passes.deconvolution.weights import (
    Parameter,
    Refused,
    by_group,
    read_parameter,
    rearranged,
    replace_by_deconvolution,
    stride_1_window,
)
from qonnx_core.passes.remove_unused import RemoveUnused

Array = NDArray[Any]


@dataclass(frozen=True)
class SubPixelToDeconvolution:
    """``DepthToSpace(Conv(x, w))`` with blocks of b becomes ``ConvTranspose(x, W)`` with stride b.

    Output ``(c', b i + r, b j + s)`` of the block is output ``(c', r, s)`` of the convolution at ``(i, j)``, so
    ``W[c, c', b (U - 1 - u) + r, b (V - 1 - v) + s] = w[(c', r, s), c, u, v]``, and padding p becomes cropping
    ``b (U - 1 - p)`` (Colbert et al. 2021, "An Energy-Efficient Edge Computing Paradigm for Convolution-Based Image
    Upsampling", weight shuffle). Any padding up to ``U - 1``, groups with mode CRD, quantized weights with any scales,
    and a bias that is the same for all sub-pixels of a channel. Activation functions and quantizers with single
    parameters may stand between the two: they work on every element alike and come behind then. Equal where sums are
    exact in float32 (integers on one grid below 2^24), else up to rounding.

    :meth:`refusals` says why other places stay: strides, dilations, more padding, a bias per sub-pixel, computed
    weights, or a result of the convolution that somebody else reads.
    """

    name: str = "sub_pixel_to_deconvolution"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of convolutions rewritten."""
        names = Names(model.graph)
        done = 0
        for place in places(model, _conv_before, _plan):
            if isinstance(place.plan, Refused):
                continue
            move_above(place.graph, place.node, place.chain)
            _rewrite(place.graph, place.plan, place.before, place.node, names)
            done += 1
        if done:
            RemoveUnused().run(model)
        return done

    def refusals(self, model: ir.Model) -> list[tuple[str, str]]:
        """Return the DepthToSpace nodes behind convolutions that stay, each with the reason; nothing is changed."""
        return refusals(places(model, _conv_before, _plan))


def _conv_before(node: ir.Node, model: ir.Model) -> tuple[list[ir.Node], ir.Node] | None:
    """Return the convolution in front of a DepthToSpace, and the pointwise nodes between the two."""
    if node.op_type != "DepthToSpace" or not is_standard(node):
        return None
    chain, conv = chain_before(node, model)
    return (chain, conv) if conv is not None and conv.op_type == "Conv" and is_standard(conv) else None


@dataclass(frozen=True, eq=False)
class _Plan:
    weights: Parameter
    bias: Parameter | None
    window: Window
    group: int
    block: int
    crd: bool


def _plan(model: ir.Model, conv: ir.Node, shuffle: ir.Node) -> _Plan:
    result = conv.outputs[0]
    if len(result.uses()) != 1 or result.is_graph_output():
        raise Refused(f"the result of the convolution, {result.name}, has other readers")
    weights = read_parameter(conv.inputs[1], "weights", model)
    if weights.array.ndim != 4:
        raise Refused("the convolution is not two-dimensional")
    window = stride_1_window(conv, weights.array.shape[2:])
    block = shuffle.attributes.get_int("blocksize", 1)
    crd = str(shuffle.attributes.get_string("mode", "DCR")) == "CRD"
    outputs = weights.array.shape[0] // block**2
    group = conv.attributes.get_int("group", 1)
    if group > 1 and (not crd or outputs % group):
        raise Refused("groups of the convolution do not end between output channels")
    bias = None
    if len(conv.inputs) > 2 and conv.inputs[2] is not None:
        bias = read_parameter(conv.inputs[2], "biases", model)
        for array in (bias.array, *bias.others):
            blocks = _blocks(np.broadcast_to(array, bias.array.shape), block, crd)
            if not np.array_equal(blocks, np.broadcast_to(blocks[:, :1, :1], blocks.shape)):
                raise Refused("the bias differs between the sub-pixels of a channel")
    return _Plan(weights, bias, window, group, block, crd)


def _blocks(array: Array, block: int, crd: bool) -> Array:
    """Return an array over ``(c', r, s)`` first, of one over the outputs of the convolution."""
    rest = array.shape[1:]
    outputs = array.shape[0] // block**2
    if crd:
        return array.reshape(outputs, block, block, *rest)
    return np.moveaxis(array.reshape(block, block, outputs, *rest), 2, 0)


def _rewrite(graph: ir.Graph, plan: _Plan, conv: ir.Node, shuffle: ir.Node, names: Names) -> None:
    block, window = plan.block, plan.window

    def shuffled(array: Array) -> Array:
        parts = _blocks(array, block, plan.crd)[..., ::-1, ::-1]  # (c', r, s, c, u, v), kernel mirrored
        outputs, _, _, inputs, rows, columns = parts.shape
        woven = parts.transpose(0, 3, 4, 1, 5, 2).reshape(outputs, inputs, rows * block, columns * block)
        return by_group(woven, plan.group)

    nodes: list[ir.Node] = []
    inputs = [conv.inputs[0], rearranged(graph, plan.weights, shuffled, nodes, names)]
    if plan.bias is not None:
        bias = rearranged(graph, plan.bias, lambda array: _blocks(array, block, plan.crd)[:, 0, 0], nodes, names)
        inputs.append(bias)
    attributes = {
        "kernel_shape": [size * block for size in window.kernel],
        "strides": [block, block],
        "pads": [block * (size - 1 - pad) for size, pad in zip(window.kernel * 2, window.pads, strict=True)],
        "group": plan.group,
    }
    replace_by_deconvolution(graph, [conv, shuffle], [v for v in inputs if v is not None], attributes, nodes)

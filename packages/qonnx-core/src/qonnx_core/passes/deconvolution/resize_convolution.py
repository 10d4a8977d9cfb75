"""A convolution of a nearest-neighbour upsampled image becomes a transposed convolution."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import integer_range
from qonnx_core.ir.names import Names
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import is_standard, new_constant
from qonnx_core.passes.deconvolution.places import places, refusals
from qonnx_core.passes.deconvolution.pointwise import chain_before, move_below
from qonnx_core.passes.deconvolution.weights import (
    Parameter,
    Refused,
    by_group,
    quantized,
    read_parameter,
    rearranged,
    replace_by_deconvolution,
    stride_1_window,
)
from qonnx_core.passes.remove_unused import RemoveUnused

Array = NDArray[Any]
_HALF_PIXEL = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
_MOST_SCALE = 64


@dataclass(frozen=True)
class ResizeConvolutionToDeconvolution:
    """``Conv(Resize(x), w)``, nearest by whole factors a, becomes ``ConvTranspose(x, W)`` with stride a.

    Each input pixel meets the weights of a whole a by a block, so ``W`` is ``w`` mirrored and summed over such blocks:
    ``W[c, o, k] = sum of w[o, c, u] over r in 0..a-1 with k = r + U - 1 - u``, and padding p becomes cropping
    ``U - 1 - p`` (Colbert et al. 2021, weight convolution). Any factors per axis, padding up to ``U - 1``, and groups.
    Activation functions and quantizers with single parameters may stand between the two: they work on every pixel alike
    and come in front then. Equal where sums are exact in float32 (integers on one grid below 2^24), else up to
    rounding.

    A quantizer of the weights (one scale, or one per output channel) quantizes the sums after it, on the same grid:
    with as many bits as they need, or with ``maintain_bit_width`` with as many as before, which clips sums that do
    not fit and then changes values. :meth:`refusals` says why other places stay: other interpolation or
    coordinates than those that repeat pixels, factors that are not whole, strides, dilations, more padding, computed
    weights, minifloat weights, scales along other axes, or an upsampled image that somebody else reads.
    """

    maintain_bit_width: bool = False
    name: str = "resize_convolution_to_deconvolution"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of convolutions rewritten."""
        names = Names(model.graph)
        done = 0
        for place in places(model, _resize_before, _plan):
            if isinstance(place.plan, Refused):
                continue
            move_below(place.graph, place.before, place.chain, place.node)
            self._rewrite(place.graph, place.plan, place.before, place.node, names)
            done += 1
        if done:
            RemoveUnused().run(model)
        return done

    def refusals(self, model: ir.Model) -> list[tuple[str, str]]:
        """Return the convolutions of resized images that stay, each with the reason; nothing is changed."""
        return refusals(places(model, _resize_before, _plan))

    def _rewrite(self, graph: ir.Graph, plan: _Plan, resize: ir.Node, conv: ir.Node, names: Names) -> None:
        nodes: list[ir.Node] = []
        inputs = [resize.inputs[0], self._summed(graph, plan, nodes, names)]
        if len(conv.inputs) > 2 and conv.inputs[2] is not None:
            inputs.append(conv.inputs[2])
        window = plan.window
        attributes = {
            "kernel_shape": [size + factor - 1 for size, factor in zip(window.kernel, plan.factors, strict=True)],
            "strides": list(plan.factors),
            "pads": [size - 1 - pad for size, pad in zip(window.kernel * 2, window.pads, strict=True)],
            "group": plan.group,
        }
        replace_by_deconvolution(graph, [resize, conv], [v for v in inputs if v is not None], attributes, nodes)

    def _summed(self, graph: ir.Graph, plan: _Plan, nodes: list[ir.Node], names: Names) -> ir.Value:
        weights = plan.weights
        if weights.quantizer is None:

            def change(array: Array) -> Array:
                return _over_blocks(by_group(array, plan.group), plan.factors).astype(array.dtype)

            summed = rearranged(graph, weights, change, nodes, names)
            set_datatype(summed, None)  # sums are of a wider type
            return summed
        return _requantized(graph, plan, self.maintain_bit_width, nodes, names)


def _resize_before(node: ir.Node, model: ir.Model) -> tuple[list[ir.Node], ir.Node] | None:
    """Return the Resize in front of a convolution, and the pointwise nodes between the two."""
    if node.op_type != "Conv" or not is_standard(node):
        return None
    chain, resize = chain_before(node, model)
    return (chain, resize) if resize is not None and resize.op_type == "Resize" and is_standard(resize) else None


@dataclass(frozen=True, eq=False)
class _Plan:
    weights: Parameter
    window: Window
    group: int
    factors: tuple[int, ...]


def _plan(model: ir.Model, resize: ir.Node, conv: ir.Node) -> _Plan:
    result = resize.outputs[0]
    if len(result.uses()) != 1 or result.is_graph_output():
        raise Refused(f"the resized image {result.name} has other readers")
    weights = read_parameter(conv.inputs[1], "weights", model)
    factors = _factors(resize, weights.array.ndim)
    window = stride_1_window(conv, weights.array.shape[2:])
    if weights.op is not None:
        _check_quantizer(weights)
    return _Plan(weights, window, conv.attributes.get_int("group", 1), factors)


def _factors(resize: ir.Node, rank: int) -> tuple[int, ...]:
    attributes = resize.attributes
    mode = str(attributes.get_string("mode", "nearest"))
    if mode != "nearest":
        raise Refused(f"the interpolation is {mode}; expected nearest")
    scales = _scales(resize, rank)
    if any(scale != round(scale) or not 1 <= scale <= _MOST_SCALE for scale in scales) or scales[:2] != (1, 1):
        raise Refused(f"the factors are {list(scales)}; expected 1, 1 and whole numbers")
    factors = tuple(round(scale) for scale in scales[2:])
    place = str(attributes.get_string("coordinate_transformation_mode", "half_pixel"))
    nearest = str(attributes.get_string("nearest_mode", "round_prefer_floor"))
    repeats = (
        (place in _HALF_PIXEL and nearest.startswith("round"))
        or (place == "asymmetric" and nearest == "floor")
        or (place == "asymmetric" and nearest == "round_prefer_floor" and max(factors) <= 2)
    )
    if not repeats:
        raise Refused(f"coordinates {place} with {nearest} do not repeat each pixel")
    return factors


def _scales(resize: ir.Node, rank: int) -> tuple[float, ...]:
    """Return one factor per axis, from the input ``scales``, or from ``sizes`` and a known shape."""
    given = [constant_array(value) if value is not None else None for value in (*resize.inputs, None, None, None)[2:4]]
    axes = resize.attributes.get_ints("axes")
    chosen = list(range(rank)) if axes is None else [axis % rank for axis in axes]
    found = [1.0] * rank
    source = resize.inputs[0]
    if given[0] is not None and given[0].size:
        numbers = [float(number) for number in np.ravel(given[0])]
    elif given[1] is not None and given[1].size and source is not None and source.shape is not None:
        sizes = [source.shape[axis] for axis in chosen]
        policy = str(resize.attributes.get_string("keep_aspect_ratio_policy", "stretch"))
        if policy != "stretch" or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise Refused("the factors follow from sizes that are not known")
        numbers = [int(new) / int(str(old)) for new, old in zip(np.ravel(given[1]).tolist(), sizes, strict=True)]
    else:
        raise Refused("the factors are computed")
    if len(numbers) != len(chosen):
        raise Refused(f"{len(numbers)} factors for {len(chosen)} axes")
    for axis, number in zip(chosen, numbers, strict=True):
        found[axis] = number
    return tuple(found)


def _over_blocks(weights: Array, factors: tuple[int, ...]) -> Array:
    """Return ``(C, O, ...)`` weights mirrored and summed over blocks of the factors, in float64."""
    mirrored = np.flip(weights.astype(np.float64), tuple(range(2, weights.ndim)))
    kernel = weights.shape[2:]
    total = np.zeros((*weights.shape[:2], *(k + f - 1 for k, f in zip(kernel, factors, strict=True))))
    for offset in itertools.product(*(range(factor) for factor in factors)):
        place = tuple(slice(start, start + size) for start, size in zip(offset, kernel, strict=True))
        total[(slice(None), slice(None), *place)] += mirrored
    return total


def _check_quantizer(weights: Parameter) -> None:
    """Raise Refused where the sums are on no common grid."""
    if not isinstance(weights.op, Quant | BipolarQuant):
        raise Refused(f"the weights come from {weights.op.op_type if weights.op else 'nothing'}; sums leave its grid")
    for array in weights.others:
        wide = array.reshape((1,) * (weights.array.ndim - array.ndim) + array.shape)
        if wide[:1].size > 1:
            raise Refused("the weights have scales along other axes than their outputs")
    if isinstance(weights.op, Quant):
        zero, bits = weights.others[1], weights.others[2]
        if bits.size != 1 or float(bits.ravel()[0]) != round(float(bits.ravel()[0])):
            raise Refused("the weights have several bit widths, or one that is no whole number")
        if np.any(zero != np.round(zero)):
            raise Refused("the zero point of the weights is no whole number")
    if np.any(weights.others[0] <= 0):
        raise Refused("a scale of the weights is not positive")


def _requantized(
    graph: ir.Graph, plan: _Plan, maintain_bit_width: bool, nodes: list[ir.Node], names: Names
) -> ir.Value:
    """Return the summed weights behind a quantizer on the grid of the old one."""
    weights, group = plan.weights, plan.group
    scale, zero, levels = _levels(weights)
    values = _over_blocks(by_group(levels - zero, group), plan.factors)  # whole numbers
    shape = weights.array.shape
    moved = [by_group(np.broadcast_to(part, shape)[:, :, *(slice(0, 1),) * (len(shape) - 2)], group)
             for part in (scale, zero)]  # fmt: skip
    new_scale, new_zero = (part[:1] if group == 1 else part for part in moved)
    dtype = weights.array.dtype
    stem = weights.value.name or "weights"
    stored = new_constant(graph, f"{stem}/deconvolution", (values * new_scale).astype(dtype), names)
    signed, narrow, bits = _width(weights)
    reached = values + new_zero
    if not maintain_bit_width:
        low, high = int(reached.min()), int(reached.max())
        signed = signed or low < 0
        bits = _bits_for(low, high, signed, narrow)
    old = weights.op
    op = old if isinstance(old, BipolarQuant) and maintain_bit_width else Quant(
        signed=signed, narrow=narrow, **({"rounding_mode": old.rounding_mode} if isinstance(old, Quant) else {})
    )  # fmt: skip
    others = [new_scale] if isinstance(op, BipolarQuant) else [new_scale, new_zero, np.asarray(float(bits))]
    inputs = [stored]
    for name, array in zip(("scale", "zero_point", "bits"), others, strict=False):
        same = array if np.any(array != array.flat[0]) else np.asarray(array.flat[0])
        inputs.append(new_constant(graph, f"{stem}/deconvolution_{name}", np.asarray(same, np.float32), names))
    return quantized(weights, op, inputs, nodes, names)


def _levels(weights: Parameter) -> tuple[Array, Array, Array]:
    """Return scale, zero point and the integers behind the quantized weights, in float64."""
    from qonnx_core.ops.builder import GraphBuilder

    folding = GraphBuilder.apart(constant_array)
    assert weights.op is not None
    found = np.asarray(weights.op.body(folding, weights.array, *weights.others), np.float64)
    scale = weights.others[0].astype(np.float64)
    zero = weights.others[1].astype(np.float64) if isinstance(weights.op, Quant) else np.zeros(())
    return scale, zero, np.round(found / scale + zero)


def _width(weights: Parameter) -> tuple[bool, bool, int]:
    if isinstance(weights.op, Quant):
        return weights.op.signed, weights.op.narrow, int(weights.others[2].ravel()[0])
    return True, False, 1


def _bits_for(low: int, high: int, signed: bool, narrow: bool) -> int:
    bits = 2 if signed else 1
    while True:
        first, last = integer_range(bits, signed, narrow)
        if first <= low and high <= last:
            return bits
        bits += 1

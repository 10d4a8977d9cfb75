"""Reads QuantizeLinear, Clip and DequantizeLinear, as other tools write them, into Quant and FloatQuant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.formats.qcdq import (
    Array,
    Conversion,
    ZeroPoints,
    along_axis,
    check_zero_points,
    covering_grid,
    grid_of_range,
    quantized_integers,
    storage_range,
)
from qonnx_core.formats.qcdq_floats import FloatType, float_codes, float_type
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import integer_range
from qonnx_core.ir.names import Names, label_of
from qonnx_core.ops.builder import GraphBuilder, Operand
from qonnx_core.ops.op import DOMAIN
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.rounding import Rounding
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.remove_unused import RemoveUnused

_CONTRIB = "com.microsoft"  # where onnxruntime's quantizer puts the types that older opsets lack
# What the clean-up does to a model with such chains, for people.
REMARK = "QuantizeLinear, Clip, DequantizeLinear are read as Quant, so that the grids of weights stay known"
_INTEGER_OPERATORS = frozenset((
    "ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger",
    "MatMulIntegerToFloat", "QAttention", "QEmbedLayerNormalization", "QGemm",
))  # fmt: skip
_PACKING_OPERATORS = frozenset(("GatherBlockQuantized", "MatMulBnb4", "MatMulNBits"))
_EXPECTED_MAKERS = ("Clip", "Constant", "QuantizeLinear")
_ROUNDING = {"Floor": Rounding.FLOOR, "Ceil": Rounding.CEIL}


def from_qcdq(model: ir.Model, *, zero_points: ZeroPoints = "exact") -> Conversion:
    """Return a copy whose QuantizeLinear, Clip, DequantizeLinear chains are Quant nodes; it computes the same values.

    Equal to the bit for every finite input, except that a negative number that becomes zero is -0 here. Integer
    constants behind a DequantizeLinear become float constants with a Quant, so that the grid stays known. Chains
    through float8, float6 and float4 types become FloatQuant nodes in the same way.

    Operators that compute on integers (QLinearConv, MatMulInteger, ...; the QOperator format of onnxruntime's
    quantizer) stay: they round the products by one float factor, which no Quant does. Quantize with
    ``QuantFormat.QDQ`` instead.

    Args:
        model: the model; it is not changed.
        zero_points: with ``exact``, a zero point other than 0 moves into the range: 8 unsigned bits around 128 are 8
            signed bits; a range that no Quant has becomes a wider Quant with a Clip in front. With ``standard``, each
            Quant takes the zero point as it is: a number within a float32 rounding error of the middle between two
            steps, or there exactly at an odd zero point, may then go to the other one.

    Raises:
        InvalidModel: the model breaks its format.
    """
    check_zero_points(zero_points)
    copy = normalized_copy(model)
    InferShapes().run(copy)
    if _has_computed_parameters(copy):
        FoldConstants(keep_op_types=("QuantizeLinear", "DequantizeLinear", "Clip")).run(copy)
    names = Names(copy.graph)
    kept: list[str] = []
    converted = 0
    for graph in list(copy.graphs()):
        for node in list(graph):
            reason = _reason_to_stay(node)
            if reason:
                kept.append(f"{label_of(node)}: {reason}")
            if not _is(node, "DequantizeLinear"):
                continue
            found = _read(node)
            if isinstance(found, str):
                kept.append(f"{label_of(node)}: {found}")
                continue
            if isinstance(found, _FloatChain):
                _replace_float(copy.graph, graph, node, found, names)
            else:
                _replace(copy.graph, graph, node, found, names, standard=zero_points == "standard")
            converted += 1
    if converted:
        copy.opset_imports.setdefault(DOMAIN, 1)
    RemoveUnused().run(copy)
    kept += [
        f"{label_of(node)}: its integers go on without a DequantizeLinear"
        for graph in copy.graphs()
        for node in graph
        if _is(node, "QuantizeLinear") and not _reaches_dequantizer(node)
    ]
    if not any(node.domain == _CONTRIB for graph in copy.graphs() for node in graph):
        copy.opset_imports.pop(_CONTRIB, None)
    InferShapes().run(copy)
    return Conversion(copy, converted, tuple(kept))


def _reason_to_stay(node: ir.Node) -> str:
    """Return why an operator of the QOperator format is no quantizer and a float operator, "" for all others."""
    if node.op_type in _PACKING_OPERATORS and node.domain == _CONTRIB:
        return (
            "holds its weights packed and takes sums in an order of its own; quantize with QuantFormat.QDQ instead of "
            "QOperator"
        )
    if node.op_type in _INTEGER_OPERATORS or node.op_type.startswith("QLinear"):
        return (
            "computes on integers and rounds products by one factor, which no Quant does; quantize with "
            "QuantFormat.QDQ instead of QOperator"
        )
    return ""


def _has_computed_parameters(model: ir.Model) -> bool:
    """Return whether nodes give a scale, a zero point, an end of a Clip or the integers of a DequantizeLinear.

    Exporters share parameters through Identity, and store weights in front of a Transpose or Cast.
    """
    for node in (node for graph in model.graphs() for node in graph):
        if _is(node, "QuantizeLinear") or _is(node, "Clip"):
            given = node.inputs[1:]
        elif _is(node, "DequantizeLinear"):
            given = node.inputs
        else:
            continue
        makers = (value.producer() for value in given if value is not None)
        if any(maker is not None and maker.op_type not in _EXPECTED_MAKERS for maker in makers):
            return True
    return False


def _reaches_dequantizer(node: ir.Node) -> bool:
    """Return whether only DequantizeLinear nodes, possibly behind Clips, read what the node gives."""
    value = node.outputs[0]
    readers = [use.node for use in value.uses()]
    if value.is_graph_output():
        return False
    return all(_is(each, "DequantizeLinear") or (_is(each, "Clip") and _reaches_dequantizer(each)) for each in readers)


def has_qcdq(model: ir.Model) -> bool:
    """Return whether the model has a DequantizeLinear, with which every such chain ends."""
    return any(_is(node, "DequantizeLinear") for graph in model.graphs() for node in graph)


@dataclass(frozen=True)
class _Chain:
    """What a chain computes: ``(clip(round(x / scale) + zero_point, low, high) - zero_point) * scale``.

    ``x`` is None where the integers are constants. Parameters have shapes that broadcast against ``x``.
    """

    x: ir.Value | None
    integers: Array | None
    scale: Array
    zero_point: Array
    low: int
    high: int
    rounding: Rounding = Rounding.ROUND
    zero_inside: bool = False  # Quant's own order: the zero point is added before rounding
    unit: bool = False  # QuantizeLinear has scale 1 and zero point 0, DequantizeLinear its own


@dataclass(frozen=True)
class _FloatChain:
    """What a chain through a minifloat type computes: the nearest number of the type to ``x / scale``, times scale."""

    x: ir.Value | None
    codes: Array | None  # the constants, in the element type
    scale: Array
    kind: FloatType
    saturation: bool = True


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and node.op_type == op_type and node.domain in ("", "ai.onnx", _CONTRIB)


def _read(node: ir.Node) -> _Chain | _FloatChain | str:
    """Return what the chain that ends in this DequantizeLinear computes, or why it stays."""
    data = node.inputs[0]
    assert data is not None
    if node.outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return "its result is no float32"
    dtype = data.dtype or next((value.dtype for value in node.inputs[2:] if value is not None), None)
    kind = float_type(dtype)
    if kind is not None:
        return _read_float(node, data, kind)
    limits = storage_range(dtype)
    if limits is None:
        return f"holds {'an unknown type' if dtype is None else dtype.name}; expected integers of 2 to 32 bits"
    source, low, high = _through_clips(data, *limits)
    if low > high:
        return "its Clip nodes leave no integer"
    integers = constant_array(source)
    quantize = source.producer()
    if integers is None and not _is(quantize, "QuantizeLinear"):
        return "its integers come from no QuantizeLinear and are no constant"
    shaped = source if integers is not None or quantize is None else quantize.inputs[0]
    assert shaped is not None
    parameters = _parameters(node, shaped, any_sign=integers is not None)
    if isinstance(parameters, str):
        return parameters
    scale, zero_point = parameters
    if integers is not None:
        clipped = np.clip(np.asarray(integers).astype(np.int64), low, high)
        return _with_scales_above_zero(_Chain(None, clipped, scale, zero_point, low, high))
    assert quantize is not None
    if shaped.dtype not in (ir.DataType.FLOAT, None):
        return "its QuantizeLinear reads no float32"
    inner = _parameters(quantize, shaped)
    if isinstance(inner, str):
        return inner
    if np.all(inner[0] == 1) and not np.any(inner[1]):
        return _written_by_us(shaped, scale, zero_point, low, high)
    if np.array_equal(inner[0], scale) and np.array_equal(inner[1], zero_point):
        return _Chain(shaped, None, scale, zero_point, low, high)
    return "its QuantizeLinear has another scale or zero point"


def _read_float(node: ir.Node, data: ir.Value, kind: FloatType) -> _FloatChain | str:
    codes = constant_array(data)
    quantize = data.producer()
    if codes is None and (quantize is None or not _is(quantize, "QuantizeLinear")):
        return "its minifloats come from no QuantizeLinear and are no constant"
    shaped = data if codes is not None or quantize is None else quantize.inputs[0]
    assert shaped is not None
    found = []
    for each in (node, *([] if codes is not None or quantize is None else [quantize])):
        zero = constant_array(each.inputs[2]) if len(each.inputs) > 2 else None
        if zero is not None and not np.all(zero.astype(np.float32) == 0):
            return "has a zero point other than 0"
        parameters = _parameters(each, shaped)
        if isinstance(parameters, str):
            return parameters
        found.append(parameters[0])
    if codes is not None or quantize is None:
        return _FloatChain(None, codes, found[0], kind)
    if shaped.dtype not in (ir.DataType.FLOAT, None):
        return "its QuantizeLinear reads no float32"
    if not np.array_equal(found[0], found[1]):
        return "its QuantizeLinear has another scale"
    saturates = not (kind.has_inf or kind.has_nan)  # the attribute is about 8 bits alone
    saturation = saturates or quantize.attributes.get_int("saturate", 1) != 0
    if not saturation and not kind.overflows:
        return "does not saturate, and runtimes do not agree on what lies beyond the largest number of its type"
    return _FloatChain(shaped, None, found[0], kind, saturation)


def _through_clips(value: ir.Value, low: int, high: int) -> tuple[ir.Value, int, int]:
    """Return what constant Clips in front of a value read, and the integers that they leave."""
    node = value.producer()
    while node is not None and _is(node, "Clip"):
        ends = [constant_array(end) for end in node.inputs[1:]]
        source = node.inputs[0]
        given = [end is not None for end in node.inputs[1:]]
        if source is None or any(here and end is None for here, end in zip(given, ends, strict=True)):
            break
        if ends and ends[0] is not None:
            low = max(low, int(ends[0].item()))
        if len(ends) > 1 and ends[1] is not None:
            high = min(high, int(ends[1].item()))
        value, node = source, source.producer()
    return value, low, high


def _with_scales_above_zero(chain: _Chain) -> _Chain:
    """Return constants with scales above 0 that stand for the same numbers; onnxruntime's 4-bit quantizer flips signs.

    An integer ``k`` under a scale below 0 becomes ``2 * zero_point - k``; a number that is 0 by its scale, the zero
    point. The range grows only where an integer asks for it. A -0.0 comes out as 0.0.
    """
    if np.all(chain.scale > 0):
        return chain
    assert chain.integers is not None
    zero_point = np.broadcast_to(chain.zero_point, chain.integers.shape)
    flipped = np.where(chain.scale < 0, 2 * zero_point - chain.integers, chain.integers)
    integers = np.where(chain.scale == 0, zero_point, flipped)
    scale = np.where(chain.scale == 0, np.float32(1), np.abs(chain.scale))
    low, high = (int(end) for end in (integers.min(initial=chain.low), integers.max(initial=chain.high)))
    return replace(chain, integers=integers, scale=scale, low=low, high=high)


def _parameters(node: ir.Node, x: ir.Value, *, any_sign: bool = False) -> tuple[Array, Array] | str:
    """Return scale and zero point of a QuantizeLinear or DequantizeLinear, shaped to broadcast against ``x``."""
    scale = constant_array(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = constant_array(given)
    if scale is None or (given is not None and zero_point is None):
        return "its scale or zero point is computed while the model runs"
    scales = np.asarray(scale, np.float32)
    if scale.dtype != np.float32 or not np.all(np.isfinite(scales)):
        return "its scale is no finite float32"
    if np.any(scales <= 0) and not any_sign:
        return "its scale is no float32 above 0"
    zeros = np.zeros((), np.int64) if zero_point is None else np.asarray(zero_point).astype(np.int64)
    shaped = [_shaped(node, np.asarray(array), x) for array in (scales, zeros)]
    if isinstance(shaped[0], str) or isinstance(shaped[1], str):
        return next(part for part in shaped if isinstance(part, str))
    return shaped[0], shaped[1]


def _shaped(node: ir.Node, array: Array, x: ir.Value) -> Array | str:
    if array.size == 1:
        return array.reshape(())
    if x.shape is None:
        return "the rank of its input is not known"
    rank = len(x.shape)
    axis = node.attributes.get_int("axis", 1)
    axis += rank if axis < 0 else 0
    block = node.attributes.get_int("block_size", 0)
    if not 0 <= axis < rank:
        return f"its axis is {axis}, its input has {rank} axes"
    if block == 0:
        return along_axis(array, axis, rank) if array.ndim == 1 else "its scale has several axes and no blocks"
    size = x.shape[axis]
    if not isinstance(size, int) or array.ndim != rank:
        return "its blocks do not fit its input"
    return np.repeat(array, block, axis=axis).take(range(size), axis=axis)


def _written_by_us(value: ir.Value, scale: Array, zero_point: Array, low: int, high: int) -> _Chain:
    """Return the chain behind a QuantizeLinear of scale 1: that of ``to_qcdq`` where it is one."""
    current, rounding = value, Rounding.ROUND
    node = current.producer()
    if node is not None and node.op_type in _ROUNDING and node.inputs[0] is not None:
        rounding, current = _ROUNDING[node.op_type], node.inputs[0]
        node = current.producer()
    added = np.zeros((), np.float32)
    if _is(node, "Add"):
        assert node is not None
        constant = constant_array(node.inputs[1])
        if constant is not None and node.inputs[0] is not None:
            added, current = np.asarray(constant), node.inputs[0]
            node = current.producer()
    if _is(node, "Div"):
        assert node is not None
        divisor = constant_array(node.inputs[1])
        if divisor is not None and _same(divisor, scale) and _same(added, zero_point) and node.inputs[0] is not None:
            return _Chain(node.inputs[0], None, scale, zero_point, low, high, rounding, zero_inside=True)
    if np.all(scale == 1) and _same(added, zero_point):  # a division by 1 is left out
        return _Chain(current, None, scale, zero_point, low, high, rounding, zero_inside=True)
    return _Chain(value, None, scale, zero_point, low, high, unit=True)


def _same(left: Array, right: Array) -> bool:
    try:
        return bool(np.all(np.equal(*np.broadcast_arrays(left, right))))
    except ValueError:
        return False


def _replace(root: ir.Graph, graph: ir.Graph, node: ir.Node, chain: _Chain, names: Names, *, standard: bool) -> None:
    builder = _QuantBuilder(root, f"{node.outputs[0].name}/quant", constant_array, names)
    if chain.integers is not None:
        made = _constant(builder, chain)
    elif chain.unit:
        assert chain.x is not None
        steps = builder.ranged(chain.x, np.ones((), np.float32), np.zeros((), np.int64), chain.low, chain.high)
        shifted = builder("Sub", steps, chain.zero_point.astype(np.float32))
        made = builder.value(builder("Mul", shifted, chain.scale))
    else:
        assert chain.x is not None
        grid = grid_of_range(chain.low, chain.high)
        inside = chain.zero_inside or (standard and bool(np.any(chain.zero_point)))
        if inside and grid is not None:
            made = builder.quant(chain.x, chain.scale, chain.zero_point, *grid, chain.rounding)
        elif chain.zero_inside:
            made = builder.wide(chain)
        else:
            made = builder.value(builder.ranged(chain.x, chain.scale, chain.zero_point, chain.low, chain.high))
    _put(graph, node, builder, made)


def _replace_float(root: ir.Graph, graph: ir.Graph, node: ir.Node, chain: _FloatChain, names: Names) -> None:
    builder = _QuantBuilder(root, f"{node.outputs[0].name}/quant", constant_array, names)
    if chain.x is not None:
        made = builder.float_quant(chain.x, chain)
    else:
        assert chain.codes is not None
        with np.errstate(all="ignore"):
            numbers = chain.codes.astype(np.float32) * chain.scale
            again = float_codes(chain.kind, numbers / chain.scale).astype(np.float32)
        made = builder.value(numbers)
        if np.array_equal(again, chain.codes.astype(np.float32)):
            made = builder.float_quant(made, chain)
    _put(graph, node, builder, made)


def _put(graph: ir.Graph, node: ir.Node, builder: GraphBuilder, made: ir.Value) -> None:
    """Put the builder's nodes in the place of the node."""
    old = node.outputs[0]
    if made.producer() not in builder.nodes:
        made = builder.node("Identity", [made])[0]
    for number, inner in enumerate(builder.nodes):
        kind = f"{inner.op_type}_{number}"
        own = f"{node.name or old.name}/{kind}"
        inner.name = node.name if inner.outputs[0] is made else builder.names.free_for_node(own)
        inner.outputs[0].name = builder.names.free(f"{old.name}/{kind}")
    made.dtype, made.shape = ir.DataType.FLOAT, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], builder.nodes, [old], [made])


def _constant(builder: _QuantBuilder, chain: _Chain) -> ir.Value:
    """Return constant integers as float32 numbers behind the Quant that gives them back, or alone where none does."""
    assert chain.integers is not None
    with np.errstate(over="ignore"):
        numbers = (chain.integers - chain.zero_point).astype(np.float32) * chain.scale
    low, high, zero_point = _without_zero(chain)
    grid = grid_of_range(low, high) or (*covering_grid(low, high), False)
    bottom, top = integer_range(*grid)
    scale, zero = chain.scale, zero_point.astype(np.float32)
    again = (quantized_integers(numbers, scale, zero, bottom, top) - zero) * scale
    if np.array_equal(again.astype(np.float32), numbers):
        return builder.quant(builder.value(numbers), scale, zero_point, *grid)
    return builder.value(numbers)


def _without_zero(chain: _Chain) -> tuple[int, int, Array]:
    """Return the range moved by the zero point and zero point 0 where a Quant has that range, else both as they are."""
    if np.all(chain.zero_point == chain.zero_point.reshape(-1)[0]):
        zero = int(chain.zero_point.reshape(-1)[0])
        if grid_of_range(chain.low - zero, chain.high - zero) is not None:
            return chain.low - zero, chain.high - zero, np.zeros((), np.int64)
    return chain.low, chain.high, chain.zero_point


class _QuantBuilder(GraphBuilder):
    """Writes the Quant nodes of one chain."""

    def quant(
        self,
        x: ir.Value,
        scale: Array,
        zero_point: Array,
        bits: int,
        signed: bool,
        narrow: bool,
        rounding: Rounding = Rounding.ROUND,
    ) -> ir.Value:
        """Return the output of a new Quant."""
        zeros = zero_point if np.any(zero_point) else np.zeros(())
        numbers = [np.asarray(part, np.float32) for part in (scale, zeros, bits)]
        node = Quant(signed, narrow, rounding).node(x, *(self.value(number) for number in numbers))
        node.outputs[0].dtype = ir.DataType.FLOAT
        node.outputs[0].shape = x.shape
        self.nodes.append(node)
        return node.outputs[0]

    def float_quant(self, x: ir.Value, chain: _FloatChain) -> ir.Value:
        """Return the output of a new FloatQuant."""
        numbers = [np.asarray(part, np.float32) for part in (chain.scale, *chain.kind.parameters)]
        node = chain.kind.quantizer(chain.saturation).node(x, *(self.value(number) for number in numbers))
        node.outputs[0].dtype = ir.DataType.FLOAT
        node.outputs[0].shape = x.shape
        self.nodes.append(node)
        return node.outputs[0]

    def ranged(self, x: ir.Value, scale: Array, zero_point: Array, low: int, high: int) -> Operand:
        """Return ``clip(round(x / scale), low - zero_point, high - zero_point) * scale`` by a Quant of zero point 0.

        Where no Quant has this range, a Clip of the numbers stands in front of a wider one: its ends are steps, and a
        step divided by the scale again is within ``2^-23`` of itself, far from the middle between two.
        """
        lows, highs = low - zero_point, high - zero_point
        bottom, top = int(lows.min()), int(highs.max())
        grid = grid_of_range(bottom, top) if np.ptp(lows) == 0 else None
        if grid is not None:
            return self.quant(x, scale, np.zeros((), np.int64), *grid)
        bits, signed = covering_grid(bottom, top)
        with np.errstate(over="ignore"):
            ends = [np.asarray(end, np.float32) * scale for end in (lows, highs)]
        clipped = self.value(self._clipped(x, ends))
        clipped.dtype, clipped.shape = ir.DataType.FLOAT, x.shape
        return self.quant(clipped, scale, np.zeros((), np.int64), bits, signed, False)

    def wide(self, chain: _Chain) -> ir.Value:
        """Return the chain by a Quant with its zero point, wider than its range, and a Clip."""
        assert chain.x is not None
        bits, signed = covering_grid(chain.low, chain.high)
        quantized = self.quant(chain.x, chain.scale, chain.zero_point, bits, signed, False, chain.rounding)
        ends = [(end - chain.zero_point).astype(np.float32) * chain.scale for end in (chain.low, chain.high)]
        return self.value(self._clipped(quantized, ends))

    def _clipped(self, x: ir.Value, ends: Sequence[Array]) -> Operand:
        low, high = (np.asarray(end, np.float32) for end in ends)
        if low.ndim == high.ndim == 0:
            return self("Clip", x, low, high)
        known = constant_array(x)  # no quantizer around vectors of zero points is a chain again
        return self("Max", self("Min", x if known is None else np.asarray(known), high), low)

"""Quantizers and the other operators of the format, QuantizeLinear and its kin, and Cast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType, Kind, integer_range
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.builder import GraphBuilder
from qonnx_core.ops.channels_last import ChannelsLastConv, ChannelsLastMaxPoolV1
from qonnx_core.ops.debug_marker import DebugMarker
from qonnx_core.ops.im2col import Im2Col
from qonnx_core.ops.max_pool_nhwc import MaxPoolNHWC
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.ops.rounding import Rounding, round_by
from qonnx_core.ops.trunc import Trunc, TruncV1
from qonnx_core.ops.xnor_popcount_matmul import XnorPopcountMatMul
from qonnx_core.passes.datatypes import products
from qonnx_core.passes.datatypes.call import Call
from qonnx_core.passes.datatypes.facts import (
    MOST_BITS,
    Fact,
    NotInferred,
    Numbers,
    as_scale,
    common_grid,
    from_array,
    from_container,
    from_datatype,
    integers,
    rounded,
    with_signs,
)
from qonnx_core.passes.datatypes.movement import Rule, same, with_number

OpRule = Callable[[Any, Call], Fact]
_FLOATS = {ir.DataType.FLOAT16: 11, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


def own_operator(op: QonnxOp, call: Call) -> Fact:
    """Return what an operator of the format gives: by its rule here, or by the data type that its class states."""
    for kind, rule in _OWN:
        if isinstance(op, kind):
            return rule(op, call)
    return _stated(op, call)


def _stated(op: QonnxOp, call: Call) -> Fact:
    declared = op.datatype(*(call.array(index) for index in range(len(call.node.inputs))))
    if declared is not None:
        return from_datatype(declared)
    fact = call.fact(0)
    datatype = fact.datatype() if isinstance(fact, Numbers) else fact.datatype
    if op.keeps_datatype(datatype):
        return from_datatype(datatype)
    raise NotInferred(f"{op.op_type} states no data type for these inputs")


def _constants(call: Call, *indices: int) -> list[NDArray[np.float64]]:
    found = []
    for index in indices:
        array = call.array(index)
        if array is None:
            raise NotInferred(f"{call.value(index).name} is computed")
        found.append(array.astype(np.float64))
    return found


def _whole(array: NDArray[np.float64], what: str, least: float = -math.inf) -> NDArray[np.float64]:
    if array.size == 0 or not np.all(np.isfinite(array)) or np.any(array != np.round(array)) or np.any(array < least):
        raise NotInferred(f"{what} is {np.ravel(array)[:4].tolist()}, no whole number")
    return array


def level_bounds(bits: NDArray[np.float64], signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the smallest and the largest level of the widest of these widths."""
    width = int(bits.max())
    if width > MOST_BITS:
        raise NotInferred(f"the bit width is {width}, more than the {MOST_BITS} of the widest data type")
    return integer_range(width, signed, narrow)


def quant(op: Quant, call: Call) -> Fact:
    """Return the levels, moved by the zero point, on the grid of the scale."""
    scale, zero, bits = _constants(call, 1, 2, 3)
    _whole(bits, "the bit width", 1)
    _whole(zero, "the zero point")
    bipolar = op.signed and bool(np.all(bits == 1))
    low, high = (-1, 1) if bipolar else level_bounds(bits, op.signed, op.narrow)
    if op.signed and np.any(bits == 1):
        high = max(high, 1)
    declared = op.datatype(None, scale, zero, bits)
    made = _on_scale(low, high, zero, scale, declared, odd=bipolar)
    found = rounded(made, call.dtype)
    beyond = call.dtype == ir.DataType.FLOAT16 and max(-low, high) > 1 << _FLOATS[ir.DataType.FLOAT16]
    return replace(found, declared=None if beyond else declared)  # the end may be rounded up out of the type


def _on_scale(
    low: int,
    high: int,
    zero: NDArray[np.float64],
    scale: NDArray[np.float64],
    declared: DataType | None,
    *,
    odd: bool = False,
) -> Numbers:
    """Return ``(k - zero) * scale`` for k from ``low`` to ``high``."""
    size, positive, negative = as_scale(scale)
    moved = with_signs(low - int(zero.max()), high - int(zero.min()), positive, negative)
    odd = odd and not np.any(zero != 0)
    return Numbers(*moved, size, odd, not bool(np.all(size == 1)), declared)


def bipolar_quant(op: BipolarQuant, call: Call) -> Fact:
    """Return -1 and 1 times the scale."""
    (scale,) = _constants(call, 1)
    return _on_scale(-1, 1, np.zeros(()), scale, op.datatype(None, scale), odd=True)


def trunc_v1(op: TruncV1, call: Call) -> Fact:
    """Return the integers of the input with low bits dropped, on the grid that they had."""
    scale, zero, in_bits, out_bits = _constants(call, 1, 2, 3, 4)
    _whole(zero, "the zero point")
    low, high = _levels(call, scale, zero)
    dropped = _whole(np.asarray(in_bits.max() - out_bits.min()), "the number of dropped bits")
    if abs(int(dropped)) > MOST_BITS or in_bits.size != 1 or out_bits.size != 1:
        raise NotInferred("the bit widths are several, or too far from each other")
    divisor = 2.0 ** int(dropped)
    low, high = (_rounded(end / divisor, op.rounding_mode) for end in (low, high))
    return _on_scale(low, high, zero, scale, None)


def _rounded(number: float, mode: Rounding) -> int:
    """Return the number rounded as the operator rounds; every mode keeps the order of numbers."""
    folding = GraphBuilder.apart(constant_array)
    return int(np.asarray(round_by(folding, mode, np.asarray(number))))


def _levels(call: Call, scale: NDArray[np.float64], zero: NDArray[np.float64]) -> tuple[int, int]:
    """Return the bounds of ``round(x / scale + zero)``."""
    x = call.numbers(0)
    if x.scale is None:
        raise NotInferred("a scale per channel is not known")
    if as_scale(scale)[2]:
        raise NotInferred("a scale is negative")
    try:
        ratio = x.scale / scale
    except ValueError as error:
        raise NotInferred("the scales do not broadcast") from error
    low = min(x.low * float(ratio.min()), x.low * float(ratio.max()))
    high = max(x.high * float(ratio.min()), x.high * float(ratio.max()))
    slack = 1e-5 * max(abs(low), abs(high))  # quotients of float32
    return round(low - slack + float(zero.min())), round(high + slack + float(zero.max()))


def trunc(op: Trunc, call: Call) -> Fact:
    """Return the levels of the output width on the grid of the output scale."""
    scale, zero, out_scale, out_bits = _constants(call, 1, 2, 4, 5)
    _whole(out_bits, "the bit width", 1)
    if as_scale(scale)[2] or as_scale(out_scale)[2]:
        raise NotInferred("a scale is negative")
    try:
        step = np.exp2(np.round(np.log2(out_scale / scale)))
        moved = _whole(np.asarray(zero / step), "the zero point of the output")
    except ValueError as error:
        raise NotInferred("the scales do not broadcast") from error
    low, high = level_bounds(out_bits, op.signed, op.narrow)
    declared = None
    if not np.any(moved != 0):
        bits = int(out_bits.max())
        at_one = DataType.integer(bits) if op.signed else DataType.unsigned(bits)
        declared = at_one if np.all(out_scale == 1) else DataType.scaled_int(bits)
    return _on_scale(low, high, moved, out_scale, declared)


def multithreshold(op: MultiThreshold, call: Call) -> Fact:
    """Return 0 to T thresholds, scaled and shifted; of the declared type where that holds them."""
    levels = call.size(1, -1)
    scale, bias = (from_array(np.asarray(number, np.float32)) for number in (op.out_scale, op.out_bias))
    if scale is None or bias is None:
        return _scaled_levels(op, levels)
    (unit, offset), grid = common_grid([scale, bias])
    ends = [unit.low * count + offset.low for count in (0, levels)]
    odd = levels == 1 and sorted(ends) == [-1, 1]
    made = grid.derived(min(ends), max(ends), odd=odd)
    declared = DataType.parse(op.out_dtype)
    holds = declared.is_integer() and made.step == 1 and declared.min <= made.low and made.high <= declared.max
    if holds and declared.kind is Kind.BIPOLAR and not odd:
        holds = False
    return replace(made, declared=declared) if holds else made


def _scaled_levels(op: MultiThreshold, levels: int) -> Numbers:
    """Return 0 to ``levels`` steps of any scale, moved by whole steps."""
    size, positive, negative = as_scale(np.asarray(op.out_scale, np.float32))
    moved = float(np.float32(op.out_bias)) / float(size)
    if not abs(moved) <= 1 << 24 or np.float32(round(moved) * float(size)) != np.float32(op.out_bias):
        raise NotInferred("scale and bias of the output are on no common grid of few bits")
    low, high = with_signs(0, levels, positive, negative)
    return Numbers(low + round(moved), high + round(moved), size, scaled=True)


def average(op: QuantAvgPool2d, call: Call) -> Fact:
    """Return the type that the operator states, where the input is of the type that it expects."""
    declared = DataType.integer(op.obits) if op.signed else DataType.unsigned(op.obits)
    if call.known(0) is None:
        return from_datatype(declared)
    x = call.numbers(0)
    if x.step is None or x.step > 1 or x.step < 1:
        raise NotInferred("the input is no integer")
    low, high = (end * op.kernel**2 >> op.shift for end in (x.low, x.high))
    if declared.min <= low and high <= declared.max:
        return integers(low, high, declared)
    return integers(low, high)


def popcount(op: XnorPopcountMatMul, call: Call) -> Fact:
    """Return what ``(matmul(2 a - 1, 2 b - 1) + K) / 2`` can be: 0 to K for the 0 and 1 that the operator expects."""
    declared = op.datatype(None, None)
    assert declared is not None
    expected = [
        fact is None or (isinstance(fact, Numbers) and _is_binary(fact)) for fact in (call.known(0), call.known(1))
    ]
    if all(expected):
        try:
            return integers(0, call.size(0, -1), declared)
        except NotInferred:
            return from_datatype(declared)
    count = call.size(0, -1)
    operands = [call.numbers(0), call.numbers(1)]
    if any(fact.step != 1 for fact in operands):
        raise NotInferred("an input holds other numbers than integers")
    ends = [(2 * x - 1) * (2 * y - 1) for x in _ends(operands[0]) for y in _ends(operands[1])]
    return integers((count * min(ends) + count) // 2, (count * max(ends) + count) // 2)


def _is_binary(fact: Numbers) -> bool:
    return fact.step == 1 and 0 <= fact.low <= fact.high <= 1


def _ends(fact: Numbers) -> tuple[int, int]:
    return fact.low, fact.high


def im2col(op: Im2Col, call: Call) -> Fact:
    """Return the data, and the padding where there is any."""
    data = call.fact(0)
    if not any(op.pad_amount):
        return data.moved() if isinstance(data, Numbers) else data
    if not isinstance(data, Numbers):
        return _stated(op, call)
    padding = from_array(np.asarray(op.pad_value, np.float32))
    if padding is None:
        raise NotInferred("the padding is on no grid of few bits")
    return with_number(data.moved(), padding)


def moved_here(_: QonnxOp, call: Call) -> Fact:
    """Return the data in other places."""
    data = call.fact(0)
    return data.moved() if isinstance(data, Numbers) else data


_OWN: tuple[tuple[type[QonnxOp], OpRule], ...] = (
    (Quant, quant),
    (BipolarQuant, bipolar_quant),
    (TruncV1, trunc_v1),
    (Trunc, trunc),
    (MultiThreshold, multithreshold),
    (QuantAvgPool2d, average),
    (XnorPopcountMatMul, popcount),
    (Im2Col, im2col),
    (MaxPoolNHWC, moved_here),
    (ChannelsLastMaxPoolV1, moved_here),
    (ChannelsLastConv, lambda _, call: products.conv_channels_last(call)),
    (DebugMarker, lambda _, call: same(call)),
)


def quantize_linear(call: Call) -> Fact:
    """Return the range of the integer type that comes out."""
    container = from_container(call.dtype)
    if container is None:
        raise NotInferred("the element type of the output is no integer type")
    return container


def dequantize_linear(call: Call) -> Fact:
    """Return the integers less the zero point, on the grid of the scale."""
    data = call.numbers(0)
    if call.integer("block_size", 0):
        return replace(data.derived(data.low, data.high), scale=None, scaled=True)
    (scale,) = _constants(call, 1)
    zero = _constants(call, 2)[0] if call.has(2) else np.zeros(())
    _whole(zero, "the zero point")
    if scale.ndim == 1 and scale.size > 1:
        rank, axis = call.rank(0), call.integer("axis", 1)
        if not -rank <= axis < rank or zero.size not in (1, scale.size):
            raise NotInferred("scale, zero point and axis do not fit")
        shape = [1] * rank
        shape[axis] = scale.size
        scale = scale.reshape(shape)
        zero = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
    made = _on_scale(data.low, data.high, zero, scale, None)
    known = from_container(call.value(0).dtype)
    at_zero = known is not None and known.declared is not None and (known.low, known.high) == (made.low, made.high)
    declared = None
    if at_zero and made.scaled and known is not None and known.declared is not None:
        declared = DataType.scaled_int(known.declared.bits)
    return replace(rounded(made, call.dtype), declared=declared)


def cast(call: Call) -> Fact:
    """Return the numbers, where the element type holds them; the range of the type where nothing else is known."""
    target = call.dtype
    container = from_container(target)
    data = call.known(0)
    if target == ir.DataType.BOOL:
        return integers(0, 1)
    if not isinstance(data, Numbers) or data.step is None:
        if container is not None:
            return container
        if isinstance(data, Numbers) and target in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return data
        raise NotInferred("the input is on no grid")
    if container is not None:
        low, high = math.trunc(data.low * data.step), math.trunc(data.high * data.step)
        inside = container.low <= low and high <= container.high
        if inside and data.step >= 1:
            return data
        return integers(low, high) if inside else container
    if target not in _FLOATS or max(abs(data.low), abs(data.high)) > 1 << _FLOATS[target]:
        raise NotInferred("the element type does not hold the numbers exactly")
    if target == ir.DataType.FLOAT16 and not (data.step >= 2.0**-14 and abs(data.high * data.step) <= 2.0**15):
        raise NotInferred("float16 does not hold the numbers exactly")
    return data


def container_of_output(call: Call) -> list[Fact | None]:
    """Return the integer types of the outputs."""
    return [from_container(value.dtype) for value in call.node.outputs]


RULES: dict[str, Rule] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "Cast": cast,
    **dict.fromkeys(("DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"), container_of_output),
}

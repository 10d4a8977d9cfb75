"""Writes quantizers as QuantizeLinear, Clip and DequantizeLinear, the form that other ONNX tools read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.formats.qcdq import (
    INT4_OPSET,
    Array,
    Conversion,
    ZeroPoints,
    check_zero_points,
    storage_for,
)
from qonnx_core.formats.qcdq_floats import FloatType, float_codes, type_of_quantizer
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import integer_range
from qonnx_core.ir.names import Names, label_of
from qonnx_core.ops.builder import GraphBuilder, Operand
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.rounding import Rounding, round_by
from qonnx_core.passes.base import new_initializer
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.remove_unused import RemoveUnused


def to_qcdq(
    model: ir.Model, *, partial: bool = False, zero_points: ZeroPoints = "exact", opset: int | None = None
) -> Conversion:
    """Return a copy whose Quant nodes are QuantizeLinear, Clip and DequantizeLinear; it computes the same values.

    Equal to the bit for every finite input, except that a negative number that becomes zero is +0 here and -0 in
    Quant. QuantizeLinear rounds ``x / scale`` and then adds the zero point, Quant rounds after adding; so a zero point
    (and a rounding mode other than ROUND) is computed by Div, Add and rounding nodes before a QuantizeLinear of scale
    1. Quantized constants are stored as integers. Types of 2 and 4 bits are used where the opset has them, but 8 bits
    with a Clip where onnxruntime's optimizations would get those wrong. A FloatQuant that is one of ONNX's minifloat
    types becomes a chain through that type (float8 from opset 19, float4 from 23, float6 from 28; onnxruntime 1.32 runs
    float8 alone).

    Args:
        model: the model; it is not changed.
        partial: keep the quantizers that have no such form, with the reasons in the result, instead of refusing.
        zero_points: ``standard`` gives QuantizeLinear the zero point itself, as other tools expect it. A number within
            a float32 rounding error of the middle between two steps, or there exactly at an odd zero point, may then
            go to the other one.
        opset: the opset in which the model will be written, by default its own; newer ones have more element types.

    Raises:
        Unsupported: quantizers have no such form (bipolar ones, 9 to 15 bits, no constants, ...); lists all of them.
        InvalidModel: the model breaks its format.
    """
    check_zero_points(zero_points)
    copy = normalized_copy(model)
    InferShapes().run(copy)
    names = Names(copy.graph)
    kept: list[str] = []
    converted = 0
    written = copy.opset_imports[""] if opset is None else min(opset, copy.opset_imports[""])
    for graph in list(copy.graphs()):
        for node in list(graph):
            op = op_of(node, copy.opset_imports)
            if op is None and node.domain != DOMAIN:
                continue
            found = _read_float(node, op, written) if isinstance(op, FloatQuant) else _read(node, op, written)
            if isinstance(found, str):
                kept.append(f"{label_of(node)}: {found}")
            elif isinstance(found, _FloatQuantizer):
                _replace_float(copy.graph, graph, node, found, names)
                converted += 1
            else:
                _replace(copy.graph, graph, node, found, names, standard=zero_points == "standard")
                converted += 1
    if kept and not partial:
        raise Unsupported(
            "the model has quantizers without a QCDQ form; convert what has one (partial), or all to plain ONNX:", kept
        )
    if not kept:
        copy.opset_imports.pop(DOMAIN, None)
    RemoveUnused().run(copy)
    InferShapes().run(copy)
    return Conversion(copy, converted, tuple(kept))


@dataclass(frozen=True)
class _Quantizer:
    """A Quant with known parameters; ``scale`` and ``zero_point`` are scalars, or vectors along ``axis``."""

    rounding: Rounding
    low: int
    high: int
    storage: ir.DataType
    clips: bool
    scale: Array
    zero_point: Array
    axis: int | None
    parameters: tuple[Array, Array]  # scale and zero point in the shapes of the node
    clipped: ir.Value | None = None  # what stands before a Clip that is part of it; the zero point comes after rounding


def _read(node: ir.Node, op: QonnxOp | None, opset: int) -> _Quantizer | str:
    """Return what is needed to write the node, or why it has no QCDQ form."""
    if not isinstance(op, Quant):
        return "is no integer quantizer"
    x = node.inputs[0]
    assert x is not None
    scale, zero_point, bitwidth = (constant_array(value) for value in node.inputs[1:])
    if scale is None or zero_point is None or bitwidth is None:
        return "its scale, zero point or bit width is computed while the model runs"
    if x.dtype != ir.DataType.FLOAT:
        return f"works on {'an unknown type' if x.dtype is None else x.dtype.name}, QuantizeLinear divides in float32"
    if bitwidth.size != 1 or not 1 <= float(bitwidth.item()) <= 64 or not float(bitwidth.item()).is_integer():
        return "its bit width is no single whole number"
    bits = int(bitwidth.item())
    if op.signed and bits == 1:
        return "is bipolar: no integer type holds only -1 and 1"
    scales = np.asarray(scale, np.float32)
    if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        return "has a scale that is not above 0"
    zeros = np.asarray(zero_point, np.float64)
    if not np.all(np.isfinite(zeros)) or np.any(zeros != np.round(zeros)) or np.any(np.abs(zeros) > 2.0**53):
        return "its zero point is no whole number, or no integer type holds it"
    whole = zeros.astype(np.int64)
    low, high = integer_range(bits, op.signed, op.narrow)
    around = _around_clip(op, x, scales, whole, bits, opset)
    if around is not None:
        return around
    packed = not _is_misread(x, op.signed or bool(np.any(whole)))
    storage = storage_for(low, high, int(whole.min(initial=0)), int(whole.max(initial=0)), opset, packed=packed)
    if storage is None and bits <= 32 and not np.any(whole) and _small(constant_array(x), scales):
        storage = ir.DataType.INT32, False  # which DequantizeLinear alone has
    if storage is None:
        return f"{bits} bits with zero point {whole.reshape(-1)[:1].tolist()[0]}: expected what 8 bits, or 16, hold"
    shape = np.broadcast_shapes(scales.shape, whole.shape)
    axis = _axis(shape, x)
    if isinstance(axis, str):
        return axis
    flat = () if axis is None else (-1,)
    vectors = [np.broadcast_to(array, shape).reshape(flat) for array in (scales, whole)]
    parameters = (scales, np.asarray(whole, np.float32))
    return _Quantizer(op.rounding_mode, low, high, *storage, vectors[0], vectors[1], axis, parameters)


def _is_misread(x: ir.Value, below_zero: bool) -> bool:
    """Return whether onnxruntime, as it comes, would get a quantizer of ``x`` to 2 or 4 bits wrong, or refuse it.

    Its optimizations drop a Relu in front of a grid with steps below zero, and fail at a Clip (seen in 1.32).
    """
    before = x.producer()
    if before is None or before.domain not in ("", "ai.onnx"):
        return False
    return before.op_type == "Clip" or (before.op_type == "Relu" and below_zero)


def _small(known: Array | None, scale: Array) -> bool:
    """Return whether these constants are there, and no step of them is beyond 32 bits."""
    if known is None:
        return False
    with np.errstate(over="ignore"):
        return bool(np.all(np.abs(known / scale) < 2.0**31))


def _around_clip(op: Quant, x: ir.Value, scale: Array, zero_point: Array, bits: int, opset: int) -> _Quantizer | None:
    """Return a wide Quant behind a Clip to 256 steps, fewer, or 65536: one around a zero point, as they come in."""
    clip = x.producer()
    if clip is None or clip.op_type != "Clip" or clip.domain not in ("", "ai.onnx") or not 8 < bits <= 18:
        return None
    ends = [constant_array(value) for value in clip.inputs[1:]]
    source = clip.inputs[0]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or source is None or op.rounding_mode is not Rounding.ROUND:
        return None
    if scale.size != 1 or np.any(zero_point) or not op.signed:
        return None
    steps = [np.round(np.asarray(end, np.float32) / scale.reshape(())) for end in ends]
    exact = all(
        np.isfinite(step) and np.float32(step) * scale.reshape(()) == end for step, end in zip(steps, ends, strict=True)
    )
    if not exact:
        return None
    low, high = (int(step) for step in steps)
    width = 8 if 0 <= high - low <= 255 else 16 if high - low == 65535 and opset >= INT4_OPSET else 0
    if not width:
        return None
    sign = "U" if -(2**width) < low <= 0 else ""
    storage = ir.DataType[f"{sign}INT{width}"]
    bottom, top = integer_range(width, not sign)
    zero = bottom - low
    if not bottom <= zero <= top:
        return None
    scalars = (scale.reshape(()), np.asarray(zero, np.int64))
    return _Quantizer(
        Rounding.ROUND, bottom, bottom + high - low, storage, bottom + high - low < top, *scalars, None,
        (scale, np.asarray(zero, np.float32)), source,
    )  # fmt: skip


@dataclass(frozen=True)
class _FloatQuantizer:
    """A FloatQuant with known parameters; ``scale`` is a scalar, or a vector along ``axis``."""

    kind: FloatType
    saturation: bool
    scale: Array
    axis: int | None
    shaped: Array  # the scale in the shape of the node


def _read_float(node: ir.Node, op: FloatQuant, opset: int) -> _FloatQuantizer | str:
    x = node.inputs[0]
    assert x is not None
    scale, *widths = (constant_array(value) for value in node.inputs[1:])
    known = tuple(width for width in widths if width is not None)
    if scale is None or len(known) != len(widths):
        return "its scale or widths are computed while the model runs"
    if x.dtype != ir.DataType.FLOAT:
        return f"works on {'an unknown type' if x.dtype is None else x.dtype.name}, QuantizeLinear divides in float32"
    kind = type_of_quantizer(op, known, opset)
    if isinstance(kind, str):
        return kind
    scales = np.asarray(scale, np.float32)
    if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        return "has a scale that is not above 0"
    axis = _axis(scales.shape, x)
    if isinstance(axis, str):
        return axis
    return _FloatQuantizer(kind, op.saturation, scales.reshape(() if axis is None else (-1,)), axis, scales)


def _axis(shape: tuple[int, ...], x: ir.Value) -> int | str | None:
    """Return the axis of ``x`` along which parameters of this shape vary, None for one number, or a reason."""
    if not shape:
        return None
    if x.shape is None:
        return "the rank of its input is not known"
    rank = len(x.shape)
    if len(shape) > rank:
        return "its parameters have more axes than its input"
    long = [axis + rank - len(shape) for axis, size in enumerate(shape) if size != 1]
    if not long:
        return None
    if len(long) > 1:
        return f"its scale or zero point varies along axes {long}, QuantizeLinear has one"
    size, wanted = x.shape[long[0]], shape[long[0] - rank + len(shape)]
    if isinstance(size, int) and size != wanted:
        return "its parameters make its input larger"
    return long[0]


def _replace_float(root: ir.Graph, graph: ir.Graph, node: ir.Node, quantizer: _FloatQuantizer, names: Names) -> None:
    old = node.outputs[0]
    builder = GraphBuilder(root, f"{old.name}/qcdq", constant_array, names)
    x = node.inputs[0]
    assert x is not None
    known = constant_array(x)
    kind = quantizer.kind
    scale = builder.value(quantizer.scale)
    along: dict[str, int] = {} if quantizer.axis is None else {"axis": quantizer.axis}
    if known is not None and np.all(np.isfinite(known)) and quantizer.saturation:
        codes = float_codes(kind, np.asarray(known / quantizer.shaped))
        current = new_initializer(root, f"{old.name}/codes", ir.tensor(codes, dtype=kind.dtype), names)
    else:
        zeros = ir.tensor(np.zeros(quantizer.scale.shape, kind.dtype.numpy()), dtype=kind.dtype)
        zero = new_initializer(root, f"{old.name}/zero_point", zeros, names)
        saturate = {} if quantizer.saturation else {"saturate": 0}
        current = builder.node("QuantizeLinear", [x, scale, zero], {**along, **saturate})[0]
    made = builder.node("DequantizeLinear", [current, scale], along)[0]
    _put(graph, node, builder, made)


def _put(graph: ir.Graph, node: ir.Node, builder: GraphBuilder, made: ir.Value) -> None:
    """Put the builder's nodes in the place of the node."""
    old = node.outputs[0]
    for number, inner in enumerate(builder.nodes):
        inner.name = builder.names.free_for_node(f"{node.name or old.name}/{inner.op_type}_{number}")
        inner.outputs[0].name = builder.names.free(f"{old.name}/{inner.op_type}_{number}")
    made.type, made.shape = old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], builder.nodes, [old], [made])


def _replace(
    root: ir.Graph, graph: ir.Graph, node: ir.Node, quantizer: _Quantizer, names: Names, *, standard: bool
) -> None:
    old = node.outputs[0]
    builder = GraphBuilder(root, f"{old.name}/qcdq", constant_array, names)
    x = node.inputs[0] if quantizer.clipped is None else quantizer.clipped
    assert x is not None
    known = constant_array(x)
    direct = standard or quantizer.clipped is not None or not np.any(quantizer.zero_point)
    zero_points = ir.tensor(quantizer.zero_point.astype(quantizer.storage.numpy()), dtype=quantizer.storage)
    scale = builder.value(quantizer.scale)
    zero = new_initializer(root, f"{old.name}/zero_point", zero_points, names)
    along = {} if quantizer.axis is None else {"axis": quantizer.axis}
    if known is not None and np.all(np.isfinite(known)):
        integers = _integers(builder, quantizer, known).astype(quantizer.storage.numpy())
        stored = ir.tensor(integers, dtype=quantizer.storage)
        current = new_initializer(root, f"{old.name}/integers", stored, names)
    elif quantizer.rounding is Rounding.ROUND and direct:
        current = builder.node("QuantizeLinear", [x, scale, zero], along)[0]
    else:
        steps = builder.value(_steps(builder, quantizer, x))
        unit = ir.tensor(np.zeros((), quantizer.storage.numpy()), dtype=quantizer.storage)
        ends = [builder.value(np.asarray(1, np.float32)), new_initializer(root, f"{old.name}/zero", unit, names)]
        current = builder.node("QuantizeLinear", [steps, *ends])[0]
    if quantizer.clips:
        ends = [builder.value(np.asarray(end, quantizer.storage.numpy())) for end in (quantizer.low, quantizer.high)]
        current = builder.node("Clip", [current, *ends])[0]
    made = builder.node("DequantizeLinear", [current, scale, zero], along)[0]
    _put(graph, node, builder, made)


def _steps(builder: GraphBuilder, quantizer: _Quantizer, x: Operand) -> Operand:
    """Return ``round(x / scale + zero_point)`` before the clip; the rounding mode ROUND is left to QuantizeLinear."""
    scale, zero_point = quantizer.parameters
    steps = builder("Add", builder("Div", x, scale), zero_point)
    return steps if quantizer.rounding is Rounding.ROUND else round_by(builder, quantizer.rounding, steps)


def _integers(builder: GraphBuilder, quantizer: _Quantizer, known: Array) -> Array:
    if quantizer.clipped is None:
        steps = np.round(np.asarray(_steps(builder, quantizer, known)))
    else:  # as QuantizeLinear does: the zero point is added to whole numbers, and takes no digits from the others
        scale, zero_point = quantizer.parameters
        steps = np.round(known / scale) + zero_point
    assert steps.shape == known.shape  # checked by _axis
    return np.clip(steps, quantizer.low, quantizer.high)

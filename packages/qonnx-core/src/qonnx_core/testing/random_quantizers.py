"""Random quantizers for random graphs: of weights and of activations, of every kind of the format."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.ops.rounding import Rounding
from qonnx_core.testing.graph_writer import QONNX, Array, GraphWriter, Tensor

MINIFLOATS = ((2, 1, 1, 6.0), (3, 2, 3, 28.0), (2, 3, 1, 7.5))
"""Formats as exponent bits, mantissa bits, bias and largest value: few enough steps for exact sums."""


def activation(writer: GraphWriter, x: Tensor, exact: bool, version: int, *, bits: int | None = None) -> Tensor:
    """Return the tensor after a random quantizer; with ``bits`` it is an integer one of at most that many."""
    if bits is not None:
        return _integers(writer, x, exact, bits)
    choice = writer.choose(["Quant"] * 5 + ["Trunc", "BipolarQuant", "FloatQuant", "MultiThreshold", "MultiThreshold"])
    if choice == "BipolarQuant":
        scale, exponents = _scales(writer, x, exact, 0, writer.pick(-2, 1))
        value = writer.node(choice, [x.value, writer.constant(scale)], x.shape, domain=QONNX)
        most = float(np.abs(scale).max())
        return replace(x, value=value, grid=int(exponents.min()), low=-most, high=most, quantized=None)
    if choice == "FloatQuant":
        return _minifloat(writer, x, exact)
    if choice == "MultiThreshold":
        return _thresholds(writer, x, exact)
    y = _integers(writer, x, exact, writer.pick(2, 5))
    return _truncated(writer, y, version) if choice == "Trunc" else y


def weights(writer: GraphWriter, shape: tuple[int, ...], channel_axis: int, exact: bool) -> tuple[ir.Value, int, float]:
    """Return quantized weights, the exponent of their grid and their largest magnitude.

    Scales are shared or one for each index of the axis. The numbers before the quantizer are multiples of 2^-8.
    """
    raw = (np.round(writer.generator.normal(0, 0.7, shape) * 256) / 256).astype(np.float32)
    x = Tensor(writer.constant(raw, "weights"), shape, -8, float(raw.min()), float(raw.max()))
    choice = writer.choose(["Quant"] * 5 + ["BipolarQuant", "FloatQuant", "none"])
    if choice == "none":
        kept = raw if not exact else (np.round(raw * 4) / 4).astype(np.float32)
        x.value.const_value = ir.tensor(kept, name=x.value.name)
        return x.value, -2, float(np.abs(kept).max())
    if choice == "FloatQuant":
        formats = [np.asarray(number, np.float32) for number in MINIFLOATS[0]]
        scale, exponents = _scales(writer, x, exact, channel_axis, writer.pick(-3, -1))
        inputs = [writer.constant(np.asarray(number, np.float32)) for number in (scale, *formats)]
        value = writer.node(choice, [x.value, *inputs], shape, domain=QONNX, fixed=True, **_float_attributes(writer))
        return value, int(exponents.min()) - 1, 6.0 * float(scale.max())
    bits = writer.pick(2, 4)
    scale, exponents = _scales(writer, x, exact, channel_axis, writer.pick(-1, 1) - bits)
    if choice == "BipolarQuant":
        value = writer.node(choice, [x.value, writer.constant(scale)], shape, domain=QONNX, fixed=True)
        return value, int(exponents.min()), float(scale.max())
    width = writer.choose([bits, bits, bits, 1])
    attributes = {"signed": 1, "narrow": writer.pick(0, 1), "rounding_mode": str(_rounding(writer))}
    inputs = [writer.constant(scale), *writer.numbers(0, width)]
    value = writer.node(_spelling(writer), [x.value, *inputs], shape, domain=QONNX, fixed=True, **attributes)
    return value, int(exponents.min()), float(scale.max()) * max(1, 2 ** (width - 1))


def _rounding(writer: GraphWriter) -> Rounding:
    return Rounding.ROUND if writer.chance(0.6) else writer.choose(list(Rounding))


def _spelling(writer: GraphWriter) -> str:
    return "IntQuant" if writer.chance(0.25) else "Quant"


def _scales(writer: GraphWriter, x: Tensor, exact: bool, axis: int, exponent: int) -> tuple[Array, Array]:
    """Return scales near ``2^exponent``, one or one for each index of the axis, and the exponents of their grids."""
    per_channel = writer.chance(0.4) and len(x.shape) > 1
    shape = tuple(size if number == axis else 1 for number, size in enumerate(x.shape)) if per_channel else ()
    exponents = np.asarray(exponent + writer.generator.integers(-1, 2, shape), np.int64)
    scales = 2.0**exponents if exact else 2.0**exponents * writer.generator.uniform(0.7, 1.4, shape)
    return np.asarray(scales, np.float32), exponents


def _integers(writer: GraphWriter, x: Tensor, exact: bool, bits: int) -> Tensor:
    exponent = math.ceil(math.log2(max(x.bound, 2.0**-10))) - bits + writer.pick(0, 1)
    signed = x.low < 0 and writer.chance(0.8)
    zero_point = writer.pick(-3, 3) if writer.chance(0.2) else 0
    narrow = writer.chance(0.3)
    scale, exponents = _scales(writer, x, exact, 1, exponent)
    if signed:
        low, high = -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    else:
        low, high = 0, 2**bits - 1 - narrow
    attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": str(_rounding(writer))}
    inputs = [writer.constant(scale), *writer.numbers(zero_point, bits)]
    value = writer.node(_spelling(writer), [x.value, *inputs], x.shape, domain=QONNX, **attributes)
    most = float(scale.max())
    known = (int(exponents), zero_point, bits, signed) if scale.ndim == 0 and exact else None
    ends = ((low - zero_point) * most, (high - zero_point) * most)
    return replace(
        x,
        value=value,
        grid=int(exponents.min()),
        low=min(ends[0], 0.0) if ends[0] > 0 else ends[0],
        high=max(ends[1], 0.0),
        quantized=known,
    )


def _truncated(writer: GraphWriter, x: Tensor, version: int) -> Tensor:
    """Return the tensor after a Trunc that drops one or two bits, if one scale made the integers behind it."""
    if x.quantized is None:
        return x
    exponent, zero_point, bits, signed = x.quantized
    dropped = writer.pick(1, min(2, bits - 1))
    rounding = str(writer.choose([Rounding.FLOOR, Rounding.FLOOR, Rounding.ROUND, Rounding.CEIL, Rounding.DOWN]))
    most = 2.0 ** (bits - dropped) + 1
    if version == 1:
        inputs = writer.numbers(2.0**exponent, zero_point, bits, bits - dropped)
        end = (most + abs(zero_point)) * 2.0**exponent
        return writer.same(
            x, "Trunc", inputs, low=-end, high=end, attributes={"domain": QONNX, "rounding_mode": rounding}
        )
    inputs = writer.numbers(2.0**exponent, zero_point, bits, 2.0 ** (exponent + dropped), bits - dropped)
    attributes = {"domain": QONNX, "rounding_mode": rounding, "signed": int(signed), "narrow": writer.pick(0, 1)}
    end = (most + abs(zero_point)) * 2.0 ** (exponent + dropped)
    grid = exponent if zero_point else exponent + dropped
    return writer.same(x, "Trunc", inputs, low=-end, high=end, grid=grid, attributes=attributes)


def _float_attributes(writer: GraphWriter) -> dict[str, Any]:
    return {
        "rounding_mode": "ROUND" if writer.chance(0.7) else str(writer.choose([Rounding.FLOOR, Rounding.DOWN])),
        "has_inf": 0,
        "has_nan": writer.pick(0, 1),
        "has_subnormal": 1,
        "saturation": 1,
    }


def _minifloat(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    exponent_bits, mantissa_bits, bias, most = writer.choose(MINIFLOATS)
    exponent = math.ceil(math.log2(max(x.bound, 2.0**-10) / most))
    scale, exponents = _scales(writer, x, exact, 1, exponent)
    inputs = [writer.constant(scale), *writer.numbers(exponent_bits, mantissa_bits, bias, most)]
    value = writer.node("FloatQuant", [x.value, *inputs], x.shape, domain=QONNX, **_float_attributes(writer))
    end = most * float(scale.max())
    grid = int(exponents.min()) + 1 - bias - mantissa_bits
    return replace(x, value=value, grid=grid, low=-end, high=end, quantized=None)


def _thresholds(writer: GraphWriter, x: Tensor, exact: bool) -> Tensor:
    """Return the tensor after a MultiThreshold with rows for all channels or for each."""
    bits = writer.pick(1, 3)
    rows = x.shape[1] if writer.chance(0.6) else 1
    levels = 2**bits - 1
    if exact:
        step = 2.0**x.grid
        table = np.round(writer.generator.uniform(x.low, x.high, (rows, levels)) / step) * step
    else:
        table = writer.generator.uniform(x.low / 2, x.high / 2, (rows, levels))
    scale, bias, datatype = writer.choose(
        [(1.0, 0.0, f"UINT{bits}"), (1.0, -(2.0 ** (bits - 1)), f"INT{bits}"), (0.5, 0.0, f"UINT{bits}")]
    )
    if bits == 1:
        scale, bias, datatype = (2.0, -1.0, "BIPOLAR") if writer.chance(0.5) else (1.0, 0.0, "BINARY")
    attributes = {"out_dtype": datatype, "out_scale": scale, "out_bias": bias}
    attributes["data_layout"] = {2: "NC", 3: "NCW", 4: "NCHW", 5: "NCDHW"}[len(x.shape)]
    inputs = [x.value, writer.constant(np.sort(table, axis=1).astype(np.float32), "thresholds")]
    value = writer.node("MultiThreshold", inputs, x.shape, domain=QONNX, **attributes)
    grid = min(int(math.log2(scale)), 0)
    return replace(x, value=value, grid=grid, low=bias, high=bias + scale * levels, quantized=None)

"""The operators written down a second time, in NumPy, from the text of the format; shares no code with the package."""

from __future__ import annotations

import numpy as np

ROUNDINGS = {
    "ROUND": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + x.dtype.type(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - x.dtype.type(0.5)),
}


def limits(signed, narrow, bits):
    bits = np.asarray(bits, np.float64)
    with np.errstate(over="ignore"):
        if signed:
            return -np.exp2(bits - 1) + narrow, np.exp2(bits - 1) - 1
        return np.zeros_like(bits), np.exp2(bits) - 1 - narrow


def clamp(y, low, high):
    with np.errstate(over="ignore"):
        low, high = np.asarray(low).astype(y.dtype), np.asarray(high).astype(y.dtype)
    y = np.where(y > high, high, y)
    return np.where(y < low, low, y)


def quant(x, scale, zeropt, bits, signed=True, narrow=False, mode="ROUND"):
    kind = x.dtype.type
    scale, zeropt = np.asarray(scale, kind), np.asarray(zeropt, kind)
    with np.errstate(all="ignore"):
        y = x / scale + zeropt
        rounded = ROUNDINGS[mode](clamp(y, *limits(signed, narrow, bits)))
        y = np.where(signed & (np.asarray(bits) == 1), np.where(y >= 0, kind(1), kind(-1)), rounded)
        return (y - zeropt) * scale


def bipolar_quant(x, scale):
    with np.errstate(over="ignore"):
        return np.where(x >= 0, x.dtype.type(1), x.dtype.type(-1)) * np.asarray(scale, x.dtype)


def trunc_v1(x, scale, zeropt, in_bits, out_bits, mode="FLOOR"):
    scale, zeropt = np.asarray(scale, x.dtype), np.asarray(zeropt, x.dtype)
    with np.errstate(all="ignore"):
        y = np.round(x / scale + zeropt)
        y = ROUNDINGS[mode](y / np.exp2(np.subtract(in_bits, out_bits, dtype=np.float64)).astype(x.dtype))
        return (y - zeropt) * scale


def trunc_v2(x, scale, zeropt, out_scale, out_bits, signed=True, narrow=False, mode="FLOOR"):
    scale, zeropt, out_scale = (np.asarray(number, x.dtype) for number in (scale, zeropt, out_scale))
    with np.errstate(all="ignore"):
        step = np.exp2(np.round(np.log2(out_scale.astype(np.float64) / scale.astype(np.float64)))).astype(x.dtype)
        y = np.round(x / scale + zeropt)
        y = ROUNDINGS[mode](clamp(y / step, *limits(signed, narrow, out_bits)))
        return (y - zeropt / step) * out_scale


def multithreshold(v, thresholds, axis, out_scale=1.0, out_bias=0.0):
    moved = np.moveaxis(v, axis, -1)[..., None]
    count = (moved >= thresholds).sum(axis=-1)
    counts = np.moveaxis(count, -1, axis).astype(v.dtype)
    return counts * v.dtype.type(out_scale) + v.dtype.type(out_bias)

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


def limits(signed: bool, narrow: bool, bits: float) -> tuple[float, float]:
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1 - narrow


def clamp(y: np.ndarray, low: float, high: float) -> np.ndarray:
    y = np.where(y > y.dtype.type(high), y.dtype.type(high), y)
    return np.where(y < y.dtype.type(low), y.dtype.type(low), y)


def quant(x, scale, zeropt, bits, signed=True, narrow=False, mode="ROUND"):
    kind = x.dtype.type
    scale, zeropt = np.asarray(scale, kind), np.asarray(zeropt, kind)
    with np.errstate(all="ignore"):
        y = x / scale + zeropt
        if bits == 1 and signed:
            y = np.where(y >= 0, kind(1), kind(-1))
        else:
            y = ROUNDINGS[mode](clamp(y, *limits(signed, narrow, bits)))
        return (y - zeropt) * scale


def bipolar_quant(x, scale):
    return np.where(x >= 0, x.dtype.type(1), x.dtype.type(-1)) * x.dtype.type(scale)


def trunc_v1(x, scale, zeropt, in_bits, out_bits, mode="FLOOR"):
    kind = x.dtype.type
    with np.errstate(all="ignore"):
        y = np.round(x / kind(scale) + kind(zeropt))
        y = ROUNDINGS[mode](y / kind(2.0 ** (in_bits - out_bits)))
        return (y - kind(zeropt)) * kind(scale)


def trunc_v2(x, scale, zeropt, out_scale, out_bits, signed=True, narrow=False, mode="FLOOR"):
    kind = x.dtype.type
    with np.errstate(all="ignore"):
        step = kind(2.0 ** np.round(np.log2(float(out_scale) / float(scale))))
        y = np.round(x / kind(scale) + kind(zeropt))
        y = ROUNDINGS[mode](clamp(y / step, *limits(signed, narrow, out_bits)))
        return (y - kind(zeropt) / step) * kind(out_scale)


def multithreshold(v, thresholds, axis, out_scale=1.0, out_bias=0.0):
    moved = np.moveaxis(v, axis, -1)[..., None]
    count = (moved >= thresholds).sum(axis=-1)
    counts = np.moveaxis(count, -1, axis).astype(v.dtype)
    return counts * v.dtype.type(out_scale) + v.dtype.type(out_bias)

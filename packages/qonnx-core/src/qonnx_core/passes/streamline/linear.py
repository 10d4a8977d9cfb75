"""Sums of integers: matrix products, residual additions, and the index of the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cmp_to_key
from math import prod

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline import exact, ranges
from qonnx_core.passes.streamline.builder import IntegerGraph
from qonnx_core.passes.streamline.constants import Constant, integer_weights
from qonnx_core.passes.streamline.elementwise import Affine, Params, at, compose, mapped, shared
from qonnx_core.passes.streamline.exact import Real
from qonnx_core.passes.streamline.quantize import affine_with_bounds
from qonnx_core.passes.streamline.representation import Represented, commensurate
from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]

#: Integer factors that make scales equal may need this many bits: those of a float32, and octaves between two of them.
MAX_FACTOR_BITS = 32


def flattened(graph: IntegerGraph, x: Represented, name: str) -> Represented:
    """Return the tensor on integers of shape ``[1, elements]``, one channel per element."""
    elements = prod(x.base.shape)
    if x.base.shape == (1, elements):
        return x
    repeats = elements // x.base.channels
    chain = mapped(x.chain, lambda params: params * repeats)
    return replace(x, base=graph.reshape(name, x.base, (1, elements)), chain=chain)


def line_of(x: Represented) -> Affine:
    """Return the tensor's values as a line over the integers; raises Unsupported where they are none."""
    affine = x.affine()
    if affine is None:
        raise Unsupported("its input passes an elementwise function that is not linear; put a Quant node between them")
    return affine


def straightened(graph: IntegerGraph, x: Represented, name: str) -> Represented:
    """Return the tensor as a line over integers: a Relu or Clip without a quantizer behind it clips integers.

    The bounds have to lie on the grid of the integers, or on one that is a small factor finer.
    """
    if x.affine() is not None:
        return x
    bounded = affine_with_bounds(x.chain)
    if isinstance(bounded, str):
        raise Unsupported("its input passes an elementwise function that is not linear; put a Quant node between them")
    line, lows, highs = bounded
    count = max(line.channels, len(lows))
    # with the clipping bound as origin, the integers are (value - origin) / unit, clipped at 0
    upper = all(low is None for low in lows)
    origins = [highs[c % len(highs)] if upper else lows[c % len(lows)] for c in range(count)]
    units: list[Real] = []
    factors, constants, ends = [], [], set()
    for c in range(count):
        origin, gain, offset = origins[c], at(line.gain, c), at(line.offset, c)
        if origin is None or exact.sign(gain) == 0:
            raise Unsupported("its input is clipped on some channels only; put a Quant node between them")
        reach = [bound for bound in (highs[c % len(highs)],) if bound is not None and not upper]
        distances = [offset - origin, *(bound - origin for bound in reach)]
        unit, parts = commensurate((gain, *distances), "the scale and bounds of a Relu or Clip", MAX_FACTOR_BITS)
        units.append(unit)
        factors.append(parts[0])
        constants.append(parts[1])
        ends.add(parts[2] if reach else None)
    if len(ends) != 1:
        raise Unsupported("its input is clipped at different integers per channel; put a Quant node between them")
    factor, constant = np.asarray(factors, np.int64), np.asarray(constants, np.int64)
    declared = ranges.sum_range(ranges.scaled_range(*x.declared(), factor), (constant, constant))
    end = ends.pop()
    lo = min(int(declared[0].min()), -1) if upper else 0
    hi = 0 if upper else (1 << max(int(declared[1].max()), 1).bit_length()) - 1 if end is None else end
    datatype = ranges.smallest_datatype(lo, hi)
    moved = graph.add_constant(name, graph.scale(name, x.base, factor), constant)
    clipped = graph.requantize(f"{name}_clip", f"{x.base.name}_clipped", moved, 0, "ROUND", lo, hi, datatype)
    chain = (Affine(shared(units), shared([o for o in origins if o is not None])),)
    return Represented(clipped, chain, x.shape, x.index, datatype)


def matmul(graph: IntegerGraph, x: Represented, weights: Constant, name: str, output: str) -> Represented:
    """Return ``x @ weights`` as an integer product: exact scales per column, zero points in the offset."""
    if len(weights.shape) != 2:
        raise Unsupported(f"weights of shape {list(weights.shape)}; a matrix [K, N] is needed")
    x = straightened(graph, x, name)
    if not x.shape or x.shape[-1] != weights.shape[0]:
        raise Unsupported(f"a frame of shape {list(x.shape)} does not fit weights of shape {list(weights.shape)}")
    quantized = integer_weights(weights)
    ints, row = quantized.weights, quantized.row
    if len(x.shape) == 1:
        x = flattened(graph, x, name)
        if x.index is not None:
            ints = ints[x.index]
            row = tuple(row[i] for i in x.index) if len(row) > 1 else row
    else:
        if x.index is not None:
            raise Unsupported("its input was transposed and has more than one axis; flatten it before the product")
        x = replace(x, base=graph.reshape(name, x.base, (1, *x.shape)))
    line = line_of(x)
    count = max(len(row), len(line.gain))
    gains = shared([at(row, k) * at(line.gain, k) for k in range(count)])
    unit, factors = commensurate(gains, "its input channels' scales", MAX_FACTOR_BITS)
    folded = ints * np.asarray(factors, np.int64)[:, None]
    column = quantized.column
    offsets = offsets_of(ints, row, line.offset, column)
    y = graph.matmul(name, output, x.base, folded)
    gain = shared([unit * c for c in column])
    low, high = ranges.matmul_range(*x.declared(), folded, None)
    declared = ranges.smallest_datatype(int(low.min()), int(high.max()))
    return Represented(y, (Affine(gain, offsets),), (*x.shape[:-1], weights.shape[1]), None, declared, True)


def offsets_of(ints: IntArray, row: Params, offset: Params, column: Params) -> Params:
    """Return ``sum_k offset[k] * row[k] * ints[k, n] * column[n]`` for each n."""
    count = max(len(row), len(offset))
    parts = [at(offset, k) * at(row, k) for k in range(count)]
    if all(p == 0 for p in parts):
        return (Fraction(0),)
    totals: list[Real] = [Fraction(0)] * ints.shape[1]
    rows_of: dict[Real, list[int]] = {}
    for k in range(ints.shape[0]):
        rows_of.setdefault(parts[k % count], []).append(k)
    for part, rows in rows_of.items():
        sums = ints[rows].sum(axis=0)
        totals = [total + part * int(s) for total, s in zip(totals, sums, strict=True)]
    return shared([total * at(column, n) for n, total in enumerate(totals)])


def add(
    graph: IntegerGraph, a: Represented, b: Represented, name: str, output: str, *, subtract: bool = False
) -> Represented:
    """Return the sum (or difference) of two tensors on integers of one common scale per channel."""
    a, b = straightened(graph, a, f"{name}_left"), straightened(graph, b, f"{name}_right")
    sign = Affine((Fraction(-1 if subtract else 1),), (Fraction(0),))
    lines = [line_of(a), compose(line_of(b), sign)]
    if a.shape != b.shape:
        raise Unsupported(f"it adds frames of shapes {list(a.shape)} and {list(b.shape)}; equal shapes are needed")
    same_order = (a.index is None and b.index is None) or (
        a.index is not None and b.index is not None and np.array_equal(a.index, b.index)
    )
    if not same_order:
        raise Unsupported("its two inputs travel in different orders; flatten or transpose both in the same way")
    if a.base.shape != b.base.shape:
        a, b = flattened(graph, a, name), flattened(graph, b, name)
        lines = [line_of(a), compose(line_of(b), sign)]
    count = max(lines[0].channels, lines[1].channels)
    offset = shared([at(lines[0].offset, c) + at(lines[1].offset, c) for c in range(count)])
    if a.base is b.base:
        gain = shared([at(lines[0].gain, c) + at(lines[1].gain, c) for c in range(count)])
        return Represented(a.base, (Affine(gain, offset),), a.shape, a.index, a.datatype)
    units: list[Real] = []
    factors: list[list[int]] = []
    uniform = all(len(line.gain) == 1 for line in lines)
    for c in range(1 if uniform else count):
        gains = (at(lines[0].gain, c), at(lines[1].gain, c))
        unit, pair = commensurate(gains, "its two inputs' scales", MAX_FACTOR_BITS)
        units.append(unit)
        factors.append(pair)
    table = np.asarray(factors, np.int64)
    left = graph.scale(f"{name}_left", a.base, table[:, 0])
    right = graph.scale(f"{name}_right", b.base, table[:, 1])
    y = graph.add(name, output, left, right)
    terms = [ranges.scaled_range(*t.declared(), table[:, i]) for i, t in enumerate((a, b))]
    low, high = ranges.sum_range(terms[0], terms[1])
    declared = ranges.smallest_datatype(int(low.min()), int(high.max()))
    return Represented(y, (Affine(shared(units), offset),), a.shape, a.index, declared, True)


def label_select(
    graph: IntegerGraph, x: Represented, k: int, name: str, output: str, *, largest: bool, shape: tuple[int, ...]
) -> Represented:
    """Return the indices of the k largest (or smallest) values of each frame, ties to the lowest index.

    Channels that differ in their offset are ordered exactly: the whole part of each offset is added, and where the
    fractional parts differ, their ranks become additional low bits.
    """
    x = straightened(graph, x, name)
    line = line_of(x)
    if len(x.shape) != 1 or x.index is not None or x.base.shape != (1, x.shape[0]):
        raise Unsupported("it selects among more than one axis; only the channels of a [N, C] tensor are supported")
    if not 1 <= k <= x.shape[0]:
        raise Unsupported(f"it selects {k} of {x.shape[0]} channels; select between 1 and all of them")
    unit, factors = commensurate(line.gain, "its channels' scales", MAX_FACTOR_BITS)
    if 0 in factors:
        raise Unsupported("a channel does not depend on the input (its scale is 0); correct the constants")
    if len(factors) == 1 and factors[0] < 0:
        factors, largest, line = [1], not largest, compose(line, Affine((Fraction(-1),), (Fraction(0),)))
    base = graph.scale(name, x.base, np.asarray(factors, np.int64))
    base = _with_offsets(graph, base, [offset / unit for offset in line.offset], name)
    selected = graph.label_select(name, output, base, k, largest=largest)
    one = Affine((Fraction(1),), (Fraction(0),))
    return Represented(selected, (one,), shape, None, selected.datatype, True)


def _with_offsets(graph: IntegerGraph, base: IntTensor, offsets: Sequence[Real], name: str) -> IntTensor:
    if len(offsets) == 1:
        return base
    whole = [exact.floor(offset) for offset in offsets]
    parts = [offset - w for offset, w in zip(offsets, whole, strict=True)]
    distinct: list[Real] = []
    for part in sorted(parts, key=cmp_to_key(exact.compare)):
        if not distinct or exact.compare(part, distinct[-1]) != 0:
            distinct.append(part)
    ranks = [next(r for r, d in enumerate(distinct) if exact.compare(part, d) == 0) for part in parts]
    count = len(distinct)
    least = min(whole)
    constant = np.asarray([(w - least) * count + r for w, r in zip(whole, ranks, strict=True)], object)
    if int(max(constant)) >= 1 << 50:
        raise Unsupported("its channels' offsets are too far apart for integers; check the bias")
    scaled = graph.scale(name, base, np.asarray([count], np.int64))
    return graph.add_constant(name, scaled, constant.astype(np.int64))

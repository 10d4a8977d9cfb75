"""Error bounds of operators that slide a window over data: convolutions and pooling, channels first and last.

A convolution is evaluated one window element at a time, as a matrix product in float64; a bound on the error of the
sums follows from the sums of magnitudes, in any order of the terms and with any algorithm that adds the products (not
of algorithms that transform them, such as Winograd's).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product as every
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ops.windows import Window, read_window
from qonnx_core.verify.bounded import Bounded, Float64, NoBound, SumTerms, is_float32, rounded, unit_of, with_errors
from qonnx_core.verify.float_ops import add, batch_normalization, product, sum_error
from qonnx_core.verify.operands import Rule, constant, first_operands, moved


@dataclass(frozen=True)
class _Windows:
    """A window over spatial axes of known sizes."""

    window: Window
    sizes: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return tuple(count or 0 for count in self.window.counts(self.sizes))

    def parts(self, x: NDArray[Any], filling: float) -> list[NDArray[Any]]:
        """Return for each window element its values in all windows; the last axes of the data are spatial.

        Around the data stands the filling, behind them as much as the last windows reach.
        """
        window, counts = self.window, self.counts
        amounts = [(0, 0)] * (x.ndim - window.num_axes)
        for k, s, d, begin, size, count in zip(
            window.kernel, window.strides, window.dilations, window.begins, self.sizes, counts, strict=True
        ):
            reach = (count - 1) * s + (k - 1) * d + 1
            amounts.append((begin, max(reach - begin - size, 0)))
        padded = np.pad(x, amounts, constant_values=filling)
        lead = (slice(None),) * (x.ndim - window.num_axes)
        return [
            padded[
                lead
                + tuple(
                    slice(place * d, place * d + (count - 1) * s + 1, s)
                    for place, d, s, count in zip(places, window.dilations, window.strides, counts, strict=True)
                )
            ]
            for places in every(*(range(size) for size in window.kernel))
        ]


def _window(node: ir.Node, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> Window:
    window = read_window(node, kernel, sizes)
    if isinstance(window, str):
        raise NoBound(window)
    return window


def _windows(node: ir.Node, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> _Windows:
    return _Windows(_window(node, kernel, sizes), sizes)


# --- convolutions -----------------------------------------------------------------------------------------------------


def _conv(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, weights = first_operands(operands, 2)
    kernel = weights.value.shape[2:]
    sizes = x.value.shape[2:]
    windows = _windows(node, kernel, sizes)
    group = node.attributes.get_int("group", 1)

    def convolved(data: Float64, factors: Float64) -> Float64:
        batch, channels = data.shape[:2]
        outputs = len(factors)
        grouped = factors.reshape(group, outputs // group, channels // group, -1)
        total = np.zeros((batch, group, outputs // group, prod(windows.counts)))
        for place, part in enumerate(windows.parts(data, 0.0)):
            total += grouped[..., place] @ part.reshape(batch, group, channels // group, -1)
        return total.reshape(batch, outputs, *windows.counts)

    terms = prod(weights.value.shape[1:])
    return _with_bias(_summed(x, weights, convolved, terms, 0), operands)


def _conv_transpose(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    x, weights = first_operands(operands, 2)
    kernel = weights.value.shape[2:]
    axes = len(kernel)
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        raise NoBound("a given output shape")
    group = node.attributes.get_int("group", 1)
    sizes = x.value.shape[2:]
    window = _window(node, kernel, sizes)
    more = node.attributes.get_ints("output_padding") or [0] * axes
    full = [
        (n - 1) * s + (k - 1) * d + 1 + p
        for n, s, k, d, p in zip(sizes, window.strides, kernel, window.dilations, more, strict=True)
    ]
    cut = tuple(slice(window.begins[a], full[a] - window.ends[a]) for a in range(axes))

    def spread(data: Float64, factors: Float64) -> Float64:
        batch, channels = data.shape[:2]
        outputs = factors.shape[1]
        grouped = factors.reshape(group, channels // group, outputs, -1)
        inputs = data.reshape(batch, group, channels // group, -1)
        total = np.zeros((batch, group * outputs, *full))
        for place, places in enumerate(every(*(range(k) for k in kernel))):
            part = np.swapaxes(grouped[..., place], -1, -2) @ inputs
            where = tuple(
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, s, n in zip(places, window.dilations, window.strides, sizes, strict=True)
            )
            total[(slice(None), slice(None), *where)] += part.reshape(batch, group * outputs, *sizes)
        return total[(slice(None), slice(None), *cut)]

    terms = weights.value.shape[0] // group * prod(kernel)
    return _with_bias(_summed(x, weights, spread, terms, 1), operands)


def _summed(
    x: Bounded, weights: Bounded, linear: Callable[[Float64, Float64], Float64], count: int, output_axis: int
) -> Bounded:
    """Return sums of products, where ``linear`` is what is linear in both operands."""
    value = linear(x.real, weights.real)
    sizes, factors = np.abs(x.real), np.abs(weights.real)
    propagated = np.zeros(value.shape)
    if x.error is not None:
        propagated = propagated + linear(x.error, factors)
    if weights.error is not None:
        propagated = propagated + linear(sizes + x.errors, weights.error)
    exact_x = x.real if x.error is None else np.where(x.error == 0, x.real, 0.0)
    exact_w = weights.real if weights.error is None else np.where(weights.error == 0, weights.real, 0.0)
    units = unit_of(exact_x, tuple(range(1, exact_x.ndim)))
    if output_axis == 0:
        own = unit_of(exact_w, tuple(range(1, exact_w.ndim))).reshape(1, -1, *(1,) * (value.ndim - 2))
    else:
        own = np.full((1,) * value.ndim, float(unit_of(exact_w, None).min()))
    unit = np.broadcast_to(units.reshape(-1, *(1,) * (value.ndim - 1)) * own, value.shape)
    terms = SumTerms(count, linear(sizes, factors), propagated, np.where(np.isnan(unit), np.inf, unit))
    return with_errors(value, sum_error(terms), terms)


def _with_bias(result: Bounded, operands: Sequence[Bounded | None]) -> Bounded:
    bias = operands[2] if len(operands) > 2 else None
    if bias is None:
        return result
    return add(result, moved(bias, lambda array: array.reshape(1, -1, *(1,) * (result.value.ndim - 2))))


# --- pooling ----------------------------------------------------------------------------------------------------------


def _max_pool(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    if len(node.outputs) > 1:
        raise NoBound("the places of the maxima")
    sizes = x.value.shape[2:]
    windows = _windows(node, tuple(int(n) for n in node.attributes.get_ints("kernel_shape")), sizes)
    value = np.maximum.reduce(windows.parts(x.real, -np.inf))
    if x.error is None:
        return Bounded(value if x.is_real else value.astype(x.value.dtype))
    return with_errors(value, np.maximum.reduce(windows.parts(x.error, 0.0)))


def _global_max_pool(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    axes = tuple(range(2, x.value.ndim))
    return with_errors(x.real.max(axis=axes, keepdims=True), x.errors.max(axis=axes, keepdims=True))


def _average_pool(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    sizes = x.value.shape[2:]
    windows = _windows(node, tuple(int(n) for n in node.attributes.get_ints("kernel_shape")), sizes)
    included = bool(node.attributes.get_int("count_include_pad", 0))
    if node.attributes.get_int("ceil_mode", 0) and included:
        raise NoBound("windows beyond the padding, which runtimes count in different ways")
    total = _window_sums(x, windows)
    if included:
        counts = np.asarray(float(windows.window.num_elements))
    else:
        inside = np.ones((1, 1, *sizes))
        counts = np.asarray(np.add.reduce(windows.parts(inside, 0.0)))
    value = total.real / counts
    # a runtime may multiply by the rounded reciprocal, which is exact for powers of two alone
    exact = (np.frexp(counts)[0] == 0.5) & is_float32(value) & (value * counts == total.real)
    return rounded(value, total.errors / counts, exact, roundoffs=2.0)


def _window_sums(x: Bounded, windows: _Windows) -> Bounded:
    value, magnitude, propagated = (
        np.asarray(np.add.reduce(windows.parts(array, 0.0))) for array in (x.real, np.abs(x.real), x.errors)
    )
    unit = unit_of(x.real, tuple(range(1, x.value.ndim)))
    terms = SumTerms(windows.window.num_elements, magnitude, propagated, np.broadcast_to(unit, value.shape))
    return with_errors(value, sum_error(terms), terms)


# --- channels last ----------------------------------------------------------------------------------------------------


def _first(x: Bounded) -> Bounded:
    return moved(x, lambda array: np.moveaxis(array, -1, 1))


def _channels_last(rule: Rule) -> Rule:
    """Return the rule of an operator with its channels (those of weights too) on the last axis."""

    def wrapped(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
        firsts = [None if x is None else _first(x) if x.value.ndim > 1 else x for x in operands]
        result = rule(node, firsts)
        assert isinstance(result, Bounded)
        return moved(result, lambda array: np.moveaxis(array, 1, -1))

    return wrapped


def _im2col(node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    (x,) = first_operands(operands, 1)
    kernel, strides, dilations, pads = (
        tuple(int(n) for n in node.attributes.get_ints(name) or default)
        for name, default in (
            ("kernel_size", (1, 1)), ("stride", (1, 1)), ("dilations", (1, 1)), ("pad_amount", (0, 0, 0, 0)),
        )
    )  # fmt: skip
    sizes = x.value.shape[1:3]
    windows = _Windows(Window(kernel, strides, dilations, pads), sizes)
    filling = float(node.attributes.get_int("pad_value", 0))

    def rows(array: NDArray[Any], outside: float) -> NDArray[Any]:
        parts = windows.parts(np.moveaxis(array, -1, 1), outside)
        return np.concatenate([np.moveaxis(part, 1, -1) for part in parts], axis=-1)

    return Bounded(rows(x.value, filling), None if x.error is None else rows(x.error, 0.0))


def _xnor_popcount(_node: ir.Node, operands: Sequence[Bounded | None]) -> Bounded:
    from qonnx_core.verify.float_ops import matmul

    a, b = first_operands(operands, 2)
    signs = [add(product(x, constant(2.0)), constant(-1.0)) for x in (a, b)]
    counted = add(matmul(signs[0], signs[1]), constant(float(a.value.shape[-1])))
    return product(counted, constant(0.5))


WINDOWS: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool,
}
"""One rule for each operator of the standard domain."""

CHANNELS_LAST: dict[str, Rule] = {
    "BatchNormalization": _channels_last(batch_normalization),
    "Conv": _channels_last(_conv),
    "MaxPool": _channels_last(_max_pool),
}
"""One rule for each operator of the domain of channels last."""

GENERAL: dict[str, Rule] = {
    "DebugMarker": lambda _node, operands: first_operands(operands, 1)[0],
    "Im2Col": _im2col,
    "MaxPoolNHWC": _channels_last(_max_pool),
    "XnorPopcountMatMul": _xnor_popcount,
}
"""One rule for each operator of the QONNX domain that is no quantizer."""

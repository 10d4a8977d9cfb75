"""The integer graph while it grows: each method adds one layer, proves its output range, and returns the new tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.names import free_name
from qonnx_core.passes.streamline import ranges, view
from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]


class IntegerGraph:
    """Layers in topological order, and names that are taken."""

    def __init__(self) -> None:
        self.layers: list[view.Layer] = []
        self._names: set[str] = set()
        self._layer_names: set[str] = set()
        self._shared: dict[tuple[object, ...], IntTensor] = {}

    def input(self, name: str, shape: tuple[int, ...], datatype: DataType) -> IntTensor:
        """Return a new input tensor that takes every value of its data type."""
        lo, hi = int(datatype.min), int(datatype.max)
        count = shape[-1]
        return self._tensor(name, shape, datatype, np.full(count, lo, np.int64), np.full(count, hi, np.int64))

    def placeholder(self, name: str, shape: tuple[int, ...], datatype: DataType, lo: int, hi: int) -> IntTensor:
        """Return a tensor of this range that no layer makes; for walks that only ask about grids."""
        ranges.check_levels(lo, hi)
        count = shape[-1]
        return self._tensor(name, shape, datatype, np.full(count, lo, np.int64), np.full(count, hi, np.int64))

    def matmul(self, name: str, output: str, x: IntTensor, weights: IntArray) -> IntTensor:
        """Return ``x @ weights``."""
        lo, hi = ranges.matmul_range(x.lo, x.hi, weights, None)
        y = self._tensor(output, (*x.shape[:-1], weights.shape[1]), None, lo, hi)
        datatype = ranges.datatype_of_weights(weights)
        self.layers.append(view.MatMul(self._layer(name), x, y, weights, datatype))
        return y

    def thresholds(
        self, name: str, output: str, x: IntTensor, table: IntArray, base: int, step: int, datatype: DataType
    ) -> IntTensor:
        """Return ``base + step * #{t : x >= table[c, t]}``."""
        lo, hi = ranges.thresholds_range(x.lo, x.hi, table, base, step)
        y = self._tensor(output, x.shape, datatype, lo, hi)
        self.layers.append(view.Thresholds(self._layer(name), x, y, table, base, step))
        return y

    def requantize(
        self,
        name: str,
        output: str,
        x: IntTensor,
        shift: int,
        rounding: str,
        lo: int,
        hi: int,
        datatype: DataType | None,
    ) -> IntTensor:
        """Return ``clip(round(x / 2**shift), lo, hi)``."""
        low, high = ranges.requantize_range(x.lo, x.hi, shift, rounding, lo, hi)
        y = self._tensor(output, x.shape, datatype, low, high)
        self.layers.append(view.Requantize(self._layer(name), x, y, shift, rounding, lo, hi))
        return y

    def scale(self, name: str, x: IntTensor, factor: IntArray) -> IntTensor:
        """Return ``x * factor``; x itself where every factor is 1, and one shared tensor for equal requests."""
        if (factor == 1).all():
            return x
        key = ("scale", x.name, factor.tobytes())
        if key not in self._shared:
            lo, hi = ranges.scaled_range(x.lo, x.hi, factor)
            y = self._tensor(f"{x.name}_scaled", x.shape, None, lo, hi)
            self.layers.append(view.Scale(self._layer(f"{name}_scale"), x, y, factor))
            self._shared[key] = y
        return self._shared[key]

    def add_constant(self, name: str, x: IntTensor, constant: IntArray) -> IntTensor:
        """Return ``x + constant``; x itself where every constant is 0, and one shared tensor for equal requests."""
        if (constant == 0).all():
            return x
        key = ("add", x.name, constant.tobytes())
        if key not in self._shared:
            lo, hi = ranges.sum_range((x.lo, x.hi), (constant, constant))
            y = self._tensor(f"{x.name}_shifted", x.shape, None, lo + 0 * x.lo, hi + 0 * x.hi)
            self.layers.append(view.AddConstant(self._layer(f"{name}_offset"), x, y, constant))
            self._shared[key] = y
        return self._shared[key]

    def add(self, name: str, output: str, a: IntTensor, b: IntTensor) -> IntTensor:
        """Return ``a + b`` of two tensors of equal shape."""
        lo, hi = ranges.sum_range((a.lo, a.hi), (b.lo, b.hi))
        y = self._tensor(output, a.shape, None, lo, hi)
        self.layers.append(view.Add(self._layer(name), (a, b), y))
        return y

    def label_select(self, name: str, output: str, x: IntTensor, k: int, *, largest: bool) -> IntTensor:
        """Return the indices of the k largest or smallest channels, ties to the lowest index."""
        last = np.full(k, x.channels - 1, np.int64)
        y = self._tensor(output, (*x.shape[:-1], k), None, np.zeros(k, np.int64), last)
        self.layers.append(view.LabelSelect(self._layer(name), x, y, k, largest))
        return y

    def reshape(self, name: str, x: IntTensor, shape: tuple[int, ...]) -> IntTensor:
        """Return the elements of x in the same order under another shape; one shared tensor for equal requests."""
        if x.shape == shape:
            return x
        key = ("reshape", x.name, shape)
        if key not in self._shared:
            lo, hi = (np.broadcast_to(side, x.shape).reshape(-1, shape[-1]) for side in (x.lo, x.hi))
            y = self._tensor(f"{x.name}_flat", shape, x.datatype, lo.min(axis=0), hi.max(axis=0))
            self.layers.append(view.Reshape(self._layer(f"{name}_reshape"), x, y))
            self._shared[key] = y
        return self._shared[key]

    def _tensor(
        self, name: str, shape: tuple[int, ...], datatype: DataType | None, lo: IntArray, hi: IntArray
    ) -> IntTensor:
        actual = datatype or ranges.smallest_datatype(int(lo.min()), int(hi.max()))
        return IntTensor(free_name(name, self._names), shape, actual, lo, hi)

    def _layer(self, name: str) -> str:
        return free_name(name, self._layer_names)


def tidy(layers: list[view.Layer], outputs: set[str]) -> list[view.Layer]:
    """Return the layers that ``outputs`` need, with signs and constants behind a MatMul moved into it.

    A Scale by +-1 or an AddConstant whose input is a MatMul's output and has no other reader becomes part of the
    weights and bias; the MatMul then produces the later tensor.
    """
    needed, kept = set(outputs), []
    for layer in reversed(layers):
        if layer.output.name in needed:
            kept.append(layer)
            needed.update(t.name for t in view.inputs_of(layer))
    kept.reverse()
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for layer in kept:
        for tensor in view.inputs_of(layer):
            readers[tensor.name] = readers.get(tensor.name, 0) + 1
    position: dict[str, int] = {}
    result: list[view.Layer] = []
    for layer in kept:
        source = position.get(view.inputs_of(layer)[0].name)
        before = result[source] if source is not None else None
        if isinstance(before, view.MatMul) and readers[before.output.name] == 1:
            folded = _folded(before, layer)
            if folded is not None and source is not None:
                result[source] = folded
                position[layer.output.name] = source
                continue
        position[layer.output.name] = len(result)
        result.append(layer)
    return result


def _folded(matmul: view.MatMul, layer: view.Layer) -> view.MatMul | None:
    if isinstance(layer, view.Scale) and (np.abs(layer.factor) == 1).all():
        weights = matmul.weights * layer.factor
        bias = None if matmul.bias is None else matmul.bias * layer.factor
    elif isinstance(layer, view.AddConstant):
        weights = matmul.weights
        zero = np.zeros(weights.shape[1], np.int64)
        bias = (zero if matmul.bias is None else matmul.bias) + layer.constant
    else:
        return None
    return view.MatMul(matmul.name, matmul.input, layer.output, weights, ranges.datatype_of_weights(weights), bias)

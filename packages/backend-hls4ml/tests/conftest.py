"""Random integer networks, and their meaning in plain numpy: what every other execution is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from backend_hls4ml.distributed import requantize_integer
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import view


@dataclass(frozen=True)
class NumpyPort:
    name: str
    tensor: str
    grid: Grid
    shape: tuple[int, ...]


class NumpyForm:
    """The part of an `IntegerForm` that a backend uses, executed by numpy."""

    def __init__(
        self, inputs: Sequence[view.IntTensor], outputs: Sequence[view.IntTensor], layers: Sequence[view.Layer]
    ) -> None:
        self._layers = list(layers)
        self.inputs = tuple(NumpyPort(t.name, t.name, Grid(t.datatype, (Fraction(1, 4),)), t.shape) for t in inputs)
        self.outputs = tuple(NumpyPort(t.name, t.name, Grid(t.datatype), t.shape) for t in outputs)

    def layers(self) -> list[view.Layer]:
        return self._layers

    def run(self, ints: Mapping[str, np.ndarray], intermediates: Sequence[str] = ()) -> dict[str, np.ndarray]:
        values = {name: np.asarray(x, dtype=np.int64) for name, x in ints.items()}
        frames = len(next(iter(values.values())))
        for layer in self._layers:
            result = run_layer(layer, [values[t.name] for t in view.inputs_of(layer)])
            values[layer.output.name] = result.reshape(frames, *layer.output.shape[1:])
        return {name: values[name] for name in (*[p.name for p in self.outputs], *intermediates)}


def run_layer(layer: view.Layer, inputs: list[np.ndarray]) -> np.ndarray:
    x = inputs[0]
    match layer:
        case view.MatMul():
            return x @ layer.weights + (0 if layer.bias is None else layer.bias)
        case view.Thresholds():
            return layer.base + layer.step * (x[..., None] >= layer.thresholds).sum(-1)
        case view.Requantize():
            return np.vectorize(
                lambda v: requantize_integer(int(v), layer.shift, layer.rounding, layer.lo, layer.hi), otypes=[np.int64]
            )(x)
        case view.Scale():
            return x * layer.factor
        case view.AddConstant():
            return x + layer.constant
        case view.Add():
            return x + inputs[1]
        case view.LabelSelect():
            order = np.argsort(-x if layer.largest else x, axis=-1, kind="stable")
            return order[..., : layer.k]
        case view.Reshape():
            return x


def tensor(name: str, count: int, lo: int, hi: int, datatype: DataType | None = None) -> view.IntTensor:
    datatype = datatype or DataType.smallest_for_range(lo, hi)
    return view.IntTensor(name, (1, count), datatype, np.full(count, lo), np.full(count, hi))


def product_range(weights: np.ndarray, lo: int, hi: int, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = np.maximum(weights, 0).sum(0), np.minimum(weights, 0).sum(0)
    extra = 0 if bias is None else bias
    return positive * lo + negative * hi + extra, positive * hi + negative * lo + extra


def random_weights(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> np.ndarray:
    if kind == "bipolar":
        return rng.choice([-1, 1], size=shape)
    if kind == "ternary":
        return rng.choice([-1, 0, 1], size=shape)
    bits = int(kind)
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), size=shape)


def random_mlp(
    seed: int,
    sizes: Sequence[int],
    *,
    input_type: str = "UINT4",
    weights: str = "3",
    activation: str = "UINT2",
    style: str = "thresholds",
    bias: bool = False,
    label_select: bool = False,
    quantize_last: bool = False,
) -> NumpyForm:
    """A seeded MLP; the last layer ends in accumulators unless asked otherwise."""
    rng = np.random.default_rng(seed)
    source = DataType.parse(input_type)
    lo, hi = (-1, 1) if source == DataType.BIPOLAR else (int(source.min), int(source.max))
    x = first = tensor("x", sizes[0], lo, hi, source)
    layers: list[view.Layer] = []
    for number, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        w = random_weights(rng, (rows, columns), weights)
        b = rng.integers(-9, 10, size=columns) if bias else None
        low, high = product_range(w, lo, hi, b)
        acc = view.IntTensor(
            f"acc{number}", (1, columns), DataType.smallest_for_range(int(low.min()), int(high.max())), low, high
        )
        layers.append(view.MatMul(f"fc{number}", x, acc, w, DataType.smallest_for_range(int(w.min()), int(w.max())), b))
        x, lo, hi = acc, int(low.min()), int(high.max())
        if number + 2 < len(sizes) or quantize_last:
            x, lo, hi = _activation(rng, layers, acc, number, DataType.parse(activation), style)
    if label_select:
        y = tensor("label", 1, 0, sizes[-1] - 1)
        layers.append(view.LabelSelect("select", x, y, 1))
        x = y
    return NumpyForm([first], [x], layers)


def _activation(
    rng: np.random.Generator, layers: list[view.Layer], acc: view.IntTensor, number: int, datatype: DataType, style: str
) -> tuple[view.IntTensor, int, int]:
    bipolar = datatype == DataType.BIPOLAR
    lo, hi = (-1, 1) if bipolar else (int(datatype.min), int(datatype.max))
    y = tensor(f"act{number}", acc.channels, lo, hi, datatype)
    if style == "shift":
        spread = int(max(abs(acc.lo.min()), acc.hi.max()))
        shift = max(0, spread.bit_length() - 1 - int(datatype.bits))
        layers.append(view.Requantize(f"q{number}", acc, y, shift, "ROUND", lo, hi))
        return y, lo, hi
    step = 2 if bipolar else 1
    count = (hi - lo) // step
    spread = np.maximum(1, (acc.hi - acc.lo) // 4)[:, None]
    middle = ((acc.hi + acc.lo) // 2)[:, None]
    table = np.sort(middle + rng.integers(-spread, spread + 1, size=(acc.channels, count)), axis=1)
    layers.append(view.Thresholds(f"q{number}", acc, y, table, lo, step))
    return y, lo, hi


def random_inputs(form: NumpyForm, frames: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    result = {}
    for port in form.inputs:
        datatype = port.grid.datatype
        size = (frames, *port.shape[1:])
        if datatype == DataType.BIPOLAR:
            result[port.name] = rng.choice([-1, 1], size=size)
        else:
            result[port.name] = rng.integers(int(datatype.min), int(datatype.max) + 1, size=size)
    return result


@pytest.fixture(scope="session")
def networks() -> SimpleNamespace:
    """The makers of networks, tensors and inputs above."""
    return SimpleNamespace(
        Form=NumpyForm,
        mlp=random_mlp,
        inputs=random_inputs,
        tensor=tensor,
        weights=random_weights,
        product_range=product_range,
    )

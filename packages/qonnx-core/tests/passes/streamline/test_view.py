"""Layers written as ONNX nodes read back as the same layers, also from a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qonnx_core import load, save
from qonnx_core.errors import InvalidModel
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import ranges, to_integer_form, view
from qonnx_core.passes.streamline.builder import IntegerGraph, tidy
from qonnx_core.passes.streamline.emit import emit
from qonnx_core.passes.streamline.quantizers import ROUNDING
from qonnx_core.passes.streamline.read import layers_of
from qonnx_core.testing.random_mlp import MlpShape, random_mlp


def same(a: Any, b: Any) -> bool:
    """Compare two fields of layers; ranges and arrays element by element."""
    if isinstance(a, view.IntTensor):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    if isinstance(a, tuple) and a and isinstance(a[0], view.IntTensor):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def assert_same_layers(left: list[view.Layer], right: list[view.Layer]) -> None:
    assert [type(layer) for layer in left] == [type(layer) for layer in right]
    for a, b in zip(left, right, strict=True):
        for f in fields(a):
            assert same(getattr(a, f.name), getattr(b, f.name)), (a.name, f.name)


@pytest.mark.parametrize("rounding", sorted(ROUNDING))
@pytest.mark.parametrize("bounds", [(-8, 7), (-7, 7), (0, 15), (0, 1), (0, 5), (-3, 6), (0, 0), (-20, 0)])
@pytest.mark.parametrize("shift", [0, 3, -2])
def test_every_kind_of_layer_reads_back(rounding: str, bounds: tuple[int, int], shift: int) -> None:
    graph = IntegerGraph()
    x = graph.input("x", (1, 2, 3), Grid.parse("INT5").datatype)
    flat = graph.reshape("flat", x, (1, 6))
    y = graph.matmul("product", "sums", flat, np.arange(-12, 12).reshape(6, 4))
    y = graph.add_constant("product", y, np.asarray([1, 0, -2, 5]))
    scaled = graph.scale("stretch", y, np.asarray([3, -1, 2, 1]))
    moved = graph.add_constant("move", scaled, np.asarray([7]))
    kind = ranges.smallest_datatype(*bounds)
    a = graph.requantize("round", "a", moved, shift, rounding, *bounds, kind)
    b = graph.thresholds("count", "b", y, np.asarray([[-1, 0, 4]]), -1, 1, Grid.parse("INT3").datatype)
    total = graph.add("total", "total", a, b)
    label = graph.label_select("label", "label", total, 2, largest=False)
    layers = tidy(graph.layers, {label.name})
    assert sum(isinstance(layer, view.AddConstant) for layer in layers) == 1  # the other is a bias
    assert_same_layers(layers_of(emit(layers, [x], [label], "all")), layers)


@pytest.mark.parametrize("quantizer", ["thresholds", "shift"])
def test_a_saved_integer_model_has_the_same_layers(tmp_path: Path, quantizer: Any) -> None:
    model = random_mlp(3, MlpShape(residual=True, widths=(6, 6, 6, 4)))
    form = to_integer_form(model, {"global_in": Grid.parse("INT6*2^-4")}, quantizer=quantizer)
    save(form.model, tmp_path / "integer.onnx")
    assert_same_layers(layers_of(load(tmp_path / "integer.onnx")), form.layers())


def test_a_model_that_is_no_integer_form_is_refused() -> None:
    with pytest.raises(InvalidModel, match="input global_in: annotated None; an integer model needs an integer type"):
        layers_of(random_mlp(0))


def test_ranges_of_products_are_tight() -> None:
    generator = np.random.default_rng(0)
    weights = generator.integers(-3, 4, (4, 5))
    lo, hi = np.asarray([-2, 0, 1, -1]), np.asarray([1, 3, 1, 0])
    low, high = ranges.matmul_range(lo, hi, weights, None)
    points = np.stack(np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(lo, hi, strict=True)]), -1).reshape(-1, 4)
    assert (low == (points @ weights).min(axis=0)).all()
    assert (high == (points @ weights).max(axis=0)).all()

"""Wide residual sums get small factors, and every pair of integers keeps its side of every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import IntegerForm, to_integer_form, view
from qonnx_core.passes.streamline.emit import emit
from qonnx_core.passes.streamline.narrow import NARROW_BITS, narrow_sums


def branches(
    net: Any,
    scales: tuple[float, float],
    *,
    rows: bool = False,
    quantized: bool = True,
    quantizer: Any = "thresholds",
    mode: str = "ROUND",
) -> Any:
    graph = net(("N", 2))
    x = graph.quant(graph.source, scales[0], 5)
    y = graph.quant(graph.node("MatMul", x, [[1.0, -2.0], [2.0, 1.0]]), scales[1], 5)
    total = graph.node("Add", x, y)
    if rows:
        total = graph.node("Add", total, [0.31, -1.7])
    if quantized:
        graph.quant(total, 0.5, 4, rounding_mode=mode)
    return to_integer_form(graph.model(), {"x": Grid.parse("INT8*1/16")}, quantizer=quantizer)


@pytest.mark.parametrize("scales", [(0.1, 0.3), (0.2, 0.7), (1.7, 0.06), (0.031, 0.0173)])
@pytest.mark.parametrize("rows", [False, True])
def test_every_output_stays_and_the_sum_is_narrow(net: Any, scales: tuple[float, float], rows: bool) -> None:
    assert_same_and_narrow(branches(net, scales, rows=rows))


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "HALF_UP", "DOWN"])
def test_a_shift_behind_a_narrow_sum_becomes_thresholds(net: Any, mode: str) -> None:
    form = branches(net, (0.1, 0.3), quantizer="shift", mode=mode)
    assert any(isinstance(layer, view.Requantize) for layer in form.layers())
    assert_same_and_narrow(form)


def assert_same_and_narrow(form: IntegerForm) -> None:
    before = form.layers()
    after = narrow_sums(before, {port.name for port in form.outputs})
    widths = [
        max(int(np.abs(layer.output.lo).max()), int(np.abs(layer.output.hi).max())).bit_length()
        for layers in (before, after)
        for layer in layers
        if isinstance(layer, view.Add)
    ]
    assert widths[0] > NARROW_BITS > widths[1]
    source = before[0].input
    (port,) = form.outputs
    made = emit(after, [source], [layer.output for layer in after if layer.output.name == port.name], "narrow")
    from qonnx_core import compile_model

    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), -1).reshape(-1, 2)
    expected = form.run({form.inputs[0].name: pairs})[port.name]
    found = compile_model(made).run({source.name: pairs.astype(np.float32)})[port.name]
    np.testing.assert_array_equal(found.astype(np.int64), expected)


def test_a_sum_that_is_an_output_or_read_twice_stays(net: Any) -> None:
    form = branches(net, (0.1, 0.3), quantized=False)
    layers = form.layers()
    assert all(a is b for a, b in zip(layers, narrow_sums(layers, {form.outputs[0].name}), strict=True))
    layers = branches(net, (0.1, 0.3)).layers()
    (total,) = (layer for layer in layers if isinstance(layer, view.Add))
    assert all(a is b for a, b in zip(layers, narrow_sums(layers, {total.output.name}), strict=True))


def test_a_threshold_between_two_near_sums_keeps_the_factors_that_tell_them_apart() -> None:
    def tensor(name: str, lo: int, hi: int) -> view.IntTensor:
        from qonnx_core.passes.streamline.ranges import smallest_datatype

        return view.IntTensor(name, (1, 1), smallest_datatype(lo, hi), np.asarray([lo]), np.asarray([hi]))

    a, b = tensor("a", 0, 15), tensor("b", 0, 15)
    big, near = 1 << 20, (1 << 20) + 1
    left = view.Scale("left", a, tensor("sa", 0, 15 * big), np.asarray([big]))
    right = view.Scale("right", b, tensor("sb", 0, 15 * near), np.asarray([near]))
    total = view.Add("sum", (left.output, right.output), tensor("s", 0, 15 * (big + near)))
    cut = view.Thresholds("cut", total.output, tensor("y", 0, 1), np.asarray([[5 * near]]), 0, 1)  # b = 5 but not a = 5
    layers = narrow_sums([left, right, total, cut], {"y"})
    new_left, new_right, _, new_cut = layers
    for i in range(16):
        for j in range(16):
            wide = i * big + j * near >= 5 * near
            assert (i * int(new_left.factor[0]) + j * int(new_right.factor[0]) >= int(new_cut.thresholds[0, 0])) == wide

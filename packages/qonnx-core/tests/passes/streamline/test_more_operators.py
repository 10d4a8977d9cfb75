"""Operators beyond the usual chain: clipping without a quantizer, truncation, pictures, exact scales of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qonnx_core import compile_model
from qonnx_core.errors import Unsupported
from qonnx_core.ir.annotations import set_layout
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import grids_of, to_integer_form, view

ALL_PAIRS = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2)


@pytest.mark.parametrize("function", ["relu", "clip", "min", "max_per_channel", "shifted", "negated"])
def test_clipping_without_a_quantizer_clips_integers(net: Any, agrees: Callable[..., None], function: str) -> None:
    graph = net(("N", 2))
    x = graph.node("MatMul", graph.source, [[0.5, 0.25, -0.5], [0.25, 0.0, 0.75]])
    match function:
        case "relu":
            x = graph.node("Relu", graph.node("Add", x, [0.25, -1.5, 3.0]))
        case "clip":
            x = graph.node("Clip", x, -1.5, 2.25)
        case "min":
            x = graph.node("Neg", graph.node("Relu", graph.node("Neg", x)))
        case "max_per_channel":
            x = graph.node("Relu", graph.node("Mul", x, [1.0, 0.5, -2.0]))
        case "shifted":
            x = graph.node("Relu", graph.node("Add", x, [0.125, 0.0625, 0.5]))
        case "negated":
            x = graph.node("Sub", 4.0, graph.node("Relu", x))
    x = graph.node("MatMul", x, np.random.default_rng(0).integers(-2, 3, (3, 4)))
    graph.quant(x, 0.5, 6)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4")})
    assert sum(isinstance(layer, view.Requantize) for layer in made.layers()) == 1
    agrees(model, made, {"x": ALL_PAIRS})


@pytest.mark.parametrize("op_type", ["Clip", "Min", "Max"])
def test_clipping_without_bounds_changes_nothing(net: Any, op_type: str) -> None:
    graph = net(("N", 2))
    x = graph.node(op_type, graph.source)
    x = graph.node("MatMul", x, np.random.default_rng(0).integers(-2, 3, (2, 4)))
    graph.quant(x, 0.5, 6)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4")})
    expected = compile_model(model).run({"x": ALL_PAIRS.astype(np.float32)})
    port = made.outputs[0]
    np.testing.assert_array_equal(port.grid.to_values(made.run({"x": ALL_PAIRS})[port.name]), expected[port.tensor])


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL", "HALF_UP"])
@pytest.mark.parametrize("version", [1, 2])
def test_truncation_equals_its_execution(net: Any, mode: str, version: int) -> None:
    graph = net(("N", 2))
    x = graph.quant(graph.source, 0.25, 8, 3.0 if version == 2 else 0.0)
    if version == 1:
        graph.node("Trunc", x, 0.25, 0.0, 8.0, 6.0, rounding_mode=mode)
    else:
        graph.node("Trunc", x, 0.25, 3.0, 8.0, 1.0, 4.0, rounding_mode=mode, signed=1, narrow=0)
    model = graph.model(version=version)
    grid = Grid.parse("INT9*2^-3")
    made = to_integer_form(model, {"x": grid})
    ints = np.arange(-256, 256).reshape(-1, 2)
    expected = compile_model(model).run({"x": grid.to_values(ints)})
    port = made.outputs[0]
    np.testing.assert_array_equal(port.grid.to_values(made.run({"x": ints})[port.name]), expected[port.tensor])


def test_sign_gives_three_levels(net: Any) -> None:
    graph = net(("N", 2))
    x = graph.node("Sign", graph.node("Add", graph.source, [0.0, 0.5]))
    graph.quant(graph.node("MatMul", x, [[1.0], [2.0]]), 1.0, 4)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4*2^-1")})
    expected = compile_model(model).run({"x": Grid.parse("INT4*2^-1").to_values(ALL_PAIRS)})
    port = made.outputs[0]
    np.testing.assert_array_equal(port.grid.to_values(made.run({"x": ALL_PAIRS})[port.name]), expected[port.tensor])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_batch_norm_of_a_picture_is_along_axis_1(net: Any, layout: str) -> None:
    generator = np.random.default_rng(1)
    graph = net(("N", 2, 2, 3))
    if layout == "NHWC":
        set_layout(graph.source, tuple(layout))
    x = graph.source
    x = graph.node(
        "BatchNormalization", x, generator.normal(size=2), generator.normal(size=2), [0.0, 1.0], [0.9375, 3.9375],
        epsilon=0.0625,
    )  # fmt: skip
    x = graph.quant(x, 0.25, 4)
    graph.node("MatMul", graph.node("Flatten", x, axis=1), generator.integers(-2, 3, (12, 2)))
    model, grid = graph.model(), Grid.parse("INT4*2^-1")
    if layout == "NHWC":  # then the channel axis of the batch norm is not the travelling one
        with pytest.raises(Exception, match="BatchNormalization_0"):
            to_integer_form(model, {"x": grid})
        return
    made = to_integer_form(model, {"x": grid})
    ints = generator.integers(-8, 8, (30, 2, 2, 3))
    expected = compile_model(model).run({"x": grid.to_values(ints)}, list(made.quantized))
    feeds, _ = made.quantize_inputs({"x": grid.to_values(ints)})
    got = made.run(feeds, [port.name for port in made.quantized.values()])
    for name, port in made.quantized.items():
        np.testing.assert_array_equal(port.grid.to_values(got[port.name]), port.to_wire(expected[name]), err_msg=name)
    np.testing.assert_array_equal(made.finish(got)[made.outputs[0].tensor], expected[made.outputs[0].tensor])


@pytest.mark.parametrize(("frame", "shape"), [((28, 28, 1), (1, 784)), ((4, 6, 3), (1, 72)), ((3, 4, 6), (1, 4, 6, 3))])
def test_pictures_of_either_layout_travel_channels_last(
    net: Any, frame: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    graph = net(("N", *frame))
    if frame == (4, 6, 3):
        set_layout(graph.source, ("N", "H", "W", "C"))
    x = graph.quant(graph.node("Flatten", graph.source, axis=1), 0.5, 3)
    graph.node("MatMul", x, np.random.default_rng(0).integers(-1, 2, (int(np.prod(frame)), 2)))
    model, grid = graph.model(), Grid.parse("INT4*2^-2")
    made = to_integer_form(model, {"x": grid})
    assert made.inputs[0].shape == shape
    ints = np.random.default_rng(1).integers(-8, 8, (5, *frame))
    expected = compile_model(model).run({"x": grid.to_values(ints)})
    got = made.run(made.quantize_inputs({"x": grid.to_values(ints)})[0])
    np.testing.assert_array_equal(made.finish(got)[made.outputs[0].tensor], expected[made.outputs[0].tensor])


def test_a_transposed_picture_keeps_its_elements(net: Any) -> None:
    graph = net(("N", 3, 2, 2))
    x = graph.node("Transpose", graph.source, perm=[0, 3, 1, 2])
    x = graph.node("Flatten", x, axis=1)
    graph.node("MatMul", x, np.random.default_rng(0).integers(-2, 3, (12, 2)))
    model, grid = graph.model(), Grid.parse("INT4")
    made = to_integer_form(model, {"x": grid})
    ints = np.random.default_rng(1).integers(-8, 8, (9, 3, 2, 2))
    expected = compile_model(model).run({"x": grid.to_values(ints)})
    got = made.run(made.quantize_inputs({"x": grid.to_values(ints)})[0])
    np.testing.assert_array_equal(made.finish(got)[made.outputs[0].tensor], expected[made.outputs[0].tensor])


def test_gemm_with_transposed_weights_and_bias(net: Any, agrees: Callable[..., None]) -> None:
    generator = np.random.default_rng(0)
    graph = net(("N", 2))
    weights = graph.quant(generator.normal(size=(3, 2)), 0.5, 3)
    graph.quant(graph.node("Gemm", graph.source, weights, [0.3, 0.0, -0.7], transB=1), 1.0, 4)
    model = graph.model()
    agrees(model, to_integer_form(model, {"x": Grid.parse("INT4")}), {"x": ALL_PAIRS})


def test_transposed_quantized_weights(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    weights = graph.quant(np.random.default_rng(0).normal(size=(3, 2)), [[0.5], [0.25], [1.0]], 3)
    graph.quant(graph.node("MatMul", graph.source, graph.node("Transpose", weights, perm=[1, 0])), 1.0, 4)
    model = graph.model()
    agrees(model, to_integer_form(model, {"x": Grid.parse("INT4")}), {"x": ALL_PAIRS})


def test_an_input_that_feeds_a_product_is_linear(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    x = graph.node("Sub", graph.node("Mul", graph.source, 2.0), 1.0)
    graph.quant(graph.node("MatMul", x, [[1.0, -2.0], [3.0, 1.0]]), 0.125, 6)
    model, grid = graph.model(), Grid.parse("UINT4*1/15")
    made = to_integer_form(model, {"x": grid})
    assert isinstance(made.layers()[0], view.MatMul)
    agrees(model, made, {"x": ALL_PAIRS + 8}, linear=True)


@pytest.mark.parametrize("text", ["INT6*2^-3 + 1/3", "(INT6-5)*0.1", "INT6*[1/2,0.3] + [0,1/7]"])
def test_an_input_grid_can_be_that_of_an_accumulator(net: Any, agrees: Callable[..., None], text: str) -> None:
    graph = net(("N", 2))
    graph.quant(graph.node("Relu", graph.source), 0.25, 4, signed=0)
    model = graph.model()
    agrees(model, to_integer_form(model, {"x": Grid.parse(text)}), {"x": ALL_PAIRS * 3})


def test_a_declared_type_does_not_depend_on_where_the_graph_is_cut(net: Any) -> None:
    graph = net(("N", 2))
    first = graph.quant(graph.node("Relu", graph.source), 0.5, 4, narrow=1)  # proven 0..7, declared INT4
    graph.node("MatMul", first, [[1.0, 1.0], [1.0, -1.0]])
    source = graph.model()
    whole = grids_of(source, {"x": Grid.parse("INT6")})
    part = net(("N", 2))
    last = part.node("MatMul", part.source, [[1.0, 1.0], [1.0, -1.0]])
    model = part.model()
    grid = whole[first.name]
    assert isinstance(grid, Grid)
    made = to_integer_form(model, {"x": grid})
    assert made.outputs[0].grid == whole["MatMul_0_out0"] == grids_of(model, {"x": grid})[last.name]
    assert to_integer_form(source, {"x": Grid.parse("INT6")}).outputs[0].grid == made.outputs[0].grid


def test_outputs_before_the_end_are_ports_too(net: Any) -> None:
    graph = net(("N", 2))
    a = graph.quant(graph.source, 0.5, 4)
    b = graph.node("Mul", graph.node("MatMul", a, [[1.0], [1.0]]), 0.3)
    model = graph.model(b, a)
    made = to_integer_form(model, {"x": Grid.parse("INT4*2^-2")})
    assert [port.tensor for port in made.outputs] == ["MatMul_0_out0", a.name]
    ints = ALL_PAIRS
    expected = compile_model(model).run({"x": made.inputs[0].grid.to_values(ints)})
    got = made.finish(made.run({"x": ints}))
    assert list(got) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


def test_a_negative_weight_scale_turns_the_integers(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    weights = graph.quant([[1.0, -0.5, 2.0], [0.5, 0.25, -1.0]], [0.5, -0.25, -1.0], 4)
    graph.node("MatMul", graph.source, weights)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4")})
    assert all(scale > 0 for scale in made.outputs[0].grid.scale)
    agrees(model, made, {"x": ALL_PAIRS})


def test_a_quantizer_with_one_level_is_constant(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    graph.quant(graph.node("MatMul", graph.source, [[1.0], [1.0]]), 1.0, 1, signed=0, narrow=1)
    model = graph.model()
    agrees(model, to_integer_form(model, {"x": Grid.parse("INT4")}), {"x": ALL_PAIRS})


def test_a_channel_without_gain_is_constant(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    x = graph.node("MatMul", graph.source, [[1.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    x = graph.node("Add", graph.node("Mul", x, [0.0, -1.0, 3.0]), [2.0, 0.5, -1.0])
    graph.quant(graph.node("Sub", 1.0, graph.node("Relu", x)), 0.5, 4)
    model = graph.model()
    for form in ("thresholds", "shift"):
        agrees(model, to_integer_form(model, {"x": Grid.parse("INT4")}, quantizer=form), {"x": ALL_PAIRS})


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_a_sum_of_several_tensors_is_added_from_left_to_right(
    net: Any, agrees: Callable[..., None], terms: int
) -> None:
    graph = net(("N", 2))
    x = graph.quant(graph.source, 0.25, 4)
    branches = [x] + [graph.quant(graph.node("MatMul", x, [[1.0, -2.0], [n, 1.0]]), 0.5, 4) for n in range(1, terms)]
    graph.quant(graph.node("Sum", *branches), 0.75, 4)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4*1/4")})
    assert sum(isinstance(layer, view.Add) for layer in made.layers()) == terms - 1
    agrees(model, made, {"x": ALL_PAIRS})


def test_a_sum_of_tensors_and_constants_is_refused(net: Any) -> None:
    graph = net(("N", 2))
    x = graph.quant(graph.source, 0.25, 4)
    graph.quant(graph.node("Sum", x, graph.quant(graph.node("Neg", x), 0.5, 4), [0.5, 1.5]), 0.75, 4)
    with pytest.raises(Unsupported, match=r"Sum_0 \(Sum\): it sums tensors and constants; add the constants by a node"):
        to_integer_form(graph.model(), {"x": Grid.parse("INT4*1/4")})


@pytest.mark.parametrize("scales", [[0.1, 0.3], [0.37, 0.11], [3.3, 0.7]])
def test_float_scales_per_channel_become_integer_factors_of_the_weights(
    net: Any, agrees: Callable[..., None], scales: list[float]
) -> None:
    graph = net(("N", 2))
    x = graph.quant(graph.source, [scales], 4)
    x = graph.node("MatMul", x, [[1.0, -2.0, 3.0], [2.0, 1.0, -1.0]])
    graph.quant(x, 0.9, 4)
    model = graph.model()
    made = to_integer_form(model, {"x": Grid.parse("INT4*1/4")})
    (product,) = (layer for layer in made.layers() if isinstance(layer, view.MatMul))
    assert np.abs(product.weights).max() > 1 << 16
    agrees(model, made, {"x": ALL_PAIRS})


@pytest.mark.parametrize("scales", [(0.1, 0.3), (0.2, 0.7), (1.7, 0.06)])
def test_branches_of_any_two_near_scales_are_added(
    net: Any, agrees: Callable[..., None], scales: tuple[float, float]
) -> None:
    graph = net(("N", 2))
    x = graph.quant(graph.source, scales[0], 4)
    y = graph.quant(graph.node("MatMul", x, [[1.0, -2.0], [2.0, 1.0]]), scales[1], 4)
    graph.quant(graph.node("Add", x, y), 0.5, 4)
    model = graph.model()
    agrees(model, to_integer_form(model, {"x": Grid.parse("INT4*1/4")}), {"x": ALL_PAIRS})

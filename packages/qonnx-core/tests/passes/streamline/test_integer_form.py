"""The integer form of whole models: against exact evaluation, and bit for bit against the executed QONNX model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qonnx_core import cleanup_model, compile_model, load
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import grids_of, to_integer_form, view
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

FORMS = ["thresholds", "shift"]
MODES = ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


def integers_of(grid: Grid, count: int, frame: tuple[int, ...], seed: int = 0) -> Any:
    """Random integers of a grid, the first two frames at its ends."""
    low, high = grid.integers
    generator = np.random.default_rng(seed)
    ints = generator.integers(low, high, (count, *frame), endpoint=True)
    if grid.datatype.name == "BIPOLAR":
        ints = generator.choice([-1, 1], (count, *frame))
    ints[0], ints[1 % count] = low, high
    return ints.astype(np.int64)


@st.composite
def shapes(draw: st.DrawFn, *, power_of_two: bool | None = None) -> MlpShape:
    width = draw(st.sampled_from([3, 5]))
    return MlpShape(
        widths=(4, width, width, 3),
        weight_bits=draw(st.sampled_from([1, 2, 3, 4])),
        activation_bits=draw(st.sampled_from([1, 2, 4])),
        power_of_two=draw(st.booleans()) if power_of_two is None else power_of_two,
        batch_norm=draw(st.booleans()),
        per_channel=draw(st.booleans()),
        residual=power_of_two is True and draw(st.booleans()),
        quantize_input=draw(st.booleans()),
        tail=draw(st.booleans()),
        rounding=draw(st.sampled_from(MODES)),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), shapes(), st.sampled_from(FORMS))
def test_random_perceptrons_equal_their_exact_evaluation(
    agrees: Callable[..., None], seed: int, shape: MlpShape, form: Any
) -> None:
    model = random_mlp(seed, shape)
    grid = Grid.parse("INT6*2^-4")
    made = to_integer_form(model, {"global_in": grid}, quantizer=form)
    agrees(model, made, {"global_in": integers_of(grid, 6, (4,))})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), shapes(power_of_two=True), st.sampled_from(FORMS),
    st.sampled_from(["INT6*2^-4", "UINT4*2^-3"]),
)  # fmt: skip
def test_power_of_two_perceptrons_equal_their_execution(seed: int, shape: MlpShape, form: Any, text: str) -> None:
    if shape.batch_norm:
        shape = MlpShape(**{f: getattr(shape, f) for f in shape.__slots__} | {"batch_norm": False})
    model = random_mlp(seed, shape)
    grid = Grid.parse(text)
    made = to_integer_form(model, {"global_in": grid}, quantizer=form)
    ints = integers_of(grid, 64, (4,), seed)
    names = list(made.quantized)
    expected = compile_model(model).run({"global_in": grid.to_values(ints)}, names)
    got = made.run({made.inputs[0].name: ints}, [port.name for port in made.quantized.values()])
    for name, port in made.quantized.items():
        if name != "global_in":
            np.testing.assert_array_equal(port.grid.to_values(got[port.name]), expected[name], err_msg=name)
    np.testing.assert_array_equal(made.finish(got)["global_out"], expected["global_out"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "text"), [("TFC_1W2A", "UINT8*1/255"), ("qkeras_jettagging", "FIXED<16,6>")])
def test_public_models_are_equal_bit_for_bit(name: str, text: str, form: Any) -> None:
    model = cleanup_model(load(shared_file(f"models/zoo/{name}.onnx")))
    data = np.load(shared_file(f"models/zoo/{name}.npz"))
    made = to_integer_form(model, {"global_in": Grid.parse(text)}, quantizer=form)
    ints, on_grid = made.quantize_inputs({"global_in": data["x"]})
    assert on_grid["global_in"].all() == (name == "TFC_1W2A")
    values = made.inputs[0].grid.to_values(ints["global_in"]).reshape(data["x"].shape)
    names = [name for name in made.quantized if name != "global_in"]
    assert len(names) >= 3
    expected = compile_model(model).run({"global_in": values}, names)
    got = made.run(ints, [made.quantized[n].name for n in names])
    for tensor in names:
        port = made.quantized[tensor]
        np.testing.assert_array_equal(port.grid.to_values(got[port.name]), expected[tensor], err_msg=tensor)
    np.testing.assert_array_equal(made.finish(got)["global_out"], expected["global_out"])
    before = compile_model(made.pre).run({"global_in": data["x"]})
    np.testing.assert_array_equal(next(iter(before.values())), ints["global_in"])


def test_tfc_has_the_shape_of_the_published_network() -> None:
    model = cleanup_model(load(shared_file("models/zoo/TFC_1W2A.onnx")))
    form = to_integer_form(model, {"global_in": Grid.parse("UINT8*1/255")})
    layers = form.layers()
    assert [type(layer).__name__ for layer in layers] == ["Thresholds", "MatMul"] * 4
    assert form.inputs[0].shape == (1, 784)
    assert [layer.weight_datatype for layer in layers if isinstance(layer, view.MatMul)] == [DataType.BIPOLAR] * 4
    assert layers[0].thresholds.shape == (1, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("form", FORMS)
def test_a_pure_one_bit_network(net: Any, agrees: Callable[..., None], form: Any) -> None:
    generator = np.random.default_rng(3)
    graph = net(("N", 6))
    x = graph.node("BipolarQuant", graph.source, 1.0)
    for rows, columns in ((6, 5), (5, 4)):
        weights = graph.node("BipolarQuant", generator.normal(size=(rows, columns)), 0.25)
        x = graph.node("MatMul", x, weights)
        x = graph.node(
            "BatchNormalization", x, generator.normal(size=columns), generator.normal(size=columns),
            generator.normal(size=columns), generator.uniform(0.5, 2, columns),
        )  # fmt: skip
        x = graph.node("BipolarQuant", x, 0.5)
    model = graph.model()
    grid = Grid.parse("BIPOLAR")
    made = to_integer_form(model, {"x": grid}, quantizer=form)
    kinds = [type(layer).__name__ for layer in made.layers()]
    assert kinds == ["Thresholds", "MatMul", "Thresholds", "MatMul", "Thresholds"]
    assert made.outputs[0].grid == Grid.parse("BIPOLAR*1/2")
    agrees(model, made, {"x": integers_of(grid, 20, (6,))})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0.0, 3.0])
@pytest.mark.parametrize("signed", [0, 1])
def test_zero_points_and_rounding_modes(
    net: Any, agrees: Callable[..., None], form: Any, mode: str, zero: float, signed: int
) -> None:
    graph = net(("N", 3))
    x = graph.quant(graph.source, 0.25, 4, zero, signed=signed, rounding_mode=mode)
    weights = graph.quant(np.random.default_rng(0).normal(size=(3, 4)), 0.125, 4, 2.0)
    x = graph.node("Add", graph.node("MatMul", x, weights), [0.3, -0.5, 0.125, 7])
    graph.quant(x, 0.5, 4, zero, signed=signed, rounding_mode=mode)
    model, grid = graph.model(), Grid.parse("(INT6-5)*2^-4")
    made = to_integer_form(model, {"x": grid}, quantizer=form)
    assert form == "thresholds" or any(isinstance(layer, view.Requantize) for layer in made.layers())
    agrees(model, made, {"x": integers_of(grid, 40, (3,))})


def test_a_negative_gain_turns_the_sign_of_a_column(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 2))
    x = graph.node("MatMul", graph.source, [[1.0, 2.0, -1.0], [1.0, 0.0, 3.0]])
    graph.quant(graph.node("Mul", x, [0.5, -0.25, -1.0]), 1.0, 4)
    model, grid = graph.model(), Grid.parse("INT4")
    made = to_integer_form(model, {"x": grid})
    product, thresholds = made.layers()
    assert isinstance(product, view.MatMul)
    assert isinstance(thresholds, view.Thresholds)
    assert product.weights.tolist() == [[1, -2, 1], [1, 0, -3]]
    agrees(model, made, {"x": integers_of(grid, 30, (2,))})


@pytest.mark.parametrize("form", FORMS)
def test_a_negative_gain_on_a_shared_sum_keeps_the_sum(net: Any, agrees: Callable[..., None], form: Any) -> None:
    graph = net(("N", 2))
    total = graph.node("MatMul", graph.source, [[1.0, 2.0], [1.0, -3.0]])
    a = graph.quant(graph.node("Neg", total), 1.0, 4)
    b = graph.quant(total, 2.0, 4)
    model, grid = graph.model(a, b), Grid.parse("INT4")
    made = to_integer_form(model, {"x": grid}, quantizer=form)
    assert sum(isinstance(layer, view.Scale) for layer in made.layers()) == 1
    assert [port.tensor for port in made.outputs] == [a.name, b.name]
    agrees(model, made, {"x": integers_of(grid, 30, (2,))})


def test_residual_addition_of_different_scales(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 4))
    a = graph.quant(graph.source, 0.25, 4)
    b = graph.quant(graph.node("MatMul", a, np.eye(4)[::-1]), 0.375, 3)
    graph.quant(graph.node("Add", a, b), 0.5, 4)
    model, grid = graph.model(), Grid.parse("INT7*2^-4")
    made = to_integer_form(model, {"x": grid})
    factors = [layer.factor.tolist() for layer in made.layers() if isinstance(layer, view.Scale)]
    assert factors == [[2], [3]]
    agrees(model, made, {"x": integers_of(grid, 30, (4,))})


def test_a_difference_of_two_tensors(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 4))
    other = graph.input("z", ("N", 4))
    graph.quant(graph.node("Sub", graph.source, other), 0.5, 4)
    model, grid = graph.model(), Grid.parse("INT5*2^-2")
    made = to_integer_form(model, {"x": grid, "z": grid})
    agrees(model, made, {"x": integers_of(grid, 30, (4,)), "z": integers_of(grid, 30, (4,), 1)})


@pytest.mark.parametrize("spelling", ["Flatten", "Reshape"])
def test_pictures_travel_channels_last(net: Any, agrees: Callable[..., None], spelling: str) -> None:
    generator = np.random.default_rng(5)
    graph = net((1, 3, 2, 2))
    x = graph.node("Mul", graph.source, generator.uniform(0.5, 2, (1, 3, 1, 1)))
    x = (
        graph.node("Flatten", x, axis=1)
        if spelling == "Flatten"
        else graph.node("Reshape", x, graph.constant([1, -1], np.int64))
    )
    x = graph.quant(graph.node("Add", x, generator.normal(size=12)), 0.25, 4)
    graph.quant(graph.node("MatMul", x, generator.integers(-3, 4, (12, 5))), 1.0, 4)
    model, grid = graph.model(), Grid.parse("INT4*0.3")
    made = to_integer_form(model, {"x": grid})
    assert made.inputs[0].shape == (1, 2, 2, 3)
    ints = integers_of(grid, 8, (3, 2, 2))
    values = grid.to_values(ints)
    assert np.array_equal(made.quantize_inputs({"x": values})[0]["x"], ints.transpose(0, 2, 3, 1))
    expected = compile_model(model).run({"x": values}, list(made.quantized))
    got = made.run({"x": ints.transpose(0, 2, 3, 1)}, [port.name for port in made.quantized.values()])
    last = made.outputs[0]
    np.testing.assert_array_equal(last.grid.to_values(got[last.name]), expected[last.tensor])
    np.testing.assert_array_equal(made.finish(got)[last.tensor], expected[last.tensor])


@pytest.mark.parametrize("keepdims", [0, 1])
def test_argmax_is_hardware_and_gives_ties_to_the_lowest_index(
    net: Any, agrees: Callable[..., None], keepdims: int
) -> None:
    graph = net(("N", 3))
    x = graph.node("MatMul", graph.source, np.random.default_rng(1).integers(-2, 3, (3, 4)))
    x = graph.node("Add", x, [0.1, 0.7, 0.1, -1.4])
    graph.node("ArgMax", x, axis=1 if keepdims else -1, keepdims=keepdims)
    model, grid = graph.model(), Grid.parse("INT3")
    made = to_integer_form(model, {"x": grid})
    ints = np.stack(np.meshgrid(*[np.arange(-4, 4)] * 3), -1).reshape(-1, 3)
    if keepdims:
        agrees(model, made, {"x": ints})
    expected = compile_model(model).run({"x": ints.astype(np.float32)})
    got = made.finish(made.run({"x": ints}))
    name = made.outputs[0].tensor
    np.testing.assert_array_equal(got[name], expected[name])
    assert got[name].dtype == np.int64


def test_top_k_selects_several_labels(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 5))
    graph.node("TopK", graph.quant(graph.source, 0.5, 3), graph.constant([3], np.int64), outputs=2, axis=-1)
    model, grid = graph.model(), Grid.parse("INT4*2^-2")
    made = to_integer_form(model, {"x": grid})
    agrees(model, made, {"x": integers_of(grid, 50, (5,))})


def test_label_select_on_request_passes_over_the_softmax(agrees: Callable[..., None]) -> None:
    model = random_mlp(4)
    grid = Grid.parse("INT6*2^-4")
    made = to_integer_form(model, {"global_in": grid}, label_select=True)
    ints = integers_of(grid, 100, (6,))
    got = made.finish(made.run({made.inputs[0].name: ints}))["global_out"]
    expected = compile_model(model).run({"global_in": grid.to_values(ints)})["global_out"].argmax(axis=1)
    np.testing.assert_array_equal(got[:, 0], expected)
    assert model.graph.outputs[0].dtype != ir.DataType.INT64


def test_old_exporters_spell_batch_norm_with_a_power(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 3))
    x = graph.node("MatMul", graph.source, np.random.default_rng(2).integers(-1, 2, (3, 4)))
    x = graph.node("Sub", x, [0.25])
    x = graph.node("Div", x, graph.node("Pow", [3.0], 0.5))
    graph.quant(graph.node("Add", graph.node("Mul", x, [-0.7]), [0.2]), 0.5, 3)
    model, grid = graph.model(), Grid.parse("INT4")
    made = to_integer_form(model, {"x": grid})
    ints = integers_of(grid, 60, (3,))
    expected = compile_model(model).run({"x": grid.to_values(ints)})
    port = made.outputs[0]
    np.testing.assert_array_equal(port.grid.to_values(made.run({"x": ints})[port.name]), expected[port.tensor])


@pytest.mark.parametrize("form", FORMS)
def test_elementwise_functions_between_product_and_quantizer(net: Any, agrees: Callable[..., None], form: Any) -> None:
    outputs = []
    graph = net(("N", 2))
    for function in (
        lambda x: graph.node("Sigmoid", x),
        lambda x: graph.node("Tanh", graph.node("Div", x, 3.0)),
        lambda x: graph.node("LeakyRelu", x, alpha=0.1),
        lambda x: graph.node("Clip", x, -1.5, 2.25),
        lambda x: graph.node("Sub", 1.25, x),
    ):
        x = graph.node("MatMul", graph.source, [[0.5, 0.25, -0.5], [0.25, 0.0, 0.75]])
        outputs.append(graph.quant(function(x), 0.25, 3))
    model, grid = graph.model(*outputs), Grid.parse("INT4")
    made = to_integer_form(model, {"x": grid}, quantizer=form)
    agrees(model, made, {"x": np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2)})


def test_per_channel_activation_scales_go_into_the_weights(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 3))
    x = graph.quant(graph.source, [0.25, 0.5, 1.0], 3, [0.0, 1.0, -2.0])
    graph.node("MatMul", x, graph.quant(np.random.default_rng(0).normal(size=(3, 4)), [[0.3, 0.1, 0.2, 0.7]], 4))
    model, grid = graph.model(), Grid.parse("INT5*2^-2")
    made = to_integer_form(model, {"x": grid})
    agrees(model, made, {"x": integers_of(grid, 40, (3,))})
    assert made.outputs[0].grid.channels == 4


def test_wide_sums_are_held_in_float64(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 64))
    weights = np.random.default_rng(0).integers(-30000, 30000, (64, 3))
    graph.quant(graph.node("MatMul", graph.source, weights), 2.0**28, 8)
    model, grid = graph.model(), Grid.parse("INT16")
    made = to_integer_form(model, {"x": grid})
    assert made.model.graph.inputs[0].dtype == ir.DataType.DOUBLE
    agrees(model, made, {"x": integers_of(grid, 20, (64,))})


def test_a_quantizer_that_changes_nothing_makes_no_layer(net: Any) -> None:
    graph = net(("N", 4))
    x = graph.quant(graph.source, 2.0**-10, 16)
    graph.quant(graph.node("MatMul", x, np.eye(4)), 0.25, 4)
    made = to_integer_form(graph.model(), {"x": Grid.parse("FIXED<16,6>")})
    assert [type(layer).__name__ for layer in made.layers()] == ["MatMul", "Thresholds"]
    assert made.quantized[x.name].name == made.inputs[0].name


def test_wide_quantizers_are_rounded_even_where_thresholds_are_wanted(net: Any, agrees: Callable[..., None]) -> None:
    graph = net(("N", 4))
    x = graph.quant(graph.source, 2.0**-6, 12, 5.0, narrow=1)
    graph.quant(graph.node("MatMul", x, np.eye(4)), 0.25, 4)
    model, grid = graph.model(), Grid.parse("FIXED<16,6>")
    made = to_integer_form(model, {"x": grid})
    kinds = [type(layer).__name__ for layer in made.layers()]
    assert kinds == ["AddConstant", "Requantize", "MatMul", "Thresholds"]
    agrees(model, made, {"x": integers_of(grid, 40, (4,))})


def test_multithreshold_nodes_are_thresholds(net: Any) -> None:
    graph = net(("N", 3))
    x = graph.node("MultiThreshold", graph.source, [[-1.5, 0.5, 2.0]], out_dtype="INT3", out_bias=-2.0)
    x = graph.node("MatMul", x, np.random.default_rng(0).integers(-2, 3, (3, 2)))
    graph.node("MultiThreshold", x, [[-2.5, 0.5], [1.0, 3.0]], out_dtype="UINT2", data_layout="NC")
    model, grid = graph.model(), Grid.parse("INT4*2^-1")
    made = to_integer_form(model, {"x": grid})
    ints = integers_of(grid, 60, (3,))
    expected = compile_model(model).run({"x": grid.to_values(ints)})
    port = made.outputs[0]
    np.testing.assert_array_equal(made.run({"x": ints})[port.name], expected[port.tensor])


def test_the_same_model_gives_the_same_bytes() -> None:
    def text() -> bytes:
        model = random_mlp(7, MlpShape(batch_norm=True))
        made = to_integer_form(model, {"global_in": Grid.parse("INT6*2^-4")})
        return b"".join(ir.to_proto(m).SerializeToString(deterministic=True) for m in (made.model, made.pre, made.post))

    assert text() == text()


def test_grids_of_names_every_tensor() -> None:
    model = random_mlp(0)
    grids = grids_of(model, {"global_in": Grid.parse("INT6*2^-4")})
    assert grids["global_in"] == Grid.parse("INT6*2^-4")
    assert set(grids) >= {value.name for node in model.graph for value in node.outputs}
    for node in model.graph:
        entry = grids[node.outputs[0].name or ""]
        if node.op_type == "Quant":
            assert isinstance(entry, Grid)
            bits = int(np.asarray(node.inputs[3].const_value.numpy()))  # type: ignore[union-attr]
            assert entry.datatype.bits == bits
        if node.op_type == "Softmax":
            assert "no integer form" in str(entry)

"""The random graphs are what they say: deterministic, varied, exact in float32, and runnable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from qonnx_core import cleanup_model, compile_model
from qonnx_core.formats.writer import serialize
from qonnx_core.testing.random_graphs import Kind, RandomGraph, random_graph, random_graphs

OPERATORS = {
    *("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold", "MatMul", "Gemm", "Conv", "Add"),
    *("Sub", "Mul", "Div", "BatchNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split"),
    *("Reshape", "Flatten", "Transpose", "Pad", "Relu", "Clip"),
}

VARIED = {
    *(
        "ConvTranspose",
        "DepthToSpace",
        "Resize",
        "QuantAvgPool2d",
        "GlobalMaxPool",
        "ReduceSum",
        "If",
        "Shape",
        "Gather",
    ),
    *("Constant", "Dropout", "Identity", "Cast", "Where", "PRelu", "Slice", "Tile", "Squeeze", "Unsqueeze", "Split"),
}


def test_a_seed_gives_the_same_bytes_every_time() -> None:
    first, second = (random_graph(7, "mixed") for _ in range(2))
    assert serialize(first.model) == serialize(second.model)
    np.testing.assert_array_equal(first.inputs["x"], second.inputs["x"])
    assert serialize(random_graph(8, "mixed").model) != serialize(first.model)


def test_every_operator_of_networks_is_in_some_of_sixty_graphs() -> None:
    kinds: tuple[Kind, ...] = ("mlp", "cnn", "mixed")
    found = {node.op_type for kind in kinds for seed in range(20) for node in random_graph(seed, kind).model.graph}
    assert found >= OPERATORS


def test_varied_graphs_have_the_forms_of_exporters_and_volumes() -> None:
    graphs = [random_graph(seed, "varied", batch="N").model.graph for seed in range(100)]
    nodes = [node for graph in graphs for node in graph]
    assert {node.op_type for node in nodes} >= VARIED
    attributes = {(node.op_type, name) for node in nodes for name in node.attributes}
    for op_type in ("Conv", "MaxPool"):
        assert {(op_type, name) for name in ("auto_pad", "dilations", "pads", "strides")} <= attributes
    assert {("MaxPool", "ceil_mode"), ("AveragePool", "count_include_pad"), ("Gemm", "alpha")} <= attributes
    assert {len(graph.inputs[0].shape or ()) for graph in graphs} == {3, 4, 5}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(random_graphs(batch="N") | random_graphs("varied", batch="N"))
def test_the_numbers_of_every_tensor_lie_on_its_grid_with_room_for_exact_sums(graph: RandomGraph) -> None:
    names = [name for name in graph.known if name != "x"]
    arrays = compile_model(graph.model).run(graph.more_inputs(8), names)
    for name in names:
        grid, low, high = graph.known[name]
        steps = arrays[name].astype(np.float64) * 2.0**-grid
        np.testing.assert_array_equal(steps, np.round(steps), err_msg=name)
        assert steps.size == 0 or (low <= arrays[name].min() and arrays[name].max() <= high), name
        assert max(abs(low), abs(high)) * 2.0**-grid <= 2**24, name


@pytest.mark.parametrize("kind", ["mlp", "cnn", "mixed", "varied"])
def test_graphs_of_any_numbers_run_too(kind: Kind) -> None:
    for seed in range(5):
        graph = random_graph(seed, kind, exact=False, size=12, trunc_version=2)
        (output, *_) = compile_model(graph.model).run(graph.inputs).values()
        assert np.isfinite(output).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(random_graphs())
def test_cleaning_keeps_every_bit(graph: RandomGraph) -> None:
    before, after = compile_model(graph.model), compile_model(cleanup_model(graph.model))
    x = graph.more_inputs(3)["x"]
    wanted = before.run({"x": x}).values()
    for found, expected in zip(after.run({"global_in": x}).values(), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)

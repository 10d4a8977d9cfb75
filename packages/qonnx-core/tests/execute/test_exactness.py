"""Exact mode gives the bits of the operators computed one by one, without any optimization of onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.execute.session import SessionSettings
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_graphs import random_graph

Arrays = Mapping[str, np.ndarray]


def assert_same_without_optimizations(model: ir.Model, inputs: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare all tensors, asked for together and not at all, with those of a session that optimizes nothing."""
    optimized = qonnx_core.compile_model(model)
    names = optimized.activation_names
    options = SessionSettings.options

    def unoptimized(self: SessionSettings) -> onnxruntime.SessionOptions:
        made = options(self)
        made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return made

    found = optimized.run(inputs, names)
    outputs = optimized.run(inputs)
    with monkeypatch.context() as patch:
        patch.setattr(SessionSettings, "options", unoptimized)
        expected = qonnx_core.compile_model(model).run(inputs, names)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "mixed"])
def test_random_graphs_with_inexact_sums_have_the_same_bits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        graph = random_graph(seed, kind, exact=False)
        assert_same_without_optimizations(graph.model, graph.inputs, monkeypatch)


def test_what_the_fusions_change_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution with batch norm, bias and ReLU, a MatMul with bias and batch norm, and a Gemm with activation."""
    text = """<ir_version: 8, opset_import: ["": 18]> g (float[N, 3, 9, 9] x) => (float[N, 5] y)
    { c = Conv<pads = [1, 1, 1, 1]>(x, w) n = BatchNormalization(c, p, p, p, p) m = Mul(n, k) r = Relu(m)
      d = Conv(r, v) a = Add(d, k) s = Sigmoid(a) f = Flatten(s) z = MatMul(f, u) b = Add(z, q)
      g = Gemm<transB = 1>(b, o, q) y = Relu(g) }"""
    generator = np.random.default_rng(0)
    proto = onnx.parser.parse_model(text)
    shapes = {"w": (4, 3, 3, 3), "p": (4,), "k": (1, 4, 1, 1), "v": (4, 4, 3, 3), "u": (196, 5), "q": (5,), "o": (5, 5)}
    for name, shape in shapes.items():
        array = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    x = generator.normal(size=(7, 3, 9, 9)).astype(np.float32)
    assert_same_without_optimizations(from_proto(proto), {"x": x}, monkeypatch)


@pytest.mark.parametrize("name", ["zoo/TFC_1W2A", "nn2fpga/resnet8_a8w8b16", "zoo/qkeras_jettagging"])
def test_shared_models_have_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = qonnx_core.load(shared_file(f"models/{name}.onnx"))
    x = np.load(shared_file(f"models/{name}.npz"))["x"][:8]
    inputs = {value.name: x for value in model.graph.inputs}
    assert_same_without_optimizations(model, inputs, monkeypatch)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["mlp", "cnn", "mixed"]), size=st.sampled_from([1, 2, 3, 5]))
def test_where_sums_are_exact_there_is_one_result(seed: int, kind: str, size: int) -> None:
    """Every batch size, mode and number of threads gives it."""
    graph = random_graph(seed, kind, exact=True)
    inputs = graph.more_inputs(7)
    exact = qonnx_core.compile_model(graph.model)
    whole = exact.run(inputs)
    parts = list(exact.stream(inputs, batch_size=size))
    threaded = qonnx_core.compile_model(graph.model, threads=2).run(inputs)
    fast = qonnx_core.compile_model(graph.model, mode="fast").run(inputs)
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
        np.testing.assert_array_equal(threaded[name], array)
        np.testing.assert_array_equal(fast[name], array)

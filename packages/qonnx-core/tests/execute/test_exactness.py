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


NORMALIZED = """m = ReduceMean(z, last) d = Sub(z, m) q = Pow(d, two) v = ReduceMean(q, last) e = Add(v, eps)
                s = Sqrt(e) n = Div(d, s) h = Mul(n, row) y = Add(h, row)"""
GELU = "a = Div(z, root) b = Erf(a) c = Add(b, one) d = Mul(z, c) y = Mul(d, half)"
PATTERNS = {
    "layer normalization": f"z = Identity(x) {NORMALIZED}",
    "layer normalization of a sum": f"z = Add(x, row) {NORMALIZED}",
    "root mean square": "q = Pow(x, two) v = ReduceMean(q, last) e = Add(v, eps) s = Sqrt(e) n = Div(x, s) "
                        "y = Mul(n, row)",
    "layer normalization behind a sum": "z = Add(x, x) y = LayerNormalization<axis = -1>(z, row, row)",
    "gelu": f"z = Identity(x) {GELU}",
    "gelu with bias": f"z = Add(x, row) {GELU}",
    "gelu by tanh": "p = Pow(x, three) q = Mul(p, eps) r = Add(x, q) t = Tanh(r) u = Add(t, one) v = Mul(x, u) "
                    "y = Mul(v, half)",
    "swish": "a = Mul(x, root) b = Sigmoid(a) y = Mul(x, b)",
    "softmax with bias": "z = Add(x, row) y = Softmax(z)",
    "division and product": "a = Div(one, x) y = Mul(a, row)",
    "scaled product": "a = Mul(x, half) t = Transpose<perm = [1, 0]>(x) y = MatMul(a, t)",
    "sums behind a transpose": "t = Transpose<perm = [1, 0]>(x) v = ReduceLogSum(t, first) y = Neg(v)",
    "means behind a transpose": "t = Transpose<perm = [1, 0]>(x) v = ReduceMean(t, first) d = Sub(t, v) y = Mul(d, d)",
}  # fmt: skip


@pytest.mark.parametrize("case", PATTERNS)
def test_what_onnxruntime_has_kernels_for_is_computed_as_written(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = """<float two = {2}, float three = {3}, float eps = {0.001}, float root = {1.41421354},
        float one = {1}, float half = {0.5}, int64[1] last = {-1}, int64[1] first = {0}>"""
    text = f'<ir_version: 10, opset_import: ["": 21]> g (float[N, 33] x) => (y) {constants} {{ {PATTERNS[case]} }}'
    generator = np.random.default_rng(0)
    proto = onnx.parser.parse_model(text)
    row = generator.uniform(0.5, 1.5, 33).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(row, "row"))
    x = generator.uniform(0.1, 3, (40, 33)).astype(np.float32)
    assert_same_without_optimizations(from_proto(proto), {"x": x}, monkeypatch)


def test_a_transpose_does_not_change_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[N, 5, 6, 7] x) => (y) <int64[3] axes = {0, 2, 3}>
    { t = Transpose<perm = [0, 3, 1, 2]>(x) m = ReduceMean(t, axes) d = Sub(t, m) y = Mul(d, d) }"""
    x = np.random.default_rng(0).uniform(0.1, 3, (3, 5, 6, 7)).astype(np.float32)
    assert_same_without_optimizations(from_proto(onnx.parser.parse_model(text)), {"x": x}, monkeypatch)


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

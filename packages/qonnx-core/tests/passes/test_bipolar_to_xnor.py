"""Products of -1 and 1 as counts of equal bits: the same bits out, and what stays."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.bipolar_to_xnor import BipolarMatMulToXnorPopcount
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing import shared_file
from qonnx_core.testing.graph_text import op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import RandomGraph, random_graphs

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
Q = "qonnx.custom_op.general"


def build(body: str, bipolar: tuple[str, ...] = ()) -> ir.Model:
    model = from_proto(onnx.parser.parse_model(HEAD + body))
    InferShapes().run(model)
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        if value.name in bipolar:
            set_datatype(value, DataType.BIPOLAR)
    return model


def text(array: np.ndarray) -> str:
    return "{" + ", ".join(repr(float(number)) for number in array.reshape(-1)) + "}"


SOURCES = {
    "input": "",
    "quant": f"a = {Q}.BipolarQuant(x, one)",
    "one bit": f"a = {Q}.Quant<signed = 1, narrow = 0>(x, one, zero, one)",
    "threshold": f'a = {Q}.MultiThreshold<out_dtype = "BIPOLAR", out_scale = 2.0, out_bias = -1.0>(x, t)',
    "moved": f"r = {Q}.BipolarQuant(x, one) a = Neg(r)",
}
PRODUCTS = {
    "constant": "y = MatMul(a, w)",
    "quantized": f"q = {Q}.BipolarQuant(f, one) y = MatMul(a, q)",
    "left": "v = Transpose<perm = [1, 0]>(a) u = Transpose<perm = [1, 0]>(w) y = MatMul(u, v)",
    "gemm": "y = Gemm(a, w, c)",
    "transposed": "u = Transpose<perm = [1, 0]>(w) y = Gemm<transB = 1>(a, u)",
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(list(SOURCES)), st.sampled_from(list(PRODUCTS)), st.integers(1, 9), st.integers(0, 999))
def test_a_product_of_bipolar_numbers_counts_equal_bits(source: str, product: str, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, f = rng.choice([-1.0, 1.0], (size, 3)), rng.normal(size=(size, 3))
    body = f"""g (float[N, {size}] x) => (y) <float[{size}, 3] w = {text(w)}, float[{size}, 3] f = {text(f)},
      float one = {{1}}, float zero = {{0}}, float[{size}, 1] t = {text(rng.normal(size=(size, 1)))},
      float[3] c = {{1, -2, 3}}> {{ {SOURCES[source]} {PRODUCTS[product]} }}"""
    if source == "input":
        body = body.replace("(a", "(x")
    x = rng.choice([-1.0, 1.0], (7, size)) if source == "input" else rng.integers(-2, 3, (7, size)) / 2
    model = build(body, ("x",) if source == "input" else ())
    changed = check_pass(BipolarMatMulToXnorPopcount(), model, {"x": x.astype(np.float32)}, min_edits=1)
    assert op_types(changed).count("XnorPopcountMatMul") == 1
    node = next(node for node in changed.graph if node.op_type == "XnorPopcountMatMul")
    assert [str(get_datatype(value)) for value in (*node.inputs, *node.outputs)] == ["BINARY", "BINARY", "UINT32"]


def test_before_and_after() -> None:
    model = build(
        f"""g (float[N, 2] x) => (y) <float[2, 2] w = {{1, -1, -1, 1}}, float one = {{1}}>
        {{ a = {Q}.BipolarQuant(x, one) q = {Q}.BipolarQuant(w, one) y = MatMul(a, q) }}"""
    )
    assert BipolarMatMulToXnorPopcount().run(model) == 1
    assert op_types(model) == ["MultiThreshold", "XnorPopcountMatMul", "Mul", "Add"]
    first, product, double, shift = model.graph
    np.testing.assert_array_equal(constant_array(first.inputs[1]), [[0]])
    np.testing.assert_array_equal(constant_array(product.inputs[1]), [[1, 0], [0, 1]])
    assert constant_array(double.inputs[1]) == 2
    assert constant_array(shift.inputs[1]) == -2
    InferDataTypes().run(model)
    assert str(get_datatype(model.graph.outputs[0])) == "INT3"


def test_two_products_share_the_bits_of_one_tensor() -> None:
    body = f"""g (float[N, 2] x) => (y) <float[2, 2] w = {{1, -1, -1, 1}}, float one = {{1}}>
      {{ a = {Q}.BipolarQuant(x, one) m = MatMul(a, w) n = MatMul(a, w) y = Add(m, n) }}"""
    changed = check_pass(BipolarMatMulToXnorPopcount(), build(body), {"x": np.ones((3, 2), np.float32)}, min_edits=2)
    assert op_types(changed).count("MultiThreshold") == 1


@pytest.mark.parametrize(
    ("weights", "scale", "node"),
    [
        ("float[2, 2] w = {1, -1, -1, 1}", 1, "MatMul(x, w)"),
        ("float[2, 2] w = {1, 0, -1, 1}", 1, "MatMul(a, w)"),
        ("float[2, 2] w = {1, -1, -1, 1}", 0.5, "MatMul(a, w)"),
        ("float[2] w = {1, -1}", 1, "MatMul(a, w)"),
        ("float[2, 2] w = {1, -1, 1, 1}", 1, "Gemm<alpha = 0.25>(a, w)"),
    ],
    ids=["float", "ternary", "scaled", "vector", "scaled Gemm"],
)
def test_other_products_stay(weights: str, scale: float, node: str) -> None:
    body = f"""g (float[N, 2] x) => (y) <{weights}, float o = {{{scale}}}>
      {{ a = {Q}.BipolarQuant(x, o) m = {node} y = Neg(m) }}"""
    assert BipolarMatMulToXnorPopcount().run(build(body)) == 0


@settings(max_examples=15, deadline=None, derandomize=True)
@given(random_graphs(max_size=6))
def test_a_random_graph_keeps_its_values(graph: RandomGraph) -> None:
    model = graph.model.clone()
    InferShapes().run(model)
    check_pass(BipolarMatMulToXnorPopcount(), model, graph.inputs)


def test_the_products_of_a_trained_network_with_bipolar_weights_and_activations() -> None:
    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file("models/zoo/TFC_1W2A.onnx")))
    assert BipolarMatMulToXnorPopcount().run(model) == 0, "its activations have two bits"

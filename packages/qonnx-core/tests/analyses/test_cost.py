"""Counts of multiplications and memory: by hand, and as the format's reference gives them."""

from __future__ import annotations

import json

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.analyses.cost import inference_cost
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing import shared_file

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"


def build(body: str, **weights: tuple[int, ...]) -> ir.Model:
    model = from_proto(onnx.parser.parse_model(HEAD + body))
    for name, shape in weights.items():
        array = (np.arange(np.prod(shape)) % 5 - 2).astype(np.float32).reshape(shape)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        old = next(v for node in model.graph for v in node.inputs if v is not None and v.name == name)
        model.graph.register_initializer(value)
        old.replace_all_uses_with(value)
        model.graph.inputs[:] = [v for v in model.graph.inputs if v is not old]
    return model


P = "float s = {0.5}, float z = {0}, float b = {4}, float o = {1}, float b3 = {3}"


def quantized(node: str, x: str, w: str, y: str, more: str = "") -> str:
    return f"""g ({x} x, {w} w) => ({y} y) <{P}{more}> {{ q = {QUANT}(w, s, z, b) a = {QUANT}<signed = 0>(x, o, z, b3)
      y = {node} }}"""


@pytest.mark.parametrize(
    ("node", "x", "w", "y", "macs"),
    [
        ("MatMul(a, q)", (1, 4), (4, 8), (1, 8), 32),
        ("MatMul(a, q)", (1, 6, 4), (4, 8), (1, 6, 8), 192),
        ("Gemm<transB = 1>(a, q)", (1, 4), (8, 4), (1, 8), 32),
        ("Gemm<transA = 1>(a, q)", (4, 3), (4, 8), (3, 8), 96),
        ("Conv(a, q)", (1, 4, 6, 6), (8, 4, 3, 3), (1, 8, 4, 4), 8 * 4 * 4 * 4 * 9),
        ("Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(a, q)", (1, 4, 6, 6), (8, 4, 3, 3), (1, 8, 3, 3), 72 * 36),
        ("Conv<group = 4>(a, q)", (1, 4, 6, 6), (4, 1, 3, 3), (1, 4, 4, 4), 64 * 9),
        ("Conv<group = 2>(a, q)", (1, 4, 6), (6, 2, 3), (1, 6, 4), 24 * 6),
        ("ConvTranspose(a, q)", (1, 4, 6, 6), (4, 8, 3, 3), (1, 8, 8, 8), 144 * 72),
        ("ConvTranspose<group = 4, strides = [2, 2]>(a, q)", (1, 4, 6, 6), (4, 1, 2, 2), (1, 4, 12, 12), 144 * 4),
    ],
)
def test_macs_of_each_operator(
    node: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], macs: int
) -> None:
    text = [f"float[{', '.join(map(str, shape))}]" for shape in (x, w, y)]
    cost = inference_cost(build(quantized(node, *text), w=w))
    assert (cost.macs, cost.bops, cost.uncounted) == (macs, macs * 3 * 4, ())
    total = cost.to_dict()["total_cost"]
    assert total["op_mac_UINT3_SCALEDINT<4>"] == total["total_macs"] == macs
    assert total["mem_w_SCALEDINT<4>"] == total["total_mem_w_elems"] == np.prod(w)
    assert total["total_mem_w_bits"] == 4 * np.prod(w)
    assert total["mem_o_SCALEDINT<32>"] == total["total_mem_o_elems"] == np.prod(y)
    assert total["total_mem_o_bits"] == 32 * np.prod(y)


def test_two_running_inputs_store_no_weights() -> None:
    body = f"""g (float[N, 3, 4] x, float[N, 4, 5] u) => (float[N, 3, 5] y) <{P}>
      {{ q = {QUANT}(u, o, z, b) a = {QUANT}(x, o, z, b3) y = MatMul(a, q) }}"""
    (node,) = inference_cost(build(body)).nodes
    assert (node.macs, node.weights, node.outputs) == (60, 0, 15)
    assert [str(t) for t in (node.input_type, node.weight_type, node.output_type)] == ["INT3", "INT4", "INT32"]


@pytest.mark.parametrize(
    ("node", "x", "u", "y", "macs"),
    [
        ('Einsum<equation = "bhqd, bhkd -> bhqk">(x, u)', (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 3, 5), 2 * 3 * 5 * 4),
        ("MatMul(x, u)", (1, 2, 3, 4), (1, 2, 4, 5), (1, 2, 3, 5), 2 * 3 * 5 * 4),
        (
            "qonnx.custom_op.channels_last.Conv<kernel_shape = [3, 3], group = 2>(x, u)",
            (1, 6, 6, 4), (8, 3, 3, 2), (1, 4, 4, 8), 4 * 4 * 8 * 9 * 2,
        ),
        ("qonnx.custom_op.general.XnorPopcountMatMul(x, u)", (1, 4), (4, 3), (1, 3), 12),
    ],
)  # fmt: skip
def test_products_of_two_running_tensors(
    node: str, x: tuple[int, ...], u: tuple[int, ...], y: tuple[int, ...], macs: int
) -> None:
    text = [f"float[{', '.join(map(str, shape))}]" for shape in (x, u, y)]
    head = HEAD.replace("]>", ', "qonnx.custom_op.channels_last": 1]>')
    model = from_proto(
        onnx.parser.parse_model(head + f"g ({text[0]} x, {text[1]} u) => ({text[2]} y) {{ y = {node} }}")
    )
    (cost,) = inference_cost(model).nodes
    assert (cost.macs, cost.weights, cost.outputs) == (macs, 0, np.prod(y))


@pytest.mark.parametrize(("mode", "per_axis"), [("nearest", 0), ("linear", 2), ("cubic", 4)])
def test_interpolation_multiplies_for_each_neighbour(mode: str, per_axis: int) -> None:
    body = f"""g (float[1, 2, 3, 3] x) => (float[1, 2, 6, 6] y) <float[4] f = {{1, 1, 2, 2}}, {P}>
      {{ a = {QUANT}(x, o, z, b) y = Resize<mode = "{mode}">(a, , f) }}"""
    cost = inference_cost(build(body))
    assert (cost.macs, cost.bops, cost.uncounted) == (per_axis * 2 * 72, per_axis * 2 * 72 * 16, ())
    assert not [key for key in cost.to_dict()["total_cost"] if key.startswith("mem_w_")]


def test_integers_of_quantized_operators_are_counted() -> None:
    body = """g (uint8[N, 4] x) => (int32[N, 3] y) <int8[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>
      { y = MatMulInteger(x, w) }"""
    (cost,) = inference_cost(build(body)).nodes
    assert (cost.macs, cost.weights, cost.bops) == (12, 12, 12 * 64)
    assert (str(cost.input_type), str(cost.weight_type)) == ("UINT8", "INT8")


def test_a_float_bias_makes_the_sum_a_float() -> None:
    text = quantized("Gemm(a, q, c)", "float[N, 2]", "float[2, 2]", "float[N, 2]", ", float[2] c = {1, 2}")
    (node,) = inference_cost(build(text, w=(2, 2))).nodes
    assert str(node.output_type) == "FLOAT32"


def test_zero_weights_can_be_left_out() -> None:
    """Weights -2, -1, 0, 1, 2, ...: quantized at scale 0.5 one in five is zero."""
    model = build(quantized("MatMul(a, q)", "float[N, 10]", "float[10, 5]", "float[N, 5]"), w=(10, 5))
    (node,) = inference_cost(model, discount_sparsity=True).nodes
    assert (node.macs, node.weights) == (40, 40)


def test_a_popcount_multiplies_single_bits() -> None:
    body = """g (float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {1, 0, 1, 1, 0, 0, 1, 0}>
      { y = qonnx.custom_op.general.XnorPopcountMatMul(x, w) }"""
    (cost,) = inference_cost(build(body)).nodes
    assert (cost.macs, cost.bops, str(cost.input_type), str(cost.output_type)) == (8, 8, "BINARY", "UINT32")


def test_a_result_that_is_rounded_again_has_its_own_type() -> None:
    body = """g (uint8[N, 4] x) => (uint8[N, 2] y) <float s = {0.5}, uint8 z = {0}, int8 k = {0},
      int8[4, 2] w = {1, 0, 1, 1, 0, 0, 1, 0}> { y = QLinearMatMul(x, s, z, w, s, k, s, z) }"""
    (cost,) = inference_cost(build(body)).nodes
    assert (str(cost.input_type), str(cost.weight_type), str(cost.output_type)) == ("UINT8", "INT8", "UINT8")


@pytest.mark.parametrize(
    ("node", "x", "w", "y", "macs"),
    [
        ("Conv<dilations = [2, 2]>(a, q)", (1, 2, 7, 7), (3, 2, 3, 3), (1, 3, 3, 3), 3 * 9 * 18),
        ("Conv<dilations = [3], strides = [2], pads = [3, 3]>(a, q)", (1, 2, 9), (3, 2, 3), (1, 3, 5), 3 * 5 * 6),
        ("Conv(a, q)", (1, 1, 4, 4, 4), (2, 1, 2, 2, 2), (1, 2, 3, 3, 3), 2 * 27 * 8),
        ("ConvTranspose<strides = [2, 2], output_padding = [1, 1], pads = [1, 1, 1, 1]>(a, q)",
         (1, 2, 5, 5), (2, 3, 3, 3), (1, 3, 10, 10), 2 * 25 * 27),
        ("ConvTranspose<dilations = [2]>(a, q)", (1, 2, 5), (2, 3, 3), (1, 3, 9), 2 * 5 * 9),
        ("MatMul(a, q)", (1, 3, 4, 5), (3, 5, 7), (1, 3, 4, 7), 3 * 4 * 7 * 5),
        ("MatMul(a, q)", (1, 5), (5,), (1,), 5),
        ("MatMul(q, a)", (1, 5, 7), (3, 5), (1, 3, 7), 3 * 7 * 5),
    ],
)  # fmt: skip
def test_macs_of_other_geometries(
    node: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], macs: int
) -> None:
    text = [f"float[{', '.join(map(str, shape))}]" for shape in (x, w, y)]
    cost = inference_cost(build(quantized(node, *text), w=w))
    assert (cost.macs, cost.bops, cost.uncounted) == (macs, macs * 3 * 4, ())
    total = cost.to_dict()["total_cost"]
    assert total["op_mac_UINT3_SCALEDINT<4>"] == macs
    assert (total["total_mem_w_elems"], total["total_mem_o_elems"]) == (np.prod(w), np.prod(y))


def test_a_fixed_batch_counts_as_it_is() -> None:
    costs = [
        inference_cost(build(quantized("MatMul(a, q)", f"float[{n}, 4]", "float[4, 8]", f"float[{n}, 8]"), w=(4, 8)))
        for n in ("N", "1", "5")
    ]
    assert [cost.macs for cost in costs] == [32, 32, 160]


def test_an_operator_of_another_domain_is_named() -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) { e = Relu(x) y = other.Add(e, e) }"
    head = HEAD.replace("]>", ', "other": 1]>')
    assert inference_cost(from_proto(onnx.parser.parse_model(head + body))).uncounted == ("Add",)


def test_what_is_not_counted_is_named() -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) { e = Relu(x) y = Softmax(e) }"
    assert inference_cost(build(body)).uncounted == ("Softmax",)


def test_an_unknown_size_is_not_counted() -> None:
    body = "g (float[N, K] x, float[K, 4] w) => (float[N, 4] y) { y = MatMul(x, w) }"
    cost = inference_cost(build(body))
    assert (cost.nodes, cost.uncounted) == ((), ("MatMul",))


def test_the_zoo_costs_what_the_reference_says() -> None:
    """The numbers are those of ``qonnx.util.inference_cost`` of qonnx 1.0.0."""
    path = shared_file("models/zoo/TFC_1W2A.onnx")
    assert inference_cost(qonnx_core.load(path)).to_dict()["total_cost"] == {
        "op_mac_INT2_BIPOLAR": 59008, "mem_w_BIPOLAR": 59008, "mem_o_INT32": 202, "total_mem_w_bits": 59008,
        "total_mem_w_elems": 59008, "total_mem_o_bits": 6464, "total_mem_o_elems": 202, "total_bops": 118016,
        "total_macs": 59008, "unsupported": [], "discount_sparsity": False,
    }  # fmt: skip
    path = shared_file("models/zoo/qkeras_jettagging.onnx")
    assert inference_cost(qonnx_core.load(path)).to_dict()["total_cost"] == {
        "op_mac_FLOAT32_SCALEDINT<6>": 1024, "mem_w_SCALEDINT<6>": 4256, "mem_o_FLOAT32": 64,
        "op_mac_SCALEDINT<6>_SCALEDINT<6>": 3232, "mem_o_SCALEDINT<32>": 69, "total_mem_w_bits": 25536,
        "total_mem_w_elems": 4256, "total_mem_o_bits": 4256, "total_mem_o_elems": 133, "total_bops": 312960,
        "total_macs": 4256, "unsupported": ["Softmax"], "discount_sparsity": False,
    }  # fmt: skip


def test_the_command_prints_json_and_tables(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    qonnx_core.save(build(quantized("MatMul(a, q)", "float[N, 4]", "float[4, 8]", "float[N, 8]"), w=(4, 8)), path)
    result = CliRunner().invoke(app, ["cost", str(path), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["node_cost"]["MatMul_0"]["total_macs"] == found["optype_cost"]["MatMul"]["total_macs"] == 32
    result = CliRunner().invoke(app, ["cost", str(path)])
    assert result.exit_code == 0
    assert "total_bops" in result.stdout


def test_a_product_of_a_number_is_refused_by_name() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "qonnx.custom_op.general": 1]>
    g (float x) => (float[1, 2] y) <float[4, 2] w = {0, 1, 1, 0, 1, 1, 0, 0}>
    { y = qonnx.custom_op.general.XnorPopcountMatMul(x, w) }"""
    with pytest.raises(InvalidModel, match=r"XnorPopcountMatMul_0 \(XnorPopcountMatMul\): .*shapes \[\] and \[4, 2\]"):
        inference_cost(from_proto(onnx.parser.parse_model(text)))

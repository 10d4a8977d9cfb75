"""A bias on the grid of its sum: the scale of the input times that of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.verify import verify
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.quantize.config import QuantizationConfig
from qonnx_core.passes.quantize.quantize_graph import quantize_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
PRODUCT = {"bits": 20, "scale": "product"}
WEIGHTS = {"bits": 4, "scale": "max", "per_channel": True}
INPUT = {"bits": 6, "scale": 0.3}


def build(body: str, **parameters: tuple[int, ...]) -> ir.Model:
    """Return the model with parameters of these shapes."""
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(HEAD + body)
    for name, shape in parameters.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    model = from_proto(proto)
    for node in model.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    InferShapes().run(model)
    return model


def quantized(model: ir.Model, *rules: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the scales by operand; the model is quantized in place."""
    report = quantize_graph(model, QuantizationConfig.from_dict({"quantize": list(rules)}))
    verify(model)
    assert not any(entry.reason for entry in report)
    return {f"{entry.node} {entry.operand}": np.float32(entry.scale) for entry in report}


@pytest.mark.parametrize(
    ("body", "weights", "bias"),
    [
        ("g (float[N, 2, 5, 5] x) => (y) { y = Conv(x, w, b) }", (3, 2, 2, 2), (3,)),
        ("g (float[N, 2, 5] x) => (y) { y = Conv(x, w, b) }", (3, 2, 2), (3,)),
        ("g (float[N, 6, 5, 5] x) => (y) { y = Conv<group = 3>(x, w, b) }", (3, 2, 2, 2), (3,)),
        ("g (float[N, 2, 5, 5] x) => (y) { y = ConvTranspose(x, w, b) }", (2, 3, 2, 2), (3,)),
        ("g (float[N, 4] x) => (y) { y = Gemm(x, w, b) }", (4, 3), (3,)),
        ("g (float[N, 4] x) => (y) { y = Gemm<transB = 1>(x, w, b) }", (3, 4), (1, 3)),
    ],
)
def test_the_bias_of_a_product_has_the_scale_of_its_sum(
    body: str, weights: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    model = build(body, w=weights, b=bias)
    kind = model.graph[0].op_type
    scales = quantized(model, {"match": {"op_type": kind}, "input": INPUT, "weights": WEIGHTS, "bias": PRODUCT})
    name = f"{kind}_y"
    wanted = np.float32(np.float64(scales[f"{name} input"]) * np.float64(scales[f"{name} weights"]))
    np.testing.assert_array_equal(scales[f"{name} bias"], wanted)
    assert len(wanted) == 3
    InferDataTypes().run(model)
    found = get_datatype(model.graph.outputs[0])
    assert str(found).startswith("SCALEDINT<2")
    shape = [3, *list(model.graph.inputs[0].shape or ())[1:]]
    x = np.random.default_rng(1).normal(0, 3, shape).astype(np.float32)
    y = qonnx_core.compile_model(model).run({"x": x})["y"]
    steps = np.moveaxis(y, 1, -1) / wanted.astype(np.float64)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_powers_of_two_make_the_sum_exact() -> None:
    model = build("g (float[N, 2, 5, 5] x) => (y) { y = Conv(x, w, b) }", w=(3, 2, 2, 2), b=(3,))
    two = {"power_of_two": True}
    rule = {"input": INPUT | {"scale": 0.25}, "weights": WEIGHTS | two, "bias": PRODUCT}
    scales = quantized(model, {"match": {"op_type": "Conv"}} | rule)
    x = np.random.default_rng(1).normal(0, 3, (3, 2, 5, 5)).astype(np.float32)
    y = qonnx_core.compile_model(model).run({"x": x})["y"]
    steps = np.moveaxis(y, 1, -1) / scales["Conv_y bias"]
    np.testing.assert_array_equal(steps, np.round(steps))


def test_factors_of_gemm_and_grids_that_operators_hand_on_count() -> None:
    model = build(
        """g (float[N, 2, 4, 4] x) => (y) { q = Identity(x) p = MaxPool<kernel_shape = [2, 2]>(q) f = Flatten(p)
           h = Gemm<alpha = 0.5, beta = 4.0>(f, w, b) m = MatMul(h, v) y = Add(c, m) }""",
        w=(18, 3), b=(3,), v=(3, 5), c=(1, 5),
    )  # fmt: skip
    scales = quantized(
        model,
        {"match": {"op_type": "Identity"}, "output": INPUT},
        {"match": {"op_type": "Gemm"}, "weights": {"bits": 4, "scale": 0.7}, "bias": PRODUCT},
        {"match": {"op_type": "MatMul"}, "input": INPUT, "weights": WEIGHTS},
        {"match": {"op_type": "Add"}, "inputs": {0: PRODUCT}},
    )
    exact = np.float64(scales["Identity_q output"]) * np.float64(scales["Gemm_h weights"]) * 0.5 / 4
    np.testing.assert_array_equal(scales["Gemm_h bias"], np.float32(exact))
    exact = np.float64(scales["MatMul_m input"]) * np.float64(scales["MatMul_m weights"])
    np.testing.assert_array_equal(scales["Add_y input 0"], np.float32(exact))
    again = model.clone()
    quantize_graph(
        again, QuantizationConfig.from_dict({"quantize": [{"match": {"op_type": "Add"}, "inputs": {0: PRODUCT}}]})
    )
    assert len(list(again.graph)) == len(list(model.graph))


def test_quantizers_that_are_there_already_count() -> None:
    body = """g (float[N, 4] x) => (y) <float s = {0.3}, float[1, 3] t = {0.1, 0.2, 0.7}, float z = {0}, float k = {4}>
      { q = Q.Quant(x, s, z, k) p = Q.Quant(w, t, z, k) y = Gemm(q, p, b) }""".replace("Q.", "qonnx.custom_op.general.")
    model = build(body, w=(4, 3), b=(3,))
    scales = quantized(model, {"match": {"op_type": "Gemm"}, "bias": PRODUCT})
    wanted = np.float32(np.float64(np.float32(0.3)) * np.float64(np.float32([0.1, 0.2, 0.7])))
    np.testing.assert_array_equal(scales["Gemm_y bias"], wanted)
    quantizer = model.graph[-1].inputs[2].producer()
    assert quantizer is not None
    assert constant_array(quantizer.inputs[1]).shape == (3,)


GEMM = {"match": {"op_type": "Gemm"}}
REFUSED = [
    ({**GEMM, "bias": PRODUCT}, "Gemm_y (Gemm): the scale of its bias is product, but the grid of the sum is not"),
    ({**GEMM, "input": INPUT | {"scale": [1, 2, 3, 4]}, "weights": WEIGHTS, "bias": PRODUCT}, "the K of a product"),
    ({**GEMM, "input": PRODUCT}, "the scale of its input is product; expected the bias of a Conv"),
    ({**GEMM, "output": PRODUCT}, "the scale of its output is product; expected the bias of a Conv"),
    ({**GEMM, "bias": PRODUCT | {"per_channel": True}}, "which has the channels of the weights"),
    ({**GEMM, "bias": PRODUCT | {"zero_point": 3}}, "and no zero point"),
    ({**GEMM, "bias": PRODUCT | {"power_of_two": True}}, "rounds a scale that comes from max or data"),
    ({"match": {"op_type": "Add"}, "inputs": {0: PRODUCT, 1: PRODUCT}}, "the scales of two operands are product"),
    ({**GEMM, "input": INPUT | {"scale": 1e-30}, "weights": WEIGHTS, "bias": PRODUCT}, "no float32 number above 0"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "reason"), REFUSED)
def test_where_there_is_no_such_scale_the_rule_is_refused(rule: dict[str, Any], reason: str) -> None:
    model = build("g (float[N, 4] x) => (z) { y = Gemm(x, w, b) z = Add(y, c) }", w=(4, 3), b=(3,), c=(3,))
    if "e-30" in str(rule):
        rule = rule | {"weights": {"bits": 4, "scale": 1e-20}}
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with pytest.raises(InvalidInput) as refusal:
        quantize_graph(model, QuantizationConfig.from_dict({"quantize": [rule]}))
    assert reason in str(refusal.value)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before

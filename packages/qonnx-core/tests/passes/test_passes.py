"""Every pass keeps the common contract: the same values, and nothing to do the second time."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from qonnx_core.cleanup import cleanup_passes
from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.fold_transpose import FoldTransposeIntoQuantInit
from qonnx_core.passes.gemm_to_matmul import GemmToMatMul
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.remove_identity import RemoveIdentity
from qonnx_core.testing.graph_text import model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
X = np.linspace(-3, 3, 20, dtype=np.float32).reshape(5, 4)
MIXED = """g (float[1, 4] x) => (float[1, 3] y, float[1, 4] o)
<float[3, 4] w = {-3, 2, 5, -1, 4, -7, 6, 1, 2, -2, 3, 9}, float s = {0.5}, float[1] z = {0}, float b = {4},
float k = {1}, int64[2] r = {1, -1}>
{ i = Identity(x) f = Reshape(i, r) q = qonnx.custom_op.general.Quant(w, s, z, b) t = Transpose<perm = [1, 0]>(q)
  n = Neg(k) m = Mul(f, n) a = Add(m, z) y = MatMul(a, t) unused = Exp(a) o = Mul(a, k) }"""


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


@pytest.mark.parametrize("step", cleanup_passes(), ids=lambda step: step.name)
def test_a_pass_of_the_clean_up_keeps_the_contract(step) -> None:
    check_pass(step, build(MIXED), {"x": X}, renames=step.name == "name_everything")


@pytest.mark.parametrize(
    "scale",
    ["float s = {0.5}", "float[3, 1] s = {0.5, 1, 2}", "float[1, 4] s = {0.5, 1, 2, 4}", "float[4] s = {0.5, 1, 2, 4}"],
)
def test_a_transposed_weight_is_stored_transposed(scale: str) -> None:
    """Issue 77 of the reference: shape inference failed after this for scales per channel."""
    body = f"""g (float[N, 4] x) => (float[N, 3] y)
        <float[3, 4] w = {{-3, 2, 5, -1, 4, -7, 6, 1, 2, -2, 3, 9}}, {scale}, float z = {{0}}, float b = {{4}}>
        {{ q = qonnx.custom_op.general.Quant(w, s, z, b) t = Transpose<perm = [1, 0]>(q) y = MatMul(x, t) }}"""
    changed = check_pass(FoldTransposeIntoQuantInit(), build(body), {"x": X}, min_edits=1)
    assert op_types(changed) == ["Quant", "MatMul"]
    assert changed.graph[0].outputs[0].shape == ir.Shape([4, 3])
    InferShapes().run(changed)


def test_a_quantized_weight_that_somebody_else_reads_is_not_transposed() -> None:
    body = """g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float s = {1}, float z = {0},
        float b = {4}>
        { q = qonnx.custom_op.general.Quant(w, s, z, b) t = Transpose<perm = [1, 0]>(q) m = MatMul(x, t)
        y = MatMul(m, q) }"""
    assert FoldTransposeIntoQuantInit().run(build(body)) == 0


@pytest.mark.parametrize(
    "attributes", ["", "transB = 1", "transA = 1", "alpha = 0.5, beta = 2.0", "beta = 0.0, transB = 1"]
)
@pytest.mark.parametrize("bias", ["", ", c"])
def test_gemm_becomes_matmul_and_add(attributes: str, bias: str) -> None:
    shape = "float[4, 3]" if "transA" in attributes else "float[3, 4]"
    constants = "float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float[4] c = {1, 2, 3, 4}"
    settings = f"<{attributes}>" if attributes else ""
    body = f"g ({shape} x) => (y) <{constants}> {{ y = Gemm{settings}(x, w{bias}) }}"
    x = np.arange(12, dtype=np.float32).reshape((4, 3) if "transA" in attributes else (3, 4))
    changed = check_pass(GemmToMatMul(), build(body), {"x": x}, min_edits=1)
    assert "Gemm" not in op_types(changed)
    assert "MatMul" in op_types(changed)
    assert ("Add" in op_types(changed)) == (bool(bias) and "beta = 0.0" not in attributes)


def test_gemm_of_running_values_gets_transposes() -> None:
    node = "y = Gemm<transA = 1, transB = 1, beta = 3.0>(x, w, c)"
    body = f"g (float[4, 3] x, float[2, 4] w, float[2] c) => (float[3, 2] y) {{ {node} }}"
    x, w, c = (np.arange(n, dtype=np.float32) for n in (12, 8, 2))
    inputs = {"x": x.reshape(4, 3), "w": w.reshape(2, 4), "c": c}
    changed = check_pass(GemmToMatMul(), build(body), inputs, min_edits=1)
    assert op_types(changed) == ["Transpose", "Transpose", "MatMul", "Mul", "Add"]


def test_folding_computes_each_constant_once_and_in_order() -> None:
    body = """g (float[N, 4] x) => (float[N, 4] y) <float[4] k = {1, 2, 3, 4}>
        { a = Neg(k) b = Exp(a) c = Mul(a, b) d = Add(c, b) y = Mul(x, d) }"""
    changed = check_pass(FoldConstants(), build(body), {"x": X}, min_edits=4)
    assert op_types(changed) == ["Mul"]


def test_constants_inside_an_inner_graph_stay_valid() -> None:
    body = """g (float[N, 4] x, bool c) => (float[N, 4] y) <float k = {2}>
        { n = Neg(k) y = If (c) <then_branch = t () => (float[N, 4] u) { o = Constant<value = float {3}>()
        u = Mul(x, o) },
          else_branch = e () => (float[N, 4] v) { v = Mul(x, n) }> }"""
    check_pass(FoldConstants(), build(body), {"x": X, "c": np.asarray(False)}, min_edits=2)


def test_folding_does_not_blow_up_the_file() -> None:
    body = "g (float[1] x) => (y) <int64[2] s = {20000, 20000}, float k = {0}> { e = Expand(k, s) y = Add(x, e) }"
    assert FoldConstants().run(build(body)) == 0


def test_removing_identities_reports_each() -> None:
    body = (
        "g (float[N, 4] x) => (float[N, 4] y) <float k = {1}> { a = Relu(x) b = Mul(k, a) c = Identity(b) y = Neg(c) }"
    )
    changed = check_pass(RemoveIdentity(), build(body), {"x": X}, min_edits=2)
    assert op_types(changed) == ["Relu", "Neg"]


def test_shapes_that_contradict_each_other_are_refused() -> None:
    body = "g (float[2, 3] x) => (y) <float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }"
    with pytest.raises(
        InvalidModel,
        match=r"shapes or types contradict each other: [^\[]*\(MatMul\): Incompatible dimensions[^\[]*; expected",
    ):
        build(body)


def test_stale_shapes_of_a_file_are_corrected() -> None:
    proto = onnx.parser.parse_model(HEAD + "g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) y = Neg(a) }")
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [7, 9]))
    model = from_proto(proto)
    InferShapes().run(model)
    assert str(model.graph[0].outputs[0].shape) == "[N,4]"


@pytest.mark.parametrize(
    ("attributes", "scale", "bits", "expected"),
    [
        ("signed = 1", 1, 4, "INT4"),
        ("signed = 0", 1, 4, "UINT4"),
        ("signed = 1", 1, 1, "BIPOLAR"),
        ("signed = 0", 1, 1, "BINARY"),
        ("signed = 1", 0.5, 4, "SCALEDINT<4>"),
    ],
)
def test_data_types_follow_from_constants(attributes: str, scale: float, bits: int, expected: str) -> None:
    body = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{{scale}}}, float z = {{0}}, float b = {{{bits}}}>
        {{ y = qonnx.custom_op.general.Quant<{attributes}>(x, s, z, b) }}"""
    model = build(body)
    assert InferDataTypes().run(model) == 1
    assert str(get_datatype(model.graph.outputs[0])) == expected
    assert InferDataTypes().run(model) == 0

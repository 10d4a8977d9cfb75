"""FloatQuant and QuantizeLinear to minifloat types are the same numbers, both ways."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import qonnx_core
from qonnx_core.errors import Unsupported
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.ir_versions import with_ir_version
from qonnx_core.formats.qcdq_floats import FLOAT_TYPES, FloatType
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.formats.writer import serialize

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
EIGHT = [kind for kind in FLOAT_TYPES if kind.opset == 19]
X = np.concatenate(
    [np.linspace(-600, 600, 1201), np.linspace(-1, 1, 401), np.asarray([np.inf, -np.inf, np.nan, 1e30, 464, 61440])]
).astype(np.float32)
X = np.resize(X, (X.size // 4 + 1, 4))


def float_quant(kind: FloatType, scale: str = "float s = {0.5}", saturation: bool = True) -> ir.Model:
    e, m, bias, top = kind.parameters
    text = f"""{HEAD} g (float[N, 4] x) => (float[N, 4] y) <{scale}, float e = {{{e}}}, float m = {{{m}}},
      float b = {{{bias}}}, float top = {{{top}}}, float[3, 4] w = {{1, -2, 3.3, 0.07, 500, 6, 7, 8, 0, -0.3, 11, 12}}>
      {{ q = qonnx.custom_op.general.FloatQuant<has_inf = {int(kind.has_inf)}, has_nan = {int(kind.has_nan)},
           saturation = {int(saturation)}, has_subnormal = 1, rounding_mode = "ROUND">(x, s, e, m, b, top)
         v = qonnx.custom_op.general.FloatQuant<has_inf = 0, has_nan = 1, saturation = 1, has_subnormal = 1,
           rounding_mode = "ROUND">(w, s, e, m, b, top)
         r = ReduceSum<keepdims = 0>(v) y = Add(q, r) }}"""
    return from_proto(onnx.parser.parse_model(text))


def run(model: ir.Model) -> np.ndarray:
    return compile_model(model).run({"x": X})["y"]


@pytest.mark.parametrize(
    ("kind", "saturation", "scale"),
    [
        (kind, saturation, scale)
        for kind, saturation, scale in itertools.product(
            EIGHT, (True, False), ("float s = {0.3}", "float[1, 4] s = {0.5, 0.3, 1, 7}")
        )
        if saturation or kind.overflows
    ],
    ids=str,
)
def test_float8_goes_there_and_comes_back(kind: FloatType, saturation: bool, scale: str) -> None:
    model = float_quant(kind, scale, saturation)
    wanted = run(model)
    there = to_qcdq(model)
    assert there.converted == 2
    assert {node.op_type for node in there.model.graph} >= {"QuantizeLinear", "DequantizeLinear"}
    stored = [value for value in there.model.graph.initializers.values() if value.dtype == kind.dtype]
    assert any(value.const_value is not None and value.const_value.size == 12 for value in stored)
    np.testing.assert_array_equal(run(there.model), wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialize(there.model), options)
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], wanted)
    back = from_qcdq(there.model)
    assert (back.converted, back.kept) == (2, ())
    assert sorted(node.op_type for node in back.model.graph) == ["Add", "FloatQuant", "FloatQuant", "ReduceSum"]
    np.testing.assert_array_equal(run(back.model), wanted)


@pytest.mark.parametrize("kind", [kind for kind in FLOAT_TYPES if kind.opset > 19], ids=str)
def test_types_that_no_runtime_has_are_a_form_of_files(kind: FloatType) -> None:
    model = float_quant(kind)
    with pytest.raises(Unsupported, match=f"is {kind.dtype.name}, which is new in opset {kind.opset}"):
        to_qcdq(model)
    newer = convert_opset(model, kind.opset)
    there = to_qcdq(newer)
    proto = onnx.load_model_from_string(serialize(with_ir_version(there.model)))
    onnx.checker.check_model(proto)
    back = from_qcdq(there.model)
    assert (back.converted, back.kept) == (2, ())
    np.testing.assert_array_equal(run(back.model), run(model))
    assert proto.opset_import[0].version == kind.opset


def test_onnx_itself_agrees_on_float4() -> None:
    kind = next(kind for kind in FLOAT_TYPES if kind.dtype == ir.DataType.FLOAT4E2M1)
    model = float_quant(kind)
    there = to_qcdq(convert_opset(model, 23)).model
    finite = np.where(np.isfinite(X), X, 0)
    wanted = compile_model(model).run({"x": finite})["y"]
    found = ReferenceEvaluator(onnx.load_model_from_string(serialize(there))).run(None, {"x": finite})[0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("float top = {448.0}", "float top = {400}"), "numbers up to 400: no element type of ONNX"),
        (("float m = {3.0}", "float m = {2.0}"), "has 4 exponent and 2 mantissa bits"),
        (('saturation = 1, has_subnormal = 1, rounding_mode = "ROUND">(x', 'saturation = 1, has_subnormal = 1, '
          'rounding_mode = "CEIL">(x'), "rounds by CEIL"),
        (("float s = {0.5}", "float s = {-0.5}"), "has a scale that is not above 0"),
    ],
)  # fmt: skip
def test_what_is_no_type_is_refused_with_the_reason(change: tuple[str, str], reason: str) -> None:
    text = f"""{HEAD} g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float e = {{4.0}}, float m = {{3.0}},
      float b = {{7.0}}, float top = {{448.0}}> {{ y = qonnx.custom_op.general.FloatQuant<has_inf = 0, has_nan = 1,
      saturation = 1, has_subnormal = 1, rounding_mode = "ROUND">(x, s, e, m, b, top) }}"""
    assert change[0] in text
    with pytest.raises(Unsupported, match=reason):
        to_qcdq(from_proto(onnx.parser.parse_model(text.replace(*change))))


def test_saturation_that_runtimes_do_not_agree_on_stays() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}>
      { o = Constant<value = float {0}>() z = Cast<to = 17>(o) q = QuantizeLinear<saturate = 0>(x, s, z)
        y = DequantizeLinear(q, s) }"""
    found = from_qcdq(from_proto(onnx.parser.parse_model(text)))
    assert found.converted == 0
    assert "does not saturate" in found.kept[0]


def test_four_bits_saturate_whatever_the_node_says() -> None:
    zero = onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT4E2M1, [], [0.0])
    text = """<ir_version: 11, opset_import: ["": 23]> g (float[N] x) => (float[N] y) <float s = {0.5}>
      { q = QuantizeLinear<saturate = 0>(x, s, z) y = DequantizeLinear(q, s) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(zero)
    found = from_qcdq(from_proto(proto))
    assert (found.converted, found.kept) == (1, ())
    values = qonnx_core.compile_model(found.model).run({"x": np.float32([-9, 0.3, 2.4, 9])})["y"]
    assert values.tolist() == [-3.0, 0.25, 2.0, 3.0]


def test_operators_on_integers_are_named() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (uint8[N, 4] x) => (int32[N, 2] y)
      <uint8[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
      { y = MatMulInteger(x, w) }"""
    found = from_qcdq(from_proto(onnx.parser.parse_model(text)))
    assert found.kept[0].startswith("y (MatMulInteger): computes on integers and rounds products by one factor")

"""Models of every opset load and run, and are written in every other opset in which their operators have a form."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.ir_versions import with_ir_version
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize
from qonnx_core.testing.op_contract import ties_and_extremes
from qonnx_core.testing.random_graphs import random_graph

NEWEST = 27  # onnx knows 28, the QuantizeLinear of which onnxruntime does not run
X234 = "float[2,3,4] x"
IMAGE = "float[1,2,4,6] x"
SCALES = "s = Constant<value = float[4] {1,1,2,2}>() "
# Name: first and last opset of the form, input, output, body; the oldest opset that the model can be written in.
FORMS: dict[str, tuple[int, int, str, str, str, int]] = {
    "clip attributes": (9, 10, X234, "float[2,3,4] y", "y = Clip<min=-0.5, max=0.5>(x)", 9),
    "clip inputs": (11, NEWEST, X234, "float[2,3,4] y",
                    "a = Constant<value = float {-0.5}>() b = Constant<value = float {0.25}>() y = Clip(x, a, b)", 9),
    "clip to one side": (11, NEWEST, X234, "float[2,3,4] y", "b = Constant<value=float {0.25}>() y = Clip(x, , b)", 9),
    "slice attributes": (9, 9, X234, "float[2,2,4] y", "y = Slice<axes=[1], starts=[1], ends=[3]>(x)", 9),
    "slice inputs": (10, NEWEST, X234, "float[2,2,4] y",
                     "s = Constant<value=int64[1] {1}>() e = Constant<value=int64[1] {3}>() "
                     "a = Constant<value=int64[1] {-2}>() y = Slice(x, s, e, a)", 9),
    "slice with steps": (10, NEWEST, X234, "float[2,3,2] y",
                         "s = Constant<value=int64[1] {-1}>() e = Constant<value=int64[1] {-100}>() "
                         "a = Constant<value=int64[1] {2}>() t = Constant<value=int64[1] {-2}>() y = Slice(x,s,e,a,t)",
                         10),
    "squeeze attributes": (9, 12, X234, "float[2,3,4] y", "a = Unsqueeze<axes=[1]>(x) y = Squeeze<axes=[1]>(a)", 9),
    "squeeze inputs": (13, NEWEST, X234, "float[2,3,4] y",
                       "i = Constant<value=int64[1] {-2}>() a = Unsqueeze(x, i) y = Squeeze(a, i)", 9),
    "sum attributes": (9, 12, X234, "float[2,1,4] y", "y = ReduceSum<axes=[1]>(x)", 9),
    "sum inputs": (13, NEWEST, X234, "float[2,4] y",
                   "i = Constant<value=int64[1] {-2}>() y = ReduceSum<keepdims=0>(x, i)", 9),
    "sum of nothing": (13, NEWEST, X234, "float[2,3,4] y", "y = ReduceSum<noop_with_empty_axes=1>(x)", 9),
    "mean attributes": (9, 17, X234, "float[2,3] y", "y = ReduceMean<axes=[2], keepdims=0>(x)", 9),
    "mean inputs": (18, NEWEST, X234, "float[2,3] y",
                    "i = Constant<value=int64[1] {2}>() y = ReduceMean<keepdims=0>(x, i)", 9),
    "dropout attribute": (9, 11, X234, "float[2,3,4] y", "y = Dropout<ratio=0.3>(x)", 9),
    "dropout inputs": (12, NEWEST, X234, "float[2,3,4] y", "r = Constant<value=float {0.3}>() y = Dropout(x, r)", 9),
    "batch normalization": (9, NEWEST, IMAGE, "float[1,2,4,6] y",
                            "s = Constant<value=float[2] {1,2}>() b = Constant<value=float[2] {3,4}>() "
                            "m = Constant<value=float[2] {0.5,1}>() v = Constant<value=float[2] {1,4}>() "
                            "y = BatchNormalization(x, s, b, m, v)", 9),
    "upsample": (9, 9, IMAGE, "float[1,2,8,12] y", SCALES + 'y = Upsample<mode="nearest">(x, s)', 9),
    "resize 10": (10, 10, IMAGE, "float[1,2,8,12] y", SCALES + 'y = Resize<mode="linear">(x, s)', 9),
    "resize 11 with an empty region": (
        11, NEWEST, IMAGE, "float[1,2,8,12] y",
        SCALES + "r = Constant<value=float[0] {}>() y = Resize(x, r, s)", 9),
    "resize without a region": (13, NEWEST, IMAGE, "float[1,2,8,12] y", SCALES + "y = Resize(x, , s)", 9),
    "resize to sizes": (13, NEWEST, IMAGE, "float[1,2,5,7] y",
                        'z = Constant<value=int64[4] {1,2,5,7}>() y = Resize<mode="linear">(x, , , z)', 11),
    "resize 11 to sizes": (11, 12, IMAGE, "float[1,2,5,7] y",
                           "r = Constant<value=float[0] {}>() z = Constant<value=int64[4] {1,2,5,7}>() "
                           'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, r, r, z)', 11),
    "resize along axes": (18, NEWEST, IMAGE, "float[1,2,8,12] y",
                          "s = Constant<value=float[2] {2,2}>() y = Resize<axes=[2,3]>(x, , s)", 9),
    "pad attributes": (9, 10, X234, "float[2,3,8] y", "y = Pad<pads=[0,0,1,0,0,3], value=2.0>(x)", 9),
    "pad inputs": (11, NEWEST, X234, "float[2,3,8] y",
                   "p = Constant<value=int64[6] {0,0,1,0,0,3}>() v = Constant<value=float {2}>() y = Pad(x, p, v)", 9),
    "pad along axes": (18, NEWEST, X234, "float[2,3,8] y",
                       "p = Constant<value=int64[2] {1,3}>() "
                       "a = Constant<value=int64[1] {-1}>() y = Pad(x, p, , a)", 9),
    "pad by wrapping": (19, NEWEST, X234, "float[2,3,6] y",
                        'p = Constant<value=int64[6] {0,0,1,0,0,1}>() y = Pad<mode="wrap">(x, p)', 19),
    "split attribute": (9, 12, X234, "float[2,3,1] y", "y, b = Split<axis=2, split=[1,3]>(x)", 9),
    "split into equal parts": (9, 17, X234, "float[2,3,2] y", "y, b = Split<axis=2>(x)", 9),
    "split input": (13, NEWEST, X234, "float[2,3,1] y",
                    "s = Constant<value=int64[2] {1,3}>() y, b = Split<axis=2>(x, s)", 9),
    "split by number": (18, NEWEST, X234, "float[2,1,4] b", "y, b = Split<axis=1, num_outputs=2>(x)", 9),
    "softmax over all": (9, 12, X234, "float[2,3,4] y", "y = Softmax(x)", 9),
    "softmax of the middle": (13, NEWEST, X234, "float[2,3,4] y", "y = Softmax<axis=1>(x)", 9),
    "softmax of the last": (13, NEWEST, X234, "float[2,3,4] y", "y = LogSoftmax(x)", 9),
    "softmax 12 of the first": (11, 12, X234, "float[2,3,4] y", "y = Hardmax<axis=0>(x)", 9),
    "cast": (9, NEWEST, X234, "int32[2,3,4] y", "a = Cast<to=11>(x) y = Cast<to=6>(a)", 9),
    "constants": (12, NEWEST, X234, "float[2,3,4] y",
                  "c = Constant<value_floats=[1.0,2.0,3.0,4.0]>() y = Mul(x, c)", 9),
    "topk attribute": (9, 9, X234, "float[2,3,2] y", "y, i = TopK<k=2, axis=2>(x)", 9),
    "topk input": (10, NEWEST, X234, "float[2,3,2] y",
                   "k = Constant<value=int64[1] {2}>() y, i = TopK<axis=2>(x, k)", 9),
    "topk of the smallest": (11, NEWEST, X234, "float[2,2,4] y",
                             "k = Constant<value=int64[1] {2}>() y, i = TopK<axis=1, largest=0>(x, k)", 11),
    "reshape": (9, NEWEST, X234, "float[2,12] y", "s = Constant<value=int64[2] {0,-1}>() y = Reshape(x, s)", 9),
    "reshape that allows 0": (14, NEWEST, X234, "float[2,12] y",
                              "s = Constant<value=int64[2] {2,12}>() y = Reshape<allowzero=1>(x, s)", 9),
    "a part of the shape": (15, NEWEST, X234, "int64[1] y", "y = Shape<start=1, end=2>(x)", 9),
    "at least": (16, NEWEST, X234, "bool[2,3,4] y", "c = Constant<value=float {0.1}>() y = GreaterOrEqual(x, c)", 9),
    "equal": (11, NEWEST, X234, "bool[2,3,4] y", "c = Constant<value = float {0.5}>() y = Equal(x, c)", 9),
    "quantize": (10, NEWEST, X234, "float[2,3,4] y",
                 "s = Constant<value=float {0.1}>() z = Constant<value=uint8 {128}>() q = QuantizeLinear(x, s, z) "
                 "y = DequantizeLinear(q, s, z)", 10),
    "quantize along an axis": (13, NEWEST, X234, "float[2,3,4] y",
                               "s = Constant<value=float[3] {0.1,0.2,0.3}>() z = Constant<value=int8[3] {1,2,3}>() "
                               "q = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(q, s, z)", 13),
    "quantize to a type": (21, NEWEST, X234, "float[2,3,4] y",
                           "s = Constant<value=float {0.1}>() q = QuantizeLinear<output_dtype=3>(x, s) "
                           "y = DequantizeLinear(q, s)", 10),
    "max pooling": (10, NEWEST, IMAGE, "float[1,2,2,3] y",
                    "y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=0, dilations=[1,1]>(x)", 9),
    "max pooling of dilated windows": (10, NEWEST, IMAGE, "float[1,2,2,4] y",
                                       "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", 10),
    "axes from behind": (11, 12, X234, "float[2,4] y",
                         "a = Concat<axis=-1>(x, x) i = Constant<value=int64[2] {2,0}>() b = Gather<axis=-2>(a, i) "
                         "c, d = Split<axis=-1>(b) e = ArgMax<axis=-2>(c) f = Cast<to=1>(e) "
                         "g = Flatten<axis=-1>(f) y = Neg(g)", 9),
    "cast like another": (15, NEWEST, X234, "int32[2,3,4] y", "c = Constant<value=int32 {0}>() y = CastLike(x, c)", 9),
    "at least of small integers": (16, NEWEST, X234, "bool[2,3,4] y",
                                   "a = Cast<to=3>(x) c = Constant<value=int8 {1}>() y = LessOrEqual(a, c)", 9),
    "equal small integers": (11, NEWEST, X234, "bool[2,3,4] y",
                             "a = Cast<to=3>(x) c = Constant<value=int8 {1}>() y = Equal(a, c)", 9),
    "dropout with a mask that nobody reads": (12, NEWEST, X234, "float[2,3,4] y", "y, m = Dropout(x)", 9),
    "quantize by a computed scale": (10, NEWEST, X234, "float[2,3,4] y",
                                     "c = Constant<value=float {0.1}>() m = ReduceMax<keepdims=0>(x) s = Max(m, c) "
                                     "q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", 10),
    "pad doubles": (11, NEWEST, X234, "double[2,3,5] y",
                    "a = Cast<to=11>(x) p = Constant<value=int64[6] {0,0,1,0,0,0}>() "
                    "v = Constant<value=double {0.1}>() y = Pad(a, p, v)", 11),
    "gemm without a bias": (11, NEWEST, "float[3,2] x", "float[3,3] y", "y = Gemm<transB=1>(x, x)", 9),
    "rounding": (11, NEWEST, X234, "float[2,3,4] y", "y = Round(x)", 9),
    "grid sampling": (16, 19, IMAGE, "float[1,2,1,2] y",
                      "g = Constant<value=float[1,1,2,2] {0.1,0.2,-0.5,0.7}>() y = GridSample<mode=\"bicubic\">(x, g)",
                      16),
    "group normalization": (18, 20, "float[1,4,3] x", "float[1,4,3] y",
                            "s = Constant<value=float[2] {1,2}>() b = Constant<value=float[2] {3,4}>() "
                            "y = GroupNormalization<num_groups=2>(x, s, b)", 21),
}  # fmt: skip


def proto_of(case: str, opset: int) -> onnx.ModelProto:
    _, _, given, result, body, _ = FORMS[case]
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({given}) => ({result}) {{ {body} }}'
    return onnx.parser.parse_model(text)


def sample(proto: onnx.ModelProto) -> np.ndarray[Any, Any]:
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    return (np.random.default_rng(0).integers(-40, 41, size=shape) / 16).astype(np.float32)


def stock(content: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    result: np.ndarray[Any, Any] = onnxruntime.InferenceSession(content, options).run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("case", FORMS)
def test_every_opset_loads_and_gives_what_onnxruntime_gives_on_the_file(case: str) -> None:
    first, last, *_ = FORMS[case]
    for opset in range(first, min(last, 23) + 1):
        proto = proto_of(case, opset)
        x, name = sample(proto), proto.graph.output[0].name
        expected = stock(proto.SerializeToString(), x)
        found = qonnx_core.compile_model(from_proto(proto)).run({"x": x})[name]
        np.testing.assert_array_equal(found, expected, err_msg=f"{case}, opset {opset}")


def test_an_average_of_an_old_opset_is_summed_as_in_new_ones() -> None:
    """onnxruntime has another kernel for it below opset 19, with another order of sums; see docs/exactness.md."""
    text = (
        "g (float[2, 3, 9, 9] x) => (float[2, 3, 4, 4] y) { y = AveragePool<kernel_shape=[3, 3], strides=[2, 2]>(x) }"
    )
    old, new = (onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}') for opset in (11, 19))
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    found = qonnx_core.compile_model(from_proto(old)).run({"x": x})["y"]
    np.testing.assert_array_equal(found, stock(new.SerializeToString(), x))


@pytest.mark.parametrize("case", FORMS)
def test_every_model_is_written_in_every_opset_that_has_its_operators(case: str) -> None:
    _, last, *_, oldest = FORMS[case]
    proto = proto_of(case, min(last, 22))
    model = from_proto(proto)
    x = sample(proto)
    expected = stock(proto.SerializeToString(), x)
    for target in range(9, NEWEST + 1):
        if target < oldest:
            with pytest.raises(Unsupported, match=f"without a form in opset {target}"):
                convert_opset(model, target)
            continue
        converted = convert_opset(model, target)
        assert converted.opset_imports[""] == target
        content = serialize(converted)
        onnx.checker.check_model(onnx.load_model_from_string(content))
        np.testing.assert_array_equal(stock(content, x), expected, err_msg=f"{case}, opset {target}")


def test_what_has_no_form_is_named_with_the_reason() -> None:
    text = """<ir_version: 8, opset_import: ["": 21]> g (float[2, 4] x) => (float[2, 4] y, float[2, 4] z)
    { h = HardSwish(x) r = Celu(x) y = Add(h, r) z = Gelu<approximate = "tanh">(y) }"""
    with pytest.raises(Unsupported) as refused:
        convert_opset(from_proto(onnx.parser.parse_model(text)), 10)
    assert "h (HardSwish): is new in opset 14" in str(refused.value)
    assert "r (Celu): is new in opset 12" in str(refused.value)
    assert "z (Gelu): is new in opset 20" in str(refused.value)


OPTIONAL = """g (float[2] x, bool c) => (seq(float[2]) y)
  { y = If(c) <then_branch = t () => (seq(float[2]) u) { u = SequenceConstruct(x) },
               else_branch = e () => (seq(float[2]) v) { v = SequenceConstruct(x, x) }> }"""
HALF = """g (int8[2, 2] x, float16 s) => (int8[2, 2] y) <int8 z = {0}>
  { y = QLinearMatMul(x, s, z, x, s, z, s, z) }"""
MASK = "g (float[2] x) => (float[2] y, bool[2] m) { y, m = Dropout(x) }"


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        (OPTIONAL, 12, r"y \(If\): works on seq\(tensor\(float\)\), which opset 12 does not have for it"),
        (HALF, 20, r"y \(QLinearMatMul\): works on tensor\(float16\), which opset 20 does not have for it"),
        (MASK, 11, r"y \(Dropout\): gives its mask, which older opsets leave open outside of training"),
    ],
)
def test_types_and_outputs_of_newer_opsets_are_refused(text: str, target: int, reason: str) -> None:
    model = from_proto(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 21]> ' + text))
    with pytest.raises(Unsupported, match=reason):
        convert_opset(model, target)


def test_equal_parts_of_an_unknown_size_go_back_to_the_opset_they_came_from() -> None:
    text = '<ir_version: 8, opset_import: ["": 13]> g (float[N, 2] x) => (float[M, 2] y) { y, z = Split(x) }'
    converted = convert_opset(from_proto(onnx.parser.parse_model(text)), 13)
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_array_equal(stock(serialize(converted), x), x[:3])


@pytest.mark.parametrize("body", ["y = Clip<min=0.0, max=1.0>(a)", "y = Pad<pads=[0, 1], value=0.1>(a)"])
def test_constants_of_old_opsets_take_the_type_of_data_that_the_file_does_not_name(body: str) -> None:
    text = f'<ir_version: 4, opset_import: ["": 10]> g (float16[N] x) => (float16[M] y) {{ a = Add(x, x) {body} }}'
    proto = onnx.parser.parse_model(text)
    x = np.linspace(-1, 1, 9).astype(np.float16)
    found = qonnx_core.compile_model(from_proto(proto)).run({"x": x})["y"]
    np.testing.assert_array_equal(found, stock(proto.SerializeToString(), x))


@pytest.mark.parametrize("target", [8, 29, -1])
def test_an_opset_that_does_not_exist_is_refused(target: int) -> None:
    text = '<ir_version: 8, opset_import: ["": 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    with pytest.raises(InvalidInput, match=f"opset {target}: is none that can be written; expected 9 to 28"):
        convert_opset(from_proto(onnx.parser.parse_model(text)), target)


def test_our_operators_stay_and_the_model_still_computes_the_same() -> None:
    text = """<ir_version: 8, opset_import: ["": 21, "qonnx.custom_op.general": 1]> g (float[N, 4] x) => (float[N, 4] y)
    <float s = {0.5}, float z = {0}, float b = {4}, bool c = {1}, int64[1] i = {1}>
    { q = qonnx.custom_op.general.Quant(x, s, z, b)
      y = If(c) <then_branch = t () => (float[N, 4] u) { m = ReduceMean(q, i) u = Add(q, m) },
                 else_branch = e () => (float[N, 4] v) { v = Softmax<axis = 0>(q) }> }"""
    model = from_proto(onnx.parser.parse_model(text))
    x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    wanted = qonnx_core.compile_model(model).run({"x": x})["y"]
    for target in (11, 13, 17, 25):
        converted = convert_opset(model, target)
        assert converted.graph[0].op_type == "Quant"
        again = from_proto(onnx.load_model_from_string(serialize(converted)))
        np.testing.assert_array_equal(qonnx_core.compile_model(again).run({"x": x})["y"], wanted)


COMPARED = [
    "y = Round(x)",
    "a = Equal(x, x) y = Cast<to = 1>(a)",
    "c = Constant<value = float {0.5}>() a = LessOrEqual(x, c) y = Cast<to = 1>(a)",
]


@pytest.mark.parametrize("body", COMPARED)
def test_comparisons_and_rounding_of_old_opsets_hold_for_every_float(body: str) -> None:
    text = f'<ir_version: 8, opset_import: ["": 21]> g (float[N] x) => (float[N] y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    x = ties_and_extremes()
    converted = convert_opset(from_proto(proto), 9)
    np.testing.assert_array_equal(stock(serialize(converted), x), stock(proto.SerializeToString(), x))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.integers(0, 5000), st.sampled_from(["mlp", "cnn", "mixed"]), st.sampled_from([9, 11, 12, 13, 15, 17, 19, 23, 27])
)
def test_a_random_graph_computes_the_same_in_every_opset(seed: int, kind: Any, target: int) -> None:
    graph = random_graph(seed, kind)
    wanted = qonnx_core.compile_model(graph.model).run(graph.inputs)
    again = from_proto(onnx.load_model_from_string(serialize(convert_opset(graph.model, target))))
    plain = serialize(with_ir_version(convert_opset(lower_to_plain_onnx(graph.model), target)))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(plain, options)
    stock_values = dict(zip(wanted, session.run(list(wanted), graph.inputs), strict=True))
    for found in (qonnx_core.compile_model(again).run(graph.inputs), stock_values):
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)

"""Old standard operators compute what they computed under their old opset."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from qonnx_core.errors import Unsupported
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.reader import from_proto

SCALES = "s = Constant<value = float[4] {1,1,2,2}>() "
CASES = {
    "softmax_default_axis": (9, "float[2,3,4] x", "float[2,3,4] y", "y = Softmax(x)"),
    "softmax_inner_axis": (11, "float[2,3,4] x", "float[2,3,4] y", "y = Softmax<axis=2>(x)"),
    "softmax_first_axis": (9, "float[2,3,4] x", "float[2,3,4] y", "y = Softmax<axis=0>(x)"),
    "logsoftmax": (11, "float[2,3,4] x", "float[2,3,4] y", "y = LogSoftmax(x)"),
    "softmax_of_unknown_rank": (9, "float[2,3,4] x", "float[2,3,4] y", "a = Relu(x) y = Softmax<axis=2>(a)"),
    "squeeze_unsqueeze": (9, "float[2,3,4] x", "float[2,3,4] y", "a = Unsqueeze<axes=[1]>(x) y = Squeeze<axes=[1]>(a)"),
    "reduce_sum": (11, "float[2,3,4] x", "float[2,1,4] y", "y = ReduceSum<axes=[1]>(x)"),
    "reduce_mean": (13, "float[2,3,4] x", "float[2,3] y", "y = ReduceMean<axes=[2], keepdims=0>(x)"),
    "clip": (9, "float[2,3,4] x", "float[2,3,4] y", "y = Clip<min=-0.5, max=0.5>(x)"),
    "clip_one_side": (9, "float[2,3,4] x", "float[2,3,4] y", "y = Clip<max=0.25>(x)"),
    "pad": (9, "float[2,3,4] x", "float[2,3,8] y", "y = Pad<pads=[0,0,1,0,0,3], value=2.0>(x)"),
    "slice": (9, "float[2,3,4] x", "float[2,2,4] y", "y = Slice<axes=[1], starts=[1], ends=[3]>(x)"),
    "topk": (9, "float[2,3,4] x", "float[2,3,2] y", "y, i = TopK<k=2, axis=2>(x)"),
    "split": (11, "float[2,3,4] x", "float[2,3,1] y", "y, b = Split<axis=2, split=[1,3]>(x)"),
    "split_even": (13, "float[2,3,4] x", "float[2,3,2] y", "y, b = Split<axis=2>(x)"),
    "dropout": (9, "float[2,3,4] x", "float[2,3,4] y", "y = Dropout<ratio=0.3>(x)"),
    "upsample": (9, "float[1,1,2,3] x", "float[1,1,4,6] y", SCALES + 'y = Upsample<mode="nearest">(x, s)'),
    "resize_10": (10, "float[1,1,2,3] x", "float[1,1,4,6] y", SCALES + 'y = Resize<mode="linear">(x, s)'),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_old_operator_keeps_its_values(case: str) -> None:
    opset, given, result, body = CASES[case]
    text = f'<ir_version: 4, opset_import: ["": {opset}]> g ({given}) => ({result}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0]
    model = from_proto(proto)
    assert model.opset_imports[""] == 21
    np.testing.assert_array_equal(compile_model(model).run({"x": x})["y"], expected)


def test_an_operator_without_a_new_form_is_refused_by_name() -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> g (float[1,4,2] x, float[2] s, float[2] b) => (float[1,4,2] y)
    { y = GroupNormalization<num_groups = 2>(x, s, b) }"""
    with pytest.raises(Unsupported, match=r"y \(GroupNormalization\): is of opset 18, with parameters for each group"):
        from_proto(onnx.parser.parse_model(text))


def test_the_mask_of_an_old_dropout_has_no_type_left_over_and_is_refused_where_it_is_read() -> None:
    text = """<ir_version: 4, opset_import: ["": 9]> g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z)
    { y, m = Dropout<ratio = 0.5>(x) z = Pad<pads = [0, 0, 0, 0]>(RESULT) }"""
    model = from_proto(onnx.parser.parse_model(text.replace("RESULT", "y")))
    (node,) = (node for node in model.graph if node.op_type == "Dropout")
    assert len(node.outputs) == 1
    with pytest.raises(Unsupported, match=r"y \(Dropout\): gives its mask, which opset 9 leaves open"):
        from_proto(onnx.parser.parse_model(text.replace("RESULT", "m")))

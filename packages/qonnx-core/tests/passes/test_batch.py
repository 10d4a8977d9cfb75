"""For each operator: the batch becomes symbolic only where every sample then gets what it got alone."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings

import qonnx_core
from qonnx_core.errors import QonnxError
from qonnx_core.formats.reader import from_proto
from qonnx_core.passes.batch_proof import samples_stay_apart
from qonnx_core.passes.change_batch_size import ChangeBatchSize
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic
from qonnx_core.testing.onnx_examples import Example, WithoutOptimizations, onnx_examples
from qonnx_core.testing.random_graphs import RandomGraph, random_graphs

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
CONSTANTS = """<float[4] row = {1, 2, 3, 4}, float[1, 4] lead = {1, 2, 3, 4}, float two = {2},
float[4, 3] w = {1,2,3,4,5,6,7,8,9,1,2,3},
int64[1] one = {1}, int64[1] minus = {-1}, int64[1] zero = {0}, int64[1] big = {3},
int64 index = {2}, int64[4] pads = {0,1,0,2},
float[1, 2, 4] cube = {1,2,3,4,5,6,7,8}, float[4, 1, 2] kernel = {1,2,3,4,5,6,7,8}, int64[2] flat = {-1, 8},
float[3] scales = {1, 1, 2},
float zp = {0}, float bits = {4}, float[2, 2] levels = {-1, 0, 1, 2}, float[1, 4] c = {0.5, 1, 2, 3}>"""
ALIKE = {
    "add_row": ("1,4", "y = Add(x, row)"),
    "add_leading_one": ("1,4", "y = Mul(lead, x)"),
    "where": ("1,4", "g = Greater(x, two) y = Where(g, x, row)"),
    "clip": ("1,4", "y = Clip(x, zp, two)"),
    "shrink": ("1,4", "s = Sinh(x) y = Shrink(s)"),
    "dropout": ("1,4", "r = Constant<value = float {0.5}>() t = Constant<value = bool {0}>() d = Dropout(x, r, t) "
        "y = Softmax<axis=1>(d)"),
    "matmul": ("1,4", "y = MatMul(x, w)"),
    "matmul_3d": ("1,2,4", "y = MatMul(x, w)"),
    "matmul_of_two_batches": ("1,2,4", "t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)"),
    "matmul_from_the_left": ("1,2,4", "t = Transpose<perm=[0,2,1]>(x) y = MatMul(cube, t)"),
    "gemm": ("1,4", "y = Gemm(x, w)"),
    "softmax": ("1,4", "y = Softmax<axis=-1>(x)"),
    "argmax": ("1,4", "y = ArgMax<axis=1>(x)"),
    "topk": ("1,4", "y, i = TopK(x, one)"),
    "reduce": ("1,2,4", "y = ReduceMax<keepdims=0>(x, minus)"),
    "concat": ("1,4", "a = Neg(x) y = Concat<axis=1>(x, a)"),
    "slice": ("1,4", "y = Slice(x, one, big, one)"),
    "gather": ("1,4", "y = Gather<axis=1>(x, index)"),
    "split": ("1,4", "y, b = Split<axis=1, num_outputs=2>(x)"),
    "transpose": ("1,2,4", "y = Transpose<perm=[0,2,1]>(x)"),
    "flatten": ("1,2,4", "y = Flatten(x)"),
    "reshape": ("1,2,4", "y = Reshape(x, flat)"),
    "unsqueeze": ("1,4", "y = Unsqueeze(x, minus)"),
    "squeeze": ("1,1,4", "y = Squeeze(x, one)"),
    "pad": ("1,4", "y = Pad(x, pads)"),
    "resize_along_axes": ("1,2,4", "r = Constant<value = float[1] {2}>() y = Resize<axes=[2]>(x, , r)"),
    "resize": ("1,2,4", 'y = Resize<mode="nearest">(x, , scales)'),
    "conv": ("1,4,8", "y = Conv<group=4>(x, kernel)"),
    "pool": ("1,4,8", "y = MaxPool<kernel_shape=[2]>(x)"),
    "quant": ("1,4", "y = qonnx.custom_op.general.Quant(x, c, zp, bits)"),
    "multithreshold": ("1,2,4", 'y = qonnx.custom_op.general.MultiThreshold<out_dtype="UINT2">(x, levels)'),
    "shape_slice_concat": ("1,2,4", "h = Shape(x) f = Slice(h, zero, one) s = Concat<axis=0>(f, "
        "minus) y = Reshape(x, s)"),
    "shape_gather_squeeze": ("1,2,4", "h = Shape(x) f = Gather(h, zero) q = Squeeze(f) u = Unsqueeze(q, zero) "
                             "s = Concat<axis=0>(u, minus) y = Reshape(x, s)"),
    "shape_product": ("1,2,4", "h = Shape(x) b = Gather(h, zero) k = Gather(h, one) d = "
        "Constant<value = int64[1] {2}>() "
                      "l = Gather(h, d) p = Mul(k, l) m = Mul(b, one) e = Cast<to=7>(m) s = Concat<axis=0>(e, p) "
                      "y = Reshape(x, s)"),
    "shape_of_halves": ("1,2,4", "h = Shape(x) i = Constant<value = int64[3] {0, 1, 2}>() "
        "e = Constant<value = int64[3] {1, 2, 2}>() f = Div(h, e) j = Mul(f, e) k = Add(j, i) q = Sub(k, i) "
        "y = Reshape(x, q)"),
    "shape_of_a_half": ("1,2,4", "h = Shape(x) i = Constant<value = int64[1] {2}>() d = Gather(h, i) "
        "e = Constant<value = int64[1] {2}>() f = Div(d, e) k = Constant<value = int64[1] {1}>() q = Mul(f, k) "
        "o = Constant<value = int64[1] {0}>() y = Slice(x, o, q, i)"),
    "shape_given_to_a_resize": ("1,2,4", "z = Constant<value = int64[3] {1, 2, 8}>() y = Resize(x, , , z)"),
    "shape_taken_for_a_resize": ("1,2,4", "h = Shape<end=2>(x) i = Constant<value = int64[1] {2}>() "
        'j = Concat<axis=0>(h, i) y = Resize<mode = "linear">(x, , , j)'),
    "shape_of_two_axes": ("1,2,4", "h = Shape<start=0, end=1>(x) i = Identity(h) s = "
        "Concat<axis=0>(i, minus) y = Reshape(x, s)"),
}  # fmt: skip
MIXING = {
    "softmax": ("1,4", "y = Softmax<axis=0>(x)"),
    "argmax": ("1,4", "y = ArgMax<axis=0>(x)"),
    "reduce": ("1,4", "y = ReduceSum(x, zero)"),
    "reduce_all": ("1,4", "y = ReduceSum(x)"),
    "concat_with_a_constant": ("1,4", "y = Concat<axis=1>(x, lead)"),
    "concat_of_batches": ("1,4", "y = Concat<axis=0>(x, x)"),
    "transpose": ("1,4", "y = Transpose<perm=[1,0]>(x)"),
    "transpose_by_default": ("1,4", "y = Transpose(x)"),
    "squeeze": ("1,4", "y = Squeeze(x, zero)"),
    "gemm": ("1,4", "y = Gemm<transA=1>(x, lead)"),
    "matmul": ("1,4", "t = Transpose<perm=[1,0]>(x) y = MatMul(t, x)"),
    "lower_rank": ("1,4", "s = Constant<value = int64[1] {0}>() a = Squeeze(x, s) y = Add(x, a)"),
    "gather": ("1,4", "y = Gather(x, zero)"),
    "slice": ("1,4", "y = Slice(x, zero, one)"),
    "flatten": ("1,2,4", "y = Flatten<axis=2>(x)"),
    "reshape": ("1,2,4", "s = Constant<value = int64[2] {2, 4}>() y = Reshape(x, s)"),
    "indices_of_a_pool": ("1,4,8", "z, i = MaxPool<kernel_shape=[2]>(x) y = Cast<to=1>(i)"),
    "shape_as_data": ("1,4", "h = Shape(x) y = Cast<to=1>(h)"),
    "loop": ("1,4", "yes = Constant<value = bool {1}>() y = If (yes) <then_branch = t () => "
        "(float[N, 4] u) { u = Neg(x) }, "
             "else_branch = e () => (float[N, 4] v) { v = Abs(x) }>"),
    "resize_by_two_thirds": ("1,2,3", "z = Constant<value = int64[3] {1, 2, 5}>() y = Resize(x, , , z)"),
    "resize_of_the_batch": ("1,2,4", "z = Constant<value = int64[3] {3, 2, 4}>() y = Resize(x, , , z)"),
    "resize_of_a_part": ("1,4,4", "r = Constant<value = float[6] {0.5, 0, 0, 1, 1, 1}>() "
        "s = Constant<value = float[3] {1, 2, 2}>() "
        'y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">(x, r, s)'),
    "dropout_in_training": ("1,4", "r = Constant<value = float {0.5}>() t = Constant<value = bool {1}>() "
        "y = Dropout<seed = 3>(x, r, t)"),
    "without_a_rule": ("1,4", "d = Constant<value = int64 {1}>() y = CumSum(x, d)"),
}  # fmt: skip


def build(shape: str, body: str):
    return from_proto(onnx.parser.parse_model(f"{HEAD} g (float[{shape}] x) => (y) {CONSTANTS} {{ {body} }}"))


@pytest.mark.parametrize("case", ALIKE)
def test_samples_that_do_not_meet_run_together(case: str) -> None:
    shape, body = ALIKE[case]
    model = build(shape, body)
    fixed = [int(number) for number in shape.split(",")]
    x = np.random.default_rng(0).integers(-5, 6, size=(3, *fixed[1:])).astype(np.float32)
    cleaned = qonnx_core.cleanup_model(model)
    assert str(cleaned.graph.inputs[0].shape).startswith("[batch,"), "the batch stayed fixed"
    assert str(cleaned.graph.outputs[0].shape).startswith("[batch"), "the output's batch is not known"
    together = qonnx_core.compile_model(cleaned).run({"global_in": x})["global_out"]
    alone = qonnx_core.compile_model(model)
    single = np.concatenate([alone.run({"x": x[i : i + 1]})["y"] for i in range(3)])
    np.testing.assert_array_equal(together, single)


@pytest.mark.parametrize("case", MIXING)
def test_samples_that_might_meet_keep_their_batch(case: str) -> None:
    shape, body = MIXING[case]
    cleaned = qonnx_core.cleanup_model(build(shape, body))
    assert str(cleaned.graph.inputs[0].shape).startswith("[1,")


@pytest.mark.parametrize("case", ALIKE)
def test_the_graph_alone_proves_it_where_no_node_has_to_be_edited(case: str) -> None:
    shape, body = ALIKE[case]
    model = build(shape, body)
    assert samples_stay_apart(model) == (not case.startswith("shape_"))
    fixed = [int(number) for number in shape.split(",")]
    x = np.random.default_rng(1).integers(-5, 6, size=(3, *fixed[1:])).astype(np.float32)
    compiled = qonnx_core.compile_model(model)
    single = np.concatenate([compiled.run({"x": x[i : i + 1]})["y"] for i in range(3)])
    np.testing.assert_array_equal(compiled.run({"x": x})["y"], single)
    assert str(model.graph.inputs[0].shape).startswith("[1,"), "the model changed"


@pytest.mark.parametrize("case", MIXING)
def test_the_graph_alone_proves_nothing_where_samples_might_meet(case: str) -> None:
    assert not samples_stay_apart(build(*MIXING[case]))


def test_scales_of_blocks_have_an_entry_for_each_sample() -> None:
    """Those of one sample fit no batch; where they are read into Quant they broadcast."""
    scales = "s = Constant<value = float[1, 2] {1, 0.5}>() q = Constant<value = int8[1, 2] {0, 3}>()"
    quantize = "i = QuantizeLinear<axis=1, block_size=2>(x, s, q) y = DequantizeLinear<axis=1, block_size=2>(i, s, q)"
    model = build("1,4", f"{scales} {quantize}")
    model.graph.opset_imports[""] = 21
    assert not samples_stay_apart(model)
    x = np.random.default_rng(2).uniform(-99, 99, (3, 4)).astype(np.float32)
    compiled = qonnx_core.compile_model(model)
    single = np.concatenate([compiled.run({"x": x[i : i + 1]})["y"] for i in range(3)])
    np.testing.assert_array_equal(compiled.run({"x": x})["y"], single)
    cleaned = qonnx_core.compile_model(qonnx_core.cleanup_model(model))
    np.testing.assert_array_equal(cleaned.run({"global_in": x})["global_out"], single)


def test_shapes_that_a_file_claims_prove_nothing() -> None:
    """The sums lie on the last axis, so every sample meets those of the others; the file says otherwise."""
    body = "s = ReduceSum<keepdims=0>(x, one) y = Add(x, s)"
    text = f"{HEAD} g (float[1, 4] x) => (y) {CONSTANTS[:-1]}, float[1, 4] s> {{ {body} }}"
    assert not samples_stay_apart(from_proto(onnx.parser.parse_model(text)))


@settings(max_examples=60, deadline=None)
@given(random_graphs(max_size=8))
def test_what_the_graph_alone_proves_holds_with_inferred_shapes(graph: RandomGraph) -> None:
    ChangeBatchSize(1).run(graph.model)
    if samples_stay_apart(graph.model):
        assert MakeBatchSymbolic().run(graph.model) == 1


@pytest.mark.parametrize("body", ["y = MatMul(x, w)", "a = Relu(x) b = Mul(a, row) y = Quant_of(b)"])
def test_a_cleaned_model_closes_its_batch_for_tools_that_need_one(body: str) -> None:
    quant = 'qonnx.custom_op.general.Quant<signed = 1, narrow = 0, rounding_mode = "ROUND">'
    body = body.replace("Quant_of(b)", f"{quant}(b, two, zp, bits)")
    model = qonnx_core.cleanup_model(
        from_proto(onnx.parser.parse_model(f"{HEAD} g (float[1, 4] x) => (y) {CONSTANTS} {{ {body} }}"))
    )
    assert not model.graph.inputs[0].shape.is_static()
    assert ChangeBatchSize(1).run(model) == 1
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    assert all(value.shape is not None and value.shape.is_static() and value.shape[0] == 1 for value in values)


@pytest.mark.parametrize("part", range(6))
def test_an_open_batch_gives_every_sample_of_an_example_what_it_gets_alone(part: int) -> None:
    """The other inputs of the examples of ``onnx`` become parameters, and the batch becomes 1."""
    opened = 0
    for example in onnx_examples()[part::6]:
        if not example.inputs:
            continue
        (name, x), *others = example.inputs.items()
        source = example.model.graph.input[0].type.tensor_type.shape
        if x.ndim == 0 or len(x) == 0 or not source.dim or any(array.dtype.kind not in "fiub" for _, array in others):
            continue
        single = _of_single_samples(example, name)
        try:
            model = from_proto(single)
            apart, is_open = samples_stay_apart(model), MakeBatchSymbolic().run(model.clone()) == 1
            assert is_open or not apart, f"{example.name}: the graph alone proves what inferred shapes do not"
            found = qonnx_core.compile_model(model).run({name: x}) if is_open else {}
        except QonnxError:
            continue
        alone = WithoutOptimizations(single)
        rows = [alone.run({name: x[index : index + 1]}) for index in range(len(x))]
        if any(row is None for row in rows):
            continue
        for index, array in enumerate(found.values()):
            expected = np.concatenate([row[index] for row in rows if row is not None])
            np.testing.assert_allclose(array, expected, 1e-4, 1e-5, err_msg=example.name)  # kernels differ by batch
        opened += is_open
    assert opened > 20


def _of_single_samples(example: Example, running: str) -> onnx.ModelProto:
    model = example.with_parameters([running])
    del model.graph.value_info[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model

"""Batch normalization, biases, scales, batches, duplicates and TopK: what equals what, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.batchnorm_to_affine import BatchNormToAffine
from qonnx_core.passes.change_batch_size import ChangeBatchSize
from qonnx_core.passes.extract_bias import ExtractBias
from qonnx_core.passes.extract_quant_scale import ExtractQuantScale
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.insert_topk import InsertTopK
from qonnx_core.passes.remove_duplicate_quants import RemoveDuplicateQuants
from qonnx_core.testing.graph_text import model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"
MODES = ["ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def text(array: np.ndarray) -> str:
    return "{" + ", ".join(repr(float(number)) for number in array.reshape(-1)) + "}"


@pytest.mark.parametrize("frame", [(3,), (3, 7), (3, 5, 4), (3, 2, 3, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_batch_normalization_becomes_a_product_and_a_sum(frame: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale, bias, mean = (rng.normal(size=3) for _ in range(3))
    shape = ", ".join(map(str, frame))
    body = f"""g (float[N, {shape}] x) => (float[N, {shape}] y) <float[3] s = {text(scale)}, float[3] b = {text(bias)},
      float[3] m = {text(mean)}, float[3] v = {text(rng.uniform(0.1, 2, 3))}>
      {{ y = BatchNormalization<epsilon = 0.001>(x, s, b, m, v) }}"""
    x = rng.normal(size=(50, *frame)).astype(np.float32)
    assert op_types(check_pass(BatchNormToAffine(), build(body), {"x": x}, min_edits=1)) == ["Mul", "Add"]


@pytest.mark.parametrize("data", ["float16", "double"])
@pytest.mark.parametrize("same", [True, False])
def test_batch_normalization_of_other_floats_keeps_its_bits(data: str, same: bool) -> None:
    rng = np.random.default_rng(0)
    kind = {"float16": np.float16, "double": np.float64}[data]
    parameters = kind if same or data == "double" else np.float32  # onnxruntime mixes float16 with float32 only
    proto = onnx.parser.parse_model(
        f"{HEAD}g ({data}[N, 3, 4] x) => ({data}[N, 3, 4] y) {{ y = BatchNormalization(x, s, b, m, v) }}"
    )
    for name in "sbmv":
        array = np.abs(rng.normal(size=3)).astype(parameters)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = from_proto(proto)
    InferShapes().run(model)
    x = (rng.normal(size=(50, 3, 4)) * 3).astype(kind)
    wide = ["Cast", "Mul", "Add", "Cast"] if data == "float16" else ["Mul", "Add"]
    assert op_types(check_pass(BatchNormToAffine(), model, {"x": x}, min_edits=1)) == wide


def test_batch_normalization_with_computed_parameters_stays() -> None:
    """Defect 19 of the reference: a TypeError."""
    body = """g (float[N, 3] x, float[3] s) => (float[N, 3] y) <float[3] b = {1, 2, 3}>
      { y = BatchNormalization(x, s, b, b, b) }"""
    assert BatchNormToAffine().run(build(body)) == 0


CONVOLUTIONS = [
    ("float[N, 2, 5, 5]", "float[4, 2, 3, 3]", 4, "Conv(x, w, c)"),
    ("float[N, 2, 5, 5]", "float[4, 2, 3, 3]", 4, "Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w, c)"),
    ("float[N, 4, 5, 5]", "float[4, 1, 3, 3]", 4, "Conv<group = 4>(x, w, c)"),
    ("float[N, 2, 9]", "float[4, 2, 3]", 4, "Conv(x, w, c)"),
    ("float[N, 2, 5, 5]", "float[2, 4, 3, 3]", 4, "ConvTranspose<strides = [2, 2]>(x, w, c)"),
    ("float[N, 6]", "float[6, 4]", 4, "Gemm(x, w, c)"),
    ("float[N, 6]", "float[4, 6]", 4, "Gemm<transB = 1, beta = 0.5, alpha = 2.0>(x, w, c)"),
]


@pytest.mark.parametrize(("x", "w", "channels", "node"), CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["constant", "quantized", "computed"])
def test_a_bias_becomes_an_add(x: str, w: str, channels: int, node: str, kind: str) -> None:
    shapes = [[int(d) if d.strip() != "N" else 6 for d in t[t.index("[") + 1 : -1].split(",")] for t in (x, w)]
    rng = np.random.default_rng(1)
    weights, bias = (rng.integers(-8, 8, shape) / 4 for shape in (shapes[1], channels))
    front = {"constant": "", "quantized": f"c = {QUANT}(d, s, z, b)", "computed": "c = Neg(d)"}[kind]
    made = "c" if kind == "constant" else "d"
    body = f"""g ({x} x) => (y) <{w} w = {text(weights)}, float[{channels}] {made} = {text(bias)},
      float[1] s = {{0.25}}, float z = {{0}}, float b = {{8}}> {{ {front} y = {node} }}"""
    data = (rng.integers(-8, 8, shapes[0]) / 2).astype(np.float32)
    changed = check_pass(ExtractBias(), build(body), {"x": data}, min_edits=1)
    assert op_types(changed)[-1] == "Add"
    assert all(len(n.inputs) == 2 for n in changed.graph if n.op_type in ("Conv", "ConvTranspose", "Gemm"))
    assert ("Quant" in op_types(changed)) == (kind == "quantized")


def test_the_bias_of_a_convolution_with_the_channels_last_becomes_an_add() -> None:
    rng = np.random.default_rng(1)
    w, c = (rng.integers(-8, 8, size) / 4 for size in (36, 2))
    body = f"""g (float[N, 4, 4, 2] x) => (y) <float[2, 3, 3, 2] w = {text(w)}, float[2] c = {text(c)}>
      {{ y = qonnx.custom_op.channels_last.Conv<kernel_shape = [3, 3]>(x, w, c) }}"""
    model = from_proto(onnx.parser.parse_model(HEAD.replace("]>", ', "qonnx.custom_op.channels_last": 1]>') + body))
    InferShapes().run(model)
    x = (rng.integers(-8, 8, (3, 4, 4, 2)) / 2).astype(np.float32)
    assert op_types(check_pass(ExtractBias(), model, {"x": x}, min_edits=1)) == ["Conv", "Add"]


@st.composite
def quants(draw: st.DrawFn) -> str:
    bits = draw(st.integers(1, 9))
    signed, narrow, vector = (draw(st.booleans()) for _ in range(3))
    count = 4 if vector else 1
    scales = draw(st.lists(st.floats(2**-10, 8, width=32), min_size=count, max_size=count))
    zeros = draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count) | st.just([0] * count))
    shape = "[4]" if vector else ""
    mode = draw(st.sampled_from(MODES))
    return f"""g (float[N, 4] x) => (float[N, 4] y) <float{shape} s = {text(np.asarray(scales))},
      float{shape} z = {text(np.asarray(zeros))}, float b = {{{bits}}}>
      {{ REPLACE }}""".replace(
        "REPLACE",
        f'{{}} = {QUANT}<signed = {int(signed)}, narrow = {int(narrow)}, rounding_mode = "{mode}">({{}}, s, z, b)',
    )


def filled(body: str, *chain: tuple[str, str]) -> ir.Model:
    front, node = body.split("{ {} = ")
    node = node.rsplit(" }", 1)[0]
    return build(front + "{ " + " ".join(f"{out} = {node.format(source)}" for out, source in chain) + " }")


def probes(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(40, 4)), rng.integers(-40, 40, (40, 4)) / 8, rng.normal(size=(9, 4)) * 1e4])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(quants(), st.integers(0, 2**32 - 1))
def test_scale_and_zero_point_come_out_of_a_quant(body: str, seed: int) -> None:
    model = filled(body, ("y", "x"))
    changed = check_pass(ExtractQuantScale(), model, {"x": probes(seed).astype(np.float32)})
    node = next(node for node in changed.graph if node.op_type == "Quant")
    assert constant_array(node.inputs[1]) == 1
    assert constant_array(node.inputs[2]) == 0
    if len(changed.graph) > 1:
        assert get_datatype(node.outputs[0]).is_integer()


def test_scale_comes_out_of_a_bipolar_quant() -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) <float s = {0.3}> { y = qonnx.custom_op.general.BipolarQuant(x, s) }"
    changed = check_pass(ExtractQuantScale(), build(body), {"x": probes(0).astype(np.float32)}, min_edits=1)
    assert op_types(changed) == ["BipolarQuant", "Mul"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(quants(), st.integers(0, 2**32 - 1))
def test_a_second_quant_goes_only_where_it_changes_nothing(body: str, seed: int) -> None:
    model = filled(body, ("a", "x"), ("y", "a"))
    check_pass(RemoveDuplicateQuants(), model, {"x": probes(seed).astype(np.float32)})


def quant_twice(scale: float, mode: str) -> ir.Model:
    node = f'{QUANT}<rounding_mode = "{mode}">'
    return build(f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{{scale}}}, float z = {{0}}, float b = {{6}}>
      {{ a = {node}(x, s, z, b) y = {node}(a, s, z, b) }}""")


@pytest.mark.parametrize(
    ("scale", "mode", "left"), [(0.1, "ROUND", 1), (0.25, "FLOOR", 1), (0.1, "FLOOR", 2), (0.1, "HALF_UP", 1)]
)
def test_repeated_quants_are_removed_where_that_is_exact(scale: float, mode: str, left: int) -> None:
    changed = check_pass(RemoveDuplicateQuants(), quant_twice(scale, mode), {"x": probes(3).astype(np.float32)})
    assert op_types(changed) == ["Quant"] * left


def test_equal_quants_of_one_tensor_become_one() -> None:
    body = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.1}}, float t = {{0.1}},
      float z = {{0}}, float b = {{6}}, float k = {{5}}>
      {{ a = {QUANT}(x, s, z, b) c = qonnx.custom_op.general.IntQuant(x, t, z, b)
      d = {QUANT}(x, s, z, k) e = Add(a, c) y = Add(e, d) }}"""
    changed = check_pass(RemoveDuplicateQuants(), build(body), {"x": probes(3).astype(np.float32)}, min_edits=1)
    assert op_types(changed) == ["Quant", "Quant", "Add", "Add"]


RESHAPED = """g (float[1, 4] x) => (float[1, 2, 2] y) <int64[3] t = {1, 2, 2}> { a = Relu(x) y = Reshape(a, t) }"""


@pytest.mark.parametrize("size", [1, 3, "frames"])
def test_the_batch_size_changes_through_reshapes(size: int | str) -> None:
    model = build(RESHAPED)
    ChangeBatchSize(size).run(model)
    dims = [value.shape[0] for value in (model.graph.inputs[0], model.graph.outputs[0])]
    assert [dim if isinstance(dim, int) else dim.value for dim in dims] == [size, size]
    assert ChangeBatchSize(size).run(model) == 0
    x = np.arange(24, dtype=np.float32).reshape(6, 4) - 9
    found = qonnx_core.compile_model(model).run({"x": x})["y"]
    np.testing.assert_array_equal(found, np.maximum(x, 0).reshape(6, 2, 2))
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_a_batch_size_can_be_changed_again() -> None:
    model = build(RESHAPED)
    assert ChangeBatchSize("n").run(model) == 1
    assert ChangeBatchSize(5).run(model) == 1
    assert tuple(model.graph.outputs[0].shape) == (5, 2, 2)


def test_a_model_that_mixes_samples_keeps_its_batch() -> None:
    body = "g (float[1, 4] x) => (float[1, 4] y) <int64[1] a = {0}> { m = ReduceMax(x, a) y = Add(x, m) }"
    with pytest.raises(Unsupported, match="mixes samples or is not known"):
        ChangeBatchSize(3).run(build(body))
    with pytest.raises(InvalidInput, match="expected a number of at least 1"):
        ChangeBatchSize(0).run(build(RESHAPED))


@pytest.mark.parametrize(
    "size", [-1, 2**63, 1 << 20_000, "", "1.5", "9" * 5000], ids=["-1", "64", "many", "none", "1.5", "digits"]
)
def test_a_batch_that_no_file_holds_is_refused(size: int | str) -> None:
    with pytest.raises(InvalidInput, match=r"^batch size: found .{1,50}; expected a number of at least 1 that a"):
        ChangeBatchSize(size).run(build(RESHAPED))


def test_the_model_answers_with_the_largest_indices() -> None:
    model = build("g (float[N, 5] x) => (float[N, 5] y) { y = Neg(x) }")
    assert InsertTopK(2).run(model) == 1
    assert InsertTopK(2).run(model) == 0
    x = np.random.default_rng(0).integers(-3, 3, (20, 5)).astype(np.float32)
    found = qonnx_core.compile_model(model).run({"x": x})["y"]
    np.testing.assert_array_equal(found, np.argsort(x, axis=1, kind="stable")[:, :2])
    assert found.dtype == np.int64
    model = build("g (float[N, 5] x) => (float[N, 5] y) { y = Neg(x) }")
    InsertTopK(1, largest=False).run(model)
    found = qonnx_core.compile_model(model).run({"x": x})["y"]
    np.testing.assert_array_equal(found[:, 0], np.argmax(x, axis=1))


@pytest.mark.parametrize(("step", "message"), [(InsertTopK(6), "has 5 entries"), (InsertTopK(1, axis=2), "expected k")])
def test_an_impossible_topk_is_refused(step: InsertTopK, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        step.run(build("g (float[N, 5] x) => (float[N, 5] y) { y = Neg(x) }"))

"""The defects of PyPI qonnx 1.0.0 that were reproduced, and what its users report: each is a test that holds here.

The numbers are those of the list of defects in the project's facts on the reference; issues are those of its tracker.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx.checker
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, get_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.batchnorm_to_affine import BatchNormToAffine
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.fold_transpose import FoldTransposeIntoQuantInit
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.graph_text import op_types
from qonnx_core.testing.pass_contract import check_pass

Q = "qonnx.custom_op.general"
HEAD = f'<ir_version: 8, opset_import: ["": 18, "{Q}": 1]>'
X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


def proto(body: str, head: str = HEAD) -> onnx.ModelProto:
    return onnx.parser.parse_model(head + body)


def build(body: str, head: str = HEAD) -> ir.Model:
    return from_proto(proto(body, head))


def clean(body: str) -> ir.Model:
    return qonnx_core.cleanup_model(build(body))


def run(model: ir.Model, *arrays: np.ndarray) -> list[np.ndarray]:
    compiled = qonnx_core.compile_model(model)
    return list(compiled.run(dict(zip(compiled.input_names, arrays, strict=True))).values())


def test_cleaning_a_product_of_a_tensor_with_itself_keeps_both_inputs() -> None:
    """Defect 1: renaming changed the first occurrence only, and Mul(x, x) was left with a dangling input."""
    model = clean("g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) y = Mul(a, a) }")
    assert [value.name for value in model.graph[1].inputs] == ["Relu_0_out0", "Relu_0_out0"]
    np.testing.assert_array_equal(run(model, X)[0], np.maximum(X, 0) ** 2)


@pytest.mark.parametrize(
    "op",
    [
        *("Quant(w, s, z, b)", "IntQuant(w, s, z, b)", "BipolarQuant(w, s)", "Trunc(w, s, z, b, b)"),
        "FloatQuant(w, s, b, b, b, m)",
    ],
)
def test_cleaning_keeps_every_quantizer_of_weights(op: str) -> None:
    """Defect 2: IntQuant and FloatQuant weights were folded away although quantizers were to be preserved."""
    body = f"""g (float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {{1, 2, 3, 4, 5, 6, 7, 8}}, float s = {{1}},
        float z = {{0}}, float b = {{4}}, float m = {{100}}>
        {{ q = {Q}.{op} y = MatMul(x, q) }}"""
    model = clean(body)
    assert op_types(model) == [op.split("(")[0], "MatMul"]
    folded = qonnx_core.cleanup_model(build(body), fold_quantizers=True)
    assert op_types(folded) == ["MatMul"]
    np.testing.assert_array_equal(run(folded, X)[0], run(model, X)[0])


def test_folding_a_constant_split_keeps_all_of_its_outputs() -> None:
    """Defect 3: only output 0 was kept, and 0, 1 came out instead of 8, 10."""
    model = clean("""g (float[N, 1] x) => (float[N, 2] y) <float[4] k = {0, 1, 8, 10}>
        { a, b = Split<axis = 0, num_outputs = 2>(k) y = Add(x, b) }""")
    assert op_types(model) == ["Add"]
    np.testing.assert_array_equal(run(model, np.zeros((1, 1), np.float32))[0], [[8, 10]])


@pytest.mark.parametrize("node", ["RandomNormal<shape = [4]>()", "RandomUniform<shape = [4]>()", "Bernoulli(h)"])
def test_folding_leaves_random_numbers_random(node: str) -> None:
    """Defect 4: RandomNormal was frozen into a constant."""
    body = "g (float[N, 4] x) => (float[N, 4] y) <float[4] h = {0.5, 0.5, 0.5, 0.5}> "
    model = clean(body + f"{{ r = {node} e = Exp(r) y = Add(x, e) }}")
    assert op_types(model) == [node.split("<")[0].split("(")[0], "Exp", "Add"]


def test_the_standard_opset_need_not_be_imported_first() -> None:
    """Defect 5: folding ran with opset 1 where another import came first, and clean-up crashed."""
    body = """g (float[4] x) => (float[1, 4] y) <int64[1] a = {0}, float[4] k = {1, 2, 3, 4}>
        { u = Unsqueeze(k, a) w = Unsqueeze(x, a) y = Add(w, u) }"""
    given = proto(body)
    given.opset_import.reverse()
    assert given.opset_import[0].domain == Q
    model = qonnx_core.cleanup_model(from_proto(given))
    assert op_types(model) == ["Unsqueeze", "Add"]
    np.testing.assert_array_equal(run(model, X[0])[0], X[:1] + np.float32([1, 2, 3, 4]))


def test_renaming_reaches_names_that_inner_graphs_capture() -> None:
    """Defect 6: outer tensors were renamed, the names that If and Loop capture were not."""
    body = """g (float[N, 4] x, bool c) => (float[N, 4] y) <int64 n = {2}, bool t = {1}>
        { a = Relu(x) s = If (c) <then_branch = t () => (float[N, 4] u) { u = Neg(a) },
          else_branch = e () => (float[N, 4] v) { w = Abs(a) v = Exp(w) }>
          y = Loop(n, t, s) <body = l (int64 i, bool going, float[N, 4] p) => (bool on, float[N, 4] q)
            { on = Identity(going) q = Add(p, a) }> }"""
    model = clean(body)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for flag in (True, False):
        expected = run(build(body), X, np.asarray(flag))[0]
        np.testing.assert_array_equal(run(model, X, np.asarray(flag))[0], expected)


def test_annotations_are_read_and_not_evaluated(tmp_path: Path) -> None:
    """Defect 7: layouts and sparsities were given to eval(), so that a model file could run code."""
    trap = tmp_path / "executed"
    given = proto("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    for key in ("tensor_layout", "tensor_sparsity"):
        given.graph.ClearField("quantization_annotation")
        annotation = given.graph.quantization_annotation.add(tensor_name="y")
        annotation.quant_parameter_tensor_names.add(key=key, value=f"open({str(trap)!r}, 'w')")
        with pytest.raises(InvalidModel, match=f"annotation {key} is"):
            from_proto(given)
    assert not trap.exists()


def test_a_domain_is_never_imported_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect 7: the domain of a node was imported as a Python module."""
    (tmp_path / "named_by_a_model.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = '<ir_version: 8, opset_import: ["": 18, "named_by_a_model": 1, "this": 1]>'
    model = build("g (float[N, 4] x) => (y) { a = this.Op(x) y = named_by_a_model.Op(a) }", head)
    qonnx_core.cleanup_model(model)
    assert not {"named_by_a_model", "this"} & set(sys.modules)


def test_eight_unsigned_narrow_bits_end_at_254_in_qcdq() -> None:
    """Defect 8: the Clip was missing, and 255 came out instead of 254."""
    body = f"""g (float[N, 1] x) => (float[N, 1] y) <float s = {{1}}, float z = {{0}}, float b = {{8}}>
      {{ y = {Q}.Quant<signed = 0, narrow = 1>(x, s, z, b) }}"""
    assert run(to_qcdq(build(body)).model, np.full((1, 1), 1000, np.float32))[0].item() == 254


def test_dequantizing_needs_no_zero_point_and_no_axis() -> None:
    """Defect 9: DequantizeLinear without a zero point crashed, and without an axis its scales were not on axis 1."""
    body = """g (float[N, 3, 5] x) => (float[N, 3, 5] y) <float[3] s = {0.5, 1, 0.25}>
      { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"""
    x = np.random.default_rng(0).normal(0, 90, (4, 3, 5)).astype(np.float32)
    found = from_qcdq(build(body)).model
    (node,) = found.graph
    assert constant_array(node.inputs[1]).shape == (3, 1)
    np.testing.assert_array_equal(run(found, x)[0], run(build(body), x)[0])


@pytest.mark.parametrize(("kind", "bits"), [("INT4", 4), ("UINT4", 4)])
def test_four_bit_types_of_onnx_become_quantizers(kind: str, bits: int) -> None:
    """Defect 9: QCDQ with int4 and uint4 was not read."""
    given = proto("g (float[N, 4] x) => (float[N, 4] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
                  '<ir_version: 10, opset_import: ["": 21]>')  # fmt: skip
    given.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "s"))
    given.graph.initializer.append(onnx.helper.make_tensor("z", onnx.TensorProto.DataType.Value(kind), [], [0]))
    found = from_qcdq(from_proto(given))
    assert (found.converted, op_types(found.model)) == (1, ["Quant"])
    node = found.model.graph[0]
    assert constant_array(node.inputs[3]).item() == bits
    np.testing.assert_array_equal(run(found.model, X * 4)[0], run(from_proto(given), X * 4)[0])


def test_an_addition_of_zeros_that_widens_the_shape_stays() -> None:
    """Defect 10: a broadcasting Add was removed as an identity, which broke the shapes."""
    zeros = "<float[3, 4] k = {0,0,0,0,0,0,0,0,0,0,0,0}>"
    model = clean(f"g (float[1, 4] x) => (float[3, 4] y) {zeros} {{ a = Relu(x) b = Add(a, k) y = Neg(b) }}")
    assert op_types(model) == ["Relu", "Add", "Neg"]
    assert run(model, X[:1])[0].shape == (3, 4)


def test_a_factor_that_is_nearly_one_stays() -> None:
    """Defect 10: Mul by 1.000009 was removed."""
    model = clean("g (float[N, 4] x) => (float[N, 4] y) <float k = {1.000009}> { a = Relu(x) y = Mul(a, k) }")
    assert op_types(model) == ["Relu", "Mul"]


def test_an_identity_from_input_to_output_is_no_failure() -> None:
    """Defect 10: an assertion failed."""
    model = clean("g (float[N, 4] x) => (float[N, 4] y) { y = Identity(x) }")
    np.testing.assert_array_equal(run(model, X)[0], X)


def test_a_constant_node_behind_an_output_is_kept() -> None:
    """Defect 11, issue 189: sorting dropped a Constant node that feeds a graph output."""
    model = clean("""g (float[N, 4] x) => (float[N, 4] y, float[2] c, float[2] d) <float[2] k = {3, 4}>
        { y = Relu(x) c = Constant<value = float[2] {1, 2}>() d = Neg(k) }""")
    _, c, d = run(model, X)
    assert (c.tolist(), d.tolist()) == ([1, 2], [-3, -4])
    assert [value.name for value in model.graph.outputs] == ["global_out", "global_out_1", "global_out_2"]


def test_an_initializer_behind_an_output_is_kept() -> None:
    """Defect 11: clean-up dropped the initializer behind a constant graph output."""
    given = proto("g (float[N, 4] x) => (float[N, 4] y) <float[2] k = {3, 4}> { y = Relu(x) }")
    given.graph.output.append(onnx.helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [2]))
    assert run(qonnx_core.cleanup_model(from_proto(given)), X)[1].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("version", "inputs"), [(1, "x, s, z, b, t, c"), (2, "x, s, z, b, c")], ids=["6 inputs in 1", "5 inputs in 2"]
)
def test_a_trunc_under_the_other_version_is_refused(version: int, inputs: str) -> None:
    """Defect 12: a Trunc of version 2 in a model that imports version 1 ran as version 1, with wrong numbers."""
    head = f'<ir_version: 8, opset_import: ["": 18, "{Q}": {version}]>'
    body = f"""g (float[N, 4] x) => (float[N, 4] y)
        <float s = {{0.5}}, float z = {{0}}, float b = {{8}}, float t = {{2}}, float c = {{4}}>
        {{ y = {Q}.Trunc<rounding_mode = "FLOOR">({inputs}) }}"""
    with pytest.raises(InvalidModel, match=rf"takes .*those of version {3 - version}"):
        build(body, head)


def test_a_minifloat_bias_of_zero_is_zero() -> None:
    """Defect 13: FLOAT<4,3,0> was read as FLOAT<4,3,7>."""
    found = qonnx_core.DataType.parse("FLOAT<4,3,0>")
    assert found.name == "FLOAT<4,3,0>"
    assert found.max == (2 - 2**-3) * 2.0 ** (2**4 - 1)


def test_a_vector_of_bit_widths_quantizes_each_channel_with_its_own() -> None:
    """Defect 14: a vector of bit widths raised ValueError although the format's documents allow tensors."""
    model = build(f"""g (float[N, 4] x) => (float[N, 4] y)
        <float s = {{1}}, float z = {{0}}, float[4] b = {{2, 3, 4, 8}}>
        {{ y = {Q}.Quant<signed = 1, narrow = 0>(x, s, z, b) }}""")
    np.testing.assert_array_equal(run(model, np.full((1, 4), 99, np.float32))[0], [[1, 3, 7, 99]])


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8), ("int8", 12), ("uint8", 8), ("int16", 16), ("int32", 31)])
def test_a_bit_width_of_a_short_type_does_not_overflow(kind: str, bits: int) -> None:
    """The reference computes ``2 ** bits`` in the element type of the bit width."""
    model = build(f"""g (float[1, 3] x) => (float[1, 3] y) <float s = {{1}}, float z = {{0}}, {kind} b = {{{bits}}}>
    {{ y = {Q}.Quant<signed = 0, narrow = 0>(x, s, z, b) }}""")
    (y,) = run(model, np.asarray([[-1, 100.25, 1e30]], np.float32))
    np.testing.assert_array_equal(y, np.asarray([[0, 100, 2.0**bits - 1]], np.float32))


def test_a_float16_model_stays_float16() -> None:
    """Defect 15, issue 156: the result of Quant was forced to float32, and the next node failed."""
    given = proto(f"""g (float16[N, 4] x) => (float16[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}}>
        {{ h = Cast<to = 10>(s) k = Cast<to = 10>(z) q = {Q}.Quant<signed = 1, narrow = 0>(x, h, k, b)
           y = Mul(q, h) }}""")
    (found,) = run(from_proto(given), X.astype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.round(np.clip(X.astype(np.float16) * 2, -8, 7)) / 4)


def test_an_input_of_a_wrong_name_is_refused() -> None:
    """Defect 16: a wrong name was ignored, and the model ran on zeros."""
    compiled = qonnx_core.compile_model(build("g (float[N, 4] x) => (float[N, 4] y) { y = Exp(x) }"))
    with pytest.raises(InvalidInput, match="found 'X'; expected exactly 'x'"):
        compiled.run({"X": X})


def test_a_dynamic_batch_runs_at_any_size() -> None:
    """Defect 17: dynamic dimensions became 0 and could not be run."""
    model = build(f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}}>
        {{ y = {Q}.Quant<signed = 1, narrow = 0>(x, s, z, b) }}""")
    for count in (0, 1, 7):
        x = np.zeros((count, 4), np.float32) + 0.3
        np.testing.assert_array_equal(run(model, x)[0], np.full((count, 4), 0.5, np.float32))


def test_im2col_needs_no_annotation() -> None:
    """Defect 18: execution crashed without a data type annotation on the input."""
    model = build(f"""g (float[1, 3, 3, 1] x) => (float[1, 2, 2, 4] y)
        {{ y = {Q}.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1,3,3,1)">(x) }}""")
    assert get_datatype(model.graph.inputs[0]) is None
    (found,) = run(model, np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1))
    np.testing.assert_array_equal(found[0, 0, 1], [1, 2, 4, 5])


def test_a_batch_norm_with_a_computed_scale_is_left_alone() -> None:
    """Defect 19: BatchNormToAffine raised TypeError where the scale is no constant."""
    body = """g (float[N, 4] x, float[4] g) => (float[N, 4] y)
        <float[4] b = {1, 2, 3, 4}, float[4] m = {0, 1, 0, 1}, float[4] v = {1, 1, 4, 4}>
        { y = BatchNormalization<epsilon = 0.0>(x, g, b, m, v) }"""
    model = build(body)
    assert BatchNormToAffine().run(model) == 0
    assert op_types(model) == ["BatchNormalization"]


@pytest.mark.parametrize("op", ["Quant(x, s, z, b)", "Trunc(x, s, z, b, b)", "FloatQuant(x, s, b, b, b, b)"])
def test_an_unknown_rounding_mode_is_refused_when_the_model_is_read(op: str) -> None:
    """Defect 20: a bogus rounding mode was accepted until the model ran."""
    name, inputs = op.split("(")
    with pytest.raises(InvalidModel, match=r"BOGUS.*expected one of"):
        build(f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}}>
            {{ y = {Q}.{name}<rounding_mode = "BOGUS">({inputs} }}""")


# What its users report.


def test_an_identity_behind_a_fork_leaves_both_branches() -> None:
    """Issues 86 and 87: removing identities disconnected fork branches."""
    model = clean("""g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <float k = {1}>
        { a = Relu(x) i = Mul(a, k) y = Identity(i) z = Neg(a) }""")
    y, z = run(model, X)
    np.testing.assert_array_equal(y, np.maximum(X, 0))
    np.testing.assert_array_equal(z, -y)


def test_folding_a_chain_of_shapes_in_one_sweep_gives_the_right_shapes() -> None:
    """Issues 104 and 107: several constants folded at once got wrong shapes."""
    body = """g (float[N, 6] x) => (float[N, 2, 3] y) <float[12] k = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
        int64[2] s = {2, 6}, int64[1] f = {0}, int64[1] t = {1}, int64[1] a = {0}, int64[2] r = {2, 3}>
        { m = Reshape(k, s) u = Slice(m, f, t, a) v = Add(u, x) h = Shape<start = 0, end = 1>(x)
          w = Concat<axis = 0>(h, r) y = Reshape(v, w) }"""
    model = build(body)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    InferShapes().run(model)
    check_pass(FoldConstants(), model, {"x": x}, min_edits=2)
    np.testing.assert_array_equal(run(clean(body), x)[0], (x + np.arange(6)).reshape(2, 2, 3).astype(np.float32))


def test_shapes_are_known_after_a_transpose_went_into_quantized_weights() -> None:
    """Issue 77: shape inference failed after FoldTransposeIntoQuantInit."""
    model = build(f"""g (float[N, 4] x) => (float[N, 2] y) <float[2, 4] w = {{1, 2, 3, 4, 5, 6, 7, 8}},
        float[2, 1] s = {{0.5, 1}}, float z = {{0}}, float b = {{4}}>
        {{ q = {Q}.Quant<signed = 1, narrow = 0>(w, s, z, b) t = Transpose<perm = [1, 0]>(q) y = MatMul(x, t) }}""")
    changed = check_pass(FoldTransposeIntoQuantInit(), model, {"x": X}, min_edits=1)
    InferShapes().run(changed)
    assert [tuple(value.shape) for node in changed.graph for value in node.outputs if value.name != "y"] == [(4, 2)]


def test_every_tensor_of_a_residual_network_has_a_shape_after_cleaning() -> None:
    """Issue 95: shapes were missing after the clean-up of ResNet-18."""
    model = clean("""g (float[1, 2, 6, 6] x) => (float[1, 2] y)
        <float[2, 2, 3, 3] w = {1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1}>
        { c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c) a = Add(r, x) p = MaxPool<kernel_shape = [2, 2]>(a)
          g = GlobalAveragePool(p) y = Flatten(g) }""")
    assert all(value.shape is not None for node in model.graph for value in node.outputs)


def test_a_resize_with_an_empty_region_runs_and_cleans() -> None:
    """Issue 236, hls4ml 1266: Resize with an empty ROI input was not read."""
    body = """g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y) <float[0] roi = {}, float[4] k = {1, 1, 2, 2}>
        { y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
          (x, roi, k) }"""
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    for model in (build(body), clean(body)):
        np.testing.assert_array_equal(run(model, x)[0], x.repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize("version", [3, 8, 10, 13])
def test_the_ir_version_of_a_model_is_no_matter(version: int, tmp_path: Path) -> None:
    """hls4ml 983: "Unsupported model IR version 10, max 9", because nodes were stamped with the newest one."""
    given = proto("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    given.ir_version = version
    if version < 4:  # then parameters have to be inputs as well
        given.opset_import[0].version = 9
    (tmp_path / "m.onnx").write_bytes(given.SerializeToString())
    model = qonnx_core.cleanup_model(qonnx_core.load(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(run(model, X)[0], np.maximum(X, 0))
    assert model.ir_version == max(version, 8)


def test_a_convolution_without_pads_becomes_channels_last() -> None:
    """Issue 112: the conversion to channels-last needed the attribute pads."""
    from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast

    model = build("""g (float[1, 2, 4, 4] x) => (float[1, 1, 3, 3] y) <float[1, 2, 2, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        { y = Conv(x, w) }""")
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    changed = check_pass(ConvertToChannelsLast(), model, {"x": x}, min_edits=1)
    assert "Conv" in {node.op_type for node in changed.graph if node.domain == "qonnx.custom_op.channels_last"}


def test_the_bias_of_a_convolution_survives_channels_last() -> None:
    """Issue 32: the bias of a convolution was lost in the conversion to channels-last."""
    from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast

    model = build("""g (float[1, 1, 3, 3] x) => (float[1, 2, 3, 3] y)
        <float[2, 1, 1, 1] w = {1, 2}, float[2] b = {5, -7}>
        { y = Conv(x, w, b) }""")
    check_pass(ConvertToChannelsLast(), model, {"x": np.ones((1, 1, 3, 3), np.float32)}, min_edits=1)


def test_metadata_of_nodes_and_of_the_model_survives() -> None:
    """Issues 181 and 188, Brevitas 1394: metadata of nodes was lost."""
    given = proto("g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) y = Neg(a) }")
    given.graph.node[0].metadata_props.add(key="pkg.class", value="Relu")
    given.graph.metadata_props.add(key="exec_mode", value="cppsim")
    given.metadata_props.add(key="made by", value="hand")
    model = qonnx_core.cleanup_model(from_proto(given))
    again = from_proto(onnx.ModelProto.FromString(serialize(model)))
    for found in (model, again):
        assert found.graph[0].metadata_props["pkg.class"] == "Relu"
        assert found.graph.metadata_props["exec_mode"] == "cppsim"
        assert found.metadata_props["made by"] == "hand"


def test_layouts_are_read_as_lists_of_letters() -> None:
    given = proto("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    annotation = given.graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="tensor_layout", value="['N', 'C']")
    assert get_layout(from_proto(given).graph.outputs[0]) == ("N", "C")

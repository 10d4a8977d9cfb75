"""Two models compared tensor by tensor: the first difference, its class, and what has no partner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.testing.random_mlp import random_mlp
from qonnx_core.verify.models import compare_models

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"


def build(body: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


def network(*, bits: int = 4, scale: float = 0.5, weight: float = 3, tail: str = "Relu(m)") -> ir.Model:
    return build(f"""g (float[N, 2] x) => (float[N, 2] y) <float s = {{0.5}}, float t = {{{scale}}}, float z = {{0}},
      float b = {{4}}, float c = {{{bits}}}, float[2, 2] w = {{1, -2, {weight}, 0.5}}>
      {{ q = {QUANT}(w, s, z, b) a = {QUANT}(x, t, z, c) m = MatMul(a, q) y = {tail} }}""")


X = (np.random.default_rng(0).integers(-16, 16, (30, 2)) / 4).astype(np.float32)


def test_a_model_equals_itself_in_every_tensor() -> None:
    result = compare_models(network(), network(), {"x": X})
    assert result.equal
    assert result.explained
    assert (result.check.equal, result.check.samples) == (30, 30)
    assert [tensor.name for tensor in result.tensors if not tensor.parameter] == [
        "Quant_1_out0", "MatMul_0_out0", "global_out",
    ]  # fmt: skip
    assert result.unpaired_left == result.unpaired_right == ()


def test_the_first_tensor_that_differs_is_named_with_sample_and_element() -> None:
    x = np.full((9, 2), 0.5, np.float32)
    x[5, 1] = 100
    result = compare_models(network(), network(bits=3), {"x": x})
    sampled = next(tensor for tensor in result.tensors if tensor.differing and not tensor.parameter)
    assert (sampled.name, sampled.op_type, sampled.differing) == ("Quant_1_out0", "Quant", 1)
    assert sampled.first is not None
    assert (sampled.first.sample, sampled.first.element) == (5, (1,))
    assert (sampled.first.expected, sampled.first.found) == (3.5, 1.5)
    assert sampled.largest == 2
    assert (result.check.mismatch, result.check.equal) == (1, 8)
    assert result.check.first is not None
    assert result.check.first.tensor == "Quant_1_out0"


def test_a_parameter_that_differs_comes_first_even_where_no_output_changes() -> None:
    result = compare_models(network(), network(weight=2.5), {"x": np.zeros((3, 2), np.float32)})
    assert not result.equal
    assert not result.explained
    assert result.check.equal == 3
    assert result.first is not None
    assert result.first.parameter
    assert result.first.first is not None
    assert (result.first.first.expected, result.first.first.found) == (3.0, 2.5)


def test_batches_count_samples_through() -> None:
    x = np.zeros((10, 2), np.float32)
    x[7] = 100
    result = compare_models(network(), network(bits=3), {"x": x}, batch=4)
    assert result.check.first is not None
    assert result.check.first.sample == 7
    assert result.check.samples == 10


def sums(first: str, second: str, tail: str, half: str = "h") -> ir.Model:
    """Return a model that adds three products in this order; ``half`` is the name of the first sum."""
    return build(f"""g (float[N, 3] x) => (float[N, 1] y) <float s = {{0.25}}, float z = {{0}}, float b = {{4}},
      float[3, 1] w0 = {{0.1, 0, 0}}, float[3, 1] w1 = {{0, 0.2, 0}}, float[3, 1] w2 = {{0, 0, -0.3}}>
      {{ p0 = MatMul(x, w0) p1 = MatMul(x, w1) p2 = MatMul(x, w2)
      {half} = Add({first}) t = Add({second}) y = {tail} }}""")


FORWARD, BACKWARD = ("p0, p1", "h, p2"), ("p1, p2", "p0, other")


def test_another_order_of_a_float_sum_is_rounding() -> None:
    x = np.random.default_rng(2).normal(size=(500, 3)).astype(np.float32) * 3
    left, right = sums(*FORWARD, "Neg(t)"), sums(*BACKWARD, "Neg(t)", "other")
    result = compare_models(left, right, {"x": x}, names="file")
    assert result.check.rounding > 0
    assert result.check.mismatch == 0
    assert result.explained
    assert not result.equal
    assert (result.unpaired_left, result.unpaired_right) == (("h",), ("other",))


def test_a_quantizer_on_a_tie_of_float_sums_is_boundary() -> None:
    tail = f'{QUANT}<rounding_mode = "FLOOR">(t, s, z, b)'
    left, right = sums(*FORWARD, tail), sums(*BACKWARD, tail, "other")
    x = np.ones((200, 3), np.float32) * np.linspace(1, 3, 200, dtype=np.float32)[:, None]
    result = compare_models(left, right, {"x": x}, names="file")
    assert result.check.mismatch == 0
    assert result.check.boundary > 0
    assert result.check.first is not None
    assert result.check.first.tensor == "y"
    assert result.explained


def test_the_qcdq_form_is_equal_by_the_names_in_the_file() -> None:
    model = random_mlp(5)
    width = int(model.graph.inputs[0].shape[1])
    x = np.random.default_rng(0).integers(0, 4, (20, width)).astype(np.float32)
    name = model.graph.inputs[0].name
    result = compare_models(model, to_qcdq(model, partial=True).model, {name: x}, names="file")
    assert result.equal
    assert any(tensor.op_type == "MatMul" for tensor in result.tensors)


def test_tensors_of_other_operators_have_no_partner() -> None:
    result = compare_models(network(), network(tail="Abs(m)"), {"x": X})
    assert result.check.first is not None
    assert result.first is not None
    assert result.first.name == result.check.first.tensor == "y"
    left = build("g (float[N, 2] x) => (float[N, 2] y) { a = Relu(x) b = Neg(a) y = Neg(b) }")
    right = build("g (float[N, 2] x) => (float[N, 2] y) { a = Relu(x) b = Abs(a) y = Abs(b) }")
    result = compare_models(left, right, {"x": X})
    assert (result.equal, result.unpaired_left, result.unpaired_right) == (True, ("b",), ("b",))
    result = compare_models(left, right, {"x": X}, names="cleaned")
    assert (result.equal, result.unpaired_left, result.unpaired_right) == (True, ("Neg_0_out0",), ("Abs_0_out0",))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("g (float[N, 2] x, float[N, 2] u) => (float[N, 2] y) { y = Add(x, u) }", "inputs: one model has 1 .* other 2"),
        ("g (float[N, 2] x) => (float[N, 2] y, float[N, 2] z) { y = Relu(x) z = Neg(x) }", "outputs: one model has 1"),
        ("g (float[N, 2] x) => (float[N, 4] y) { y = Concat<axis = 1>(x, x) }", r"shape is \(30, 2\) in left"),
    ],
)
def test_models_that_do_not_correspond_are_refused(other: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        compare_models(network(), build(other), {"x": X})


CHOICE = """g (float[N, 2] x, bool c) => (float[N, 2] y) <float[2] k = {{1, {last}}}>
  {{ a = Add(x, k) b = Mul(x, k) y = Where(c, a, b) }}"""


def test_an_input_without_axes_belongs_to_every_sample() -> None:
    inputs = {"x": X, "c": np.asarray(True)}
    models = [build(CHOICE.format(last=last)) for last in (2, 2, 3)]
    same = compare_models(models[0], models[1], inputs, batch=8)
    assert (same.equal, same.check.samples) == (True, 30)
    other = compare_models(models[0], models[2], inputs, batch=8)
    assert (other.check.samples, other.check.mismatch) == (30, 30)
    assert other.check.first is not None
    assert other.check.first.tensor == "Add_0_out0"


def test_a_model_without_samples_is_compared_once() -> None:
    body = "g (bool c) => (float[2] y) <float[2] k = {{1, {last}}}, float[2] l = {{3, 4}}> {{ y = Where(c, k, l) }}"
    models = [build(body.format(last=last)) for last in (2, 3)]
    for flag, equal in ((True, 0), (False, 1)):
        result = compare_models(models[0], models[1], {"c": np.asarray(flag)}, names="file")
        assert (result.check.samples, result.check.equal) == (1, equal)
    result = compare_models(models[0], models[1], {"c": np.asarray(True)})
    assert result.tensors[-1].first is not None
    assert (result.tensors[-1].name, result.tensors[-1].first.element) == ("global_out", (1,))


@pytest.mark.parametrize("batch", ["N", "1"])
def test_a_tensor_without_samples_in_front_is_compared_too(batch: str) -> None:
    """The first axis holds something else behind a Transpose; the batch may be fixed."""
    body = f"""g (float[{batch}, 2] x) => (float[2, {batch}] y) <float[2, 1] k = {{{{1, {{last}}}}}}>
      {{{{ t = Transpose(x) m = Mul(t, k) y = Relu(m) }}}}"""
    left, right = (build(body.format(last=last)) for last in (2, 3))
    assert compare_models(left, left, {"x": X}).equal
    result = compare_models(left, right, {"x": np.where(np.arange(30)[:, None] < 9, 0, X)}, batch=8)
    assert result.unpaired_left == ()
    running = [tensor for tensor in result.tensors if tensor.differing and not tensor.parameter]
    assert [tensor.name for tensor in running] == ["Mul_0_out0", "global_out"]
    assert running[0].first is not None
    assert running[0].first.sample == (8 if batch == "N" else 9)  # of the first batch that differs
    assert result.check.equal >= 8
    assert result.check.mismatch + result.check.equal == 30


def test_float_sums_of_a_tensor_without_samples_are_rounding() -> None:
    left, right = (
        build(f"""g (float[N, 3] x) => (float[1, N] y) <float[3, 1] w = {{0.1, 0.2, -0.3}}, float t = {{{gain}}},
          float u = {{{1 / gain}}}> {{ m = MatMul(x, w) a = Mul(m, t) b = Mul(a, u) y = Transpose(b) }}""")
        for gain in (1, 3)
    )
    x = np.random.default_rng(2).normal(size=(100, 3)).astype(np.float32)
    result = compare_models(left, right, {"x": x}, names="file")
    tensor = result.tensors[-1]
    assert tensor.name == "y"
    assert tensor.differing > 0
    assert result.check.first is not None


def test_an_inner_tensor_of_another_shape_is_a_difference() -> None:
    """Shapes that depend on data are known only when both have run."""
    body = """g (float[N, 4] x) => (float[N] y) <float c = {{{bound}}}, int64[1] a = {{1}}>
      {{ h = Greater(x, c) p = NonZero(h) q = Cast<to = 1>(p) u = ReduceMin<keepdims = 0>(q)
      r = ReduceMax<keepdims = 0>(x, a) y = Add(r, u) }}"""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    left, right = (build(body.format(bound=bound)) for bound in (2, 5))
    result = compare_models(left, right, {"x": x})
    found = {tensor.name: tensor for tensor in result.tensors}
    assert found["NonZero_0_out0"].other_shape
    assert not found["global_out"].differing
    assert not result.equal
    assert not result.explained


def test_wrong_names_of_inputs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="found pixels; expected exactly x"):
        compare_models(network(), network(), {"pixels": X})


def invoke(tmp_path: Path, left: ir.Model, right: ir.Model, *options: str, x: np.ndarray[Any, Any] = X) -> Any:
    qonnx_core.save(left, tmp_path / "left.onnx")
    qonnx_core.save(right, tmp_path / "right.onnx")
    np.savez(tmp_path / "x.npz", x=x)
    arguments = ["diff", tmp_path / "left.onnx", tmp_path / "right.onnx", "--data", tmp_path / "x.npz", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_exits_with_3_when_the_models_differ(tmp_path: Path) -> None:
    assert invoke(tmp_path, network(), network()).exit_code == 0
    result = invoke(tmp_path, network(), network(scale=0.25), "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["equal"] is False
    assert found["check"]["mismatch"] > 0
    result = invoke(tmp_path, network(), network(tail="Abs(m)"))
    assert result.exit_code == 3
    assert "they differ first in tensor y (Relu)" in " ".join(result.stderr.split())
    assert "y" in result.stdout.split()


def test_the_command_accepts_what_rounding_explains_when_asked(tmp_path: Path) -> None:
    left, right = sums(*FORWARD, "Neg(t)"), sums(*BACKWARD, "Neg(t)", "other")
    x = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32) * 3
    assert invoke(tmp_path, left, right, "--names", "file", x=x).exit_code == 3
    assert invoke(tmp_path, left, right, "--names", "file", "--allow-rounding", x=x).exit_code == 0


def test_axes_that_are_inputs_may_take_the_samples_away() -> None:
    left = build("g (float[1, 3, 2] x, int64[1] axes) => (y) { s = Squeeze(x, axes) y = Relu(s) }")
    right = build("g (float[1, 3, 2] x, int64[1] axes) => (y) { s = Squeeze(x, axes) y = Identity(s) }")
    inputs = {"x": np.arange(-2, 4, dtype=np.float32).reshape(1, 3, 2), "axes": np.asarray([0])}
    assert compare_models(left, left, inputs).equal
    assert not compare_models(left, right, inputs).equal


@pytest.mark.filterwarnings("error")
def test_infinities_of_opposite_signs_are_infinitely_far_apart() -> None:
    models = [
        build(f"g (float[N, 2] x) => (float[N, 2] y) {{ e = Exp(x) y = {tail} }}") for tail in ("Abs(e)", "Neg(e)")
    ]
    result = compare_models(*models, {"x": np.full((1, 2), 1000, np.float32)})
    assert [tensor.largest for tensor in result.tensors if tensor.differing] == [np.inf]

"""Outputs are compared in four classes, and the classes are right for float32 computations in other orders."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import cleanup_model, compile_model, load
from qonnx_core.errors import InvalidInput
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from qonnx_core.verify import compare_integers, compare_outputs
from qonnx_core.verify.quantizers import ROUNDING, limits

F32 = np.float32


def other_order(model: ir.Model, x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """All tensors of a perceptron in float32, each sum in a random order, and batch norms folded: another framework."""
    generator = np.random.default_rng(seed)
    values = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    values["global_in"] = x
    for node in model.graph:
        a, *rest = (values[value.name] for value in node.inputs)
        match node.op_type:
            case "Quant":
                scale, _, bits = rest
                low, high = limits(
                    np.float64(bits),
                    signed=bool(node.attributes.get_int("signed", 1)),
                    narrow=bool(node.attributes.get_int("narrow", 0)),
                )
                level = ROUNDING[node.attributes.get_string("rounding_mode")](
                    np.clip((a / scale).astype(F32), low, high)
                )
                result = level.astype(F32) * scale
            case "MatMul":
                order = generator.permutation(a.shape[1])
                result = np.zeros((len(a), rest[0].shape[1]), F32)
                for k in order:
                    result += a[:, k, None] * rest[0][None, k]
            case "BatchNormalization":
                gain, bias, mean, variance = rest
                factor = gain / np.sqrt(variance + F32(1e-5))
                result = a * factor + (bias - mean * factor)
            case "Relu":
                result = np.maximum(a, 0)
            case "Add":
                result = a + rest[0]
            case "Mul":
                result = a * rest[0]
            case "Softmax":
                result = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
        values[node.outputs[0].name] = np.asarray(result, F32)
    return values


def inputs_for(seed: int, samples: int, width: int = 6) -> dict[str, np.ndarray]:
    return {"global_in": np.random.default_rng(seed).normal(size=(samples, width)).astype(F32)}


def test_the_same_outputs_are_equal():
    model = random_mlp(1)
    inputs = inputs_for(1, 20)
    check = compare_outputs(model, inputs, compile_model(model).run(inputs))
    assert (check.samples, check.equal, check.first) == (20, 20, None)
    assert (check.left, check.right) == ("framework", "QONNX")


@pytest.mark.parametrize("seed", range(6))
def test_another_order_of_the_sums_is_never_a_mismatch(seed):
    shape = MlpShape(widths=(20, 32, 32, 5), power_of_two=False, batch_norm=seed % 2 == 0, residual=True)
    model = random_mlp(seed, shape)
    inputs = inputs_for(seed, 2000, 20)
    other = other_order(model, inputs["global_in"], seed)
    check = compare_outputs(model, inputs, {"global_out": other["global_out"]})
    assert check.mismatch == 0, str(check)
    assert check.rounding > 0


def test_a_sum_on_a_rounding_boundary_is_a_boundary_and_is_named():
    # 0.1 + 0.2 + ... in float32: the sum lies within rounding error of 2.5 steps, and both results are right
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 3] x) => (float[N, 1] q)
      <float[3, 1] w = {0.1, 0.7, 0.2}, float s = {0.4}, float z = {0.0}, float b = {4.0}> {
      y = MatMul (x, w)
      q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (y, s, z, b)
    }"""
    model = ir.from_onnx_text(text)
    inputs = {"x": np.ones((2, 3), F32)}
    found = compile_model(model).run(inputs)["q"]
    other = {"q": np.where(np.arange(2)[:, None] == 1, np.where(found > 1, F32(0.8), F32(1.2)), found).astype(F32)}
    check = compare_outputs(model, inputs, other)
    assert (check.equal, check.boundary, check.mismatch) == (1, 1, 0)
    assert check.first is not None
    assert (check.first.tensor, check.first.sample, check.first.kind) == ("q", 1, "boundary")
    (case,) = check.boundary_cases
    assert (case.tensor, case.sample, case.element, case.boundary) == ("q", 1, (0,), 2.5)
    assert abs(case.before - 2.5) <= case.bound < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_with_power_of_two_scales_another_order_changes_no_quantized_tensor(seed):
    model = random_mlp(seed, MlpShape(power_of_two=True, residual=True))
    inputs = inputs_for(seed, 500)
    other = other_order(model, inputs["global_in"], seed)
    check = compare_outputs(model, inputs, {"global_out": other["global_out"]})
    assert (check.boundary, check.mismatch) == (0, 0)


def test_with_power_of_two_scales_a_changed_level_is_a_mismatch():
    model = random_mlp(2, MlpShape(power_of_two=True, tail=False))
    inputs = inputs_for(2, 300)
    outputs = compile_model(model).run(inputs)
    wrong = outputs["global_out"].copy()
    wrong[7, 2] += F32(2.0**-12)
    check = compare_outputs(model, inputs, {"global_out": wrong})
    assert (check.equal, check.mismatch) == (299, 1)
    assert check.first is not None
    assert (check.first.tensor, check.first.sample, check.first.element) == ("global_out", 7, (2,))
    assert check.first.expected == wrong[7, 2]
    assert check.first.found == outputs["global_out"][7, 2]


def test_an_output_just_outside_its_bound_is_a_mismatch():
    model = random_mlp(5, MlpShape(power_of_two=True))
    inputs = inputs_for(5, 50)
    wrong = compile_model(model).run(inputs)["global_out"] * F32(1.0001)
    assert compare_outputs(model, inputs, {"global_out": wrong}).mismatch == 50


def test_not_a_number_is_a_mismatch_unless_both_are():
    model = random_mlp(5)
    inputs = inputs_for(5, 3)
    wrong = compile_model(model).run(inputs)["global_out"].copy()
    wrong[1, 0] = np.nan
    assert compare_outputs(model, inputs, {"global_out": wrong}).mismatch == 1


def argmax_model(op: str = "ArgMax <axis=1, keepdims=0> (y)", result: str = "int64[N]") -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3] x) => ({result} top) <float[3, 3] w = {{0.1, 0.3, 9, 0.2, 0.1, 9, 0.3, 0.2, 9}}> {{
      y = MatMul (x, w)
      top = {op}
    }}"""
    return ir.from_onnx_text(text)


def test_an_index_that_a_tie_within_the_bound_decides_is_a_boundary():
    model = argmax_model()
    inputs = {"x": np.asarray([[1, 1, 1], [-1, -1, -1]], F32)}  # the first two sums tie but for rounding
    found = compile_model(model).run(inputs)["top"]
    assert found[0] == 2
    wrong = {"top": np.asarray([found[0], 1 - found[1]])}
    check = compare_outputs(model, inputs, wrong)
    assert (check.equal, check.boundary, check.mismatch) == (1, 1, 0)
    assert compare_outputs(model, inputs, {"top": np.asarray([0, found[1]])}).mismatch == 1


def test_an_operator_without_a_bound_is_a_mismatch_and_said():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3] x) => (float[N, 3] y) { y = Erf (x) }"""
    model = ir.from_onnx_text(text)
    inputs = {"x": np.asarray([[0.1, 0.2, 0.3]], F32)}
    found = compile_model(model).run(inputs)["y"]
    check = compare_outputs(model, inputs, {"y": np.nextafter(found, F32(2))})
    assert check.mismatch == 1
    assert "(Erf): no float error bound is known for this operator" in check.notes[0]


def test_unknown_outputs_are_refused_with_near_matches():
    with pytest.raises(
        InvalidInput, match=r"expected output global_ou: the model has no such output; .*Did you mean global_out\?"
    ):
        compare_outputs(random_mlp(0), inputs_for(0, 2), {"global_ou": np.zeros((2, 4), F32)})


def test_no_outputs_are_refused():
    with pytest.raises(InvalidInput, match=r"expected outputs: found none; expected an array for global_out"):
        compare_outputs(random_mlp(0), inputs_for(0, 2), {})


def test_another_number_of_samples_is_refused():
    with pytest.raises(InvalidInput, match=r"expected output global_out: it has 3 samples; the inputs have 2"):
        compare_outputs(random_mlp(0), inputs_for(0, 2), {"global_out": np.zeros((3, 4), F32)})


def test_another_shape_is_refused():
    with pytest.raises(
        InvalidInput, match=r"global_out: its shape is \(.N., 2, 2\) in framework; the model gives \(.N., 4\)"
    ):
        compare_outputs(random_mlp(0), inputs_for(0, 2), {"global_out": np.zeros((2, 2, 2), F32)})


def test_integers_are_equal_or_a_mismatch():
    left = {"a": np.arange(12).reshape(4, 3), "b": np.arange(4)}
    right = {"a": left["a"].copy(), "b": left["b"].astype(np.float32)}
    assert compare_integers(left, right).equal == 4
    right["b"][1] = 9
    right["a"][3, 1] = -1
    check = compare_integers(left, right, left="emulation", right="simulation")
    assert (check.equal, check.mismatch) == (2, 2)
    assert check.first is not None
    assert (check.first.tensor, check.first.sample, check.first.element) == ("b", 1, ())
    assert (check.first.expected, check.first.found) == (1, 9)


def test_integers_of_other_names_shapes_or_kinds_are_refused():
    with pytest.raises(InvalidInput, match=r"the tensors are \['a'\] and \['b'\]; expected the same names"):
        compare_integers({"a": np.arange(3)}, {"b": np.arange(3)})
    with pytest.raises(InvalidInput, match=r"a: its shape is \(3,\) in left and \(3, 1\) in right"):
        compare_integers({"a": np.arange(3)}, {"a": np.arange(3)[:, None]})
    with pytest.raises(InvalidInput, match=r"a: right holds numbers that are no integers"):
        compare_integers({"a": np.arange(3)}, {"a": np.arange(3) + 0.5})
    with pytest.raises(InvalidInput, match=r"samples: found a: 3, b: 2; expected the same number"):
        compare_integers({"a": np.arange(3), "b": np.arange(2)}, {"a": np.arange(3), "b": np.arange(2)})


@pytest.mark.parametrize(("name", "rounding"), [("TFC_1W2A", 0), ("qkeras_jettagging", 0)])
def test_the_stored_outputs_of_the_zoo_are_equal(name, rounding):
    model = cleanup_model(load(shared_file(f"models/zoo/{name}.onnx")))
    stored = np.load(shared_file(f"models/zoo/{name}.npz"))
    (source,), (target,) = model.graph.inputs, model.graph.outputs
    check = compare_outputs(model, {source.name: stored["x"]}, {target.name: stored["y"]})
    assert (check.mismatch, check.boundary, check.rounding) == (0, 0, rounding)


@pytest.mark.slow
def test_ten_thousand_differing_samples_take_seconds():
    model = random_mlp(8, MlpShape(widths=(784, 64, 64, 64, 10), weight_bits=2, power_of_two=False, batch_norm=True))
    inputs = inputs_for(8, 10_000, 784)
    outputs = compile_model(model).run(inputs)["global_out"]
    start = time.monotonic()
    check = compare_outputs(model, inputs, {"global_out": np.nextafter(outputs, F32(2))})
    assert check.mismatch == 0
    assert time.monotonic() - start < 60


def test_scalars_are_refused_instead_of_compared_as_no_samples() -> None:
    with pytest.raises(InvalidInput, match=r"samples: x has no axis; expected samples along the first axis"):
        compare_integers({"x": np.asarray(1)}, {"x": np.asarray(2)})

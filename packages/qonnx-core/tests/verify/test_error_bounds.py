"""The error bounds hold for float32 computations in any order, and are zero where sums are exact."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core import compile_model
from qonnx_core.errors import InvalidInput
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from qonnx_core.verify import ErrorAnalysis
from qonnx_core.verify.bounded import Bounded, is_float32, unit_of
from qonnx_core.verify.float_ops import matmul
from qonnx_core.verify.float_rules import FLOAT_RULES

F32 = np.float32


def any_order_matmul(x: np.ndarray, w: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A float32 product with its sums in a random order."""
    order = generator.permutation(len(w))
    total = np.zeros((len(x), w.shape[1]), F32)
    for k in order:
        total = (total + x[:, k, None] * w[None, k]).astype(F32)
    return total


def rule(op_type: str, *operands: np.ndarray | Bounded, **attributes: object) -> Bounded:
    """The bounded result of one operator."""
    values = [ir.Value(name=f"i{n}") for n in range(len(operands))]
    node = ir.Node("", op_type, values, ir.convenience.convert_attributes(attributes), name="node", version=17)
    bounded = [o if isinstance(o, Bounded) else Bounded(o.astype(np.float64)) for o in operands]
    return FLOAT_RULES[op_type](node, bounded)


@pytest.mark.parametrize("terms", [1, 3, 50, 784])
def test_a_product_in_any_order_is_within_its_bound(terms):
    generator = np.random.default_rng(terms)
    x = generator.normal(size=(7, terms)).astype(F32)
    w = generator.normal(size=(terms, 5)).astype(F32)
    bounded = matmul(Bounded(x.astype(np.float64)), Bounded(w.astype(np.float64)))
    for _ in range(5):
        error = np.abs(any_order_matmul(x, w, generator) - bounded.real)
        assert (error <= bounded.errors).all()


def test_a_product_of_small_integers_has_no_error():
    generator = np.random.default_rng(1)
    x = generator.integers(-7, 8, (6, 100)) * 2.0**-5
    w = generator.integers(-3, 4, (100, 9)) * 2.0**-3
    assert matmul(Bounded(x), Bounded(w)).error is None


def test_a_product_of_integers_above_two_to_the_24_has_an_error():
    x = np.asarray([[2.0**13 + 1, 2.0**13 + 1]])
    w = np.asarray([[2.0**11 + 1], [2.0**11 - 1]])
    assert matmul(Bounded(x), Bounded(w)).errors.item() > 0


def test_exactness_is_decided_for_each_row_and_column():
    x = np.asarray([[1.0, 2.0], [0.1, 0.3]])
    result = matmul(Bounded(x.astype(F32).astype(np.float64)), Bounded(np.asarray([[1.0, 1 / 3], [3.0, 1 / 7]])))
    assert (result.errors[0] > 0).tolist() == [False, True]
    assert (result.errors[1] > 0).all()


def test_an_error_that_meets_a_zero_weight_is_gone():
    x = Bounded(np.asarray([[0.1, 2.0]]), np.asarray([[1e-6, 0.0]]))
    assert matmul(x, Bounded(np.asarray([[0.0], [3.0]]))).error is None


def test_an_operand_error_goes_through_a_product():
    x = Bounded(np.asarray([[1.0, 2.0]]), np.asarray([[0.25, 0.5]]))
    result = matmul(x, Bounded(np.asarray([[4.0], [-2.0]])))
    assert 2.0 <= result.errors.item() < 2.001


def test_a_bias_may_be_added_at_any_place_of_the_sum():
    x, w, bias = (np.asarray([[1.0, -1.0]]), np.asarray([[2.0**-25], [2.0**-25]]), np.asarray([1.0]))
    product = matmul(Bounded(x), Bounded(w))
    assert product.error is None
    total = FLOAT_RULES["Add"](ir.Node("", "Add", []), [product, Bounded(bias)])
    assert total.errors.item() >= 2.0**-25  # (1 + 2^-25) - 2^-25 rounds to 1, then to 1 - 2^-25


@pytest.mark.parametrize(
    ("a", "b", "exact"),
    [(1.0, 2.0**-23, True), (1.0, 2.0**-24, False), (2.0**60, -(2.0**60), True), (0.1, 0.25, False)],
)
def test_a_sum_is_exact_where_float32_holds_it(a, b, exact):
    operands = np.asarray([a], F32), np.asarray([b], F32)
    assert (rule("Add", *operands).error is None) is exact


@pytest.mark.parametrize(
    ("op", "a", "b", "exact"),
    [
        ("Mul", 3.0, 0.25, True),
        ("Mul", 0.1, 0.1, False),
        ("Div", 3.0, 2.0, True),
        ("Div", 9.0, 3.0, True),
        ("Div", 1.0, 3.0, False),
    ],
)
def test_products_and_quotients_are_exact_where_float32_holds_them(op, a, b, exact):
    assert (rule(op, np.asarray([a], F32), np.asarray([b], F32)).error is None) is exact


def test_a_quotient_by_something_that_may_be_zero_has_no_bound():
    result = rule("Div", np.asarray([1.0]), Bounded(np.asarray([0.1]), np.asarray([0.2])))
    assert np.isinf(result.errors).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_elementwise_float32_results_are_within_their_bounds(seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 3, 40).astype(F32)
    y = (generator.normal(0, 3, 40) + 0.01).astype(F32)
    pairs = {
        "Add": x + y,
        "Sub": x - y,
        "Mul": x * y,
        "Div": x / y,
        "Relu": np.maximum(x, 0),
        "Sigmoid": (1 / (1 + np.exp(-x))).astype(F32),
        "Tanh": np.tanh(x),
        "Exp": np.exp(x),
        "Abs": np.abs(x),
        "Neg": -x,
        "Max": np.maximum(x, y),
        "Min": np.minimum(x, y),
        "Identity": x,
    }
    for op, found in pairs.items():
        operands = (x, y) if op in ("Add", "Sub", "Mul", "Div", "Max", "Min") else (x,)
        bounded = rule(op, *operands)
        assert found.dtype == F32
        assert (np.abs(found - bounded.real) <= bounded.errors).all(), op


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_batch_normalization_is_within_its_bound_folded_or_not(seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 30, (9, 6)).astype(F32)
    gain, bias, mean = (generator.normal(0, 2, 6).astype(F32) for _ in range(3))
    variance, epsilon = generator.uniform(0.01, 100, 6).astype(F32), F32(1e-5)
    bounded = rule("BatchNormalization", x, gain, bias, mean, variance, epsilon=1e-5)
    factor = gain / np.sqrt(variance + epsilon)
    for found in (
        (x - mean) * factor + bias,
        x * factor + (bias - mean * factor),
        (x - mean) / np.sqrt(variance + epsilon) * gain + bias,
        gain * ((x - mean) * (F32(1) / np.sqrt(variance + epsilon))) + bias,
    ):
        assert found.dtype == F32
        assert (np.abs(found - bounded.real) <= bounded.errors).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([-1, 0, 1]))
def test_softmax_is_within_its_bound(seed, axis):
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 8, (5, 7)).astype(F32)
    bounded = rule("Softmax", x, axis=axis)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    for found in (powers / powers.sum(axis=axis, keepdims=True), np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)):
        assert (np.abs(found - bounded.real) <= bounded.errors).all()
    assert bounded.errors.max() < 1e-4


def test_softmax_before_opset_13_flattens():
    x = np.arange(8.0).reshape(2, 2, 2)
    node = ir.Node("", "Softmax", [ir.Value(name="x")], ir.convenience.convert_attributes({"axis": 1}), version=11)
    assert FLOAT_RULES["Softmax"](node, [Bounded(x)]).real.reshape(2, 4).sum(axis=1) == pytest.approx([1, 1])


def test_a_clip_decides_what_is_far_from_its_limits():
    x = Bounded(np.asarray([-5.0, 0.05, 0.5, 7.0]), np.full(4, 0.1))
    result = rule("Clip", x, np.asarray(0.0), np.asarray(1.0))
    assert result.real.tolist() == [0.0, 0.05, 0.5, 1.0]
    assert result.errors.tolist() == [0.0, 0.1, 0.1, 0.0]


@pytest.mark.parametrize("op", ["Reshape", "Transpose", "Flatten", "Concat", "Gather", "Squeeze", "Unsqueeze"])
def test_data_movement_moves_the_error_along(op):
    x = Bounded(np.arange(12.0).reshape(3, 1, 4), np.arange(12.0).reshape(3, 1, 4) / 100)
    ints = {"Reshape": [3, -1], "Gather": [2, 0], "Squeeze": [1], "Unsqueeze": [0]}
    others = [Bounded(np.asarray(ints[op], np.int64))] if op in ints else [x] if op == "Concat" else []
    result = rule(op, x, *others)
    assert (result.errors == result.real / 100).all()


def test_a_reshape_written_for_one_frame_takes_a_batch():
    result = rule("Reshape", Bounded(np.zeros((5, 2, 3))), Bounded(np.asarray([1, 6], np.int64)))
    assert result.value.shape == (5, 6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.booleans())
def test_the_bounds_of_a_whole_model_hold_for_the_executor(seed, power_of_two, batch_norm):
    model = random_mlp(
        seed, MlpShape(power_of_two=power_of_two, batch_norm=batch_norm, residual=True, per_channel=True)
    )
    inputs = {"global_in": np.random.default_rng(seed).normal(size=(30, 6)).astype(F32)}
    analysis = ErrorAnalysis(model)
    found = compile_model(model).run(inputs, analysis.quantized)
    bounds = analysis.run(inputs, {name: found[name] for name in analysis.quantized})
    assert bounds.unbounded == {}
    for decision in bounds.decisions:
        assert decision.explains(decision.levels(found[decision.tensor])).all()
    output = bounds.tensors["global_out"]
    assert (np.abs(found["global_out"] - output.real) <= output.errors).all()


def test_power_of_two_scales_leave_nothing_to_decide():
    model = random_mlp(3, MlpShape(power_of_two=True, residual=True))
    inputs = {"global_in": np.random.default_rng(3).integers(-20, 20, (50, 6)).astype(F32) / 16}
    analysis = ErrorAnalysis(model)
    bounds = analysis.run(inputs)
    assert len(bounds.decisions) == len(analysis.quantized)
    assert all((decision.error == 0).all() for decision in bounds.decisions)


def test_an_operator_without_a_bound_is_named_and_ends_at_the_next_quantizer():
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 3] x) => (float[N, 3] y) <float s = {1.0}, float z = {0.0}, float b = {4.0}> {
      e = Erf (x)
      f = Relu (e)
      q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (f, s, z, b)
      y = Mul (q, q)
    }"""
    model = ir.from_onnx_text(text)
    inputs = {"x": np.asarray([[0.1, 3.0, -1.0]], F32)}
    found = compile_model(model).run(inputs, ["q"])
    bounds = ErrorAnalysis(model).run(inputs, {"q": found["q"]})
    assert list(bounds.unbounded) == ["e", "f"]
    assert "no float error bound is known" in bounds.unbounded["e"]
    assert bounds.tensors["y"].error is None
    assert not bounds.decisions[0].ambiguous().any()


def test_a_missing_input_is_refused():
    with pytest.raises(InvalidInput, match=r"input global_in: found no array; expected one for each of global_in"):
        ErrorAnalysis(random_mlp(0)).run({})


def test_the_unit_of_numbers_is_the_power_of_two_that_divides_them():
    assert unit_of(np.asarray([[0.75, 6.0], [0.0, 0.0]]), -1).tolist() == [[0.25], [np.inf]]


def test_float32_numbers_are_told_from_others():
    assert is_float32(np.asarray([0.5, 0.1, float(F32(0.1)), 2.0**-140, 1e300, 0.0])).tolist() == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]

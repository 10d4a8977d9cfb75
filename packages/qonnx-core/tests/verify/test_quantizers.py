"""Quantizers as steps: outcomes are the executor's, boundaries are where outcomes change."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import compile_model
from qonnx_core.errors import InvalidModel
from qonnx_core.verify import ErrorAnalysis
from qonnx_core.verify.bounded import Bounded
from qonnx_core.verify.quantizers import is_quantizer, make_quantizer

MODES = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
POSITIONS = np.arange(-40, 41) / 4


def quant_node(op_type: str = "Quant", inputs: int = 4, **attributes: object) -> ir.Node:
    values = [ir.Value(name=f"i{n}") for n in range(inputs)]
    return ir.Node(
        "qonnx.custom_op.general", op_type, values, ir.convenience.convert_attributes(attributes),
        outputs=[ir.Value(name="q")], name="quantizer",
    )  # fmt: skip


def scalars(*values: float) -> list[Bounded | None]:
    return [None, *(Bounded(np.asarray(value, np.float64)) for value in values)]


def run_quant(mode: str, signed: int, narrow: int, bits: int, scale: float, zero: float, x: np.ndarray) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N] x) => (float[N] q) <float s = {{{scale}}}, float z = {{{zero}}}, float b = {{{bits}}}> {{
      q = qonnx.custom_op.general.Quant <signed={signed}, narrow={narrow}, rounding_mode="{mode}"> (x, s, z, b)
    }}"""
    return ir.from_onnx_text(text)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("signed", "narrow", "bits"), [(1, 0, 3), (1, 1, 3), (0, 0, 2), (0, 1, 3), (1, 0, 1)])
@pytest.mark.parametrize("zero", [0.0, 1.0])
def test_outcomes_are_those_of_the_executor(mode, signed, narrow, bits, zero):
    x = (POSITIONS / 2).astype(np.float32)
    model = run_quant(mode, signed, narrow, bits, 0.5, zero, x)
    found = compile_model(model).run({"x": x})["q"]
    (decision,) = ErrorAnalysis(model).run({"x": x}).decisions
    assert (decision.low == decision.high).all()
    assert (decision.low == decision.levels(found)).all()
    assert not decision.ambiguous().any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("signed", "narrow", "bits"), [(1, 0, 3), (1, 1, 3), (0, 0, 2), (0, 1, 3), (1, 0, 1)])
def test_the_outcome_changes_at_the_boundaries_and_nowhere_else(mode, signed, narrow, bits):
    node = quant_node(signed=signed, narrow=narrow, rounding_mode=mode)
    quantizer = make_quantizer(node, scalars(1.0, 0.0, bits))
    tiny = 1e-9
    changes = {float(p) for p in POSITIONS if quantizer.outcome(p - tiny) != quantizer.outcome(p + tiny)}
    assert quantizer.boundaries is not None
    nearest = {float(edge) for edge in quantizer.boundaries(POSITIONS)}
    assert nearest == changes
    for position in POSITIONS:
        distances = [abs(position - change) for change in changes]
        assert abs(float(quantizer.boundaries(np.asarray(position))) - position) == min(distances)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("signed", "narrow"), [(1, 0), (1, 1), (0, 1)])
def test_outcomes_follow_the_width_of_each_element(mode, signed, narrow):
    """One bit among wider ones is bipolar too; below one bit the lower bound is the upper one, and the lower holds."""
    x = np.repeat(np.float32(POSITIONS / 2)[:, None], 5, axis=1)
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 5] x) => (float[N, 5] q) <float s = {{0.5}}, float z = {{0}}, float[5] b = {{1, 3, 2.5, 0, -1}}> {{
      q = qonnx.custom_op.general.Quant <signed={signed}, narrow={narrow}, rounding_mode="{mode}"> (x, s, z, b)
    }}""")
    (decision,) = ErrorAnalysis(model).run({"x": x}).decisions
    np.testing.assert_array_equal(decision.low, compile_model(model).run({"x": x})["q"] / 0.5)
    np.testing.assert_array_equal(decision.high, decision.low)


def test_a_value_within_its_error_of_a_boundary_has_both_outcomes():
    quantizer = make_quantizer(quant_node(signed=1, narrow=0, rounding_mode="ROUND"), scalars(0.25, 0.0, 4))
    x = Bounded(np.asarray([0.375, 0.375, 0.3]), np.asarray([1e-6, 0.0, 1e-6]))
    low, high = quantizer.outcomes(quantizer.steps(x))
    assert low.tolist() == [1, 2, 1]
    assert high.tolist() == [2, 2, 1]


def test_beyond_the_clip_range_nothing_is_ambiguous():
    quantizer = make_quantizer(quant_node(signed=0, narrow=0, rounding_mode="ROUND"), scalars(1.0, 0.0, 2))
    low, high = quantizer.outcomes(quantizer.steps(Bounded(np.asarray([3.5, -0.5, 9.5]), np.full(3, 1e-3))))
    assert (low == high).all()


def test_division_by_a_scale_that_is_no_power_of_two_has_an_error():
    quantizer = make_quantizer(quant_node(signed=1, narrow=0), scalars(float(np.float32(0.3)), 0.0, 4))
    assert (quantizer.steps(Bounded(np.asarray([0.45, 1.0]))).error > 0).all()


def test_bipolar_quant_decides_at_zero():
    quantizer = make_quantizer(quant_node("BipolarQuant", 2), scalars(0.5))
    steps = quantizer.steps(Bounded(np.asarray([0.0, -1e-9, 1e-9]), np.asarray([0.0, 1e-8, 0.0])))
    low, high = quantizer.outcomes(steps)
    assert low.tolist() == [1, -1, 1]
    assert high.tolist() == [1, 1, 1]
    assert quantizer.value(low).real.tolist() == [0.5, -0.5, 0.5]


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
def test_trunc_of_both_versions_is_the_executors(mode):
    x = np.arange(-32, 32).astype(np.float32) / 4
    for version, parameters in ((1, "s, z, i, o"), (2, "s, z, i, t, o")):
        text = f"""<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : {version}]>
        g (float[N] x) => (float[N] q)
          <float s = {{0.25}}, float z = {{0.0}}, float i = {{6.0}}, float o = {{4.0}}, float t = {{1.0}}> {{
          q = qonnx.custom_op.general.Trunc <rounding_mode="{mode}"> (x, {parameters})
        }}"""
        model = ir.from_onnx_text(text)
        found = compile_model(model).run({"x": x})["q"]
        (decision,) = ErrorAnalysis(model).run({"x": x}).decisions
        assert (decision.quantizer.value(decision.low).real == found).all()
        assert (decision.low == decision.high).all()


def test_sign_decides_on_both_sides_of_zero():
    quantizer = make_quantizer(ir.Node("", "Sign", [ir.Value(name="x")], outputs=[ir.Value(name="q")]), [None])
    low, high = quantizer.outcomes(quantizer.steps(Bounded(np.asarray([0.0, 0.1, 2.0]), np.asarray([0.0, 0.2, 0.1]))))
    assert (low.tolist(), high.tolist()) == ([0, -1, 1], [0, 1, 1])


def test_multi_threshold_counts_per_channel():
    node = quant_node("MultiThreshold", 2, out_dtype="INT2", out_scale=2.0, out_bias=-1.0)
    thresholds = Bounded(np.asarray([[0.0, 1.0], [5.0, 3.0]]))
    quantizer = make_quantizer(node, [None, thresholds])
    x = Bounded(np.asarray([[1.0, 2.9999]]), np.asarray([[0.0, 1e-3]]))
    low, high = quantizer.outcomes(quantizer.steps(x))
    assert (low.tolist(), high.tolist()) == ([[2.0, 0.0]], [[2.0, 1.0]])
    assert quantizer.value(low).real.tolist() == [[3.0, -1.0]]


def test_an_unknown_rounding_mode_is_refused():
    with pytest.raises(InvalidModel, match=r"quantizer \(Quant\): rounding_mode is 'NEAREST'; expected one of CEIL"):
        make_quantizer(quant_node(rounding_mode="NEAREST"), scalars(1.0, 0.0, 4))


def test_a_missing_parameter_is_refused():
    with pytest.raises(InvalidModel, match=r"quantizer \(Quant\): input 3 \(bitwidth\) is missing; expected a tensor"):
        make_quantizer(quant_node(inputs=3), scalars(1.0, 0.0))


def test_only_the_quantizers_of_the_format_are_quantizers():
    assert is_quantizer(quant_node())
    assert is_quantizer(ir.Node("", "Sign", []))
    assert not is_quantizer(ir.Node("", "Relu", []))
    assert not is_quantizer(ir.Node("my.domain", "Quant", []))

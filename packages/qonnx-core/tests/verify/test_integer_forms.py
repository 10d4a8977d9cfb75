"""A QONNX model and its integer form: equal tensor by tensor, boundaries named, defects found."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import cleanup_model, load
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from qonnx_core.verify import compare_integer_form

F32 = np.float32


def inputs_for(seed: int, samples: int, width: int = 6) -> dict[str, np.ndarray]:
    return {"global_in": np.random.default_rng(seed).normal(size=(samples, width)).astype(F32)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("quantizer", ["thresholds", "shift"])
def test_with_power_of_two_scales_only_float_outputs_may_differ(seed, quantizer):
    model = random_mlp(seed, MlpShape(residual=True, per_channel=True))
    form = to_integer_form(model, {"global_in": Grid.parse("INT8*2^-6")}, quantizer=quantizer)
    check = compare_integer_form(model, form, inputs_for(seed, 700), batch=256)
    assert (check.samples, check.boundary, check.mismatch) == (700, 0, 0), str(check)
    assert (check.left, check.right) == ("QONNX", "integer form")


@pytest.mark.parametrize("seed", range(4))
def test_with_other_scales_nothing_is_a_mismatch(seed):
    model = random_mlp(seed, MlpShape(power_of_two=False, batch_norm=True))
    form = to_integer_form(model, {"global_in": Grid.parse("INT8*1/37")})
    check = compare_integer_form(model, form, inputs_for(seed, 1500))
    assert check.mismatch == 0, str(check)
    assert check.equal + check.rounding + check.boundary == 1500


@pytest.mark.parametrize(("name", "grid"), [("TFC_1W2A", "UINT8*1/255"), ("qkeras_jettagging", "FIXED<16,6>")])
@pytest.mark.parametrize("label_select", [False, True])
def test_the_models_of_the_zoo_are_equal(name, grid, label_select):
    model = cleanup_model(load(shared_file(f"models/zoo/{name}.onnx")))
    stored = np.load(shared_file(f"models/zoo/{name}.npz"))
    source = model.graph.inputs[0].name
    form = to_integer_form(model, {source: Grid.parse(grid)}, label_select=label_select)
    check = compare_integer_form(model, form, {source: stored["x"]})
    assert (check.equal, check.samples) == (64, 64), str(check)


def tie_model() -> ir.Model:
    """Sums of tenths whose exact value is a tie of the quantizer, which float32 sums may miss."""
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 4] x) => (float[N, 1] y)
      <float[4, 1] w = {0.1, 0.1, 0.1, 0.1}, float a = {0.1}, float s = {0.2}, float t = {1.0}, float z = {0.0},
       float b = {6.0}> {
      q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (w, a, z, b)
      m = MatMul (x, q)
      r = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (m, s, z, b)
      y = Mul (r, t)
    }"""
    model = ir.from_onnx_text(text)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
    return model


def test_a_tie_that_float32_sums_miss_is_a_boundary_and_is_named():
    model = tie_model()
    form = to_integer_form(model, {"x": Grid.parse("INT6")})
    x = np.random.default_rng(0).integers(-32, 32, (4000, 4)).astype(F32)
    check = compare_integer_form(model, form, {"x": x})
    assert check.mismatch == 0
    assert check.boundary > 0
    assert check.first is not None
    assert (check.first.tensor, check.first.kind) == ("r", "boundary")
    assert "steps before its quantizer" in check.first.detail
    for case in check.boundary_cases:
        total = int(x[case.sample].sum())
        assert total % 2 == 1  # a tie: half an odd number
        assert case.boundary == total / 2
        assert abs(case.before - total / 2) <= case.bound


def test_a_sum_within_its_float_error_is_equal_where_all_that_follows_is():
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 3] x) => (float[N, 1] y)
      <float[3, 1] w = {4095.0, -4093.0, 4091.0}, float one = {1.0}, float s = {1048577.0}, float z = {0.0},
       float wide = {13.0}, float b = {8.0}> {
      q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (w, one, z, wide)
      m = MatMul (x, q)
      y = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (m, s, z, b)
    }"""
    model = ir.from_onnx_text(text)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
    form = to_integer_form(model, {"x": Grid.parse("INT16")})
    x = np.random.default_rng(0).integers(-(2**15), 2**15, (500, 3)).astype(F32)
    check = compare_integer_form(model, form, {"x": x})
    assert (check.equal, check.samples) == (500, 500), str(check)


def test_a_wrong_form_is_a_mismatch_that_names_the_first_tensor():
    shape = MlpShape(quantize_input=True)
    model, other = random_mlp(6, shape), random_mlp(6, shape)
    weights = other.graph.initializers["weights_1"]
    changed = weights.const_value.numpy().copy()
    changed[:, 3] += 1
    weights.const_value = ir.tensor(changed, name="weights_1")
    form = to_integer_form(other, {"global_in": Grid.parse("INT8*2^-6")})
    check = compare_integer_form(model, form, inputs_for(6, 300))
    assert check.mismatch > 0
    assert check.first is not None
    assert check.first.tensor == "MatMul_1_out0"
    assert check.first.element == (3,)
    assert check.first.expected != check.first.found


def test_a_quantizer_that_differs_is_a_mismatch_with_its_distance():
    model, other = tie_model(), tie_model()
    other.graph.initializers["s"].const_value = ir.tensor(np.asarray(0.3, F32), name="s")
    form = to_integer_form(other, {"x": Grid.parse("INT6")})
    x = np.random.default_rng(0).integers(-32, 32, (100, 4)).astype(F32)
    check = compare_integer_form(model, form, {"x": x})
    assert check.mismatch > 0
    assert check.first is not None
    assert check.first.tensor == "r"
    assert "before its quantizer the value is" in check.first.detail


def test_a_changed_tail_is_a_mismatch_of_the_output():
    model, other = random_mlp(6), random_mlp(6)
    other.graph.initializers["tail_scale"].const_value = ir.tensor(np.asarray(0.5, F32), name="tail_scale")
    form = to_integer_form(other, {"global_in": Grid.parse("INT8*2^-6")})
    check = compare_integer_form(model, form, inputs_for(6, 50))
    assert check.mismatch > 0
    assert check.first is not None
    assert check.first.tensor == "global_out"


def test_inputs_are_brought_onto_the_grid_first():
    model = random_mlp(7, MlpShape(quantize_input=False))
    form = to_integer_form(model, {"global_in": Grid.parse("INT4*2^-2")})
    check = compare_integer_form(model, form, {"global_in": inputs_for(7, 100)["global_in"] * 3})
    assert (check.boundary, check.mismatch) == (0, 0)


def test_images_are_compared_in_travel_order():
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 2, 3, 3] x) => (float[N, 2, 3, 3] y)
      <float[1, 2, 1, 1] s = {0.5, 0.25}, float t = {0.3}, float z = {0.0}, float b = {3.0}> {
      q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (x, s, z, b)
      y = Mul (q, t)
    }"""
    model = ir.from_onnx_text(text)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
    form = to_integer_form(model, {"x": Grid.parse("INT8*2^-4")})
    x = np.random.default_rng(1).normal(size=(40, 2, 3, 3)).astype(F32)
    check = compare_integer_form(model, form, {"x": x})
    assert (check.boundary, check.mismatch) == (0, 0), str(check)


def test_a_form_of_another_model_is_refused():
    form = to_integer_form(tie_model(), {"x": Grid.parse("INT6")})
    with pytest.raises(InvalidInput, match=r"integer form: it ends in y; the model ends in global_out"):
        compare_integer_form(random_mlp(1), form, {"x": np.zeros((1, 4), F32)})

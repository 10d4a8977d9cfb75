"""Nodes between the parameters of a model and the layers that read them are computed on the way to integer form."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core.cleanup import cleanup_model
from qonnx_core.errors import Unsupported
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form

DOMAIN = "qonnx.custom_op.general"
GRIDS = {"global_in": Grid.parse("INT4")}
WEIGHTS = ", ".join(str(number) for number in np.random.default_rng(0).uniform(-4, 4, 12).round(3))


def model_of(weights: str, version: int = 1) -> ir.Model:
    """Return ``Quant(x @ w)`` where ``w``, (4, 3), comes out of nodes that read ``r``, (4, 3)."""
    text = f"""<ir_version: 8, opset_import: ["": 18, "{DOMAIN}": {version}]>
    g (float[N, 4] x) => (float[N, 3] y)
    <float[4, 3] r = {{{WEIGHTS}}}, float s = {{0.25}}, float z = {{0}}, float eight = {{8}}, float four = {{4}},
     float[3] each = {{0.25, 0.5, 0.1}}, float three = {{3}}, float two = {{2}}, float one = {{1}}, float six = {{6}},
     float t = {{0.5}}, bool yes = {{1}}, int64[1] axis = {{1}}, int64[4] order = {{3, 1, 0, 2}}>
    {{ {weights.replace("Quant<>", f"{DOMAIN}.Quant<signed=1, narrow=0>")}
       p = MatMul(x, w) y = {DOMAIN}.Quant<signed=1, narrow=0>(p, t, z, six) }}"""
    return cleanup_model(from_proto(ir.to_proto(ir.from_onnx_text(text))))


@pytest.mark.parametrize(("weights", "version"), [
    ('w = DOMAIN.Trunc<rounding_mode="FLOOR">(r, s, z, eight, six)', 1),
    ('w = DOMAIN.Trunc<rounding_mode="CEIL">(r, each, three, eight, six)', 1),
    ('w = DOMAIN.Trunc<rounding_mode="FLOOR">(r, s, z, eight, t, four)', 2),
    ('w = DOMAIN.Trunc<rounding_mode="ROUND">(r, each, z, eight, each, four)', 2),
    ("w = DOMAIN.FloatQuant(r, one, two, one, one, six)", 1),
    ("w = DOMAIN.FloatQuant(r, each, two, one, one, six)", 1),
    ("q = Quant<>(r, each, z, four) u = Unsqueeze(q, axis) w = Squeeze(u, axis)", 1),
    ("q = Quant<>(r, each, z, four) w = Gather<axis=0>(q, order)", 1),
    ("q = Quant<>(r, s, z, four) a = Abs(q) w = Sub(a, s)", 1),
    ("q = Quant<>(r, s, z, four) w = Clip(q, z, one)", 1),
    ("q = Quant<>(r, s, z, four) i = Cast<to=7>(q) w = Cast<to=1>(i)", 1),
    ("q = Quant<>(r, each, z, four) d = Cast<to=11>(q) w = Cast<to=1>(d)", 1),
])  # fmt: skip
def test_weights_are_what_a_run_makes_of_them(weights: str, version: int) -> None:
    """They were refused with the advice to fold constants, which leaves what quantizers give where it is.

    A cast to integers takes the digits behind the point away, and one to float64 nothing.
    """
    model = model_of(weights.replace("DOMAIN", DOMAIN), version)
    form = to_integer_form(model, GRIDS)
    x = np.random.default_rng(1).integers(-8, 8, (200, 4)).astype(np.float32)
    ints, _ = form.quantize_inputs({"global_in": x})
    found = form.finish(form.run(ints))["global_out"]
    expected = compile_model(model).run({"global_in": x})["global_out"]
    assert np.mean(found != expected) < (0.02 if "each" in weights else 1e-9)  # float32 rounds ties of a scale of 0.1
    assert len(np.unique(expected)) > 10


@pytest.mark.parametrize(("weights", "message"), [
    ("w = DOMAIN.FloatQuant(r, z, two, one, one, six)", "a scale holds 0"),
    ('w = DOMAIN.Trunc(r, s, z, eight, z, four)', "a scale holds 0"),
    ("w = RandomNormal<shape=[4, 3]>()", "a constant expression without inputs"),
    ("w = RandomNormalLike(r)", "is not computed ahead; put its result into the file"),
    ("w = If(yes)<then_branch = t () => (float[4, 3] a) { a = Neg(r) },"
     " else_branch = e () => (float[4, 3] b) { b = Abs(r) }>", "is not computed ahead; put its result into the file"),
    ("q = Quant<>(r, s, z, four) w = Sigmoid(q)", "its weights are not quantized"),
])  # fmt: skip
def test_what_is_no_weight_is_refused_by_name(weights: str, message: str) -> None:
    version = 2 if "Trunc" in weights else 1
    with pytest.raises(Unsupported, match=message):
        to_integer_form(model_of(weights.replace("DOMAIN", DOMAIN), version), GRIDS)

"""Parameters on a grid: the nearest numbers, the error that is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.verify import verify
from qonnx_core.ops.rounding import Rounding
from qonnx_core.passes.quantize.fixed_point_params import FixedPointQuantizeParams, RoundedParameter
from qonnx_core.testing.graph_text import model_of_text
from qonnx_core.testing.pass_contract import check_pass

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
MODEL = """g (float[N, 3] x) => (float[N, 3] y) <float[3] a = {0.3, -1.7, 2.25}, float[3] b = {0.125, 0.5, -9},
  float[3, 3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}> { m = Mul(x, a) k = MatMul(m, w) y = Add(k, b) }"""


def build(body: str = MODEL) -> ir.Model:
    return model_of_text(HEAD + body)


def test_constants_of_sums_and_products_go_to_the_nearest_grid_point() -> None:
    model = build()
    report = FixedPointQuantizeParams("FIXED<6,3>").apply(model)
    np.testing.assert_array_equal(constant_array(model.graph.initializers["a"]), np.float32([0.25, -1.75, 2.25]))
    np.testing.assert_array_equal(constant_array(model.graph.initializers["b"]), np.float32([0.125, 0.5, -4]))
    assert np.float32(0.1) in constant_array(model.graph.initializers["w"])
    assert report == [
        RoundedParameter("a", "FIXED<6,3>", pytest.approx(0.05, abs=1e-6), 0),
        RoundedParameter("b", "FIXED<6,3>", 5.0, 1),
    ]
    assert str(get_datatype(model.graph.initializers["a"])) == "FIXED<6,3>"
    assert FixedPointQuantizeParams("FIXED<6,3>").run(model) == 0


@pytest.mark.parametrize(
    ("grid", "datatype"), [("INT4", "INT4"), ("INT8*2^-4", "SCALEDINT<8>"), ("UINT3*0.1", "SCALEDINT<3>")]
)
def test_integer_grids_with_a_scale(grid: str, datatype: str) -> None:
    model = build()
    (entry,) = FixedPointQuantizeParams(grid, op_types=(), tensors=("w",)).apply(model)
    assert entry.datatype == datatype
    scale = {"INT4": 1.0, "INT8*2^-4": 1 / 16, "UINT3*0.1": float(np.float32(0.1))}[grid]
    steps = constant_array(model.graph.initializers["w"]) / scale
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert steps.min() >= 0
    assert steps.max() <= (7 if grid != "INT8*2^-4" else 14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=6),
    st.integers(2, 12),
    st.integers(-3, 12),
    st.sampled_from(list(Rounding)),
)
def test_rounding_is_that_of_a_quantizer(numbers: list[float], bits: int, whole: int, mode: Rounding) -> None:
    """A Quant with the scale of the grid gives the same numbers."""
    array = np.asarray(numbers, np.float32)
    text = ", ".join(repr(float(n)) for n in array)
    scale = 2.0 ** (whole - bits)
    body = f"""g (float[N, {len(array)}] x) => (y) <float[{len(array)}] a = {{{text}}}, float s = {{{scale!r}}},
      float z = {{0}}, float b = {{{bits}}}>
      {{ q = qonnx.custom_op.general.Quant<rounding_mode = "{mode}">(a, s, z, b) y = Add(x, q) }}"""
    x = np.zeros((1, len(array)), np.float32)
    (expected,) = qonnx_core.compile_model(build(body)).run({"x": x}).values()
    model = build(body.replace("Add(x, q)", "Add(x, a)"))
    FixedPointQuantizeParams(f"FIXED<{bits},{whole}>", rounding=mode).run(model)
    (found,) = qonnx_core.compile_model(model).run({"x": x}).values()
    np.testing.assert_array_equal(found, expected)


def test_other_readers_keep_the_old_parameter() -> None:
    model = build("g (float[N, 3] x) => (y) <float[3] a = {0.3, 0.4, 0.5}> { m = Mul(x, a) y = Sub(m, a) }")
    assert FixedPointQuantizeParams("INT4").run(model) == 1
    verify(model)
    first, second = model.graph
    np.testing.assert_array_equal(constant_array(first.inputs[1]), [0, 0, 0])
    np.testing.assert_array_equal(constant_array(second.inputs[1]), np.float32([0.3, 0.4, 0.5]))


def test_what_is_on_the_grid_already_keeps_every_value() -> None:
    model = build(MODEL.replace("0.3, -1.7, 2.25", "0.25, -1.75, 2.5").replace("-9", "-3"))
    check_pass(FixedPointQuantizeParams("FIXED<8,4>"), model, {"x": np.ones((2, 3), np.float32)})
    check_pass(FixedPointQuantizeParams(), model, {"x": np.ones((2, 3), np.float32)})


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (FixedPointQuantizeParams("FIXED<6,3>", max_error=0.01), "2 parameters are further than 0.01 from FIXED"),
        (FixedPointQuantizeParams("FIXED<6>"), "not understood"),
        (FixedPointQuantizeParams("INT4*[1,2]"), "has channels, a zero point or an offset"),
        (FixedPointQuantizeParams("(UINT4-3)"), "has channels, a zero point or an offset"),
        (FixedPointQuantizeParams("INT4*0.5 + 0.25"), "has channels, a zero point or an offset"),
        (FixedPointQuantizeParams("INT4", max_error=float("nan")), "expected a number of at least 0"),
        (FixedPointQuantizeParams(grids={"a": "INT4", "nothing*": "INT4"}), "nothing*: match no float parameter"),
        (FixedPointQuantizeParams(grids={"a": "FIXED<4>"}), "not understood"),
        (FixedPointQuantizeParams(grids={"a": "INT4", "b": "INT4*2"}, max_error=0.5), "further than 0.5 from INT4*2"),
        (FixedPointQuantizeParams("INT4", tensors=("nothing*",)), "match no float parameter"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_nothing_changes(step: FixedPointQuantizeParams, reason: str) -> None:
    model = build()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with pytest.raises(InvalidInput) as refusal:
        step.run(model)
    assert reason in str(refusal.value)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_parameters_have_grids_of_their_own_in_one_call() -> None:
    model = build()
    step = FixedPointQuantizeParams("FIXED<6,3>", grids={"a": "INT4", "?": "INT8*2^-1"})
    assert [(entry.tensor, entry.datatype) for entry in step.apply(model)] == [
        ("a", "INT4"), ("w", "SCALEDINT<8>"), ("b", "SCALEDINT<8>"),
    ]  # fmt: skip
    for name, numbers in (("a", [0, -2, 2]), ("b", [0, 0.5, -9])):
        np.testing.assert_array_equal(constant_array(model.graph.initializers[name]), np.float32(numbers))
    model = build()
    FixedPointQuantizeParams("FIXED<6,3>", grids={"w": "INT4"}).run(model)  # a and b by their operators
    types = {name: str(get_datatype(value)) for name, value in model.graph.initializers.items()}
    assert types == {"a": "FIXED<6,3>", "b": "FIXED<6,3>", "w": "INT4"}


@pytest.mark.parametrize(
    ("grid", "most"), [("INT32", 2**31 - 128), ("UINT32", 2**32 - 256), ("FIXED<32,2>", 2 - 2**-23)]
)
def test_a_grid_of_more_digits_than_the_element_type_holds_all_that_is_rounded(grid: str, most: float) -> None:
    model = build("g (float[N, 2] x) => (y) <float[2] a = {1e30, -1e30}> { y = Mul(x, a) }")
    FixedPointQuantizeParams(grid).run(model)
    array = constant_array(model.graph.initializers["a"])
    assert array[0] == np.float32(most)
    datatype = get_datatype(model.graph.initializers["a"])
    assert datatype is not None
    assert datatype.allows(array)


def test_the_command_takes_grids_by_name_and_says_where_there_is_nothing_to_round(tmp_path: Path) -> None:
    qonnx_core.save(build(), tmp_path / "m.onnx")
    start = ["quantize", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "o.onnx")]
    done = CliRunner().invoke(app, [*start, "--tensor", "Mul*=INT4", "--tensor", "Mat*=FIXED<8,2>", "--json"])
    assert done.exit_code == 0, done.output
    found = {row["tensor"]: row["datatype"] for row in json.loads(done.stdout)["quantized"]}
    assert found == {"Mul_0_param0": "INT4", "MatMul_0_param0": "FIXED<8,2>"}
    (tmp_path / "o.onnx").unlink()
    for options, said in (
        (["--fixed-point", "FIXED<8,4>", "--op-type", "Conv"],
         "no Conv of the model reads a constant float; expected one. Say which do, with --op-type Add or MatMul"),
        (["--tensor", "Mul*=INT4", "--tensor", "MatMul*"], "--tensor NAME and --max-error belong to --fixed-point"),
        (["--tensor", "Mul*="], "--tensor Mul*=: has no grid; expected NAME=GRID"),
        (["--tensor", "=INT4"], "--tensor =INT4: has no name; expected NAME=GRID"),
        (["--tensor", "Mul*=INT"], "tensors 'Mul*': data type: found 'INT'"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, [*start, *options])
        assert done.exit_code == 1
        assert said in " ".join(done.stderr.split())
        assert not (tmp_path / "o.onnx").exists()


def test_the_command_rounds_and_reports(tmp_path: Path) -> None:
    qonnx_core.save(build(), tmp_path / "m.onnx")
    arguments = ["quantize", str(tmp_path / "m.onnx"), "--fixed-point", "FIXED<8,4>", "-o", str(tmp_path / "o.onnx")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert [row["clipped"] for row in json.loads(result.stdout)["quantized"]] == [0, 1]
    assert CliRunner().invoke(app, arguments).exit_code == 0

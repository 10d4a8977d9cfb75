"""Ranges are sound against sampling and tight against every input of small models."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.cli.app import app
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline.ranges import smallest_datatype
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"


def build(body: str) -> ir.Model:
    return qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(HEAD + body)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from(["UINT2", "INT3", "UINT4*2^-2", "BIPOLAR"]),
)
def test_no_input_leaves_a_proven_range(
    seed: int, residual: bool, batch_norm: bool, per_channel: bool, bits: int, grid: str
) -> None:
    shape = MlpShape(residual=residual, batch_norm=batch_norm, per_channel=per_channel, weight_bits=bits)
    model = qonnx_core.cleanup_model(random_mlp(seed, shape))
    given_grid = Grid.parse(grid)
    ranges = tensor_ranges(model, {"global_in": given_grid})
    rng = np.random.default_rng(seed)
    low, high = given_grid.integers
    ints = rng.integers(low, high + 1, (200, shape.widths[0]))
    ints[:2] = [[low], [high]]
    if grid == "BIPOLAR":
        ints[ints == 0] = 1
    names = [name for name, found in ranges.items() if found.values is not None and name != "global_in"]
    assert names
    found = qonnx_core.compile_model(model).run({"global_in": given_grid.to_values(ints)}, intermediates=names)
    for name in names:
        proven = ranges[name]
        assert proven.values is not None
        slack = 1e-5 * max(map(abs, proven.values)) if batch_norm else 0  # float32 rounding of the executed model
        assert proven.values[0] - slack <= found[name].min(), name
        assert found[name].max() <= proven.values[1] + slack, name
        if proven.stuck and found[name].shape[-1] == len(proven.low):
            assert np.ptp(found[name][..., list(proven.stuck)], axis=0).max() <= slack


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-4, 3), min_size=6, max_size=6),
    st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=2),
)
def test_a_small_layer_reaches_its_range(weights: list[int], bias: list[int]) -> None:
    numbers = ", ".join(str(weight) for weight in weights)
    model = build(f"""g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {{{numbers}}}, float s = {{1}},
      float z = {{0}}, float b = {{3}}, float[2] c = {{{bias[0]}, {bias[1]}}}, float h = {{4}}, float p = {{2}}>
      {{ q = {QUANT}(w, s, z, b) m = MatMul(x, q) a = Add(m, c) r = Relu(a) y = {QUANT}<signed = 0>(r, h, z, p) }}""")
    x = np.array(list(itertools.product(range(-2, 2), repeat=3)), np.float32)
    ranges = tensor_ranges(model, {"global_in": Grid.parse("INT2")})
    names = ["MatMul_0_out0", "Add_0_out0", "Relu_0_out0", "global_out"]
    found = qonnx_core.compile_model(model).run({"global_in": x}, intermediates=names)
    for name in names:
        lows, highs = found[name].min(axis=0), found[name].max(axis=0)
        proven = ranges[name]
        assert proven.values == (lows.min(), highs.max()), name
        assert list(proven.stuck) == [c for c in range(2) if lows[c] == highs[c]], name
    product = ranges["MatMul_0_out0"]
    step = product.grid.scale[0] if product.grid is not None else Fraction(1)
    assert [int(low) * step for low in product.low] == found["MatMul_0_out0"].min(axis=0).tolist()
    assert [int(high) * step for high in product.high] == found["MatMul_0_out0"].max(axis=0).tolist()


LAYER = f"""g (float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {{1, 0, 1, 0, 1, 0, -1, 0}}, float s = {{1}},
  float z = {{0}}, float b = {{2}}, float c = {{4}}>
  {{ q = {QUANT}(w, s, z, b) m = MatMul(x, q) y = {QUANT}(m, s, z, c) }}"""


def test_the_accumulator_is_the_narrowest_type_of_the_sum() -> None:
    ranges = tensor_ranges(build(LAYER), {"global_in": Grid.parse("UINT4")})
    product = ranges["MatMul_0_out0"]
    assert (product.low, product.high) == ((-15, 0), (45, 0))
    assert (str(product.accumulator), str(product.integers)) == ("INT7", "INT7")
    assert product.stuck == (1,)
    assert ranges["global_out"].accumulator is None
    assert str(ranges["global_out"].grid) == "INT4"
    assert ranges["global_in"].values == (0, 15)


def test_a_scaled_input_keeps_its_grid() -> None:
    found = tensor_ranges(build(LAYER), {"global_in": Grid.parse("UINT8*1/255")})
    assert str(found["global_in"].grid) == "UINT8*1/255"
    assert found["global_in"].values == (0, 1)
    assert (found["MatMul_0_out0"].low, found["MatMul_0_out0"].high) == ((-255, 0), (765, 0))


def test_a_quantizer_with_too_many_levels_passes_on_its_type() -> None:
    body = (
        LAYER.replace("float c = {4}", "float c = {16}")
        .replace("y = ", "k = ")
        .replace("float s", "float t = {3}, float s")
    )
    body = body.replace("(m, s, z, c)", "(m, t, z, c) y = MatMul(k, q2)").replace(
        "float z", "float[2, 1] v = {1, 1}, float z"
    )
    body = body.replace("m = ", f"q2 = {QUANT}(v, s, z, b) m = ").replace("float[N, 2] y", "float[N, 1] y")
    found = tensor_ranges(build(body), {"global_in": Grid.parse("INT16")})
    assert (min(found["Quant_2_out0"].low), max(found["Quant_2_out0"].high)) == (-(2**15), 2**15 - 1)
    assert found["global_out"].accumulator is not None


def test_only_integers_that_are_summed_have_an_accumulator() -> None:
    body = """g (float[N, 4] x, float[N, 4] u) => (float[N, 4] y, float[N, 4] a) <float[4] c = {0.1, 0.2, 0.3, 0.4}>
      { a = Add(x, c) y = Add(x, u) }"""
    grids = {"global_in": Grid.parse("UINT4"), "global_in_1": Grid.parse("INT4")}
    found = tensor_ranges(build(body), grids)
    assert [str(found[name].accumulator) for name in ("global_out", "global_out_1")] == ["INT6", "None"]
    assert found["global_out"].values == (-8, 22)


def test_what_has_no_grid_says_why() -> None:
    body = "g (float[N, 4] x) => (float[N, 4] y) { e = Erf(x) y = Relu(e) }"
    found = tensor_ranges(build(body), {"global_in": Grid.parse("UINT4")})
    assert found["Erf_0_out0"].reason == "Erf_0 (Erf): its values lie on no grid"
    assert found["Erf_0_out0"].values == (0, 1)
    assert "it depends on Erf_0_out0" in found["global_out"].reason
    assert found["global_out"].integers is None


def test_the_command_prints_ranges(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    qonnx_core.save(build(LAYER), path)
    run = CliRunner()
    result = run.invoke(app, ["range", str(path), "--input-type", "UINT4", "--json", "--channels"])
    assert result.exit_code == 0
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert found["MatMul_0_out0"]["accumulator"] == "INT7"
    assert found["MatMul_0_out0"]["channels"] == {
        "low": [-15, 0], "high": [45, 0], "values": [[-15, 45], [0, 0]], "accumulators": ["INT7", "BINARY"],
    }  # fmt: skip
    result = run.invoke(app, ["range", str(path), "--input-type", "UINT4", "--stuck"])
    assert result.exit_code == 0
    assert "MatMul" in result.stdout
    result = run.invoke(app, ["range", str(path), "--json"])
    assert result.exit_code == 0
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert "--input-type" in found["global_in"]["reason"]
    assert found["MatMul_0_out0"]["values"] is None
    assert found["global_out"]["integers"] == "INT4"
    result = run.invoke(app, ["range", str(path), "--input-range=-0.5,1.5", "--json", "--zero-stuck"])
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert found["MatMul_0_out0"]["values"] == [-3, 5]
    assert found["MatMul_0_out0"]["zero_stuck_channels"] == [1]
    assert "global_in" not in found
    result = run.invoke(app, ["range", str(path), "--tensor", "MatMul_*", "--tensor", "global_out", "--json"])
    assert [row["name"] for row in json.loads(result.stdout)] == ["MatMul_0_out0", "global_out"]
    result = run.invoke(app, ["range", str(path), "--tensor", "nowhere"])
    assert (result.exit_code, "tensor 'nowhere'" in result.stderr) == (1, True)
    for second, message in (("--input-type=INT4", "lies on the grid INT4"), ("--input-range=0,2", "is the second one")):
        result = run.invoke(app, ["range", str(path), "--input-range=0,1", second])
        assert (result.exit_code, message in " ".join(result.stderr.split())) == (1, True)
    for option, message in (("1", "expected two numbers"), ("u=0,1", "has no input u")):
        result = run.invoke(app, ["range", str(path), "--input-range", option])
        assert result.exit_code == 1
        assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", ["convert", "cost", "diff", "range"])
def test_each_new_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout


def test_the_accumulator_of_a_truncated_average_holds_the_sum_before_it() -> None:
    """Four numbers of 2 bits add up to 12 before two bits are dropped."""
    body = """g (float[N, 1, 2, 2] x) => (float[N, 1, 1, 1] y)
      { y = qonnx.custom_op.general.QuantAvgPool2d<stride = 2, kernel = 2, ibits = 2, obits = 2, signed = 0>(x) }"""
    found = tensor_ranges(build(body), {"global_in": Grid.parse("UINT2")})["global_out"]
    assert (str(found.integers), str(found.accumulator), str(found.partial_sums)) == ("UINT2", "UINT4", "UINT4")
    assert [str(datatype) for datatype in found.accumulators] == ["UINT4"]


def test_a_popcount_adds_ones_alone() -> None:
    body = """g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {0, 1, 1, 1, 0, 0}>
      { y = qonnx.custom_op.general.XnorPopcountMatMul(x, w) }"""
    found = tensor_ranges(build(body), {"global_in": Grid.parse("UINT1")})["global_out"]
    assert (found.low, found.high) == ((0, 0), (3, 3))
    assert (str(found.accumulator), str(found.partial_sums)) == ("UINT2", "UINT2")


def test_whole_numbers_are_seen_whatever_the_scale() -> None:
    """A stuck channel is one number; bipolar numbers of scale 1/2 around 1/2 are 0 and 1."""
    body = """g (float[N, 2] x) => (float[N, 2] a, float[N, 2] b) <float h = {0.5}, float[2] z = {0, 0}>
      { m = Mul(x, h) a = Add(m, h) b = Mul(m, z) }"""
    found = tensor_ranges(build(body), {"global_in": Grid.parse("BIPOLAR")})
    assert [str(found[name].whole) for name in ("global_out", "global_out_1", "Mul_0_out0")] == [
        "BINARY", "BINARY", "None",
    ]  # fmt: skip


def subsets(terms: list[list[int]]) -> tuple[int, int]:
    """Return the smallest and the largest sum of any of the terms, each of which is one of its numbers."""
    found = [sum(chosen) for n in range(len(terms) + 1) for some in itertools.combinations(terms, n)
             for chosen in itertools.product(*some)]  # fmt: skip
    return min(found), max(found)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from(["INT2", "UINT1", "BIPOLAR", "(UINT2-3)"]),
)
def test_partial_sums_are_those_of_windows_that_occur(weights: list[int], size: int, pad: int, text: str) -> None:
    """Where a window reaches into padding, fewer terms are added; padding is the zero point of the grid."""
    taps, places = len(weights), size + 2 * pad - len(weights) + 1
    if places < 1 or pad >= taps or math.gcd(*weights) != 1:
        return
    grid = Grid.parse(text)
    low, high = grid.integers
    levels = [-1, 1] if text == "BIPOLAR" else list(range(low, high + 1))
    windows = [
        [[w * k for k in (levels if 0 <= place + t - pad < size else [grid.zero_point[0]])]
         for t, w in enumerate(weights)]
        for place in range(places)
    ]  # fmt: skip
    body = f"""g (float[N, 1, {size}] x) => (float[N, 1, {places}] y) <float[1, 1, {taps}] w = {{
      {", ".join(map(str, weights))}}}> {{ y = Conv<pads = [{pad}, {pad}]>(x, w) }}"""
    found = tensor_ranges(build(body), {"global_in": grid})["global_out"]
    lows, highs = zip(*map(subsets, windows), strict=True)
    assert found.partial_sums == smallest_datatype(min(lows), max(highs))
    ends = [(sum(map(min, window)), sum(map(max, window))) for window in windows]
    assert found.accumulator == smallest_datatype(min(a for a, _ in ends), max(b for _, b in ends))

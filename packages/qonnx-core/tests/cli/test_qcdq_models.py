"""Models with QuantizeLinear and DequantizeLinear keep the grids of their weights in every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.cli.app import app
from qonnx_core.formats.from_qcdq import REMARK
from qonnx_core.formats.reader import from_proto

MODEL = """<ir_version: 8, opset_import: ["": 13]> g (float[N, 4] x) => (float[N, 3] y)
<float s = {0.125}, uint8 z = {128}, float[3] t = {0.5, 0.25, 0.125}, int8[3] o = {0, 0, 0}, float u = {0.25},
 int8[4, 3] w = {1, -2, 3, 4, -5, 6, 7, -8, 9, 10, -127, 127}, int8 zero = {0}>
{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear<axis = 1>(w, t, o) m = MatMul(d, v)
  r = QuantizeLinear(m, u, zero) y = DequantizeLinear(r, u, zero) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    qonnx_core.save(from_proto(onnx.parser.parse_model(MODEL)), tmp_path / "qdq.onnx")
    return tmp_path / "qdq.onnx"


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout, " ".join(result.stderr.split())


def test_the_cost_counts_the_bits_of_the_weights(model: Path) -> None:
    out, err = run("cost", model, "--json")
    total = json.loads(out)["total_cost"]
    assert total["total_mem_w_bits"] == 12 * 8
    assert total["op_mac_SCALEDINT<8>_SCALEDINT<8>"] == 12
    assert REMARK in err


def test_ranges_know_the_grids(model: Path) -> None:
    out, err = run("range", model, "--input-type", "FIXED<16,8>", "--json")
    assert "2^-3" in out
    assert REMARK in err


def test_cleaning_reads_quant_and_computes_the_same(model: Path, tmp_path: Path) -> None:
    _, err = run("clean", model, "-o", tmp_path / "clean.onnx")
    assert REMARK in err
    cleaned = qonnx_core.load(tmp_path / "clean.onnx")
    assert sorted(node.op_type for node in cleaned.graph) == ["MatMul", "Quant", "Quant", "Quant"]
    x = np.random.default_rng(0).normal(0, 8, (20, 4)).astype(np.float32)
    wanted = qonnx_core.compile_model(qonnx_core.load(model)).run({"x": x})["y"]
    np.testing.assert_array_equal(qonnx_core.compile_model(cleaned).run({"global_in": x})["global_out"], wanted)

"""`qonnx prune`: what it removes, what it reports, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from qonnx_core import compile_model, load, save
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import set_sparsity
from qonnx_core.passes.prune.masks import read_channels

MODEL = """<ir_version: 10, opset_import: ["": 21]> g (float[N, 2] x) => (float[N, 2] y)
<float[2, 3] w = {1, 2, 0, 3, 4, 0}, float[3, 2] v = {1, 2, 3, 4, 5, 6}>
{ m = MatMul(x, w) r = Relu(m) y = MatMul(r, v) }"""
X = np.arange(-4, 4, dtype=np.float32).reshape(4, 2)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def write(tmp_path: Path) -> Path:
    model = from_proto(onnx.parser.parse_model(MODEL))
    set_sparsity(model.graph.initializers["w"], {1: {0}})
    save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_channels_of_zeros_go_and_the_result_stays(tmp_path: Path) -> None:
    source, target = write(tmp_path), tmp_path / "small.onnx"
    code, out, _ = run("prune", source, "--zero-channels", "-o", target, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["removed"] == {"w": {"1": [2]}, "m": {"1": [2]}, "r": {"1": [2]}, "v": {"0": [2]}}
    assert found["cost"]["total_mem_w_elems"] == {"before": 12, "after": 8}
    wanted, small = (compile_model(load(path)).run({"x": X})["y"] for path in (source, target))
    np.testing.assert_array_equal(small, wanted)


def test_named_channels_go_where_losses_are_meant(tmp_path: Path) -> None:
    source, target, file = write(tmp_path), tmp_path / "small.onnx", tmp_path / "channels.yaml"
    file.write_text("r: {1: [0]}\n")
    code, _, err = run("prune", source, "--channels", file, "-o", target)
    assert code == 1
    assert "r, axis 1, channels 0" in " ".join(err.split())
    assert not target.exists()
    code, out, _ = run("prune", source, "--channels", file, "--lossy", "-o", target)
    assert code == 0
    assert "4 slices of 4 tensors removed" in " ".join(out.split())
    assert list(load(target).graph.initializers["w"].shape or ()) == [2, 2]
    code, out, err = run("prune", source, "--channels", file, "--partial", "-o", target)
    assert code == 0
    assert "0 slices of 0 tensors" in " ".join(out.split())
    assert "kept: r, axis 1, channels 0" in " ".join(err.split())


def test_annotations_of_the_model_name_channels(tmp_path: Path) -> None:
    code, out, _ = run("prune", write(tmp_path), "--annotated", "--lossy", "-o", tmp_path / "small.onnx", "--json")
    assert code == 0
    assert json.loads(out)["removed"]["w"] == {"1": [0]}


def test_nothing_to_prune_is_refused(tmp_path: Path) -> None:
    code, _, err = run("prune", write(tmp_path))
    assert code == 1
    assert "nothing says which channels go" in " ".join(err.split())


def test_types_of_inputs_prove_more(tmp_path: Path) -> None:
    source, target = write(tmp_path), tmp_path / "small.onnx"
    model = load(source)
    value = model.graph.initializers["w"]
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy() * np.asarray([1, -1, 0], np.float32), name="w")
    save(model, source)
    code, out, _ = run("prune", source, "--zero-channels", "--input-type", "UINT8", "-o", target, "--json")
    assert code == 0
    assert json.loads(out)["removed"]["w"] == {"1": [1, 2]}


def test_the_channel_sets_of_other_tools_are_read(tmp_path: Path) -> None:
    """They are the text of a Python dictionary with sets."""
    file = tmp_path / "channels.txt"
    file.write_text("{'Relu_0_out0': {1: {0, 3}, 2: {1}}}")
    assert read_channels(file) == {"Relu_0_out0": {1: {0, 3}, 2: {1}}}
    file.write_text("{'Relu_0_out0': {1: {a, 3}}}")
    with pytest.raises(InvalidInput, match="expected the number of an axis and a list of channels"):
        read_channels(file)


def test_a_model_whose_cost_is_refused_leaves_no_file(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 23, "f": 1]> g (float[1, 4] x) => (float[1, 4] y) { y = f.F(x) }
    <domain: "f", opset_import: ["": 21]> F (a) => (b) { b = Abs(a) }"""
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    code, _, err = run("prune", tmp_path / "m.onnx", "--zero-channels", "-o", tmp_path / "small.onnx")
    assert code == 1
    assert "imports version 21 of ai.onnx" in " ".join(err.split())
    assert not (tmp_path / "small.onnx").exists()

"""Random perceptrons through every backend and through both at once, down to the simulated wires."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qonnx_core import save
from qonnx_core.build import load
from qonnx_core.errors import InvalidInput, Mismatch, Unsupported
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from road import assert_exact

SHAPES = {
    "power of two": MlpShape(),
    "any scale, batch norm": MlpShape(power_of_two=False, batch_norm=True, per_channel=True),
}


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Path]:
    def make(shape: MlpShape, seed: int = 1) -> Path:
        path = tmp_path / "network.onnx"
        save(random_mlp(seed, shape), path)
        return path

    return make


@pytest.mark.parametrize("backend", ["finn", "hls4ml", "mixed"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_station_is_exact(
    backend: str, shape: str, network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    report = build(network(SHAPES[shape]), backend, input_types={"": "INT6*1/8"}, samples=64, steps=("simulate",))
    assert_exact(report, boundary=0 if shape == "power of two" else 64)
    assert len(report["partitions"]) == (2 if backend == "mixed" else 1)
    assert report["latency_cycles"] >= report["initiation_interval_cycles"] >= 1
    manifest = json.loads((tmp_path / "out" / "stitched" / "manifest.json").read_text())
    assert [stream["prefix"] for stream in manifest["streams"]] == ["s_axis_0", "m_axis_0"]
    assert manifest["streams"][0]["datatype"] == "INT6"
    assert manifest["streams"][0]["scale"] == "1/8"
    assert (tmp_path / "out" / "stitched" / "files.f").is_file()


def test_a_finished_build_runs_like_a_function(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    path = network(SHAPES["power of two"])
    build(path, "mixed", input_types={"global_in": "INT6*1/8"}, samples=16, steps=("simulate",))
    finished = load(tmp_path / "out")
    x = np.random.default_rng(5).integers(-32, 32, (9, 6)).astype(np.float32) / 8
    expected = finished.run(x, engine="integer")
    assert np.array_equal(finished.run(x), expected)
    assert np.array_equal(finished.run(x, engine="simulation"), expected)
    assert np.array_equal(finished.run({"global_in": x})["global_out"], expected)
    with pytest.raises(InvalidInput, match="expected global_in"):
        finished.run({"pixels": x})


def test_the_host_models_frame_the_hardware_in_stock_onnxruntime(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    import onnxruntime

    build(network(SHAPES["power of two"]), "finn", input_types={"": "INT6*1/8"}, samples=16, steps=("simulate",))
    finished = load(tmp_path / "out")
    x = np.random.default_rng(5).integers(-32, 32, (9, 6)).astype(np.float32) / 8
    names = [tmp_path / "out" / "host" / name for name in ("pre.onnx", "post.onnx")]
    pre, post = (onnxruntime.InferenceSession(str(name), providers=["CPUExecutionProvider"]) for name in names)
    (integers,) = pre.run(None, {pre.get_inputs()[0].name: x})
    assert np.array_equal(integers.astype(np.float64).reshape(x.shape), x.astype(np.float64) * 8)
    context = finished._context
    wire = context.stage_integers[context.output_tensors[0]][:1]
    value = post.get_inputs()[0]
    kind = np.float64 if "double" in value.type else np.int64 if "int64" in value.type else np.float32
    (found,) = post.run(None, {value.name: wire.astype(kind)})
    assert np.allclose(found, context.samples.outputs["global_out"][:1], rtol=0, atol=1e-6)


def test_the_same_model_gives_the_same_bytes(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    path = network(SHAPES["power of two"])
    for output in ("one", "two"):
        build(path, "mixed", output=output, input_types={"": "INT6*1/8"}, samples=8, steps=("stitch",))
    for folder in ("parts", "stitched", "host"):
        files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one" / folder).rglob("*") if p.is_file()]
        assert files
        for file in files:
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_a_damaged_weight_file_is_found_with_tensor_sample_waves_and_command(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    path = network(SHAPES["power of two"])
    options = {"input_types": {"": "INT6*1/8"}, "samples": 32}
    build(path, "finn", steps=("stitch",), **options)
    stitched = tmp_path / "out" / "stitched"
    manifest = json.loads((stitched / "manifest.json").read_text())
    weights = max((stitched / name for name in manifest["data_files"]), key=lambda file: file.stat().st_size)
    flipped = [f"{int(word, 16) ^ ((1 << 4 * len(word)) - 1):0{len(word)}x}" for word in weights.read_text().split()]
    weights.write_text("\n".join(flipped) + "\n")
    with pytest.raises(Mismatch, match=r"sample \d+.*expected.*\.vcd.*qonnx build") as caught:
        build(path, "finn", steps=("simulate",), **options)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["mismatches"] > 0
    assert not report["complete"]
    assert next((tmp_path / "out" / "mismatch").glob("*.vcd")).stat().st_size > 1000
    assert "--steps simulate" in str(caught.value)


def test_label_select_answers_with_the_lowest_index_of_the_largest_logit(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    path = network(MlpShape(tail=False))
    report = build(path, "finn", input_types={"": "INT6*1/8"}, samples=64, label_select=True, steps=("simulate",))
    assert report["mismatches"] == 0
    finished = load(tmp_path / "out")
    x = np.random.default_rng(7).integers(-32, 32, (20, 6)).astype(np.float32) / 8
    from qonnx_core import compile_model
    from qonnx_core import load as load_model

    logits = compile_model(load_model(path)).run({"global_in": x})["global_out"]
    assert np.array_equal(finished.run(x).ravel(), logits.argmax(1))


def test_ecp5_is_synthesized_on_request(network: Callable[..., Path], build: Callable[..., Any]) -> None:
    report = build(
        network(SHAPES["power of two"]),
        "mixed",
        input_types={"": "INT6*1/8"},
        samples=8,
        synthesize=("xc7", "ecp5"),
    )
    assert set(report["resources"]) == {"xc7", "ecp5"}
    assert all(found["lut"] > 0 and found["ff"] > 0 for found in report["resources"].values())


def test_a_folding_that_does_not_divide_lists_the_legal_ones(
    network: Callable[..., Path], build: Callable[..., Any], tmp_path: Path
) -> None:
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({"Defaults": {}, "MVAU_0": {"PE": 3, "SIMD": 1}}))
    with pytest.raises((InvalidInput, Unsupported), match=r"PE.*1, 2, 4, 8"):
        build(network(SHAPES["power of two"]), "finn", input_types={"": "INT6*1/8"}, folding=folding, samples=4)
    folding.write_text(json.dumps({"Defaults": {}, "MVAU_17": {"PE": 1, "SIMD": 1}}))
    with pytest.raises((InvalidInput, Unsupported), match=r"MVAU_17.*MVAU_0"):
        build(network(SHAPES["power of two"]), "finn", input_types={"": "INT6*1/8"}, folding=folding, samples=4)

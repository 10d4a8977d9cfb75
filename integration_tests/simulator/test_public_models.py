"""Models trained elsewhere, with the outputs their authors' tools gave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qonnx_core.testing import shared_file
from road import ROOT, assert_exact

MODELS = {
    "TFC_1W2A": ("models/zoo/TFC_1W2A.onnx", "models/zoo/TFC_1W2A.npz", "UINT8*1/255"),
    "jet tagging": ("models/zoo/qkeras_jettagging.onnx", "models/zoo/qkeras_jettagging.npz", "FIXED<16,6>"),
    "jet_6b": ("models/qkeras/jet_6b.h5", "models/qkeras/jet_6b.npz", "FIXED<16,6>"),
}
CASES = [
    ("TFC_1W2A", "finn"),
    ("TFC_1W2A", "hls4ml"),
    ("TFC_1W2A", "mixed"),
    ("jet tagging", "finn"),
    ("jet tagging", "hls4ml"),
    ("jet tagging", "mixed"),
    ("jet_6b", "mixed"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_public_model_is_exact_down_to_the_wires(name: str, backend: str, build: Callable[..., Any]) -> None:
    model, data, input_type = MODELS[name]
    report = build(
        shared_file(model), backend, data=shared_file(data), input_types={"": input_type}, steps=("simulate",)
    )
    assert_exact(report)
    framework = report["checks"][0]
    assert framework["left"] == "framework"
    if name == "TFC_1W2A":
        assert framework["equal"] == framework["samples"]
        assert report["off_grid"] == 0


@pytest.mark.slow
def test_the_mnist_test_set_gets_9474_right_at_64_cycles_a_frame(tmp_path: Path) -> None:
    shared = shared_file("data/mnist-t10k-images-idx3-ubyte.gz").parent.parent
    shared_file("models/zoo/TFC_1W2A.onnx")
    command = [sys.executable, str(ROOT / "examples" / "mnist_tfc.py"), "--shared", str(shared)]
    subprocess.run([*command, "--output", str(tmp_path)], check=True, timeout=1800)
    for backend in ("finn", "mixed"):
        report = json.loads((tmp_path / backend / "report.json").read_text())
        assert report["samples"] == 10_000
        assert report["mismatches"] == report["boundary"] == report["off_grid"] == 0
        assert np.isclose(report["accuracy_rtl"], 0.9474, rtol=0, atol=1e-9)
    finn = json.loads((tmp_path / "finn" / "report.json").read_text())
    assert finn["initiation_interval_cycles"] == 64

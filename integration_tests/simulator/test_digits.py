"""The demo's two trained models: framework = QONNX = RTL on real handwritten digits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from road import ROOT, assert_exact

MODELS = {"digits_brevitas": "UINT5", "digits_qkeras": "UINT5*1/16"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and export both models as the demo does, each framework in a process of its own."""
    folder = tmp_path_factory.mktemp("digits")
    code = (
        "import sys; from pathlib import Path; from rich.console import Console; import demo\n"
        "if __name__ == '__main__':\n"
        "    for model in demo.MODELS: demo.prepare(model, Path(sys.argv[1]), Console(stderr=True))\n"
    )
    script = ROOT / "examples" / "demo.py"
    assert script.is_file()
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=script.parent, timeout=600)
    return folder


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("digits_brevitas", "finn"),
        ("digits_brevitas", "mixed"),
        ("digits_qkeras", "finn"),
        ("digits_qkeras", "hls4ml"),
    ],
)
def test_the_held_out_digits_are_classified_as_in_the_framework(
    name: str, backend: str, trained: Path, build: Callable[..., Any]
) -> None:
    folder = trained / name
    report = build(
        folder / "model.onnx",
        backend,
        data=folder / "held_out.npz",
        input_types={"": MODELS[name]},
        steps=("synthesize",) if backend == "finn" else ("simulate",),
    )
    assert_exact(report)
    assert report["off_grid"] == 0
    assert report["samples"] == 540
    assert report["accuracy_rtl"] == report["accuracy_framework"] >= 0.93
    assert report["checks"][0]["left"] == "framework"
    with np.load(folder / "held_out.npz") as data:
        assert np.unique(data["labels"]).tolist() == list(range(10))

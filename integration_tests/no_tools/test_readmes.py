"""The program in each package's README runs as it stands there, its pieces in order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qonnx_core import save
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from road import ROOT

PRINTS = {
    "qonnx-core": "(100, 4) [",
    "export-brevitas": "0 mismatch",
    "ingest-qkeras": "0 mismatch",
    "backend-finn": "accelerator 64 cycles a frame",
    "backend-hls4ml": "accelerator ",
}


@pytest.mark.parametrize("package", list(PRINTS))
def test_the_example_of_the_readme_runs(package: str, tmp_path: Path) -> None:
    readme = (ROOT / "packages" / package / "README.md").read_text("utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    save(random_mlp(3, MlpShape(power_of_two=False)), tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert PRINTS[package] in done.stdout


def test_links_of_the_readmes_lead_somewhere() -> None:
    for readme in (ROOT / "README.md", *(ROOT / "packages").glob("*/README.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", readme.read_text("utf-8")):
            assert (readme.parent / link).exists(), f"{readme.relative_to(ROOT)}: {link}"

"""A package of somebody else with an operator and a pass: installed by pip, found, run, and held to the contracts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugin_example"

CONTRACTS = """
import sys
import numpy as np
import onnx.parser
from qonnx_core import cleanup_model, compile_model, load, plugins, save
from qonnx_core.formats.reader import from_proto
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.op_contract import OpExample, check_op, ties_and_extremes
from qonnx_core.testing.pass_contract import check_pass

assert "half_wave" in plugins.names("ops")
assert "relu_to_half_wave" in plugins.names("passes")
assert "plugin_example" not in sys.modules
op = plugins.load("ops", "half_wave")
finite = ties_and_extremes()
finite = finite[np.isfinite(finite)]
check_op(OpExample(op(), [finite, np.asarray(0.25, np.float32)]))

text = '<ir_version: 8, opset_import: ["": 18]> g (float[N, 3] x) => (float[N, 3] y) { r = Relu(x) y = Neg(r) }'
model = from_proto(onnx.parser.parse_model(text))
InferShapes().run(model)
x = np.asarray([[-1.5, 0, 2]], np.float32)
changed = check_pass(plugins.passes()["relu_to_half_wave"](), model, {"x": x}, min_edits=1)
assert [node.op_type for node in changed.graph] == ["HalfWave", "Neg"]

save(changed, "changed.onnx")
again = cleanup_model(load("changed.onnx"))
assert [node.name for node in again.graph] == ["HalfWave_0", "Neg_0"]
np.testing.assert_array_equal(compile_model(again).run({"global_in": x})["global_out"], [[0, 0, -2]])
print("found and exact")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example as a user would, into a folder of its own."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "source")  # so that nothing is written beside the sources
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", folder / "site", folder / "source"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(installed: Path, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_installed_plug_in_is_found_and_keeps_the_contracts(installed: Path, tmp_path: Path) -> None:
    done = run(installed, CONTRACTS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "found and exact"


def test_without_the_plug_in_its_operator_is_refused_by_name(installed: Path, tmp_path: Path) -> None:
    assert run(installed, CONTRACTS, tmp_path).returncode == 0
    code = (
        "import qonnx_core, numpy as np;"
        "qonnx_core.compile_model(qonnx_core.load('changed.onnx')).run({'x': np.zeros((1, 3), np.float32)})"
    )
    alone = run(tmp_path / "nothing", code, tmp_path)
    assert alone.returncode != 0
    assert "HalfWave" in alone.stderr.splitlines()[-1]

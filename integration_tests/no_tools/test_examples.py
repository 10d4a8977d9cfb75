"""The examples: an operator of one's own keeps the contract; programs work up to where they train or simulate."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from road import ROOT

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))

OPERATOR = """
import custom_operator
import numpy as np
from qonnx_core.testing.op_contract import OpExample, check_op, ties_and_extremes

for dtype in (np.float32, np.float64):
    check_op(OpExample(custom_operator.SoftRound(), [ties_and_extremes(dtype), np.float32(0.5)]))
    rows = ties_and_extremes(dtype)[:96].reshape(-1, 4)
    check_op(OpExample(custom_operator.SoftRound(), [rows, np.float32([1, 2, 3, 4])]))
"""


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__(name)


def test_an_operator_of_ones_own_keeps_the_contract_when_it_is_installed(tmp_path: Path) -> None:
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qonnx_core.ops]\nsoft_round = custom_operator:SoftRound\n")
    path = os.pathsep.join([str(tmp_path), str(EXAMPLES)])
    done = subprocess.run(
        [sys.executable, "-c", OPERATOR],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_how_to_shows_the_example_that_is_tested() -> None:
    page = (ROOT / "docs" / "how-to" / "add-an-operator.md").read_text("utf-8")
    assert "<!-- source: examples/custom_operator.py -->" in page


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name in ("demo.py", "mnist_tfc.py")])
def test_a_program_says_how_it_is_used(program: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout
    assert "nox -s" in done.stdout


def test_the_demo_builds_two_models_five_times_and_one_of_them_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load("demo", monkeypatch)
    assert len(demo.BUILDS) == len(set(demo.BUILDS)) == 5
    assert {name for name, _ in demo.BUILDS} == {model.name for model in demo.MODELS}
    assert {backend for _, backend in demo.BUILDS} == {"finn", "hls4ml", "mixed"}


def test_the_table_of_the_demo_names_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    demo = load("demo", monkeypatch)
    row = {
        "name": "digits_brevitas",
        "backend": "finn",
        "accuracy_framework": 0.9512,
        "accuracy_rtl": 0.9512,
        "mismatches": 0,
        "latency_cycles": 123,
        "initiation_interval_cycles": 64.0,
        "resources": {"xc7": {"lut": 4321, "ff": 987, "bram18": 5, "dsp": 1}},
        "seconds": {"simulate": 12.4, "synthesize": 30.0},
    }
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(demo.results([row]))
    text = console.export_text()
    for found in ("digits_brevitas", "finn", "95.12 %", "123", "64", "xc7", "4321", "987", "42"):
        assert found in text


def test_a_model_that_learned_too_little_stops_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load("demo", monkeypatch)
    x = np.zeros((10, 64), np.float32)
    with pytest.raises(SystemExit, match=r"accuracy is 0.5000; expected at least 0.93"):
        demo.save(tmp_path, x, np.eye(10, dtype=np.float32)[[0] * 10], [0] * 5 + [1] * 5)
    assert not list(tmp_path.iterdir())
    demo.save(tmp_path, x, np.eye(10, dtype=np.float32), range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["held_out.npz"]


def test_pictures_of_mnist_are_read_and_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = load("mnist_tfc", monkeypatch)
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    header = b"\0\0\x08\x03" + np.asarray(pictures.shape, ">u4").tobytes()
    (tmp_path / "pictures.gz").write_bytes(gzip.compress(header + pictures.tobytes()))
    np.testing.assert_array_equal(mnist.read_idx(tmp_path / "pictures.gz"), pictures)
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"\0\0\x0d\x03" + b"\0" * 12))
    with pytest.raises(SystemExit, match="not an IDX file of unsigned bytes"):
        mnist.read_idx(tmp_path / "other.gz")


def test_the_folding_of_the_example_is_the_published_one() -> None:
    folding = json.loads((EXAMPLES / "tfc_folding.json").read_text())
    assert {name: (fold["PE"], fold["SIMD"]) for name, fold in folding.items() if name.startswith("MVAU")} == {
        "MVAU_hls_0": (16, 49),
        "MVAU_hls_1": (8, 8),
        "MVAU_hls_2": (8, 8),
        "MVAU_hls_3": (10, 8),
    }


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name.startswith("train_")])
def test_a_training_program_offers_what_the_demo_calls_and_imports_its_framework_on_use(program: str) -> None:
    """Training itself is covered by the packages' own tests of these programs and by the flows with the simulator."""
    name = program.removesuffix(".py")
    code = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import {name}; assert callable({name}.train)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr

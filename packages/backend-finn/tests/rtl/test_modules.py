"""Every library module passes the strict linter, and wrong parameters stop elaboration with a message."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qonnx_core.eda.sv import rtl_library
from qonnx_core.eda.tools import find_verilator
from qonnx_core.errors import ToolMissing

LIBRARY = rtl_library("backend_finn")
MODULES = sorted(path.stem for path in LIBRARY.glob("*.sv"))
WRONG = [
    ("mvau", {"PE": 3}, "PE has to divide MH, and SIMD has to divide MW"),
    ("mvau", {"Xnor": 1}, "a bipolar operand has one bit and no sign"),
    ("thresholding", {"PE": 3}, "PE has to divide Channels"),
    ("thresholding", {"ThresholdBits": 2}, "ThresholdBits has to hold a signed input"),
    ("label_select", {"PE": 3}, "PE has to divide Labels"),
    ("label_select", {"OutBits": 2}, "OutBits holds an index"),
    ("stream_add", {"ABipolar": 1}, "a bipolar operand has one bit"),
    ("channel_affine", {"PE": 3}, "PE has to divide Channels"),
    ("requantize", {"Shift": 20}, "Shift is at most InBits"),
    ("requantize", {"Rounding": '"ROUND"'}, "Rounding is HALF_EVEN"),
    ("replay_buffer", {"Words": 0}, "Width, Words and Repeats are at least 1"),
]


def lint(module: str, parameters: dict[str, object], directory: Path) -> subprocess.CompletedProcess[str]:
    try:
        verilator = find_verilator()
    except ToolMissing as error:
        pytest.skip(str(error))
    overrides = [f"-G{name}={value}" for name, value in parameters.items()]
    command = [
        str(verilator.binary),
        "--lint-only",
        "-Wall",
        *overrides,
        "--top-module",
        module,
        *map(str, LIBRARY.glob("*.sv")),
    ]
    environment = {**os.environ, "VERILATOR_ROOT": str(verilator.root)}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_quiet_under_every_warning(module: str, tmp_path: Path) -> None:
    result = lint(module, {}, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("module", "parameters", "message"), WRONG)
def test_wrong_parameters_stop_elaboration(
    module: str, parameters: dict[str, object], message: str, tmp_path: Path
) -> None:
    result = lint(module, parameters, tmp_path)
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_header_says_latency_rate_back_pressure_and_reset(module: str) -> None:
    header = (LIBRARY / f"{module}.sv").read_text().split(f"module {module}")[0]
    assert all(word in header for word in ("Latency:", "Rate:", "Back-pressure:", "Reset "))

"""Synthesis: resources counted by one arithmetic, tool errors as errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qonnx_core.eda.streams import Component
from qonnx_core.eda.synthesize import count_resources, synthesize
from qonnx_core.errors import InvalidInput, ToolFailed, ToolMissing

MakeStage = Callable[..., Component]
ROM = '  logic [7:0] rom [4]; initial $readmemh("rom.hex", rom, 0, 3);'


def test_cells_are_counted_as_documented() -> None:
    xc7 = {"LUT1": 1, "LUT6": 2, "INV": 9, "RAM32M": 2, "SRL16E": 3, "FDRE": 5, "FDSE": 1, "RAMB18E1": 1, "RAMB36E1": 2}
    found = count_resources("xc7", {**xc7, "DSP48E1": 4, "CARRY4": 7, "MUXF7": 8})
    assert (found.lut, found.ff, found.bram18, found.dsp) == (3 + 8 + 3, 6, 5, 4)
    ecp5 = {"LUT4": 10, "CCU2C": 2, "TRELLIS_DPR16X4": 1, "TRELLIS_FF": 3, "DP16KD": 2, "MULT18X18D": 1, "PFUMX": 5}
    found = count_resources("ecp5", ecp5)
    assert (found.lut, found.ff, found.bram18, found.dsp) == (10 + 4 + 6, 3, 2, 1)


def test_a_component_with_a_memory_file_is_synthesized(yosys: None, make_stage: MakeStage, tmp_path: Path) -> None:
    component = make_stage(extra=ROM, data="data ^ rom[1]", data_files={"rom.hex": "00\nff\n00\n00\n"})
    found = synthesize(component, "ecp5", tmp_path / "work", timeout=300)
    assert found.ff >= 8
    assert found.lut > 0
    assert found.seconds > 0
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["run.ys", "stat.json", "yosys.log"]


def test_a_missing_memory_file_is_an_error_for_synthesis_too(
    yosys: None, make_stage: MakeStage, tmp_path: Path
) -> None:
    component = make_stage(extra=ROM, data="data ^ rom[1]")
    with pytest.raises(ToolFailed, match=r"(?s)Yosys: ended with exit code 1.*rom\.hex"):
        synthesize(component, "ecp5", tmp_path / "work", timeout=300)


def test_a_source_that_cannot_be_read_is_an_error(yosys: None, make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=r"(?s)Yosys: ended with.*no_such_signal") as caught:
        synthesize(make_stage(data="no_such_signal"), "ecp5", tmp_path / "work", timeout=300)
    assert caught.value.log == tmp_path / "work" / "yosys.log"


def test_a_time_limit_ends_synthesis(yosys: None, make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=r"Yosys: did not end within 0\.05 s"):
        synthesize(make_stage(), "xc7", tmp_path / "work", timeout=0.05)


def test_an_unknown_family_is_refused(make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="found family 'xcup'; expected xc7 or ecp5"):
        synthesize(make_stage(), "xcup", tmp_path / "work")


def test_without_yosys_the_error_says_how_to_get_it(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qonnx_core.eda.tools._package_directory", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install 'qonnx-core\[eda\]'"):
        synthesize(make_stage(), "xc7", tmp_path / "work")

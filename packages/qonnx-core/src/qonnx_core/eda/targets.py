"""The devices that a build can aim at: family, size and clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qonnx_core.errors import InvalidInput

Family = Literal["xc7", "ecp5"]


@dataclass(frozen=True, slots=True)
class Device:
    """What one die holds; ``bram18`` counts memories of 18 kbit."""

    name: str
    family: Family
    lut: int
    ff: int
    bram18: int
    dsp: int


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("xc7z007s", "xc7", 14_400, 28_800, 100, 66),
        Device("xc7z010", "xc7", 17_600, 35_200, 120, 80),
        Device("xc7z014s", "xc7", 40_600, 81_200, 214, 170),
        Device("xc7z020", "xc7", 53_200, 106_400, 280, 220),
        Device("xc7z030", "xc7", 78_600, 157_200, 530, 400),
        Device("xc7z035", "xc7", 171_900, 343_800, 1_000, 900),
        Device("xc7z045", "xc7", 218_600, 437_200, 1_090, 900),
        Device("xc7z100", "xc7", 277_400, 554_800, 1_510, 2_020),
        Device("xc7a35t", "xc7", 20_800, 41_600, 100, 90),
        Device("xc7a50t", "xc7", 32_600, 65_200, 150, 120),
        Device("xc7a100t", "xc7", 63_400, 126_800, 270, 240),
        Device("xc7a200t", "xc7", 134_600, 269_200, 730, 740),
        Device("xc7k160t", "xc7", 101_400, 202_800, 650, 600),
        Device("xc7k325t", "xc7", 203_800, 407_600, 890, 840),
        Device("xc7k410t", "xc7", 254_200, 508_400, 1_590, 1_540),
        Device("lfe5u-25f", "ecp5", 24_288, 24_288, 56, 28),
        Device("lfe5u-45f", "ecp5", 43_848, 43_848, 108, 72),
        Device("lfe5u-85f", "ecp5", 83_640, 83_640, 208, 156),
    )
}

DEFAULT_PART: dict[Family, str] = {"xc7": "xc7z020", "ecp5": "lfe5u-85f"}
"""The part that stands for a family where only the family is asked for."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def device_of(part: str) -> Device:
    """Return the device of a part name; package and speed grade may follow, as in ``xc7z020clg400-1``.

    Raises:
        InvalidInput: for a part that is not in the table; the message lists the known ones.

    """
    lowered = part.lower()
    fitting = [
        name
        for name in DEVICES
        if _PART.fullmatch(part) and lowered.startswith(name) and not lowered[len(name) :][:1].isdigit()
    ]
    if not fitting:
        raise InvalidInput(
            f"part: found {part!r}; expected one of {', '.join(DEVICES)} (package and speed grade may follow). "
            "Choose a listed part of similar size."
        )
    return DEVICES[max(fitting, key=len)]


@dataclass(frozen=True, slots=True)
class Target:
    """A part and the clock period (ns) that a design is made for.

    Raises:
        InvalidInput: for an unknown part or a clock period outside of 0.5 to 10 000 ns.

    """

    part: str = "xc7z020"
    clock_ns: float = 10.0

    def __post_init__(self) -> None:
        device_of(self.part)
        if not 0.5 <= self.clock_ns <= 10_000.0:
            raise InvalidInput(
                f"clock_ns: found {self.clock_ns}; expected a period between 0.5 and 10000 ns. "
                "Give nanoseconds, for example 10.0 for 100 MHz."
            )

    @property
    def device(self) -> Device:
        """The die of the part."""
        return device_of(self.part)

    @property
    def family(self) -> Family:
        """The family name that synthesis is asked for."""
        return self.device.family

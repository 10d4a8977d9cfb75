"""Resource formulas for a 7-series part: the LUTs, flip-flops and block RAMs of each piece of a kernel.

The shapes follow FINN's analytical models (memory by depth and width, logic by lanes and bits); the constants were
fitted to this package's own modules, synthesized by the project's one recipe. They are estimates: memories that end up
in LUTs are optimized as logic, so that other weights give other counts.
"""

from __future__ import annotations

from dataclasses import dataclass

BRAM18_BITS = 18432
LUT_ROM_DEPTH = 64  # one LUT6 holds 64 bits of a memory that is read one bit at a time
BLOCK_ROM_DEPTH = 512  # deeper memories become block RAM
DEEP_LUT_ROM = 1.6  # LUTs for each 64 bits of a memory that takes more than one LUT a bit


@dataclass(frozen=True, slots=True)
class Resources:
    """LUT, flip-flop, 18 kbit block RAM and DSP counts, and the bits that lie in block RAM."""

    lut: float = 0.0
    ff: float = 0.0
    bram18: int = 0
    dsp: int = 0
    memory_bits: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.bram18 + other.bram18,
            self.dsp + other.dsp,
            self.memory_bits + other.memory_bits,
        )

    def report(self) -> dict[str, float]:
        """Return the resources under the keys of FINN's ``estimate_layer_resources.json``."""
        efficiency = self.memory_bits / (self.bram18 * BRAM18_BITS) if self.bram18 else 1.0
        return {
            "BRAM_18K": self.bram18,
            "BRAM_efficiency": round(efficiency, 6),
            "LUT": round(self.lut),
            "FF": round(self.ff),
            "URAM": 0,
            "URAM_efficiency": 1,
            "DSP": self.dsp,
        }


def popcount_lut(bits: int) -> float:
    """Return the LUTs of a population count of so many bits, the gates in front of it included."""
    return bits / 2 if bits < 4 else 1.4 * bits


def bram18_for(depth: int, width: int) -> int:
    """Return the 18 kbit block RAMs of a memory, by the aspect ratios of the part."""
    for limit, lanes in ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2)):
        if depth <= limit:
            return -(-width // lanes)
    return width * -(-depth // 16384)


def rom(depth: int, width: int) -> Resources:
    """Return the resources of a read-only memory with a registered output."""
    if depth <= BLOCK_ROM_DEPTH:
        filled = 0.5 if depth < 16 else 0.85 if depth <= LUT_ROM_DEPTH else DEEP_LUT_ROM
        return Resources(
            lut=filled * width * -(-depth // LUT_ROM_DEPTH) if depth > 1 else 0.0, ff=width if depth > 1 else 0
        )
    return Resources(bram18=bram18_for(depth, width), memory_bits=depth * width)


def ram(depth: int, width: int) -> Resources:
    """Return the resources of a memory with one write and one registered read port."""
    if depth <= LUT_ROM_DEPTH * 4:
        groups = -(-depth // 32) if depth <= 32 else -(-depth // 64) * 2
        return Resources(lut=4 * -(-width // 6) * groups, ff=width)
    return Resources(bram18=bram18_for(depth, width), memory_bits=depth * width)


def fifo(depth: int, width: int) -> Resources:
    """Return the resources of a FIFO of a depth in words."""
    if depth <= 2:
        return Resources(lut=width + 3, ff=2 * width + 3)
    pointer = depth.bit_length()
    return ram(depth, width) + Resources(lut=2.5 * pointer + 2, ff=2 * pointer + 2)


def width_converter(lanes_in: int, lanes_out: int, element_bits: int) -> Resources:
    """Return the resources of a converter between words of so many elements."""
    if lanes_in == lanes_out:
        return Resources()
    wide = max(lanes_in, lanes_out) * element_bits
    if lanes_out % lanes_in == 0:
        return Resources(lut=8, ff=2 * wide)
    if lanes_in % lanes_out == 0:
        return Resources(lut=wide + 8, ff=2 * wide)
    return Resources(lut=4 * wide + 20, ff=2 * wide + 10)

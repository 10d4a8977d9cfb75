"""Shift, round and clip: the quantizer of power-of-two scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend_finn.cost import Resources
from backend_finn.kernels.base import IntArray, Kernel, Stage
from backend_finn.wires import Wire
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.view import Requantize

MODES = {
    "ROUND": "HALF_EVEN",
    "HALF_EVEN": "HALF_EVEN",
    "HALF_UP": "HALF_UP",
    "HALF_DOWN": "HALF_DOWN",
    "UP": "UP",
    "DOWN": "DOWN",
    "CEIL": "CEIL",
    "FLOOR": "FLOOR",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class RequantizeKernel(Kernel):
    """``output = clip(round(input / 2**shift), lo, hi)``."""

    shift: int
    rounding: str
    lo: int
    hi: int

    @staticmethod
    def of(layer: Requantize) -> RequantizeKernel:
        """Return the kernel of a layer, folded to one element a cycle."""
        input_, output = Wire.of(layer.input), Wire.of(layer.output)
        rounding = MODES.get(layer.rounding.upper())
        if rounding is None or input_.bipolar or output.bipolar:
            raise Unsupported(
                f"{layer.name}: rounding {layer.rounding} from {input_.datatype} to {output.datatype}; expected "
                f"integer types and one of {', '.join(MODES)}."
            )
        shift = min(int(layer.shift), input_.bits + 1)  # beyond that every mode gives the same
        if input_.bits - min(shift, 0) > 60:
            raise Unsupported(f"{layer.name}: {input_.bits} bits times 2**{-shift}; expected at most 60 bits in all.")
        return RequantizeKernel(
            name=layer.name, inputs=(input_,), output=output, shift=shift, rounding=rounding, lo=int(layer.lo),
            hi=int(layer.hi),
        )  # fmt: skip

    @property
    def op_type(self) -> str:
        """The operator's name."""
        return "Requant"

    @property
    def cycles(self) -> int:
        """``vectors * C / PE``."""
        return self.output.elements // self.pe

    @property
    def pipeline_cycles(self) -> int:
        """Rounding and clipping."""
        return 2

    @property
    def resources(self) -> Resources:
        """An incrementer and two comparators a lane."""
        bits = max(1, self.inputs[0].bits - max(0, self.shift)) + 2
        return Resources(lut=(3.0 * bits + 4) * self.pe + 3, ff=(bits + self.output.bits) * self.pe + 2)

    @property
    def modules(self) -> tuple[str, ...]:
        """The library module."""
        return ("requantize",)

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the one instance."""
        parameters = (
            ("PE", self.pe),
            ("InBits", self.inputs[0].bits),
            ("InSigned", self.inputs[0].signed),
            ("Shift", self.shift),
            ("Rounding", self.rounding),
            ("Lo", self.lo),
            ("Hi", self.hi),
            ("OutBits", self.output.bits),
        )
        return (Stage("requantize", parameters, self.pe * self.output.bits),)

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the results by shift, remainder and increment, as the module does."""
        x = inputs[0]
        if self.shift <= 0:
            rounded = x << -self.shift
        else:
            below, rest = x >> self.shift, x & ((1 << self.shift) - 1)
            half = 1 << (self.shift - 1)
            above, tie, negative = rest > half, rest == half, x < 0
            up = {
                "HALF_EVEN": above | (tie & (below & 1 == 1)),
                "HALF_UP": above | (tie & ~negative),
                "HALF_DOWN": above | (tie & negative),
                "UP": (rest > 0) & ~negative,
                "DOWN": (rest > 0) & negative,
                "CEIL": rest > 0,
                "FLOOR": np.zeros(x.shape, bool),
            }[self.rounding]
            rounded = below + up
        return self.output.to_values(np.clip(rounded, self.lo, self.hi))

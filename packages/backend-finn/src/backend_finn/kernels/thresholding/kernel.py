"""Thresholding on its own: quantizes a stream of integers by exact thresholds, PE channels a cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend_finn.cost import Resources
from backend_finn.kernels.base import IntArray, Kernel, Stage
from backend_finn.kernels.thresholding.search import Search
from backend_finn.memory import Image
from backend_finn.wires import Wire
from qonnx_core.passes.streamline.view import Thresholds


@dataclass(frozen=True, eq=False, kw_only=True)
class Thresholding(Kernel):
    """``output = base + step * #{t : input >= t}``, one row of thresholds for each channel or one for all."""

    search: Search

    @staticmethod
    def of(layer: Thresholds) -> Thresholding:
        """Return the kernel of a layer, folded to one channel a cycle."""
        input_, output = Wire.of(layer.input), Wire.of(layer.output)
        thresholds, lo, hi = np.asarray(layer.thresholds, np.int64), input_.lo, input_.hi
        if input_.bipolar:  # 2 c - 1 >= t where the code c is at least half of t + 1, rounded up
            thresholds, lo, hi = -(-(thresholds + 1) // 2), (lo + 1) // 2, (hi + 1) // 2
        search = Search.of(
            layer.name, thresholds, lo, hi, (input_.bits, input_.signed), output, int(layer.base), int(layer.step)
        )
        return Thresholding(name=layer.name, inputs=(input_,), output=output, search=search)

    @property
    def op_type(self) -> str:
        """FINN's name."""
        return "Thresholding"

    @property
    def cycles(self) -> int:
        """``vectors * C / PE``."""
        return self.output.elements // self.pe

    @property
    def pipeline_cycles(self) -> int:
        """One for each stage of the search and one for the output."""
        return self.search.stages + 1

    @property
    def resources(self) -> Resources:
        """Memories, comparators and registers of PE lanes."""
        return self.search.resources(self.pe)

    @property
    def modules(self) -> tuple[str, ...]:
        """The library module."""
        return ("thresholding",)

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the one instance."""
        return (self.search.stage(self.pe, prefix),)

    def images(self, prefix: str) -> tuple[Image, ...]:
        """Return the threshold memories."""
        return self.search.images(self.pe, prefix)

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the quantized values."""
        return self.output.to_values(self.search.run(self.inputs[0].to_codes(inputs[0]), self.pe))

    def operations(self) -> dict[str, int]:
        """Return the number of thresholds."""
        return {f"param_threshold_INT{self.search.bits}": self.search.thresholds.size}

"""LabelSelect: the indices of the k largest (or smallest) elements, ties to the lowest index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend_finn.cost import Resources
from backend_finn.kernels.base import IntArray, Kernel, Stage, divisors
from backend_finn.wires import Wire
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.view import LabelSelect


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSelectKernel(Kernel):
    """``k`` indices for each vector of the input, best first."""

    k: int
    largest: bool

    @staticmethod
    def of(layer: LabelSelect) -> LabelSelectKernel:
        """Return the kernel of a layer, folded to one element a cycle."""
        input_, output = Wire.of(layer.input), Wire.of(layer.output)
        if output.elements != input_.vectors * layer.k:
            raise Unsupported(
                f"{layer.name}: output of shape {output.shape} for {layer.k} indices of a {input_.shape} input; "
                "expected the indices on the last axis. Select along the last axis."
            )
        if not 1 <= layer.k <= input_.channels or output.bits < (input_.channels - 1).bit_length() or output.bipolar:
            raise Unsupported(
                f"{layer.name}: {layer.k} indices below {input_.channels} as {output.datatype}; expected between 1 and "
                f"{input_.channels} of them in an integer type that holds {input_.channels - 1}. Widen the type."
            )
        return LabelSelectKernel(name=layer.name, inputs=(input_,), output=output, k=layer.k, largest=layer.largest)

    @property
    def op_type(self) -> str:
        """FINN's name."""
        return "LabelSelect"

    @property
    def legal_folds(self) -> Mapping[str, tuple[int, ...]]:
        """Divisors of the number of labels."""
        return {"PE": divisors(self.inputs[0].channels)}

    @property
    def out_lanes(self) -> int:
        """One index in a word."""
        return 1

    @property
    def needs_whole_vector(self) -> bool:
        """True: the last element may be the largest."""
        return True

    @property
    def cycles(self) -> int:
        """``vectors * max(Labels / PE, k)``."""
        return self.inputs[0].vectors * max(self.inputs[0].channels // self.pe, self.k)

    @property
    def pipeline_cycles(self) -> int:
        """The output register."""
        return 1

    @property
    def resources(self) -> Resources:
        """Comparators and lists."""
        value, index = self.inputs[0].bits + 1, max(1, (self.inputs[0].channels - 1).bit_length())
        lane = (1.5 * value + index) * self.k
        return Resources(lut=lane * self.pe + index + 8, ff=(value + 2 * index + 1) * self.k + index)

    @property
    def modules(self) -> tuple[str, ...]:
        """The library module."""
        return ("label_select",)

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the one instance."""
        wire = self.inputs[0]
        parameters = (
            ("Labels", wire.channels),
            ("PE", self.pe),
            ("InBits", wire.bits),
            ("InSigned", wire.signed),
            ("K", self.k),
            ("Largest", self.largest),
            ("OutBits", self.output.bits),
        )
        return (Stage("label_select", parameters, self.output.bits),)

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the indices ``(N, vectors, k)``."""
        codes = self.inputs[0].to_codes(inputs[0])
        order = np.argsort(-codes if self.largest else codes, axis=-1, kind="stable")
        return np.asarray(order[..., : self.k], np.int64)

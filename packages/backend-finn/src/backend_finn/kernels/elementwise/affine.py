"""Multiply each channel by a constant integer and add a constant integer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend_finn.cost import Resources, rom
from backend_finn.kernels.base import IntArray, Kernel, Stage
from backend_finn.memory import Image, from_bits, image_of_bits, to_bits
from backend_finn.wires import Wire, signed_bits_for
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.view import AddConstant, Scale


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Kernel):
    """``output = input * factor + constant``, one of each for every channel, on the codes that lie on the wires."""

    factor: IntArray
    constant: IntArray

    @staticmethod
    def of(layer: Scale | AddConstant) -> Affine:
        """Return the kernel of a layer, folded to one channel a cycle."""
        input_, output = Wire.of(layer.input), Wire.of(layer.output)
        factor, constant = np.ones(input_.channels, np.int64), np.zeros(input_.channels, np.int64)
        if isinstance(layer, Scale):
            factor = factor * np.asarray(layer.factor, np.int64)
        else:
            constant = constant + np.asarray(layer.constant, np.int64)
        if input_.bipolar and output.bipolar:
            if bool((np.abs(factor) != 1).any() or constant.any()):
                raise Unsupported(
                    f"{layer.name}: values other than -1 and +1 in a BIPOLAR output; expected only changes of sign. "
                    "Annotate the output with INT2 or more."
                )
            constant = (1 - factor) // 2
        elif output.bipolar:
            raise Unsupported(
                f"{layer.name}: arithmetic from {input_.datatype} to BIPOLAR; expected an integer output. "
                "Annotate the output with INT2 or more."
            )
        elif input_.bipolar:  # a value is twice its code less one
            factor, constant = 2 * factor, constant - factor
        return Affine(name=layer.name, inputs=(input_,), output=output, factor=factor, constant=constant)

    @property
    def op_type(self) -> str:
        """FINN's name."""
        return "ChannelwiseOp"

    @property
    def _bits(self) -> tuple[int, int]:
        factor, constant = (signed_bits_for(int(v.min()), int(v.max())) for v in (self.factor, self.constant))
        return factor, constant

    @property
    def cycles(self) -> int:
        """``vectors * C / PE``."""
        return self.output.elements // self.pe

    @property
    def pipeline_cycles(self) -> int:
        """The read and the output register."""
        return 2

    @property
    def resources(self) -> Resources:
        """Adders and the memory of constants."""
        factor_bits, constant_bits = self._bits
        fold = self.output.channels // self.pe
        lane = Resources(lut=self.output.bits * factor_bits, ff=self.output.bits + self.inputs[0].bits)
        return Resources(lane.lut * self.pe + 6, lane.ff * self.pe + 6) + rom(
            fold, self.pe * (factor_bits + constant_bits)
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The library module."""
        return ("channel_affine",)

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the one instance."""
        factor_bits, constant_bits = self._bits
        parameters = (
            ("Channels", self.output.channels),
            ("PE", self.pe),
            ("InBits", self.inputs[0].bits),
            ("InSigned", self.inputs[0].signed),
            ("FactorBits", factor_bits),
            ("ConstantBits", constant_bits),
            ("OutBits", self.output.bits),
            ("File", f"{prefix}_constants.hex"),
        )
        return (Stage("channel_affine", parameters, self.pe * self.output.bits),)

    def images(self, prefix: str) -> tuple[Image, ...]:
        """Return the memory of factors and constants."""
        factor_bits, constant_bits = self._bits
        pairs = np.concatenate([to_bits(self.factor, factor_bits), to_bits(self.constant, constant_bits)], axis=1)
        return (image_of_bits(f"{prefix}_constants.hex", pairs.reshape(-1, self.pe * (factor_bits + constant_bits))),)

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the results, from the constants in the memory image."""
        factor_bits, constant_bits = self._bits
        pairs = self.images("")[0].bits().reshape(-1, factor_bits + constant_bits)
        factor, constant = (
            from_bits(pairs[:, :factor_bits], signed=True),
            from_bits(pairs[:, factor_bits:], signed=True),
        )
        return self.output.to_values(self.inputs[0].to_codes(inputs[0]) * factor + constant)

"""AddStreams: the elementwise sum of two streams."""

from __future__ import annotations

from dataclasses import dataclass

from backend_finn.cost import Resources
from backend_finn.kernels.base import IntArray, Kernel, Stage
from backend_finn.wires import Wire
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.view import Add


@dataclass(frozen=True, eq=False, kw_only=True)
class AddStreams(Kernel):
    """``output = inputs[0] + inputs[1]``."""

    @staticmethod
    def of(layer: Add) -> AddStreams:
        """Return the kernel of a layer, folded to one element a cycle."""
        wires = tuple(Wire.of(tensor) for tensor in layer.inputs)
        output = Wire.of(layer.output)
        if output.bipolar:
            raise Unsupported(f"{layer.name}: a sum as BIPOLAR; expected an integer type. Annotate it with INT3.")
        if any(wire.elements != output.elements for wire in wires):
            raise Unsupported(
                f"{layer.name}: a sum of shapes {wires[0].shape} and {wires[1].shape}; expected equal shapes. "
                "Expand the smaller one."
            )
        return AddStreams(name=layer.name, inputs=wires, output=output)

    @property
    def op_type(self) -> str:
        """FINN's name."""
        return "AddStreams"

    @property
    def cycles(self) -> int:
        """``vectors * C / PE``."""
        return self.output.elements // self.pe

    @property
    def pipeline_cycles(self) -> int:
        """The output register."""
        return 1

    @property
    def resources(self) -> Resources:
        """An adder a lane."""
        return Resources(lut=self.output.bits * self.pe + 3, ff=self.output.bits * self.pe + 1)

    @property
    def modules(self) -> tuple[str, ...]:
        """The library module."""
        return ("stream_add",)

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the one instance."""
        first, second = self.inputs
        parameters = (
            ("PE", self.pe),
            ("ABits", first.bits),
            ("ASigned", first.signed),
            ("ABipolar", first.bipolar),
            ("BBits", second.bits),
            ("BSigned", second.signed),
            ("BBipolar", second.bipolar),
            ("OutBits", self.output.bits),
        )
        return (Stage("stream_add", parameters, self.pe * self.output.bits),)

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the sums."""
        return self.output.to_values(inputs[0] + inputs[1].reshape(inputs[0].shape))

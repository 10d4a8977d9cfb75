"""What a backend and a frontend have to provide; plug-ins are found by the entry points of `qonnx_core.plugins`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from qonnx_core.ops.registry import is_defined

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from qonnx_core.eda.streams import Component
    from qonnx_core.eda.targets import Target
    from qonnx_core.passes.streamline import IntegerForm

QuantizerStyle = Literal["thresholds", "shift"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a backend takes a node, and why not (or with what remark)."""

    supported: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.supported


def refused_domain(node: ir.Node) -> Verdict | None:
    """Return why no backend takes an operator that neither ONNX nor the format defines; None for all others."""
    if is_defined(node):
        return None
    reason = f"{node.name} ({node.op_type}): an operator of domain {node.domain!r}, unknown here. Give it to the host."
    return Verdict(False, reason)


@dataclass(frozen=True)
class Estimate:
    """What a design is expected to cost: cycles per frame in steady state, latency, resources, and one row a layer."""

    cycles: int
    latency_cycles: int
    lut: int
    ff: int
    bram18: int
    dsp: int
    layers: tuple[Mapping[str, object], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the estimate as plain values for a report."""
        return {
            "cycles": self.cycles,
            "latency_cycles": self.latency_cycles,
            "lut": self.lut,
            "ff": self.ff,
            "bram18": self.bram18,
            "dsp": self.dsp,
            "layers": [dict(layer) for layer in self.layers],
        }


@dataclass(frozen=True)
class Design:
    """A planned partition; each backend derives its own class with its decisions."""

    name: str
    form: IntegerForm
    target: Target


@runtime_checkable
class Runner(Protocol):
    """A bit-exact software model of a component."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return ``{output port name: int64 array (N, ...)}`` of ``{input port name: integers (N, ...)}``."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Turn a partition into hardware; each step is run and tested alone.

    A backend that folds may also have ``plan_options``, the names of those options of a build that its `plan` takes:
    ``folding``, ``target_fps``, ``target_cycles``. To another one they are not passed.
    """

    @property
    def name(self) -> str:
        """The name that rules and the command line use, for example ``finn``."""
        ...

    @property
    def quantizer(self) -> QuantizerStyle:
        """The integer form that the backend wants, an argument of `to_integer_form`."""
        ...

    def supports(self, node: ir.Node, target: Target) -> Verdict:
        """Return whether a node of a cleaned QONNX model can be built, or why not."""
        ...

    def plan(self, form: IntegerForm, target: Target, options: Mapping[str, object] | None = None) -> Design:
        """Return every decision (kernels, folding) for a partition; raise `Unsupported` with every reason."""
        ...

    def estimate(self, design: Design) -> Estimate:
        """Return the expected cycles and resources of a design."""
        ...

    def emit(self, design: Design, out: Path, top: str) -> Component:
        """Write the component into ``out``: the same bytes every time, generated module names prefixed by ``top``."""
        ...

    def emulate(self, design: Design, workdir: Path) -> Runner:
        """Return the bit-exact software model of what `emit` writes."""
        ...


@runtime_checkable
class Frontend(Protocol):
    """Read one kind of source into a verified model."""

    @property
    def name(self) -> str:
        """The name of the framework, for example ``brevitas``."""
        ...

    def recognizes(self, source: Path | object) -> bool:
        """Return whether `read` would take the source; looks, and imports no framework."""
        ...

    def read(self, source: Path | object) -> ir.Model:
        """Return the QONNX model that evaluates to what the source model computes; raise `Unsupported` otherwise."""
        ...

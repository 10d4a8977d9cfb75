"""The backend object: plan, estimate, emit and emulate a partition in FINN's manner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend_finn.support import supports as node_verdict

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.backend import Design, Estimate, QuantizerStyle, Runner, Verdict
    from qonnx_core.eda.streams import Component
    from qonnx_core.eda.targets import Target
    from qonnx_core.passes.streamline import IntegerForm


@dataclass(frozen=True)
class FinnBackend:
    """Folded dataflow hardware: one kernel for each layer, PE and SIMD as FINN folds them. See `qonnx_core.backend`."""

    name: str = "finn"
    quantizer: QuantizerStyle = "thresholds"
    plan_options: tuple[str, ...] = ("folding", "target_fps", "target_cycles")

    def supports(self, node: ir.Node, target: Target) -> Verdict:
        """Return whether a node of a cleaned QONNX model can be built, or why not."""
        return node_verdict(node, target)

    def plan(self, form: IntegerForm, target: Target, options: Mapping[str, object] | None = None) -> Design:
        """Return kernels and folding; options: ``folding``, ``target_fps`` or ``target_cycles`` (see `plan_design`)."""
        from backend_finn.plan import plan_design

        return plan_design(form, target, options)

    def estimate(self, design: Design) -> Estimate:
        """Return expected cycles, latency and resources."""
        from backend_finn.reports import estimate_design

        return estimate_design(_ours(design))

    def emit(self, design: Design, out: Path, top: str) -> Component:
        """Write top module, library modules, memory files, manifest, folding and reports into ``out``."""
        from backend_finn.emit import emit_design

        return emit_design(_ours(design), out, top)

    def emulate(self, design: Design, workdir: Path) -> Runner:
        """Return the software model; nothing is written into ``workdir``."""
        from backend_finn.emulate import Emulator

        return Emulator(_ours(design).graph)


def _ours(design: Design) -> FinnDesign:
    from backend_finn.plan import FinnDesign
    from qonnx_core.errors import InvalidInput

    if not isinstance(design, FinnDesign):
        raise InvalidInput(f"design: found {type(design).__name__}; expected one that backend finn planned.")
    return design


if TYPE_CHECKING:
    from backend_finn.plan import FinnDesign

BACKEND = FinnBackend()

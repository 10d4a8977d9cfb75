"""Estimates of a design, and the reports that FINN's users read: same file names, same keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from backend_finn.cost import Resources
from backend_finn.folding import positional_names
from backend_finn.plan import FinnDesign, latency_of
from qonnx_core.backend import Estimate


def link_resources(design: FinnDesign) -> Resources:
    """Return the resources of everything between the kernels."""
    return sum((link.resources for link in design.links), Resources())


def latency_cycles(design: FinnDesign) -> int:
    """Return the expected cycles from the first input beat to the last output beat of a frame, empty pipeline."""
    times = latency_of(design)
    return math.ceil(max(times[tensor][1] + 1 for tensor in design.graph.output_tensors))


def estimate_design(design: FinnDesign) -> Estimate:
    """Return cycles, latency and resources of a design, one row a kernel and one for what lies between them."""
    positions = positional_names(design.graph.kernels)
    rows: list[Mapping[str, object]] = []
    total = Resources()
    for kernel in design.graph.kernels:
        used = kernel.resources
        total += used
        row = {"name": kernel.name, "kernel": positions[kernel.name], "cycles": kernel.cycles}
        rows.append({**row, **kernel.folds, **used.report()})
    between = link_resources(design)
    total += between
    rows.append({"name": "streams", "kernel": "FIFOs and width converters", "cycles": 0, **between.report()})
    return Estimate(
        cycles=design.cycles,
        latency_cycles=latency_cycles(design),
        lut=round(total.lut),
        ff=round(total.ff),
        bram18=total.bram18,
        dsp=total.dsp,
        layers=tuple(rows),
    )


def reports(design: FinnDesign) -> dict[str, object]:
    """Return the contents of each report by file name."""
    kernels, clock = design.graph.kernels, design.target.clock_ns
    resources: dict[str, object] = {kernel.name: kernel.resources.report() for kernel in kernels}
    between = link_resources(design)
    total = sum((kernel.resources for kernel in kernels), between)
    resources["streams"] = between.report()
    resources["total"] = total.report()
    counts: dict[str, dict[str, int]] = {kernel.name: kernel.operations() for kernel in kernels}
    summed: dict[str, int] = {}
    for row in counts.values():
        for key, number in row.items():
            summed[key] = summed.get(key, 0) + number
    slowest = max(kernels, key=lambda kernel: kernel.cycles, default=None)
    latency = latency_cycles(design)
    performance = {
        "critical_path_cycles": latency,
        "max_cycles": design.cycles,
        "max_cycles_node_name": slowest.name if slowest else "",
        "estimated_throughput_fps": 1e9 / clock / design.cycles,
        "estimated_latency_ns": latency * clock,
    }
    return {
        "estimate_layer_cycles.json": {kernel.name: kernel.cycles for kernel in kernels},
        "estimate_layer_resources.json": resources,
        "estimate_network_performance.json": performance,
        "op_and_param_counts.json": {**counts, "total": dict(sorted(summed.items()))},
    }


def write_reports(design: FinnDesign, directory: Path) -> None:
    """Write the reports into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in reports(design).items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

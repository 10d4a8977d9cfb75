"""The plan of a partition: its kernels with their folds, and how each tensor gets from one kernel to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend_finn.cost import Resources, fifo, width_converter
from backend_finn.folding import (
    Folding,
    apply_folding,
    default_folding,
    fold_to_cycles,
    folding_of,
    target_cycles_of,
)
from backend_finn.graph import KernelGraph, kernel_graph, port_wire
from qonnx_core.backend import Design
from qonnx_core.eda.targets import device_of
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.eda.targets import Target
    from qonnx_core.passes.streamline import IntegerForm

OPTIONS = ("folding", "target_fps", "target_cycles")
MIN_DEPTH = 2


@dataclass(frozen=True)
class Link:
    """The way of a tensor to one reader: words of ``lanes_in`` elements, ``depth`` of them held, cut to ``lanes_out``.

    ``kernel`` and ``operand`` name the reader; ``kernel`` is None for an output port, whose number ``operand`` is.
    """

    tensor: str
    kernel: int | None
    operand: int
    element_bits: int
    elements: int
    lanes_in: int
    lanes_out: int
    depth: int

    @property
    def resources(self) -> Resources:
        """Estimated resources of FIFO and converter."""
        if self.lanes_in != self.lanes_out:
            converter = width_converter(self.lanes_in, self.lanes_out, self.element_bits)
            held = fifo(self.depth, self.lanes_in * self.element_bits) if self.depth > MIN_DEPTH else Resources()
            return converter + held
        return fifo(self.depth, self.lanes_in * self.element_bits)


@dataclass(frozen=True)
class FinnDesign(Design):
    """A planned partition: folded kernels, the links between them, the folding as FINN writes it."""

    graph: KernelGraph
    links: tuple[Link, ...]
    folding: Folding

    @property
    def cycles(self) -> int:
        """Cycles for one frame in steady state: the slowest kernel, or the port with the most beats."""
        return max(
            (max(kernel.cycles for kernel in self.graph.kernels) if self.graph.kernels else 1),
            *(max(link.elements // link.lanes_in, link.elements // link.lanes_out) for link in self.links),
        )

    def links_of(self, tensor: str) -> list[Link]:
        """Return the links that start at a tensor."""
        return [link for link in self.links if link.tensor == tensor]


def plan_design(form: IntegerForm, target: Target, options: Mapping[str, object] | None = None) -> FinnDesign:
    """Return the design of an integer form.

    Options: ``folding`` (a FINN folding JSON or a mapping), or ``target_fps``, or ``target_cycles``; none of them folds
    for 64 cycles a frame, or more where that does not fit into half of the part.

    Raises:
        Unsupported: with every layer that has no kernel.
        InvalidInput: for unknown or contradicting options, an illegal fold, a target that cannot be met.

    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise InvalidInput(f"options of backend finn: found {', '.join(unknown)}; expected {', '.join(OPTIONS)}.")
    if len(given) > 1:
        raise InvalidInput(f"options of backend finn: found {' and '.join(sorted(given))}; expected one of them.")
    graph = kernel_graph(form.layers(), form.inputs, form.outputs)
    folding: Folding | None = None
    if "folding" in given:
        source = given["folding"]
        if not isinstance(source, str | Path | Mapping):
            raise InvalidInput(f"folding: found {type(source).__name__}; expected a path or a mapping.")
        graph, folding = apply_folding(graph, source)
    elif given:
        graph = fold_to_cycles(graph, _target_cycles(given, target))
    else:
        graph = default_folding(graph, device_of(target.part).lut)
    folding = folding or folding_of(graph.kernels)
    return FinnDesign("finn", form, target, graph, links_of(graph), folding)


def _target_cycles(given: Mapping[str, object], target: Target) -> int:
    ((name, value),) = given.items()
    whole = name == "target_cycles"
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
        raise InvalidInput(f"{name}: found {value!r}; expected {'a whole number' if whole else 'a number'}.")
    return int(value) if whole else target_cycles_of(float(value), target.clock_ns)


def links_of(graph: KernelGraph) -> tuple[Link, ...]:
    """Return the links of a folded graph, with the depths that keep it from stalling.

    Kernels hold what they need themselves (a matrix-vector unit two vectors), so that two words between kernels do.
    Where branches meet, the shorter one holds the difference: a unit gives its first result only after a whole frame,
    and while one branch waits for that the other one has to take the frame. One frame more and the words that pass
    while the other branch is still in its registers keep the rate.
    """
    links: list[Link] = []
    lanes = {kernel.output.tensor: kernel.out_lanes for kernel in graph.kernels}
    wires = {kernel.output.tensor: kernel.output for kernel in graph.kernels}
    for name, port in zip(graph.input_tensors, graph.inputs, strict=True):
        lanes[name] = input_lanes(graph, name)
        wires[name] = port_wire(port)
    interval = max((kernel.cycles for kernel in graph.kernels), default=1)
    delays = delays_of(graph)
    for index, (kernel, sources) in enumerate(zip(graph.kernels, graph.sources, strict=True)):
        frames = max(delays[source].frames for source in sources)
        cycles = max(delays[source].cycles for source in sources)
        for operand, source in enumerate(sources):
            wire, own = wires[source], delays[source]
            held = (frames - own.frames + (frames > own.frames)) + (cycles - own.cycles) / interval
            depth = math.ceil(held * wire.elements / lanes[source]) + MIN_DEPTH
            links.append(Link(source, index, operand, wire.bits, wire.elements, lanes[source], kernel.in_lanes, depth))
    for number, source in enumerate(graph.output_tensors):
        wire = wires[source]
        links.append(Link(source, None, number, wire.bits, wire.elements, lanes[source], lanes[source], MIN_DEPTH))
    return tuple(links)


def input_lanes(graph: KernelGraph, tensor: str) -> int:
    """Return the elements in a beat of an input: what its first reader takes, 1 if no kernel reads it."""
    readers = graph.readers(tensor)
    return graph.kernels[readers[0][0]].in_lanes if readers else 1


@dataclass(frozen=True, slots=True)
class Delay:
    """How long the longest way to a tensor is: whole frames that kernels wait for, and registers in cycles."""

    frames: int
    cycles: int


LINK_CYCLES = 3  # at most, through a fork, a FIFO or a converter


def delays_of(graph: KernelGraph) -> dict[str, Delay]:
    """Return the delay of each tensor."""
    delays = dict.fromkeys(graph.input_tensors, Delay(0, 0))
    for kernel, sources in zip(graph.kernels, graph.sources, strict=True):
        delays[kernel.output.tensor] = Delay(
            max(delays[source].frames for source in sources) + int(kernel.needs_whole_vector),
            max(delays[source].cycles for source in sources) + kernel.pipeline_cycles + LINK_CYCLES,
        )
    return delays


def latency_of(design: FinnDesign) -> dict[str, tuple[float, float]]:
    """Return for each tensor when the first and the last word of a frame leave its kernel, from the first beat on."""
    graph = design.graph
    times = {name: (0.0, beats - 1.0) for name, beats in _input_beats(design).items()}
    forked = {link.tensor for link in design.links if len(design.links_of(link.tensor)) > 1}
    for index, kernel in enumerate(graph.kernels):
        arriving = [
            _through(link, *times[link.tensor], direct=link.tensor in graph.input_tensors, forked=link.tensor in forked)
            for link in design.links
            if link.kernel == index
        ]
        first, last = max(time[0] for time in arriving), max(time[1] for time in arriving)
        vectors = max(1, kernel.inputs[0].vectors)
        beats_in = kernel.inputs[0].elements // kernel.in_lanes // vectors
        interval = kernel.cycles / vectors
        if kernel.needs_whole_vector:
            first_vector = first + (last - first + 1) / vectors - 1
            start = max(first + beats_in - 1, first_vector) + kernel.pipeline_cycles
            begin_last = max(last, first + (vectors - 1) * interval + beats_in - 1)
            times[kernel.output.tensor] = (start, begin_last + kernel.pipeline_cycles + max(0.0, interval - beats_in))
        else:
            end = max(last, first + kernel.cycles - 1) + kernel.pipeline_cycles
            times[kernel.output.tensor] = (first + kernel.pipeline_cycles, end)
    return times


def _input_beats(design: FinnDesign) -> dict[str, int]:
    graph = design.graph
    return {
        name: math.prod(port.shape) // input_lanes(graph, name)
        for name, port in zip(graph.input_tensors, graph.inputs, strict=True)
    }


def _through(link: Link, first: float, last: float, *, direct: bool, forked: bool) -> tuple[float, float]:
    """Return when the first and last word of a frame come out of a link, and of the fork before it."""
    first, last = first + forked, last + forked
    beats_in, beats_out = link.elements // link.lanes_in, link.elements // link.lanes_out
    if link.lanes_in == link.lanes_out:
        wait = 0 if direct and not forked else 1 if link.depth <= MIN_DEPTH else 2
        return first + wait, last + wait
    held = 2 if link.depth > MIN_DEPTH else 0
    if beats_out < beats_in:
        spacing = (last - first) / max(1, beats_in - 1)
        return first + held + 1 + (-(-beats_in // beats_out) - 1) * spacing, last + held + 1
    begin = first + held + 2
    return begin, max(last + held + 2 + -(-beats_out // beats_in) - 1, begin + beats_out - 1)

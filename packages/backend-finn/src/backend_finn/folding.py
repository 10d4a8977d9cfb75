"""Folding: FINN's JSON form, and automatic folding by target cycles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from backend_finn.cost import Resources, width_converter
from backend_finn.graph import KernelGraph
from backend_finn.kernels import Kernel
from qonnx_core.errors import InvalidInput

FOLDS = ("PE", "SIMD")
IGNORED_ATTRIBUTES = frozenset(
    {
        "parallel_window",
        "ram_style",
        "ram_style_thresholds",
        "resType",
        "mem_mode",
        "runtime_writeable_weights",
        "depth",
        "impl_style",
        "inFIFODepths",
        "outFIFODepths",
        "depth_trigger_uram",
        "depth_trigger_bram",
        "pumpedMemory",
        "pumpedCompute",
        "slr",
        "partition_id",
        "device_id",
        "mem_port",
        "preferred_impl_style",
        "exec_mode",
        "backend",
        "uniform_thres",
        "deep_pipeline",
        "noActivation",
        "binaryXnorMode",
        "dynamic_input",
    }
)
"""Attributes of FINN's nodes that our kernels decide otherwise; accepted and noted."""

_POSITION = re.compile(r"(?P<op>[A-Za-z]+)(?:_(?:hls|rtl|Batch))?_(?P<index>[0-9]+)")
_INFRASTRUCTURE = re.compile(
    r"(StreamingFIFO|StreamingDataWidthConverter|IODMA|TLastMarker|CheckSum|DuplicateStreams)(_Batch)?(_hls|_rtl)?_[0-9]+"
)
_SYNONYMS = {
    "StreamingFCLayer": "MVAU",
    "MatrixVectorActivation": "MVAU",
    "Requantize": "Requant",
    "ElementwiseAdd": "AddStreams",
}
MIN_DEFAULT_CYCLES = 64
DEFAULT_SHARE = 0.5  # of the part's LUTs that a default folding may fill


@dataclass(frozen=True)
class Folding:
    """The folding attributes of each kernel by name, and remarks on what was ignored."""

    folds: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the folding in FINN's form."""
        return json.dumps({"Defaults": {}, **{name: dict(fold) for name, fold in self.folds.items()}}, indent=2) + "\n"


def read_folding(source: str | Path | Mapping[str, object]) -> Mapping[str, object]:
    """Return the contents of a folding file, or the mapping itself; raise `InvalidInput` if it is no JSON object."""
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"folding {path}: {error.strerror}; expected a JSON file in FINN's form.") from error
    except ValueError as error:
        raise InvalidInput(f"folding {path}: {error}; expected a JSON file in FINN's form.") from error
    if not isinstance(content, dict):
        raise InvalidInput(f'folding {path}: found {type(content).__name__}; expected {{"<node>": {{"PE": 1}}, ...}}.')
    return content


def positional_names(kernels: Sequence[Kernel]) -> dict[str, str]:
    """Return FINN's positional name (``MVAU_0``, ``Thresholding_0``) of each kernel by its own name."""
    counters: dict[str, int] = {}
    names = {}
    for kernel in kernels:
        index = counters.setdefault(kernel.op_type, 0)
        counters[kernel.op_type] += 1
        names[kernel.name] = f"{kernel.op_type}_{index}"
    return names


def apply_folding(graph: KernelGraph, source: str | Path | Mapping[str, object]) -> tuple[KernelGraph, Folding]:
    """Return the graph folded as a JSON (or a mapping) says; kernels that it does not name stay at 1.

    Raises:
        InvalidInput: for an unknown key or attribute, or an illegal fold, with the legal ones.

    """
    given = read_folding(source)
    where = f"folding {source}" if isinstance(source, str | Path) else "folding"
    positions = positional_names(graph.kernels)
    chosen: dict[str, dict[str, int]] = {kernel.name: dict(kernel.folds) for kernel in graph.kernels}
    notes: list[str] = []
    for attribute, value, kernel in _defaults(given.get("Defaults", {}), graph.kernels, where, notes):
        chosen[kernel.name][attribute] = value
    named: dict[str, str] = {}
    for key, attributes in given.items():
        if key == "Defaults":
            continue
        if _INFRASTRUCTURE.fullmatch(key):
            notes.append(f"{key}: ignored; FIFOs and converters are sized by the generator")
            continue
        kernel = _kernel_named(key, graph.kernels, positions, where)
        if kernel.name in named:
            raise InvalidInput(
                f"{where}: {named[kernel.name]} and {key} name the same node {kernel.name}; expected it once."
            )
        named[kernel.name] = key
        if not isinstance(attributes, Mapping):
            raise InvalidInput(f'{where}: {key} is {attributes!r}; expected attributes such as {{"PE": 1}}.')
        for attribute, value in attributes.items():
            if attribute in kernel.folds:
                chosen[kernel.name][attribute] = _legal(kernel, key, attribute, value, where)
            elif attribute in IGNORED_ATTRIBUTES or (attribute in FOLDS and value in (0, 1)):
                notes.append(f"{key}: {attribute} ignored; the kernel decides it")
            else:
                raise InvalidInput(
                    f"{where}: {key} has no attribute {attribute!r}; expected {', '.join(kernel.folds)} of this node."
                )
    kernels = [kernel.folded(**chosen[kernel.name]) for kernel in graph.kernels]
    return graph.with_kernels(kernels), folding_of(kernels, notes)


def folding_of(kernels: Sequence[Kernel], notes: Sequence[str] = ()) -> Folding:
    """Return the folding that kernels have."""
    return Folding({kernel.name: dict(kernel.folds) for kernel in kernels}, tuple(dict.fromkeys(notes)))


def _defaults(
    given: object, kernels: Sequence[Kernel], where: str, notes: list[str]
) -> Iterator[tuple[str, int, Kernel]]:
    """Yield what ``{"Defaults": {"PE": [1, ["all"]]}}`` says, kernel by kernel."""
    if not isinstance(given, Mapping):
        raise InvalidInput(f'{where}: Defaults is {given!r}; expected {{"PE": [1, ["all"]]}}.')
    for attribute, entry in given.items():
        if attribute in IGNORED_ATTRIBUTES:
            notes.append(f"Defaults: {attribute} ignored; the kernels decide it")
            continue
        if attribute not in FOLDS or not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list):
            raise InvalidInput(
                f'{where}: Defaults has {attribute!r}: {entry!r}; expected for example "PE": [1, ["all"]].'
            )
        for kernel in kernels:
            if attribute in kernel.folds and ("all" in entry[1] or any(_same_op(str(op), kernel) for op in entry[1])):
                yield attribute, _legal(kernel, f"Defaults for {kernel.name}", attribute, entry[0], where), kernel


def _same_op(name: str, kernel: Kernel) -> bool:
    plain = re.sub(r"_(hls|rtl|Batch)$", "", name)
    return _SYNONYMS.get(plain, plain) == kernel.op_type


def _kernel_named(key: str, kernels: Sequence[Kernel], positions: Mapping[str, str], where: str) -> Kernel:
    for kernel in kernels:
        if key == kernel.name:
            return kernel
    match = _POSITION.fullmatch(key)
    if match:
        position = f"{_SYNONYMS.get(match['op'], match['op'])}_{match['index']}"
        for kernel in kernels:
            if positions[kernel.name] == position:
                return kernel
    legal = ", ".join(f"{kernel.name} (or {positions[kernel.name]})" for kernel in kernels)
    raise InvalidInput(f"{where}: found no node {key!r}; expected one of {legal}.")


def _legal(kernel: Kernel, key: str, attribute: str, value: object, where: str) -> int:
    legal = kernel.legal_folds[attribute]
    if isinstance(value, bool) or not isinstance(value, int) or value not in legal:
        raise InvalidInput(
            f"{where}: {key} has {attribute} = {value!r}; expected one of {', '.join(map(str, legal))} "
            f"({kernel.name}: {_sizes(kernel)})."
        )
    return value


def _sizes(kernel: Kernel) -> str:
    return f"{kernel.inputs[0].channels} elements in, {kernel.output.channels} out"


def target_cycles_of(target_fps: float, clock_ns: float) -> int:
    """Return the cycles that a frame may take at a rate in frames per second."""
    cycles = int(1e9 / clock_ns / target_fps) if target_fps > 0 else 0
    if cycles < 1:
        raise InvalidInput(
            f"target_fps: found {target_fps}; expected a rate above 0 and at most {1e9 / clock_ns:.0f}, one frame per "
            f"cycle of {clock_ns} ns. Lower the rate or shorten the clock."
        )
    return cycles


def fold_to_cycles(graph: KernelGraph, target_cycles: int) -> KernelGraph:
    """Return the graph folded with the least resources such that no kernel takes more than so many cycles a frame.

    Kernels are folded in order; the converter to the kernel before counts as part of the cost, so that neighbours that
    fit are preferred.

    Raises:
        InvalidInput: if a kernel cannot be that fast.

    """
    if target_cycles < 1:
        raise InvalidInput(f"target_cycles: found {target_cycles}; expected at least 1.")
    kernels: list[Kernel] = []
    lanes: dict[str, int] = {}
    for kernel, sources in zip(graph.kernels, graph.sources, strict=True):
        best: tuple[tuple[float, float], Kernel] | None = None
        for folded in _fitting(kernel, target_cycles):
            cost = folded.resources
            for source, wire in zip(sources, folded.inputs, strict=True):
                if source in lanes and lanes[source] != folded.in_lanes:
                    cost += width_converter(lanes[source], folded.in_lanes, wire.bits)
            key = (cost.lut + 150 * cost.bram18 + 0.25 * cost.ff, -float(folded.in_lanes))
            if best is None or key < best[0]:
                best = (key, folded)
        if best is None:
            raise InvalidInput(
                f"target_cycles: {kernel.name} cannot do a frame in {target_cycles} cycles; "
                f"expected at least {fastest_cycles(kernel)}. Raise the target."
            )
        kernels.append(best[1])
        lanes[kernel.output.tensor] = best[1].out_lanes
    return graph.with_kernels(kernels)


def fastest_cycles(kernel: Kernel) -> int:
    """Return the cycles of a kernel that is not folded at all."""
    return kernel.folded(**{name: legal[-1] for name, legal in kernel.legal_folds.items()}).cycles


def _fitting(kernel: Kernel, target_cycles: int) -> Iterator[Kernel]:
    """Yield the folds that meet the target and of which none can be reduced in a single attribute."""
    legal = kernel.legal_folds
    *outer, last = legal
    for values in product(*(legal[name] for name in outer)):
        for value in legal[last]:  # ascending: the first that meets the target is the least
            folded = kernel.folded(**dict(zip(outer, values, strict=True)), **{last: value})
            if folded.cycles <= target_cycles:
                yield folded
                break


def default_folding(graph: KernelGraph, device_lut: int) -> KernelGraph:
    """Return the graph folded for the least power of two of cycles, from 64 on, that fills at most half of the part."""
    least = max((fastest_cycles(kernel) for kernel in graph.kernels), default=1)
    slowest = max((kernel.cycles for kernel in graph.kernels), default=1)
    cycles = MIN_DEFAULT_CYCLES
    while cycles < least:
        cycles *= 2
    while True:
        folded = fold_to_cycles(graph, cycles)
        total = sum((kernel.resources for kernel in folded.kernels), Resources())
        if total.lut <= DEFAULT_SHARE * device_lut or cycles >= slowest:
            return folded
        cycles *= 2

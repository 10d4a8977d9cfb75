"""A traced network as pipelined Verilog: alkaid's stages under names of our own, and where each element lies."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from backend_hls4ml.distributed import Network

STAGE_ADDERS_PER_NS = 0.8
"""Adders in a row that a stage holds for each nanosecond of the clock period: 8 at 100 MHz."""

_MODULE = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)
_NOISE = re.compile(r"^`timescale[^\n]*\n+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a port in the pipeline's packed input or output: ``width`` bits from ``position`` on.

    They are the bits of the element from bit ``low_bit`` on (bits below it are zero), extended by the sign where
    ``signed``. An element with a ``constant`` is that number, whatever the bits are.
    """

    position: int
    width: int
    low_bit: int
    signed: bool
    constant: int | None = None


@dataclass(frozen=True)
class Pipeline:
    """The network cut into stages with a register behind each; one frame enters and leaves per cycle."""

    machine: Any
    network: Network
    stages: int
    register_bits: int
    inputs: tuple[tuple[Element, ...], ...]
    outputs: tuple[tuple[Element, ...], ...]

    @property
    def input_bits(self) -> int:
        """Width of the packed input."""
        return int(self.machine.inp_signals[0].width)

    @property
    def output_bits(self) -> int:
        """Width of the packed output."""
        return int(self.machine.out_signals[0].width)


def latency_cutoff(clock_ns: float, wanted: float = 0.0) -> float:
    """Return the adders in a row that a stage may hold: the wanted number, or by the clock period where that is 0."""
    return wanted if wanted > 0 else max(1.0, clock_ns * STAGE_ADDERS_PER_NS)


def build_pipeline(network: Network, cutoff: float) -> Pipeline:
    """Return the network in as many stages as ``cutoff`` adders in a row allow.

    There is no input register (the frame waits in one already) and one behind every stage, so a result is there
    ``stages`` cycles after its frame.
    """
    from alkaid.trace.pipeline import to_pipeline

    machine = to_pipeline(network.logic, latency_cutoff=cutoff, verbose=False, reg_inp=False, reg_out=True)
    source, sink = machine.inp_signals[0], machine.out_signals[0]
    columns = _layout(source.precisions, [None] * len(source.precisions))
    inputs, start = [], 0
    for size in network.input_sizes:
        inputs.append(tuple(columns[start : start + size]))
        start += size
    fixed = [int(q.min) if q.min == q.max else None for q in network.logic.out_qint]
    produced = _layout(sink.precisions, fixed)
    outputs = tuple(
        tuple(
            produced[column] if column >= 0 else Element(0, 0, 0, signed=False, constant=constant)
            for column, constant in zip(port_columns, port_constants, strict=True)
        )
        for port_columns, port_constants in zip(network.columns, network.constants, strict=True)
    )
    return Pipeline(
        machine=machine,
        network=network,
        stages=int(sink.schedule.bias),
        register_bits=sum(int(signal.width) for signal in machine.signals.values() if signal.reg),
        inputs=tuple(inputs),
        outputs=outputs,
    )


def _layout(precisions: Sequence[Any], constants: Sequence[int | None]) -> list[Element]:
    layout, position = [], 0
    for (signed, integer_bits, fraction_bits), constant in zip(precisions, constants, strict=True):
        width = int(signed) + int(integer_bits) + int(fraction_bits)
        layout.append(Element(position, width, -int(fraction_bits), bool(signed), constant))
        position += width
    return layout


def verilog(pipeline: Pipeline, name: str, prefix: str) -> str:
    """Return the pipeline as one Verilog text: module ``name``, every other module prefixed by ``prefix_``.

    alkaid calls its modules ``logic0``, ``mux``, ...; under a prefix, several parts live in one design.
    """
    from alkaid.codegen import RTLModel

    with tempfile.TemporaryDirectory(prefix="distributed_arithmetic_") as directory:
        root = Path(directory) / name
        RTLModel(pipeline.machine, root, name, flavor="verilog", ternary_fuse=False, print_latency=False).write()
        texts = [
            path.read_text(encoding="utf-8")
            for path in sorted((root / "src").glob("*.v"), key=_stage_order)
            if path.name != f"{name}_wrapper.v"
        ]
        library = [path.read_text(encoding="utf-8") for path in sorted((root / "src" / "static").glob("*.v"))]
    body = "\n".join(texts)
    used = [text for text in library if any(re.search(rf"\b{m}\b", body) for m in _MODULE.findall(text))]
    body = "\n".join([body, *used])
    names = {module: f"{prefix}_{module}" for module in _MODULE.findall(body) if module != name}
    longest_first = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    pattern = re.compile(rf"(?<![.\w'])({longest_first})(?=\s*\(|\s+\w|\s*#)")
    renamed = pattern.sub(lambda match: names[match[1]], body) if names else body
    return f"{_header(name)}\n{_NOISE.sub('', renamed)}"


def _stage_order(path: Path) -> tuple[int, int, str]:
    match = re.fullmatch(r"logic(\d+)", path.stem)
    return (1, int(match[1]), "") if match else (0, 0, path.name)


def _header(name: str) -> str:
    version = metadata.version("alkaid")
    return (
        f"// {name}: written by alkaid {version} (LGPL-3.0-or-later, see NOTICE.alkaid and LICENSE.alkaid).\n"
        "// Changed since: module names carry the prefix of this part, all files in one, no timescale.\n"
    )


def licence_notice() -> dict[str, str]:
    """Return ``{file name: text}`` that a build with alkaid's files carries: its licence and where it comes from.

    The texts are those of the installed distribution.
    """
    distribution = metadata.distribution("alkaid")
    fields = distribution.metadata
    licence = _licence_text(distribution)
    urls = "".join(f"  {url}\n" for url in fields.get_all("Project-URL") or ())
    notice = (
        "This directory holds Verilog written by, and partly copied from, alkaid.\n\n"
        f"  {fields['Name']} {fields['Version']}: {fields['Summary']}\n"
        f"  Author: {', '.join(fields.get_all('Author-email') or ['see the project'])}\n"
        f"  Licence: {', '.join(fields.get_all('License-Expression') or ['see below'])}\n"
        f"{urls}\n"
        "The licence text is in LICENSE.alkaid (LGPL 3, which adds permissions to the GPL 3: https://www.gnu.org/licenses/).\n"
        "The files were changed: module names carry a prefix, and the modules stand in one file.\n"
    )
    return {"NOTICE.alkaid": notice, "LICENSE.alkaid": licence}


def _licence_text(distribution: metadata.Distribution) -> str:
    for path in distribution.files or ():
        if path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            return path.read_text(encoding="utf-8")
    return f"alkaid {distribution.version}: {distribution.metadata['License-Expression']}\n"

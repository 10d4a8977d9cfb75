"""Synthesis by Yosys with one recipe for every backend, so that resource numbers compare."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qonnx_core.eda.process import run_tool
from qonnx_core.eda.simulate import check_component
from qonnx_core.eda.streams import Component
from qonnx_core.eda.tools import find_yosys
from qonnx_core.errors import InvalidInput, ToolFailed

_XC7_LUTRAM = {
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
}
_NARROW_ADDER_BITS = 7
"""Adders up to this width are mapped to LUTs instead of carry chains (`eda.md` measured 7 as the best bound)."""

_WORD_COUNT = re.compile(r"number of words in '([^']+)' doesn't match the range")


@dataclass(frozen=True)
class Resources:
    """What a design takes of a device: ``bram18`` counts memories of 18 kbit; ``cells`` is the netlist by cell type."""

    lut: int
    ff: int
    bram18: int
    dsp: int
    cells: Mapping[str, int] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the resources as plain values for a report."""
        return asdict(self)


def _script(family: str, top: str, sources: list[str]) -> list[str]:
    """Return the passes, one a line."""
    read = f"read_slang --threads 1 --top {top} {' '.join(sources)}"
    if family == "ecp5":
        body = ["scratchpad -set abc9.verify 0", f"synth_ecp5 -nowidelut -top {top}"]
    else:
        synth = "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf"
        body = [
            "scratchpad -set abc9.verify 0",
            f"{synth} -run begin:fine -top {top}",
            f"select -set narrow t:$alu r:Y_WIDTH<={_NARROW_ADDER_BITS} %i",
            "techmap -autoproc -map +/techmap.v @narrow",
            "opt -full",
            f"{synth} -run fine: -top {top}",
        ]
    return [read, *body, "tee -q -o stat.json stat -json"]


def count_resources(family: str, cells: Mapping[str, int], seconds: float = 0.0) -> Resources:
    """Return the resources of a netlist, by the arithmetic that all numbers of this project use.

    7-series: LUTs include LUT memories and shift registers, inverters are free. ECP5: a carry cell is two LUTs, a
    distributed memory six.
    """

    def total(pattern: str) -> int:
        return sum(number for name, number in cells.items() if re.fullmatch(pattern, name))

    if family == "ecp5":
        lut = total("LUT4") + 2 * total("CCU2C") + 6 * total("TRELLIS_DPR16X4")
        return Resources(lut, total("TRELLIS_FF"), total("DP16KD|PDPW16KD"), total("MULT18X18D"), dict(cells), seconds)
    lut = total("LUT[1-6]") + sum(number * _XC7_LUTRAM.get(name, 0) for name, number in cells.items())
    bram18 = total("RAMB18E1") + 2 * total("RAMB36E1")
    return Resources(lut, total("FD[A-Z]*"), bram18, total("DSP48E1"), dict(cells), seconds)


def _refuse_short_memories(log: Path, command: Sequence[str]) -> None:
    """Raise `ToolFailed` where a memory file has more or fewer words than its memory; Yosys only warns of it."""
    found = _WORD_COUNT.search(log.read_text(encoding="utf-8", errors="replace"))
    if found:
        raise ToolFailed(
            f"Yosys: {found[1]} has another number of words than its memory; expected a word for each address. "
            f"Emit the component again; log in {log}.",
            command=tuple(command),
            exit_code=0,
            log=log,
        )


def synthesize(component: Component, family: str, workdir: Path, timeout: float = 3600.0) -> Resources:
    """Return what the component takes on a family, ``xc7`` or ``ecp5``; script, log and statistics stay in ``workdir``.

    Raises:
        InvalidInput: for an unknown family, or a component whose files are missing.
        ToolMissing: without Yosys.
        ToolFailed: if Yosys stops with an error, or does not end within ``timeout`` seconds.

    """
    if family not in ("xc7", "ecp5"):
        raise InvalidInput(f"synthesis: found family {family!r}; expected xc7 or ecp5.")
    check_component(component)
    yosys = find_yosys()
    workdir.mkdir(parents=True, exist_ok=True)
    workdir = workdir.resolve()
    started = time.monotonic()
    manifest = component.manifest
    log, script = workdir / "yosys.log", workdir / "run.ys"
    script.write_text("\n".join(_script(family, manifest.top, manifest.sources)) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=workdir, prefix="yosys-") as made:
        work = Path(made)
        for path in (*component.source_paths, *component.data_paths, script):
            shutil.copyfile(path, work / path.name)
        run_tool([*yosys.command, script.name], cwd=work, log=log, timeout=timeout, name="Yosys")
        _refuse_short_memories(log, yosys.command)
        statistics = work / "stat.json"
        if not statistics.is_file():
            raise ToolFailed(f"Yosys: wrote no statistics; log in {log}.", command=yosys.command, exit_code=0, log=log)
        statistics.replace(workdir / "stat.json")
    seconds = time.monotonic() - started
    design = json.loads((workdir / "stat.json").read_text(encoding="utf-8"))["design"]
    cells = {name: int(number) for name, number in sorted(design["num_cells_by_type"].items())}
    unmapped = [name for name in cells if name.startswith("$") and name not in ("$scopeinfo", "$print", "$check")]
    if unmapped:
        raise ToolFailed(
            f"Yosys: the netlist still holds {', '.join(unmapped)}; expected cells of {family} only; log in {log}.",
            command=yosys.command,
            exit_code=0,
            log=log,
        )
    return count_resources(family, cells, seconds)

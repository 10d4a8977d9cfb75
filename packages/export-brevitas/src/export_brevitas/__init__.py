"""Export Brevitas (PyTorch) models to QONNX, verified on export.

The names are loaded on first use: importing this package imports neither torch nor Brevitas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from export_brevitas.frontend import FRONTEND, BrevitasFrontend

if TYPE_CHECKING:
    from export_brevitas.export import export_qonnx
    from export_brevitas.manager import BrevitasONNXManager, export_brevitas_onnx
    from export_brevitas.verification import check_of, verify_export

__version__ = "0.1.0"

__all__ = [
    "FRONTEND",
    "BrevitasFrontend",
    "BrevitasONNXManager",
    "check_of",
    "export_brevitas_onnx",
    "export_qonnx",
    "verify_export",
]

_HOMES = {
    "BrevitasONNXManager": "export_brevitas.manager",
    "check_of": "export_brevitas.verification",
    "export_brevitas_onnx": "export_brevitas.manager",
    "export_qonnx": "export_brevitas.export",
    "verify_export": "export_brevitas.verification",
}


def __getattr__(name: str) -> Any:
    """Return a public name, importing torch with it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

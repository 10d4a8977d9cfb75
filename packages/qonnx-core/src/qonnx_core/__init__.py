"""Run, check, transform, partition and build quantized neural networks in the QONNX format."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qonnx_core.cleanup import cleanup_model
    from qonnx_core.errors import (
        InvalidInput,
        InvalidModel,
        Mismatch,
        QonnxError,
        ToolFailed,
        ToolMissing,
        Unsupported,
    )
    from qonnx_core.execute.compiled import CompiledModel, compile_model
    from qonnx_core.formats.reader import load
    from qonnx_core.formats.writer import save
    from qonnx_core.ir.datatypes import DataType

__version__ = "0.1.0"

__all__ = [
    "CompiledModel",
    "DataType",
    "InvalidInput",
    "InvalidModel",
    "Mismatch",
    "QonnxError",
    "ToolFailed",
    "ToolMissing",
    "Unsupported",
    "cleanup_model",
    "compile_model",
    "load",
    "save",
]

# Where the public names live; they are imported on first use, so that importing this package stays fast.
_HOMES = {
    "CompiledModel": "qonnx_core.execute.compiled",
    "DataType": "qonnx_core.ir.datatypes",
    "cleanup_model": "qonnx_core.cleanup",
    "compile_model": "qonnx_core.execute.compiled",
    "load": "qonnx_core.formats.reader",
    "save": "qonnx_core.formats.writer",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "qonnx_core.errors")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""QONNX to FINN-ONNX and to folded dataflow hardware in SystemVerilog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend_finn.backend import BACKEND, FinnBackend

if TYPE_CHECKING:
    from backend_finn.dialect import ConvertQONNXtoFINN, convert_qonnx_to_finn

__version__ = "0.1.0"

__all__ = ["BACKEND", "ConvertQONNXtoFINN", "FinnBackend", "convert_qonnx_to_finn"]


def __getattr__(name: str) -> object:
    """Return the conversion on first use, so that finding the backend stays fast."""
    if name in ("ConvertQONNXtoFINN", "convert_qonnx_to_finn"):
        from backend_finn import dialect

        return getattr(dialect, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

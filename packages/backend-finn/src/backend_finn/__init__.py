"""QONNX to FINN-ONNX and to folded dataflow hardware in SystemVerilog."""

from backend_finn.backend import BACKEND, FinnBackend

__all__ = ["BACKEND", "FinnBackend"]

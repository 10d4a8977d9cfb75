"""QONNX partitions as exact hls4ml projects, bit-exact emulation, and RTL through distributed arithmetic."""

from backend_hls4ml.backend import BACKEND, Hls4mlBackend, Hls4mlDesign
from backend_hls4ml.options import Options

__version__ = "0.1.0"

__all__ = ["BACKEND", "Hls4mlBackend", "Hls4mlDesign", "Options"]

"""Run, check, transform, partition and build quantized neural networks in the QONNX format."""

from __future__ import annotations

__version__ = "0.1.0"

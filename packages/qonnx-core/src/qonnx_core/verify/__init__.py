"""Comparisons with computed error bounds: equal, rounding, boundary, or a mismatch."""

from __future__ import annotations

from qonnx_core.verify.check import BoundaryCase, Check, FirstDifference
from qonnx_core.verify.compare import compare_integers, compare_outputs
from qonnx_core.verify.error_bounds import ErrorAnalysis, ErrorBounds

__all__ = [
    "BoundaryCase",
    "Check",
    "ErrorAnalysis",
    "ErrorBounds",
    "FirstDifference",
    "compare_integers",
    "compare_outputs",
]

"""Comparisons with computed error bounds: equal, rounding, boundary, or a mismatch."""

from __future__ import annotations

from qonnx_core.verify.check import BoundaryCase, Check, FirstDifference
from qonnx_core.verify.compare import compare_integers, compare_outputs
from qonnx_core.verify.error_bounds import ErrorAnalysis, ErrorBounds
from qonnx_core.verify.integer_forms import compare_integer_form

__all__ = [
    "BoundaryCase",
    "Check",
    "ErrorAnalysis",
    "ErrorBounds",
    "FirstDifference",
    "compare_integer_form",
    "compare_integers",
    "compare_outputs",
]

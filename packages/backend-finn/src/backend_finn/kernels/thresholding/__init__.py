"""Thresholding: exact quantization by thresholds."""

from backend_finn.kernels.thresholding.kernel import Thresholding
from backend_finn.kernels.thresholding.search import Search

__all__ = ["Search", "Thresholding"]

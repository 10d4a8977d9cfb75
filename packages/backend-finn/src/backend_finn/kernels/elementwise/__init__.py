"""Elementwise kernels: scale by integers, add constants, shift-round-clip."""

from backend_finn.kernels.elementwise.affine import Affine
from backend_finn.kernels.elementwise.requantize import RequantizeKernel

__all__ = ["Affine", "RequantizeKernel"]

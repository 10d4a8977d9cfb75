"""MVAU: the matrix-vector unit."""

from backend_finn.kernels.mvau.kernel import Mvau

__all__ = ["Mvau"]

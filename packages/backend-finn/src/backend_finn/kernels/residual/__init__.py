"""Residual connections: the sum of two streams."""

from backend_finn.kernels.residual.kernel import AddStreams

__all__ = ["AddStreams"]

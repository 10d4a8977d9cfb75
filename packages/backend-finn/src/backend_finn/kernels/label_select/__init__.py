"""LabelSelect: indices of the largest elements."""

from backend_finn.kernels.label_select.kernel import LabelSelectKernel

__all__ = ["LabelSelectKernel"]

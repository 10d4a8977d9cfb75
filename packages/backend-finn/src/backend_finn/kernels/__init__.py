"""Kernels: one folder each, with its shape, folding, cost, memory images and software model."""

from backend_finn.kernels.base import Kernel
from backend_finn.kernels.elementwise import Affine, RequantizeKernel
from backend_finn.kernels.label_select import LabelSelectKernel
from backend_finn.kernels.mvau import Mvau
from backend_finn.kernels.residual import AddStreams
from backend_finn.kernels.thresholding import Thresholding

__all__ = ["AddStreams", "Affine", "Kernel", "LabelSelectKernel", "Mvau", "RequantizeKernel", "Thresholding"]

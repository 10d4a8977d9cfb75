"""Scaled-integer range analysis: which numbers every tensor of a model can hold, proven from its inputs' grids."""

from qonnx_core.analyses.ranges.report import TensorRange, tensor_ranges

__all__ = ["TensorRange", "tensor_ranges"]

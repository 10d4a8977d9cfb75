"""Integer form: a quantized graph as integers, exact thresholds and host-side scales."""

from __future__ import annotations

from qonnx_core.passes.streamline.integer_form import IntegerForm, Port, grids_of, to_integer_form

__all__ = ["IntegerForm", "Port", "grids_of", "to_integer_form"]

"""The quantizers as torch operators: what they compute, and what ``torch.export`` records in their place.

Each computes in float32 exactly what the QONNX operator of its name computes. ``name`` is the quantizer's path in the
model and ``parameter`` that of the weight or bias that it quantizes, if any; they travel with the operator so that the
written node can carry them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAMESPACE = "export_brevitas"

# The rounding modes of QONNX that Brevitas has, under the names of QONNX.
ROUNDINGS = {"ROUND": torch.round, "FLOOR": torch.floor, "CEIL": torch.ceil, "DOWN": torch.trunc}


def integer_bounds(bit_width: Tensor, signed: bool, narrow: bool) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest integer of a width, as tensors like ``bit_width``."""
    if signed:
        half = 2.0 ** (bit_width - 1.0)
        return -half + float(narrow), half - 1.0
    return torch.zeros_like(bit_width), 2.0**bit_width - 1.0 - float(narrow)


@torch.library.custom_op(f"{NAMESPACE}::quant", mutates_args=())  # type: ignore[untyped-decorator]
def quant(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bit_width: Tensor,
    signed: bool,
    narrow: bool,
    rounding_mode: str,
    name: str,
    parameter: str,
) -> Tensor:
    """Return ``(round(clip(x / scale + zero_point)) - zero_point) * scale``."""
    low, high = integer_bounds(bit_width, signed, narrow)
    y = x / scale + zero_point
    y = ROUNDINGS[rounding_mode](torch.minimum(torch.maximum(y, low), high))
    return (y - zero_point) * scale


@quant.register_fake  # type: ignore[untyped-decorator]
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op(f"{NAMESPACE}::bipolar", mutates_args=())  # type: ignore[untyped-decorator]
def bipolar(x: Tensor, scale: Tensor, name: str, parameter: str) -> Tensor:
    """Return ``scale`` where ``x >= 0`` and ``-scale`` elsewhere."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype) * scale


@bipolar.register_fake  # type: ignore[untyped-decorator]
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op(f"{NAMESPACE}::trunc", mutates_args=())  # type: ignore[untyped-decorator]
def trunc(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bit_width: Tensor,
    out_scale: Tensor,
    out_bit_width: Tensor,
    signed: bool,
    narrow: bool,
    rounding_mode: str,
    name: str,
) -> Tensor:
    """Return ``x`` on the coarser grid of ``out_scale`` and ``out_bit_width`` (QONNX Trunc, version 2)."""
    low, high = integer_bounds(out_bit_width, signed, narrow)
    step = 2.0 ** torch.round(torch.log2(out_scale / scale))
    y = torch.round(x / scale + zero_point) / step
    y = ROUNDINGS[rounding_mode](torch.minimum(torch.maximum(y, low), high))
    return (y - zero_point / step) * out_scale


@trunc.register_fake  # type: ignore[untyped-decorator]
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)

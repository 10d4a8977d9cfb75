"""What a quantizer of the model computes, in the terms of QONNX, and how that is found out.

A quantizer is never taken at its word. Its settings say what it should compute; then it is run, and only what
reproduces its results bit for bit is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from export_brevitas import traced_ops
from qonnx_core.errors import Unsupported

Compute = Callable[[Tensor], Tensor]

_REACH = 20.0  # grid points that are probed on both sides of zero, of both ends and half way to them
_FAR = 1e6  # far outside of any grid, in steps


@dataclass(frozen=True)
class Quantization:
    """A Quant or BipolarQuant: numbers as float32 tensors, scalars where they are one number."""

    scale: Tensor
    zero_point: Tensor
    bit_width: Tensor
    signed: bool
    narrow: bool
    rounding_mode: str = "ROUND"
    is_bipolar: bool = False

    def __call__(self, x: Tensor, name: str = "", parameter: str = "") -> Tensor:
        """Return ``x`` quantized; while tracing, as one operator with these names."""
        if self.is_bipolar:
            return traced_ops.bipolar(x, self.scale, name, parameter)
        numbers = (self.scale, self.zero_point, self.bit_width)
        return traced_ops.quant(x, *numbers, self.signed, self.narrow, self.rounding_mode, name, parameter)

    def is_same_as(self, other: Quantization) -> bool:
        """Return whether the two compute the same."""
        return (
            torch.equal(self.scale, other.scale)
            and torch.equal(self.zero_point, other.zero_point)
            and torch.equal(self.bit_width, other.bit_width)
            and (self.signed, self.narrow, self.rounding_mode) == (other.signed, other.narrow, other.rounding_mode)
        )

    def reproduces(self, x: Tensor, result: Tensor) -> bool:
        """Return whether ``x`` quantized is ``result``, bit for bit."""
        return bool(torch.equal(self(x), result))


def scalar_if_one(number: Tensor) -> Tensor:
    """Return a copy as float32, without dimensions where it is a single number."""
    made = number.detach().to(torch.float32).clone()
    return made.reshape(()) if made.numel() == 1 else made


def written_as(
    scale: Tensor,
    zero_point: Tensor,
    bit_width: Tensor,
    *,
    signed: bool,
    narrow: bool,
    rounding_mode: str,
    name: str,
) -> Quantization:
    """Return the Quantization that a quantizer's settings stand for; one signed bit is bipolar.

    Raises:
        Unsupported: the bit width is not one whole number of at least 1.
    """
    bits = scalar_if_one(bit_width)
    if bits.numel() != 1 or float(bits) != int(bits) or float(bits) < 1:
        raise Unsupported(
            f"{name}: bit width is {bits.tolist()}; expected one whole number of at least 1. "
            "Give the quantizer an integer bit_width."
        )
    return Quantization(
        scalar_if_one(scale),
        scalar_if_one(zero_point),
        bits,
        signed,
        narrow,
        rounding_mode,
        is_bipolar=signed and int(bits) == 1,
    )


def probes(quantization: Quantization) -> Tensor:
    """Return values around and between the points of the grid: ties and near ties, both ends and far outside.

    Shape ``(number of probes,)`` where scale and zero point are single numbers, else ``(number of probes, ...)`` with
    the rest of the scale's shape, so that every channel sees every probe.
    """
    low, high = traced_ops.integer_bounds(quantization.bit_width, quantization.signed, False)
    whole = torch.cat([torch.arange(-_REACH, _REACH + 1.0) + float(end) for end in (low, low / 2, 0.0, high / 2, high)])
    ties = torch.unique(whole.round()) + 0.5
    below, above = torch.nextafter(ties, ties - 1), torch.nextafter(ties, ties + 1)
    fine = torch.arange(-2.0, 2.0, 1 / 64)
    steps = torch.unique(torch.cat([whole.round(), ties, below, above, fine, torch.tensor([-_FAR, _FAR])]))
    shape = torch.broadcast_shapes(quantization.scale.shape, quantization.zero_point.shape)
    steps = steps.reshape(-1, *(1 for _ in shape[1:]))
    steps = steps.to(quantization.scale.device)
    return (steps - quantization.zero_point) * quantization.scale


def of_activation(candidate: Quantization, x: Tensor, result: Tensor, compute: Compute, name: str) -> Quantization:
    """Return ``candidate`` if it computes what the activation quantizer computes.

    Args:
        candidate: what the settings say.
        x: an input that the quantizer has seen, ``result`` its answer.
        result: see ``x``.
        compute: the quantizer itself.
        name: its path, for messages.

    Raises:
        Unsupported: it does not.
    """
    for tried in (candidate, replace(candidate, narrow=not candidate.narrow)):
        values = probes(tried)
        if tried.reproduces(x, result) and tried.reproduces(values, compute(values)):
            return tried
    values = probes(candidate)
    got, expected = candidate(values), compute(values)
    if got.shape == expected.shape:
        at = int(torch.nonzero((got != expected).flatten())[0]) if bool((got != expected).any()) else 0
        example = f"at {values.flatten()[at].item():g} it gives {expected.flatten()[at].item():g}"
        example += f" where {candidate.rounding_mode} rounding on its grid gives {got.flatten()[at].item():g}"
    else:
        example = f"its scale has the shape {tuple(candidate.scale.shape)}"
    raise Unsupported(
        f"{name}: no QONNX quantizer computes what this one computes ({example}). "
        "Use an integer quantizer with a fixed scale, such as Int8ActPerTensorFloat or Uint8ActPerTensorFloat."
    )


def of_parameter(candidate: Quantization, x: Tensor, result: Tensor, name: str) -> tuple[Quantization, bool]:
    """Return how a quantized weight or bias is written, and whether from the given ``x`` (True) or from its result.

    Where ``candidate`` does not give ``result`` from ``x``, the result is written in its place, provided that
    quantizing it again changes nothing.

    Raises:
        Unsupported: not even the result lies on the grid.
    """
    tried = (candidate, replace(candidate, narrow=not candidate.narrow))
    for is_given, start in ((True, x), (False, result)):
        for each in tried:
            if each.reproduces(start, result):
                return each, is_given
    worst = float((candidate(result) - result).abs().max())
    raise Unsupported(
        f"{name}: the quantized values are not on the grid of scale {candidate.scale.flatten()[:4].tolist()} and "
        f"{int(candidate.bit_width)} bits (largest distance {worst:g}); expected integers times the scale. "
        "Use an integer weight quantizer, such as Int8WeightPerTensorFloat."
    )

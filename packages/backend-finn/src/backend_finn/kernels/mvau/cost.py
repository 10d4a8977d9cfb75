"""What a matrix-vector unit takes: population counts, accumulators, the input buffer and the weight memory."""

from __future__ import annotations

import math

from backend_finn.cost import Resources, popcount_lut, ram, rom


def mvau_resources(
    *, mw: int, mh: int, pe: int, simd: int, a_bits: int, w_bits: int, acc_bits: int, has_start: bool
) -> Resources:
    """Return the estimated resources of `mvau.sv`."""
    neuron_fold, synapse_fold = mh // pe, mw // simd
    depth = neuron_fold * synapse_fold
    dot_bits = min(acc_bits, a_bits + w_bits + math.ceil(math.log2(simd)) + 1)
    plane_pairs = a_bits * w_bits
    dot = plane_pairs * popcount_lut(simd) + (plane_pairs - 1) * dot_bits * 0.9
    lane = Resources(lut=dot + acc_bits * (1.0 if synapse_fold > 1 else 0.5), ff=dot_bits + acc_bits)
    lanes = Resources(lane.lut * pe, lane.ff * pe)
    weights = rom(depth, pe * w_bits * simd)
    if neuron_fold > 1:
        buffer = ram(2 << max(1, (synapse_fold - 1).bit_length()), simd * a_bits)
    else:
        buffer = Resources(ff=simd * a_bits)
    starts = rom(neuron_fold, pe * acc_bits) if has_start and neuron_fold > 1 else Resources()
    control = Resources(lut=20 + 2 * depth.bit_length(), ff=12 + 2 * depth.bit_length())
    return lanes + weights + buffer + starts + control

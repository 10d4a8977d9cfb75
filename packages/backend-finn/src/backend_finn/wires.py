"""Wires: how the elements of a tensor lie between two kernels, and what is known about their range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qonnx_core.eda.streams import wire_format

if TYPE_CHECKING:
    from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]


def bits_for(lo: int, hi: int) -> tuple[int, bool]:
    """Return the least number of bits for the integers ``lo..hi`` and whether one of them is a sign."""
    if lo >= 0:
        return max(1, hi.bit_length()), False
    return max((-lo - 1).bit_length(), max(hi, 0).bit_length()) + 1, True


def signed_bits_for(lo: int, hi: int) -> int:
    """Return the least number of bits of a two's complement number for the integers ``lo..hi``."""
    bits, signed = bits_for(lo, hi)
    return bits if signed else bits + 1


@dataclass(frozen=True, eq=False)
class Wire:
    """One tensor between kernels: its frame (N = 1, channels last), the bits of an element, and bounds per channel.

    A bipolar element is one bit: 0 is -1, 1 is +1. ``lo`` and ``hi`` are inclusive, one entry per channel.
    """

    tensor: str
    shape: tuple[int, ...]
    datatype: str
    bits: int
    signed: bool
    bipolar: bool
    lo: IntArray
    hi: IntArray

    @staticmethod
    def of(tensor: IntTensor) -> Wire:
        """Return the wire that carries a tensor of the integer form."""
        wire = wire_format(str(tensor.datatype))
        shape = tuple(int(size) for size in tensor.shape) or (1,)
        lo = np.broadcast_to(np.asarray(tensor.lo, np.int64), (shape[-1],)).copy()
        hi = np.broadcast_to(np.asarray(tensor.hi, np.int64), (shape[-1],)).copy()
        return Wire(tensor.name, shape, str(tensor.datatype), wire.bits, wire.signed, wire.bipolar, lo, hi)

    @property
    def channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]

    @property
    def vectors(self) -> int:
        """Vectors of ``channels`` elements in a frame."""
        return math.prod(self.shape[:-1])

    @property
    def elements(self) -> int:
        """Elements of a frame."""
        return math.prod(self.shape)

    def to_codes(self, values: IntArray) -> IntArray:
        """Return what lies on the wire for each value, as an integer: 0 and 1 for -1 and +1, else the value itself."""
        return np.asarray((values + 1) // 2, np.int64) if self.bipolar else values

    def to_values(self, codes: IntArray) -> IntArray:
        """Return the value of each code; codes are taken modulo ``2**bits``, as the wire cuts them."""
        cut = codes & ((1 << self.bits) - 1)
        if self.bipolar:
            return np.asarray(2 * cut - 1, np.int64)
        return sign_extend(cut, self.bits) if self.signed else cut


def sign_extend(codes: IntArray, bits: int) -> IntArray:
    """Return the two's complement values of codes in ``0..2**bits - 1``."""
    if bits >= 64:
        return codes
    half = np.int64(1) << np.int64(bits - 1)
    return np.asarray((codes ^ half) - half, np.int64)

"""Bit planes: how a matrix product is taken apart into population counts, and what is constant in a row.

A product of an activation plane and a weight plane is one AND (or XNOR) and one population count. Where an operand is
bipolar its bit stands for 2 b - 1, and what the counts leave out depends on the row of the matrix only:

* bipolar weights, bipolar activations: ``sum w a = 2 * count(xnor) - K``
* bipolar weights, integer activations: ``sum w a = sum_i s_i count(xnor_i) + (ones(row) - K) * sum_i s_i``
* integer weights, bipolar activations: ``sum w a = 2 * sum_j s_j count(and_j) - sum(row)``

with ``s_i`` the value of plane ``i`` (``2**i``, negative for a sign plane) and ``K`` the length of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend_finn.memory import BitArray, Image, from_bits, image_of_bits, to_bits
from backend_finn.wires import Wire, bits_for

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Planes:
    """A constant matrix ``(K, N)`` as the unit multiplies it.

    ``factor * counted + constant[n]`` is the product of row n: ``factor`` is 2 for bipolar activations, else 1.
    """

    codes: IntArray  # as stored: 0 and 1 for -1 and +1 if xnor
    bits: int
    signed: bool
    xnor: bool
    factor: int
    constant: IntArray

    @staticmethod
    def of(weights: IntArray, activations: Wire) -> Planes:
        """Return the planes of a matrix for one kind of activations; weights take the least bits that hold them."""
        length = weights.shape[0]
        factor = 2 if activations.bipolar else 1
        if bool(np.all(np.abs(weights) == 1)):
            codes = (weights + 1) // 2
            if activations.bipolar:
                constant = np.full(weights.shape[1], -length, np.int64)
            else:
                all_planes = -1 if activations.signed else (1 << activations.bits) - 1
                constant = (codes.sum(axis=0) - length) * all_planes
            return Planes(codes, 1, signed=False, xnor=True, factor=factor, constant=constant)
        bits, signed = bits_for(int(weights.min()), int(weights.max()))
        constant = -weights.sum(axis=0) if activations.bipolar else np.zeros(weights.shape[1], np.int64)
        return Planes(weights, bits, signed, xnor=False, factor=factor, constant=constant)

    def image(self, file: str, pe: int, simd: int) -> Image:
        """Return the weight memory: a word is, from its low end, for each PE, for each plane, SIMD bits."""
        length, rows = self.codes.shape
        planes = to_bits(self.codes, self.bits).reshape(length // simd, simd, rows // pe, pe, self.bits)
        words = planes.transpose(2, 0, 3, 4, 1).reshape((rows // pe) * (length // simd), pe * self.bits * simd)
        return image_of_bits(file, np.ascontiguousarray(words))

    def codes_in(self, image: Image, pe: int, simd: int) -> IntArray:
        """Return the matrix ``(K, N)`` of codes that a weight memory holds."""
        length, rows = self.codes.shape
        bits: BitArray = image.bits().reshape(rows // pe, length // simd, pe, self.bits, simd)
        ordered = bits.transpose(1, 4, 0, 2, 3).reshape(length, rows, self.bits)
        return from_bits(ordered, signed=self.signed)


def counted(codes: IntArray, activations: IntArray, wire: Wire, *, xnor: bool) -> IntArray:
    """Return what the population counts add up to for activation codes ``(..., K)``: ``(..., N)``.

    An XNOR of bits w and a is ``1 - w - a + 2 w a``; summed with the values of the planes this needs one product.
    """
    product = matmul(activations, codes)
    if not xnor:
        return product
    all_planes = -1 if wire.signed else (1 << wire.bits) - 1
    constant = all_planes * (codes.shape[0] - codes.sum(axis=0))
    return np.asarray(2 * product - activations.sum(axis=-1, keepdims=True) + constant, np.int64)


def matmul(x: IntArray, w: IntArray) -> IntArray:
    """Return the exact product ``x @ w``: in float64 (fast) where no sum can reach 2**53, else in int64."""
    bound = int(np.abs(x).max(initial=0)) * int(np.abs(w).sum(axis=0).max(initial=0))
    if bound < 1 << 53:
        return np.asarray(np.rint(x.astype(np.float64) @ w.astype(np.float64)), np.int64)
    return np.asarray(x @ w, np.int64)

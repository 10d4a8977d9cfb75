"""Memory images: words of a `$readmemh` file and the fields they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BitArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Image:
    """The contents of one memory file: words of ``width`` bits, as they lie in the memory."""

    file: str
    width: int
    words: tuple[int, ...]

    def bits(self) -> BitArray:
        """Return the words as bits, least significant first: ``(words, width)``."""
        octets = -(-self.width // 8)
        raw = b"".join(word.to_bytes(octets, "little") for word in self.words)
        rows = np.frombuffer(raw, np.uint8).reshape(len(self.words), octets)
        return np.unpackbits(rows, axis=1, count=self.width, bitorder="little")


def image_of_bits(file: str, bits: BitArray) -> Image:
    """Return the image whose words have these bits, least significant first: ``(words, width)``."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    return Image(file, bits.shape[1], tuple(int.from_bytes(row.tobytes(), "little") for row in packed))


def to_bits(values: IntArray, bits: int) -> BitArray:
    """Return the low ``bits`` bits of each value (two's complement), least significant first, as a new last axis."""
    shifts = np.arange(bits, dtype=np.int64)
    return np.asarray((values[..., None] >> np.minimum(shifts, 63)) & 1, np.uint8)


def from_bits(bits: BitArray, *, signed: bool) -> IntArray:
    """Return the integers whose bits are the last axis, least significant first."""
    width = bits.shape[-1]
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    return np.asarray(bits.astype(np.int64) @ weights, np.int64)

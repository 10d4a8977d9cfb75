"""What the interpreter knows about a tensor of the QONNX graph: an exact function of a tensor of integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import exact
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.elementwise import Affine, Chain, Params, Step, as_affine, at, shared, then
from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Represented:
    """``value[index[i]] = chain(base[i])`` for each position i of one frame of the integer tensor.

    ``shape`` is one frame in the QONNX model, without the batch axis; ``index`` maps positions of the integer tensor
    (channels last, row-major) to row-major positions of that frame, and is None where they agree. ``fresh`` marks a
    tensor that the integer tensor was made for. ``datatype`` is what is declared of the integers: by the input's grid,
    by the quantizer, or for a sum by the declared types of its terms. Unlike the proven range it does not depend on
    where a graph is cut.
    """

    base: IntTensor
    chain: Chain
    shape: tuple[int, ...]
    index: IntArray | None
    datatype: DataType
    fresh: bool = False

    def after(self, step: Step) -> Represented:
        """Return the tensor after one more elementwise function."""
        return replace(self, chain=then(self.chain, step), fresh=False)

    def declared(self) -> tuple[IntArray, IntArray]:
        """Return the declared range of the integers, per channel."""
        ends = (int(self.datatype.min), int(self.datatype.max))
        return np.full(self.base.channels, ends[0], np.int64), np.full(self.base.channels, ends[1], np.int64)

    def affine(self) -> Affine | None:
        """Return the chain as an affine function of the integers, or None if it is more than that."""
        return as_affine(self.chain)

    def grid(self) -> Grid | str:
        """Return the grid that the tensor's values lie on, or why there is none."""
        affine = self.affine()
        if affine is None:
            return "an elementwise function that is not linear stands between it and the integers"
        return grid_of(affine, self.datatype)


@dataclass(frozen=True, eq=False)
class Failed:
    """A tensor without an integer representation, and why; ``own`` is False where the reason lies upstream."""

    reason: str
    own: bool = True


Knowledge = Represented | Constant | Failed


def grid_of(affine: Affine, datatype: DataType) -> Grid | str:
    """Return the grid of ``gain * k + offset`` for k of a data type, or why it is no grid."""
    count = affine.channels
    scales: list[Fraction] = []
    zeros: list[int] = []
    offsets: list[Fraction] = []
    for c in range(count):
        gain, offset = at(affine.gain, c), at(affine.offset, c)
        if not isinstance(gain, Fraction) or not isinstance(offset, Fraction):
            return "its scale is irrational (batch normalization without a quantizer behind it)"
        if gain <= 0:
            return "its scale is not positive on every channel"
        scales.append(gain)
        zero = -offset / gain
        zeros.append(int(zero) if zero.denominator == 1 else 0)
        offsets.append(Fraction(0) if zero.denominator == 1 else offset)
    return Grid(datatype, tuple(scales), tuple(zeros), tuple(offsets))


def params_of(constant: Constant, of: Represented) -> tuple[Params, bool]:
    """Return a constant as parameters of the integer tensor's channels, and whether that needs a flat tensor first.

    Raises Unsupported where the constant broadcasts over the batch or beyond the tensor.
    """
    if constant.mantissa.size == 1:
        return (constant.fraction(0),), False
    full = (1, *of.shape)
    rank = len(constant.shape)
    if rank > len(full) or (rank == len(full) and constant.shape[0] != 1):
        raise Unsupported(f"a constant of shape {list(constant.shape)} beside a frame of shape {list(full)} "
                          "would make the frame larger; give the constant one entry per channel")  # fmt: skip
    try:
        positions = np.broadcast_to(np.arange(constant.mantissa.size).reshape(constant.shape), full).reshape(-1)
    except ValueError as error:
        message = f"a constant of shape {list(constant.shape)} does not fit a frame of shape {list(full)}"
        raise Unsupported(message) from error
    if of.index is not None:
        positions = positions[of.index]
    channels = of.base.channels
    table = positions.reshape(-1, channels)
    if (table == table[0]).all():
        return shared([constant.fraction(int(p)) for p in table[0]]), False
    exact_values = {int(p): constant.fraction(int(p)) for p in np.unique(positions)}
    return shared([exact_values[int(p)] for p in positions]), True


def commensurate(params: Params, what: str, limit_bits: int) -> tuple[exact.Real, list[int]]:
    """Return ``unit`` and integers with ``params[i] = unit * integers[i]`` (unit > 0 unless all are 0).

    Raises Unsupported where the ratios are irrational or the integers need more than ``limit_bits`` bits.
    """
    reference = next((p for p in params if p != 0), None)
    if reference is None:
        return Fraction(1), [0] * len(params)
    ratios: list[Fraction] = []
    for p in params:
        ratio = p / reference
        if not isinstance(ratio, Fraction):
            raise Unsupported(f"{what} have an irrational ratio; put a quantizer before this node")
        ratios.append(ratio)
    denominator = int(np.lcm.reduce(np.asarray([r.denominator for r in ratios], object)))
    ints = [int(r * denominator) for r in ratios]
    divisor = int(np.gcd.reduce(np.asarray(ints, object)))
    ints = [i // divisor for i in ints]
    unit = reference * Fraction(divisor, denominator)
    if exact.sign(unit) < 0:
        unit, ints = -unit, [-i for i in ints]
    if max(abs(i) for i in ints) >= 1 << limit_bits:
        raise Unsupported(
            f"{what} have ratios that need integer factors of more than {limit_bits} bits; "
            "use scales that are small multiples of each other (powers of two), or put a quantizer before this node"
        )
    return unit, ints

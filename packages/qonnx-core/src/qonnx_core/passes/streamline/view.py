"""A typed, read-only view of an integer graph: the layers a backend turns into hardware, in topological order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qonnx_core.ir.datatypes import DataType

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class IntTensor:
    """A tensor of integers: name in the integer model, shape of one frame (N = 1, channels last), and proven ranges.

    ``lo`` and ``hi`` hold one bound per channel (last axis), both inclusive and reached at most, never crossed.
    """

    name: str
    shape: tuple[int, ...]
    datatype: DataType
    lo: IntArray
    hi: IntArray

    @property
    def channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]

    @property
    def elements(self) -> int:
        """Number of elements of one frame."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class MatMul:
    """``output = input @ weights (+ bias)``; weights ``[K, N]``, bias ``[N]``, all integers."""

    name: str
    input: IntTensor
    output: IntTensor
    weights: IntArray
    weight_datatype: DataType
    bias: IntArray | None = None


@dataclass(frozen=True, eq=False)
class Thresholds:
    """``output = base + step * #{t : input >= thresholds[c, t]}``; rows sorted, one row per channel or one for all."""

    name: str
    input: IntTensor
    output: IntTensor
    thresholds: IntArray
    base: int
    step: int


@dataclass(frozen=True, eq=False)
class Requantize:
    """``output = clip(round(input / 2**shift), lo, hi)``; ``rounding`` is a QONNX rounding mode."""

    name: str
    input: IntTensor
    output: IntTensor
    shift: int
    rounding: str
    lo: int
    hi: int


@dataclass(frozen=True, eq=False)
class Scale:
    """``output = input * factor``; one integer factor per channel (last axis) or a single one."""

    name: str
    input: IntTensor
    output: IntTensor
    factor: IntArray


@dataclass(frozen=True, eq=False)
class AddConstant:
    """``output = input + constant``; one integer per channel (last axis) or a single one."""

    name: str
    input: IntTensor
    output: IntTensor
    constant: IntArray


@dataclass(frozen=True, eq=False)
class Add:
    """``output = inputs[0] + inputs[1]``, elementwise on equal shapes (a residual connection)."""

    name: str
    inputs: tuple[IntTensor, IntTensor]
    output: IntTensor


@dataclass(frozen=True, eq=False)
class LabelSelect:
    """``output`` holds the indices of the ``k`` largest (or smallest) channels; ties go to the lowest index."""

    name: str
    input: IntTensor
    output: IntTensor
    k: int
    largest: bool = True


@dataclass(frozen=True, eq=False)
class Reshape:
    """``output`` holds the elements of ``input`` in the same (row-major) order under another shape."""

    name: str
    input: IntTensor
    output: IntTensor


Layer = MatMul | Thresholds | Requantize | Scale | AddConstant | Add | LabelSelect | Reshape


def inputs_of(layer: Layer) -> tuple[IntTensor, ...]:
    """Return the integer tensors that a layer reads, in order."""
    return layer.inputs if isinstance(layer, Add) else (layer.input,)

"""What every kernel provides: its shape, its legal folds, its cost, what is emitted for it, and its software model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backend_finn.cost import Resources
from backend_finn.memory import Image
from backend_finn.wires import Wire

IntArray = npt.NDArray[np.int64]
Literal = int | bool | str


@dataclass(frozen=True)
class Stage:
    """One instance of a library module: its parameters in order, and the bits of a word that it hands on."""

    module: str
    parameters: tuple[tuple[str, Literal], ...]
    out_bits: int


def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a number, ascending."""
    return tuple(candidate for candidate in range(1, number + 1) if number % candidate == 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernel(ABC):
    """One layer of hardware, immutable; ``name`` is the layer's name in the integer form."""

    name: str
    inputs: tuple[Wire, ...]
    output: Wire
    pe: int = 1

    @property
    @abstractmethod
    def op_type(self) -> str:
        """What FINN calls the operator: ``MVAU``, ``Thresholding``, ..."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Cycles for one frame in steady state."""

    @property
    @abstractmethod
    def pipeline_cycles(self) -> int:
        """Registers between input and output: cycles from the word that decides a result to the result."""

    @property
    @abstractmethod
    def resources(self) -> Resources:
        """Estimated resources."""

    @property
    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """Library modules that the kernel needs, submodules included."""

    @abstractmethod
    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the chain of instances; ``prefix`` begins the names of its memory files."""

    @abstractmethod
    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the values ``(N, vectors, channels)`` from the memory images, by the arithmetic of the modules."""

    def images(self, prefix: str) -> tuple[Image, ...]:
        """Return the memory files, none by default."""
        return ()

    @property
    def folds(self) -> Mapping[str, int]:
        """The folding attributes and their present values."""
        return {"PE": self.pe}

    @property
    def legal_folds(self) -> Mapping[str, tuple[int, ...]]:
        """The values that each folding attribute may take."""
        return {"PE": divisors(self.output.channels)}

    def folded(self, **folds: int) -> Self:
        """Return the kernel with other folding attributes (``PE``, ``SIMD``)."""
        values: dict[str, Any] = {name.lower(): value for name, value in folds.items()}
        return replace(self, **values)

    @property
    def in_lanes(self) -> int:
        """Elements in a word of each input."""
        return self.pe

    @property
    def out_lanes(self) -> int:
        """Elements in a word of the output."""
        return self.pe

    @property
    def needs_whole_vector(self) -> bool:
        """Whether the first result needs the last element of its input vector."""
        return False

    def operations(self) -> dict[str, int]:
        """Return what FINN counts for a frame: ``op_mac_<in>_<weights>``, ``param_weight_<type>``, ..."""
        return {}


def as_vectors(values: IntArray, wire: Wire) -> IntArray:
    """Return frames ``(N, ...)`` as ``(N, vectors, channels)``."""
    return values.reshape(len(values), wire.vectors, wire.channels)

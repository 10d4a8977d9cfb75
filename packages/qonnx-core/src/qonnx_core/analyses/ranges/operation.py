"""A node as the rules of the range analysis see it: its attributes, and what is known about its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from qonnx_core.analyses.ranges.extent import Extent, Lattice, Reals, Shape, on_lattice, reals
from qonnx_core.analyses.ranges.intervals import FloatArray
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline.constants import Constant

Known = Extent | Constant


@dataclass(frozen=True, eq=False)
class Operation:
    """A node with what is known about its inputs; None for an input that is left out."""

    node: ir.Node
    inputs: tuple[Known | None, ...]
    opset: int

    @property
    def where(self) -> str:
        """The node's name and operator."""
        return f"{self.node.name or self.node.op_type} ({self.node.op_type})"

    def extent(self, position: int) -> Extent:
        """Return an input's extent, a constant's too; raises Unsupported where the input is left out."""
        known = self.inputs[position] if position < len(self.inputs) else None
        if known is None:
            raise Unsupported(f"input {position} is missing")
        return known if isinstance(known, Extent) else of_constant(known)

    def extents(self) -> list[Extent]:
        """Return the extents of all inputs that are there."""
        return [self.extent(i) for i, known in enumerate(self.inputs) if known is not None]

    def constant(self, position: int, name: str) -> Constant:
        """Return a constant input; raises Unsupported where it is none."""
        known = self.inputs[position] if position < len(self.inputs) else None
        if not isinstance(known, Constant):
            raise Unsupported(f"its {name} is not constant")
        return known

    def optional(self, position: int, name: str) -> Constant | None:
        """Return a constant input, or None where it is left out."""
        if position >= len(self.inputs) or self.inputs[position] is None:
            return None
        return self.constant(position, name)

    def numbers(self, position: int, name: str) -> list[int] | None:
        """Return the whole numbers of a constant input, or None where it is left out."""
        constant = self.optional(position, name)
        return None if constant is None else [int(n) for n in constant.mantissa.reshape(-1)]

    def integer(self, name: str, default: int) -> int:
        """Return an attribute or its default."""
        return self.node.attributes.get_int(name, default)

    def integers(self, name: str, default: list[int] | None = None) -> list[int] | None:
        """Return a list attribute or its default."""
        found = self.node.attributes.get_ints(name)
        return default if found is None else [int(n) for n in found]

    def text(self, name: str, default: str) -> str:
        """Return a text attribute or its default."""
        return self.node.attributes.get_string(name, default)

    def axes(self) -> list[int] | None:
        """Return the axes of a reduction, of Squeeze or of Unsqueeze, by attribute or second input."""
        return self.numbers(1, "axes") if len(self.inputs) > 1 else self.integers("axes")

    def shape(self, position: int) -> Shape:
        """Return an input's shape; raises Unsupported where not even its rank is known."""
        known = self.inputs[position]
        found = known.shape if known is not None else None
        if found is None:
            raise Unsupported(f"the shape of input {position} is not known")
        return tuple(found)

    def sizes(self, position: int) -> tuple[int, ...]:
        """Return an input's shape with one sample; raises Unsupported where another axis has no known size."""
        return one_sample(self.shape(position), f"input {position}")

    def result_sizes(self, position: int = 0) -> tuple[int, ...]:
        """Return an output's shape with one sample; raises Unsupported where another axis has no known size."""
        return one_sample(shape_of(self.node.outputs[position]), f"output {position}")


Rule = Callable[[Operation], list[Extent]]


def shape_of(value: ir.Value) -> Shape | None:
    """Return a tensor's shape with None for sizes that are not known, or None."""
    return None if value.shape is None else tuple(d if isinstance(d, int) else None for d in value.shape)


def one_sample(shape: Shape | None, what: str) -> tuple[int, ...]:
    """Return the shape with a first axis of unknown size taken as 1."""
    if shape is None:
        raise Unsupported(f"the shape of {what} is not known")
    sizes = tuple(1 if axis == 0 and size is None else size for axis, size in enumerate(shape))
    if any(size is None for size in sizes):
        raise Unsupported(f"{what} has an axis of unknown size")
    return tuple(size for size in sizes if size is not None)


def numbers_of(constant: Constant) -> FloatArray:
    """Return a constant as float64 numbers, which hold the product of two float32 numbers exactly."""
    return np.asarray(constant.mantissa * constant.scale, np.float64)


def exact_numbers(constant: Constant) -> Reals:
    """Return a constant as exact numbers."""
    scale, mantissa = (_fractions(array) for array in (constant.scale, constant.mantissa))
    return scale * mantissa if constant.scale.size > 1 or constant.scale.reshape(-1)[0] != 1 else mantissa


def of_constant(constant: Constant) -> Extent:
    """Return the extent of a constant: every channel is stuck; on a lattice where its numbers have a small one."""
    numbers = numbers_of(constant)
    axis = 1 if numbers.ndim > 2 else max(numbers.ndim - 1, 0)
    reason = "a constant that lies on no grid of at most 32 bits"
    plain = Extent(numbers, numbers, axis, None, reason, shape=numbers.shape)
    mantissa = constant.mantissa
    digits = np.abs(mantissa).max(initial=0)
    shift = 0
    while shift <= 32 and not (np.ldexp(mantissa, shift) == np.rint(np.ldexp(mantissa, shift))).all():
        shift += 1
    if not numbers.size or shift > 32 or digits * 2.0**shift >= 2.0**32 or not (constant.scale > 0).all():
        return plain
    scale = _fractions(constant.scale) * Fraction(1, 1 << shift)
    ints = np.ldexp(mantissa, shift).astype(np.int64)
    offset = reals([Fraction(0)], (1,) * numbers.ndim) if numbers.ndim else np.asarray(Fraction(0), object)
    found = on_lattice(Lattice(np.asarray(scale, object), offset, ints, ints, constant.datatype), axis)
    return Extent(numbers, numbers, axis, found.lattice, "", shape=numbers.shape)


def _fractions(array: FloatArray) -> Reals:
    """Return numbers as rationals; equal numbers are one object."""
    numbers = array.reshape(-1).tolist()
    known = {number: Fraction(*number.as_integer_ratio()) for number in set(numbers)}
    return np.fromiter(map(known.__getitem__, numbers), object, len(numbers)).reshape(array.shape)

"""A node as the rules see it: its inputs' facts, constants, shapes and attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array, static_shape
from qonnx_core.passes.datatypes.facts import Fact, NotInferred, Numbers


@dataclass(frozen=True)
class Call:
    """One node, with what is known of its inputs; ``lookup`` is asked only for inputs that a rule looks at."""

    node: ir.Node
    lookup: Callable[[ir.Value | None], Fact | None]

    def known(self, index: int) -> Fact | None:
        """Return what is known of an input, or None."""
        return self.lookup(self.node.inputs[index]) if self.has(index) else None

    def has(self, index: int) -> bool:
        """Return whether the node has this input."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def value(self, index: int) -> ir.Value:
        """Return an input that the node has to have."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise NotInferred(f"input {index} is missing")
        return value

    def fact(self, index: int) -> Fact:
        """Return what is known of an input.

        Raises:
            NotInferred: nothing is.
        """
        value = self.value(index)
        fact = self.lookup(value)
        if fact is None:
            constant = constant_array(value) is not None
            reason = "is a constant on no grid of few bits" if constant else "has no known data type"
            raise NotInferred(f"{value.name} {reason}")
        return fact

    def numbers(self, index: int) -> Numbers:
        """Return the numbers that an input holds.

        Raises:
            NotInferred: nothing is known of it, or that they are floats.
        """
        fact = self.fact(index)
        if not isinstance(fact, Numbers):
            raise NotInferred(f"{self.value(index).name} is of type {fact.datatype}, which has no grid")
        return fact

    def all_numbers(self) -> list[Numbers]:
        """Return the numbers of every input."""
        return [self.numbers(index) for index, value in enumerate(self.node.inputs) if value is not None]

    def array(self, index: int) -> NDArray[Any] | None:
        """Return the array of a constant input, else None."""
        return constant_array(self.node.inputs[index]) if self.has(index) else None

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an input.

        Raises:
            NotInferred: it is not known.
        """
        value = self.value(index)
        array_shape = None if value.const_value is None else tuple(int(str(d)) for d in value.const_value.shape)
        found = array_shape if array_shape is not None else static_shape(value)
        if found is None:
            raise NotInferred(f"the shape of {value.name} is not known")
        return found

    def size(self, index: int, axis: int) -> int:
        """Return the size of one axis of an input.

        Raises:
            NotInferred: it is not known.
        """
        value = self.value(index)
        shape = value.shape if value.const_value is None else value.const_value.shape
        if shape is None or not -len(shape) <= axis < len(shape) or not isinstance(shape[axis], int):
            raise NotInferred(f"the size of axis {axis} of {value.name} is not known")
        return int(str(shape[axis]))

    def rank(self, index: int) -> int:
        """Return the rank of an input.

        Raises:
            NotInferred: it is not known.
        """
        value = self.value(index)
        if value.const_value is not None:
            return len(value.const_value.shape)
        if value.shape is None:
            raise NotInferred(f"the rank of {value.name} is not known")
        return len(value.shape)

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is a whole number."""
        return int(self._attribute(name, ir.AttributeType.INT, default))

    def integers(self, name: str) -> tuple[int, ...]:
        """Return an attribute that is a list of whole numbers; empty where it is left out."""
        return tuple(int(number) for number in self._attribute(name, ir.AttributeType.INTS, ()))

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a float."""
        return float(self._attribute(name, ir.AttributeType.FLOAT, default))

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a text."""
        return str(self._attribute(name, ir.AttributeType.STRING, default))

    def _attribute(self, name: str, kind: ir.AttributeType, default: Any) -> Any:
        attribute = self.node.attributes.get(name)
        if attribute is None:
            return default
        if attribute.is_ref() or attribute.type != kind:
            raise NotInferred(f"attribute {name} is no {kind.name}")
        return attribute.value

    def axes(self, index: int) -> tuple[int, ...] | None:
        """Return axes given by attribute or by a constant input; None where they are left out.

        Raises:
            NotInferred: they are computed.
        """
        if "axes" in self.node.attributes:
            return self.integers("axes")
        if not self.has(index):
            return None
        found = self.array(index)
        if found is None:
            raise NotInferred("the axes are computed")
        return tuple(int(axis) for axis in np.ravel(found))

    @property
    def dtype(self) -> ir.DataType | None:
        """The element type of the first output."""
        return self.node.outputs[0].dtype

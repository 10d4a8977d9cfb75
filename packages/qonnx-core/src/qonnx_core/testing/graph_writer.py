"""Writes a graph node by node, and knows of every tensor which numbers can be in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

QONNX = "qonnx.custom_op.general"
SIGNIFICAND = 2.0**24
"""Multiples of one power of two up to this many steps are float32 numbers."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph: its elements are multiples of ``2^grid`` between ``low`` and ``high``.

    ``shape`` has 1 in place of the batch. ``quantized`` says ``(scale exponent, zero point, bits, signed)`` where one
    quantizer with integer codes made the tensor.
    """

    value: ir.Value
    shape: tuple[int, ...]
    grid: int
    low: float
    high: float
    quantized: tuple[int, int, int, bool] | None = None

    @property
    def bound(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def steps(self) -> float:
        """The largest magnitude in steps of the grid."""
        return math.ldexp(self.bound, -self.grid)


@dataclass(slots=True)
class GraphWriter:
    """The nodes and initializers of a graph under construction; ``batch`` is 1 or the name of the batch axis."""

    generator: np.random.Generator
    batch: int | str
    nodes: list[ir.Node] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    known: dict[str, Tensor] = field(default_factory=dict)

    def remember(self, x: Tensor) -> Tensor:
        """Return the tensor, after noting what is known of it."""
        self.known[x.value.name or ""] = x
        return x

    def name(self, stem: str) -> str:
        """Return a name that no tensor or node has yet."""
        number = self.counts.get(stem, 0)
        self.counts[stem] = number + 1
        return f"{stem}_{number}"

    def constant(self, array: Array, stem: str = "param") -> ir.Value:
        """Return a new initializer."""
        name = self.name(stem)
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.initializers.append(value)
        return value

    def numbers(self, *numbers: float) -> list[ir.Value]:
        """Return scalar float32 initializers."""
        return [self.constant(np.asarray(number, np.float32)) for number in numbers]

    def numbers_vector(self, *numbers: float) -> ir.Value:
        """Return one float32 vector as an initializer."""
        return self.constant(np.asarray(numbers, np.float32))

    def ints(self, *numbers: int) -> ir.Value:
        """Return one int64 vector as an initializer."""
        return self.constant(np.asarray(numbers, np.int64))

    def nodes_of(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        shapes: Sequence[tuple[int, ...]],
        *,
        domain: str = "",
        fixed: bool = False,
        **attributes: Any,
    ) -> list[ir.Value]:
        """Return the outputs of a new node; the first axis of ``shapes`` is the batch unless they are ``fixed``."""
        name = self.name(op_type)
        outputs = [
            ir.Value(
                name=f"{name}.{index}",
                shape=ir.Shape(shape if fixed else (self.batch, *shape[1:])),
                type=ir.TensorType(ir.DataType.FLOAT),
            )
            for index, shape in enumerate(shapes)
        ]
        made = ir.convenience.convert_attributes(attributes)
        self.nodes.append(ir.Node(domain, op_type, inputs, made, outputs=outputs, name=name))
        return outputs

    def node(
        self, op_type: str, inputs: Sequence[ir.Value | None], shape: tuple[int, ...], **attributes: Any
    ) -> ir.Value:
        """Return the output of a new node with one output."""
        return self.nodes_of(op_type, inputs, [shape], **attributes)[0]

    def same(self, x: Tensor, op_type: str, extra: Sequence[ir.Value | None] = (), **changes: Any) -> Tensor:
        """Return what a node makes of a tensor that keeps its shape unless ``changes`` has another one."""
        attributes = changes.pop("attributes", {})
        shape = changes.get("shape", x.shape)
        value = self.node(op_type, [x.value, *extra], shape, **attributes)
        return self.remember(replace(x, value=value, **{"quantized": None, **changes}))

    def chance(self, probability: float) -> bool:
        """Return true that often."""
        return bool(self.generator.random() < probability)

    def pick(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        return int(self.generator.integers(low, high + 1))

    def choose(self, items: Sequence[Any]) -> Any:
        """Return one of the items."""
        return items[int(self.generator.integers(len(items)))]

"""Writes an operator's definition as plain ONNX nodes, once, for two readers.

The same ``body`` of an operator is traced by

- :class:`FunctionBuilder`: everything symbolic, attributes by reference; the result is an ONNX function;
- :class:`GraphBuilder`: attributes and known inputs are arrays, and whatever depends on them alone is computed on
  the spot; the result is a handful of plain nodes for the executor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]
Operand = ir.Value | Array | np.generic

_FOLD: Mapping[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Clip": np.clip,
    "Div": np.divide,
    "Equal": np.equal,
    "Floor": np.floor,
    "GreaterOrEqual": np.greater_equal,
    "Log": np.log,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Not": np.logical_not,
    "Pow": np.power,
    "Range": np.arange,
    "Reshape": np.reshape,
    "Round": np.round,
    "Sign": np.sign,
    "Sub": np.subtract,
    "Where": np.where,
}


def is_known(*operands: Operand) -> bool:
    """Return whether all of these are arrays, not values of the running model."""
    return not any(isinstance(operand, ir.Value) for operand in operands)


class Builder(ABC):
    """Collects nodes in order; call it with an op type and operands to add one."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def __call__(self, op_type: str, *inputs: Operand, **attributes: Any) -> Operand:
        """Return the output of a new node, or the array it gives where all inputs are known."""
        if is_known(*inputs) and op_type in _FOLD and not attributes:
            with np.errstate(all="ignore"):
                return np.asarray(_FOLD[op_type](*inputs))
        return self.node(op_type, inputs, attributes)[0]

    def node(
        self, op_type: str, inputs: Sequence[Operand], attributes: Mapping[str, Any] | None = None, outputs: int = 1
    ) -> Sequence[ir.Value]:
        """Return the outputs of a new node of the standard domain."""
        node = ir.node(op_type, [self.value(x) for x in inputs], dict(attributes or {}), num_outputs=outputs)
        self.nodes.append(node)
        return node.outputs

    def value(self, operand: Operand) -> ir.Value:
        """Return the operand as a value of the graph; an array becomes a constant."""
        return operand if isinstance(operand, ir.Value) else self.constant(np.asarray(operand))

    @abstractmethod
    def constant(self, array: Array) -> ir.Value:
        """Return a new constant."""

    @abstractmethod
    def attribute(self, name: str, value: int | float | tuple[int, ...]) -> Operand:
        """Return the number or the numbers of the attribute of the operator that is called ``name``."""

    @abstractmethod
    def passed(self, name: str, attribute: str, value: int | float | tuple[int, ...]) -> ir.Attr:
        """Return the attribute ``name`` for an inner node, which takes the value of the operator's ``attribute``."""

    @abstractmethod
    def known(self, value: ir.Value) -> Array | None:
        """Return what is known of an input before the model runs."""

    def like(self, operand: Operand, x: Operand) -> Operand:
        """Return the operand in the element type of ``x``."""
        if not isinstance(x, ir.Value):
            return self.cast(operand, ir.DataType.from_numpy(np.asarray(x).dtype))
        if x.dtype is not None:
            return self.cast(operand, x.dtype)
        return self.node("CastLike", [operand, x])[0]

    def cast(self, operand: Operand, dtype: ir.DataType) -> Operand:
        """Return the operand in this element type; a known number beyond its range becomes the largest there is."""
        if isinstance(operand, ir.Value):
            return (
                operand
                if operand.dtype == dtype
                else self.typed(self.node("Cast", [operand], {"to": int(dtype)})[0], dtype)
            )
        array = np.asarray(operand)
        return _saturated(array, dtype.numpy())

    @staticmethod
    def typed(value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return the value, with its element type noted."""
        value.dtype = dtype
        return value

    def choose(self, condition: Operand, yes: Operand, no: Operand) -> Operand:
        """Return ``Where(condition, yes, no)``; one of the two where the condition is a known scalar."""
        if is_known(condition):
            flags = np.asarray(condition)
            if flags.all():
                return yes
            if not flags.any():
                return no
        return self("Where", condition, yes, no)


def _saturated(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype == dtype:
        return array
    if dtype.kind == "f" and array.dtype.kind in "fiu":
        top = np.finfo(dtype).max
        wide = array.astype(np.float64)
        finite = np.isfinite(wide)
        return np.where(finite, np.clip(wide, -np.float64(top), np.float64(top)), wide).astype(dtype)
    return array.astype(dtype)


class FunctionBuilder(Builder):
    """Writes the body of an ONNX function."""

    def constant(self, array: Array) -> ir.Value:
        """Return the output of a new Constant node."""
        return self.node("Constant", [], {"value": ir.tensor(array)})[0]

    def passed(self, name: str, attribute: str, value: int | float | tuple[int, ...]) -> ir.Attr:
        """Return a reference to the attribute of the call."""
        kind = "FLOAT" if isinstance(value, float) else "INTS" if isinstance(value, tuple) else "INT"
        return ir.RefAttr(name, attribute, ir.AttributeType[kind])

    def attribute(self, name: str, value: int | float | tuple[int, ...]) -> Operand:
        """Return a constant that takes the attribute of the call."""
        kind = "float" if isinstance(value, float) else "ints" if isinstance(value, tuple) else "int"
        reference = ir.RefAttr(f"value_{kind}", name, ir.AttributeType[kind.upper()])
        node = ir.Node("", "Constant", [], [reference])
        self.nodes.append(node)
        return node.outputs[0]

    def known(self, value: ir.Value) -> Array | None:
        """Return None: nothing is known inside a function."""
        return None


class GraphBuilder(Builder):
    """Writes plain nodes into a graph; new constants become initializers of ``graph``."""

    def __init__(self, graph: ir.Graph, prefix: str, known: Callable[[ir.Value], Array | None]) -> None:
        super().__init__()
        self._graph = graph
        self._prefix = prefix
        self._known = known

    def constant(self, array: Array) -> ir.Value:
        """Return a new initializer."""
        number = 0
        while (name := f"{self._prefix}/constant_{len(self._graph.initializers) + number}") in self._graph.initializers:
            number += 1
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._graph.register_initializer(value)
        return value

    def passed(self, name: str, attribute: str, value: int | float | tuple[int, ...]) -> ir.Attr:
        """Return an attribute of this value."""
        return ir.convenience.convert_attribute(name, int(value) if isinstance(value, bool) else value)

    def attribute(self, name: str, value: int | float | tuple[int, ...]) -> Operand:
        """Return the attribute's value."""
        return np.asarray(value, dtype=np.float32 if isinstance(value, float) else np.int64)

    def known(self, value: ir.Value) -> Array | None:
        """Return the array behind an initializer or Constant."""
        return self._known(value)

    def __call__(self, op_type: str, *inputs: Operand, **attributes: Any) -> Operand:
        """Return the output of a new node; nothing is added where the operation changes no value and no shape."""
        if len(inputs) == 2 and isinstance(inputs[0], ir.Value) and is_known(inputs[1]):
            neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}.get(op_type)
            if neutral is not None and np.all(np.asarray(inputs[1]) == neutral) and _fits(inputs[1], inputs[0]):
                return inputs[0]
        first = next((x for x in inputs if isinstance(x, ir.Value)), None)
        half = first is not None and first.dtype == ir.DataType.FLOAT16 and op_type in (*_ELEMENTWISE, "GreaterOrEqual")
        given = [self.cast(x, ir.DataType.FLOAT) for x in inputs] if half else inputs
        result = super().__call__(op_type, *given, **attributes)
        if not isinstance(result, ir.Value) or first is None:
            return result
        if op_type in _ELEMENTWISE:
            if half:
                # onnxruntime computes float16 in float32 and does not round between its own operators; it does round
                # where a conversion is written out.
                result = self.value(self.cast(self.typed(result, ir.DataType.FLOAT), ir.DataType.FLOAT16))
            result.type = first.type
            result.shape = _broadcast(inputs)
        elif op_type == "Where" and (dtype := _dtype(inputs[1])) is not None:
            result.dtype = dtype
        return result


_ELEMENTWISE = frozenset(("Abs", "Add", "Ceil", "Clip", "Div", "Floor", "Max", "Min", "Mul", "Round", "Sign", "Sub"))


def _dtype(operand: Operand) -> ir.DataType | None:
    if isinstance(operand, ir.Value):
        return operand.dtype
    return ir.DataType.from_numpy(np.asarray(operand).dtype)


def _fits(constant: Operand, x: ir.Value) -> bool:
    """Return whether broadcasting ``x`` with the constant leaves the shape of ``x`` as it is."""
    dims = np.asarray(constant).shape
    if not dims:
        return True
    if x.shape is None or len(dims) > len(x.shape):
        return False
    return all(dim in (1, known) for dim, known in zip(reversed(dims), reversed(tuple(x.shape)), strict=False))


def _broadcast(inputs: Sequence[Operand]) -> ir.Shape | None:
    """Return the shape after broadcasting where it is the shape of the first value, else None: not needed further."""
    first = next(x for x in inputs if isinstance(x, ir.Value))
    if first.shape is None:
        return None
    rest = [x for x in inputs if x is not first]
    return first.shape if all(not isinstance(x, ir.Value) and _fits(x, first) for x in rest) else None

"""Writes an operator's definition as plain ONNX nodes, once, for two readers.

The same ``body`` of an operator is traced by

- :class:`FunctionBuilder`: everything symbolic, attributes by reference; the result is an ONNX function;
- :class:`SpecializingBuilder`: attributes and known inputs are arrays, and whatever depends on them alone is computed
  on the spot; the result is a handful of plain nodes for the executor.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.names import Names

Array = NDArray[Any]
Operand = ir.Value | Array | np.generic
_KNOWN = (np.ndarray, np.generic)

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
    return not any(_is_value(operand) for operand in operands)


def _is_value(operand: Operand) -> bool:
    # Asked for arrays first: whether something is an ir.Value takes twenty times longer to deny.
    return not isinstance(operand, _KNOWN) and isinstance(operand, ir.Value)


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
        if isinstance(operand, _KNOWN) or not isinstance(operand, ir.Value):
            return self.constant(np.asarray(operand))
        return operand

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
        if isinstance(x, _KNOWN) or not isinstance(x, ir.Value):
            return self.cast(operand, ir.DataType.from_numpy(np.asarray(x).dtype))
        if x.dtype is not None:
            return self.cast(operand, x.dtype)
        return self.node("CastLike", [operand, x])[0]

    def cast(self, operand: Operand, dtype: ir.DataType) -> Operand:
        """Return the operand in this element type; a number beyond its range becomes infinite, known or not."""
        if not isinstance(operand, _KNOWN) and isinstance(operand, ir.Value):
            if operand.dtype == dtype:
                return operand
            return self.typed(self.node("Cast", [operand], {"to": int(dtype)})[0], dtype)
        array, wanted = np.asarray(operand), _numpy_type(dtype)
        if array.dtype == wanted:
            return array
        if array.ndim == 0 and array.dtype.kind == "f":
            return _cast_number(float(array), array.dtype, wanted)
        return _cast(array, wanted)

    @staticmethod
    def typed(value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return the value, with its element type noted."""
        value.type = ir.TensorType(dtype)
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


@functools.cache
def _numpy_type(dtype: ir.DataType) -> np.dtype[Any]:
    return dtype.numpy()


@functools.lru_cache(4096)
def _cast_number(number: float, given: np.dtype[Any], dtype: np.dtype[Any]) -> Array:
    """Return the number in another type; bounds of quantizers come again and again."""
    return _cast(np.asarray(number, dtype=given), dtype)


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
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


class SpecializingBuilder(Builder):
    """Computes at once whatever depends on attributes and known inputs alone."""

    def passed(self, name: str, attribute: str, value: int | float | tuple[int, ...]) -> ir.Attr:
        """Return an attribute of this value."""
        return ir.convenience.convert_attribute(name, int(value) if isinstance(value, bool) else value)

    def attribute(self, name: str, value: int | float | tuple[int, ...]) -> Operand:
        """Return the attribute's value."""
        return np.asarray(value, dtype=np.float32 if isinstance(value, float) else np.int64)

    def __call__(self, op_type: str, *inputs: Operand, **attributes: Any) -> Operand:
        """Return the output of a new node; nothing is added where the operation changes no value and no shape."""
        first = next((x for x in inputs if _is_value(x)), None)
        if not isinstance(first, ir.Value):
            return super().__call__(op_type, *inputs, **attributes)
        if first is inputs[0] and op_type in _NEUTRAL and _changes_nothing(first, op_type, inputs[1]):
            return first
        elementwise = op_type in _ELEMENTWISE
        half = first.dtype is ir.DataType.FLOAT16 and (elementwise or op_type == "GreaterOrEqual")
        given = [self.cast(x, ir.DataType.FLOAT) for x in inputs] if half else inputs
        result = self.node(op_type, given, attributes)[0]
        if elementwise:
            if half:
                # onnxruntime computes float16 in float32 and does not round between its own operators; it does round
                # where a conversion is written out.
                result = self.value(self.cast(self.typed(result, ir.DataType.FLOAT), ir.DataType.FLOAT16))
            result.type = first.type
            result.shape = _broadcast(first, inputs)
        elif op_type == "Where" and (dtype := _dtype(inputs[1])) is not None:
            result.dtype = dtype
        return result


class GraphBuilder(SpecializingBuilder):
    """Writes plain nodes into a graph; new constants become initializers of ``graph``, its main graph.

    ``names`` gives names that are free in that graph and those inside it; builders of one graph share it.
    """

    def __init__(self, graph: ir.Graph, prefix: str, known: Callable[[ir.Value], Array | None], names: Names) -> None:
        super().__init__()
        self._graph = graph
        self._prefix = prefix
        self._known = known
        self.names = names

    @classmethod
    def apart(cls, known: Callable[[ir.Value], Array | None]) -> GraphBuilder:
        """Return one that is no part of a model, for what can be computed at once."""
        graph = ir.Graph([], [], nodes=[])
        return cls(graph, "", known, Names(graph))

    def constant(self, array: Array) -> ir.Value:
        """Return a new initializer."""
        name = self.names.free(f"{self._prefix}/constant_{len(self._graph.initializers)}")
        value = ir.val(name, const_value=ir.Tensor(array, name=name))
        self._graph.register_initializer(value)
        return value

    def known(self, value: ir.Value) -> Array | None:
        """Return the array behind an initializer or Constant."""
        return self._known(value)


_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
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


def _changes_nothing(x: ir.Value, op_type: str, operand: Operand) -> bool:
    """Return whether the operand is known to be 0 in a sum or 1 in a product, and widens no shape."""
    if _is_value(operand):
        return False
    array = np.asarray(operand)
    equal = array == _NEUTRAL[op_type]
    return bool(equal) if array.ndim == 0 else bool(np.all(equal)) and _fits(array, x)


def _broadcast(first: ir.Value, inputs: Sequence[Operand]) -> ir.Shape | None:
    """Return the shape after broadcasting where it is the shape of the first value, else None: not needed further."""
    shape = first.shape
    if shape is None:
        return None
    return shape if all(x is first or (not _is_value(x) and _fits(x, first)) for x in inputs) else None

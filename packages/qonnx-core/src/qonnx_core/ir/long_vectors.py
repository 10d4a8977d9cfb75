"""How long the vectors of a graph can get whose lengths follow from values, before inference keeps their elements.

Shape inference of ``onnx`` with data propagation holds every element of every vector by itself. A file of a few lines
can name a vector of a thousand million elements that way, which would take hours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

_LIMIT = 2**62  # larger numbers are this one, so that chains of products stay small
_MAX_ELEMENTS = 4096  # of the constants that are looked at
_SUM = frozenset(("Add", "Sub", "Sum"))
_SHAPED_BY_VALUES = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1}


def longest_vector(inferred: onnx.GraphProto) -> int:
    """Return a bound on the elements of the longest vector of a graph whose shapes are inferred without values.

    It follows what is known of numbers and lengths through the graph once; where nothing is known of a number, data
    propagation does not know it either.
    """
    return _Bounds().walk(inferred)


class _Bounds:
    """The largest magnitude known of each tensor's elements, and the largest length that each vector can have."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lengths: dict[str, int] = {}
        self._shapes: dict[str, tuple[int | None, ...]] = {}

    def walk(self, graph: onnx.GraphProto) -> int:
        """Follow a graph and those inside its nodes; return the longest vector."""
        for info in (*graph.input, *graph.value_info, *graph.output):
            if info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape"):
                dims = info.type.tensor_type.shape.dim
                self._shapes[info.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
        for tensor in graph.initializer:
            self._shapes[tensor.name] = tuple(tensor.dims)
            self._note_constant(tensor.name, tensor)
        longest = 0
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    longest = max(longest, self.walk(attribute.g))
            self._follow(node)
            longest = max(longest, *(self._length(name) for name in node.output), 0)
        return max([longest, *(self._length(info.name) for info in graph.input)])

    def _note_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        if np.prod(tensor.dims, dtype=object) > _MAX_ELEMENTS or tensor.data_type not in (
            onnx.TensorProto.INT64,
            onnx.TensorProto.INT32,
        ):
            return
        self._numbers[name] = _largest(numpy_helper.to_array(tensor))

    def _length(self, name: str) -> int:
        shape = self._shapes.get(name)
        if shape is not None and (len(shape) != 1 or shape[0] is not None):
            return shape[0] or 0 if len(shape) == 1 else 0
        return self._lengths.get(name, 0)

    def _number(self, name: str) -> int:
        return self._numbers.get(name, 0)

    def _follow(self, node: onnx.NodeProto) -> None:
        if not node.output:
            return
        attributes = {attribute.name: attribute for attribute in node.attribute}
        numbers = [self._number(name) for name in node.input]
        lengths = [self._length(name) for name in node.input]
        number, length = max(numbers, default=0), max(lengths, default=0)
        place = _SHAPED_BY_VALUES.get(node.op_type)
        if node.op_type == "Constant":
            number, length = self._constant(node.output[0], attributes)
        elif node.op_type in ("Shape", "Size"):
            shape = self._shapes.get(node.input[0]) if node.input else None
            sizes = [*(dim for dim in shape or () if dim is not None), *lengths]
            product = int(np.prod(sizes, dtype=object))
            number, length = (product if node.op_type == "Size" else max(sizes, default=0)), 0
        elif node.op_type in _SUM:
            number = sum(numbers)
        elif node.op_type == "Mul":
            number = int(np.prod(numbers, dtype=object))
        elif node.op_type == "Concat":
            length = sum(lengths)
        elif node.op_type == "Range":
            number = length = sum(numbers)
        elif node.op_type == "Tile" and len(node.input) > 1:
            length = lengths[0] * numbers[1]
        elif node.op_type == "Pad" and len(node.input) > 1:
            length = lengths[0] + 2 * numbers[1]
        elif place is not None and place < len(node.input):
            shape = self._shapes.get(node.input[place])
            vector = shape is None or shape in ((1,), (None,))  # otherwise the result has another number of axes
            length = max(length, numbers[place]) if vector else 0
        for name in node.output:
            self._numbers[name], self._lengths[name] = min(number, _LIMIT), min(length, _LIMIT)

    def _constant(self, name: str, attributes: Mapping[str, onnx.AttributeProto]) -> tuple[int, int]:
        if "value" in attributes:
            self._note_constant(name, attributes["value"].t)
            return self._number(name), 0
        if "value_int" in attributes:
            return abs(attributes["value_int"].i), 0
        if "value_ints" in attributes:
            ints = attributes["value_ints"].ints
            return max((abs(number) for number in ints), default=0), len(ints)
        return 0, 0


def _largest(array: np.ndarray) -> int:
    return max(abs(int(array.max())), abs(int(array.min()))) if array.size else 0

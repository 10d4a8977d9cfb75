"""How large tensors are, as far as the graph says it, before anything allocates them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx_ir as ir

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.ir.constants import constant_array, constant_tensor, static_shape
from qonnx_core.ir.graphs import graphs_of

MAX_TENSOR_BYTES = 2**32
"""How many bytes one tensor of a graph may take at the batch of its file."""
MAX_RANK = 64
"""How many axes a tensor may have; onnxruntime itself stops far below."""
END_OF_SIZES = 2**63
"""Files hold sizes as 64-bit integers."""
_MOST_DIGITS = 19  # of a number below that
_GROWING = ("ConstantOfShape", "Expand", "Tile", "Pad", "Range", "OneHot", "Resize", "EyeLike")
# Operators and the input of each that holds one number for each axis of the result.
_SHAPES = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Unsqueeze": 1, "Tile": 1, "Resize": 3, "Squeeze": 1,
           "Pad": 1}  # fmt: skip
_NUMBERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.FLOAT)
_SAME_LENGTH = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Equal", "Where", "Sum"))
_FIRST_LENGTH = frozenset(("Cast", "Identity", "Neg", "Abs", "Slice", "Relu", "Clip", "Floor", "Ceil", "Round", "Sqrt"))


def is_size(size: int | str) -> bool:
    """Return whether an axis can have the size: a number of at least 1 that a file holds, or a name for any."""
    return 1 <= size < END_OF_SIZES if isinstance(size, int) else size.isidentifier()


def size_of_text(text: str) -> int | str:
    """Return the number that a text writes, else the text; :func:`is_size` says whether it is a size."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text


def check_sizes(model: ir.Model) -> None:
    """Return nothing where every tensor of known shape, the batch counted as 1 where it is free, has a usual size.

    Raises:
        InvalidModel: a size is negative.
        Unsupported: a tensor would take more than ``MAX_TENSOR_BYTES``.
    """
    for graph in graphs_of(model):
        for value in _values(graph):
            shape, dtype = value.shape, value.dtype
            if shape is None:
                continue
            if has_negative_size(value):
                raise InvalidModel(
                    f"tensor {value.name}: has shape {shape}; expected no negative size. Check its node."
                )
            count = math.prod(dim for dim in shape if isinstance(dim, int))
            if count > MAX_TENSOR_BYTES // 16 and count * _bytes_of_one(dtype) > MAX_TENSOR_BYTES:
                raise Unsupported(
                    f"tensor {value.name}: has shape {shape}, which takes {count * _bytes_of_one(dtype) / 2**30:.0f} "
                    f"GiB; expected at most {MAX_TENSOR_BYTES / 2**30:g} GiB. Check what makes it so large."
                )


def has_negative_size(value: ir.Value) -> bool:
    """Return whether a value has a size below 0."""
    return value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape)


def is_without_elements(node: ir.Node) -> bool:
    """Return whether a tensor that the node reads or makes is known to have no elements.

    Those of Resize behind the data say that they are left out by having none.
    """
    inputs = node.inputs[:1] if node.op_type == "Resize" else node.inputs
    return any(has_no_elements(value) for value in (*inputs, *node.outputs))


def has_no_elements(value: ir.Value | None) -> bool:
    """Return whether a tensor is known to have no elements."""
    return value is not None and value.shape is not None and 0 in tuple(value.shape)


def check_growth(model: ir.Model) -> None:
    """Return nothing where no node makes, of a few constants, a tensor that nobody can hold.

    It looks at constants alone and runs before shapes are inferred, because inference itself allocates by them.

    Raises:
        InvalidModel: a shape has more than ``MAX_RANK`` numbers.
        Unsupported: a tensor would take more than ``MAX_TENSOR_BYTES``.
    """
    lengths: dict[ir.Value, int] = {}
    for graph in graphs_of(model):
        for node in graph:
            if node.domain not in ("", "ai.onnx"):
                continue
            _note_length(node, lengths)
            place = _SHAPES.get(node.op_type)
            if place is not None and place < len(node.inputs):
                length = _length(node.inputs[place], lengths)
                if length is not None and length > 2 * MAX_RANK:
                    raise InvalidModel(
                        f"{node.name or node.op_type} ({node.op_type}): its shape has {length} numbers; expected at "
                        f"most {MAX_RANK}. Export the model again."
                    )
            if node.op_type in _GROWING:
                count = _made(node)
                if count is not None and count > MAX_TENSOR_BYTES // 8:
                    raise Unsupported(
                        f"{node.name or node.op_type} ({node.op_type}): makes {count:.3g} elements; expected at most "
                        f"{MAX_TENSOR_BYTES // 8}. Check its shape."
                    )


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _bytes_of_one(dtype: ir.DataType | None) -> float:
    if dtype in (None, ir.DataType.UNDEFINED, ir.DataType.STRING):
        return 4
    assert dtype is not None
    return dtype.bitwidth / 8


def _numbers(value: ir.Value | None) -> Sequence[float] | None:
    """Return the numbers of a short constant."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype not in _NUMBERS or tensor.size > 2 * MAX_RANK:
        return None
    array = constant_array(value)
    return None if array is None else [float(number) for number in array.reshape(-1)]


def _note_length(node: ir.Node, lengths: dict[ir.Value, int]) -> None:
    """Note how long the vector is that a node makes of vectors."""
    known = [_length(value, lengths) for value in node.inputs if value is not None]
    sizes = [size for size in known if size is not None]
    found: int | None = None
    if node.op_type == "Concat" and sizes:
        found = sum(sizes)
    elif node.op_type in _SAME_LENGTH and sizes:
        found = max(sizes)
    elif node.op_type in _FIRST_LENGTH and node.inputs:
        found = _length(node.inputs[0], lengths)
    elif node.op_type in _GROWING:
        count = _made(node)
        found = None if count is None else int(min(count, 2.0**62))
    if found is not None:
        for value in node.outputs:
            lengths[value] = found


def _length(value: ir.Value | None, lengths: dict[ir.Value, int]) -> int | None:
    if value is None:
        return None
    if value in lengths:
        return lengths[value]
    tensor = constant_tensor(value)
    if tensor is not None:
        return tensor.size if len(tensor.shape) == 1 else None
    if value.producer() is None and value.shape is not None and len(value.shape) == 1:
        dim = value.shape[0]
        return dim if isinstance(dim, int) else None
    return None


def _made(node: ir.Node) -> float | None:
    """Return how many elements a node makes, at least, as far as constants say it."""
    inputs: list[ir.Value | None] = [*node.inputs, None, None, None, None]
    given = [None if value is None else _sizes(value) for value in inputs]
    numbers = [_numbers(value) for value in inputs]
    match node.op_type:
        case "ConstantOfShape" | "Expand":
            target = numbers[0 if node.op_type == "ConstantOfShape" else 1]
            return None if target is None else _product(target)
        case "Tile":
            base = 1.0 if given[0] is None else max(1.0, _product(given[0]))
            return None if numbers[1] is None else base * _product(numbers[1])
        case "Pad":
            if numbers[1] is None or given[0] is None:
                return None if numbers[1] is None else max((abs(number) for number in numbers[1]), default=0)
            half = len(numbers[1]) // 2
            if half != len(given[0]):
                return None
            return _product([s + b + e for s, b, e in zip(given[0], numbers[1][:half], numbers[1][half:], strict=True)])
        case "Range":
            start, limit, delta = (None if n is None or len(n) != 1 else n[0] for n in numbers[:3])
            if start is None or limit is None or not delta:
                return None
            return max(0.0, (limit - start) / delta)
        case "OneHot":
            base = 1.0 if given[0] is None else max(1.0, _product(given[0]))
            return None if not numbers[1] else base * abs(numbers[1][0])
        case "Resize":
            if numbers[3]:
                return _product(numbers[3])
            if numbers[2] and given[0] is not None and len(numbers[2]) == len(given[0]):
                return _product([max(1.0, s) * f for s, f in zip(given[0], numbers[2], strict=True)])
    return None


def _sizes(value: ir.Value) -> list[float] | None:
    tensor = constant_tensor(value)
    if tensor is not None:
        return [float(int(str(dim))) for dim in tensor.shape]
    shape = static_shape(value)
    return None if shape is None else [float(size) for size in shape]


def _product(numbers: Sequence[float]) -> float:
    """Return the product of the magnitudes; 0 where one is 0, infinite where one is no number."""
    result = 1.0
    for number in numbers:
        if number == 0:
            return 0.0
        result *= abs(number) if number == number else math.inf
    return result

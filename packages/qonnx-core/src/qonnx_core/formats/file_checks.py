"""Checks what a model file says about itself before anything reads it further."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message

from qonnx_core.errors import InvalidModel, Unsupported

_STRING = 9  # FieldDescriptor.TYPE_STRING
_MESSAGE = 11  # FieldDescriptor.TYPE_MESSAGE
_MOST_ELEMENTS = 2**56  # NumPy counts bytes in 63 bits, those of an empty array too


def check_text(message: Message, where: str = "model") -> None:
    """Return nothing where every text in the message is text.

    Raises:
        InvalidModel: a name or another text is no valid UTF-8.
    """
    try:
        for field, value in message.ListFields():
            repeated = not isinstance(value, str | bytes | int | float | Message)
            if field.type == _STRING:
                if any(isinstance(text, bytes) for text in (value if repeated else (value,))):
                    raise InvalidModel(
                        f"{where}: field {field.name} is no valid text; expected UTF-8. Export it again."
                    )
            elif field.type == _MESSAGE:
                for inner in value if repeated else (value,):
                    check_text(inner, field.name)
    except UnicodeDecodeError as error:
        raise InvalidModel(f"{where}: holds a name that is no valid text; expected UTF-8. Export it again.") from error


def check_tensors(proto: onnx.ModelProto, folder: Path) -> None:
    """Return nothing where attributes have types, and tensors the data of their shape, in the file or its folder.

    Raises:
        InvalidModel: an attribute has no type, or data are missing, of the wrong size, or outside the folder.
        Unsupported: a tensor is stored sparsely.
    """
    root = folder.resolve()
    devices = {configuration.name for configuration in proto.configuration}
    for node in _all_nodes(proto):
        if any(entry.configuration_id not in devices for entry in node.device_configurations):
            raise InvalidModel(
                f"{node.name} ({node.op_type}): names a device configuration that the model does not have; expected "
                "one of the model's. Export it again."
            )
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.UNDEFINED:
                raise InvalidModel(
                    f"{node.name} ({node.op_type}): attribute {attribute.name} has no type; expected one. "
                    "Export it again."
                )
            if not all(_is_text(content) for content in (attribute.s, *attribute.strings)):
                raise InvalidModel(
                    f"{node.name} ({node.op_type}): attribute {attribute.name} is no valid text; expected UTF-8. "
                    "Export it again."
                )
    sparse = next((tensor for graph in _all_graphs(proto) for tensor in graph.sparse_initializer), None)
    if sparse is not None:
        raise Unsupported(
            f"tensor {sparse.values.name}: is stored as a sparse initializer; expected one with all of its values. "
            "Export the model without sparse storage."
        )
    for node in (node for graph in _graphs(proto.graph) for node in graph.node):
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                raise InvalidModel(
                    f"{node.name} ({node.op_type}): attribute {attribute.name} stands for one of a function, and the "
                    "node is in none; expected a value. Export it again."
                )
    for tensor in _all_tensors(proto):
        count = _check_header(tensor)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(tensor, root, count)
        else:
            _check_inline(tensor, count)


def external_files(path: Path) -> list[Path]:
    """Return the files beside a model that hold its external tensors; none for what is no readable ONNX file."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except (OSError, DecodeError):
        return []
    locations = {
        entry.value
        for tensor in _all_tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location" and entry.value and "\0" not in entry.value
    }
    return [path.parent / location for location in sorted(locations)]


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    yield from _graphs_in(graph.node)


def _graphs_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for inner in (attribute.g,) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _all_graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield from _graphs(proto.graph)
    for function in proto.functions:
        yield from _graphs_in(function.node)


def _all_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for function in proto.functions:
        yield from function.node
    for graph in _all_graphs(proto):
        yield from graph.node


def _all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _all_graphs(proto):
        yield from graph.initializer
    for node in _all_nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_header(tensor: onnx.TensorProto) -> int:
    """Return the number of elements."""
    known = {int(dtype) for dtype in ir.DataType} - {int(ir.DataType.UNDEFINED)}
    if tensor.data_type not in known or any(dim < 0 for dim in tensor.dims):
        raise InvalidModel(
            f"tensor {tensor.name}: has element type {tensor.data_type} and shape {tuple(tensor.dims)}; expected a "
            "type of ONNX and sizes of 0 or more. Export the model again."
        )
    if math.prod(dim for dim in tensor.dims if dim) > _MOST_ELEMENTS:
        raise InvalidModel(
            f"tensor {tensor.name}: has shape {tuple(tensor.dims)}; expected sizes that an array can have, also where "
            "another size is 0. Export the model again."
        )
    return math.prod(tensor.dims)


def _bytes_of(tensor: onnx.TensorProto, count: int) -> int:
    return math.ceil(count * ir.DataType(tensor.data_type).bitwidth / 8)


# Which field holds the numbers of a type outside of raw_data; int32_data those of all types that are not named.
_FIELDS = {
    **dict.fromkeys((ir.DataType.FLOAT, ir.DataType.COMPLEX64), "float_data"),
    **dict.fromkeys((ir.DataType.DOUBLE, ir.DataType.COMPLEX128), "double_data"),
    **dict.fromkeys((ir.DataType.UINT32, ir.DataType.UINT64), "uint64_data"),
    ir.DataType.INT64: "int64_data",
    ir.DataType.STRING: "string_data",
}
_ALL_FIELDS = tuple(sorted({*_FIELDS.values(), "int32_data"}))


def _check_inline(tensor: onnx.TensorProto, count: int) -> None:
    dtype = ir.DataType(tensor.data_type)
    if tensor.HasField("raw_data") and dtype != ir.DataType.STRING:
        found, expected = len(tensor.raw_data), _bytes_of(tensor, count)
        unit = "bytes"
    else:
        field = _FIELDS.get(dtype, "int32_data")
        found, expected = len(getattr(tensor, field)), count
        if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
            expected *= 2
        elif dtype != ir.DataType.STRING and dtype.bitwidth < 8:
            expected = _bytes_of(tensor, count)
        unit = "numbers"
    used = [name for name in ("raw_data", *_ALL_FIELDS) if len(getattr(tensor, name))]
    if len(used) > 1 or (used and used[0] not in ("raw_data", _FIELDS.get(dtype, "int32_data"))):
        raise InvalidModel(f"tensor {tensor.name}: has data in {' and '.join(used)}; expected one of its type.")
    if found != expected:
        raise InvalidModel(
            f"tensor {tensor.name}: holds {found} {unit}; expected {expected} for shape {tuple(tensor.dims)} of "
            f"{dtype.name}. The file is damaged; export it again."
        )


def _check_external(tensor: onnx.TensorProto, root: Path, count: int) -> None:
    dtype = ir.DataType(tensor.data_type)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    target = _target(root, location)
    if not location or Path(location).is_absolute() or target == root or not target.is_relative_to(root):
        raise InvalidModel(
            f"tensor {tensor.name}: its data are said to be in {location!r}; expected a file inside the model's "
            "folder. Move the data there, or do not trust this file."
        )
    if dtype == ir.DataType.STRING:
        raise InvalidModel(f"tensor {tensor.name}: texts are said to be in {location!r}; expected them in the model.")
    if not is_file(target) or not os.path.isfile(f"{root}/{location}"):  # a Path loses "/" at the end
        raise InvalidModel(
            f"tensor {tensor.name}: its data file {location!r} is missing; expected it beside the model. "
            "Copy both files together."
        )
    if target.stat().st_nlink > 1:
        raise InvalidModel(
            f"tensor {tensor.name}: its data file {location!r} is a hard link, so it can be a file of another folder; "
            "expected a file with one name. Replace it by a copy if you trust this model."
        )
    numbers = {key: entries.get(key, "0") for key in ("offset", "length")}
    if not all(text.isascii() and text.isdecimal() and len(text) < 20 for text in numbers.values()):
        raise InvalidModel(f"tensor {tensor.name}: offset and length are {numbers}; expected numbers. Export it again.")
    wanted = _bytes_of(tensor, count)
    length = int(numbers["length"]) if "length" in entries else wanted
    if length != wanted or int(numbers["offset"]) + wanted > target.stat().st_size:
        raise InvalidModel(
            f"tensor {tensor.name}: {length} bytes at {numbers['offset']} of {location!r} "
            f"({target.stat().st_size} bytes) are said to hold it; expected {wanted} bytes inside the "
            "file. Copy both files again."
        )


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Return whether there is a file of this name; a name that no file can have names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _target(root: Path, location: str) -> Path:
    """Return the path that a location inside a folder leads to, or the folder where it is no possible path."""
    try:
        return (root / location).resolve()
    except (OSError, ValueError, RuntimeError):
        return root

"""Writes a model file: whole or not at all, large tensors beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.formats.functions import add_functions
from qonnx_core.formats.ir_versions import with_ir_version

_MAX_INLINE_BYTES = 2**31 - 2**24  # protobuf ends at 2 GiB; leave room for the graph
_EXTERNAL_FROM_BYTES = 1024


def save(
    model: ir.Model, path: str | os.PathLike[str], *, with_functions: bool = False, ir_version: int | None = None
) -> None:
    """Write the model as an ONNX file; other programs see the old file or the new one, never a part.

    Args:
        model: the model; it is not changed.
        path: the file to write. Tensors of models above 2 GB go to ``<path>.data`` beside it, or to ``<path>.1.data``
            where the old file has that, which is removed in the end.
        with_functions: also write the definitions of our operators as ONNX functions, so that any ONNX runtime can run
            the file. Other QONNX tools do not expect them, so the default is without.
        ir_version: the version of the ONNX file format; by default the lowest that holds the model, so that old
            runtimes read it.

    Raises:
        InvalidInput: the folder does not exist or cannot be written, the disk is full, the path is a folder or device,
            or the IR version does not hold the model.
    """
    target = Path(path)
    check_target(target)
    written = with_ir_version(add_functions(model) if with_functions else model, ir_version)
    with disk_errors(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        _write(written, target, Path(scratch))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        InvalidInput: the folder does not exist or cannot be written, the disk is full, or the path is a folder or
            device.
    """
    check_target(path)
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        part = Path(scratch) / path.name
        part.write_bytes(content)
        _replace(part, path)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Raise InvalidInput that names the target where its folder or its disk does not take it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise InvalidInput(
            f"{target}: cannot be written ({error.strerror}); expected an existing, writable folder. Create it first."
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"{target}: cannot be written ({error.strerror or error}); expected room on the disk. Nothing changed."
        ) from error


def check_target(target: Path) -> None:
    """Raise InvalidInput where a file of this name would take the place of a folder or a device."""
    if (target.exists() and not target.is_file()) or not target.name:
        found = "a folder" if target.is_dir() else "a device"
        raise InvalidInput(f"{target}: is {found}; expected the name of a file to write. Choose another name.")


def total_bytes(model: ir.Model) -> int:
    """Return the size of all initializers."""
    tensors = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _write(model: ir.Model, target: Path, scratch: Path) -> None:
    part = scratch / target.name
    if total_bytes(model) <= _MAX_INLINE_BYTES:
        part.write_bytes(serialize(model))
        _replace(part, target)
        return
    names = [f"{target.name}.data", f"{target.name}.1.data"]
    taken = [name for name in names if (target.parent / name).exists()]  # by the file that is there until the end
    data = next((name for name in names if name not in taken), names[0])
    ir.save(model, part, external_data=data, size_threshold_bytes=_EXTERNAL_FROM_BYTES)
    _replace(scratch / data, target.parent / data)
    _replace(part, target)
    for name in taken:
        if name != data:
            (target.parent / name).unlink(missing_ok=True)


def _replace(part: Path, target: Path) -> None:
    """Put a file in the place of another one, when all of it is on the disk."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, target)


def serialize(model: ir.Model) -> bytes:
    """Return the bytes of the file, all tensors inside; the same model gives the same bytes."""
    proto = ir.serde.serialize_model(inlined(model))
    content = proto.SerializeToString(deterministic=True)
    assert isinstance(content, bytes)
    return content


def inlined(model: ir.Model) -> ir.Model:
    """Return the model with every external tensor in memory; the model itself where there is none."""
    external = [
        value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    ]
    if not external:
        return model
    copy = model.clone()
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    return copy

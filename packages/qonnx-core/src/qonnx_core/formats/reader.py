"""Reads a model file into the IR, or says in one sentence why it cannot."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import google.protobuf.message
import onnx
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.formats.external_data import attach_external_data
from qonnx_core.formats.file_checks import check_tensors, check_text
from qonnx_core.formats.function_checks import refuse_given_graphs
from qonnx_core.formats.nested_models import confine_nested_models
from qonnx_core.formats.normalize import normalize
from qonnx_core.ir.copies import sort_nodes
from qonnx_core.ir.memory import give_back, own_tensors
from qonnx_core.ir.verify import verify

MAX_BYTES = 2**31 - 1  # protobuf reads no longer message


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Return the model in this ONNX file, brought to the form that everything here reads.

    Old domain names become ``qonnx.custom_op.general``, the opset becomes 21 or stays newer, attributes of our
    operators are written out, and inputs that have an initializer become parameters. External tensors stay on disk
    until they are used.

    Raises:
        InvalidInput: there is no such file.
        InvalidModel: it is no ONNX file, refers to data or models outside its folder, or breaks the format.
        Unsupported: it is valid, but older than what can be brought to opset 21.
    """
    file = Path(path)
    return _load(_read_proto(file), file, file.parent)


def load_bytes(content: bytes, where: str = "model") -> ir.Model:
    """Return the model in the bytes of an ONNX file, as :func:`load` does; it has no folder, so no files beside it.

    Raises:
        InvalidModel: it is no ONNX file, refers to other files, or breaks the format; messages start with ``where``.
        Unsupported: it is valid, but older than what can be brought to opset 21.
    """
    with tempfile.TemporaryDirectory() as empty:
        return _load(_parse(content, where), where, Path(empty))


def _load(proto: onnx.ModelProto, file: Path | str, folder: Path) -> ir.Model:
    try:
        check_text(proto)
        check_tensors(proto, folder)
    except InvalidModel as error:
        raise InvalidModel(f"{file}: {error}") from error
    model = _deserialized(proto, file)
    try:
        attach_external_data(model, folder)
    except InvalidModel as error:
        raise InvalidModel(f"{file}: {error}") from error
    if own_tensors(model):
        del proto
        give_back()
    prepared = prepare(model, str(file))
    try:
        confine_nested_models(prepared, folder)
    except InvalidModel as error:
        raise InvalidModel(f"{file}: {error}") from error
    return prepared


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Return the model of this protobuf message, normalised and verified as by :func:`load`."""
    return prepare(_deserialized(proto, "model"), "model")


def _deserialized(proto: onnx.ModelProto, where: Path | str) -> ir.Model:
    try:
        return ir.serde.deserialize_model(proto)
    except (ir.serde.SerdeError, ValueError, TypeError, KeyError) as error:
        raise InvalidModel(f"{where}: {_first_line(error)}; expected a valid ONNX model. Export it again.") from error


def prepare(model: ir.Model, where: str) -> ir.Model:
    """Return the model after normalising it in place and verifying it."""
    refuse_given_graphs(model)
    try:
        verify(model, before_normalization=True)
        for graph in model.graphs():
            sort_nodes(graph)
        normalize(model)
        verify(model)
    except InvalidModel as error:
        raise InvalidModel(f"{where}: {error}") from error
    return model


def _read_proto(file: Path) -> onnx.ModelProto:
    if file.is_dir():
        raise InvalidInput(f"{file}: is a folder; expected an ONNX file. Give the path of the .onnx file in it.")
    try:
        check_size(file.stat().st_size, str(file))
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(f"{file}: there is no such file; expected an ONNX file. Check the path.") from error
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror}); expected a readable ONNX file.") from error
    return _parse(content, file)


def check_size(size: int, where: str) -> None:
    """Raise InvalidModel where a file of so many bytes is no message of protobuf, before it is read into memory."""
    if size > MAX_BYTES:
        raise InvalidModel(
            f"{where}: holds more than {MAX_BYTES} bytes; expected at most as many in an ONNX file. Save it with "
            "external data."
        )


def _parse(content: bytes, file: Path | str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except google.protobuf.message.DecodeError as error:
        raise InvalidModel(f"{file}: is no ONNX file; expected a serialised model. Check what wrote it.") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise InvalidModel(f"{file}: holds no ONNX model; expected a graph and opset imports. Export it again.")
    return proto


def _first_line(error: BaseException) -> str:
    while isinstance(error, ir.serde.SerdeError) and error.__cause__ is not None:
        error = error.__cause__  # the outer ones only say which message of the file was being read
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

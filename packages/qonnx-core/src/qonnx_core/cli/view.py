"""`qonnx view`: look at a model in a browser."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from qonnx_core.cli.common import ModelArgument, is_stdio, read_and_clean, read_stdin, write_model
from qonnx_core.errors import InvalidInput, InvalidModel, ToolMissing

NAME = "view"
HELP = """Show a model in a browser, with the netron viewer; runs until Ctrl-C.

Only this machine can reach the viewer, and it sees the model and its data files, nothing else of their folder.

Example: qonnx view model.onnx --clean"""
_HOST = "localhost"


def command(
    model: ModelArgument,
    clean: Annotated[bool, typer.Option("--clean", help="Show the model cleaned, as `qonnx info` names it.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or only print the address.")
    ] = True,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port to serve on; by default a free one.")
    ] = None,
) -> None:
    """Serve a viewer."""
    try:
        import netron
    except ImportError as error:
        raise ToolMissing(
            "view: netron is not installed; expected it. Install qonnx-core[view], or use netron elsewhere."
        ) from error
    logging.getLogger("netron").setLevel(logging.CRITICAL)  # it logs the address, which is printed here
    try:
        with tempfile.TemporaryDirectory() as folder:
            _serve(netron, _copied(model, Path(folder), clean=clean), port, browser=browser)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)


def _serve(netron: ModuleType, file: Path, port: int | None, *, browser: bool) -> None:
    """Serve the file until the process is interrupted."""
    try:
        host, used = netron.serve(str(file), None, address=(_HOST, port), browse=browser)
    except OSError as error:
        raise InvalidInput(f"--port {port}: {error.strerror}; expected a free port. Leave the option out.") from error
    address = (host, used)
    try:
        typer.echo(f"http://{host}:{used}")
        typer.echo("Press Ctrl-C to stop.", err=True)
        while netron.status(address):
            time.sleep(0.1)
    finally:
        netron.stop(address)


def _copied(model: Path, folder: Path, *, clean: bool) -> Path:
    """Return a copy of the model, with its data files, in a folder of its own: the viewer serves whole folders."""
    from qonnx_core.build.config import require_file
    from qonnx_core.formats.file_checks import external_files

    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "stdin.onnx" if is_stdio(model) else model.name).lstrip(".") or "model.onnx"
    target = folder / name
    if clean:
        target = target.with_suffix(".onnx")
        write_model(read_and_clean(model)[1], target)
        return target
    if is_stdio(model):
        target.write_bytes(read_stdin("an ONNX model"))
        _require_model(target, "standard input")
        return target
    require_file(model, "a model")
    _require_model(model, str(model))
    shutil.copyfile(model, target)
    root = model.parent.resolve()
    for data in external_files(model):
        inside = data.resolve()
        if inside.is_file() and inside.is_relative_to(root):
            copy = folder / inside.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside, copy)
    return target


_SAVED_BY_FRAMEWORKS = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")
"""How HDF5 files (.h5) and archives (.keras) begin."""


def _require_model(file: Path, where: str) -> None:
    """Raise InvalidModel where a file holds neither an ONNX graph, which may be wrong, nor what a framework saves."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    with file.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(_SAVED_BY_FRAMEWORKS):
        return
    try:
        found = bool(ModelProto.FromString(file.read_bytes()).graph.ByteSize())
    except DecodeError:
        found = False
    if not found:
        raise InvalidModel(f"{where}: holds no model; expected an ONNX graph, or a saved Keras model. Check the path.")

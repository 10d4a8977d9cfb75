"""What several subcommands share: models from files and pipes, input types, printing tables and JSON."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.ir.printable import printable

if TYPE_CHECKING:
    import onnx_ir as ir

STDIO = Path("-")
_PART_BYTES = 2**20
WIDE = 240
"""Columns of tables that no terminal shows: wide enough that their cells stay on one line."""


def model_files(incomplete: str) -> list[str]:
    """Return what a shell offers for a model that is partly typed: folders and model files.

    A folder that is the only choice comes with what is in it: shells put a space behind a single choice.
    """
    found = _models_and_folders(incomplete)
    return found if len(found) != 1 or not found[0].endswith("/") else found + _models_and_folders(found[0])


def _models_and_folders(incomplete: str) -> list[str]:
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") or not incomplete else typed.parent
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    start = incomplete if folder is typed else incomplete[: len(incomplete) - len(typed.name)]
    found = [
        f"{start}{entry.name}/" if entry.is_dir() else f"{start}{entry.name}"
        for entry in entries
        if entry.is_dir() or entry.suffix.lower() in _MODEL_SUFFIXES
    ]
    return offered(found, incomplete)


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Return what a shell may offer: the names with this start that are one plain word, which no shell acts on.

    Shells put names on the command line as they are, and zsh evaluates them before. Where nothing is offered for a
    file, the shell looks for files itself, and quotes them.
    """
    return [name for name in names if name.startswith(incomplete) and _PLAIN_WORD.fullmatch(name)]


_PLAIN_WORD = re.compile(r"[\w./:@%+,=-]+")
_MODEL_SUFFIXES = (".onnx", ".h5", ".keras")
ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="A QONNX model (.onnx), - for one on standard input, or a file an installed frontend reads.",
        autocompletion=model_files,
    ),
]


def output_option(default: str | None = None) -> Any:
    """Return the option that says where a model is written, and where it goes without the option."""
    otherwise = "" if default is None else f"; default {default}"
    return typer.Option("--output", "-o", help=f"Where to write{otherwise}; - is standard output.")


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]
InputTypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-type",
        metavar="NAME=TYPE",
        help="Grid of a model input, e.g. FIXED<16,6> or 'UINT8*1/255'. NAME= may be left out for a single input.",
    ),
]


class _Console(Console):
    """Shows texts as they are: names of a model are no markup, no emoji and no commands to the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Write to standard output or standard error, as wide as that is."""
        super().__init__(stderr=stderr, width=_width(sys.stderr if stderr else sys.stdout), markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return a text to print."""
        return super().render_str(printable(text), **how)


def console() -> Console:
    """Return the console that people read; tables go to standard output.

    Where standard output is a pipe or a file, lines are as wide as tables like; COLUMNS, where it is set, decides.
    """
    return _Console()


def progress_console() -> Console:
    """Return the console for progress and remarks, on standard error, of a width found in the same way."""
    return _Console(stderr=True)


def _width(stream: TextIO) -> int | None:
    """Return the columns of a stream; None where COLUMNS decides, unless it is 0, which some programs set."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return None
    return shutil.get_terminal_size().columns if stream.isatty() else WIDE


def print_json(value: object) -> None:
    """Print a value as JSON; numbers that JSON does not have are the texts Infinity, -Infinity and NaN."""
    typer.echo(json.dumps(_for_json(value), indent=2, allow_nan=False))


def _for_json(value: Any) -> Any:
    """Return the value with texts for the numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    return value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table to print."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, overflow="fold")
    for row in rows:
        result.add_row(*("" if cell is None else str(cell) for cell in row))
    return result


def is_stdio(path: Path | None) -> bool:
    """Return whether the path is ``-``, standard input or output."""
    return path == STDIO


def read_stdin(what: str) -> bytes:
    """Return everything on standard input, which has to be a pipe or a file.

    Raises:
        InvalidInput: standard input is a terminal, or empty.
        InvalidModel: there is more than an ONNX file can hold.
    """
    from qonnx_core.formats.reader import MAX_BYTES, check_size

    if sys.stdin.isatty():
        raise InvalidInput(f"standard input: is a terminal; expected {what}. Pipe it in, or give a file instead of -.")
    parts = iter(lambda: sys.stdin.buffer.read(_PART_BYTES), b"")
    content = b"".join(itertools.islice(parts, MAX_BYTES // _PART_BYTES + 2))
    check_size(len(content), "standard input")
    if not content:
        raise InvalidInput(f"standard input: is empty; expected {what}. Check the command in front of the pipe.")
    return content


def read_model(path: Path) -> ir.Model:
    """Return the model of a file, of standard input (``-``), or what an installed frontend reads from the file."""
    from qonnx_core.build.prepare import read_source
    from qonnx_core.formats.reader import load_bytes

    if not is_stdio(path):
        return read_source(path)
    model = load_bytes(read_stdin("an ONNX model"), "standard input")
    if not model.graph.outputs:
        raise InvalidModel("standard input: the graph has no outputs; expected at least one. Export the model again.")
    return model


def write_model(model: ir.Model, path: Path, *, with_functions: bool = False, ir_version: int | None = None) -> None:
    """Write a model to a file, whole or not at all, or to standard output (``-``).

    Raises:
        InvalidInput: the file cannot be written, or standard output is a terminal.
    """
    from qonnx_core import save
    from qonnx_core.formats.functions import add_functions
    from qonnx_core.formats.ir_versions import with_ir_version
    from qonnx_core.formats.writer import serialize

    if is_stdio(path):
        written = add_functions(model) if with_functions else model
        write_stdout(serialize(with_ir_version(written, ir_version)))
    else:
        save(model, path, with_functions=with_functions, ir_version=ir_version)


def check_stdout() -> None:
    """Raise InvalidInput where standard output is a terminal, which can show no bytes."""
    if sys.stdout.isatty():
        raise InvalidInput("standard output: is a terminal; expected a pipe or a file. Redirect it, or name a file.")


def write_stdout(content: bytes) -> None:
    """Write bytes to standard output, which has to be a pipe or a file."""
    check_stdout()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def output_path(output: Path | None, model: Path, suffix: str) -> Path:
    """Return where a changed model goes: as asked for, else beside the model, or to standard output as it came.

    Raises:
        InvalidInput: the model's path has no file name, such as ``.``.
    """
    if output is not None:
        return output
    if not model.name:
        raise InvalidInput(f"{model}: is no file; expected a model (.onnx). Check the path.")
    return STDIO if is_stdio(model) else model.with_name(f"{model.stem}_{suffix}.onnx")


def require_no_stdio(path: Path | None, option: str, what: str) -> None:
    """Raise InvalidInput where ``-`` is given for something that is no stream, such as a folder."""
    if is_stdio(path):
        raise InvalidInput(f"{option} -: stands for a pipe; expected {what}. Give a path.")


def spoken(path: Path) -> str:
    """Return how remarks name a place to read or write."""
    return "standard output" if is_stdio(path) else str(path)


def remarks_console(output: Path | None, json_output: bool = False) -> Console:
    """Return where remarks for people go: standard error where standard output carries the result itself.

    Raises:
        InvalidInput: both the result and ``--json`` ask for standard output, or it is a terminal.
    """
    if is_stdio(output):
        check_stdout()
    if is_stdio(output) and json_output:
        raise InvalidInput("-o -: writes to standard output, as --json does; expected one of them. Give -o a file.")
    return progress_console() if is_stdio(output) else console()


def read_and_clean(path: Path, *, open_batch: bool = True) -> tuple[ir.Model, ir.Model]:
    """Return a model as it is in the file, and cleaned, with a batch of 1 opened or as it is."""
    from qonnx_core import cleanup_model

    original = read_model(path)
    remark_on_qcdq(original)
    return original, cleanup_model(original, open_batch=open_batch)


def remark_on_qcdq(model: ir.Model) -> None:
    """Say that the clean-up reads QuantizeLinear and DequantizeLinear as Quant, where the model has any."""
    from qonnx_core.formats.from_qcdq import REMARK, has_qcdq

    if has_qcdq(model):
        progress_console().print(REMARK)


def input_types(options: Sequence[str] | None) -> dict[str, str]:
    """Return ``{input name: type}`` of the repeated option; the name is empty where it was left out."""
    types: dict[str, str] = {}
    for option in options or ():
        name, separator, text = option.partition("=")
        if not separator:
            name, text = "", option
        if not text:
            raise InvalidInput(f"--input-type {option}: found no type; expected NAME=TYPE, e.g. x=UINT8*1/255.")
        if name in types:
            raise InvalidInput(
                f"--input-type: {name or 'the input'} has two types, {types[name]} and {text}; give one."
            )
        types[name] = text
    return types


def value_text(value: Any) -> str:
    """Return a value's element type and shape as one reads them, e.g. ``float32[batch, 784]``."""
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    shape = ", ".join(str(size) for size in value.shape) if value.shape is not None else "?"
    return f"{dtype}[{shape}]"

"""What several subcommands share: reading a model and its input types, printing tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

ModelArgument = Annotated[Path, typer.Argument(help="A QONNX model (.onnx), or a file an installed frontend reads.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]
InputTypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-type",
        metavar="NAME=TYPE",
        help="Grid of a model input, e.g. FIXED<16,6> or 'UINT8*1/255'. NAME= may be left out for a single input.",
    ),
]


def console() -> Console:
    """Return the console that people read; tables go to standard output."""
    return Console()


def progress_console() -> Console:
    """Return the console for progress and remarks, on standard error."""
    return Console(stderr=True)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table to print."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, overflow="fold")
    for row in rows:
        result.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return result


def read_and_clean(path: Path) -> tuple[ir.Model, ir.Model]:
    """Return a model as it is in the file, and cleaned."""
    from qonnx_core import cleanup_model
    from qonnx_core.build.prepare import read_source

    original = read_source(path)
    return original, cleanup_model(original)


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


def shortened(text: str, width: int = 60) -> str:
    """Return a text that fits into a table."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def value_text(value: Any) -> str:
    """Return a value's element type and shape as one reads them, e.g. ``float32[batch, 784]``."""
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    shape = ", ".join(str(size) for size in value.shape) if value.shape is not None else "?"
    return f"{dtype}[{shape}]"

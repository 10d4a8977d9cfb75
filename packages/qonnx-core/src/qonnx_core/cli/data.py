"""What commands that run models over data share: the data option, files and pipes, progress on the terminal."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from qonnx_core.cli.common import is_stdio, progress_console
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.execute.array_files import ArrayFile

Array = NDArray[Any]


def tensor_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return what a shell offers for a tensor of the model in front of it; nothing where there is no such model."""
    return _names(context, incomplete, clean=False)


def cleaned_tensor_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the same for the names after clean-up."""
    return _names(context, incomplete, clean=True)


def _names(context: typer.Context, incomplete: str, *, clean: bool) -> list[str]:
    from qonnx_core import cleanup_model, load
    from qonnx_core.errors import QonnxError
    from qonnx_core.execute.tensors import named_values

    # Behind an option without a value yet, the words in front of it are left over instead of being the model.
    words = (str(context.params.get("model") or ""), *context.args)
    path = next((word for word in words if word.lower().endswith(".onnx") and Path(word).is_file()), None)
    if path is None:
        return []
    try:
        model = load(path)
        if clean and not context.params.get("as_stored"):
            model = cleanup_model(model)
    except QonnxError:
        return []
    return [name for name in named_values(model.graph) if name.startswith(incomplete)]


BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Samples in one run; by default up to 256, fewer where they are large."),
]
AllowNanOption = Annotated[bool, typer.Option("--allow-nan", help="Take data with NaN, which are refused otherwise.")]
PixelsOption = Annotated[
    bool, typer.Option("--pixels", help="Divide integer inputs by 255, in float32: images of 8 bits become 0 to 1.")
]


def check_places(*places: Path) -> None:
    """Raise InvalidInput where more than one of these is to come from standard input."""
    if sum(is_stdio(place) for place in places) > 1:
        raise InvalidInput(
            "-: stands for several inputs; expected standard input to be one of them. Give the others as files."
        )


@contextmanager
def data_file(path: Path) -> Iterator[ArrayFile]:
    """Give the arrays of a file, or of standard input (``-``), which is put into a temporary file first.

    Raises:
        InvalidInput: there is no such file, or it holds no arrays of numbers.
    """
    from qonnx_core.execute.array_files import ArrayFile

    if not is_stdio(path):
        yield ArrayFile(path)
        return
    if sys.stdin.isatty():
        raise InvalidInput("standard input: is a terminal; expected an .npy or .npz. Pipe it in, or give a file.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "data"
        with copy.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream, 2**20)
        yield ArrayFile(copy, "standard input")


def batch_size(asked: int | None, file: ArrayFile, members: Mapping[str, str]) -> int:
    """Return how many samples to run at once: as asked for, else so that a batch stays small."""
    from qonnx_core.execute.samples import default_batch_size

    return asked or default_batch_size(file.headers[member].shape for member in members.values())


def checked(batch: Mapping[str, Array], start: int, *, allow_nan: bool, pixels: bool) -> dict[str, Array]:
    """Return the inputs of a batch that starts with sample ``start``, pixels as numbers from 0 to 1 where asked for.

    Raises:
        InvalidInput: they hold NaN; names the first sample.
    """
    found: dict[str, Array] = {}
    for name, array in batch.items():
        if array.dtype.kind == "f" and not allow_nan and np.isnan(array).any():
            rows = np.isnan(array.reshape(array.shape[0] if array.ndim else 1, -1)).any(axis=1)
            raise InvalidInput(
                f"input {name}: sample {start + int(np.flatnonzero(rows)[0])} holds NaN; expected numbers. Clean the "
                "data, or say --allow-nan."
            )
        if pixels and array.dtype.kind in "iu":
            array = array.astype(np.float32) / np.float32(255)
        found[name] = array
    return found


@contextmanager
def shown_progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a bar on standard error by a number of samples; silent where it is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = progress_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda samples: progress.advance(task, samples)

"""What commands that run models over data share: the data option, files and pipes, progress on the terminal."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from qonnx_core.cli.common import is_stdio, offered, progress_console
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

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
    return offered(named_values(model.graph), incomplete)


TensorsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tensor",
        metavar="NAME",
        help="Only this tensor, or all that match ('Quant_*'); may be repeated.",
        autocompletion=cleaned_tensor_names,
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Samples in one run; by default up to 256, fewer where they are large."),
]
AllowNanOption = Annotated[bool, typer.Option("--allow-nan", help="Take data with NaN, which are refused otherwise.")]
PixelsOption = Annotated[
    bool, typer.Option("--pixels", help="Divide integer inputs by 255, in float32: images of 8 bits become 0 to 1.")
]
CenterOption = Annotated[bool, typer.Option("--center", help="With --pixels: they become -1 to 1 instead.")]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="Only that many samples, the first ones; by default all.")
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


def members_of(file: ArrayFile, original: ir.Model, model: ir.Model) -> dict[str, str]:
    """Return ``{input: name in the file}`` for a model; the file may use the names of the original model too.

    Raises:
        InvalidInput: the file has no array for an input.
    """
    from qonnx_core.build.inputs import input_names
    from qonnx_core.execute.samples import file_members

    spoken = input_names(original, model)
    current = [names[0] for names in spoken]
    said = current if any(name in file.headers for name in current) else [names[-1] for names in spoken]
    return dict(zip(current, file_members(file, said).values(), strict=True))


def text_file(path: Path) -> Path:
    """Return the file that a file of rules is read from: ``-`` is standard input, which has to be no terminal."""
    if not is_stdio(path):
        return path
    if sys.stdin.isatty():
        raise InvalidInput("standard input: is a terminal; expected rules. Pipe them in, or give a file.")
    return Path("/dev/stdin")


def batch_size(asked: int | None, file: ArrayFile, members: Mapping[str, str]) -> int:
    """Return how many samples to run at once: as asked for, else so that a batch stays small."""
    from qonnx_core.execute.samples import default_batch_size

    return asked or default_batch_size(file.headers[member].shape for member in members.values())


@dataclass(frozen=True)
class Preparation:
    """What is done to the samples of a file before a model gets them."""

    pixels: bool = False
    center: bool = False
    allow_nan: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput for options that do not go together."""
        if self.center and not self.pixels:
            raise InvalidInput("--center: stands alone; expected --pixels with it. Add --pixels, or leave it out.")


def checked(batch: Mapping[str, Array], start: int, how: Preparation) -> dict[str, Array]:
    """Return the inputs of a batch that starts with sample ``start``, pixels as numbers from 0 or -1 to 1 if asked for.

    Raises:
        InvalidInput: they hold NaN; names the first sample. Or there are no integers that could be pixels.
    """
    if how.pixels and not any(array.dtype.kind in "iu" for array in batch.values()):
        kinds = ", ".join(f"{name} of {array.dtype}" for name, array in batch.items())
        raise InvalidInput(
            f"--pixels: found inputs {kinds}; expected integers. Save the images as uint8, or leave the option out."
        )
    found: dict[str, Array] = {}
    for name, array in batch.items():
        if array.dtype.kind == "f" and not how.allow_nan and np.isnan(array).any():
            rows = np.isnan(array.reshape(array.shape[0] if array.ndim else 1, -1)).any(axis=1)
            raise InvalidInput(
                f"input {name}: sample {start + int(np.flatnonzero(rows)[0])} holds NaN; expected numbers. Clean the "
                "data, or say --allow-nan."
            )
        if how.pixels and array.dtype.kind in "iu":
            array = array.astype(np.float32) / np.float32(255)
            array = np.float32(2) * array - np.float32(1) if how.center else array
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

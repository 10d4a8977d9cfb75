"""`qonnx diff`: where two models differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qonnx_core.cli.common import JsonOption, console, model_files, print_json, read_model, table
from qonnx_core.cli.data import check_places, data_file

if TYPE_CHECKING:
    from qonnx_core.verify.models import TensorDiff

NAME = "diff"
HELP = """Run two models on the same data and find the first tensor in which they differ.

Both are cleaned first, so that tensors have the same names. Exits with 3 when they differ anywhere.

Tensors are paired that are connected alike, whatever they are called and in whatever order nodes stand. Where one
model has other nodes than the other (biases extracted, channels-last, converted), those tensors are paired that have
one name in both files; --names chooses.

Example: qonnx diff before.onnx after.onnx --data inputs.npz"""
_MAX_ROWS = 30


class NamesOption(StrEnum):
    """Which names pair the tensors of the two models."""

    AUTO = "auto"
    CLEANED = "cleaned"
    FILE = "file"


def command(
    left: Annotated[Path, typer.Argument(help="A model; - is standard input.", autocompletion=model_files)],
    right: Annotated[
        Path, typer.Argument(help="The model to compare with; - is standard input.", autocompletion=model_files)
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help="An .npz with the inputs under the names of LEFT, or as `x`, or an .npy; or -."),
    ],
    names: Annotated[
        NamesOption, typer.Option("--names", help="Pair tensors by their cleaned names or by those in the files.")
    ] = NamesOption.AUTO,
    allow_rounding: Annotated[
        bool, typer.Option("--allow-rounding", help="Accept what float rounding explains (rounding and boundary).")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Compare two models."""
    from qonnx_core.errors import Mismatch
    from qonnx_core.execute.samples import file_members
    from qonnx_core.verify.models import compare_models

    check_places(left, right, data)
    models = read_model(left), read_model(right)
    inputs = [value.name or "" for value in models[0].graph.inputs if not value.is_initializer()]
    with data_file(data) as file:
        given = {name: file.read(member) for name, member in file_members(file, inputs).items()}
    result = compare_models(models[0], models[1], given, names=names.value, left_name=str(left), right_name=str(right))
    if json_output:
        print_json(result.to_dict())
    else:
        out = console()
        differing = [tensor for tensor in result.tensors if tensor.differing]
        rows = [(t.name, t.op_type, f"{t.differing} of {t.samples}", _largest(t)) for t in differing[:_MAX_ROWS]]
        if rows:
            title = f"{len(differing)} of {len(result.tensors)} tensors differ"
            out.print(table(title, ("tensor", "made by", "samples", "largest difference"), rows))
        out.print(str(result.check))
        for side, unpaired in ((left, result.unpaired_left), (right, result.unpaired_right)):
            if unpaired:
                out.print(f"without a partner in {side}: {', '.join(unpaired[:_MAX_ROWS])}")
    first = result.first
    if first is not None and not (allow_rounding and result.explained):
        where = first.first if first.first is not None else f"{first.name}: other shapes"
        other_nodes = [n.op_type for n in models[0].graph] != [n.op_type for n in models[1].graph]
        hint = " The models have other nodes: try --names file." if other_nodes and names is NamesOption.CLEANED else ""
        raise Mismatch(
            f"{left} = {right}: they differ first in tensor {first.name} ({first.op_type}); expected equal tensors. "
            f"First: {where}.{hint}"
        )


def _largest(tensor: TensorDiff) -> str:
    return "other shape" if tensor.other_shape else f"{tensor.largest:g}"

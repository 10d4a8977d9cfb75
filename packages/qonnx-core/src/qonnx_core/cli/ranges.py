"""`qonnx range`: what every tensor can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qonnx_core.cli.common import (
    InputTypeOption,
    JsonOption,
    ModelArgument,
    console,
    input_types,
    print_json,
    read_and_clean,
    table,
)
from qonnx_core.cli.data import TensorsOption
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.printable import shortened

if TYPE_CHECKING:
    from qonnx_core.analyses.ranges import TensorRange

NAME = "range"
HELP = """Show every tensor's integer grid, proven range and accumulator type, and channels that never change.

An input without a type or a range is unbounded, and bounded again by the first quantizer behind it.

Example: qonnx range model.onnx --input-type 'UINT8*1/255' --json"""


def command(
    model: ModelArgument,
    input_type: InputTypeOption = None,
    input_range: Annotated[
        list[str] | None,
        typer.Option(
            "--input-range",
            metavar="NAME=LOW,HIGH",
            help="Smallest and largest value of an input on no grid. NAME= may be left out for a single input.",
        ),
    ] = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="With --json: the bounds of every channel as well.")
    ] = False,
    tensor: TensorsOption = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only tensors with channels that never change.")] = False,
    zero_stuck: Annotated[
        bool, typer.Option("--zero-stuck", help="Only tensors with channels that are always 0.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Analyse the ranges."""
    from qonnx_core.analyses.ranges import tensor_ranges
    from qonnx_core.build.inputs import input_grids, input_names
    from qonnx_core.execute.tensors import Tensors

    if channels and not json_output:
        raise InvalidInput("range: --channels belongs to --json. Add --json, or leave it out.")
    original, cleaned = read_and_clean(model)
    names = input_names(original, cleaned)
    grids = input_grids(cleaned, names, input_types(input_type), None, required=False)
    ranges = _ranges(input_range or (), names)
    for name in ranges:
        if name in grids:
            raise InvalidInput(
                f"--input-range: input {name} lies on the grid {grids[name]}; expected a range where there is none. "
                "Leave the range or the --input-type out."
            )
    rows = tensor_ranges(cleaned, grids, ranges)
    found = [
        rows[name]
        for name in (rows if tensor is None else Tensors(cleaned.graph).select(tensor))
        if name in rows and (rows[name].stuck or not stuck) and (rows[name].zero_stuck or not zero_stuck)
    ]
    if json_output:
        print_json([row.to_dict(channels=channels) for row in found])
        return
    columns = (
        "tensor", "made by", "integers", "range", "values", "accumulator", "partial sums", "stuck channels",
        "grid, or why none",
    )  # fmt: skip
    console().print(table("ranges", columns, [_row(row) for row in found]))


def _row(row: TensorRange) -> tuple[object, ...]:
    return (
        row.name,
        row.op_type,
        row.integers,
        f"{min(row.low)} to {max(row.high)}" if row.low else "",
        "" if row.values is None else f"{row.values[0]:g} to {row.values[1]:g}",
        row.accumulator,
        row.partial_sums,
        f"{len(row.stuck)} of {row.channels}" if row.stuck else "",
        row.reason if row.grid is None else shortened(str(row.grid), 40),
    )


def _ranges(options: Sequence[str], names: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Return ``{input name: (low, high)}`` of the repeated option."""
    known = {synonym: synonyms[0] for synonyms in names for synonym in synonyms}
    if len(names) == 1:
        known[""] = names[0][0]
    result: dict[str, tuple[float, float]] = {}
    for option in options:
        name, separator, text = option.partition("=")
        if not separator:
            name, text = "", option
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError as error:
            raise InvalidInput(
                f"--input-range {option}: found {text!r}; expected two numbers such as x=-1,1. Correct the option."
            ) from error
        if name not in known:
            raise InvalidInput(
                f"--input-range {option}: the model has no input {name or 'that could be meant'}; expected one of "
                f"{', '.join(known)}. Name it."
            )
        if known[name] in result:
            raise InvalidInput(f"--input-range {option}: is the second one for this input; expected one. Give one.")
        result[known[name]] = (low, high)
    return result

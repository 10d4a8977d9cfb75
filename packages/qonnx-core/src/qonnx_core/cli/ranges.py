"""`qonnx range`: what every tensor can be."""

from __future__ import annotations

from typing import Annotated

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

NAME = "range"
HELP = """Show every tensor's integer grid, proven range and accumulator type, and channels that never change.

Example: qonnx range model.onnx --input-type 'UINT8*1/255' --json"""


def command(
    model: ModelArgument,
    input_type: InputTypeOption = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="With --json: the bounds of every channel as well.")
    ] = False,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only tensors with channels that never change.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Analyse the ranges."""
    from qonnx_core.analyses.ranges import tensor_ranges
    from qonnx_core.build.inputs import input_grids, input_names

    original, cleaned = read_and_clean(model)
    grids = input_grids(cleaned, input_names(original, cleaned), input_types(input_type), None)
    found = [row for row in tensor_ranges(cleaned, grids).values() if row.stuck or not stuck]
    if json_output:
        print_json([row.to_dict(channels=channels) for row in found])
        return
    rows = [
        (
            row.name,
            row.op_type,
            row.integers,
            f"{min(row.low)} to {max(row.high)}" if row.low else "",
            "" if row.values is None else f"{row.values[0]:g} to {row.values[1]:g}",
            row.accumulator,
            f"{len(row.stuck)} of {len(row.low)}" if row.stuck else "",
            row.reason if row.grid is None else row.grid,
        )
        for row in found
    ]
    columns = ("tensor", "made by", "integers", "range", "values", "accumulator", "stuck channels", "grid, or why none")
    console().print(table("ranges", columns, rows))

"""`qonnx clean`: infer shapes, fold constants, remove identities, give readable names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    output_path,
    print_json,
    read_and_clean,
    remarks_console,
    spoken,
    write_model,
)

if TYPE_CHECKING:
    import onnx_ir as ir

NAME = "clean"
HELP = """Clean a model up: infer shapes, fold constants (weight quantizers stay), remove identities, name everything.

The result computes the same numbers. Example: qonnx clean model.onnx -o clean.onnx

--channels-last brings the model to channels-last operators as well; --channels-last-input lets its inputs be
(N, ..., C) too, so that no Transpose is left in front."""


def command(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write; default MODEL_clean.onnx; - is standard output."),
    ] = None,
    with_functions: Annotated[
        bool,
        typer.Option(
            "--with-functions", help="Put the operators' definitions into the file: stock onnxruntime runs it."
        ),
    ] = False,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Bring the model to channels-last operators; inputs and outputs stay."),
    ] = False,
    channels_last_input: Annotated[
        bool,
        typer.Option("--channels-last-input", help="The same, and the inputs are channels-last too: (N, ..., C)."),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Clean a model up and write it."""
    target = output_path(output, model, "clean")
    out = remarks_console(target, json_output)
    original, cleaned = read_and_clean(model)
    refusals: list[str] = []
    if channels_last or channels_last_input:
        cleaned, refusals = _to_channels_last(cleaned, channels_last_input)
    write_model(cleaned, target, with_functions=with_functions)
    before, after = len(original.graph), len(cleaned.graph)
    if json_output:
        print_json({"output": str(target), "nodes_before": before, "nodes_after": after, "not_channels_last": refusals})
    else:
        out.print(f"{spoken(target)}: {before} nodes before, {after} after")
        for refusal in refusals:
            out.print(f"stays channels-first: {refusal}", markup=False)


def _to_channels_last(model: ir.Model, inputs: bool) -> tuple[ir.Model, list[str]]:
    """Return the model with channels-last operators, cleaned again, and what could not be brought to them."""
    from qonnx_core import cleanup_model
    from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast

    step = ConvertToChannelsLast(make_input_channels_last=inputs)
    refusals = step.refusals(model)
    step.run(model)
    return cleanup_model(model), refusals

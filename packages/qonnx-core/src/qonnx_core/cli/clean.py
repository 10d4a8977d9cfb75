"""`qonnx clean`: infer shapes, fold constants, remove identities, give readable names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

NAME = "clean"
HELP = """Clean a model up: infer shapes, fold constants (weight quantizers stay), remove identities, name everything.

The result computes the same numbers. Example: qonnx clean model.onnx -o clean.onnx"""


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
    json_output: JsonOption = False,
) -> None:
    """Clean a model up and write it."""
    target = output_path(output, model, "clean")
    out = remarks_console(target, json_output)
    original, cleaned = read_and_clean(model)
    write_model(cleaned, target, with_functions=with_functions)
    before, after = len(original.graph), len(cleaned.graph)
    if json_output:
        print_json({"output": str(target), "nodes_before": before, "nodes_after": after})
    else:
        out.print(f"{spoken(target)}: {before} nodes before, {after} after")

"""`qonnx run`: execute a model on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qonnx_core.cli.common import JsonOption, ModelArgument, console, print_json, read_model, table

NAME = "run"
HELP = """Execute a model on the arrays of an .npz file; compare with expected outputs where the file has them.

Inputs stand in the file under their tensor names, or as `x` (`input`); expected outputs under theirs, or as `y`.
Exits with 3 when an expected output is a mismatch. Example: qonnx run model.onnx --data inputs.npz -o outputs.npz"""


def command(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", help="An .npz with the inputs, and expected outputs if known.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the outputs to this .npz.")] = None,
    intermediate: Annotated[
        list[str] | None, typer.Option("--intermediate", help="Also return this tensor; may be repeated.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Execute a model."""
    from qonnx_core import compile_model
    from qonnx_core.build.inputs import INPUT_ALIASES, OUTPUT_ALIASES, pick, read_archive, write_archive
    from qonnx_core.verify import compare_outputs

    graph = read_model(model)
    arrays = read_archive(data)
    inputs = [(v.name or "",) for v in graph.graph.inputs if v.name not in graph.graph.initializers]
    given = {name: np.asarray(array) for name, array in pick(arrays, inputs, INPUT_ALIASES, "input", str(data)).items()}
    outputs = compile_model(graph).run(given, intermediates=tuple(intermediate or ()))
    expected = pick(arrays, [(v.name or "",) for v in graph.graph.outputs], OUTPUT_ALIASES, "output", str(data))
    check = compare_outputs(graph, given, expected, left="expected", right="QONNX") if expected else None
    if output is not None:
        write_archive(output, outputs)
    summary = [
        {
            "name": name,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "min": float(array.min()) if array.size else None,
            "max": float(array.max()) if array.size else None,
        }
        for name, array in outputs.items()
    ]
    if json_output:
        print_json({"outputs": summary, "check": check.to_dict() if check else None})
    else:
        rows = [tuple(row.values()) for row in summary]
        console().print(table("outputs", ("name", "shape", "dtype", "min", "max"), rows))
        if check is not None:
            console().print(str(check), markup=False)
    if check is not None:
        check.require()

"""`qonnx ingest`: a saved framework model becomes a QONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qonnx_core.cli.common import (
    JsonOption,
    output_option,
    print_json,
    remarks_console,
    require_no_stdio,
    spoken,
    write_model,
)

NAME = "ingest"
HELP = """Convert a saved framework model to QONNX through the frontend that recognizes it, and verify it on the way.

Example: qonnx ingest model.h5 -o model.onnx (needs ingest-qkeras). Brevitas models are live Python objects: export them
with export_brevitas.export_qonnx(model, args, path)."""


def command(
    source: Annotated[Path, typer.Argument(help="The saved model, e.g. a Keras .h5 file.")],
    output: Annotated[Path | None, output_option("SOURCE.onnx")] = None,
    frontend: Annotated[
        str | None, typer.Option("--frontend", help="Use this frontend instead of asking each.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Convert a saved model."""
    from qonnx_core import plugins
    from qonnx_core.build.config import require_file
    from qonnx_core.build.prepare import read_source
    from qonnx_core.errors import InvalidInput

    require_no_stdio(source, "source", "a file, which frontends look at as a whole")
    require_file(source, "a saved model")
    target = output or source.with_suffix(".onnx")
    out = remarks_console(target, json_output)
    if frontend is None:
        model = read_source(source)
    else:
        installed = plugins.frontends()
        if frontend not in installed:
            raise InvalidInput(
                f"--frontend {frontend}: no such frontend is installed; found {', '.join(sorted(installed)) or 'none'}."
            )
        model = installed[frontend].read(source)
    if output is None and target == source:
        raise InvalidInput(
            f"{source}: is a QONNX file already; expected --output for a changed one. Use `qonnx clean`."
        )
    write_model(model, target)
    if json_output:
        print_json({"output": str(target), "nodes": len(model.graph)})
    else:
        out.print(f"{spoken(target)}: {len(model.graph)} nodes, verified against {source.name}")

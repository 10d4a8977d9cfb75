"""`qonnx transform`: run any passes over a model, in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qonnx_core.cli.common import (
    JsonOption,
    console,
    model_files,
    output_option,
    print_json,
    read_model,
    remarks_console,
    spoken,
    table,
    write_model,
)
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.passes.base import Pass

NAME = "transform"
HELP = """Run passes over a model, in the order given, and write the result.

Each pass has a name and may have arguments: NAME:argument=value,argument=value. --list shows all of them. Shapes are
inferred before each pass. Whether a pass keeps the values is what its line in the list says.

Example: qonnx transform model.onnx --pass batchnorm_to_affine --pass insert_topk:k=3 -o changed.onnx"""


def _pass_names(incomplete: str) -> list[str]:
    """Return what a shell offers for a pass that is partly typed."""
    from qonnx_core.passes.catalog import catalog

    return [name for name in catalog() if name.startswith(incomplete)]


def command(
    model: Annotated[
        Path | None,
        typer.Argument(help="A QONNX model (.onnx), - for one on standard input.", autocompletion=model_files),
    ] = None,
    passes: Annotated[
        list[str] | None,
        typer.Option(
            "--pass",
            metavar="NAME[:ARG=VALUE,...]",
            help="A pass to run; may be repeated.",
            autocompletion=_pass_names,
        ),
    ] = None,
    output: Annotated[Path | None, output_option()] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Clean the model up first, as `qonnx clean` does.")] = False,
    list_passes: Annotated[bool, typer.Option("--list", help="List all passes with their arguments and stop.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Run passes over a model."""
    from qonnx_core.passes.catalog import catalog, make_pass

    if list_passes:
        entries = catalog().values()
        if json_output:
            print_json([entry.to_dict() for entry in entries])
            return
        rows = [
            (entry.name, ", ".join(f"{a.name}={a.default!s}" for a in entry.arguments if a.from_text), entry.summary)
            for entry in entries
        ]
        console().print(table(f"{len(rows)} passes", ("pass", "arguments", "what it does"), rows))
        return
    if model is None or output is None or not passes:
        missing = "MODEL" if model is None else "--output" if output is None else "--pass"
        raise InvalidInput(
            f"transform: {missing} is missing; expected a model, at least one --pass, and --output. "
            "List the passes with `qonnx transform --list`."
        )
    steps = [make_pass(text) for text in passes]
    _run(model, steps, output, clean, json_output)


def _run(model: Path, steps: list[Pass], output: Path, clean: bool, json_output: bool) -> None:
    from qonnx_core import cleanup_model
    from qonnx_core.ir.verify import verify
    from qonnx_core.passes.infer_datatypes import InferDataTypes, infer_datatypes_report
    from qonnx_core.passes.infer_shapes import InferShapes

    remarks = remarks_console(output, json_output)
    graph = read_model(model)
    if clean:
        graph = cleanup_model(graph, open_batch=False)
    done: list[dict[str, Any]] = []
    for step in steps:
        InferShapes().run(graph)
        edits = step.run(graph)
        done.append({"pass": step.name, "edits": edits, "kept": _kept(step, graph)})
    untyped = infer_datatypes_report(graph) if any(isinstance(step, InferDataTypes) for step in steps) else []
    InferShapes().run(graph)
    verify(graph)
    write_model(graph, output)
    if json_output:
        print_json({"output": str(output), "passes": done, "nodes": len(graph.graph), "untyped": dict(untyped)})
        return
    remarks.print(table(spoken(output), ("pass", "edits"), [(row["pass"], row["edits"]) for row in done]))
    kept = [(row["pass"], node, reason) for row in done for node, reason in row["kept"].items()]
    if kept:
        remarks.print(table("what stays as it is", ("pass", "node", "why"), kept))
    if untyped:
        remarks.print(table("tensors without a data type", ("tensor", "why"), untyped))


def _kept(step: Pass, graph: ir.Model) -> dict[str, str]:
    """Return why nodes that a pass looks for stay as they are; passes say so in pairs, or in sentences."""
    refusals = getattr(step, "refusals", None)
    found: dict[str, str] = {}
    for entry in refusals(graph) if refusals else ():
        if isinstance(entry, str):
            node, _, reason = entry.partition("): ")  # name (OpType): reason.
            found[f"{node})"] = reason
        else:
            found[entry[0]] = entry[1]
    return found

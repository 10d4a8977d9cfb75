"""`qonnx info`: what a model holds, with the names that rules and folding files use."""

from __future__ import annotations

from typing import Any

from qonnx_core.cli.common import (
    InputTypeOption,
    JsonOption,
    ModelArgument,
    console,
    input_types,
    print_json,
    read_and_clean,
    table,
    value_text,
)
from qonnx_core.ir.printable import shortened

NAME = "info"
HELP = """Show a model's inputs, outputs and nodes after clean-up; these are the names that split.yaml uses.

The data type of a tensor is annotated in the file or follows from quantizers and constants; below the nodes stands for
which tensors none follows, and why.

With --input-type the integer grid of every tensor is shown too: where a cut is possible, and why not elsewhere.
Long grids (one scale for each channel) are shortened; --json has them whole.

Example: qonnx info model.onnx --input-type 'UINT8*1/255'"""


def command(model: ModelArgument, input_type: InputTypeOption = None, json_output: JsonOption = False) -> None:
    """Describe a model."""
    from qonnx_core.analyses.topology import topology
    from qonnx_core.build.inputs import input_grids, input_names, output_names
    from qonnx_core.ir.annotations import get_datatype
    from qonnx_core.passes.infer_datatypes import InferDataTypes, infer_datatypes_report

    original, cleaned = read_and_clean(model)
    typed = cleaned.clone()
    InferDataTypes().run(typed)
    untyped = infer_datatypes_report(typed)
    datatypes = {v.name: str(get_datatype(v) or "") for node in typed.graph for v in node.outputs}
    grids: dict[str, Any] = {}
    if input_type:
        from qonnx_core.passes.streamline import grids_of

        names = input_names(original, cleaned)
        grids = grids_of(cleaned, input_grids(cleaned, names, input_types(input_type), None))
    inputs = [{"name": v.name, "type": value_text(v)} for v in cleaned.graph.inputs]
    outputs = [{"name": v.name, "type": value_text(v)} for v in cleaned.graph.outputs]
    nodes: list[dict[str, Any]] = [
        {
            "name": node.name,
            "op_type": node.op_type,
            "inputs": [v.name if v is not None else "" for v in node.inputs],
            "outputs": [v.name for v in node.outputs],
            "type": value_text(node.outputs[0]),
            "datatype": datatypes[node.outputs[0].name],
            **({"grid": str(grids.get(node.outputs[0].name or "", ""))} if grids else {}),
        }
        for node in cleaned.graph
    ]
    if json_output:
        print_json(
            {
                "model": str(model),
                "opset": dict(original.opset_imports),
                "inputs": inputs,
                "outputs": outputs,
                "names": {"inputs": input_names(original, cleaned), "outputs": output_names(original, cleaned)},
                "nodes": nodes,
                "topology": topology(cleaned).to_dict(),
                "untyped": dict(untyped),
            }
        )
        return
    out = console()
    for title, values, spoken in (
        ("inputs", inputs, input_names(original, cleaned)),
        ("outputs", outputs, output_names(original, cleaned)),
    ):
        rows = [(v["name"], v["type"], s[-1]) for v, s in zip(values, spoken, strict=True)]
        out.print(table(title, ("name", "type", "name in the file"), rows))
    columns = ("node", "op type", "output", "type", "data type", *(("grid",) if grids else ()))
    cells = [
        (n["name"], n["op_type"], n["outputs"][0], n["type"], n["datatype"], shortened(n.get("grid", "")))
        for n in nodes
    ]
    out.print(table(f"{len(nodes)} nodes", columns, [row[: len(columns)] for row in cells]))
    shape = topology(cleaned)
    branches = f"{len(shape.fan_outs)} tensors are read more than once, {len(shape.joins)} nodes join tensors"
    out.print("one chain of nodes" if shape.is_linear else branches)
    if untyped:
        out.print(table("tensors without a data type", ("tensor", "why"), untyped))

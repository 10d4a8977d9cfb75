"""`qonnx partition`: cut a model into the parts that backends build."""

from __future__ import annotations

from pathlib import Path
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
    require_no_stdio,
    table,
)
from qonnx_core.cli.data import check_places, text_file
from qonnx_core.errors import InvalidInput

NAME = "partition"
HELP = """Cut a model into parts by the rules of a split.yaml and write each part as a QONNX model of its own.

The names in the rules are those that `qonnx info` prints. Example split.yaml:

  default: hls4ml
  rules:
    - {match: {name: "MatMul_0"}, backend: finn}
    - {match: {from: global_in, to: Quant_0_out0}, backend: finn}"""


def command(
    model: ModelArgument,
    rules: Annotated[Path, typer.Option("--rules", help="The split.yaml; - is standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the parts.")],
    input_type: InputTypeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Cut a model into parts."""
    from qonnx_core import plugins, save
    from qonnx_core.build.inputs import input_grids, input_names
    from qonnx_core.partition import Rules
    from qonnx_core.partition import partition as cut

    check_places(model, rules)
    require_no_stdio(output, "--output", "a folder for the parts")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output}: is no folder; expected one for the parts. Choose another --output.")
    read_rules = Rules.from_file(text_file(rules))
    original, cleaned = read_and_clean(model)
    grids = input_grids(cleaned, input_names(original, cleaned), input_types(input_type), None)
    result = cut(cleaned, read_rules, grids, backends=sorted(plugins.backends()))
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for part in result.parts:
        path = output / f"{part.name}.onnx"
        save(part.model, path)
        written.append({"name": part.name, "backend": part.backend, "file": str(path), "nodes": list(part.nodes)})
    if json_output:
        print_json(written)
    else:
        rows = [(p["name"], p["backend"], len(p["nodes"]), p["file"]) for p in written]
        console().print(table("partitions", ("part", "backend", "nodes", "file"), rows))

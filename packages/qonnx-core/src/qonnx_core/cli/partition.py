"""`qonnx partition`: cut a model into the parts that backends build."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
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
    require_no_stdio,
    table,
)
from qonnx_core.cli.data import check_places, text_file
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

NAME = "partition"
LIST = "parts.json"
_PART = re.compile(r"\d+_[\w.-]+\.onnx(\.data|\.1\.data)?")
HELP = """Cut a model into parts by the rules of a split.yaml and write each part as a QONNX model of its own.

The names in the rules are those that `qonnx info` prints. A second run into the same folder replaces the parts of the
first, which stand in its parts.json; other files stay. Example split.yaml:

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
    from qonnx_core import plugins
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
    files = _write(output, {f"{part.name}.onnx": part.model for part in result.parts})
    written = [
        {"name": part.name, "backend": part.backend, "file": str(file), "nodes": list(part.nodes)}
        for part, file in zip(result.parts, files, strict=True)
    ]
    if json_output:
        print_json(written)
    else:
        rows = [(p["name"], p["backend"], len(p["nodes"]), p["file"]) for p in written]
        console().print(table("partitions", ("part", "backend", "nodes", "file"), rows))


def _write(folder: Path, models: Mapping[str, ir.Model]) -> list[Path]:
    """Write models into a folder, all or none, and return their files; those of the run before go, and no others.

    Raises:
        InvalidInput: the folder cannot be made or written, or a folder stands where a file is to be.
    """
    from qonnx_core import save
    from qonnx_core.formats.writer import check_target, disk_errors, write_whole

    is_new = not folder.exists()
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".parts.") as scratch:
                for name, model in models.items():
                    check_target(folder / name)
                    save(model, Path(scratch) / name)
                made = sorted(path.name for path in Path(scratch).iterdir())
                before = _listed(folder / LIST)
                write_whole(folder / LIST, _list_text({*before, *made}))
                for name in made:
                    os.replace(Path(scratch) / name, folder / name)
            for name in before.difference(made):
                (folder / name).unlink(missing_ok=True)
            write_whole(folder / LIST, _list_text(made))
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise
    return [folder / name for name in models]


def _list_text(names: Iterable[str]) -> bytes:
    return f"{json.dumps(sorted(names), indent=2)}\n".encode()


def _listed(file: Path) -> set[str]:
    """Return the names in a list of files that are names a part can have; none where there is no such list."""
    try:
        names = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    return {name for name in names if isinstance(name, str) and _PART.fullmatch(name)} if type(names) is list else set()

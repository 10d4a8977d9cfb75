"""What people read is as wide as it has to be, wherever it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

COMMAND = [sys.executable, "-c", "from qonnx_core.cli import main; main()"]


def said(*arguments: object, columns: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment |= {} if columns is None else {"COLUMNS": columns}
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_tables_in_a_pipe_have_one_line_a_row_and_heed_columns(model: Path) -> None:
    rows = json.loads(said("range", model, "--input-type", "INT4", "--json"))
    wide = said("range", model, "--input-type", "INT4")
    assert sum(line.startswith("│") for line in wide.splitlines()) == len(rows)
    assert all(row["name"] in wide for row in rows)
    narrow = said("range", model, "--input-type", "INT4", columns="60")
    assert max(len(line) for line in narrow.splitlines()) == 60


@pytest.mark.parametrize("columns", ["0", "many"])
def test_columns_that_are_no_width_are_not_heeded(columns: str, model: Path) -> None:
    assert said("info", model, columns=columns) == said("info", model)


def test_help_fills_the_width_and_shows_brackets() -> None:
    prune = said("prune", "--help", columns="100")
    assert "{tensor: {axis: [channels]}}" in prune
    paragraph = prune.split("By default", 1)[1].split("The file is", 1)[0]
    lines = [line.rstrip() for line in paragraph.strip().splitlines()]
    assert all(len(line) > 75 for line in lines[1:-1])
    quantize = said("quantize", "--help", columns="160")
    assert "     - match: {op_type: [Conv, MatMul, Gemm]}" in quantize
    assert sum(line.strip().startswith(("Examples: qonnx", "qonnx ")) for line in quantize.splitlines()) == 3


@pytest.mark.parametrize("command", [["run"], ["clean"], []])
def test_help_shows_no_type_behind_an_option_without_value(command: list[str]) -> None:
    shown = said(*command, "--help", columns="160")
    assert "--help" in shown
    assert "bool" not in shown
    assert "list[" not in shown


def test_names_of_a_model_are_no_markup(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1, 2] x) => (float[1, 2] y) { y = Relu(x) }'
    found = onnx.parser.parse_model(text)
    found.graph.input[0].name = found.graph.node[0].input[0] = "[red]in[/red]"
    onnx.save(found, tmp_path / "odd.onnx")
    assert "[red]in[/red]" in said("info", tmp_path / "odd.onnx")

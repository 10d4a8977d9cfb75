"""Names in a model file are shown, and steer neither terminals nor pages."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from qonnx_core.build.config import BuildConfig
from qonnx_core.build.context import Context
from qonnx_core.build.report import write_report
from qonnx_core.ir.printable import printable

COMMAND = [sys.executable, "-c", "from qonnx_core.cli import main; main()"]
HOSTILE = [
    *("\x1b]0;title\x07", "\x9b31m", "\x1b[31mred", "a\nerror: forged", "a\rb", "\x7f\0\v", "\u202eevil", "\u2066x"),
    *("[/x]", "[red]x[/red]", "node:a:0", ":smile:", "\u2028"),
    *("n" * 5000, "<script>alert(1)</script>", "$x^{$", "\ud55c"),
]  # fmt: skip
ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a chain of nodes whose names, and those of their tensors, are hostile; data for it lie beside it."""
    lines = " ".join(f"t{i + 1} = Relu(t{i})" for i in range(len(HOSTILE)))
    found = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> g (float[1, 4] t0) => (float[1, 4] t{len(HOSTILE)}) {{ {lines} }}'
    )
    names = {f"t{number}": f"{name}{number}" for number, name in enumerate(HOSTILE)} | {f"t{len(HOSTILE)}": "\x1b[2J"}
    for node, name in zip(found.graph.node, HOSTILE, strict=True):
        node.name = name
        node.input[:] = [names[tensor] for tensor in node.input]
        node.output[:] = [names[tensor] for tensor in node.output]
    for value in (*found.graph.input, *found.graph.output):
        value.name = names[value.name]
    onnx.save(found, tmp_path / "hostile.onnx")
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    return tmp_path / "hostile.onnx"


def said(*arguments: object) -> str:
    """Return what a command says on both streams."""
    done = subprocess.run(
        [*COMMAND, *(str(argument) for argument in arguments)], env={**os.environ, "COLUMNS": "6000"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.stdout.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("info",),
        ("cost",),
        ("range",),
        ("run", "--data", "x.npy", "--intermediate", "*"),
        ("run", "--data", "x.npy", "--intermediate", "none"),
        ("run", "--data", "x.npy", "--intermediate", "none", "--debug"),
        ("stats", "--data", "x.npy", "--as-stored"),
        ("transform", "--pass", "infer_datatypes", "-o", "out.onnx"),
        ("diff", "hostile.onnx", "--data", "x.npy", "--names", "file"),
        ("clean", "--input-shape", "none=1,4"),
        ("clean", "-o", "[/x] :a: \x1b[2J.onnx"),
    ],
)
def test_names_do_not_steer_the_terminal(
    arguments: tuple[str, ...], hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile.parent)
    shown = said(arguments[0], hostile, *arguments[1:])
    assert not {character for character in shown if unicodedata.category(character) in ACTING} - {"\n"}
    assert not any(line.startswith("error: forged") for line in shown.splitlines())
    if "--debug" not in arguments:
        assert "Traceback" not in shown
    if "*" in arguments or "--as-stored" in arguments:
        assert all(name in shown for name in ("[red]x[/red]", "node:a:0", ":smile:"))


def test_what_is_not_printed_is_written_as_in_python() -> None:
    assert printable("a\x1b[2J\u202e\nb\ud800") == r"a\x1b[2J\u202e\nb\ud800"
    assert printable("weights (Conv): \u540d\u524d; reasons\n  - one\n  - two\n3") == (
        "weights (Conv): \u540d\u524d; reasons\n  - one\n  - two\\n3"
    )


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_names_that_the_encoding_lacks_are_escaped(
    environment: dict[str, str], hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert r"\ud55c" in said("stats", hostile, "--data", hostile.with_name("x.npy"), "--as-stored")
    shown = said("clean", hostile, "-o", hostile.with_name("caf\xe9.onnx"))
    assert " nodes before, " in shown
    assert "Traceback" not in shown


def test_plots_of_hostile_names_are_of_one_size(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(hostile.parent)
    assert "Warning" not in said("stats", hostile, "--data", "x.npy", "--as-stored", "--plots", "plots")
    assert len(list(Path("plots").iterdir())) == len(HOSTILE) + 1


def test_a_report_shows_hostile_names_as_text(tmp_path: Path) -> None:
    context = Context(BuildConfig(source=tmp_path / "<b>m.onnx", output=tmp_path))
    context.running, context.error = "load", f"node {' '.join(HOSTILE)}: found none.\n  - a reason"
    write_report(context, (), ())
    page = (tmp_path / "report.html").read_text()
    assert "\n  - a reason" in page
    assert not {character for character in page if unicodedata.category(character) in ACTING} - {"\n"}
    assert "<script" not in page
    assert "<b>m" not in page

"""Runs `qonnx` commands on damaged files, with options drawn at random, and looks for what is handled wrongly.

``python -m qonnx_core.testing.command_fuzzing --runs 200`` runs that many cases, ``--minutes 5`` runs for that long.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from qonnx_core.cli.app import app
from qonnx_core.testing.fuzz_seeds import seed_models
from qonnx_core.testing.fuzzing import write_case
from qonnx_core.testing.mutations import mutate_bytes

EXIT_CODES = frozenset((0, 1, 2, 3, 4))
"""Done, refused, wrong command line, results differ, tool missing or failed; nothing else is an answer."""
_HEADERS = (
    ("<f4", "False", "(1, 4)"),
    ("<f4", "True", "(2, 4)"),
    (">f4", "False", "(1, 4)"),
    ("<f8", "False", "(1099511627776, 4)"),
    ("<f4", "False", "(9223372036854775807, 9223372036854775807)"),
    ("<f4", "False", "(0, 9223372036854775807)"),
    ("<f4", "False", "(-1, 4)"),
    ("|O", "False", "(1, 4)"),
    ("V4096", "False", "(1,)"),
    ("<U4", "False", "(1, 4)"),
    ("<c8", "False", "(1, 4)"),
    ("<M8[s]", "False", "(1, 4)"),
)
_CONFIGS = (
    "",
    "7",
    "[1, 2]",
    "a: [",
    "a: 1\na: 2",
    '{"a": 1, "a": 2}',
    '{"a": 1e400}',
    "!!python/object/apply:os.system ['exit 7']",
    "a: &a\n  b: *a",
    "a: 2001-99-99",
    "[{}]: 1",
    "a\0b",
    "x: .nan",
    "a: " + "9" * 5000,
    "[" * 3000,
    "[" * 3000 + "]" * 3000,
    "a0: &a0 [x, x]\n" + "\n".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}, *a{i}]" for i in range(30)),
)


def write_array(file: Path, generator: random.Random) -> None:
    """Write an .npy or .npz that is right, cut off, damaged, or holds what no model takes."""
    kind, fortran, shape = generator.choice(_HEADERS)
    header = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(generator.choice((32, 0, 5)))
    if generator.random() < 0.4:
        whole = io.BytesIO()
        np.save(whole, np.zeros((3, 4), np.float32))
        content = whole.getvalue()
    if generator.random() < 0.3:
        content = mutate_bytes(content, generator)
    if file.suffix == ".npz":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(generator.choice(("x.npy", "global_in.npy", "../x.npy", "x", "x\x1b[31m.npy")), content)
        content = packed.getvalue()
        if generator.random() < 0.3:
            content = mutate_bytes(content, generator)
    file.write_bytes(content)


def command_line(generator: random.Random) -> list[str]:
    """Return a command with options as somebody would give them; files are `m.onnx`, `x.*`, `c.*`, and `out/`."""
    data = generator.choice(("x.npz", "x.npy"))
    config = generator.choice(("c.yaml", "c.json"))
    size = generator.choice(("1", "3", "0", "-1", "N", "1,4", "99999999999", "x"))
    grid = generator.choice(("INT8", "UINT8*1/255", "FIXED<8,2>", "INT0", "FLOAT32", "INT99999", "", "x=INT4"))
    form = generator.choice(("qcdq", "quant", "plain", "functions", "none"))
    lines: tuple[list[str], ...] = (
        ["info", "m.onnx"],
        ["cost", "m.onnx"],
        ["range", "m.onnx", "--input-type", grid],
        ["range", "m.onnx", "--input-range", generator.choice(("-1,1", "1,-1", "nan,0", "0,inf", "x"))],
        ["clean", "m.onnx", "-o", "out/y.onnx", *generator.choice(([], ["--batch-size", size], ["--channels-last"]))],
        ["clean", "m.onnx", "-o", "out/y.onnx", "--input-shape", size, "--with-functions"],
        ["convert", "m.onnx", "-o", "out/y.onnx", "--to", form],
        ["convert", "m.onnx", "-o", "out/y.onnx", "--opset", generator.choice(("9", "13", "21", "23", "99", "-1"))],
        ["run", "m.onnx", "--data", data, "-o", generator.choice(("out/y.npz", "out/y.npy"))],
        ["run", "m.onnx", "--data", data, "--batch-size", size, "--samples", generator.choice(("1", "2", "0"))],
        ["diff", "m.onnx", "m.onnx", "--data", data],
        ["stats", "m.onnx", "--data", data, "--samples", "1"],
        ["partition", "m.onnx", "--rules", config, "-o", "out/parts"],
        ["build", "m.onnx", "--folding", config, "--input-type", grid, "-o", "out/build", "--steps", "fold"],
        ["prune", "m.onnx", "-o", "out/y.onnx", *generator.choice((["--channels", config], ["--zero-channels"]))],
        ["quantize", "m.onnx", "-o", "out/y.onnx", "--config", config, "--data", data],
        ["quantize", "m.onnx", "-o", "out/y.onnx", "--fixed-point", grid],
        ["transform", "m.onnx", "-o", "out/y.onnx", "--pass", generator.choice(("fold_constants", "none", "a:b=c"))],
    )
    return [*generator.choice(lines), *generator.choice(([], ["--json"]))]


def run_command(case: int, folder: Path) -> str | None:
    """Run the command of a case in its folder, which is empty; return what was handled wrongly, or None."""
    generator = random.Random(case)  # noqa: S311
    write_case(case, folder, seed_models())
    for name in ("x.npy", "x.npz"):
        write_array(folder / name, generator)
    for name in ("c.yaml", "c.json"):
        (folder / name).write_text(generator.choice(_CONFIGS), "utf-8")
    (folder / "out").mkdir(exist_ok=True)
    before = _listing(folder)
    arguments = command_line(generator)
    start, back = time.monotonic(), Path.cwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(app, arguments)
    finally:
        os.chdir(back)
    where = f"case {case}: qonnx {' '.join(arguments)}"
    if result.exc_info is not None and not isinstance(result.exception, SystemExit | type(None)):
        return f"{where}: {''.join(traceback.format_exception(*result.exc_info))}"
    if result.exit_code not in EXIT_CODES or "Traceback" in result.output:
        return f"{where}: ends with {result.exit_code}: {result.output}"
    if "\x1b" in result.output:
        return f"{where}: prints an escape character: {result.output!r}"
    if time.monotonic() - start > 20:
        return f"{where}: took {time.monotonic() - start:.0f} s"
    after = _listing(folder)
    if {name: size for name, size in after.items() if not name.startswith("out/")} != before:
        return f"{where}: changed files outside of its output: {sorted(after.keys() ^ before.keys())}"
    left = [name for name in after if name.startswith("out/")]
    if left and result.exit_code in (1, 2) and arguments[0] not in ("build",):
        return f"{where}: was refused and left {left}"
    return None


def _listing(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.lstat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_symlink() or file.is_file()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases from the command line; print what was handled wrongly, and return 1 where something was."""
    parser = argparse.ArgumentParser(description="Run commands on damaged files and look for wrong handling.")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--runs", type=int, default=None, help="number of cases")
    parser.add_argument("--minutes", type=float, default=None, help="time after which no further case starts")
    given = parser.parse_args(arguments)
    runs = given.runs if given.runs is not None or given.minutes is not None else 200
    end = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    case, wrong = given.first, 0
    while (runs is None or case < given.first + runs) and (end is None or time.monotonic() < end):
        with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
            found = run_command(case, Path(folder))
        if found is not None:
            wrong += 1
            print(found, flush=True)  # noqa: T201
        case += 1
    print(f"{case - given.first} commands, {wrong} handled wrongly")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

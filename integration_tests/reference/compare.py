"""Compares this project with PyPI qonnx 1.0.0 on graphs and trained models; writes the table of the documentation.

``python integration_tests/reference/compare.py --python ENV/bin/python [--table docs/reference-comparison.md]``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from corpus import Array, Case, cases
from trained import shared_models, shipped_models

import qonnx_core
from qonnx_core.verify import compare_outputs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a case: ``equal``, ``rounding``, ``boundary``, ``ours is right``, or what is wrong."""

    case: Case
    result: str
    detail: str = ""

    @property
    def good(self) -> bool:
        """Whether it is what the case expects."""
        wanted = {
            "equal": {"equal"},
            "rounding": {"equal", "rounding", "boundary"},
            "reference is wrong": {"ours is right"},
        }
        return self.result in wanted[self.case.expected]


def compare(found: Sequence[Case], python: str, folder: Path) -> list[Outcome]:
    """Return the outcome of each case; files go through the folder, qonnx runs with the given Python."""
    for case in found:
        qonnx_core.save(case.model, folder / f"{case.name}.onnx")
        np.savez(folder / f"{case.name}.npz", **case.inputs)
        for name, model in case.files.items():
            qonnx_core.save(model, folder / name)
    script = Path(__file__).parent / "in_qonnx.py"
    done = subprocess.run(
        [python, "-I", str(script), str(folder)], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{python}: PyPI qonnx did not run:\n{done.stderr[-2000:]}")
    return [_outcome(case, folder) for case in found]


def _outcome(case: Case, folder: Path) -> Outcome:
    ours = qonnx_core.compile_model(qonnx_core.load(folder / f"{case.name}.onnx")).run(case.inputs)
    output = folder / f"{case.name}.out.npz"
    error = folder / f"{case.name}.error.txt"
    theirs = dict(np.load(output)) if output.exists() else {}
    if case.expected == "reference is wrong":
        if not all(_same(ours[name], right) for name, right in case.oracle.items()):
            return Outcome(case, "ours is wrong", f"{ours} instead of {case.oracle}")
        wrong = any(name not in theirs or not _same(theirs[name], right) for name, right in case.oracle.items())
        return Outcome(case, "ours is right" if wrong else "both are right")
    if not theirs:
        lines = error.read_text("utf-8").strip().splitlines() if error.exists() else ["no output"]
        return Outcome(case, "the reference fails", lines[-1])
    if all(_same(ours[name], theirs[name]) for name in ours):
        return _back(case, folder, ours) or Outcome(case, "equal")
    if case.expected == "rounding":
        check = compare_outputs(case.model, case.inputs, theirs, left="PyPI qonnx", right="qonnx-core")
        kind = "different" if check.mismatch else "boundary" if check.boundary else "rounding"
        return _back(case, folder, ours) or Outcome(case, kind, str(check) if check.mismatch else "")
    name = next(name for name in ours if not _same(ours[name], theirs[name]))
    return Outcome(case, "different", _first(ours[name], theirs[name]))


def _back(case: Case, folder: Path, ours: dict[str, Array]) -> Outcome | None:
    """Return what is wrong with reading what the reference wrote, or None."""
    file = folder / f"{case.name}.back.onnx"
    if not file.exists():
        error = (folder / f"{case.name}.error.txt").read_text("utf-8").strip().splitlines()[-1]
        return Outcome(case, "the reference cannot write it", error)
    try:
        compiled = qonnx_core.compile_model(qonnx_core.load(file))
    except qonnx_core.QonnxError as refusal:
        return Outcome(case, "refused after the way back", str(refusal))
    again = compiled.run(dict(zip(compiled.input_names, case.inputs.values(), strict=True)))
    for found, wanted in zip(again.values(), ours.values(), strict=True):
        if not _same(found, wanted):
            return Outcome(case, "different after the way back", _first(found, wanted))
    return None


def _same(left: Array, right: Array) -> bool:
    """Return whether two arrays are the same to the bit; zeros of both signs are the same, and so is every NaN."""
    alike = left.shape == right.shape and left.dtype == right.dtype
    return alike and bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))


def _first(left: Array, right: Array) -> str:
    if left.shape != right.shape or left.dtype != right.dtype:
        return f"{left.dtype} {left.shape} and {right.dtype} {right.shape}"
    places = np.argwhere(~((left == right) | (np.isnan(left) & np.isnan(right))))
    place = tuple(int(index) for index in places[0])
    return f"at {place}, of {len(places)}: {left[place]} and {right[place]}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the page of the documentation."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.case.expected != "reference is wrong":
            groups.setdefault(outcome.case.group, []).append(outcome)
    lines = [
        "# Compared with PyPI qonnx 1.0.0",
        "",
        "Each graph below is written by `qonnx-core`, run by both, written again by PyPI `qonnx` (with names and",
        "data types of its own) and run once more by `qonnx-core`. `nox -s reference` does this, with PyPI `qonnx`",
        "1.0.0 in an environment of its own, and writes this page.",
        "",
        "*Equal* is the same bits, but for the sign of zero: PyPI `qonnx` adds a zero point of 0, which makes +0 of",
        "-0, and here nothing is added. *Rounding* and *boundary* are differences that float32 rounding explains,",
        "without and with a quantizer that may decide either way; they are possible only in networks of any numbers.",
        "Networks with exact sums are those in which every sum is exact in float32, in any order.",
        "",
        "| graphs | number | equal | rounding | boundary | different |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for group in sorted(groups):
        results = [outcome.result for outcome in groups[group]]
        counts = [results.count(kind) for kind in ("equal", "rounding", "boundary")]
        lines.append(f"| {group} | {len(results)} | {' | '.join(map(str, counts))} | {len(results) - sum(counts)} |")
    lines += [
        "",
        "Where PyPI `qonnx` is wrong, `qonnx-core` gives what the format says; an oracle in NumPy decides:",
        "",
    ]
    lines += ["| graph | PyPI qonnx 1.0.0 | qonnx-core |", "| --- | --- | --- |"]
    for outcome in outcomes:
        if outcome.case.expected == "reference is wrong":
            right = "right" if outcome.result in ("ours is right", "both are right") else "wrong"
            lines.append(f"| {outcome.case.name} | {outcome.case.reason} | {right} |")
    lines += ["", "What it gets wrong in passes and conversions has a test each, in", ""]
    lines[-2] += " `packages/qonnx-core/tests/test_reference_defects.py`."
    return "\n".join(lines[:-1]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare everything; return 1 where a case is not as expected."""
    parser = argparse.ArgumentParser(description="Compare with PyPI qonnx on a corpus.")
    parser.add_argument("--python", default=sys.executable, help="the Python that has qonnx 1.0.0")
    parser.add_argument("--table", type=Path, help="file for the page of the documentation")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = [*cases(), *shared_models(), *shipped_models(given.python)]
        outcomes = compare(found, given.python, Path(folder))
    bad = [outcome for outcome in outcomes if not outcome.good]
    for outcome in bad:
        print(f"{outcome.case.name} ({outcome.case.group}): {outcome.result}: {outcome.detail}")  # noqa: T201
    print(f"{len(outcomes)} graphs, {len(outcomes) - len(bad)} as expected")  # noqa: T201
    if given.table is not None:
        given.table.write_text(table(outcomes), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

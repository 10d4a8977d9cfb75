"""Draws what the other benchmarks left in a folder, and lists which targets are met.

nox -s benchmarks
python benchmarks/chart.py --results FOLDER [--markdown docs/benchmarks.md] [--image docs/images/benchmarks.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from measuring import Target, machine, markdown_table, versions, write_section
from rich.console import Console
from rich.table import Table

COLUMNS = ("target", "promised", "measured", "")
MET, MISSED, OTHER, LINE = "#2a7f62", "#b3402e", "#8a8f98", "#20242b"


def read(folder: Path) -> list[Target]:
    """Return the targets of all benchmarks, in the order of their files."""
    found = []
    for file in sorted(folder.glob("*.json")):
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        found += [Target(**target) for target in content["targets"]]
    return found


def draw(targets: list[Target], image: Path) -> None:
    """Write the chart: above how many times faster than the qonnx package, below the ratios that have to stay small."""
    faster = [target for target in targets if target.at_least]
    smaller = [target for target in targets if not target.at_least]
    rows = (len(faster) + 1, len(smaller) + 1)
    size = (11, 0.32 * sum(rows) + 1.6)
    figure, axes = plt.subplots(2, 1, figsize=size, height_ratios=rows, layout="constrained")
    _bars(axes[0], faster, "times faster than the qonnx package (logarithmic)")
    axes[0].set_xscale("log")
    _bars(axes[1], smaller, "ratio; the mark is the most it may be")
    figure.suptitle(f"{machine()}\n{versions(('qonnx-core', 'onnxruntime', 'onnx-ir'))}", fontsize=9)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=110, metadata={"Software": None})


def _bars(axes: Axes, targets: list[Target], label: str) -> None:
    places = range(len(targets))
    found = [target.found for target in targets]
    axes.barh(places, found, height=0.62, color=[MET if target.met else MISSED for target in targets])
    for place, target in zip(places, targets, strict=True):
        axes.plot([target.limit] * 2, [place - 0.42, place + 0.42], color=LINE, linewidth=2)
        axes.text(max(target.found, target.limit), place, f" {target.found:.3g}", va="center", fontsize=8)
    axes.set_yticks(list(places), [target.what for target in targets], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the chart and print the targets."""
    parser = argparse.ArgumentParser(description="Chart and targets of the benchmarks")
    parser.add_argument("--results", type=Path, required=True, help="folder that the benchmarks wrote into")
    parser.add_argument("--markdown", type=Path, help="page with a section for the targets")
    parser.add_argument("--image", type=Path, help="PNG file to write")
    options = parser.parse_args()
    targets = read(options.results)
    if not targets:
        raise SystemExit(f"{options.results}: holds no results; run the other benchmarks with --results first")
    rows = [target.cells() for target in targets]
    table = Table(title="Targets", title_justify="left")
    for column in COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console = Console(width=150)
    console.print(table)
    console.print(f"{sum(target.met for target in targets)} of {len(targets)} targets are met", highlight=False)
    if options.markdown:
        write_section(options.markdown, "targets", markdown_table(COLUMNS, rows))
    if options.image:
        draw(targets, options.image)


if __name__ == "__main__":
    main()

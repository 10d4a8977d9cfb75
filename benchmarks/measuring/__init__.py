"""What the benchmarks share: interleaved measurements of CPU time, and tables with machine and versions on top."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

Measured = Callable[[int], float]
"""Does something a number of times and returns the seconds of CPU time it took."""


def pin() -> None:
    """Keep this process and its children on one core, so that nobody is faster or slower by taking two."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """Let this process, and those that it starts meanwhile, use every core of the machine."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def local(run: Callable[[], object]) -> Measured:
    """Return how to measure a call in this process."""

    def measured(times: int) -> float:
        started = time.process_time()
        for _ in range(times):
            run()
        return time.process_time() - started

    return measured


def interleaved(
    candidates: Mapping[str, Measured], *, rounds: int = 15, seconds: float = 0.05, title: str = ""
) -> dict[str, float]:
    """Return the median seconds of CPU time that one call of each candidate takes.

    In every round each candidate runs once, for about ``seconds`` (at least one call), so that whatever else the
    machine does meets all of them alike; the order turns from round to round. Calls before the first round are not
    counted.
    """
    calls: dict[str, int] = {}
    for name, run in candidates.items():
        once = run(1)
        if once < seconds:
            once = run(1)
        calls[name] = max(1, int(seconds / max(once, 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        order = list(candidates.items())
        for name, run in order[number % len(order) :] + order[: number % len(order)]:
            found[name].append(run(calls[name]) / calls[name])
        progress(f"{title}: round {number + 1} of {rounds}")
    return {name: statistics.median(times) for name, times in found.items()}


def progress(text: str) -> None:
    """Say on standard error what is being measured."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"  {text:<90}", end=end, file=sys.stderr, flush=True)


def text_of_time(seconds: float) -> str:
    """Return a duration with a fitting unit and three digits."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def machine() -> str:
    """Return processor, number of cores, system and Python version."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"^model name\s*: (.*)$", information.read_text(), re.MULTILINE)
        model = found.group(1).strip() if found else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def versions(distributions: Sequence[str]) -> str:
    """Return names and versions of installed distributions; one with a version already stays as it is."""
    return ", ".join(
        name if " " in name else f"{name} {importlib.metadata.version(name)}" for name in distributions
    )  # fmt: skip


def arguments(description: str) -> argparse.Namespace:
    """Return what every benchmark takes on its command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few rounds and small models: does it run at all")
    parser.add_argument("--markdown", type=Path, help="page whose sections of these names are replaced by the tables")
    parser.add_argument("--results", type=Path, help="folder for the numbers, from which chart.py draws")
    parser.add_argument(
        "--reference", default=sys.executable, help="Python that has the qonnx package; by default this one"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Target:
    """A number that was promised, and what was measured; met where it is on the right side."""

    what: str
    found: float
    limit: float
    at_least: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of a table."""
        sign = "at least" if self.at_least else "at most"
        return (
            self.what,
            f"{sign} {self.limit:g}{self.unit}",
            f"{self.found:.3g}{self.unit}",
            "met" if self.met else "not met",
        )


@dataclass
class Result:
    """A table of one benchmark; the first column is text, the others are numbers with units."""

    key: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]]
    distributions: Sequence[str]
    note: str = ""
    targets: list[Target] = field(default_factory=list)

    def show(self, options: argparse.Namespace) -> None:
        """Print the table with machine and versions on top; write it into a page and a folder where these are given."""
        if sys.stderr.isatty():
            print(" " * 94, end="\r", file=sys.stderr)
        console = Console(width=150)
        table = Table(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(f"{machine()}\n{versions(self.distributions)}", highlight=False)
        console.print(table)
        for target in self.targets:
            console.print("target: {}, {}: {} - {}".format(*target.cells()), highlight=False)
        if options.markdown:
            source = f"*{machine()}; {versions(self.distributions)}.*"
            write_section(
                options.markdown, self.key, f"{markdown_table(self.columns, self.rows)}{self._note()}\n\n{source}"
            )
        if options.results:
            options.results.mkdir(parents=True, exist_ok=True)
            content = {
                "title": self.title,
                "columns": self.columns,
                "rows": self.rows,
                "targets": [vars(target) for target in self.targets],
            }
            (options.results / f"{self.key}.json").write_text(json.dumps(content, indent=1), "utf-8")

    def _note(self) -> str:
        return f"\n\n{self.note}" if self.note else ""


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown, all columns but the first aligned to the right."""
    lines = (columns, ["---", *("---:" for _ in columns[1:])], *rows)
    return "\n".join(" | ".join(cells).join(("| ", " |")) for cells in lines)


def write_section(page: Path, key: str, body: str) -> None:
    """Replace what stands between the marks of this name in the page."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    text = page.read_text("utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"{page}: has no lines {begin} and {end} to put the table between")
    before, rest = text.split(begin, 1)
    page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end, 1)[1]}", "utf-8")

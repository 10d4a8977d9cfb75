"""What the benchmarks share: interleaved measurements, and tables with machine and versions on top."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


def interleaved(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 15, seconds: float = 0.05
) -> dict[str, float]:
    """Return the median seconds of one call of each candidate.

    In every round each candidate runs once, for about ``seconds`` (at least one call), so that whatever else the
    machine does meets all of them alike; the order turns from round to round. Calls before the first round are not
    counted.
    """
    calls: dict[str, int] = {}
    for name, run in candidates.items():
        started = time.perf_counter()
        run()
        once = time.perf_counter() - started
        if once < seconds:
            started = time.perf_counter()
            run()
            once = time.perf_counter() - started
        calls[name] = max(1, int(seconds / max(once, 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        order = list(candidates.items())
        for name, run in order[number % len(order) :] + order[: number % len(order)]:
            started = time.perf_counter()
            for _ in range(calls[name]):
                run()
            found[name].append((time.perf_counter() - started) / calls[name])
    return {name: statistics.median(times) for name, times in found.items()}


def seconds_of(run: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def text_of_time(seconds: float) -> str:
    """Return a duration with a fitting unit and three digits."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def machine() -> str:
    """Return processor, number of usable cores, system and Python version."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"^model name\s*: (.*)$", information.read_text(), re.MULTILINE)
        model = found.group(1).strip() if found else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def versions(distributions: Sequence[str]) -> str:
    """Return names and versions of installed distributions."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)


@dataclass
class Result:
    """A table of one benchmark; the first column is text, the others are numbers with units."""

    key: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]]
    distributions: Sequence[str]
    note: str = ""

    def show(self) -> None:
        """Print the table with machine and versions on top; with ``--markdown FILE`` also put it into that page."""
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--markdown", type=Path, help="page whose section of this name is replaced by the table")
        arguments = parser.parse_args()
        console = Console(width=140)
        table = Table(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(f"{machine()}\n{versions(self.distributions)}", highlight=False)
        console.print(table)
        if arguments.markdown:
            self._write(arguments.markdown)

    def _write(self, page: Path) -> None:
        lines = [
            " | ".join(cells).join(("| ", " |"))
            for cells in (
                self.columns,
                ["---", *("---:" for _ in self.columns[1:])],
                *self.rows,
            )
        ]
        note = f"\n\n{self.note}" if self.note else ""
        body = "\n".join(lines) + f"{note}\n\n*{machine()}; {versions(self.distributions)}.*"
        begin, end = f"<!-- begin {self.key} -->", f"<!-- end {self.key} -->"
        text = page.read_text("utf-8")
        if begin not in text or end not in text:
            raise SystemExit(f"{page}: has no lines {begin} and {end} to put the table between")
        before, rest = text.split(begin, 1)
        page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end, 1)[1]}", "utf-8")

"""Draws the statistics of tensors; needs matplotlib, the optional extra ``plots``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qonnx_core.analyses.statistics import TensorStatistics
from qonnx_core.errors import InvalidInput, ToolMissing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_NAME = 80
_MAX_BARS = 64


def file_names(names: Iterable[str], suffix: str = ".png") -> dict[str, str]:
    """Return a file name for each tensor: letters, digits, ``_``, ``-`` and inner dots of its name alone.

    A name that had to be changed or cut also carries a hash of the tensor's name, so that no two are the same, also
    where the file system takes small and capital letters for equal.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:_MAX_NAME]
        if not plain or plain != name or plain.lower() in taken:
            plain = f"{plain or 'tensor'}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        taken.add(plain.lower())
        found[name] = plain + suffix
    return found


def write_plots(statistics: Mapping[str, TensorStatistics], folder: Path) -> dict[str, Path]:
    """Draw a histogram and the ranges of the channels of each tensor into a PNG file; return the files by tensor.

    Raises:
        ToolMissing: matplotlib is not installed.
        InvalidInput: the folder cannot be made or written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolMissing(
            "plots: matplotlib is not installed; expected it. Install qonnx-core[plots], or leave the plots out."
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"{folder}: cannot be made ({error.strerror}); expected a folder for the plots. Choose another."
        ) from error
    written: dict[str, Path] = {}
    for name, file in file_names(statistics).items():
        found = statistics[name]
        many = found.channels is not None and len(found.channels.minimum) > 1
        figure = Figure(figsize=(6, 7 if many else 3.5), layout="constrained")
        axes = figure.subplots(2 if many else 1, 1, squeeze=False)[:, 0]
        _draw_histogram(axes[0], found)
        if many:
            _draw_channels(axes[1], found)
        written[name] = folder / file
        figure.savefig(written[name], dpi=100, metadata={"Software": None})
    return written


def _text(name: str) -> str:
    """Return a name as matplotlib shows it, without the mathematics that dollars would begin."""
    return name.replace("$", r"\$")


def _draw_histogram(axes: Axes, found: TensorStatistics) -> None:
    if found.levels is not None and len(found.levels) <= _MAX_BARS:
        positions = list(found.levels)
        gaps = np.diff(positions)
        axes.bar(positions, list(found.levels.values()), width=0.8 * float(gaps.min()) if gaps.size else 0.8)
    else:
        bins = found.bins
        starts = bins.start + bins.width * np.arange(len(bins.counts))
        axes.bar(starts, bins.counts, width=bins.width or 0.8, align="edge")
    axes.set_yscale("log")
    axes.set_ylabel("count")
    total = found.total
    zeros = 100 * total.zeros[0] / max(1, found.elements)
    title = (
        f"{_text(found.name)} ({found.op_type})\nmean {total.mean[0]:.4g}, std {total.std[0]:.4g}, zeros {zeros:.3g} %"
    )
    if found.saturation is not None:
        share = 100 * (found.saturation.at_low + found.saturation.at_high) / max(1, found.elements)
        title += f", at an end {share:.3g} %"
    axes.set_title(title, fontsize=9)


def _draw_channels(axes: Axes, found: TensorStatistics) -> None:
    moments = found.channels
    assert moments is not None
    numbers = np.arange(len(moments.minimum))
    mean, std = np.asarray(moments.mean), np.asarray(moments.std)
    axes.fill_between(numbers, moments.minimum, moments.maximum, step="mid", alpha=0.25, label="min to max")
    axes.fill_between(numbers, mean - std, mean + std, step="mid", alpha=0.5, label="mean ± std")
    axes.plot(numbers, mean, drawstyle="steps-mid", label="mean")
    axes.set_xlabel("channel")
    axes.set_ylabel("value")
    axes.legend(fontsize=8)

"""Draws the statistics of tensors; needs matplotlib, the optional extra ``plots``."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qonnx_core.analyses.statistics import TensorStatistics
from qonnx_core.errors import InvalidInput, ToolMissing
from qonnx_core.formats.writer import write_whole
from qonnx_core.ir.printable import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_NAME = 80
_MAX_BARS = 64
_LARGEST = 1e300


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
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a box is drawn for a letter that the font lacks
            figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
        write_whole(written[name], content.getvalue())
    return written


def _text(name: str) -> str:
    """Return a name that fits above a plot."""
    return shortened(printable(name), _MAX_NAME)


def _draw_histogram(axes: Axes, found: TensorStatistics) -> None:
    unit = _unit(axes, "x", (found.total.minimum, found.total.maximum))
    edge = found.levels is None or len(found.levels) > _MAX_BARS
    if found.levels is None or edge:
        step = found.bins.width / unit
        positions = found.bins.start / unit + step * np.arange(len(found.bins.counts))
        counts, width = list(found.bins.counts), step or 0.8
    else:
        positions, counts = np.asarray(list(found.levels), np.float64) / unit, list(found.levels.values())
        width = 0.8 * float(np.diff(positions).min()) if positions.size > 1 else 0.8
    span = float(np.ptp(positions)) if positions.size else 0.0
    # a bar of at least a pixel, however close two levels are
    axes.bar(positions, counts, width=max(width, span / _MAX_BARS / 4), align="edge" if edge else "center")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)  # a count of 1 is a bar too
    axes.set_ylabel("count")
    total = found.total
    zeros = 100 * total.zeros[0] / max(1, found.elements)
    title = f"{_text(found.name)} ({_text(found.op_type)})\n"
    if found.elements > found.nans + found.infinities:
        title += f"mean {total.mean[0]:.4g}, std {total.std[0]:.4g}, zeros {zeros:.3g} %"
    else:
        title += "no finite number"
    if found.saturation is not None:
        share = 100 * (found.saturation.at_low + found.saturation.at_high) / max(1, found.elements)
        title += f", at an end {share:.3g} %"
    if found.nans or found.infinities:
        title += f", {found.nans} NaN, {found.infinities} infinite"
    axes.set_title(title, fontsize=9, parse_math=False)


def _unit(axes: Axes, axis: str, ends: tuple[tuple[float, ...], tuple[float, ...]]) -> float:
    """Return 1, or what to divide numbers by that are too large to draw; the axis then says so."""
    if not np.nanmax(np.abs(ends), initial=0) > _LARGEST:
        return 1.0
    axes.set(**{f"{axis}label": "value / 1e100"})
    return 1e100


def _draw_channels(axes: Axes, found: TensorStatistics) -> None:
    from matplotlib.ticker import MaxNLocator

    moments = found.channels
    assert moments is not None
    axes.set_ylabel("value")
    ends = (moments.minimum, moments.maximum)
    unit = _unit(axes, "y", ends)
    mean, std = np.asarray(moments.mean) / unit, np.asarray(moments.std) / unit
    edges = np.arange(len(mean) + 1) - 0.5

    def steps(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.append(numbers, numbers[-1:])  # the last channel is as wide as the others

    low, high = (steps(np.asarray(end) / unit) for end in ends)
    axes.fill_between(edges, low, high, step="post", alpha=0.25, label="min to max")
    axes.fill_between(edges, steps(mean - std), steps(mean + std), step="post", alpha=0.5, label="mean ± std")
    axes.plot(edges, steps(mean), drawstyle="steps-post", label="mean")
    axes.set_xlabel("channel")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="best" if len(mean) <= _MAX_BARS else "upper right")

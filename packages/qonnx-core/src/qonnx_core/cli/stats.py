"""`qonnx stats`: what the tensors hold over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    console,
    print_json,
    read_and_clean,
    read_model,
    require_no_stdio,
    table,
)
from qonnx_core.cli.data import (
    AllowNanOption,
    BatchSizeOption,
    CenterOption,
    PixelsOption,
    Preparation,
    SamplesOption,
    TensorsOption,
    check_places,
    checked,
    data_file,
    members_of,
    shown_progress,
)

NAME = "stats"
HELP = """Run a model over a data set and show what its tensors hold: range, mean, zeros, saturation, levels in use.

The model is cleaned first, so that every tensor has a name; memory is that of one batch. With --json every channel
and a histogram are there too. Example: qonnx stats model.onnx --data images.npz --plots plots"""


def command(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", help="An .npz or .npy with the inputs; - is standard input.")],
    tensor: TensorsOption = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", help="Write a PNG for each tensor into this folder; needs matplotlib.")
    ] = None,
    batch: BatchSizeOption = None,
    as_stored: Annotated[
        bool, typer.Option("--as-stored", help="Take the model with the names in its file, not cleaned.")
    ] = False,
    pixels: PixelsOption = False,
    center: CenterOption = False,
    limit: SamplesOption = None,
    allow_nan: AllowNanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Collect statistics."""
    from qonnx_core.analyses.statistics import Collector

    check_places(model, data)
    require_no_stdio(plots, "--plots", "a folder for the plots")
    how = Preparation(pixels=pixels, center=center, allow_nan=allow_nan)
    original, graph = (read_model(model),) * 2 if as_stored else read_and_clean(model)
    with data_file(data) as file:
        members = members_of(file, original, graph)
        collector = Collector(graph, tensor or None)
        done = 0
        count = file.count(members) if limit is None else min(limit, file.count(members))
        with shown_progress(count, "stats") as advance:
            for part in file.rows(members, batch or collector.batch_size, count):
                inputs = checked(part, done, how)
                collector.add(collector.compiled.run(inputs))
                samples = next((len(array) for array in inputs.values() if array.ndim), 1)
                done += samples
                advance(samples)
    found = collector.statistics()
    files: dict[str, Path] = {}
    if plots is not None:
        from qonnx_core.analyses.plots import write_plots

        files = write_plots(found, plots)
    rows = [row.to_dict() for row in found.values()]
    for row in rows:
        row["plot"] = str(files[row["name"]]) if row["name"] in files else None
    if json_output:
        print_json({"samples": done, "tensors": rows})
        return
    out = console()
    columns = ("tensor", "made by", "min", "max", "mean", "std", "zeros", "at an end", "levels")
    odd = {key: name for key, name in (("nans", "NaN"), ("infinities", "infinite")) if any(row[key] for row in rows)}
    cells = [(*_cells(row), *(_share(row[key], row) if row[key] else "" for key in odd)) for row in rows]
    out.print(table(f"{len(rows)} tensors over {done} samples", (*columns, *odd.values()), cells))
    if plots is not None:
        out.print(f"{len(files)} plots in {plots}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    ends = row["saturation"]
    share = "" if ends is None else _share(ends["at_low"] + ends["at_high"], row)
    numbers = ("" if row[key] is None else f"{row[key]:.5g}" for key in ("min", "max", "mean", "std"))
    levels = "" if row["levels"] is None else str(len(row["levels"]))
    return row["name"], row["op_type"], *numbers, _share(row["zeros"], row), share, levels


def _share(count: int, row: dict[str, Any]) -> str:
    return f"{count / max(1, row['elements']):.2%}"

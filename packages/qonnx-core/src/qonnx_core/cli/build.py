"""`qonnx build`: from a model to verified, synthesized hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from qonnx_core.cli.common import (
    InputTypeOption,
    JsonOption,
    ModelArgument,
    console,
    input_types,
    print_json,
    require_no_stdio,
    table,
)
from qonnx_core.errors import InvalidInput

NAME = "build"
INTERRUPTED = "interrupted; finished steps are kept, the same command goes on from there"
HELP = """Build a model into hardware: partition, integer form, RTL, emulation, simulation, synthesis, report.

Every step is compared bit for bit with the one before; the first mismatch stops the build. Run again after an
interruption, or with other options: steps whose inputs have not changed are kept.

Example: qonnx build TFC_1W2A.onnx --backend finn --input-type 'UINT8*1/255' --data mnist.npz -o out/"""


def command(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the build.")],
    backend: Annotated[
        str | None, typer.Option("--backend", help="finn, hls4ml, or mixed. Default: mixed with --rules, else finn.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="split.yaml: which nodes go to which backend (with --backend mixed).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help=".npz: inputs by name or `x`, expected outputs `y`, optional `labels`."),
    ] = None,
    input_type: InputTypeOption = None,
    folding: Annotated[Path | None, typer.Option("--folding", help="Folding JSON in FINN's form.")] = None,
    target_fps: Annotated[float | None, typer.Option("--target-fps", help="Fold for this frame rate.")] = None,
    target_cycles: Annotated[
        int | None, typer.Option("--target-cycles", help="Fold for at most this many cycles a frame.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="The device, e.g. xc7z020 or LFE5U-85F.")] = "xc7z020",
    clock_ns: Annotated[float, typer.Option("--clock-ns", help="Clock period in ns.")] = 10.0,
    synthesize: Annotated[
        list[str] | None,
        typer.Option(
            "--synthesize", metavar="FAMILY", help="xc7 or ecp5; may be repeated. Default: the part's family."
        ),
    ] = None,
    label_select: Annotated[
        bool, typer.Option("--label-select", help="Let the hardware output the index of the largest logit.")
    ] = False,
    samples: Annotated[int | None, typer.Option("--samples", help="Use at most this many samples.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sample that is made without --data.")] = 0,
    steps: Annotated[
        str | None, typer.Option("--steps", help="Comma-separated step names: stop after the last of them.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Build a model."""
    from qonnx_core.build import Build, BuildConfig
    from qonnx_core.build.config import MIXED
    from qonnx_core.cli.progress import shown

    require_no_stdio(model, "model", "a file, because a build that goes on reads it again")
    require_no_stdio(output, "--output", "a folder for the build")
    try:
        config = BuildConfig(
            source=model,
            output=output,
            backend=(MIXED if rules else "finn") if backend is None else backend,
            rules=rules,
            data=data,
            input_types=input_types(input_type),
            folding=folding,
            target_fps=target_fps,
            target_cycles=target_cycles,
            part=part,
            clock_ns=clock_ns,
            synthesize=tuple(synthesize or ()),
            label_select=label_select,
            samples=samples,
            seed=seed,
            steps=() if steps is None else tuple(name.strip() for name in steps.split(",")),
        )
    except ValidationError as error:
        raise InvalidInput("; ".join(_option_error(found) for found in error.errors())) from error
    with shown() as listener:
        report = Build(config).run(listener)
    if json_output:
        print_json(report)
    else:
        console().print(summary(report))
        console().print(f"report: {output / 'report.html'}")


def _option_error(found: Mapping[str, Any]) -> str:
    """Return what is wrong with an option, under the name that it has on the command line."""
    said = found["msg"].removeprefix("Value error, ")
    if not found["loc"]:
        return f"options: {said}."
    return f"--{str(found['loc'][0]).replace('_', '-')}: found {found['input']!r}; {said[0].lower()}{said[1:]}."


def summary(report: dict[str, Any]) -> Any:
    """Return the table of a report's headline numbers."""
    rows: list[tuple[object, object]] = [
        ("model", report["model"]),
        ("backend", report["backend"]),
        ("samples", report["samples"]),
        ("off the input grid", report["off_grid"]),
        ("mismatches", report["mismatches"]),
        ("boundary", report["boundary"]),
    ]
    for name in ("accuracy_framework", "accuracy_rtl", "latency_cycles", "initiation_interval_cycles"):
        if report.get(name) is not None:
            rows.append((name.replace("_", " "), report[name]))
    for family, found in report["resources"].items():
        rows.append((family, ", ".join(f"{kind} {count}" for kind, count in found.items())))
    return table("build", ("what", "result"), rows)

"""`qonnx quantize`: insert quantizers by rules, or round parameters onto a grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    output_option,
    print_json,
    read_and_clean,
    remarks_console,
    spoken,
    table,
    write_model,
)
from qonnx_core.cli.data import check_places, data_file, members_of, text_file
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.printable import shortened

if TYPE_CHECKING:
    import onnx_ir as ir
    from rich.console import Console

    from qonnx_core.passes.quantize.fixed_point_params import FixedPointQuantizeParams

NAME = "quantize"
HELP = """Put quantizers into a model by the rules of a YAML or JSON file, or round its parameters onto a grid.

The rules name nodes of the cleaned model (`qonnx info` shows them) by name or operator type, with globs, and for their
operands bits, scale, zero point and rounding. A scale is a number, a list with one per channel, `max` (from the values
of a constant), `data` (from the range on the samples of --data) or `product` (for a bias, that of the sum it goes
into). The result computes quantized values: other ones.

  quantize:
    - match: {op_type: [Conv, MatMul, Gemm]}
      weights: {bits: 4, scale: max, per_channel: true, narrow: true}
      input: {bits: 8, scale: data, power_of_two: true}

Examples: qonnx quantize model.onnx --config q.yaml --data samples.npz -o quantized.onnx
qonnx quantize model.onnx --fixed-point 'FIXED<16,6>' --op-type Add --op-type Mul --max-error 1e-3 -o fixed.onnx
qonnx quantize model.onnx --tensor 'Conv_*_param0=FIXED<8,2>' --tensor 'Gemm_*=INT8*2^-5' -o fixed.onnx"""


def command(
    model: ModelArgument,
    output: Annotated[Path, output_option()],
    config: Annotated[Path | None, typer.Option("--config", help="The rules, YAML or JSON; or -.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="An .npz or .npy, for `scale: data`; or -.")] = None,
    fixed_point: Annotated[
        str | None,
        typer.Option("--fixed-point", metavar="GRID", help="Round parameters: FIXED<16,6>, INT8, INT8*2^-4, ..."),
    ] = None,
    op_type: Annotated[
        list[str] | None,
        typer.Option(
            "--op-type",
            metavar="NAME",
            help="With --fixed-point: operators whose constants are rounded; default Add, Mul.",
        ),
    ] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option(
            "--tensor",
            metavar="NAME[=GRID]",
            help="Round parameters by name, a glob; onto a grid of their own, or that of --fixed-point.",
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option("--max-error", min=0, help="Refuse a larger error of a rounded parameter.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Quantize a model and write it."""
    names, grids = _named(tensor or [])
    rounds = fixed_point is not None or bool(grids)
    if (config is None) is not rounds:
        raise InvalidInput(
            "quantize: expected either --config with rules or --fixed-point with a grid (or --tensor NAME=GRID). "
            "Give one."
        )
    if fixed_point is None and (op_type or names or (max_error is not None and not rounds)):
        raise InvalidInput(
            "quantize: --op-type, --tensor NAME and --max-error belong to --fixed-point. Give it, or leave them out."
        )
    if config is None and data is not None:
        raise InvalidInput("quantize: --data belongs to --config, with rules that say `scale: data`. Leave it out.")
    check_places(model, *(place for place in (config, data) if place is not None))
    remarks = remarks_console(output, json_output)
    original, cleaned = read_and_clean(model, open_batch=False)
    if config is not None:
        report = _by_rules(original, cleaned, config, data)
    else:
        from qonnx_core.passes.quantize.fixed_point_params import FixedPointQuantizeParams

        types = tuple(op_type or (() if tensor else ("Add", "Mul")))
        report = _onto_grid(
            cleaned, FixedPointQuantizeParams(fixed_point or "", types, names, grids, max_error=max_error)
        )
    write_model(cleaned, output)
    if json_output:
        print_json({"output": str(output), "quantized": report})
        return
    _show(remarks, spoken(output), report)


def _by_rules(original: ir.Model, cleaned: ir.Model, config: Path, data: Path | None) -> list[dict[str, Any]]:
    from qonnx_core.passes.quantize.config import QuantizationConfig
    from qonnx_core.passes.quantize.quantize_graph import quantize_graph

    rules = QuantizationConfig.from_file(text_file(config))
    samples = None
    if data is not None:
        with data_file(data) as file:
            samples = {name: file.read(member) for name, member in members_of(file, original, cleaned).items()}
    return [entry.to_dict() for entry in quantize_graph(cleaned, rules, samples)]


def _named(entries: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the names that go onto the common grid, and those with a grid behind ``=``."""
    pairs = [entry.rpartition("=") for entry in entries]
    for first, equals, last in pairs:
        if equals and not (first.strip() and last.strip()):
            raise InvalidInput(
                f"--tensor {first}={last}: has no {'grid' if first.strip() else 'name'}; expected NAME=GRID, such as "
                "Conv_*_param0=FIXED<8,2>, or NAME alone for the grid of --fixed-point."
            )
    return tuple(last for first, _, last in pairs if not first), {first: last for first, _, last in pairs if first}


def _onto_grid(model: ir.Model, step: FixedPointQuantizeParams) -> list[dict[str, Any]]:
    report = step.apply(model)
    if not report:
        readers = step.readers_of_constants(model)
        kinds = " or ".join(step.op_types)
        raise InvalidInput(
            f"quantize: there is nothing to round: no {kinds} of the model reads a constant float; expected one. "
            + (f"Say which do, with --op-type {' or '.join(readers)}." if readers else "No other operator does either.")
        )
    return [entry.to_dict() for entry in report]


def _show(out: Console, title: str, report: list[dict[str, Any]]) -> None:
    if report and "max_error" in report[0]:
        columns = ("tensor", "datatype", "max_error", "clipped")
        rounded = [(row["tensor"], row["datatype"], f"{row['max_error']:g}", row["clipped"]) for row in report]
        out.print(table(title, columns, rounded))
        return
    rows = []
    for row in report:
        scale, zero = (
            shortened(", ".join(f"{number:g}" for number in row[key]), 30) for key in ("scale", "zero_point")
        )
        kind = f"{'' if row['signed'] else 'u'}int{row['bits']}"
        rows.append((row["node"], row["operand"], row["tensor"], kind, scale, zero, row["quantizer"] or row["reason"]))
    out.print(table(title, ("node", "operand", "tensor", "type", "scale", "zero point", "quantizer, or why not"), rows))

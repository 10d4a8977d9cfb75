"""`qonnx convert`: a model in another dialect."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    print_json,
    progress_console,
    read_model,
    remarks_console,
    spoken,
    write_model,
)

NAME = "convert"
HELP = """Write a model in another form that computes the same values.

quant: QuantizeLinear, Clip, DequantizeLinear become Quant. qcdq: the other way round. plain: all quantizers as standard
operators, for any ONNX runtime. functions: the model as it is, with the definitions of its operators attached.

Example: qonnx convert quantized_by_onnxruntime.onnx --to quant -o model.onnx"""


class Form(StrEnum):
    """The forms that a model can be written in."""

    QCDQ = "qcdq"
    QUANT = "quant"
    PLAIN = "plain"
    FUNCTIONS = "functions"


class ZeroPointOption(StrEnum):
    """How zero points other than 0 are carried over."""

    EXACT = "exact"
    STANDARD = "standard"


def command(
    model: ModelArgument,
    to: Annotated[Form, typer.Option("--to", help="The form to write.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write; - is standard output.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="With qcdq: keep quantizers that have no such form, and say why.")
    ] = False,
    zero_points: Annotated[
        ZeroPointOption,
        typer.Option("--zero-points", help="standard: as they are; values on a rounding tie may then differ."),
    ] = ZeroPointOption.EXACT,
    json_output: JsonOption = False,
) -> None:
    """Convert a model and write it."""
    from qonnx_core.formats.from_qcdq import from_qcdq
    from qonnx_core.formats.plain import lower_to_plain_onnx
    from qonnx_core.formats.qcdq import Conversion
    from qonnx_core.formats.to_qcdq import to_qcdq
    from qonnx_core.ops.registry import op_class_of

    out = remarks_console(output, json_output)
    source = read_model(model)
    ours = sum(op_class_of(node, source.opset_imports) is not None for graph in source.graphs() for node in graph)
    match to:
        case Form.QCDQ:
            result = to_qcdq(source, partial=partial, zero_points=zero_points.value)
        case Form.QUANT:
            result = from_qcdq(source, zero_points=zero_points.value)
        case Form.PLAIN:
            result = Conversion(lower_to_plain_onnx(source), ours)
        case Form.FUNCTIONS:
            result = Conversion(source, ours)
    write_model(result.model, output, with_functions=to is Form.FUNCTIONS)
    if json_output:
        print_json({"output": str(output), "form": to.value, "converted": result.converted, "kept": list(result.kept)})
        return
    out.print(f"{spoken(output)}: {result.converted} converted, {len(result.kept)} kept", markup=False)
    for reason in result.kept:
        progress_console().print(f"kept: {reason}", markup=False)

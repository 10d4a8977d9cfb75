"""`qonnx convert`: a model in another dialect."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    output_option,
    output_path,
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
operators, for any ONNX runtime. functions: the model as it is, with the definitions of its operators attached. Without
--to the form stays, for a change of --opset or --ir-version alone.

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
    output: Annotated[Path | None, output_option("MODEL_FORM.onnx, or MODEL_converted.onnx")] = None,
    to: Annotated[Form | None, typer.Option("--to", help="The form to write.")] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", help="Opset of the standard operators, from 9; default 21 or the model's.")
    ] = None,
    ir_version: Annotated[
        int | None,
        typer.Option("--ir-version", help="Version of the ONNX file format; default the lowest that holds the model."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="With qcdq: keep quantizers that have no such form, and say why.")
    ] = False,
    zero_points: Annotated[
        ZeroPointOption,
        typer.Option(
            "--zero-points", help="With qcdq and quant. standard: as they are; values on a tie may then differ."
        ),
    ] = ZeroPointOption.EXACT,
    json_output: JsonOption = False,
) -> None:
    """Convert a model and write it."""
    from qonnx_core.errors import InvalidInput
    from qonnx_core.formats.convert_opset import convert_opset
    from qonnx_core.formats.from_qcdq import from_qcdq
    from qonnx_core.formats.functions import undefined_operators
    from qonnx_core.formats.plain import lower_to_plain_onnx
    from qonnx_core.formats.qcdq import Conversion
    from qonnx_core.formats.to_qcdq import to_qcdq
    from qonnx_core.ops.registry import op_class_of

    if to is None and opset is None and ir_version is None:
        raise InvalidInput("convert: nothing is asked for; expected --to, --opset or --ir-version. Give one of them.")
    if partial and to is not Form.QCDQ:
        raise InvalidInput("convert: --partial belongs to --to qcdq. Leave it out.")
    if zero_points is ZeroPointOption.STANDARD and to not in (Form.QCDQ, Form.QUANT):
        raise InvalidInput("convert: --zero-points belongs to --to qcdq and --to quant. Leave it out.")
    target = output_path(output, model, "converted" if to is None else to.value)
    out = remarks_console(target, json_output)
    source = read_model(model)
    if opset is not None and opset > source.opset_imports[""]:
        source = convert_opset(source, opset)  # newer opsets have more forms
    ours = sum(op_class_of(node, source.opset_imports) is not None for graph in source.graphs() for node in graph)
    match to:
        case Form.QCDQ:
            result = to_qcdq(source, partial=partial, zero_points=zero_points.value, opset=opset)
        case Form.QUANT:
            result = from_qcdq(source, zero_points=zero_points.value)
        case Form.PLAIN:
            result = Conversion(lower_to_plain_onnx(source), ours)
        case Form.FUNCTIONS:
            result = Conversion(source, ours, undefined_operators(source))
        case None:
            result = Conversion(source, 0)
    written = result.model
    if opset is not None and opset != written.opset_imports[""]:
        written = convert_opset(written, opset)
    write_model(written, target, with_functions=to is Form.FUNCTIONS, ir_version=ir_version)
    if json_output:
        form = None if to is None else to.value
        found = {"output": str(target), "form": form, "converted": result.converted, "kept": list(result.kept)}
        print_json({**found, "opset": written.opset_imports[""]})
        return
    out.print(f"{spoken(target)}: {result.converted} converted, {len(result.kept)} kept")
    for reason in result.kept:
        progress_console().print(f"kept: {reason}")

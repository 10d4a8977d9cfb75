"""`qonnx clean`: infer shapes, fold constants, remove identities, give readable names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qonnx_core.cli.common import (
    JsonOption,
    ModelArgument,
    output_option,
    output_path,
    print_json,
    read_model,
    remark_on_qcdq,
    remarks_console,
    spoken,
    write_model,
)
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

NAME = "clean"
HELP = """Clean a model up: infer shapes, fold constants (weight quantizers stay), remove identities, name everything.

The result computes the same numbers. Example: qonnx clean model.onnx -o clean.onnx

--input-shape gives inputs other sizes, such as 1,3,64,64 or N,3,64,64, and lets all others follow.

A batch of 1 stays in the file, because qonnx and FINN run such files alone; qonnx run takes any batch all the same.
--batch-size N lets a batch of 1 become a name, so that other runtimes take any batch too; so does --with-functions.

--channels-last brings the model to channels-last operators as well; --channels-last-input lets its inputs be
(N, ..., C) too, so that no Transpose is left in front."""


def command(
    model: ModelArgument,
    output: Annotated[Path | None, output_option("MODEL_clean.onnx")] = None,
    with_functions: Annotated[
        bool,
        typer.Option(
            "--with-functions", help="Put the operators' definitions into the file: stock onnxruntime runs it."
        ),
    ] = False,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="NAME=SIZES",
            help="Other sizes of a model input, e.g. x=1,3,64,64. NAME= may be left out for a single input.",
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="SIZE",
            help="Batch of the written model, a number or a name for any; default as it is, with functions any.",
        ),
    ] = None,
    extract_bias: Annotated[
        bool, typer.Option("--extract-bias", help="Take biases out of Conv, ConvTranspose and Gemm, as Add.")
    ] = False,
    fold_quantizers: Annotated[
        bool, typer.Option("--fold-quantizers", help="Also compute quantizers of constants, such as those of weights.")
    ] = False,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Bring the model to channels-last operators; inputs and outputs stay."),
    ] = False,
    channels_last_input: Annotated[
        bool,
        typer.Option("--channels-last-input", help="The same, and the inputs are channels-last too: (N, ..., C)."),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Clean a model up and write it."""
    from qonnx_core.passes.change_batch_size import ChangeBatchSize

    target = output_path(output, model, "clean")
    out = remarks_console(target, json_output)
    size = _batch_size(batch_size)
    original = read_model(model)
    remark_on_qcdq(original)
    open_batch = with_functions and size is None
    cleaned = _cleaned(original, input_shape or [], extract_bias, fold_quantizers, open_batch)
    refusals: list[str] = []
    if channels_last or channels_last_input:
        cleaned, refusals = _to_channels_last(cleaned, channels_last_input, fold_quantizers, open_batch)
    if size is not None:
        ChangeBatchSize(size).run(cleaned)
    write_model(cleaned, target, with_functions=with_functions)
    before, after = len(original.graph), len(cleaned.graph)
    if json_output:
        print_json({"output": str(target), "nodes_before": before, "nodes_after": after, "not_channels_last": refusals})
    else:
        out.print(f"{spoken(target)}: {before} nodes before, {after} after")
        for refusal in refusals:
            out.print(f"stays channels-first: {refusal}")


def _batch_size(text: str | None) -> int | str | None:
    from qonnx_core.ir.sizes import is_size, size_of_text

    if text is None:
        return None
    size = size_of_text(text)
    if not is_size(size):
        raise InvalidInput(
            f"--batch-size {text!r}: is no size; expected a number of at least 1 that a tensor can have, or a name for "
            "any. Write for example 1 or batch."
        )
    return size


def _cleaned(
    original: ir.Model, shapes: list[str], extract_bias: bool, fold_quantizers: bool, open_batch: bool
) -> ir.Model:
    """Return a cleaned copy of the model with other input shapes, without biases, or with quantizers of constants."""
    from qonnx_core import cleanup_model
    from qonnx_core.passes.extract_bias import ExtractBias

    if shapes:
        original = original.clone()
        set_input_shapes(original, shapes)
    cleaned = cleanup_model(original, fold_quantizers=fold_quantizers, open_batch=open_batch)
    if extract_bias and ExtractBias().run(cleaned):
        cleaned = cleanup_model(cleaned, fold_quantizers=fold_quantizers, open_batch=open_batch)
    return cleaned


def set_input_shapes(model: ir.Model, texts: list[str]) -> None:
    """Give inputs of the model other sizes: ``NAME=1,3,64,64``, without ``NAME=`` for a single one.

    A size is a number of at least 1, or a name for one that is free.

    Raises:
        InvalidInput: no input has the name, the number of sizes is not that of the input, or a size is neither.
    """
    import onnx_ir as ir

    from qonnx_core.ir.sizes import is_size, size_of_text

    inputs = {value.name or "": value for value in model.graph.inputs}
    for text in texts:
        name, separator, numbers = text.rpartition("=")
        if not separator and len(inputs) == 1:
            name = next(iter(inputs))
        if name not in inputs:
            raise InvalidInput(
                f"--input-shape {text}: the model has no input {name!r}; expected one of "
                f"{', '.join(inputs) or 'none'}. Write NAME=SIZES."
            )
        sizes = [size.strip() for size in numbers.strip("()[] ").split(",") if size.strip()]
        for size in sizes:
            if not is_size(size_of_text(size)):
                raise InvalidInput(
                    f"--input-shape {text}: {size!r} is no size; expected a number of at least 1 that a tensor can "
                    "have, or a name for a free one. Write for example 1,3,64,64."
                )
        known = inputs[name].shape
        if known is not None and len(known) != len(sizes):
            raise InvalidInput(
                f"--input-shape {text}: found {len(sizes)} sizes; expected {len(known)}, one for each axis of input "
                f"{name}. Write for example {name}={','.join(str(size) for size in known)}."
            )
        inputs[name].shape = ir.Shape([size_of_text(size) for size in sizes])


def _to_channels_last(
    model: ir.Model, inputs: bool, fold_quantizers: bool, open_batch: bool
) -> tuple[ir.Model, list[str]]:
    """Return the model with channels-last operators, cleaned again, and what could not be brought to them."""
    from qonnx_core import cleanup_model
    from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast

    step = ConvertToChannelsLast(make_input_channels_last=inputs)
    refusals = step.refusals(model)
    step.run(model)
    return cleanup_model(model, fold_quantizers=fold_quantizers, open_batch=open_batch), refusals

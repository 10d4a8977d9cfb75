"""`qonnx prune`: a model without some channels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qonnx_core.cli.common import (
    InputTypeOption,
    JsonOption,
    ModelArgument,
    input_types,
    output_option,
    output_path,
    print_json,
    progress_console,
    read_model,
    remarks_console,
    spoken,
    table,
    write_model,
)
from qonnx_core.cli.data import check_places, text_file
from qonnx_core.ir.printable import shortened

NAME = "prune"
HELP = """Remove channels and everything along them: weights, biases, thresholds, through residual sums and reshapes.

By default only channels go that change nothing: --zero-channels finds them, a file names some. With --input-type, also
those that change nothing for inputs of these types. --lossy removes the channels of the file whatever they hold; the
sums that read them read 0 then.

The file is YAML or JSON: {tensor: {axis: [channels]}}, such as {Relu_0_out0: {1: [0, 3]}}.

Example: qonnx prune model.onnx --zero-channels -o small.onnx"""


def command(
    model: ModelArgument,
    channels: Annotated[
        Path | None, typer.Option("--channels", help="A YAML or JSON file that names the channels to remove; or -.")
    ] = None,
    zero_channels: Annotated[
        bool, typer.Option("--zero-channels", help="Remove every channel that provably changes no result.")
    ] = False,
    annotated: Annotated[
        bool, typer.Option("--annotated", help="Remove the channels that sparsity annotations of the model name.")
    ] = False,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Remove the named channels even where that changes the results.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Remove what can go and say why the rest stays, instead of refusing.")
    ] = False,
    input_type: InputTypeOption = None,
    output: Annotated[Path | None, output_option("MODEL_pruned.onnx")] = None,
    json_output: JsonOption = False,
) -> None:
    """Prune a model and write it."""
    from qonnx_core.analyses.cost import inference_cost
    from qonnx_core.build.inputs import input_grids, input_names
    from qonnx_core.errors import InvalidInput
    from qonnx_core.passes.prune import annotated_channels, prune_channels, read_channels

    if channels is None and not zero_channels and not annotated:
        raise InvalidInput(
            "prune: nothing says which channels go; expected --channels, --zero-channels or --annotated."
        )
    check_places(model, *(() if channels is None else (channels,)))
    target = output_path(output, model, "pruned")
    out = remarks_console(target, json_output)
    original = read_model(model)
    pruned = original.clone()
    wanted: dict[str, dict[int, set[int]]] = {} if channels is None else read_channels(text_file(channels))
    if annotated:
        for tensor, axes in annotated_channels(original).items():
            for axis, numbers in axes.items():
                wanted.setdefault(tensor, {}).setdefault(axis, set()).update(numbers)
    types = input_types(input_type)
    grids = input_grids(original, input_names(original, original), types, None, required=False) if types else None
    report = prune_channels(
        pruned, wanted, zero_channels=zero_channels, lossy=lossy, strict=not partial, input_grids=grids
    )
    costs = [inference_cost(each).to_dict()["total_cost"] for each in (original, pruned)]
    rows = [(key, costs[0][key], costs[1][key]) for key in _COSTS]
    write_model(pruned, target)
    if json_output:
        found: dict[str, Any] = {
            "output": str(target),
            "removed": report.to_dict(),
            "refused": [str(refusal) for refusal in report.refused],
            "cost": {key: {"before": before, "after": after} for key, before, after in rows},
        }
        print_json(found)
        return
    listed = [
        (tensor, axis, len(numbers), shortened(", ".join(str(number) for number in numbers)))
        for tensor, axes in report.removed.items()
        for axis, numbers in axes.items()
    ]
    out.print(table("removed", ("tensor", "axis", "count", "channels"), listed))
    out.print(table("cost of one inference", ("what", "before", "after"), rows))
    out.print(f"{spoken(target)}: {report.num_slices} slices of {len(report.removed)} tensors removed")
    for refusal in report.refused:
        progress_console().print(f"kept: {refusal}")


_COSTS = ("total_macs", "total_bops", "total_mem_w_elems", "total_mem_w_bits", "total_mem_o_elems", "total_mem_o_bits")

"""`qonnx cost`: what one inference costs."""

from __future__ import annotations

from typing import Annotated

import typer

from qonnx_core.cli.common import JsonOption, ModelArgument, console, print_json, read_model, remark_on_qcdq, table

NAME = "cost"
HELP = """Count multiplications, bit operations, parameters and activations of one inference, by data type and node.

Example: qonnx cost model.onnx --json"""


def command(
    model: ModelArgument,
    discount_sparsity: Annotated[
        bool, typer.Option("--discount-sparsity", help="Leave zero weights out of the counts.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Count."""
    from qonnx_core.analyses.cost import inference_cost

    graph = read_model(model)
    remark_on_qcdq(graph)
    cost = inference_cost(graph, discount_sparsity=discount_sparsity)
    found = cost.to_dict()
    if json_output:
        print_json(found)
        return
    out = console()
    rows = [
        (n.name, n.macs, n.input_type, n.weight_type, n.bops, n.weights, n.outputs, n.output_type)
        for n in cost.nodes
    ]  # fmt: skip
    columns = ("node", "MACs", "input type", "weight type", "BOPs", "weights", "outputs", "output type")
    out.print(table("cost of one inference", columns, rows))
    totals = [(key, amount) for key, amount in found["total_cost"].items() if isinstance(amount, int)]
    out.print(table("total", ("what", "amount"), [row for row in totals if row[0] != "discount_sparsity"]))
    if cost.uncounted:
        out.print(f"not counted: {', '.join(cost.uncounted)}")

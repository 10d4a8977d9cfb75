"""Models from text and as lines of text, for tests that show a graph before and after a pass."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.infer_shapes import InferShapes


def model_of_text(text: str) -> ir.Model:
    """Return the model of a text in ONNX's own syntax, with all shapes inferred."""
    model = from_proto(onnx.parser.parse_model(text))
    InferShapes().run(model)
    return model


def constant(name: str, array: NDArray[np.floating]) -> str:
    """Return what such a text writes for a float32 initializer: ``float[2] w = {1.0, 2.0}``."""
    numbers = ", ".join(f"{float(number)}" for number in array.reshape(-1))
    return f"float[{', '.join(map(str, array.shape))}] {name} = {{{numbers}}}"


def op_types(model: ir.Model) -> list[str]:
    """Return the operators of the main graph in its order."""
    return [node.op_type for node in model.graph]


def graph_lines(model: ir.Model) -> list[str]:
    """Return one line per node, without the names of the file: ``%1 = MatMul(%0, [[1.0, 2.0]])``.

    Tensors are numbered in the order of the graph (inputs first), constants written out (the shape and the sum where
    they are long), attributes sorted. Two models with the same lines are the same graph with other names.
    """
    names: dict[ir.Value, str] = {}
    for value in model.graph.inputs:
        names[value] = f"%{len(names)}"
    lines = []
    for node in model.graph:
        inputs = ", ".join(_text(value, names) for value in node.inputs)
        for value in node.outputs:
            names[value] = f"%{len(names)}"
        attributes = ", ".join(
            f"{attribute.name} = {attribute.value!r}"
            for attribute in sorted(node.attributes.values(), key=lambda attribute: attribute.name)
        )
        outputs = ", ".join(names[value] for value in node.outputs)
        domain = f"{node.domain}::" if node.domain else ""
        lines.append(f"{outputs} = {domain}{node.op_type}{f'<{attributes}>' if attributes else ''}({inputs})")
    lines.append(f"return {', '.join(_text(value, names) for value in model.graph.outputs)}")
    return lines


def _text(value: ir.Value | None, names: dict[ir.Value, str]) -> str:
    if value is None:
        return "-"
    array = constant_array(value)
    if array is None or value in names:
        return names.get(value, f"outer {value.name}")
    if array.size <= 64:
        return str(array.tolist())
    checked = np.sum(array.reshape(-1).astype(np.float64) * np.arange(1, array.size + 1))
    return f"{array.dtype}{list(array.shape)} of sum {checked}"

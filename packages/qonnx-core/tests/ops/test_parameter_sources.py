"""Parameters of operators that are constants, inputs, or made by nodes: the bits are the same, whatever is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import (
    BipolarQuant,
    FloatQuant,
    IntQuant,
    MultiThreshold,
    Quant,
    Rounding,
    Trunc,
    TruncV1,
    XnorPopcountMatMul,
)
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing.op_contract import example_model

F32 = np.float32
SOURCES = ("initializer", "constant node", "node of a constant", "input", "node of an input", "parameter in inputs")
X = F32([[0.5, -0.5, 1.5, 100], [-0.0, -100, np.inf, -np.inf], [np.nan, 7.5, -8.5, 0.3]]).reshape(3, 4, 1)
BROADCAST = F32([1, 0.5, 2, 0.25]).reshape(4, 1)
CASES: dict[str, tuple[QonnxOp, list[NDArray[Any]]]] = {
    "Quant": (Quant(), [BROADCAST, F32([[[0]], [[1]], [[-3]]]), F32([[1], [2], [3.5], [8]])]),
    "IntQuant": (IntQuant(False, True, Rounding.HALF_UP), [F32(0.5), np.int64(3), np.int64(4)]),
    "bipolar Quant": (Quant(), [F32(0.5), F32(0), F32(1)]),
    "wide Quant": (Quant(rounding_mode=Rounding.FLOOR), [F32(0.1), F32(0), F32(33)]),
    "BipolarQuant": (BipolarQuant(), [BROADCAST]),
    "Trunc 1": (TruncV1(Rounding.CEIL), [BROADCAST, F32(1), F32(8), F32([[4], [5], [6], [8]])]),
    "Trunc 2": (Trunc(signed=False), [F32(0.5), F32(4), F32(8), F32([[1], [2], [4], [0.5]]), F32(4)]),
    "FloatQuant": (FloatQuant(), [BROADCAST, F32(4), F32([[0], [1], [2], [3]]), F32([[[7]], [[8]], [[0]]]), F32(6)]),
    "FloatQuant to inf": (FloatQuant(has_inf=True, saturation=False), [F32(1), F32(5), F32(2), F32(15), F32(57344)]),
    "XnorPopcountMatMul": (XnorPopcountMatMul(), [F32([[1, 0, 1, 1, 0]])]),
    "MultiThreshold": (MultiThreshold("INT4", 0.5, -1.0), [F32([[0.5, -1, 7], [1, 1, 2], [-50, 0, 9], [0, 0.3, 1]])]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_parameters_may_come_from_anywhere(case: str, draw: Any) -> None:
    op, parameters = CASES[case]
    wanted = qonnx_core.compile_model(example_model(op, [X, *parameters], constants=True)).run({op.inputs[0]: X})["y"]
    sources = draw.draw(st.lists(st.sampled_from(SOURCES), min_size=len(parameters), max_size=len(parameters)))
    shape = draw.draw(st.sampled_from([list(X.shape), ["N", None, 1], None]))
    model, feeds = _model(op, parameters, sources, shape)
    found = qonnx_core.compile_model(model).run(feeds)["y"]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clean", [False, True])
def test_data_may_be_constants(case: str, clean: bool) -> None:
    """MultiThreshold and XnorPopcountMatMul of constants were refused, as if their inputs had to broadcast."""
    op, parameters = CASES[case]
    model = example_model(op, [X, *parameters], constants=True)
    wanted = qonnx_core.compile_model(model).run({op.inputs[0]: X})["y"]
    model.graph.inputs.pop().const_value = ir.tensor(X, name=op.inputs[0])
    model.graph.register_initializer(model.graph[0].inputs[0])
    constant = from_proto(ir.to_proto(model))
    constant = qonnx_core.cleanup_model(constant) if clean else constant
    (found,) = qonnx_core.compile_model(constant).run({}).values()
    np.testing.assert_array_equal(found, wanted)


def _model(
    op: QonnxOp, parameters: list[NDArray[Any]], sources: list[str], shape: list[int | str | None] | None
) -> tuple[ir.Model, dict[str, NDArray[Any]]]:
    """Return a model of this one operator whose parameters come from these sources, and what it is to be given."""
    model = example_model(op, [X, *parameters], constants=True)
    graph, feeds = model.graph, {op.inputs[0]: X}
    (node,) = graph
    graph.inputs[0].shape = None if shape is None else ir.Shape(shape)
    for index, (source, array) in enumerate(zip(sources, parameters, strict=True), 1):
        array = np.asarray(array)
        stored = graph.initializers[op.inputs[index]]
        if source == "parameter in inputs":
            graph.inputs.append(stored)
            continue
        made = stored
        if source == "constant node":
            producer = ir.node("Constant", [], {"value": ir.tensor(array)})
            graph.insert_before(node, producer)
            made = producer.outputs[0]
            made.name = f"constant_{index}"
        if source in ("input", "node of an input"):
            made = ir.val(f"given_{index}", dtype=ir.DataType.from_numpy(array.dtype), shape=ir.Shape(array.shape))
            graph.inputs.append(made)
            feeds[f"given_{index}"] = array
        if source.startswith("node"):
            producer = ir.node("Identity", [made])
            producer.outputs[0].name = f"copy_{index}"
            graph.insert_before(node, producer)
            made = producer.outputs[0]
        node.replace_input_with(index, made)
    return from_proto(ir.to_proto(model)), feeds

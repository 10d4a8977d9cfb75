"""What the clean-up does grows with the graph and no faster."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import shape_inference

import qonnx_core
from qonnx_core.ops import Quant


def chain(length: int) -> ir.Model:
    """Return quantizers in a row."""
    value = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([1, 4]))
    inputs, nodes, constants = [value], [], []
    for number in range(length):
        parameters = [
            ir.val(f"{name}{number}", const_value=ir.tensor(np.asarray(content, np.float32), name=f"{name}{number}"))
            for name, content in (("s", 0.25 + number / 1000), ("z", 0), ("b", 8))
        ]
        constants += parameters
        nodes.append(Quant().node(value, *parameters, name=f"q{number}", output=f"y{number}"))
        value = nodes[-1].outputs[0]
    opsets = {"": 21, Quant.domain: 1}
    graph = ir.Graph(inputs, [value], nodes=nodes, initializers=constants, name="chain", opset_imports=opsets)
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("length", [5, 50])
def test_shapes_are_inferred_twice_however_long_the_graph(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: list[int] = []
    infer = shape_inference.infer_shapes

    def counted(proto, **options):  # type: ignore[no-untyped-def]
        nodes.append(len(proto.graph.node))
        return infer(proto, **options)

    monkeypatch.setattr(shape_inference, "infer_shapes", counted)
    qonnx_core.cleanup_model(chain(length))
    assert nodes == [length, length]  # once as it is, once with an open batch

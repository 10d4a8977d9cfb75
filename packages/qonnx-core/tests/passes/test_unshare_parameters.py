"""Every reader of a parameter gets its own, in linear time."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from qonnx_core.passes.unshare_parameters import UnshareParameters
from qonnx_core.testing.work import check_linear


def sums(count: int) -> ir.Model:
    """Return a chain of additions of the same constant."""
    x = ir.val("x", ir.DataType.FLOAT, [1])
    constant = ir.val("c", const_value=ir.tensor(np.ones(1, np.float32), name="c"))
    nodes, value = [], x
    for number in range(count):
        nodes.append(ir.node("Add", [value, constant], name=f"add{number}"))
        value = nodes[-1].outputs[0]
    graph = ir.Graph([x], [value], nodes=nodes, initializers=[constant], name="sums", opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def test_copies_are_numbered_and_share_their_data() -> None:
    model = sums(3)
    assert UnshareParameters().run(model) == 2
    assert list(model.graph.initializers) == ["c", "c/copy_1", "c/copy_2"]
    assert len({id(value.const_value) for value in model.graph.initializers.values()}) == 1
    assert UnshareParameters().run(model) == 0


def test_a_parameter_of_many_readers_is_copied_in_linear_time() -> None:
    check_linear(lambda readers: partial(UnshareParameters().run, sums(readers)), 500)

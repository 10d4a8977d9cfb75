"""The verifier names the node and the rule."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.verify import verify, violations


def graph() -> tuple[ir.Model, ir.Node, ir.Node]:
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape([2]))
    first = ir.node("Relu", [x], name="first")
    second = ir.node("Neg", [first.outputs[0]], name="second")
    first.outputs[0].name, second.outputs[0].name = "a", "y"
    made = ir.Graph([x], second.outputs, nodes=[first, second], opset_imports={"": 21}, name="g")
    return ir.Model(made, ir_version=10), first, second


def test_a_valid_graph_passes() -> None:
    verify(graph()[0])


def test_a_dangling_input_is_named() -> None:
    model, _, second = graph()
    second.replace_input_with(0, ir.val("ghost"))
    with pytest.raises(InvalidModel, match=r"second \(Neg\): input 0 reads 'ghost', which nothing produces"):
        verify(model)


def test_a_wrong_order_is_named() -> None:
    model, first, second = graph()
    model.graph.remove(first)
    model.graph.insert_after(second, first)
    with pytest.raises(InvalidModel, match=r"second \(Neg\): input 0 reads 'a' before it is produced"):
        verify(model)


def test_a_tensor_of_two_producers_is_named() -> None:
    model, first, second = graph()
    second.outputs[0].name = first.outputs[0].name
    assert list(violations(model)) == ["tensor 'a': is produced twice; expected one producer"]


def test_an_operator_of_an_unknown_domain_needs_an_import() -> None:
    model, first, _ = graph()
    first.domain = "somebody.else"
    with pytest.raises(
        InvalidModel, match=r"first \(Relu\): is of domain 'somebody.else', which the model does not import"
    ):
        verify(model)


def test_an_output_that_nothing_produces_is_named() -> None:
    model, _, _ = graph()
    model.graph.outputs.append(ir.val("lost"))
    with pytest.raises(InvalidModel, match="graph output 'lost': nothing produces it"):
        verify(model)

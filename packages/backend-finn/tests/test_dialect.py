"""FINN-ONNX computes what the QONNX model computes, with nothing but FINN's operators before the float tail."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from backend_finn import ConvertQONNXtoFINN, convert_qonnx_to_finn
from qonnx_core.cleanup import cleanup_model
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.compiled import compile_model
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.grid import Grid
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

GRID = "INT8*2^-5"
ROUNDINGS = ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [1, 3])
def test_values_are_those_of_the_model_with_every_rounding(rounding: str, bits: int) -> None:
    shape = MlpShape(widths=(6, 8, 8, 4), rounding=rounding, weight_bits=bits, batch_norm=True, tail=False)
    model = cleanup_model(random_mlp(ROUNDINGS.index(rounding), shape))
    finn = convert_qonnx_to_finn(model, {"global_in": GRID}, batch=None)
    ints = np.random.default_rng(0).integers(-128, 128, (500, 6))
    expected = compile_model(model).run({"global_in": Grid.parse(GRID).to_values(ints)})["global_out"]
    found = compile_model(finn).run({"global_in": ints.astype(np.float32)})["global_out"]
    np.testing.assert_array_equal(found, expected)


def test_only_operators_of_finn_stand_before_the_tail() -> None:
    finn = convert_qonnx_to_finn(random_mlp(1, MlpShape()), {"global_in": GRID})
    kinds = [node.op_type for node in finn.graph]
    assert set(kinds) <= {"MultiThreshold", "MatMul", "Mul", "Add", "Softmax"}
    assert not {"Mul", "Add"} & set(kinds[: kinds.index("Mul")])
    assert str(get_datatype(finn.graph.inputs[0])) == "INT8"
    for node in finn.graph:
        if node.op_type == "MatMul":
            weights = node.inputs[1]
            assert weights.const_value is not None
            assert np.array_equal(weights.const_value.numpy(), np.rint(weights.const_value.numpy()))
            assert get_datatype(weights) is not None
        if node.op_type == "MultiThreshold":
            assert {"out_dtype", "out_bias", "out_scale", "data_layout"} <= set(node.attributes)


def test_a_pure_one_bit_network_converts() -> None:
    quant = "qonnx.custom_op.general"
    rng = np.random.default_rng(2)
    one = ir.val("one", const_value=ir.tensor(np.float32(1), name="one"))
    weights = [
        ir.val(f"w{i}", const_value=ir.tensor(rng.normal(size=shape).astype(np.float32), name=f"w{i}"))
        for i, shape in enumerate([(8, 6), (6, 3)])
    ]
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", 8]))
    nodes = [ir.node("BipolarQuant", [x, one], domain=quant)]
    for w in weights:
        nodes.append(ir.node("BipolarQuant", [w, one], domain=quant))
        nodes.append(ir.node("MatMul", [nodes[-2].outputs[0], nodes[-1].outputs[0]]))
        nodes.append(ir.node("BipolarQuant", [nodes[-1].outputs[0], one], domain=quant))
    y = nodes[-1].outputs[0]
    y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, ir.Shape(["N", 3])
    graph = ir.Graph(
        [x], [y], nodes=nodes, initializers=[one, *weights], opset_imports={"": 17, quant: 1}, name="one_bit"
    )
    model = cleanup_model(ir.Model(graph, ir_version=8))
    finn = convert_qonnx_to_finn(model, {"global_in": "INT4*2^-2"}, batch=None)
    assert [node.op_type for node in finn.graph] == ["MultiThreshold", "MatMul"] * 2 + ["MultiThreshold"]
    assert {str(get_datatype(n.outputs[0])) for n in finn.graph if n.op_type == "MultiThreshold"} == {"BIPOLAR"}
    ints = rng.integers(-8, 8, (200, 8))
    expected = compile_model(model).run({"global_in": Grid.parse("INT4*2^-2").to_values(ints)})["global_out"]
    found = compile_model(finn).run({"global_in": ints.astype(np.float32)})["global_out"]
    np.testing.assert_array_equal(found, expected)


def test_the_batch_is_fixed_unless_asked_otherwise() -> None:
    model = random_mlp(0, MlpShape(widths=(3, 4, 2)))
    assert convert_qonnx_to_finn(model, {"global_in": GRID}).graph.inputs[0].shape == (1, 3)
    kept = convert_qonnx_to_finn(model, {"global_in": GRID}, batch=None).graph.inputs[0].shape
    assert kept is not None
    assert not isinstance(kept[0], int)


def test_the_transformation_takes_and_gives_a_wrapper() -> None:
    class Wrapper(SimpleNamespace):
        pass

    def wrap(proto: object) -> Wrapper:
        return Wrapper(model=proto)

    class Model:
        def __init__(self, proto: object) -> None:
            self.model = proto

    wrapper = Model(ir.to_proto(cleanup_model(random_mlp(0, MlpShape(widths=(3, 4, 2))))))
    converted, again = ConvertQONNXtoFINN({"global_in": GRID}).apply(wrapper)
    assert isinstance(converted, Model)
    assert not again
    assert "MultiThreshold" in {node.op_type for node in converted.model.graph.node}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"input global_in: no data type; expected the integer grid.*input_types"),
        ({"nope": "UINT8"}, r"input types: found nope; expected some of global_in"),
    ],
)
def test_inputs_without_a_grid_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        convert_qonnx_to_finn(random_mlp(0, MlpShape(widths=(3, 4, 2))), given)

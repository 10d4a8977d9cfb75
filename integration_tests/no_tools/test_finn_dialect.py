"""FINN-ONNX that we write runs in the package qonnx, the one that FINN itself uses, with the values of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import qonnx_core
from backend_finn import ConvertQONNXtoFINN, convert_qonnx_to_finn
from qonnx_core.ir.grid import Grid
from qonnx_core.ops import BipolarQuant
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

modelwrapper = pytest.importorskip("qonnx.core.modelwrapper", reason="the package qonnx is not installed")
SHAPES = [
    MlpShape(widths=(6, 8, 8, 4)),
    MlpShape(widths=(6, 8, 4), weight_bits=1, activation_bits=2, batch_norm=True, per_channel=True),
    MlpShape(widths=(6, 6, 4), residual=True),
]


def values_in_qonnx(wrapper: object, ints: np.ndarray) -> np.ndarray:
    from qonnx.core.onnx_exec import execute_onnx

    name = wrapper.graph.input[0].name  # type: ignore[attr-defined]
    results = [execute_onnx(wrapper, {name: frame[None].astype(np.float32)}) for frame in ints]
    return np.concatenate([next(iter(result.values())) for result in results])


@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_a_random_network_has_the_values_of_the_model(seed: int) -> None:
    model = qonnx_core.cleanup_model(random_mlp(seed, SHAPES[seed]))
    wrapper = modelwrapper.ModelWrapper(ir.to_proto(convert_qonnx_to_finn(model, {"global_in": "INT8*2^-5"})))
    ints = np.random.default_rng(seed).integers(-128, 128, (20, 6))
    expected = qonnx_core.compile_model(model).run({"global_in": Grid.parse("INT8*2^-5").to_values(ints)})["global_out"]
    np.testing.assert_array_max_ulp(values_in_qonnx(wrapper, ints), expected, maxulp=4)


def one_bit_network(seed: int) -> ir.Model:
    """Return a perceptron in which inputs, weights and activations have one bit each."""
    rng = np.random.default_rng(seed)
    x = ir.val("global_in", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", 12]))
    constants: list[ir.Value] = []
    nodes: list[ir.Node] = []

    def constant(array: np.ndarray) -> ir.Value:
        name = f"c{len(constants)}"
        constants.append(ir.val(name, const_value=ir.tensor(np.asarray(array, np.float32), name=name)))
        return constants[-1]

    def bipolar(value: ir.Value, scale: float) -> ir.Value:
        number = len(nodes)
        nodes.append(BipolarQuant().node(value, constant(np.asarray(scale)), name=f"n{number}", output=f"t{number}"))
        return nodes[-1].outputs[0]

    value = bipolar(x, 1.0)
    for rows, columns in ((12, 10), (10, 8), (8, 4)):
        weights = bipolar(constant(rng.normal(0, 1, (rows, columns))), 1.0)
        number = len(nodes)
        nodes.append(ir.node("MatMul", [value, weights], name=f"n{number}"))
        value = nodes[-1].outputs[0]
        value.name = f"t{number}"
        if columns != 4:
            gain, bias, mean = rng.normal(0, 1, columns), rng.normal(0, 0.5, columns), rng.normal(0, 2, columns)
            parameters = [constant(a) for a in (gain, bias, mean, rng.uniform(0.5, 2, columns))]
            number = len(nodes)
            nodes.append(ir.node("BatchNormalization", [value, *parameters], name=f"n{number}"))
            value = nodes[-1].outputs[0]
            value.name = f"t{number}"
            value = bipolar(value, 1.0)
    value.name = "global_out"
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(["N", 4])
    opsets = {"": 17, BipolarQuant.domain: 1}
    graph = ir.Graph([x], [value], nodes=nodes, initializers=constants, opset_imports=opsets, name="one_bit")
    return ir.Model(graph, ir_version=8)


@pytest.mark.parametrize("seed", range(3))
def test_a_network_of_single_bits_has_the_bits_of_the_model(seed: int) -> None:
    model = qonnx_core.cleanup_model(one_bit_network(seed))
    assert {node.op_type for node in model.graph} == {"BipolarQuant", "MatMul", "BatchNormalization"}
    converted = convert_qonnx_to_finn(model, {"global_in": "INT4"})
    assert "MultiThreshold" in {node.op_type for node in converted.graph}
    assert not {"BipolarQuant", "BatchNormalization"} & {node.op_type for node in converted.graph}
    ints = np.random.default_rng(seed).integers(-8, 8, (40, 12))
    expected = qonnx_core.compile_model(model).run({"global_in": ints.astype(np.float32)})["global_out"]
    np.testing.assert_array_equal(values_in_qonnx(modelwrapper.ModelWrapper(ir.to_proto(converted)), ints), expected)


def test_a_file_written_and_read_again_keeps_the_bits(tmp_path: Path) -> None:
    model = qonnx_core.cleanup_model(random_mlp(9, MlpShape(widths=(6, 8, 5), tail=False, batch_norm=True)))
    qonnx_core.save(convert_qonnx_to_finn(model, {"global_in": "INT8*2^-5"}), tmp_path / "finn.onnx")
    ints = np.random.default_rng(9).integers(-128, 128, (40, 6))
    expected = qonnx_core.compile_model(model).run({"global_in": Grid.parse("INT8*2^-5").to_values(ints)})["global_out"]
    wrapper = modelwrapper.ModelWrapper(str(tmp_path / "finn.onnx"))
    np.testing.assert_array_equal(values_in_qonnx(wrapper, ints), expected)


def test_the_transformation_works_on_the_wrapper_of_qonnx() -> None:
    model = qonnx_core.load(shared_file("models/zoo/TFC_1W2A.onnx"))
    wrapper = modelwrapper.ModelWrapper(str(shared_file("models/zoo/TFC_1W2A.onnx")))
    converted = wrapper.transform(ConvertQONNXtoFINN({model.graph.inputs[0].name: "UINT8*1/255"}))
    assert str(converted.get_tensor_datatype(converted.graph.input[0].name)) == "DataType[UINT8]" or (
        converted.get_tensor_datatype(converted.graph.input[0].name).name == "UINT8"
    )
    data = np.load(shared_file("models/zoo/TFC_1W2A.npz"))
    ints, on_grid = Grid.parse("UINT8*1/255").to_integers(data["x"][:8])
    assert on_grid.all()
    np.testing.assert_array_equal(values_in_qonnx(converted, ints), data["y"][:8])

"""FINN-ONNX that we write runs in the package qonnx, the one that FINN itself uses, with the values of the model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import qonnx_core
from backend_finn import ConvertQONNXtoFINN, convert_qonnx_to_finn
from qonnx_core.ir.grid import Grid
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

"""The public models give the numbers stored beside them, before and after clean-up, in one batch and one by one."""

from __future__ import annotations

import numpy as np
import pytest

import qonnx_core
from qonnx_core.testing import shared_file

MODELS = ["zoo/TFC_1W2A", "zoo/qkeras_jettagging", "nn2fpga/resnet8_a8w8b16"]
# The softmax of the second one: exp comes from the library, and machines with other vector units may round its last
# bits differently. Everything before it is exact, because all scales are powers of two.
MAX_SOFTMAX_ULP = 4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("clean", [False, True], ids=["as_stored", "cleaned"])
@pytest.mark.parametrize("batch", [1, None], ids=["one_by_one", "one_batch"])
def test_a_public_model_gives_its_stored_outputs(name: str, clean: bool, batch: int | None) -> None:
    model = qonnx_core.load(shared_file(f"models/{name}.onnx"))
    if clean:
        model = qonnx_core.cleanup_model(model)
    data = np.load(shared_file(f"models/{name}.npz"))
    compiled = qonnx_core.compile_model(model)
    (given,), (result,) = compiled.input_names, compiled.output_names
    x, y = data["x"], data["y"]
    step = batch or len(x)
    found = np.concatenate([compiled.run({given: x[i : i + step]})[result] for i in range(0, len(x), step)])
    if name == "zoo/qkeras_jettagging":
        np.testing.assert_array_max_ulp(found, y, maxulp=MAX_SOFTMAX_ULP)
    else:
        np.testing.assert_array_equal(found, y)


def test_the_logits_of_jettagging_are_exact() -> None:
    """All scales are powers of two, so float64 sums are exact and have to give the same bits as float32 ones."""
    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file("models/zoo/qkeras_jettagging.onnx")))
    x = np.load(shared_file("models/zoo/qkeras_jettagging.npz"))["x"]
    x = (np.round(x * 1024) / 1024).astype(np.float32)
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    logits = softmax.inputs[0].name
    last = softmax.inputs[0].producer().inputs[0].producer()
    compiled = qonnx_core.compile_model(model, outputs=[logits])
    names = [value.name for value in last.inputs]
    found = compiled.run({"global_in": x}, intermediates=names)
    bias = softmax.inputs[0].producer().inputs[1].name
    found |= compiled.run({"global_in": x}, intermediates=[bias])
    exact = found[names[0]].astype(np.float64) @ found[names[1]].astype(np.float64) + found[bias].astype(np.float64)
    np.testing.assert_array_equal(found[logits].astype(np.float64), exact)


def test_the_reshape_chain_of_tfc_becomes_a_constant() -> None:
    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file("models/zoo/TFC_1W2A.onnx")))
    assert [node.op_type for node in model.graph if node.op_type in ("Shape", "Gather", "Concat", "Reshape")] == [
        "Reshape"
    ]
    assert model.graph.initializers["Reshape_0_param0"].const_value.numpy().tolist() == [0, -1]
    assert str(model.graph.inputs[0].shape) == "[batch,1,28,28]"
    assert str(model.graph.outputs[0].shape) == "[batch,10]"

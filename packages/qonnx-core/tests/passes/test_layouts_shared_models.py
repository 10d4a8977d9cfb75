"""The residual CNN of an old exporter keeps its stored outputs, whatever layout it is brought to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import cleanup_model, compile_model, load
from qonnx_core.passes.base import Pass
from qonnx_core.passes.change_3d_to_4d import Change3DTo4D
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.fold_transposes import FoldTransposes
from qonnx_core.passes.infer_layouts import InferLayouts, infer_layouts_report
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.passes.max_pool_to_nhwc import MaxPoolToNHWC
from qonnx_core.testing import shared_file

STEPS: dict[str, tuple[tuple[Pass, ...], int]] = {
    "channels last": ((ConvertToChannelsLast(strict=True),), 2),
    "lowered": ((LowerConvsToMatMul(strict=True),), 20),
    "channels last and lowered": ((ConvertToChannelsLast(), LowerConvsToMatMul(strict=True), MaxPoolToNHWC()), 2),
    "lowered and folded": ((LowerConvsToMatMul(), ConvertToChannelsLast(), FoldTransposes()), 2),
    "nothing to do": ((Change3DTo4D(strict=True), InferLayouts()), 0),
}


@pytest.fixture(scope="module")
def residual() -> tuple[ir.Model, np.ndarray, np.ndarray]:
    data = np.load(shared_file("models/nn2fpga/resnet8_a8w8b16.npz"))
    return load(shared_file("models/nn2fpga/resnet8_a8w8b16.onnx")), data["x"], data["y"]


@pytest.mark.parametrize("steps", list(STEPS))
@pytest.mark.parametrize("cleaned", [False, True])
def test_the_residual_network_keeps_its_stored_outputs(residual, steps: str, cleaned: bool) -> None:
    original, x, y = residual
    model = cleanup_model(original) if cleaned else original.clone()
    passes, transposes = STEPS[steps]
    for step in passes:
        step.run(model)
    counts = Counter(node.op_type for node in model.graph)
    assert counts["Transpose"] == transposes
    compiled = compile_model(model)
    (name,) = compiled.input_names
    (found,) = compiled.run({name: x.astype(np.float32)}).values()
    np.testing.assert_array_equal(found, y)
    (single,) = compiled.run({name: x[:1].astype(np.float32)}).values()
    np.testing.assert_array_equal(single, y[:1])


def test_every_tensor_of_the_residual_network_has_a_layout(residual) -> None:
    model = cleanup_model(residual[0])
    assert infer_layouts_report(model) == []

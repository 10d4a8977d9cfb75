"""What the layout passes write runs in the format's own executor, with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import compile_model, save
from qonnx_core.passes.base import Pass
from qonnx_core.passes.change_3d_to_4d import Change3DTo4D
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.passes.max_pool_to_nhwc import MaxPoolToNHWC
from qonnx_core.testing.random_graphs import random_graph

pytest.importorskip("qonnx", reason="the PyPI package qonnx is not installed")

STEPS: dict[str, tuple[Pass, ...]] = {
    "channels last": (ConvertToChannelsLast(),),
    "lowered": (LowerConvsToMatMul(),),
    "channels last and lowered": (ConvertToChannelsLast(), LowerConvsToMatMul()),
    "signals as images": (Change3DTo4D(), LowerConvsToMatMul(), MaxPoolToNHWC()),
}


def reference(model: ir.Model, inputs: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    path = folder / "model.onnx"
    save(model, path)
    result: dict[str, Any] = execute_onnx(ModelWrapper(str(path)), inputs)
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", list(STEPS))
def test_random_networks_run_in_the_reference(steps: str, seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed, "cnn", batch=1, trunc_version=1)
    model = graph.model
    InferShapes().run(model)
    inputs = {name: array[:1] for name, array in graph.inputs.items()}
    expected = compile_model(model).run(inputs)
    for step in STEPS[steps]:
        step.run(model)
        InferShapes().run(model)
    found = reference(model, inputs, tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)

"""A DebugMarker's name can be asked for, whatever the tensors are called."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import qonnx_core
from qonnx_core.formats.reader import from_proto

TEXT = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
g (float[1, 4] x) => (float[1, 4] y)
{ a = Relu(x) m = qonnx.custom_op.general.DebugMarker<export_debug_name = "layer1/act">(a) b = Neg(m)
  n = qonnx.custom_op.general.DebugMarker<export_debug_name = "NAME">(b) y = Relu(n) }"""
X = np.float32([[1, -2, 3, 0], [4, 5, -6, 0]])


@pytest.mark.parametrize("clean", [False, True])
def test_a_debug_name_is_a_tensor(clean: bool) -> None:
    model = from_proto(parser.parse_model(TEXT.replace("NAME", "layer2/act")))
    model = qonnx_core.cleanup_model(model) if clean else model
    compiled = qonnx_core.compile_model(model)
    found = compiled.run({compiled.input_names[0]: X}, ["layer1/act", "layer2/act"])
    assert found["layer1/act"].tolist() == np.maximum(X, 0).tolist()
    assert found["layer2/act"].tolist() == (-np.maximum(X, 0)).tolist()
    assert len(compiled.run({compiled.input_names[0]: X})) == 1


def test_of_two_markers_with_one_name_the_last_one_counts() -> None:
    model = from_proto(parser.parse_model(TEXT.replace("NAME", "layer1/act")))
    found = qonnx_core.compile_model(model).run({"x": X}, ["layer1/act"])
    assert found["layer1/act"].tolist() == (-np.maximum(X, 0)).tolist()


def test_a_name_that_a_tensor_has_stays_that_tensors() -> None:
    model = from_proto(parser.parse_model(TEXT.replace("NAME", "a")))
    found = qonnx_core.compile_model(model).run({"x": X}, ["a"])
    assert found["a"].tolist() == np.maximum(X, 0).tolist()

"""QDQ models made by onnxruntime's quantizer come in exactly, whatever they were asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.passes.streamline.view import Thresholds
from qonnx_core.verify import compare_integer_form

HEAD = '<ir_version: 8, opset_import: ["": {opset}]>'
MATMUL = """g (float[N, 6] x) => (float[N, 3] y) <float[6, 8] w, float[8] c, float[8, 3] v>
  { m = MatMul(x, w) a = Add(m, c) r = Relu(a) y = MatMul(r, v) }"""
GEMM = """g (float[N, 6] x) => (float[N, 3] y) <float[8, 6] w, float[8] c, float[8, 3] v, float[3] d>
  { m = Gemm<transB = 1>(x, w, c) r = Relu(m) y = Gemm(r, v, d) }"""
CONV = """g (float[N, 3, 8, 8] x) => (float[N, 4, 4, 4] y) <float[6, 3, 3, 3] w, float[6] c, float[4, 6, 1, 1] v>
  { m = Conv<pads = [1, 1, 1, 1]>(x, w, c) r = Sigmoid(m) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    s = Conv(p, v) y = Tanh(s) }"""
MODELS = {"matmul": MATMUL, "gemm": GEMM, "conv": CONV}
SHAPES = {"matmul": (40, 6), "gemm": (40, 6), "conv": (20, 3, 8, 8)}


class Reader:
    """Gives the quantizer a few samples."""

    def __init__(self, x: np.ndarray[Any, Any]) -> None:
        self._batches = iter({"x": part} for part in np.split(x, 4))

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        return next(self._batches, None)


def float_model(kind: str, opset: int, path: Path) -> None:
    model = onnx.parser.parse_model(HEAD.format(opset=opset) + MODELS[kind])
    rng = np.random.default_rng(7)
    infos = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in model.graph.value_info}
    del model.graph.value_info[:]
    for name, shape in infos.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    onnx.save(model, path)


@pytest.mark.parametrize("per_channel", [False, True], ids=["per_tensor", "per_channel"])
@pytest.mark.parametrize(
    ("activations", "weights", "opset"),
    [("QUInt8", "QInt8", 13), ("QInt8", "QInt8", 17), ("QUInt8", "QUInt8", 17), ("QInt16", "QInt8", 17),
     ("QUInt16", "QUInt8", 21), ("QInt8", "QInt4", 21), ("QUInt8", "QUInt4", 21)],
)  # fmt: skip
@pytest.mark.parametrize("kind", list(MODELS))
def test_a_model_of_the_quantizer_comes_in_exactly(
    kind: str, activations: str, weights: str, opset: int, per_channel: bool, tmp_path: Path
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    types = quantization.QuantType
    float_model(kind, opset, tmp_path / "float.onnx")
    samples = np.random.default_rng(3).normal(size=SHAPES[kind]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            tmp_path / "float.onnx", tmp_path / "qdq.onnx", Reader(samples), per_channel=per_channel,
            quant_format=quantization.QuantFormat.QDQ, activation_type=types[activations], weight_type=types[weights],
        )  # fmt: skip
    model = qonnx_core.load(tmp_path / "qdq.onnx")
    found = from_qcdq(model)
    assert found.kept == ()
    assert found.converted >= 5
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in found.model.graph}
    x = (np.random.default_rng(9).normal(size=SHAPES[kind]) * 1.5).astype(np.float32)
    wanted = qonnx_core.compile_model(model).run({"x": x})["y"]
    np.testing.assert_array_equal(qonnx_core.compile_model(found.model).run({"x": x})["y"], wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    stock = onnxruntime.InferenceSession(tmp_path / "qdq.onnx", options, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(stock.run(None, {"x": x})[0], wanted)
    again = to_qcdq(found.model, partial=True)
    assert again.kept == ()
    np.testing.assert_array_equal(qonnx_core.compile_model(again.model).run({"x": x})["y"], wanted)


@pytest.mark.parametrize("form", ["thresholds", "shift"])
def test_a_model_with_the_default_options_of_the_quantizer_has_an_integer_form(form: Any, tmp_path: Path) -> None:
    """Its activations have zero points that fit no grid of as many bits: levels that a Clip leaves out do not count."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    float_model("gemm", 17, tmp_path / "float.onnx")
    samples = np.random.default_rng(3).normal(size=SHAPES["gemm"]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(tmp_path / "float.onnx", tmp_path / "qdq.onnx", Reader(samples))
    cleaned = qonnx_core.cleanup_model(qonnx_core.load(tmp_path / "qdq.onnx"))
    assert "Clip" in {node.op_type for node in cleaned.graph}
    integer = to_integer_form(cleaned, {"global_in": Grid.parse("FIXED<16,4>")}, quantizer=form)
    x = np.random.default_rng(9).integers(-(2**15), 2**15, SHAPES["gemm"]).astype(np.float32) / 2**12
    check = compare_integer_form(cleaned, integer, {"global_in": x})
    assert check.mismatch == 0
    assert check.equal >= check.samples - 2  # a sum of float32 can be rounded across a step
    counts = [layer.thresholds.shape[1] for layer in integer.layers() if isinstance(layer, Thresholds)]
    assert max(counts) <= 255


def test_the_other_format_of_the_quantizer_is_named_with_the_option_to_ask_for(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    float_model("conv", 17, tmp_path / "float.onnx")
    samples = np.random.default_rng(3).normal(size=SHAPES["conv"]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            tmp_path / "float.onnx", tmp_path / "qop.onnx", Reader(samples),
            quant_format=quantization.QuantFormat.QOperator,
        )  # fmt: skip
    model = qonnx_core.load(tmp_path / "qop.onnx")
    found = from_qcdq(model)
    refused = [reason for reason in found.kept if "(QLinearConv)" in reason]
    assert len(refused) == 2
    assert all("quantize with QuantFormat.QDQ instead of QOperator" in reason for reason in refused)
    wanted = qonnx_core.compile_model(model).run({"x": samples})["y"]
    np.testing.assert_array_equal(qonnx_core.compile_model(found.model).run({"x": samples})["y"], wanted)

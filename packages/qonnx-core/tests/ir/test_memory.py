"""Large tensors leave the message of the file; what they hold stays."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.execute import plain_graph
from qonnx_core.ir import memory
from qonnx_core.ops import Quant


def write(path: Path) -> None:
    """Write a product with quantized weights, and a Constant node in front of it."""
    rng = np.random.default_rng(0)
    weights, scale, zero, bits = (
        ir.val(name, const_value=ir.tensor(np.asarray(content, np.float32), name=name))
        for name, content in (("w", rng.normal(0, 1, (300, 300))), ("s", 0.3), ("z", 0), ("b", 4))
    )
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", 300]))
    two = ir.node("Constant", [], {"value": ir.tensor(np.asarray(2, np.float32))})
    doubled = ir.node("Mul", [x, two.outputs[0]])
    quantized = Quant().node(weights, scale, zero, bits, name="q", output="wq")
    product = ir.node("MatMul", [doubled.outputs[0], quantized.outputs[0]])
    two.outputs[0].name, doubled.outputs[0].name, product.outputs[0].name = "two", "d", "y"
    graph = ir.Graph([x], product.outputs, nodes=[two, doubled, quantized, product],
                     initializers=[weights, scale, zero, bits], name="g",
                     opset_imports={"": 21, Quant.domain: 1})  # fmt: skip
    qonnx_core.save(ir.Model(graph, ir_version=10), path)


def test_a_large_model_holds_its_tensors_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m.onnx")
    small = qonnx_core.load(tmp_path / "m.onnx")
    monkeypatch.setattr(memory, "_LARGE_MODEL_BYTES", 0)
    large = qonnx_core.load(tmp_path / "m.onnx")
    for name, value in large.graph.initializers.items():
        other = small.graph.initializers[name].const_value
        assert isinstance(value.const_value, ir.Tensor)
        assert isinstance(other, ir.serde.TensorProtoTensor)
        assert value.const_value.name == other.name
        np.testing.assert_array_equal(value.const_value.numpy(), other.numpy())
    assert isinstance(large.graph[0].attributes["value"].as_tensor(), ir.Tensor)
    assert ir.to_proto(large) == ir.to_proto(small)


def test_small_models_are_left_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx")
    assert memory.own_tensors(ir.load(tmp_path / "m.onnx")) == 0


@pytest.mark.parametrize("shape", [(), (0, 4), (3, 5), (300, 300)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_pages_are_writable_zeros(shape: tuple[int, ...], dtype: type) -> None:
    array = memory.on_pages(shape, np.dtype(dtype))
    assert array.shape == shape
    assert array.dtype == dtype
    assert not array.any()
    array[...] = 7
    assert (array == 7).all()


def test_memory_is_given_back_or_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.give_back()
    monkeypatch.setattr(memory, "_trim", lambda: None)
    memory.give_back()


def test_weights_that_were_quantized_ahead_are_the_models_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "m.onnx")
    monkeypatch.setattr(plain_graph, "_KEPT_BYTES", 0)
    model = qonnx_core.load(tmp_path / "m.onnx")
    kept, alone = qonnx_core.compile_model(model), qonnx_core.compile_model(model)
    x = {"x": np.ones((2, 300), np.float32)}
    stored = np.asarray(model.graph.initializers["w"].const_value.numpy()).copy()  # type: ignore[union-attr]
    np.testing.assert_array_equal(kept.run(x, "w")["w"], stored)
    del model
    gc.collect()
    np.testing.assert_array_equal(kept.run(x, "w")["w"], stored)
    assert set(alone.run(x, "wq")) == {"y", "wq"}
    with pytest.raises(
        InvalidInput, match=r"tensor w: is a parameter that was quantized ahead, and the model .* is gone"
    ):
        alone.run(x, "w")

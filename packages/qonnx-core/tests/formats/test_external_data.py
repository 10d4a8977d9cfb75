"""External tensors are read in the model's folder, wherever they stand and whatever the current folder is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import qonnx_core

HEAD = '<ir_version: 8, opset_import: ["" : 18, "f" : 1]>'
PLACES = {
    "parameter": "g (float[1, 4] x) => (float[1, 4] y) <float[4] w = {0, 0, 0, 0}> { y = Add(x, w) }",
    "attribute": "g (float[1, 4] x) => (float[1, 4] y) { w = Constant<value = float[4] {0, 0, 0, 0}>() y = Add(x, w) }",
    "branch": """g (float[1, 4] x) => (float[1, 4] y) <bool c = {1}> {
        y = If (c) <then_branch = t () => (float[1, 4] a) <float[4] w = {0, 0, 0, 0}> { a = Add(x, w) },
                    else_branch = e () => (float[1, 4] b) { b = Identity(x) }> }""",
    "function": """g (float[1, 4] x) => (float[1, 4] y) { y = f.Plus(x) }
        <domain: "f", opset_import: ["" : 18]>
        Plus (i) => (o) { w = Constant<value = float[4] {0, 0, 0, 0}>() o = Add(i, w) }""",
}


def put_outside(message: onnx.ModelProto, dims: tuple[int, ...] = (4,)) -> None:
    """Let the tensor of four elements have its data in ``w.bin``."""
    graphs = [message.graph]
    nodes = [*message.graph.node, *(node for function in message.functions for node in function.node)]
    graphs += [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    tensors = [tensor for graph in graphs for tensor in graph.initializer]
    tensors += [attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t")]
    (tensor,) = (tensor for tensor in tensors if list(tensor.dims) == [4])
    tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=1, dims=dims, data_location=onnx.TensorProto.EXTERNAL))
    tensor.external_data.add(key="location", value="w.bin")


@pytest.mark.parametrize("place", PLACES)
def test_data_are_read_beside_the_model_and_written_into_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = onnx.parser.parse_model(f"{HEAD} {PLACES[place]}")
    put_outside(message)
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model" / "m.onnx").write_bytes(message.SerializeToString())
    np.arange(4, dtype=np.float32).tofile(tmp_path / "model" / "w.bin")
    np.full(4, 99, np.float32).tofile(tmp_path / "elsewhere" / "w.bin")
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = qonnx_core.load(tmp_path / "model" / "m.onnx")
    qonnx_core.save(model, "same.onnx")
    qonnx_core.save(qonnx_core.cleanup_model(model), "clean.onnx")
    (tmp_path / "elsewhere" / "w.bin").unlink()
    for found in (model, qonnx_core.load("same.onnx"), qonnx_core.load("clean.onnx")):
        compiled = qonnx_core.compile_model(found)
        (result,) = compiled.run({compiled.input_names[0]: np.zeros((1, 4), np.float32)}).values()
        np.testing.assert_array_equal(result, [[0, 1, 2, 3]])


def test_an_empty_tensor_in_a_file_is_read(tmp_path: Path) -> None:
    text = f"{HEAD} g (float[1, 4] x) => (float[1, 4] y) <float[4] w = {{0, 0, 0, 0}}> {{ y = Concat<axis = 1>(x, w) }}"
    message = onnx.parser.parse_model(text)
    put_outside(message, dims=(1, 0))
    (tmp_path / "m.onnx").write_bytes(message.SerializeToString())
    (tmp_path / "w.bin").write_bytes(b"1234")
    model = qonnx_core.load(tmp_path / "m.onnx")
    (result,) = qonnx_core.compile_model(model).run({"x": np.ones((1, 4), np.float32)}).values()
    np.testing.assert_array_equal(result, [[1, 1, 1, 1]])

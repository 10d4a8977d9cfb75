"""Damaged files are refused with one sentence, never with the traceback of a library."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.errors import InvalidModel, QonnxError

TEXT = """<ir_version: 8, opset_import: ["": 11, "onnx.brevitas": 1]>
g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}, float z = {0}, float b = {4}, float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>
{ q = onnx.brevitas.Quant<signed = 1, narrow = 0, rounding_mode = "ROUND">(w, s, z, b) m = MatMul(x, q) y = Softmax<axis = 1>(m) }"""  # noqa: E501


def proto() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


def load(model: onnx.ModelProto | bytes, folder: Path) -> None:
    file = folder / "m.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    qonnx_core.load(file)


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    model = proto()
    model.graph.node[1].input[0] = "y"
    with pytest.raises(InvalidModel, match=r"m.onnx: graph g: has a cycle"):
        load(model, tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    content = proto().SerializeToString().replace(b"onnx.brevitas", b"onnx.brevit\xff\xfe")
    with pytest.raises(InvalidModel, match=r"is no valid text|is no ONNX file"):
        load(content, tmp_path)


def test_an_attribute_without_a_type_is_refused(tmp_path: Path) -> None:
    model = proto()
    model.graph.node[0].attribute[0].ClearField("type")
    with pytest.raises(InvalidModel, match=r"\(Quant\): attribute signed has no type"):
        load(model, tmp_path)


@pytest.mark.parametrize("raw", [True, False])
def test_a_tensor_with_too_few_numbers_is_refused(raw: bool, tmp_path: Path) -> None:
    model = proto()
    tensor = model.graph.initializer[3]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 4), np.float32), "w"))
    if raw:
        tensor.raw_data = tensor.raw_data[:-4]
    else:
        tensor.ClearField("raw_data")
        tensor.float_data.extend([0.0] * 15)
    message = r"tensor w: holds \d+ (bytes|numbers); expected \d+ for shape \(4, 4\) of FLOAT. The file is damaged"
    with pytest.raises(InvalidModel, match=message):
        load(model, tmp_path)


@pytest.mark.parametrize(("data_type", "dims"), [(99, [4, 4]), (1, [-4, 4]), (0, [4, 4])])
def test_a_tensor_of_no_type_or_shape_is_refused(data_type: int, dims: list[int], tmp_path: Path) -> None:
    model = proto()
    model.graph.initializer[3].data_type = data_type
    model.graph.initializer[3].dims[:] = dims
    with pytest.raises(InvalidModel, match="tensor w: has element type"):
        load(model, tmp_path)


def test_external_data_that_are_too_short_are_refused(tmp_path: Path) -> None:
    model = proto()
    tensor = model.graph.initializer[3]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(b"\0" * 60)
    with pytest.raises(InvalidModel, match=r"tensor w: 64 bytes at 0 of 'w.bin' \(60 bytes\) are said to hold it"):
        load(model, tmp_path)
    (tmp_path / "w.bin").write_bytes(b"\0" * 64)
    load(model, tmp_path)


def test_external_data_in_a_hard_link_are_refused(tmp_path: Path) -> None:
    """Such a file can be one of another folder, which no path shows."""
    model = proto()
    model.graph.initializer[3].CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 4), np.float32), "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    qonnx_core.load(tmp_path / "m.onnx")
    (tmp_path / "other.bin").hardlink_to(tmp_path / "w.bin")
    with pytest.raises(InvalidModel, match=r"'w.bin' is a hard link.*expected a file with one name.*copy"):
        qonnx_core.load(tmp_path / "m.onnx")


def test_a_file_that_is_too_large_for_a_message_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(InvalidModel, match=r"m.onnx: holds more than 2147483647 bytes; expected"):
        qonnx_core.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("seed", range(200))
def test_random_damage_gives_a_model_or_one_of_our_errors(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)
    content = bytearray(proto().SerializeToString())
    for _ in range(generator.choice([1, 1, 2, 4])):
        content[generator.randrange(len(content))] = generator.randrange(256)
    file = tmp_path / "m.onnx"
    file.write_bytes(content)
    try:
        cleaned = qonnx_core.cleanup_model(qonnx_core.load(file))
        qonnx_core.compile_model(cleaned)
    except QonnxError as error:
        assert str(error)  # noqa: PT017

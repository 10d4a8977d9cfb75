"""Writing files: whole or not at all, the same bytes every time, with function bodies on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.formats import writer
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.ir_versions import required_ir_version
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import Quant, Rounding
from qonnx_core.testing.random_mlp import random_mlp

TEXT = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}, float z = {0}, float b = {4}, float[1, 2] t = {0.5, 1}>
{
  a = qonnx.custom_op.general.Quant<rounding_mode = "FLOOR">(x, s, z, b)
  c = qonnx.custom_op.general.Quant<rounding_mode = "HALF_UP", signed = 0>(x, s, z, b)
  d = qonnx.custom_op.general.Quant(x, s, z, b)
  e = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2">(x, t)
  y = Sum(a, c, d, e)
}"""
X = np.linspace(-5, 5, 44, dtype=np.float32).reshape(11, 4)


def model() -> ir.Model:
    return from_proto(onnx.parser.parse_model(TEXT))


def test_a_file_with_functions_runs_in_stock_onnxruntime(tmp_path: Path) -> None:
    qonnx_core.save(model(), tmp_path / "m.onnx", with_functions=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    expected = qonnx_core.compile_model(model()).run({"x": X})["y"]
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], expected)


def test_a_file_with_functions_passes_the_checker(tmp_path: Path) -> None:
    qonnx_core.save(model(), tmp_path / "m.onnx", with_functions=True)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)


def test_functions_are_off_by_default_and_dropped_on_reading(tmp_path: Path) -> None:
    qonnx_core.save(model(), tmp_path / "plain.onnx")
    assert not onnx.load(tmp_path / "plain.onnx").functions
    qonnx_core.save(model(), tmp_path / "m.onnx", with_functions=True)
    assert {f.name for f in onnx.load(tmp_path / "m.onnx").functions} == {"Quant", "MultiThreshold"}
    assert not qonnx_core.load(tmp_path / "m.onnx").functions


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        qonnx_core.save(model(), tmp_path / name, with_functions=True)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_writing_and_reading_keeps_annotations_and_metadata(tmp_path: Path) -> None:
    from qonnx_core.ir.annotations import get_datatype, get_layout, set_datatype, set_layout
    from qonnx_core.ir.datatypes import DataType

    before = model()
    value = before.graph[0].outputs[0]
    set_datatype(value, DataType.parse("INT4"))
    set_layout(value, ("N", "C"))
    before.graph[0].metadata_props["layer"] = "one"
    qonnx_core.save(before, tmp_path / "m.onnx")
    node = qonnx_core.load(tmp_path / "m.onnx").graph[0]
    assert get_datatype(node.outputs[0]) == DataType.parse("INT4")
    assert get_layout(node.outputs[0]) == ("N", "C")
    assert node.metadata_props["layer"] == "one"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.onnx"
    qonnx_core.save(model(), file)
    old = file.read_bytes()

    def fail(_: ir.Model) -> bytes:
        raise RuntimeError("power cut")

    monkeypatch.setattr(writer, "serialize", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        qonnx_core.save(model(), file)
    assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"m.onnx: cannot be written .* expected an existing, writable folder"):
        qonnx_core.save(model(), tmp_path / "nowhere" / "m.onnx")


def test_large_models_keep_their_tensors_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MAX_INLINE_BYTES", 1000)
    weights = np.random.default_rng(0).normal(size=(50, 50)).astype(np.float32)
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape(["N", 50]))
    w = ir.val("w", const_value=ir.tensor(weights, name="w"))
    node = ir.node("MatMul", [x, w])
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    big = ir.Model(
        ir.Graph([x], node.outputs, nodes=[node], initializers=[w], name="g", opset_imports={"": 21}), ir_version=10
    )
    qonnx_core.save(big, tmp_path / "big.onnx")
    assert (tmp_path / "big.onnx.data").stat().st_size >= weights.nbytes
    loaded = qonnx_core.load(tmp_path / "big.onnx")
    data = np.ones((2, 50), np.float32)
    for found in (loaded, qonnx_core.cleanup_model(loaded)):
        name = found.graph.inputs[0].name
        result = qonnx_core.compile_model(found).run({name: data})
        np.testing.assert_array_equal(next(iter(result.values())), qonnx_core.compile_model(big).run({"x": data})["y"])


def test_a_node_made_here_carries_every_attribute() -> None:
    values = [ir.val(name, ir.DataType.FLOAT) for name in ("x", "s", "z", "b")]
    node = Quant(False, True, Rounding.CEIL).node(*values)
    found = {name: attribute.value for name, attribute in node.attributes.items()}
    assert found == {"signed": 0, "narrow": 1, "rounding_mode": "CEIL"}


def test_a_file_does_not_take_the_place_of_a_folder_or_device(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a folder; expected the name of a file"):
        qonnx_core.save(random_mlp(3), tmp_path)
    with pytest.raises(InvalidInput, match="is a device; expected the name of a file"):
        qonnx_core.save(random_mlp(3), Path("/dev/null"))


@pytest.mark.parametrize(
    ("opset", "functions", "expected"), [(9, False, 4), (13, False, 7), (17, False, 8), (20, False, 9), (21, False, 10),
                                         (21, True, 10), (23, False, 11), (25, False, 13)],
)  # fmt: skip
def test_the_file_has_the_lowest_ir_version_that_holds_the_model(
    opset: int, functions: bool, expected: int, tmp_path: Path
) -> None:
    text = '<ir_version: 13, opset_import: ["": 21, "qonnx.custom_op.general": 1]> g (float[N] x) => (float[N] y) '
    text += "<float s = {0.5}> { y = qonnx.custom_op.general.BipolarQuant(x, s) }"
    written = convert_opset(from_proto(onnx.parser.parse_model(text)), opset)
    qonnx_core.save(written, tmp_path / "m.onnx", with_functions=functions)
    assert onnx.load(tmp_path / "m.onnx").ir_version == expected
    qonnx_core.save(written, tmp_path / "m.onnx", ir_version=13, with_functions=functions)
    assert onnx.load(tmp_path / "m.onnx").ir_version == 13


def test_element_types_need_an_ir_version_too(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 19]> g (float[N] x) => (float[N] y) '
    text += "{ a = Cast<to = 17>(x) y = Cast<to = 1>(a) }"
    written = convert_opset(from_proto(onnx.parser.parse_model(text)), 19)
    assert required_ir_version(written) == 9
    with pytest.raises(InvalidInput, match=r"IR version 8: does not hold this model; expected 9 \(what its opset"):
        qonnx_core.save(written, tmp_path / "m.onnx", ir_version=8)
    with pytest.raises(InvalidInput, match=r"IR version 99: does not hold this model; expected 9"):
        qonnx_core.save(written, tmp_path / "m.onnx", ir_version=99)


@pytest.mark.parametrize("version", [3, 13, 99])
def test_a_model_of_any_ir_version_runs_and_is_written_in_the_lowest(version: int, tmp_path: Path) -> None:
    """Runtimes refuse versions that are newer than they are, whatever the graph."""
    text = '<ir_version: 10, opset_import: ["": 17]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
    proto = onnx.parser.parse_model(text)
    proto.ir_version = version
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    loaded = qonnx_core.load(tmp_path / "m.onnx")
    for each in (loaded, qonnx_core.cleanup_model(loaded)):
        (found,) = qonnx_core.compile_model(each).run({each.graph.inputs[0].name: X[0]}).values()
        np.testing.assert_array_equal(found, -X[0])
    qonnx_core.save(loaded, tmp_path / "again.onnx")
    assert onnx.load(tmp_path / "again.onnx").ir_version == 10

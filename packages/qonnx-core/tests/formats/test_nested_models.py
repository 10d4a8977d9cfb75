"""GenericPartition: models in files beside the model, which take the places of their nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
PARENT = """g (float[1, 4] x) => (float[1, 4] y)
<float one = {1}, float zero = {0}, float bits = {4}>
{ q = qonnx.custom_op.general.Quant(x, one, zero, bits)
  p, r = qonnx.custom_op.general.GenericPartition<model = "MODEL">(q, x)
  s = Add(p, r) y = Relu(s) }"""
CHILD = """g (float[1, 4] q, float[1, 4] other) => (float[1, 4] s, float[1, 4] same)
<float one = {2}, float zero = {0}, float bits = {3}, int64[2] shape = {1, 4}>
{ q2 = qonnx.custom_op.general.Quant(q, one, zero, bits) f = Reshape(q2, shape) s = Neg(f) same = Identity(other) }"""
X = np.random.default_rng(0).normal(0, 6, (5, 4)).astype(np.float32)


def expected(x: np.ndarray) -> np.ndarray:
    q = np.clip(np.round(x), -8, 7)
    return np.maximum(x - np.clip(np.round(q / 2), -4, 3) * 2, 0)


def write(file: Path, text: str, head: str = HEAD) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(onnx.parser.parse_model(head + text).SerializeToString())
    return file


def load(folder: Path, path: str = "parts/child.onnx", parent: str = PARENT):
    return qonnx_core.load(write(folder / "parent.onnx", parent.replace("MODEL", path)))


@pytest.mark.parametrize("path", ["child.onnx", "parts/child.onnx", "./parts/child.onnx"])
def test_a_nested_model_runs_at_any_batch(path: str, tmp_path: Path) -> None:
    write(tmp_path / path, CHILD)
    model = load(tmp_path, path)
    assert [node.op_type for node in model.graph] == ["Quant", "GenericPartition", "Add", "Relu"]
    found = qonnx_core.compile_model(model).run({"x": X})["y"]
    np.testing.assert_array_equal(found, expected(X))


def test_cleanup_puts_the_nested_model_in_place(tmp_path: Path) -> None:
    write(tmp_path / "parts/child.onnx", CHILD)
    cleaned = qonnx_core.cleanup_model(load(tmp_path))
    assert [node.op_type for node in cleaned.graph] == ["Quant", "Quant", "Reshape", "Neg", "Add", "Relu"]
    assert [str(dim) for dim in cleaned.graph.outputs[0].shape] == ["batch", "4"]
    found = qonnx_core.compile_model(cleaned).run({"global_in": X})["global_out"]
    np.testing.assert_array_equal(found, expected(X))


def test_saving_keeps_the_node(tmp_path: Path) -> None:
    write(tmp_path / "parts/child.onnx", CHILD)
    qonnx_core.save(load(tmp_path), tmp_path / "again.onnx")
    again = qonnx_core.load(tmp_path / "again.onnx")
    assert again.graph[1].attributes["model"].value == "parts/child.onnx"
    np.testing.assert_array_equal(qonnx_core.compile_model(again).run({"x": X})["y"], expected(X))


def test_inner_tensors_have_the_name_of_the_node_in_front(tmp_path: Path) -> None:
    write(tmp_path / "parts/child.onnx", CHILD)
    model = load(tmp_path)
    model.graph[1].name = "conv_block"
    found = qonnx_core.compile_model(model).run({"x": X}, ["conv_block_q2", "q"])
    np.testing.assert_array_equal(found["q"], np.clip(np.round(X), -8, 7))
    np.testing.assert_array_equal(found["conv_block_q2"], np.clip(np.round(found["q"] / 2), -4, 3) * 2)


def test_one_model_can_be_used_twice_and_models_can_be_nested(tmp_path: Path) -> None:
    write(tmp_path / "parts/deep/relu.onnx", "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    outer = """g (float[N, 4] a) => (float[N, 4] y) { b = Neg(a)
      y = qonnx.custom_op.general.GenericPartition<model = "deep/relu.onnx">(b) }"""
    write(tmp_path / "parts/outer.onnx", outer)
    twice = """g (float[N, 4] x) => (float[N, 4] y)
    { a = qonnx.custom_op.general.GenericPartition<model = "parts/outer.onnx">(x) b = Add(a, x)
      y = qonnx.custom_op.general.GenericPartition<model = "parts/outer.onnx">(b) }"""
    found = qonnx_core.compile_model(load(tmp_path, parent=twice)).run({"x": X})["y"]
    np.testing.assert_array_equal(found, np.maximum(-(np.maximum(-X, 0) + X), 0))


def test_a_nested_model_inside_a_branch_runs(tmp_path: Path) -> None:
    write(tmp_path / "parts/child.onnx", "g (float[N, 4] x) => (float[N, 4] y) { y = Neg(x) }")
    text = """g (float[N, 4] x, bool c) => (float[N, 4] y) { y = If(c) <
      then_branch = t () => (float[N, 4] a) { a = qonnx.custom_op.general.GenericPartition<model = "MODEL">(x) },
      else_branch = e () => (float[N, 4] b) { b = Relu(x) }> }"""
    compiled = qonnx_core.compile_model(load(tmp_path, parent=text))
    for flag, wanted in ((True, -X), (False, np.maximum(X, 0))):
        np.testing.assert_array_equal(compiled.run({"x": X, "c": np.asarray(flag)})["y"], wanted)


def test_an_input_or_parameter_can_be_an_output_of_the_nested_model(tmp_path: Path) -> None:
    child = "g (float[N, 4] x, float[N, 4] u) => (float[N, 4] x, float[4] w) <float[4] w = {1, 2, 3, 4}> { z = Neg(u) }"
    write(tmp_path / "parts/child.onnx", child)
    found = qonnx_core.compile_model(load(tmp_path)).run({"x": X})["y"]
    np.testing.assert_array_equal(found, np.maximum(np.clip(np.round(X), -8, 7) + np.float32([1, 2, 3, 4]), 0))


@pytest.mark.parametrize(
    "path",
    ["/etc/hosts", "../child.onnx", "parts/../../child.onnx", "parts/../child.onnx", "..\\\\child.onnx",
     "C:\\\\child.onnx", "C:child.onnx", "\\\\\\\\host\\\\child.onnx", "parts", "."],
)  # fmt: skip
def test_a_path_out_of_the_folder_is_refused_at_load(path: str, tmp_path: Path) -> None:
    write(tmp_path / "child.onnx", CHILD)
    (tmp_path / "model" / "parts").mkdir(parents=True)
    write(tmp_path / "model" / "child.onnx", CHILD)
    with pytest.raises(InvalidModel, match=r"parent.onnx: p \(GenericPartition\): its model .*; expected"):
        load(tmp_path / "model", path)


def test_an_absolute_path_into_the_folder_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="expected a file inside the folder of this model"):
        load(tmp_path, str(write(tmp_path / "child.onnx", CHILD)))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "child.onnx", CHILD)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "child.onnx").symlink_to(outside)
    (tmp_path / "model" / "parts").symlink_to(outside.parent)
    for path in ("child.onnx", "parts/child.onnx"):
        with pytest.raises(InvalidModel, match="expected a file inside the folder of this model"):
            load(tmp_path / "model", path)


def test_a_link_that_appears_after_loading_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "child.onnx", CHILD)
    inside = write(tmp_path / "model" / "child.onnx", CHILD)
    model = load(tmp_path / "model", "child.onnx")
    inside.unlink()
    inside.symlink_to(outside)
    with pytest.raises(InvalidModel, match="expected a file inside the folder of this model"):
        qonnx_core.compile_model(model)


def test_a_model_that_contains_itself_is_refused(tmp_path: Path) -> None:
    text = 'g (float[N, 4] x) => (float[N, 4] y) { y = qonnx.custom_op.general.GenericPartition<model = "MODEL">(x) }'
    write(tmp_path / "other.onnx", text.replace("MODEL", "parent.onnx"))
    model = load(tmp_path, "other.onnx", text)
    with pytest.raises(InvalidModel, match=r"its model (other|parent)\.onnx contains itself; expected an end"):
        qonnx_core.compile_model(model)


def test_models_that_multiply_are_refused(tmp_path: Path) -> None:
    calls = " ".join(f'v{n + 1} = qonnx.custom_op.general.GenericPartition<model = "MODEL">(v{n})' for n in range(10))
    text = f"g (float[N, 4] v0) => (float[N, 4] v10) {{ {calls} }}"
    for level in range(8):
        write(tmp_path / f"m{level}.onnx", text.replace("MODEL", f"m{level + 1}.onnx"))
    write(tmp_path / "m8.onnx", "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    with pytest.raises(InvalidModel, match=r"more than 4096 in all; expected fewer"):
        qonnx_core.compile_model(qonnx_core.load(tmp_path / "m0.onnx"))


def test_a_model_with_other_inputs_than_the_node_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path / "parts/child.onnx", "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Neg(x) }"
    )
    with pytest.raises(InvalidModel, match=r"p \(GenericPartition\): has 2 inputs, its model 1; expected the same"):
        qonnx_core.compile_model(load(tmp_path))


def test_versions_of_a_domain_mix_where_they_say_the_same_of_all_operators(tmp_path: Path) -> None:
    newer = HEAD.replace('general": 1', 'general": 2')
    write(tmp_path / "parts/child.onnx", CHILD, newer)
    np.testing.assert_array_equal(qonnx_core.compile_model(load(tmp_path)).run({"x": X})["y"], expected(X))
    trunc = "t = qonnx.custom_op.general.Trunc({}, one, zero, bits, {}) s = "
    write(tmp_path / "parts/child.onnx", CHILD.replace("s = Neg(f)", trunc.format("f", "one, bits") + "Neg(t)"), newer)
    assert qonnx_core.compile_model(load(tmp_path)).run({"x": X})["y"].shape == X.shape
    both = PARENT.replace("s = Add(p", trunc.format("p", "bits") + "Add(t")
    with pytest.raises(Unsupported, match=r"imports version 2 of qonnx.custom_op.general, the model around it 1"):
        qonnx_core.compile_model(load(tmp_path, parent=both))


def test_a_damaged_nested_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "child.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidModel, match=r"child.onnx: (is no ONNX file|holds no ONNX model)"):
        qonnx_core.compile_model(load(tmp_path, "child.onnx"))


@pytest.mark.parametrize("attributes", ["", '<model = "">', "<model = 3>"])
def test_a_node_that_names_no_model_is_refused(attributes: str, tmp_path: Path) -> None:
    parent = PARENT.replace('<model = "MODEL">', attributes)
    with pytest.raises(InvalidModel, match=r"attribute model is .*; expected the path of an ONNX file"):
        load(tmp_path, parent=parent)


def test_a_model_that_was_not_read_from_a_file_is_not_run() -> None:
    model = from_proto(onnx.parser.parse_model(HEAD + PARENT))
    with pytest.raises(Unsupported, match=r"p \(GenericPartition\): stands for a model in a file, and this model was"):
        qonnx_core.compile_model(model)


def test_the_folder_is_known_in_a_model_out_of_order(tmp_path: Path) -> None:
    write(tmp_path / "parts/child.onnx", CHILD)
    model = load(tmp_path)
    nodes = list(model.graph)
    model.graph.remove(nodes)
    model.graph.extend(reversed(nodes))
    np.testing.assert_array_equal(qonnx_core.compile_model(model).run({"x": X})["y"], expected(X))

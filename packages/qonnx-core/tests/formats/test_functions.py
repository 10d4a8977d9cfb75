"""Files with the definitions of our operators attached run in stock onnxruntime, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import qonnx_core
from qonnx_core.errors import Unsupported
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.functions import add_functions, undefined_operators
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1, "local": 1]>'
Q = "qonnx.custom_op.general"
X = np.linspace(-5, 5, 44, dtype=np.float32).reshape(11, 4)
INNER = f"""g (float[N, 4] x, bool c, int64 n) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}},
  bool go = {{1}}>
  {{ u = If(c) <then_branch = t () => (float[N, 4] v) {{ v = {Q}.Quant<rounding_mode = "FLOOR">(x, s, z, b) }},
               else_branch = e () => (float[N, 4] w) {{ w = {Q}.BipolarQuant(x, s) }}>
    y = Loop(n, go, u) <body = l (int64 i, bool k, float[N, 4] p) => (bool m, float[N, 4] q)
      {{ m = Identity(k) h = Mul(p, z2) q = {Q}.Quant<signed = 0>(h, s, z, b) }}> }}""".replace(
    "Mul(p, z2)", "Add(p, s)"
)
LOCAL = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
  {{ y = local.Block(x, s, z, b) }}
  <opset_import: ["": 21, "{Q}": 1], domain: "local"> Block (x, s, z, b) => (y)
  {{ q = {Q}.Quant<narrow = 1>(x, s, z, b) r = Relu(q) y = {Q}.Quant<rounding_mode = "CEIL">(r, s, z, b) }}"""


def stock(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_operators_inside_of_branches_and_loops_run(tmp_path: Path) -> None:
    model = from_proto(onnx.parser.parse_model(HEAD + INNER))
    qonnx_core.save(model, tmp_path / "m.onnx", with_functions=True)
    onnx.checker.check_model(tmp_path / "m.onnx")
    for flag, count in ((True, 0), (True, 2), (False, 3)):
        inputs = {"x": X, "c": np.asarray(flag), "n": np.asarray(count)}
        wanted = qonnx_core.compile_model(model).run(inputs)["y"]
        np.testing.assert_array_equal(stock(tmp_path / "m.onnx", inputs), wanted)


def test_operators_inside_of_functions_of_the_model_run(tmp_path: Path) -> None:
    model = from_proto(onnx.parser.parse_model(HEAD + LOCAL))
    qonnx_core.save(model, tmp_path / "m.onnx", with_functions=True)
    assert {function.name for function in onnx.load(tmp_path / "m.onnx").functions} == {"Block", "Quant"}
    wanted = qonnx_core.compile_model(model).run({"x": X})["y"]
    np.testing.assert_array_equal(stock(tmp_path / "m.onnx", {"x": X}), wanted)


@pytest.mark.parametrize("text", [INNER, LOCAL], ids=["inner graphs", "functions"])
def test_reading_the_file_again_gives_the_model_without_our_functions(text: str, tmp_path: Path) -> None:
    model = from_proto(onnx.parser.parse_model(HEAD + text))
    qonnx_core.save(model, tmp_path / "with.onnx", with_functions=True)
    qonnx_core.save(model, tmp_path / "without.onnx")
    ours, plain = (qonnx_core.load(tmp_path / name) for name in ("with.onnx", "without.onnx"))
    assert serialize(ours) == serialize(plain)


def test_a_function_of_our_name_with_another_body_does_not_count(tmp_path: Path) -> None:
    """The format says what its operators compute, not the file."""
    text = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
      {{ y = {Q}.Quant(x, s, z, b) }}
      <opset_import: ["": 21], domain: "{Q}"> Quant (x, s, z, b) => (y) {{ y = Neg(x) }}"""
    found = qonnx_core.compile_model(from_proto(onnx.parser.parse_model(HEAD + text))).run({"x": X})["y"]
    np.testing.assert_array_equal(found, np.clip(np.round(X / 0.5), -4, 3) * np.float32(0.5))


@pytest.mark.parametrize("opset", [12, 13, 14, 15, 17, 20, 23, 25])
def test_definitions_are_written_in_the_opset_of_the_model(opset: int, tmp_path: Path) -> None:
    text = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
      {{ y = {Q}.Quant<rounding_mode = "HALF_UP">(x, s, z, b) }}"""
    model = convert_opset(from_proto(onnx.parser.parse_model(HEAD + text)), opset)
    qonnx_core.save(model, tmp_path / "m.onnx", with_functions=True)
    (function,) = onnx.load(tmp_path / "m.onnx").functions
    assert {entry.version for entry in function.opset_import if not entry.domain} == {opset}
    np.testing.assert_array_equal(
        stock(tmp_path / "m.onnx", {"x": X}), qonnx_core.compile_model(model).run({"x": X})["y"]
    )


def test_below_opset_15_a_definition_is_for_one_element_type(tmp_path: Path) -> None:
    text = f"""g (float[N, 4] x, float16[N, 4] w) => (float[N, 4] y, float16[N, 4] v) <float s = {{0.5}}>
      {{ y = {Q}.BipolarQuant(x, s) u = Cast<to = 10>(y) v = NODE }}"""
    one, two = (
        convert_opset(from_proto(onnx.parser.parse_model(HEAD + text.replace("NODE", node))), 13)
        for node in ("Add(w, u)", f"{Q}.BipolarQuant(w, s)")
    )
    qonnx_core.save(one, tmp_path / "m.onnx", with_functions=True)
    inputs = {"x": X, "w": X.astype(np.float16)}
    np.testing.assert_array_equal(stock(tmp_path / "m.onnx", inputs), qonnx_core.compile_model(one).run(inputs)["y"])
    with pytest.raises(Unsupported, match=r"no definition in opset 13.*(\n.*)*CastLike\): is new in opset 15, and the"):
        add_functions(two)


def test_an_opset_without_a_definition_is_refused() -> None:
    text = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
      {{ y = {Q}.Quant(x, s, z, b) }}"""
    model = convert_opset(from_proto(onnx.parser.parse_model(HEAD + text)), 11)
    with pytest.raises(Unsupported, match=r"no definition in opset 11.*(\n.*)*takes the attribute of a function"):
        add_functions(model)


TWO_MODES = f"""g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
  {{ q = {Q}.Quant<rounding_mode = "HALF_DOWN">(x, s, z, b) r = {Q}.Quant(x, s, z, b)
     t = {Q}.Quant<rounding_mode = "HALF_DOWN", signed = 0>(x, s, z, b) u = Add(q, r) y = Add(u, t) }}"""


def test_the_evaluator_of_the_onnx_package_runs_them_too() -> None:
    """It compares no texts of different lengths."""
    model = from_proto(onnx.parser.parse_model(HEAD + TWO_MODES))
    proto = onnx.load_model_from_string(serialize(add_functions(model)))
    wanted = qonnx_core.compile_model(model).run({"x": X})["y"]
    np.testing.assert_array_equal(ReferenceEvaluator(proto).run(None, {"x": X})[0], wanted)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], wanted)


def test_rounding_modes_that_differ_are_refused_in_opsets_that_compare_no_texts() -> None:
    model = convert_opset(from_proto(onnx.parser.parse_model(HEAD + TWO_MODES)), 17)
    with pytest.raises(Unsupported) as refused:
        add_functions(model)
    assert "\n  - Quant: its nodes differ in rounding_mode, which a definition tells apart from opset 19 on" in str(
        refused.value
    )
    assert "convert it to a newer one first, or to plain ONNX" in str(refused.value)


def test_nested_models_take_their_places(tmp_path: Path) -> None:
    child = f"g (float[N, 4] a) => (float[N, 4] d) <float s = {{0.5}}> {{ d = {Q}.BipolarQuant(a, s) }}"
    parent = f'g (float[N, 4] x) => (float[N, 4] y) {{ r = Relu(x) y = {Q}.GenericPartition<model = "child.onnx">(r) }}'
    for name, text in (("child", child), ("parent", parent)):
        (tmp_path / f"{name}.onnx").write_bytes(onnx.parser.parse_model(HEAD + text).SerializeToString())
    model = qonnx_core.load(tmp_path / "parent.onnx")
    qonnx_core.save(model, tmp_path / "whole.onnx", with_functions=True)
    np.testing.assert_array_equal(
        stock(tmp_path / "whole.onnx", {"x": X}), qonnx_core.compile_model(model).run({"x": X})["y"]
    )


def test_operators_that_nobody_defines_are_named() -> None:
    head = '<ir_version: 10, opset_import: ["": 21, "their.domain": 1, "com.microsoft": 1]>'
    text = "g (float[N, 4] x) => (float[N, 4] y) { a = their.domain.Magic(x) y = com.microsoft.QuickGelu(a) }"
    found = undefined_operators(from_proto(onnx.parser.parse_model(head + text)))
    assert found == ("a (their.domain::Magic): is defined neither by ONNX nor here",)

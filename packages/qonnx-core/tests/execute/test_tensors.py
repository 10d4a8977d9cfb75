"""Tensors are asked for by name or pattern."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
CHAIN = """g (float[N, 2] x) => (float[N, 2] y) <float k = {2}>
{ Neg_0_out0 = Neg(x) Abs_0_out0 = Abs(Neg_0_out0) y = Mul(Abs_0_out0, k) }"""
X = np.float32([[1, -2], [3, 4]])


def compiled(body: str = CHAIN, **options: object) -> qonnx_core.CompiledModel:
    return qonnx_core.compile_model(from_proto(onnx.parser.parse_model(HEAD + body)), **options)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["*_out0"], ["y", "Neg_0_out0", "Abs_0_out0"]),
        ("*_out0", ["y", "Neg_0_out0", "Abs_0_out0"]),
        ("Neg_0_out0", ["y", "Neg_0_out0"]),
        (["Abs*", "Abs_0_out0"], ["y", "Abs_0_out0"]),
        (["[NA]*_out?"], ["y", "Neg_0_out0", "Abs_0_out0"]),
        (["*"], ["y", "x", "Neg_0_out0", "Abs_0_out0"]),
        (["k"], ["y", "k"]),
        (["[k]"], ["y", "k"]),
    ],
)
def test_patterns_match_computed_tensors(asked: list[str], names: list[str]) -> None:
    model = compiled()
    found = model.run({"x": X}, asked)
    assert list(found) == names
    np.testing.assert_array_equal(found["y"], 2 * np.abs(X))


def test_outputs_are_chosen_by_pattern_too() -> None:
    assert list(compiled(outputs=["*_0_*"]).run({"x": X})) == ["Neg_0_out0", "Abs_0_out0"]


@pytest.mark.parametrize("name", ["neg_0_out0", "Neg_0_out", "q*", "", "NEG*"])
def test_what_matches_nothing_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"the model computes none of this name .*; expected one of its 5 tensors"):
        compiled().run({"x": X}, [name])


def test_a_near_name_is_shown() -> None:
    with pytest.raises(InvalidInput, match=r"such as Neg_0_out0"):
        compiled().run({"x": X}, ["Neg_0_out1"])


def test_a_name_with_brackets_stands_for_itself() -> None:
    proto = onnx.parser.parse_model(HEAD + CHAIN)
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "layers[0]*"
    model = qonnx_core.compile_model(from_proto(proto))
    assert list(model.run({"x": X}, ["layers[0]*"])) == ["y", "layers[0]*"]


def test_sequences_are_left_out_of_patterns() -> None:
    body = "g (float[2, 2] x) => (float[2, 2] y) { s = SplitToSequence(x) y = ConcatFromSequence<axis = 0>(s) }"
    assert list(compiled(body).run({"x": X}, "*")) == ["y", "x"]
    with pytest.raises(InvalidInput, match="tensor 's': is a sequence of tensors; expected a single one"):
        compiled(body).run({"x": X}, "s")


def test_an_input_that_is_a_sequence_is_refused_by_name() -> None:
    text = """g (seq(float[N, 4]) s, int64 i) => (float[N, 4] y) { y = SequenceAt(s, i) }"""
    model = from_proto(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {text}'))
    with pytest.raises(Unsupported, match="input s: is a sequence of tensors; expected one tensor"):
        qonnx_core.compile_model(model)


def test_every_tensor_of_a_deep_model_comes_at_once_with_the_same_bits() -> None:
    model = qonnx_core.cleanup_model(random_mlp(5, MlpShape(widths=(6,) * 40, batch_norm=True)))
    deep = qonnx_core.compile_model(model)
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    every = deep.run({"global_in": x}, "*")
    assert len(every) > 150
    for name in list(every)[::40]:
        np.testing.assert_array_equal(deep.run({"global_in": x}, [name])[name], every[name])


def test_only_a_few_sessions_are_kept() -> None:
    model = compiled()
    for name in ("x", "k", "y", "Neg_0_out0", "Abs_0_out0", "*", "Neg*", "Abs*", "?_*"):
        model.run({"x": X}, [name]) if name != "?_*" else None
    assert len(model._plans) <= 6
    np.testing.assert_array_equal(model.run({"x": X})["y"], 2 * np.abs(X))


def test_activations_depend_on_the_inputs() -> None:
    body = "g (float[1, 2] x) => (float[1, 2] y) <float k = {2}> { c = Neg(k) a = Abs(x) y = Mul(a, c) }"
    model = compiled(body)
    assert model.activation_names == ("x", "a", "y")
    assert model.tensor_names == ("x", "k", "c", "a", "y")

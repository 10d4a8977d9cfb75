"""Two models become one that computes the second of what the first one gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.merge import merge_models
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.testing.random_graphs import random_graph


def model(text: str, opset: int = 21, version: int = 1) -> ir.Model:
    head = f'<ir_version: 10, opset_import: ["": {opset}, "qonnx.custom_op.general": {version}]>'
    return from_proto(onnx.parser.parse_model(head + text))


FIRST = "g (float[N, 4] x) => (float[N, 4] m, float[N, 4] r) <float s = {2}> { m = Mul(x, s) r = Relu(x) }"
SECOND = """g (float[N, 4] m, float[N, 4] other) => (float[N, 4] s, float[N, 4] x) <float r = {3}>
  { s = Add(m, other) x = Mul(s, r) }"""
X = np.arange(-4, 8, dtype=np.float32).reshape(3, 4)


def names(values: object) -> list[str]:
    return [value.name for value in values]  # type: ignore[attr-defined]


def test_before_and_after() -> None:
    first = model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    second = model(
        "g (float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> { y = MatMul(x, w) }"
    )
    merged = merge_models(first, second)
    assert [node.op_type for node in merged.graph] == ["Relu", "MatMul"]
    assert (names(merged.graph.inputs), names(merged.graph.outputs)) == (["x"], ["y"])
    assert list(merged.graph.initializers) == ["w"]


def test_names_join_and_clashes_get_numbers() -> None:
    merged = merge_models(model(FIRST), model(SECOND))
    assert names(merged.graph.inputs) == ["x", "other"]
    assert names(merged.graph.outputs) == ["r", "s", "x_1"]
    other = X + 1
    found = qonnx_core.compile_model(merged).run({"x": X, "other": other})
    np.testing.assert_array_equal(found["r"], np.maximum(X, 0))
    np.testing.assert_array_equal(found["s"], X * 2 + other)
    np.testing.assert_array_equal(found["x_1"], (X * 2 + other) * 3)


def test_a_mapping_says_what_belongs_together() -> None:
    merged = merge_models(model(FIRST), model(SECOND), mapping={"m": "other", "r": "m"})
    assert names(merged.graph.outputs) == ["s", "x_1"]
    found = qonnx_core.compile_model(merged).run({"x": X})
    np.testing.assert_array_equal(found["s"], X * 2 + np.maximum(X, 0))


def test_one_output_feeds_several_inputs() -> None:
    merged = merge_models(model(FIRST), model(SECOND), mapping={"m": ["m", "other"]})
    assert names(merged.graph.inputs) == ["x"]
    np.testing.assert_array_equal(qonnx_core.compile_model(merged).run({"x": X})["s"], X * 4)
    with pytest.raises(InvalidInput, match="each input of the second model in one pair"):
        merge_models(model(FIRST), model(SECOND), mapping={"m": ["m"], "r": ["other", "m"]})


def test_opsets_are_brought_together_and_functions_put_in_place() -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "local": 1]> g (float[N, 4] m) => (float[N, 4] y)
      { y = local.Twice(m) } <opset_import: ["": 21], domain: "local"> Twice (a) => (b) { b = Add(a, a) }"""
    merged = merge_models(model(FIRST, opset=23), from_proto(onnx.parser.parse_model(text)))
    assert merged.opset_imports[""] == 23
    assert not merged.functions
    np.testing.assert_array_equal(qonnx_core.compile_model(merged).run({"x": X})["y"], X * 4)


def test_annotations_and_metadata_stay() -> None:
    first, second = model(FIRST), model(SECOND)
    set_datatype(first.graph.outputs[0], DataType.parse("INT4"))
    set_datatype(second.graph.inputs[0], DataType.parse("INT8"))
    set_datatype(second.graph.inputs[1], DataType.parse("UINT3"))
    first.metadata_props.update(a="1", both="1")
    second.metadata_props.update(b="2", both="2")
    second.graph[0].metadata_props["layer"] = "add"
    merged = merge_models(first, second)
    assert str(get_datatype(merged.graph[0].outputs[0])) == "INT4"
    assert str(get_datatype(merged.graph.inputs[1])) == "UINT3"
    assert dict(merged.metadata_props) == {"a": "1", "b": "2", "both": "1"}
    assert merged.graph[2].metadata_props["layer"] == "add"


@pytest.mark.parametrize(
    ("second", "mapping", "error", "message"),
    [
        ("g (float[N, 5] m) => (float[N, 5] y) { y = Relu(m) }", None, InvalidModel,
         r"have the shapes \[N, 4\] and \[N, 5\]"),
        ("g (float[N] m) => (float[N] y) { y = Relu(m) }", None, InvalidModel, "expected shapes that fit"),
        ("g (double[N, 4] m) => (double[N, 4] y) { y = Relu(m) }", None, InvalidModel, "hold FLOAT and DOUBLE"),
        ("g (float[N, 4] a) => (float[N, 4] y) { y = Relu(a) }", None, InvalidInput, "Say which belong together"),
        (SECOND, {"q": "m"}, InvalidInput, "'q' is no output of the first model; expected one of m, r"),
        (SECOND, {"m": "q"}, InvalidInput, "'q' is no input of the second model"),
        (SECOND, {}, InvalidInput, "expected at least one pair"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    second: str, mapping: dict[str, str] | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        merge_models(model(FIRST), model(second), mapping=mapping)


def domains(kind: str, given: str, made: str, version: int) -> ir.Model:
    """Return a model whose operator is the same in both versions of its domain, or another in each."""
    body = {
        "same": f"<float s = {{1}}> {{ {made} = qonnx.custom_op.general.BipolarQuant({given}, s) }}",
        "changed": "<float s = {1}, float z = {0}, float b = {8}, float c = {4}> "
        f"{{ {made} = qonnx.custom_op.general.Trunc({given}, s, z, b, {'c' if version == 1 else 's, c'}) }}",
    }[kind]
    return model(f"g (float[N, 4] {given}) => (float[N, 4] {made}) {body}", version=version)


@pytest.mark.parametrize(
    ("first", "second", "version"),
    [(("same", 1), ("same", 2), 2), (("same", 1), ("changed", 2), 2), (("changed", 1), ("same", 2), 1),
     (("changed", 2), ("same", 1), 2)],
)  # fmt: skip
def test_two_versions_of_a_domain_become_one_that_says_the_same(
    first: tuple[str, int], second: tuple[str, int], version: int
) -> None:
    front, back = domains(first[0], "x", "m", first[1]), domains(second[0], "m", "y", second[1])
    merged = merge_models(front, back)
    assert merged.opset_imports["qonnx.custom_op.general"] == version
    x = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    between = qonnx_core.compile_model(front).run({"x": x})["m"]
    expected = qonnx_core.compile_model(back).run({"m": between})["y"]
    np.testing.assert_array_equal(qonnx_core.compile_model(merged).run({"x": x})["y"], expected)


def test_two_meanings_of_an_operator_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"imports version 2 of qonnx\.custom_op\.general"):
        merge_models(domains("changed", "x", "m", 1), domains("changed", "m", "y", 2))


def dims(values: Any) -> list[list[int | str]]:
    return [[dim if isinstance(dim, int) else str(dim.value) for dim in value.shape] for value in values]


@pytest.mark.parametrize(
    ("first", "second", "inputs", "outputs"),
    [
        ("g (float[B, 4] x) => (float[B, 4] m) { m = Neg(x) }",
         "g (float[N, 4] m, float[N, 4] z) => (float[N, 4] y) { y = Add(m, z) }", [["B", 4], ["B", 4]], [["B", 4]]),
        ("g (float[N, 4] x) => (float[4, N] m) { m = Transpose(x) }",
         "g (float[4, M] m, float[N, 3] z) => (float[4, M] y, float[N, 3] v) { y = Neg(m) v = Neg(z) }",
         [["N", 4], ["N_1", 3]], [[4, "N"], ["N_1", 3]]),
        ("g (float[1, 4] x) => (float[1, 4] m) { m = Neg(x) }",
         "g (float[N, 4] m, float[N, 4] z) => (float[N, 4] y) { y = Add(m, z) }", [[1, 4], [1, 4]], [[1, 4]]),
        ("g (float[N, 4] x) => (float[N, 4] m) { m = Neg(x) }",
         "g (float[3, 4] m) => (float[3, 4] y) { y = Neg(m) }", [[3, 4]], [[3, 4]]),
        ("g (float[A, B] x) => (float[A, B] m) { m = Neg(x) }",
         "g (float[N, N] m) => (float[N, N] y) { y = Neg(m) }", [["A", "A"]], [["A", "A"]]),
    ],
)  # fmt: skip
def test_free_dimensions_are_the_same_where_values_meet_and_others_elsewhere(
    first: str, second: str, inputs: list[list[int | str]], outputs: list[list[int | str]]
) -> None:
    merged = merge_models(model(first), model(second))
    assert (dims(merged.graph.inputs), dims(merged.graph.outputs)) == (inputs, outputs)
    sizes = {"N": 2, "N_1": 5, "A": 4, "B": 4, "M": 4}
    data = {
        value.name: np.ones([dim if isinstance(dim, int) else sizes[dim] for dim in shape], np.float32)
        for value, shape in zip(merged.graph.inputs, inputs, strict=True)
    }
    assert len(qonnx_core.compile_model(merged).run(data)) == len(outputs)


def test_a_free_dimension_of_two_sizes_is_refused() -> None:
    first = model("g (float[N, N] x) => (float[N, N] m) { m = Neg(x) }")
    with pytest.raises(InvalidModel, match="a free dimension would be 3 and 4; expected one size"):
        merge_models(first, model("g (float[3, 4] m) => (float[3, 4] y) { y = Neg(m) }"))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 5000), st.sampled_from(["mlp", "cnn", "mixed"]))
def test_merging_with_a_random_model_is_running_one_after_the_other(seed: int, kind: Any) -> None:
    graph = random_graph(seed, kind)
    (source,) = graph.model.graph.inputs
    shape = ", ".join(str(dim) for dim in source.shape or ())
    front = model(f"g (float[{shape}] a) => (float[{shape}] x) {{ n = Neg(a) x = Abs(n) }}")
    merged = merge_models(front, graph.model)
    given = {"a": graph.inputs[source.name or ""]}
    wanted = qonnx_core.compile_model(graph.model).run({source.name or "": np.abs(given["a"])})
    found = qonnx_core.compile_model(merged).run(given)
    assert len(found) == len(wanted)
    for array, other in zip(found.values(), wanted.values(), strict=True):
        np.testing.assert_array_equal(array, other)

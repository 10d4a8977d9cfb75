"""Small rewrites: each with its graph before and after, on random graphs, and with what it refuses."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.verify import verify
from qonnx_core.passes.base import Pass
from qonnx_core.passes.convert_div_to_mul import ConvertDivToMul
from qonnx_core.passes.convert_sub_to_add import ConvertSubToAdd
from qonnx_core.passes.double_to_single_float import DoubleToSingleFloat
from qonnx_core.passes.expose_intermediates import ExposeIntermediates
from qonnx_core.passes.extract_quant_scale import ExtractQuantScale
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.insert_identity import InsertIdentity
from qonnx_core.passes.move_pad_attribute import MovePadAttributeToTensor
from qonnx_core.passes.name_everything import NameEverything
from qonnx_core.passes.sort_commutative_inputs import SortCommutativeInputs
from qonnx_core.testing.graph_text import model_of_text, op_types
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import RandomGraph, random_graphs

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
Q = "qonnx.custom_op.general"
X = np.random.default_rng(0).normal(0, 3, (20, 3)).astype(np.float32)


def build(body: str) -> ir.Model:
    return model_of_text(HEAD + body)


def assert_same_graph(model: ir.Model, body: str) -> None:
    """Check operators, edges and constants against a graph in text form."""
    places: dict[ir.Value | None, int] = {}

    def described(graph: ir.Graph) -> list[object]:
        places.clear()
        for value in graph.inputs:
            places[value] = len(places)
        lines: list[object] = []
        for node in graph:
            reads = []
            for value in node.inputs:
                array = constant_array(value)
                reads.append(places[value] if array is None else (array.dtype.str, array.tolist()))
            for value in node.outputs:
                places[value] = len(places)
            lines.append((node.op_type, reads))
        return [*lines, [(places[value], value.name) for value in graph.outputs]]

    verify(model)
    assert described(model.graph) == described(build(body).graph)


STEPS: list[Pass] = [
    ConvertSubToAdd(), ConvertDivToMul(), MovePadAttributeToTensor(), SortCommutativeInputs(), DoubleToSingleFloat(),
    InsertIdentity(inputs=True, outputs=True), ExtractQuantScale(), FoldConstants(keep_op_types=("Transpose",)),
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_random_graph_keeps_its_values(step: Pass) -> None:
    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(random_graphs(max_size=7))
    def check(graph: RandomGraph) -> None:
        model = graph.model.clone()
        InferShapes().run(model)
        check_pass(step, model, graph.inputs)

    check()


def test_a_difference_with_a_constant_becomes_a_sum() -> None:
    body = "g (float[N, 3] x) => (y) <float[3] c = {CONSTANT}> { y = OP(x, c) }"
    before = build(body.replace("CONSTANT", "0.5, -0.25, 3e38").replace("OP", "Sub"))
    changed = check_pass(ConvertSubToAdd(), before, {"x": X}, min_edits=1)
    assert_same_graph(changed, body.replace("CONSTANT", "-0.5, 0.25, -3e38").replace("OP", "Add"))
    whole = build("g (int8[N, 3] x) => (y) <int8[3] c = {1, -128, 127}> { y = Sub(x, c) }")
    numbers = np.asarray([[-128, -128, -128], [127, 127, 127], [0, 0, 0]], np.int8)
    check_pass(ConvertSubToAdd(), whole, {"x": numbers}, min_edits=1)


@pytest.mark.parametrize("node", ["Sub(c, x)", "Sub(x, x)"])
def test_other_differences_stay(node: str) -> None:
    model = build(f"g (float[N, 3] x) => (y) <float[3] c = {{1, 2, 3}}> {{ y = {node} }}")
    assert ConvertSubToAdd().run(model) == 0


def test_a_quotient_by_powers_of_two_becomes_a_product() -> None:
    body = "g (float[N, 3] x) => (y) <float[3] c = {CONSTANT}> { y = OP(x, c) }"
    before = build(body.replace("CONSTANT", "0.5, -4, 1024").replace("OP", "Div"))
    changed = check_pass(ConvertDivToMul(), before, {"x": X * np.float32(1e-38)}, min_edits=1)
    assert_same_graph(changed, body.replace("CONSTANT", "2, -0.25, 0.0009765625").replace("OP", "Mul"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(-126, 126), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_every_power_of_two_divides_exactly(exponents: list[int], seed: int) -> None:
    c = 2.0 ** np.asarray(exponents)
    text = ", ".join(repr(float(number)) for number in c)
    model = build(f"g (float[N, 3] x) => (y) <float[3] c = {{{text}}}> {{ y = Div(x, c) }}")
    bits = np.random.default_rng(seed).integers(0, 2**32, (50, 3), dtype=np.uint32).view(np.float32)
    check_pass(ConvertDivToMul(), model, {"x": np.nan_to_num(bits)}, min_edits=1)


def test_other_quotients_become_products_only_where_rounding_is_allowed() -> None:
    model = build("g (float[N, 3] x) => (y) <float[3] c = {3, 0.1, 8}> { y = Div(x, c) }")
    assert ConvertDivToMul().run(model) == 0
    (expected,) = qonnx_core.compile_model(model).run({"x": X}).values()
    assert ConvertDivToMul(rounding_allowed=True).run(model) == 1
    (found,) = qonnx_core.compile_model(model).run({"x": X}).values()
    np.testing.assert_allclose(found, expected, rtol=3e-7)
    for constant in ("{0, 1, 2}", "{1e-45, 1, 1}"):
        model = build(f"g (float[N, 3] x) => (y) <float[3] c = {constant}> {{ y = Div(x, c) }}")
        assert ConvertDivToMul(rounding_allowed=True).run(model) == 0


def test_the_attributes_of_pad_become_inputs() -> None:
    model = build("g (float[N, 3] x) => (float[N, 5] y) { y = Relu(x) }")
    relu = next(iter(model.graph))
    relu.op_type = "Pad"
    relu.attributes["pads"] = ir.AttrInt64s("pads", [0, 1, 0, 1])
    relu.attributes["value"] = ir.AttrFloat32("value", -2.0)
    assert MovePadAttributeToTensor().run(model) == 1
    assert_same_graph(
        model,
        "g (float[N, 3] x) => (float[N, 5] y) <int64[4] p = {0, 1, 0, 1}, float v = {-2}> { y = Pad(x, p, v) }",
    )
    (found,) = qonnx_core.compile_model(model).run({"x": X}).values()
    np.testing.assert_array_equal(found, np.pad(X, ((0, 0), (1, 1)), constant_values=-2))
    assert MovePadAttributeToTensor().run(model) == 0


def test_constants_go_last() -> None:
    body = """g (float[N, 3] x) => (y) <float[3] c = {1, 2, 3}, float[3] d = {4, 5, 6}>
      { a = Add(LEFT) m = Mul(a, a) s = Sum(SECOND) k = Add(c, d) t = Sum(c, x, k) u = Sub(c, t) y = Mul(THIRD) }"""
    before = build(body.replace("LEFT", "c, x").replace("SECOND", "c, m").replace("THIRD", "u, s"))
    changed = check_pass(SortCommutativeInputs(), before, {"x": X}, min_edits=2)
    assert_same_graph(changed, body.replace("LEFT", "x, c").replace("SECOND", "m, c").replace("THIRD", "u, s"))


def test_double_precision_becomes_single_everywhere() -> None:
    body = """g (TYPE[N, 3] x) => (TYPE[N, 3] y) <TYPE[3] c = {0.1, 2, 3}>
      { k = Constant<value = TYPE[1] {0.3}>() a = Add(x, c) b = Cast<to = NUMBER>(a) y = Mul(b, k) }"""
    model = build(body.replace("TYPE", "double").replace("NUMBER", "11"))
    assert DoubleToSingleFloat().run(model) > 4
    InferShapes().run(model)
    assert_same_graph(model, body.replace("TYPE", "float").replace("NUMBER", "1"))
    assert DoubleToSingleFloat().run(model) == 0
    assert qonnx_core.compile_model(model).run({"x": X})["y"].dtype == np.float32


def test_double_precision_goes_from_copies_alone() -> None:
    """Copies share the types of their tensors; a new type does not reach the others."""
    model = build("g (double[N, 3] x, bool f) => (y) <double k = {2.5}> { y = If(f) <then_branch = t () => (u)"
                  " { u = Mul(x, k) }, else_branch = e () => (w) { s = SequenceConstruct(x, x)"
                  " w = ConcatFromSequence<axis = 0>(s) }> }")  # fmt: skip
    before = serialize(model)
    copy = model.clone()
    DoubleToSingleFloat().run(copy)
    assert serialize(model) == before
    InferShapes().run(copy)
    for flag in (True, False):
        inputs = {"x": X, "f": np.array(flag)}
        found = qonnx_core.compile_model(copy).run(inputs)["y"]
        wanted = qonnx_core.compile_model(model).run(inputs | {"x": X.astype(np.float64)})["y"]
        np.testing.assert_array_equal(found, wanted.astype(np.float32))


CHAIN = "g (float[N, 3] x) => (float[N, 3] y) { a = Relu(x) b = Neg(x) c = Add(a, b) y = Exp(c) }"


@pytest.mark.parametrize(
    ("step", "after"),
    [
        (InsertIdentity(), "a = Relu(x) b = Neg(x) c = Add(a, b) y = Exp(c)"),
        (InsertIdentity(inputs=True), "i = Identity(x) a = Relu(i) b = Neg(i) c = Add(a, b) y = Exp(c)"),
        (InsertIdentity(outputs=True), "a = Relu(x) b = Neg(x) c = Add(a, b) o = Exp(c) y = Identity(o)"),
        (InsertIdentity(("c", "x")), "i = Identity(x) a = Relu(i) b = Neg(i) c = Add(a, b) k = Identity(c) y = Exp(k)"),
        (InsertIdentity(("c",), side="producer"), "a = Relu(x) b = Neg(x) k = Add(a, b) c = Identity(k) y = Exp(c)"),
    ],
)
def test_an_identity_stands_where_one_asks_for_it(step: InsertIdentity, after: str) -> None:
    changed = check_pass(step, build(CHAIN), {"x": X})
    assert_same_graph(changed, f"g (float[N, 3] x) => (float[N, 3] y) {{ {after} }}")


def test_an_identity_keeps_names_and_annotations() -> None:
    model = build(CHAIN)
    set_datatype(next(iter(model.graph)).outputs[0], DataType.parse("UINT4"))
    InsertIdentity(("a",), side="producer").run(model)
    named = {value.name: value for node in model.graph for value in node.outputs}
    assert str(get_datatype(named["a"])) == str(get_datatype(named["a_identity"])) == "UINT4"
    assert named["a"].producer().op_type == "Identity"


def test_an_unknown_tensor_is_refused_by_name() -> None:
    model = build("g (float[N, 3] x) => (float[N, 3] y) { relu = Relu(x) y = Exp(relu) }")
    for step in (InsertIdentity(("rellu",)), ExposeIntermediates(("rellu",))):
        with pytest.raises(InvalidInput, match="Did you mean relu"):
            step.run(model)
    with pytest.raises(InvalidInput, match="qonnx info"):
        ExposeIntermediates(("Q*",)).run(model)


def test_an_exposed_tensor_of_known_type_alone_gets_its_shape() -> None:
    model = build("g (float[N, 3] x) => (y) { a = Neg(x) y = Relu(a) }")
    a = model.graph[0].outputs[0]
    a.type, a.shape = ir.TensorType(ir.DataType.FLOAT), None
    assert ExposeIntermediates(("a",)).run(model) == 1
    assert str(a.shape) == "[N,3]"


@pytest.mark.parametrize(
    ("step", "outputs"),
    [
        (ExposeIntermediates(), ["y"]),
        (ExposeIntermediates(("a",)), ["y", "a"]),
        (ExposeIntermediates(("?", "w")), ["y", "a", "b", "w"]),
        (ExposeIntermediates(("*",), parameters=True), ["y", "a", "b", "w"]),
    ],
)
def test_inner_tensors_become_outputs(step: ExposeIntermediates, outputs: list[str]) -> None:
    body = "g (float[N, 3] x) => (float[N, 3] y) <float[3] w = {1, 2, 3}> { a = Relu(x) b = Mul(a, w) y = Exp(b) }"
    model = build(body)
    reference = qonnx_core.compile_model(model).run({"x": X}, ["a", "b", "w"])
    assert step.run(model) == len(outputs) - 1
    verify(model)
    assert step.run(model) == 0
    found = qonnx_core.compile_model(model).run({"x": X})
    assert list(found) == outputs
    for name, array in found.items():
        np.testing.assert_array_equal(array, reference[name])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(random_graphs(max_size=6))
def test_every_tensor_of_a_random_graph_can_be_an_output(graph: RandomGraph) -> None:
    model = graph.model.clone()
    reference = qonnx_core.compile_model(model)
    expected = reference.run(graph.inputs, reference.activation_names)
    assert ExposeIntermediates(("*",)).run(model) > 0 or len(model.graph) == len(model.graph.outputs)
    found = qonnx_core.compile_model(model).run(graph.inputs)
    for name, array in found.items():
        if name in expected:
            np.testing.assert_array_equal(array, expected[name])


def test_scale_and_zero_point_stand_around_a_quantizer_in_order() -> None:
    body = """g (float[N, 3] x) => (y) <float s = {0.5}, float z = {3}, float b = {4}, float one = {1},
      float zero = {0}> { NODES }"""
    before = build(body.replace("NODES", f"y = {Q}.Quant<signed = 0>(x, s, z, b)"))
    changed = check_pass(ExtractQuantScale(), before, {"x": X}, min_edits=1)
    after = f"d = Div(x, s) a = Add(d, z) q = {Q}.Quant<signed = 0>(a, one, zero, b) u = Sub(q, z) y = Mul(u, s)"
    assert_same_graph(changed, body.replace("NODES", after))
    only_zero = build(body.replace("NODES", f"y = {Q}.Quant<signed = 0>(x, one, z, b)"))
    assert op_types(check_pass(ExtractQuantScale(), only_zero, {"x": X}, min_edits=1)) == ["Add", "Quant", "Sub"]


FOLDABLE = """g (float[N, 3] x) => (float[N, 3] y) <float[3] c = {1, 2, 3}, float[2, 3] k = {1, 2, 3, 4, 5, 6}>
  { e = Exp(c) n = Neg(e) a, b = Split<axis = 0, num_outputs = 2>(k) t = Mul(b, n) s = Add(t, x) y = Mul(s, e) }"""


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (FoldConstants(), ["Add", "Mul"]),
        (FoldConstants(keep_op_types=("Exp",)), ["Exp", "Neg", "Mul", "Add", "Mul"]),
        (FoldConstants(keep_nodes=("node_n*",)), ["Neg", "Mul", "Add", "Mul"]),
        (FoldConstants(keep_op_types=("S*",)), ["Split", "Mul", "Add", "Mul"]),
    ],
)
def test_protected_nodes_are_not_folded(step: FoldConstants, left: list[str]) -> None:
    model = build(FOLDABLE)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    changed = check_pass(step, model, {"x": X}, min_edits=1)
    assert op_types(changed) == left


@pytest.mark.parametrize("name", ["FLOAT8E4M3FN", "FLOAT8E5M2FNUZ", "BFLOAT16", "INT4", "UINT4"])
def test_constants_of_types_that_numpy_has_not_are_folded(name: str) -> None:
    dtype = ir.DataType[name]
    model = build(f"""g () => ({name.lower()}[3] y)
      {{ c = Constant<value = float[3] {{1.3, 2, 5}}>() y = Cast<to = {int(dtype)}>(c) }}""")
    InferShapes().run(model)
    assert FoldConstants().run(model) == 2
    (folded,) = model.graph.initializers.values()
    assert folded.dtype == dtype
    assert folded.const_value is not None
    np.testing.assert_array_equal(folded.const_value.numpy(), np.float32([1.3, 2, 5]).astype(dtype.numpy()))


def test_a_protected_constant_node_stays_with_its_readers() -> None:
    model = build("g (float[N, 3] x) => (y) { c = Constant<value_float = 2.0>() e = Exp(c) y = Mul(x, e) }")
    assert FoldConstants(keep_op_types=("Constant",)).run(model) == 0
    assert FoldConstants().run(model) == 2


@pytest.mark.parametrize(
    ("step", "nodes", "tensors"),
    [
        (NameEverything(), ["Relu_0", "Relu_1"], ["Relu_0_out0", "global_out"]),
        (NameEverything(nodes=False), ["first", "Relu_0"], ["first_out0", "global_out"]),
        (NameEverything(tensors="keep", prefix="top_"), ["top_Relu_0", "top_Relu_1"], ["a", "y"]),
        (NameEverything(tensors="numbered"), ["Relu_0", "Relu_1"], ["tensor_2", "tensor_1"]),
    ],
)
def test_names_follow_the_option(step: NameEverything, nodes: list[str], tensors: list[str]) -> None:
    model = build("g (float[N, 3] x) => (float[N, 3] y) { a = Relu(x) y = Relu(a) }")
    first, second = model.graph
    first.name, second.name = "first", ""
    assert step.run(model) > 0
    assert [node.name for node in model.graph] == nodes
    assert [node.outputs[0].name for node in model.graph] == tensors
    once = serialize(model)
    assert step.run(model) == 0
    assert serialize(model) == once

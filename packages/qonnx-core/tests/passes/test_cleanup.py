"""The clean-up keeps values and gives readable names; defects of the reference are in test_reference_defects.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx.checker
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.testing.graph_text import op_types
from qonnx_core.testing.work import check_linear

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'


def build(body: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


def clean(body: str) -> ir.Model:
    return qonnx_core.cleanup_model(build(body))


def run(model: ir.Model, *arrays: np.ndarray) -> list[np.ndarray]:
    compiled = qonnx_core.compile_model(model)
    return list(compiled.run(dict(zip(compiled.input_names, arrays, strict=True))).values())


X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


def test_names_follow_the_scheme_of_the_reference() -> None:
    model = clean("""g (float[N, 4] p, float[N, 4] q) => (float[N, 4] r, float[N, 4] s) <float[4] w = {1, 2, 3, 4}>
        { a = Mul(p, w) b = Mul(w, q) r = Add(a, b) s = Neg(a) }""")
    assert [node.name for node in model.graph] == ["Mul_0", "Mul_1", "Add_0", "Neg_0"]
    assert [value.name for value in model.graph.inputs] == ["global_in", "global_in_1"]
    assert [value.name for value in model.graph.outputs] == ["global_out", "global_out_1"]
    assert [value.name for value in model.graph[0].inputs] == ["global_in", "Mul_0_param0"]
    assert [value.name for value in model.graph[1].inputs] == ["Mul_1_param0", "global_in_1"]
    assert model.graph[0].outputs[0].name == "Mul_0_out0"


def test_nodes_are_ordered_by_level_and_then_by_age() -> None:
    model = clean(
        """g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) b = Neg(a) c = Abs(x) d = Add(b, c) y = Exp(d) }"""
    )
    assert op_types(model) == ["Relu", "Abs", "Neg", "Add", "Exp"]


def test_cleaning_twice_changes_nothing() -> None:
    once = clean("""g (float[1, 4] x) => (float[1, 2] y) <float[2, 4] w = {1, 2, 3, 4, 5, 6, 7, 8}, float s = {1},
        float z = {0}, float b = {4}>
        { q = qonnx.custom_op.general.Quant(w, s, z, b) t = Transpose<perm = [1, 0]>(q) i = Identity(x)
        y = MatMul(i, t) }""")
    assert serialize(qonnx_core.cleanup_model(once)) == serialize(once)


def test_cleaning_leaves_the_given_model_alone() -> None:
    model = build("g (float[1, 4] x) => (float[1, 4] y) <float k = {0}> { a = Add(x, k) y = Relu(a) }")
    before = serialize(model)
    qonnx_core.cleanup_model(model)
    assert serialize(model) == before


def test_the_cleaned_model_passes_the_checker() -> None:
    model = clean("""g (float[1, 4] x) => (float[1, 4] y) <float s = {1}, float z = {0}, float b = {4}>
        { y = qonnx.custom_op.general.Quant(x, s, z, b) }""")
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("y = Mul(a, k)", []),
        ("y = Mul(a, near)", ["Mul"]),
        ("y = Div(a, k)", []),
        ("y = Div(k, a)", ["Div"]),
        ("y = Add(o, a)", []),
        ("y = Sub(a, o)", []),
        ("y = Sub(o, a)", ["Sub"]),
        ("y = Pad(a, p)", []),
        ("y = Dropout(a)", []),
        ("y = Identity(a)", []),
        ("y = Mul(a, vector)", []),
    ],
)
def test_only_what_changes_nothing_is_removed(body: str, left: list[str]) -> None:
    """Defect 10 of the reference: Mul by 1.000009 was removed."""
    model = clean(f"""g (float[N, 4] x) => (float[N, 4] y)
        <float k = {{1}}, float near = {{1.000009}}, float o = {{0}}, int64[4] p = {{0, 0, 0, 0}},
        float[4] vector = {{1, 1, 1, 1}}>
        {{ a = Relu(x) {body} }}""")
    assert op_types(model) == ["Relu", *left]


def test_what_only_the_branches_of_an_unread_node_read_goes_with_it() -> None:
    model = build("""g (float[N, 4] x, bool c) => (float[N, 4] y) <float two = {2}> {
                  h = Neg(x) y = Relu(x) unread = If(c) <
                    then_branch = t () => (a) { b = Mul(h, two) a = If(c) <
                      then_branch = u () => (d) { d = Neg(b) }, else_branch = v () => (e) { e = Abs(h) }> },
                    else_branch = f () => (i) { i = Identity(h) }> }""")
    assert RemoveUnused().run(model) == 3  # If, Neg and two
    assert op_types(model) == ["Relu"]
    assert not model.graph.initializers
    assert not any(use.node.graph is not model.graph for use in model.graph.inputs[0].uses())


def test_a_tensor_listed_twice_as_an_output_is_given_twice() -> None:
    proto = onnx.parser.parse_model(HEAD + "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    proto.graph.output.append(proto.graph.output[0])
    model = qonnx_core.cleanup_model(from_proto(proto))
    assert [value.name for value in model.graph.outputs] == ["global_out", "global_out_1"]


def test_shared_parameters_are_named_after_each_reader() -> None:
    model = clean("g (float[N, 4] x) => (float[N, 4] y) <float[4] k = {1, 2, 3, 4}> { a = Mul(x, k) y = Add(a, k) }")
    assert sorted(model.graph.initializers) == ["Add_0_param0", "Mul_0_param0"]
    np.testing.assert_array_equal(run(model, X)[0], X * np.float32([1, 2, 3, 4]) + np.float32([1, 2, 3, 4]))


def test_annotations_follow_renames_and_removals() -> None:
    model = build("g (float[N, 4] x) => (float[N, 4] y) { a = Round(x) b = Identity(a) y = Relu(b) }")
    set_datatype(model.graph[1].outputs[0], DataType.parse("INT4"))
    cleaned = qonnx_core.cleanup_model(model)
    assert get_datatype(cleaned.graph[0].outputs[0]) == DataType.parse("INT4")


def test_shapes_are_inferred_through_our_operators() -> None:
    model = clean("""g (float[N, 4] x) => (y) <float s = {1}, float z = {0}, float b = {4}, float[4,
        3] t = {0,1,2,0,1,2,0,1,2,0,1,2}>
        { a = qonnx.custom_op.general.Quant(x, s, z, b)
        c = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2">(a, t) y = Relu(c) }""")
    assert [str(node.outputs[0].shape) for node in model.graph] == ["[N,4]"] * 3
    assert all(node.outputs[0].dtype == ir.DataType.FLOAT for node in model.graph)


@pytest.mark.parametrize(
    "target",
    [
        "s = Constant<value = int64[2] {1, -1}>()",
        "s = Constant<value = int64[2] {1, 12}>()",
        "s = Constant<value = int64[2] {-1, 12}>()",
        """h = Shape(x) i = Constant<value = int64 {0}>() d = Gather(h, i) a = Constant<value = int64[1] {0}>()
        u = Unsqueeze(d, a) m = Constant<value = int64[1] {-1}>() s = Concat<axis = 0>(u, m)""",
    ],
)
def test_a_reshape_keeps_any_batch(target: str) -> None:
    """Defect 17 of the reference: the batch could not be left open."""
    model = clean(f"g (float[1, 3, 4] x) => (float[1, 12] y) {{ {target} r = Reshape(x, s) y = Relu(r) }}")
    assert op_types(model) == ["Reshape", "Relu"]
    assert str(model.graph.outputs[0].shape) == "[batch,12]"
    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    np.testing.assert_array_equal(run(model, x)[0], x.reshape(5, 12))


@pytest.mark.parametrize(
    "body",
    [
        "t = Transpose<perm = [1, 0]>(x) y = MatMul(x, t)",
        "y = Softmax<axis = 0>(x)",
        "s = Constant<value = int64[2] {4, 1}>() y = Reshape(x, s)",
        "y = Transpose<perm = [1, 0]>(x)",
        "y = CumSum(x, z)",
    ],
)
def test_a_batch_that_samples_share_stays_fixed(body: str) -> None:
    model = clean(f"g (float[1, 4] x) => (y) <int64 z = {{0}}> {{ {body} }}")
    assert model.graph.inputs[0].shape == ir.Shape([1, 4])


def test_two_thousand_nodes_take_seconds() -> None:
    """Issue 107 of the reference: quadratic time; ratios of two sizes show that ours is about linear."""

    def chain(length: int) -> ir.Model:
        x = ir.val("x", ir.DataType.FLOAT, ir.Shape([1, 8]))
        parameters = [
            ir.val(n, const_value=ir.tensor(np.float32(v), name=n)) for n, v in (("s", 0.5), ("z", 0), ("b", 4))
        ]
        nodes, current = [], x
        for _ in range(length // 2):
            nodes.append(ir.node("Relu", [current]))
            nodes.append(
                ir.node(
                    "Quant",
                    [nodes[-1].outputs[0], *parameters],
                    {"signed": 1, "narrow": 0},
                    domain="qonnx.custom_op.general",
                )
            )
            current = nodes[-1].outputs[0]
        for number, node in enumerate(nodes):
            node.outputs[0].name = f"t{number}"
        current.type = ir.TensorType(ir.DataType.FLOAT)
        imports = {"": 21, "qonnx.custom_op.general": 1}
        return ir.Model(
            ir.Graph([x], [current], nodes=nodes, initializers=parameters, opset_imports=imports, name="g"),
            ir_version=10,
        )

    def work(length: int) -> Callable[[], object]:
        model = chain(length)
        return lambda: qonnx_core.compile_model(qonnx_core.cleanup_model(model))

    assert len(qonnx_core.cleanup_model(chain(300)).graph) == 300
    check_linear(work, 150)

"""Tensors of two models are the same whatever they are called and in whatever order their nodes stand."""

from __future__ import annotations

import random
import time

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.random_graphs import random_graph
from qonnx_core.verify.correspond import by_name
from qonnx_core.verify.models import ModelDiff, compare_models

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant"
X = (np.random.default_rng(0).integers(-8, 8, (6, 4)) / 4).astype(np.float32)


def build(body: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + body))


def network(*nodes: str, w: str = "1, -2, 0.5, 1, 0.25, -1, 2, 1", **renamed: str) -> ir.Model:
    text = " ".join(nodes)
    for old, new in renamed.items():
        text = text.replace(f"{old} =", f"{new} =").replace(f"({old},", f"({new},").replace(f" {old})", f" {new})")
    return build(f"""g (float[N, 4] x) => (float[N, 2] y) <float s = {{0.25}}, float z = {{0}}, float b = {{4}},
      float[4, 2] w = {{{w}}}, float[2, 2] v = {{1, -1, 0.5, 2}}> {{ {text} }}""")


NODES = (
    f"a = {QUANT}(x, s, z, b)", f"k = {QUANT}(w, s, z, b)", "h = MatMul(a, k)", f"c = {QUANT}(h, s, z, b)",
    f"u = {QUANT}(v, s, z, b)", "y = MatMul(c, u)",
)  # fmt: skip
ORDER = (4, 1, 0, 2, 3, 5)


def test_the_order_of_nodes_does_not_matter() -> None:
    """Cleaned names count nodes, and would take the quantizer of the first weights for that of the input."""
    result = compare_models(network(*NODES), network(*(NODES[i] for i in ORDER)), {"x": X})
    assert result.equal
    assert (len(result.tensors), result.unpaired_left, result.unpaired_right) == (20, (), ())


def test_a_weight_that_differs_is_found_among_renamed_and_reordered_nodes() -> None:
    other = network(*(NODES[i] for i in ORDER), w="1, -2, 0.5, 1, 1.75, -1, 2, 1", a="q", k="t", h="sum", c="act")
    result = compare_models(network(*NODES), other, {"x": X})
    assert [tensor.name for tensor in result.tensors if tensor.differing][:3] == [
        "Quant_1_param0", "Quant_1_out0", "MatMul_0_out0",
    ]  # fmt: skip
    assert result.first is not None
    assert result.first.first is not None
    assert (result.first.first.element, result.first.first.found) == ((2, 0), 1.75)


def test_an_operator_has_one_meaning_under_both_of_its_names() -> None:
    result = compare_models(
        network(*NODES), network(*(node.replace(".Quant", ".IntQuant") for node in NODES)), {"x": X}
    )
    assert result.equal
    assert len(result.tensors) == 20


BRANCHES = "a = Relu(x) b = Neg(a) c = Abs(x) d = Neg(c)"


@pytest.mark.parametrize("right", ["{0} y = Add(d, b)", "c = Abs(x) d = Neg(c) a = Relu(x) b = Neg(a) y = Add(b, d)"])
def test_operands_that_commute_are_told_apart_by_what_they_are(right: str) -> None:
    head = "g (float[N, 4] x) => (float[N, 4] y)"
    left, other = build(f"{head} {{ {BRANCHES} y = Add(b, d) }}"), build(f"{head} {{ {right.format(BRANCHES)} }}")
    result = compare_models(left, other, {"x": X})
    assert result.equal
    assert len(result.tensors) == 5


def swapped(first: str, second: str, *, outputs: bool = False) -> ModelDiff:
    bodies = (
        f"g ({{0}}) => (float[N, 4] y, float[N, 4] t) {{{{ y = {first} t = {second} }}}}",
        f"g ({{1}}) => ({{2}}) {{{{ y = {first} t = {second} }}}}",
    )
    texts = ("float[N, 4] x, float[N, 4] u", "float[N, 4] u, float[N, 4] x",
             "float[N, 4] t, float[N, 4] y" if outputs else "float[N, 4] y, float[N, 4] t")  # fmt: skip
    return compare_models(*(build(body.format(*texts)) for body in bodies), {"x": X, "u": X * 2})


def test_inputs_and_outputs_of_the_same_names_are_the_same() -> None:
    assert swapped("Sub(x, u)", "Neg(u)").equal
    assert swapped("Sub(x, u)", "Neg(u)", outputs=True).equal


def test_other_wiring_is_a_difference() -> None:
    head = "g (float[N, 4] x) => (float[N, 4] y)"
    left = build(f"{head} {{ a = Relu(x) b = Neg(x) y = Sub(a, b) }}")
    right = build(f"{head} {{ a = Relu(x) b = Neg(x) y = Sub(b, a) }}")
    result = compare_models(left, right, {"x": X})
    assert [tensor.name for tensor in result.tensors if tensor.differing] == ["global_out"]


def test_a_hidden_layer_of_another_size_is_the_first_difference() -> None:
    text = """g (float[N, 4] x) => (float[N, 1] y) <float[4, {0}] w = {{{1}}}, float[{0}, 1] v = {{{2}}}>
      {{ h = MatMul(x, w) y = MatMul(h, v) }}"""
    models = [build(text.format(n, ", ".join("1" * 4 * n), ", ".join("1" * n))) for n in (2, 3)]
    result = compare_models(*models, {"x": X})
    found = {tensor.name: tensor.other_shape for tensor in result.tensors}
    assert found == {"MatMul_0_param0": True, "MatMul_0_out0": True, "MatMul_1_param0": True, "global_out": False}


def test_no_samples_are_refused() -> None:
    with pytest.raises(InvalidInput, match="samples: found none; expected at least one"):
        compare_models(network(*NODES), network(*NODES), {"x": X[:0]})


def test_a_difference_among_renamed_tensors_of_other_nodes_is_found() -> None:
    """Other names and another operator at the end: what both compute up to there is compared all the same."""
    other = [*(NODES[i] for i in ORDER[:-1]), "r = Neg(c)", "y = MatMul(r, u)"]
    weights = "1, -2, 0.5, 1, 1.75, -1, 2, 1"
    renamed = {"a": "q", "k": "t", "h": "sum", "c": "act"}
    other = [node.replace("Neg(c)", "Neg(act)") for node in other]
    changed = network(*other, w=weights, **renamed)
    for name in ("w", "s", "z", "b", "v"):
        changed.graph.initializers[name].name = f"other {name}"
    result = compare_models(network(*NODES), changed, {"x": X})
    differing = [tensor.name for tensor in result.tensors if tensor.differing]
    assert differing[:3] == ["Quant_1_param0", "Quant_1_out0", "MatMul_0_out0"]
    assert differing[-1] == "global_out"


def test_other_nodes_with_equal_outputs_are_equal() -> None:
    """A batch normalization merged into the weights before it changes these, and that is no difference."""
    text = "g (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w = {{1, {0}}}, float k = {{0.5}}> {{ {1} }}"
    left = build(text.format(2, "m = MatMul(x, w) n = Mul(m, k) y = Relu(n)"))
    right = build(text.format(1, "t = MatMul(x, v) y = Relu(t)").replace("[2, 1] w = {1, 1}", "[2, 1] v = {0.5, 1}"))
    assert compare_models(left, right, {"x": X[:, :2]}).equal


def scrambled(model: ir.Model, seed: int) -> ir.Model:
    """Return the model with other names, its nodes in another order, and operands that commute exchanged."""
    generator = random.Random(seed)
    proto = ir.to_proto(model)
    known = {"", *(value.name for value in (*proto.graph.input, *proto.graph.initializer))}
    left, order = list(proto.graph.node), []
    while left:
        node = generator.choice([node for node in left if known.issuperset(node.input)])
        left.remove(node)
        order.append(node)
        known.update(node.output)
    kept = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    names = {name: name if name in kept or not name else f"t{n}" for n, name in enumerate(sorted(known))}
    del proto.graph.node[:], proto.graph.value_info[:], proto.graph.quantization_annotation[:]
    proto.graph.node.extend(order)
    for node in proto.graph.node:
        operands = [names[name] for name in node.input]
        node.input[:] = operands[::-1] if node.op_type in ("Add", "Mul") and generator.random() < 0.5 else operands
        node.output[:] = [names[name] for name in node.output]
    for tensor in proto.graph.initializer:
        tensor.name = names[tensor.name]
    return from_proto(proto)


@pytest.mark.parametrize("seed", range(24))
def test_a_scrambled_network_is_the_same_in_every_tensor(seed: int) -> None:
    graph = random_graph(seed, ("mlp", "cnn", "mixed")[seed % 3], exact=True, size=8, batch="N")
    names = [value.name or "" for value in graph.model.graph.inputs if not value.is_initializer()]
    inputs = dict(zip(names, graph.more_inputs(4, seed).values(), strict=True))
    other = scrambled(graph.model, seed)
    result = compare_models(graph.model, other, inputs)
    assert (result.equal, result.unpaired_left, result.unpaired_right) == (True, (), ())
    weights = [v for v in other.graph.initializers.values() if v.const_value is not None and v.const_value.size > 3]
    changed = next((value for value in weights if value.dtype == ir.DataType.FLOAT), None)
    if changed is None or changed.const_value is None:
        return  # a network without weights
    array = changed.const_value.numpy().copy()
    array.reshape(-1)[-1] += 64
    changed.const_value = ir.tensor(array)
    first = compare_models(graph.model, other, inputs).first
    assert first is not None
    assert (first.parameter, first.differing, first.largest) == (True, 1, 64.0)


@pytest.mark.parametrize("changed", [False, True])
def test_branches_of_one_sum_are_told_apart_by_their_parameters(changed: bool) -> None:
    """Names and order say nothing here; where one of the two weights changed, the other one still has its partner."""
    head = "g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float[2, 2] v = {5, 6, 7, %s}>"
    left = build(f"{head % 8} {{ p = MatMul(x, w) q = MatMul(x, v) y = Add(p, q) }}")
    right = build(f"{head % (9 if changed else 8)} {{ r = MatMul(x, v) s = MatMul(x, w) y = Add(r, s) }}")
    result = compare_models(left, right, {"x": X[:, :2]})
    different = [tensor.name for tensor in result.tensors if tensor.differing]
    assert different == (["MatMul_1_param0", "MatMul_1_out0", "global_out"] if changed else [])


def test_thousands_of_names_find_their_places_at_once() -> None:
    names = [f"input_{i}" for i in range(20_000)]
    start = time.process_time()
    places = by_name(names, names[::-1])
    assert time.process_time() - start < 1
    assert places == list(range(19_999, -1, -1))

"""A model in parts: complete sub-models that compose to the same bits, and errors that say what would fix them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core import cleanup_model, compile_model, load, save
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.grid import Grid
from qonnx_core.partition import Partitioned, Rules, compose, default_mixed_rules, partition
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from qonnx_core.verify import compare_integers
from qonnx_core.verify.quantizers import is_quantizer

F32 = np.float32
GRIDS = {"global_in": Grid.parse("INT8*2^-6")}
BOTH = ["finn", "hls4ml"]


def cut(model: ir.Model, text: str, grids: dict[str, Grid] | None = None) -> Partitioned:
    return partition(model, Rules.from_text(text), GRIDS if grids is None else grids, backends=BOTH)


def inputs_for(seed: int, samples: int = 20) -> dict[str, np.ndarray]:
    return {"global_in": np.random.default_rng(seed).normal(size=(samples, 6)).astype(F32)}


def activations(model: ir.Model) -> list[str]:
    """The quantized tensors that depend on the input."""
    return [n.outputs[0].name for n in model.graph if is_quantizer(n) and not n.inputs[0].is_initializer()]


def assert_same_bits(model: ir.Model, parts: Partitioned, inputs: dict[str, np.ndarray]) -> None:
    whole, composed = compile_model(model).run(inputs), compose(parts, inputs)
    assert list(composed) == list(whole)
    for name, array in whole.items():
        assert array.tobytes() == composed[name].tobytes()


def residual(odd: bool = False) -> ir.Model:
    """global_in -> Quant_0 -> {MatMul_0 -> Quant_1, itself} -> Add_0 -> Quant_2 -> MatMul_1 -> Mul_0 -> global_out."""
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 2] global_in) => (float[N, 2] global_out)
      <float[2, 2] w = {1, -1, 0.5, 1}, float[2, 2] v = {1, 1, -1, 0.5}, float s = {0.5}, float z = {0}, float b = {4},
       float t = {0.3}> {
      [Quant_0] q0 = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (global_in, s, z, b)
      [Quant_w] qw = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (w, s, z, b)
      [MatMul_0] m0 = MatMul (q0, qw)
      [Relu_0] r0 = Relu (m0)
      [Quant_1] q1 = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (r0, SCALE, z, b)
      [Add_0] a0 = Add (q0, q1)
      [Quant_2] q2 = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (a0, s, z, b)
      [Quant_v] qv = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (v, s, z, b)
      [MatMul_1] m1 = MatMul (q2, qv)
      [Mul_0] global_out = Mul (m1, t)
    }"""
    if odd:  # the two inputs of the sum have scales that no small integers relate
        text = text.replace("float s = {0.5}", "float s = {0.7}").replace("float t = {0.3}", "float t = {0.000003}")
    return inferred(text.replace("SCALE", "t" if odd else "s"))


def inferred(text: str) -> ir.Model:
    """The model of a text, with shapes."""
    model = ir.from_onnx_text(text)
    InferShapes().run(model)
    return model


def two(seed: int) -> dict[str, np.ndarray]:
    return {"global_in": np.random.default_rng(seed).normal(size=(30, 2)).astype(F32)}


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_one_backend_gives_one_part_and_a_float_tail():
    model = residual()
    parts = cut(model, "default: finn")
    (part,) = parts.parts
    assert (part.name, part.backend, part.inputs, part.outputs) == ("0_finn", "finn", ("global_in",), ("m1",))
    assert part.nodes == tuple(n.name for n in model.graph)[:-1]
    assert part.input_grids == GRIDS
    assert (parts.pre_nodes, parts.post_nodes, parts.head) == ((), ("Mul_0",), None)
    assert [v.name for v in parts.tail.graph.inputs] == ["m1"]
    assert_same_bits(model, parts, two(0))


def test_the_first_matching_rule_wins():
    text = """
    default: host
    rules:
      - {match: {to: q2}, backend: finn}
      - {match: {name: Quant_2}, backend: host}
      - {match: {name: '*'}, backend: hls4ml}
    """
    parts = cut(residual(), text)
    assert [(p.name, p.inputs, p.outputs) for p in parts.parts] == [
        ("0_finn", ("global_in",), ("q2",)),
        ("1_hls4ml", ("q2",), ("m1",)),
    ]


def test_weight_quantizers_follow_the_nodes_that_read_them():
    parts = cut(residual(), "default: finn\nrules: [{match: {from: q2}, backend: hls4ml}]")
    first, second = parts.parts
    assert "Quant_w" in first.nodes
    assert "Quant_v" not in first.nodes
    assert second.nodes == ("Quant_v", "MatMul_1")
    assert set(second.model.graph.initializers) == {"v", "s", "z", "b"}


def test_a_backend_may_come_back_in_sequence():
    model = random_mlp(3, MlpShape(widths=(6, 5, 5, 5, 4)))
    a, b, c, d = activations(model)
    text = f"default: finn\nrules: [{{match: {{from: {b}, to: {c}}}, backend: hls4ml}}]"
    parts = cut(model, text)
    assert [(p.name, p.inputs, p.outputs) for p in parts.parts][:2] == [
        ("0_finn", ("global_in",), (b,)),
        ("1_hls4ml", (b,), (c,)),
    ]
    assert parts.parts[2].name == "2_finn"
    assert a
    assert d
    assert_same_bits(model, parts, inputs_for(3))


def test_a_cut_through_a_residual_carries_several_values():
    model = residual()
    parts = cut(model, "default: hls4ml\nrules: [{match: {to: q1}, backend: finn}]")
    first, second = parts.parts
    assert first.outputs == ("q0", "q1")
    assert second.inputs == ("q0", "q1")
    assert {name: str(grid) for name, grid in second.input_grids.items()} == {"q0": "INT4*2^-1", "q1": "INT4*2^-1"}
    assert_same_bits(model, parts, two(1))


def test_an_accumulator_of_known_range_is_a_cut():
    model = residual()
    parts = cut(model, "default: hls4ml\nrules: [{match: {to: m0}, backend: finn}]")
    assert parts.parts[0].outputs == ("q0", "m0")
    assert str(parts.parts[1].input_grids["m0"]).endswith("*2^-2")
    assert_same_bits(model, parts, two(2))


def test_host_nodes_at_both_ends_are_models_of_their_own():
    model = residual()
    text = "default: finn\nrules: [{match: {name: Quant_0}, backend: host}, {match: {name: MatMul_1}, backend: host}]"
    parts = cut(model, text, {})
    assert parts.pre_nodes == ("Quant_0",)
    assert parts.post_nodes == ("MatMul_1", "Mul_0")
    assert [v.name for v in parts.head.graph.outputs] == ["q0"]
    assert_same_bits(model, parts, two(3))


def test_branches_that_read_one_tensor_become_one_part():
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 2] global_in) => (float[N, 2] y, float[N, 2] u)
      <float s = {0.5}, float z = {0}, float b = {4}, float c = {1}> {
      [A] a = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (global_in, s, z, b)
      [B] y = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (a, c, z, b)
      [C] u = qonnx.custom_op.general.Quant <signed=0, narrow=0, rounding_mode="ROUND"> (a, c, z, b)
    }"""
    model = inferred(text)
    parts = cut(model, "default: finn\nrules: [{match: {name: A}, backend: hls4ml}]")
    assert [p.name for p in parts.parts] == ["0_hls4ml", "1_finn"]
    assert parts.parts[1].outputs == ("y", "u")
    assert_same_bits(model, parts, two(4))


def test_a_part_is_a_model_of_its_own(tmp_path):
    model = random_mlp(5, MlpShape(batch=1))
    parts = partition(model, default_mixed_rules(model, GRIDS), GRIDS, backends=BOTH)
    second = parts.parts[1]
    path = tmp_path / "part.onnx"
    save(second.model, path)
    again = load(path)
    (source,) = again.graph.inputs
    assert not isinstance(source.shape[0], int)
    assert get_datatype(source) is not None
    x = second.input_grids[source.name].to_values(np.arange(16).reshape(2, 8))
    expected = compile_model(second.model).run({source.name: x})
    assert [a.tobytes() for a in compile_model(again).run({source.name: x}).values()] == [
        a.tobytes() for a in expected.values()
    ]


@pytest.mark.parametrize(
    ("grid", "datatype"),
    [("INT4", "INT4"), ("UINT8*1/255", "SCALEDINT<8>"), ("INT8*2^-6", "FIXED<8,2>"), ("BIPOLAR", "BIPOLAR")],
)
def test_inputs_are_annotated_with_the_type_of_their_grid(grid, datatype):
    parts = cut(residual(), "default: finn", {"global_in": Grid.parse(grid)})
    assert get_datatype(parts.parts[0].model.graph.inputs[0]).name == datatype


def test_the_model_itself_is_not_changed():
    model = residual()
    before = ir.to_proto(model).SerializeToString()
    cut(model, "default: finn\nrules: [{match: {from: q2}, backend: hls4ml}]")
    assert ir.to_proto(model).SerializeToString() == before


def test_the_same_rules_give_the_same_bytes():
    model = random_mlp(4, MlpShape(residual=True))
    rules = default_mixed_rules(model)
    first, second = (
        [
            ir.to_proto(m).SerializeToString(deterministic=True)
            for m in partition(model, rules, GRIDS, backends=BOTH).models
        ]
        for _ in range(2)
    )
    assert first == second


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.booleans(), st.data())
def test_every_cut_after_a_quantizer_composes_to_the_same_bits(seed, power_of_two, batch_norm, data):
    shape = MlpShape(widths=(6, 6, 6, 6, 4), residual=power_of_two, power_of_two=power_of_two, batch_norm=batch_norm)
    model = random_mlp(seed, shape)
    tensors = activations(model)
    tensor = data.draw(st.sampled_from(tensors[:-1]))
    parts = partition(model, Rules.split_after(tensor, "finn", "hls4ml"), GRIDS, backends=BOTH)
    assert_same_bits(model, parts, inputs_for(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.booleans(), st.data())
def test_the_integer_forms_of_the_parts_compose_to_that_of_the_whole(seed, batch_norm, per_channel, data):
    shape = MlpShape(widths=(6, 6, 6, 4), residual=True, batch_norm=batch_norm, per_channel=per_channel, tail=False)
    model = random_mlp(seed, shape)
    sums = [node.outputs[0].name for node in model.graph if node.op_type in ("MatMul", "Add")]
    tensor = data.draw(st.sampled_from([*activations(model)[:-1], *sums[:-1]]))
    parts = partition(model, Rules.split_after(tensor, "finn", "hls4ml"), GRIDS, backends=BOTH)
    whole = to_integer_form(model, GRIDS)
    ints, _ = whole.quantize_inputs(inputs_for(seed, 50))
    expected = whole.run(ints)
    values = {port.tensor: ints[port.name] for port in whole.inputs}
    for part in parts.parts:
        form = to_integer_form(
            part.model, part.input_grids, quantizer="thresholds" if part.backend == "finn" else "shift"
        )
        found = form.run({port.name: values[port.tensor] for port in form.inputs})
        for port in form.outputs:
            values[port.tensor] = found[port.name]
            for reader in parts.parts:
                assert reader.input_grids.get(port.tensor, port.grid) == port.grid
    left = {port.tensor: expected[port.name] for port in whole.outputs}
    assert compare_integers(left, {name: values[name] for name in left}).mismatch == 0


@pytest.mark.parametrize(("name", "grid"), [("TFC_1W2A", "UINT8*1/255"), ("qkeras_jettagging", "FIXED<16,6>")])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_models_of_the_zoo_compose_to_the_stored_outputs(name, grid, mixed):
    model = cleanup_model(load(shared_file(f"models/zoo/{name}.onnx")))
    stored = np.load(shared_file(f"models/zoo/{name}.npz"))
    source, target = model.graph.inputs[0].name, model.graph.outputs[0].name
    grids = {source: Grid.parse(grid)}
    rules = default_mixed_rules(model, grids) if mixed else Rules.single("finn")
    parts = partition(model, rules, grids, backends=BOTH)
    assert [p.name for p in parts.parts] == (["0_finn", "1_hls4ml"] if mixed else ["0_finn"])
    assert compose(parts, {source: stored["x"]})[target].tobytes() == stored["y"].tobytes()


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("{name: Matmul_0}", r"rule 1 \(name: Matmul_0\): no node has such a name; .*Did you mean MatMul_0"),
        (
            "{op_type: Matmul}",
            r"rule 1 \(op_type: Matmul\): the model has no such operator; it has Add, .*Did you mean MatMul",
        ),
        ("{from: q7}", r"rule 1 \(from: q7\): from names no tensor of the cleaned model; .*Did you mean"),
        ("{to: qw}", r"rule 1 \(to: qw\): to is a constant; expected a tensor that depends on an input"),
        ("{from: m1, to: q0}", r"no path leads from the one tensor to the other, so the region is empty"),
        ("{name: Quant_w}", r"it matches only nodes that make constants; expected nodes that depend"),
        ("{op_type: Mul}", r"Mul_0 comes after the last tensor on an integer grid, which the host"),
    ],
)
def test_a_rule_without_effect_is_refused(match, message):
    with pytest.raises(InvalidInput, match=message):
        cut(residual(), f"default: hls4ml\nrules: [{{match: {match}, backend: finn}}]")


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidInput, match=r"default: there is no backend 'fin'; .*Did you mean finn\?"):
        cut(residual(), "default: fin")


def test_a_float_cut_names_the_nearest_legal_ones():
    with pytest.raises(
        Unsupported,
        match=r"the cut between 0_finn and 1_hls4ml is at r0, made by Relu_0 \(Relu\), where the numbers are floats "
        r"\(.*\); expected a tensor on an integer grid.* Cut at m0 before it or at q1 after it.",
    ):
        cut(residual(), "default: hls4ml\nrules: [{match: {to: r0}, backend: finn}]")


def test_a_cut_on_a_function_of_integers_is_refused():
    model = random_mlp(2, MlpShape(tail=False))
    first = next(n for n in model.graph if n.op_type == "MatMul")
    text = "default: hls4ml\nrules: [{match: {to: scaled}, backend: finn}]"
    output = first.outputs[0]
    factor = ir.Value(name="factor", const_value=ir.tensor(np.asarray(0.5, F32), name="factor"))
    model.graph.register_initializer(factor)
    scaled = ir.Value(name="scaled", shape=output.shape, type=output.type)
    node = ir.Node("", "Mul", [output, factor], outputs=[scaled], name="Mul_new")
    output.replace_all_uses_with(scaled)
    node.replace_input_with(0, output)
    model.graph.insert_after(first, node)
    with pytest.raises(Unsupported, match=r"at scaled, made by Mul_new \(Mul\), where the numbers are a function"):
        cut(model, text)


def test_a_part_that_is_not_convex_is_refused_with_the_path():
    text = "default: finn\nrules: [{match: {from: q0, to: q1}, backend: hls4ml}]"
    with pytest.raises(
        Unsupported,
        match=r"the finn part with Quant_0 is not convex: a path leaves it at Quant_0, goes through MatMul_0 "
        r"\(hls4ml\), Relu_0 \(hls4ml\), Quant_1 \(hls4ml\) and comes back at Add_0; .* Give MatMul_0, Relu_0, "
        r"Quant_1 to finn too, or give Add_0 and what comes after it to another backend",
    ):
        cut(residual(), text)


def test_hardwares_work_is_not_left_to_the_host_in_silence():
    model = residual(odd=True)
    with pytest.raises(
        Unsupported, match=r"Quant_2, MatMul_1 would be left to the host(.|\n)*- Add_0 \(Add\): its two"
    ):
        cut(model, "default: finn")
    parts = cut(model, "default: finn\nrules: [{match: {from: q1}, backend: host}]")
    assert parts.post_nodes == ("Add_0", "Quant_2", "MatMul_1", "Mul_0")
    assert_same_bits(model, parts, two(5))


@pytest.mark.parametrize(("outputs", "tail"), [("i", ()), ("v, i", ("TopK_0",))])
def test_indices_of_topk_are_hardware_and_its_values_are_not(outputs, tail):
    kinds = {"v": "float[N, 2] v", "i": "int64[N, 2] i"}
    text = f"""<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 2] global_in) => ({", ".join(kinds[name] for name in outputs.split(", "))})
      <float s = {{0.5}}, float z = {{0}}, float b = {{2}}, int64[1] k = {{2}}> {{
      [Quant_0] q = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (global_in, s, z, b)
      [TopK_0] v, i = TopK <axis = 1> (q, k)
    }}"""
    model = inferred(text)
    parts = cut(model, "default: finn")
    assert parts.post_nodes == tail
    assert_same_bits(model, parts, two(5))


def test_host_nodes_in_the_middle_are_refused():
    with pytest.raises(Unsupported, match=r"Relu_0 \(Relu\): it is ruled to the host but lies between"):
        cut(residual(), "default: finn\nrules: [{match: {name: Relu_0}, backend: host}]")


def test_a_model_for_the_host_alone_is_refused():
    with pytest.raises(Unsupported, match=r"nothing is left for hardware, every node is the host's"):
        cut(residual(), "default: host")


def test_an_input_without_a_grid_is_refused():
    with pytest.raises(
        InvalidInput, match=r"input global_in: found no grid for it, but Quant_0 \(finn\) reads it; .*--input"
    ):
        cut(residual(), "default: finn", {})


def test_a_grid_for_an_unknown_input_is_refused():
    with pytest.raises(
        InvalidInput, match=r"grid of global_inn: the model has no such input; .*Did you mean global_in\?"
    ):
        cut(residual(), "default: finn", {"global_inn": Grid.parse("INT8")})


def test_a_model_that_was_not_cleaned_is_refused():
    model = residual()
    next(iter(model.graph)).name = ""
    with pytest.raises(
        InvalidModel, match=r"a node \(Quant\) is without a name; expected unique names. Run cleanup_model"
    ):
        cut(model, "default: finn")


def test_a_model_of_one_layer_has_no_default_split():
    with pytest.raises(Unsupported, match=r"found no quantizer between two matrix products"):
        default_mixed_rules(random_mlp(1, MlpShape(widths=(6, 4))))


def test_two_parts_that_need_each_other_are_refused():
    text = """<ir_version: 8, opset_import: ["" : 17, "qonnx.custom_op.general" : 1]>
    g (float[N, 2] global_in, float[N, 2] other_in) => (float[N, 2] y, float[N, 2] u)
      <float s = {0.5}, float z = {0}, float b = {4}> {
      [A] a = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (global_in, s, z, b)
      [B] h = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (other_in, s, z, b)
      [C] c = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (a, s, z, b)
      [D] d = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (h, s, z, b)
      [E] e = Add (a, d)
      [F] f = Add (h, c)
      [G] y = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (e, s, z, b)
      [H] u = qonnx.custom_op.general.Quant <signed=1, narrow=0, rounding_mode="ROUND"> (f, s, z, b)
    }"""
    grids = {"global_in": Grid.parse("INT8*2^-6"), "other_in": Grid.parse("INT8*2^-6")}
    rules = "default: finn\nrules: [{match: {name: '[CBFH]'}, backend: hls4ml}]"
    with pytest.raises(Unsupported, match=r"two parts need each other's results, so neither can go first"):
        cut(inferred(text), rules, grids)

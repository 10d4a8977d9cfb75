"""Quantizers by a user's rules: where they go, which scales they get, and which rules are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

import qonnx_core
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.verify import verify
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.quantize.calibrate import Range, fitted
from qonnx_core.passes.quantize.config import QuantizationConfig, Quantizer
from qonnx_core.passes.quantize.quantize_graph import Quantized, QuantizeGraph, quantize_graph
from qonnx_core.testing.graph_text import op_types
from qonnx_core.testing.random_graphs import RandomGraph, random_graphs

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
Q = "qonnx.custom_op.general.Quant"
PARAMETERS = """float[4, 3] w = {1, -2, 3, 0, 1, 1, -3, 2, 2, 1, 0, -1}, float[3] c = {0.5, -0.25, 1}"""
MODEL = f"""g (float[N, 4] x) => (float[N, 3] y) <{PARAMETERS}> {{ m = MatMul(x, w) a = Add(m, c) y = Relu(a) }}"""
CNN = """g (float[N, 2, 4, 4] x) => (y) <float[3, 2, 2, 2] w = {WEIGHTS}, float[3] c = {0.5, -0.25, 1}>
  { k = Conv(x, w, c) r = Relu(k) y = GlobalMaxPool(r) }""".replace("WEIGHTS", ", ".join(map(str, range(-12, 12))))


def build(body: str) -> ir.Model:
    model = from_proto(onnx.parser.parse_model(HEAD + body))
    for node in model.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    InferShapes().run(model)
    return model


def rules(*items: dict[str, Any]) -> QuantizationConfig:
    return QuantizationConfig.from_dict({"quantize": list(items)})


def assert_equal_graphs(model: ir.Model, body: str, x: np.ndarray) -> None:
    """Check that the model has the operators of the text, and its values."""
    expected = build(body)
    assert sorted(op_types(model)) == sorted(op_types(expected))
    verify(model)
    found = qonnx_core.compile_model(model).run({"x": x})
    wanted = qonnx_core.compile_model(expected).run({"x": x})
    assert list(found) == list(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def samples(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def test_weights_input_and_output_get_the_quantizers_that_the_rule_says() -> None:
    model = build(MODEL)
    report = quantize_graph(
        model,
        rules(
            {
                "match": {"op_type": "MatMul"},
                "weights": {"bits": 3, "scale": 0.5, "narrow": True, "rounding": "floor"},
                "input": {"bits": 4, "scale": 0.25, "zero_point": 8, "signed": False},
            },
            {"match": {"name": "Relu*"}, "output": {"bits": 4, "scale": 0.125, "signed": False}},
        ),
    )
    expected = f"""g (float[N, 4] x) => (float[N, 3] y)
      <{PARAMETERS}, float s = {{0.5}}, float z = {{0}}, float b = {{3}}, float t = {{0.25}}, float e = {{8}},
       float f = {{4}}, float u = {{0.125}}>
      {{ q = {Q}<narrow = 1, rounding_mode = "FLOOR">(w, s, z, b) r = {Q}<signed = 0>(x, t, e, f)
         m = MatMul(r, q) a = Add(m, c) o = Relu(a) y = {Q}<signed = 0>(o, u, z, f) }}"""
    assert_equal_graphs(model, expected, samples(30, 4))
    assert [(entry.node, entry.operand, entry.tensor) for entry in report] == [
        ("Relu_y", "output", "y"),
        ("MatMul_m", "weights", "w"),
        ("MatMul_m", "input", "x"),
    ]
    assert report[2] == Quantized("MatMul_m", "input", "x", 4, False, (0.25,), (8.0,), "Quant_x", "")
    assert str(get_datatype(model.graph.outputs[0])) == "SCALEDINT<4>"


def test_the_first_rule_that_names_an_operand_counts() -> None:
    model = build(MODEL)
    report = quantize_graph(
        model,
        rules(
            {"match": {"name": "MatMul_m"}, "weights": {"bits": 2, "scale": 1}},
            {
                "match": {"op_type": ["MatMul", "Add"]},
                "inputs": {1: {"bits": 8, "scale": 1}, 0: {"bits": 8, "scale": 1}},
            },
        ),
    )
    found = {(entry.node, entry.operand): entry.bits for entry in report}
    assert found == {
        ("MatMul_m", "weights"): 2, ("MatMul_m", "input 0"): 8, ("Add_a", "input 1"): 8, ("Add_a", "input 0"): 8,
    }  # fmt: skip


def test_parameters_of_quantizers_get_names_that_no_tensor_has() -> None:
    proto = onnx.parser.parse_model(HEAD + MODEL.replace("m = MatMul(x, w)", "t = Neg(x) m = MatMul(t, w)"))
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "w/scale"
    model = from_proto(proto)
    rule = {"match": {"op_type": "MatMul"}, "weights": {"bits": 4, "scale": 1}, "input": {"bits": 4, "scale": 1}}
    quantize_graph(model, rules(rule))
    verify(model)
    assert {"w/scale_1", "w/scale/scale"} <= set(model.graph.initializers)


def test_scales_per_channel_come_from_the_weights_or_from_a_list() -> None:
    model = build(CNN)
    quantize_graph(
        model,
        rules(
            {
                "match": {"op_type": "Conv"},
                "weights": {"bits": 4, "scale": "max", "narrow": True, "per_channel": True},
                "bias": {"bits": 8, "scale": [0.5, 0.25, 0.125]},
            }
        ),
    )
    arrays = {n: constant_array(v) for n, v in model.graph.initializers.items()}
    assert arrays["w/scale"].shape == (3, 1, 1, 1)
    np.testing.assert_allclose(arrays["w/scale"].ravel(), [12 / 7, 4 / 7, 11 / 7], rtol=1e-6)
    np.testing.assert_array_equal(arrays["c/scale"], [0.5, 0.25, 0.125])
    node = next(node for node in model.graph if node.name == "Quant_w")
    values = qonnx_core.compile_model(model).run({"x": samples(1, 2, 4, 4)}, [node.outputs[0].name])
    weights = constant_array(node.inputs[0])
    assert np.abs(values[node.outputs[0].name] - weights).max() <= arrays["w/scale"].max() / 2 * 1.0001


@pytest.mark.parametrize("po2", [False, True])
def test_a_scale_from_data_covers_the_range_that_was_seen(po2: bool) -> None:
    model, x = build(CNN), samples(100, 2, 4, 4)
    plain = qonnx_core.compile_model(model).run({"x": x}, ["k"])["k"]
    quantizer = {"bits": 8, "scale": "data", "power_of_two": po2}
    report = quantize_graph(
        model,
        rules(
            {"match": {"op_type": "Conv"}, "input": quantizer},
            {"match": {"op_type": "Relu"}, "input": {**quantizer, "per_channel": True}},
        ),
        {"x": x},
    )
    (first, second) = report
    needed = max(x.max() / 127, -x.min() / 128)
    channels = np.maximum(plain.max((0, 2, 3)) / 127, -plain.min((0, 2, 3)) / 128)
    if po2:
        needed, channels = 2 ** np.ceil(np.log2(needed)), 2 ** np.ceil(np.log2(channels))
    assert first.scale == pytest.approx((needed,), rel=1e-6)
    assert second.scale == pytest.approx(tuple(channels), rel=1e-6)


def test_a_zero_point_from_data_puts_the_levels_where_the_values_are() -> None:
    quantizer = Quantizer(bits=8, scale="data", zero_point="data", signed=False)
    scale, zero = fitted(quantizer, Range.of(np.asarray([-1.0, 4.1]), None))
    assert (float(scale), float(zero)) == (pytest.approx(5.1 / 255), 50.0)
    scale, zero = fitted(quantizer, Range.of(np.asarray([1.0, 5.1]), None))
    assert float(zero) == 0
    scale, zero = fitted(quantizer, Range.of(np.zeros(3), None))
    assert (float(scale), float(zero)) == (1.0, 0.0)
    model, x = build(MODEL), samples(50, 4) + 3
    config = {"bits": 6, "scale": "data", "zero_point": "data", "signed": False}
    (entry,) = quantize_graph(model, rules({"match": {"op_type": "MatMul"}, "input": config}), {"x": x})
    got = qonnx_core.compile_model(model).run({"x": x}, ["x_quantized"])["x_quantized"]
    assert np.abs(got - x).max() <= entry.scale[0] * 1.01


def test_tensors_that_are_quantized_already_are_left_alone_and_a_second_run_does_nothing() -> None:
    config = rules(
        {"match": {"op_type": "MatMul"}, "weights": {"bits": 4}, "input": {"bits": 4, "scale": 1}},
        {"match": {"op_type": "Relu"}, "output": {"bits": 4, "scale": 1}},
        {"match": {"op_type": "Add"}, "output": {"bits": 4, "scale": 1}},
    )
    model = build(MODEL)
    assert QuantizeGraph(config).run(model) == 4
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    report = quantize_graph(model, config)
    assert all(entry.reason for entry in report)
    assert {entry.reason for entry in report if entry.node == "Add_a"} == {"is read by quantizer Quant_a only"}
    assert "comes from quantizer Quant_x" in {entry.reason for entry in report}
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_readers_of_one_tensor_with_the_same_settings_share_a_quantizer() -> None:
    body = f"g (float[N, 4] x) => (y) <{PARAMETERS}> {{ m = MatMul(x, w) n = MatMul(x, w) y = Add(m, n) }}"
    model = build(body)
    config = rules({"match": {"op_type": "MatMul"}, "input": {"bits": 4, "scale": 1}, "weights": {"bits": 4}})
    assert QuantizeGraph(config).run(model) == 2
    assert op_types(model).count("Quant") == 2


def test_both_operands_of_a_product_of_running_tensors_are_inputs() -> None:
    model = build("g (float[N, 4] x, float[4, 3] v) => (y) { y = MatMul(x, v) }")
    report = quantize_graph(model, rules({"match": {"op_type": "MatMul"}, "input": {"bits": 4, "scale": 1}}))
    assert [entry.tensor for entry in report] == ["x", "v"]


def test_without_rules_nothing_changes() -> None:
    assert QuantizeGraph().run(build(MODEL)) == 0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(random_graphs(max_size=6))
def test_a_grid_that_holds_all_values_changes_none(graph: RandomGraph) -> None:
    grid = min(g for g, *_ in graph.known.values())
    bound = max(max(abs(low), abs(high)) for _, low, high in graph.known.values())
    types = {node.op_type for node in graph.model.graph if node.op_type in ("Conv", "MatMul", "Add", "Relu", "MaxPool")}
    if not types or bound / 2.0**grid > 2**22:
        return
    quantizer = {"bits": 24, "scale": 2.0**grid}
    config = rules({"match": {"op_type": sorted(types)}, "inputs": {0: quantizer}, "output": quantizer})
    changed = graph.model.clone()
    quantize_graph(changed, config)
    inputs = graph.more_inputs(2)
    wanted = qonnx_core.compile_model(graph.model).run(inputs)
    found = qonnx_core.compile_model(changed).run(inputs)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


GOOD = {"bits": 4, "scale": 1}
REFUSED = [
    ({"quantise": []}, "unknown key 'quantise'; expected one of quantize. Did you mean quantize?"),
    ({}, "quantize: the key is missing"),
    ([{"match": {"optype": "Add"}, "input": GOOD}], "1.match.optype: unknown key 'optype'; expected one of name"),
    ([{"match": {"name": "x"}, "weight": GOOD}], "unknown key 'weight'; expected one of match, input, weights"),
    ([{"match": {"name": "x"}, "input": {"bits": 4, "scal": 1}}], "Did you mean scale?"),
    ([{"match": {"name": "x"}, "inputs": {0: {"bits": 4, "zeropoint": 1}}}], "inputs.0.zeropoint: unknown key"),
    ([{"match": {"name": "x"}, "input": {"scale": 1}}], "quantize.1.input.bits: the key is missing"),
    ([{"match": {"name": "x"}, "input": {"bits": 0}}], "bits: Input should be greater than or equal to 1"),
    ([{"match": {"name": "x"}, "input": {"bits": 2.5}}], "quantize.1.input.bits: Input should be a valid integer"),
    ([{"match": {"name": "x"}, "input": {"bits": 4, "scale": 0}}], "expected a number above 0, a list of such numbers"),
    ([{"match": {"name": "x"}, "input": {"bits": 4, "scale": "min"}}], "max, data, or product (found 'min')"),
    ([{"match": {"name": "x"}, "input": {"bits": 4, "scale": 1e99}}], "expected a number above 0"),
    ([{"match": {"name": "x"}, "input": {"bits": 4, "zero_point": "min"}}], "expected a number, a list of"),
    ([{"match": {"name": "x"}, "input": {**GOOD, "rounding": "NEAREST"}}], "rounding_mode is 'NEAREST'; expected"),
    ([{"match": {"name": "x"}, "input": {**GOOD, "zero_point": "data"}}], "zero_point is data, but scale is given"),
    ([{"match": {"name": "x"}, "input": {**GOOD, "power_of_two": True}}], "this one is given"),
    ([{"match": {"name": "x"}, "input": {"bits": 1, "signed": False, "narrow": True}}], "0 as its only level"),
    ([{"match": {}, "input": GOOD}], "matches nothing; expected name or op_type"),
    ([{"match": {"name": "x"}}], "quantizes nothing; expected input"),
    ([{"match": {"name": "MatMull_m"}, "input": GOOD}], "matches no node. Did you mean MatMul_m?"),
    ([{"match": {"op_type": "Softmax"}, "input": GOOD}], "matches no node. There are Add, MatMul, Relu."),
    ([{"match": {"op_type": "Relu"}, "weights": GOOD}], "none of its nodes has weights"),
    ([{"match": {"op_type": "MatMul"}, "inputs": {2: GOOD}}], "MatMul_m (MatMul): has no input 2"),
    ([{"match": {"op_type": "MatMul"}, "input": {"bits": 4}}], "the scale of its input is max, but no data are given"),
    ([{"match": {"op_type": "MatMul"}, "input": {"bits": 4, "scale": "data"}}], "but no data are given"),
    ([{"match": {"op_type": "MatMul"}, "weights": {"bits": 4, "scale": [1, 2]}}], "2 numbers for 3 channels"),
    ([{"match": {"op_type": "MatMul"}, "weights": {"bits": 4, "per_channel": True, "axis": 7}}], "axis 7 holds no"),
    ([{"match": {"op_type": "MatMul"}, "input": {"bits": 4, "scale": [1, 2], "axis": 0}}], "holds no known number"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), REFUSED)
def test_wrong_rules_are_refused_by_name(content: Any, reason: str) -> None:
    content = content if isinstance(content, dict) else {"quantize": content}
    model = build(MODEL)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with pytest.raises(InvalidInput) as refusal:
        quantize_graph(model, QuantizationConfig.from_dict(content))
    assert reason in str(refusal.value)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_text_that_is_no_rule_file_is_refused(tmp_path: Path) -> None:
    rule = "quantize: [{match: {op_type: A}, input: {bits: 4, scale: %s}}]"
    for text, reason in (
        ("quantize: [", "it is no YAML"),
        ("quantize: 2001-99-99", "it is no YAML"),
        (rule % ("1" * 9999), "it is no YAML"),
        (rule % ("1" * 999), "expected a number above 0"),
        ("- 1", "found list"),
        ("", "found NoneType"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            QuantizationConfig.from_text(text)
    with pytest.raises(InvalidInput, match="cannot be read as rules"):
        QuantizationConfig.from_file(tmp_path / "none.yaml")


def test_an_axis_without_channels_is_refused() -> None:
    quantizer = {"bits": 4, "scale": 0.5, "axis": 0}
    with pytest.raises(InvalidInput, match=r"axis says along which axis the channels are, but there is one scale"):
        rules({"match": {"op_type": "MatMul"}, "weights": quantizer})
    rules({"match": {"op_type": "MatMul"}, "weights": {**quantizer, "scale": "max", "per_channel": True}})


def test_the_dictionary_of_the_reference_means_the_same_rules() -> None:
    positions = {
        "op_type": {
            "MatMul": [(("input", 0), (0.25, 8, 4, 0, 0, "ROUND")), (("input", 1), (0.5, 0, 3, 1, 1, "FLOOR"))]
        },
        "name": {
            "Relu_y": [(("output", 0), (0.125, 0, 4, 0, 0, "ROUND"))],
            "MatMul_m": [(("input", 1), (1, 0, 8, 0, 1, "UP"))],
        },
    }
    config = QuantizationConfig.from_positions(positions)
    numbers = (np.array([0.25]), np.float32(8), np.int64(4), np.bool_(False), np.int64(0), "ROUND")
    positions["op_type"]["MatMul"][0] = (("input", np.int64(0)), numbers)
    assert QuantizationConfig.from_positions(positions) == config
    model = build(MODEL)
    report = quantize_graph(model, config)
    assert [(e.node, e.operand, e.bits, e.scale) for e in report] == [
        ("Relu_y", "output 0", 4, (0.125,)),
        ("MatMul_m", "input 1", 8, (1.0,)),
        ("MatMul_m", "input 0", 4, (0.25,)),
    ]
    for wrong, reason in (
        ({"names": {}}, "found the key 'names'; expected name and op_type"),
        ({"name": {"x": [(("input", 0), (1, 0, 8))]}}, "x: found 3 parameters"),
        ({"name": {"x": [(("inputs", 0), (1, 0, 8, 0, 1, "ROUND"))]}}, r"x: found \(\('inputs', 0\), .*; expected"),
        ({"name": {"x": [(("input", 0), 5)]}}, r"x: found \(\('input', 0\), 5\); expected"),
        ({"name": {"x": None}}, "x: found None; expected"),
        ({"name": []}, 'expected {"name": {node'),
        (None, 'expected {"name": {node'),
    ):
        with pytest.raises(InvalidInput, match=reason):
            QuantizationConfig.from_positions(wrong)


def test_data_that_are_not_finite_are_refused() -> None:
    config = rules({"match": {"op_type": "MatMul"}, "input": {"bits": 4, "scale": "data"}})
    with pytest.raises(InvalidInput, match="values that are not finite"):
        quantize_graph(build(MODEL), config, {"x": np.full((2, 4), np.inf, np.float32)})


def test_the_command_writes_a_quantized_model_and_reports(tmp_path: Path) -> None:
    qonnx_core.save(build(MODEL), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=samples(40, 4))
    (tmp_path / "q.yaml").write_text(
        "quantize:\n  - match: {op_type: MatMul}\n    weights: {bits: 4, scale: max}\n"
        "    input: {bits: 8, scale: data, power_of_two: true}\n"
    )
    options = ["--config", tmp_path / "q.yaml", "--data", tmp_path / "x.npz", "-o", tmp_path / "q.onnx"]
    run = lambda *extra: CliRunner().invoke(  # noqa: E731
        app, [str(a) for a in ("quantize", tmp_path / "m.onnx", *options, *extra)]
    )
    result = run("--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)["quantized"]
    assert [(row["operand"], row["bits"]) for row in report] == [("weights", 4), ("input", 8)]
    assert op_types(qonnx_core.load(tmp_path / "q.onnx")).count("Quant") == 2
    assert run().exit_code == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "either --config with rules or --fixed-point"),
        (["--config", "q.yaml", "--fixed-point", "INT8"], "either --config with rules or --fixed-point"),
        (["--config", "q.yaml", "--op-type", "Add"], "belong to --fixed-point"),
        (["--fixed-point", "INT8", "--data", "x.npz"], "--data belongs to --config"),
        (["--fixed-point", "FLOAT32"], "is no integer type"),
        (["--fixed-point", "FIXED<4,1>", "--max-error", "0.001", "--tensor", "*w*"], "expected a finer or wider grid"),
        (["--config", "none.yaml"], "cannot be read as rules"),
    ],
)
def test_a_wrong_command_line_is_refused(tmp_path: Path, options: list[str], reason: str) -> None:
    qonnx_core.save(build(MODEL), tmp_path / "m.onnx")
    arguments = ["quantize", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "o.onnx"), *options]
    arguments = [a.replace("*w*", "MatMul_0_param0") for a in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert not (tmp_path / "o.onnx").exists()


BRANCHES = f"""g (float[1, 4] x, bool on) => (y, z) <{PARAMETERS}> {{
  y = If(on) <then_branch = t () => (a) {{ a = MatMul(x, w) }},
    else_branch = e () => (b) {{ r = Relu(x) b = MatMul(r, w) }}>
  z = MatMul(x, w) }}"""


def test_branches_are_quantized_like_the_main_graph() -> None:
    model = build(BRANCHES)
    bits = {"weights": 2, "input": 3, "output": 4}
    rule = {"match": {"op_type": "MatMul"}} | {name: {"bits": width, "scale": 1.0} for name, width in bits.items()}
    report = quantize_graph(model, rules(rule))
    verify(model)
    assert [entry.operand for entry in report].count("weights") == 3
    assert sum(node.op_type == "Quant" for graph in model.graphs() for node in graph) == 6  # x, w, r, three outputs
    x = np.array([[1, -7, 9, 2]], np.float32)
    w = np.array([[1, -2, 3], [0, 1, 1], [-3, 2, 2], [1, 0, -1]], np.float32).clip(-2, 1)
    for chosen, taken in ((True, x), (False, np.maximum(x, 0))):
        found = qonnx_core.compile_model(model).run({"x": x, "on": np.array(chosen)})
        np.testing.assert_array_equal(found["y"], (taken.clip(-4, 3) @ w).clip(-8, 7))
        np.testing.assert_array_equal(found["z"], (x.clip(-4, 3) @ w).clip(-8, 7))


def test_data_give_no_scale_inside_of_a_branch() -> None:
    config = rules({"match": {"op_type": "Relu"}, "output": {"bits": 4, "scale": "data"}})
    with pytest.raises(InvalidInput, match="its output r lies in the branch or body of a node"):
        quantize_graph(build(BRANCHES), config, {"x": np.ones((1, 4), np.float32), "on": np.array(True)})

"""The range analysis on whole networks: sound on random ones, and of one mind with the integer form of backends."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import grids_of, to_integer_form
from qonnx_core.passes.streamline.view import MatMul
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_graphs import random_graph
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

_spec = importlib.util.spec_from_file_location("brute_force", Path(__file__).with_name("brute_force.py"))
assert _spec is not None
assert _spec.loader is not None
brute_force = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("brute_force", brute_force)
_spec.loader.exec_module(brute_force)
Q = "qonnx.custom_op.general."


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["mlp", "cnn", "mixed"]), st.booleans())
def test_no_tensor_of_a_random_network_leaves_its_range(seed: int, kind: str, exact: bool) -> None:
    graph = random_graph(seed, kind, exact=exact, size=8, batch="N")  # type: ignore[arg-type]
    model = qonnx_core.cleanup_model(graph.model)
    names = [value.name or "" for value in model.graph.inputs]
    samples = dict(zip(names, graph.more_inputs(32, seed % 1000).values(), strict=True))
    feeds = {
        name: np.concatenate([np.full_like(array[:1], 8), np.full_like(array[:1], -8), array])
        for name, array in samples.items()
    }
    if exact:
        found = tensor_ranges(model, {name: Grid.parse("INT8*2^-3") for name in names})
    else:
        found = tensor_ranges(model, {}, {name: (float(x.min()), float(x.max())) for name, x in feeds.items()})
    wanted = [name for name in found if name not in names]
    arrays = qonnx_core.compile_model(model).run(feeds, intermediates=wanted)
    for name in wanted:
        brute_force.assert_sound(arrays[name], found[name], 0.0 if exact else 1e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["UINT3*1/7", "INT4"]))
def test_backends_and_the_analysis_agree(
    seed: int, residual: bool, batch_norm: bool, per_channel: bool, grid: str
) -> None:
    shape = MlpShape(
        residual=residual, batch_norm=batch_norm, per_channel=per_channel, power_of_two=bool(seed % 2), tail=False
    )
    model = qonnx_core.cleanup_model(random_mlp(seed, shape))
    grids = {"global_in": Grid.parse(grid)}
    form = to_integer_form(model, grids)
    ranges = tensor_ranges(model, grids)
    tensors = {port.name: tensor for tensor, port in form.quantized.items()}
    compared = 0
    for layer in form.layers():
        tensor = tensors.get(layer.output.name)
        if tensor is None:
            continue
        found = ranges[tensor]
        low, high = (np.broadcast_to(side, layer.output.lo.shape).tolist() for side in (found.low, found.high))
        assert (low, high) == (layer.output.lo.tolist(), layer.output.hi.tolist()), tensor
        compared += isinstance(layer, MatMul)
    assert compared
    for tensor, grid_there in grids_of(model, grids).items():
        here = ranges[tensor].grid if tensor in ranges else None
        if here is not None and isinstance(grid_there, Grid):
            assert (here.scale, here.zero_point, here.offset) == (
                grid_there.scale, grid_there.zero_point, grid_there.offset,
            ), tensor  # fmt: skip


def test_sums_of_two_tensors_take_both_ends() -> None:
    body = """g (float[N, 1] x, float[N, 1] u) => (float[N, 1] y, float[N, 1] d, float[N, 1] p, float[N, 2] c)
      <float k = {0.5}> { h = Mul(u, k) y = Add(x, h) d = Sub(h, x) p = Mul(x, h) c = Concat<axis = 1>(x, h) }"""
    model = brute_force.build(body)
    grids = {"global_in": Grid.parse("INT3"), "global_in_1": Grid.parse("(UINT2-1)*3")}
    ints = np.asarray(list(itertools.product(range(-4, 4), range(4))), np.int64)
    arrays = brute_force.measured(model, grids, {"global_in": ints[:, :1], "global_in_1": ints[:, 1:]})
    found = tensor_ranges(model, grids)
    for name, array in arrays.items():
        brute_force.assert_sound(array, found[name])
        brute_force.assert_tight(array, found[name])
    assert str(found["global_out_3"].grid) == "(INT3-[0,1])*[1,3/2]"


def test_a_product_of_two_tensors_is_bounded_by_its_terms() -> None:
    """Attention: both operands run; INT2 products are from -2 to 4, and two of them are summed."""
    body = "g (float[N, 2, 2] x, float[N, 2, 2] u) => (float[N, 2, 2] y) { y = MatMul(x, u) }"
    model = brute_force.build(body)
    grids = {"global_in": Grid.parse("INT2"), "global_in_1": Grid.parse("INT2")}
    found = tensor_ranges(model, grids)["global_out"]
    assert (found.low, found.high) == ((-4,), (8,))
    assert (str(found.accumulator), str(found.partial_sums)) == ("INT5", "INT5")
    generator = np.random.default_rng(0)
    ints = {name: generator.integers(-2, 2, (3000, 2, 2)) for name in grids}
    brute_force.assert_sound(brute_force.measured(model, grids, ints)["global_out"], found)


def test_partial_sums_can_need_more_than_the_whole_sum() -> None:
    """Of two numbers from -8 to -3 the difference is within 5, but each of them reaches -8."""
    body = f"""g (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w = {{1, -1}}, float l = {{-8}}, float h = {{-3}},
      float s = {{1}}, float z = {{0}}, float b = {{4}}>
      {{ c = Clip(x, l, h) q = {Q}Quant(c, s, z, b) y = MatMul(q, w) }}"""
    found = tensor_ranges(brute_force.build(body), {"global_in": Grid.parse("INT4")})["global_out"]
    assert found.values == (-5, 5)
    assert (str(found.accumulator), str(found.partial_sums)) == ("INT4", "INT5")


def test_an_input_without_a_grid_is_bounded_by_the_first_quantizer() -> None:
    body = f"""g (float[N, 2] x) => (float[N, 2] y) <float s = {{0.5}}, float z = {{0}}, float b = {{3}}>
      {{ r = Relu(x) q = {Q}Quant(x, s, z, b) y = Add(q, r) }}"""
    found = tensor_ranges(brute_force.build(body), {})
    assert "--input-type" in found["global_in"].reason
    assert found["global_in"].values is None
    assert (found["Quant_0_out0"].values, str(found["Quant_0_out0"].grid)) == ((-2, 1.5), "INT3*2^-1")
    assert found["global_out"].values == (-2, np.inf)
    assert found["global_out"].reason == "it depends on Relu_0_out0"


def test_float_weights_give_a_range_without_a_grid() -> None:
    body = "g (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w = {0.1, -0.3}> { y = MatMul(x, w) }"
    found = tensor_ranges(brute_force.build(body), {"global_in": Grid.parse("UINT2")})["global_out"]
    assert "its weights are not quantized" in found.reason
    assert found.values is not None
    assert found.values[0] == pytest.approx(-0.9, abs=1e-7)
    assert found.values[1] == pytest.approx(0.3, abs=1e-7)


def test_padding_off_the_grid_of_the_data_makes_the_grid_finer() -> None:
    body = """g (float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y, float[N, 1, 2, 2] p)
      <float c = {7.5}, float[1, 1, 2, 2] w = {1, 2, 3, 4}>
      { a = Add(x, c) y = Conv<pads = [1, 1, 0, 0]>(a, w) p = Mul(a, x) }"""
    found = brute_force.check(body, "INT2", (1, 2, 2), tight=False)
    assert str(found["global_out"].grid) == "UINT8*2^-1"
    assert found["global_out"].channel_values == ((22, 85),)
    assert found["global_out_1"].grid is not None


def test_a_tensor_is_described_along_the_axis_on_which_it_differs() -> None:
    body = f"""g (float[N, 2, 3] x) => (float[N, 2, 3] y) <float[2, 1] s = {{0.5, 2}}, float z = {{0}}, float b = {{3}}>
      {{ y = {Q}Quant(x, s, z, b) }}"""
    found = tensor_ranges(brute_force.build(body), {})["global_out"]
    assert (found.axis, found.channels, str(found.grid)) == (1, 2, "INT3*[2^-1,2]")
    assert found.channel_values == ((-2, 1.5), (-8, 6))


def test_softmax_and_unknown_operators_say_what_is_known() -> None:
    body = """g (float[N, 2] x) => (float[N, 2] y, float[N, 2] d)
      { y = Softmax(x) d = LpNormalization(x) }"""
    found = tensor_ranges(brute_force.build(body), {"global_in": Grid.parse("UINT2")})
    assert found["global_out"].values == (0, 1)
    assert found["global_out_1"].values is None
    assert found["global_out_1"].reason.startswith("LpNormalization_0 (LpNormalization): no range of this operator")


def test_a_normalized_number_is_near_its_mean() -> None:
    body = """g (float[N, 2, 5] x) => (float[N, 2, 5] y, float[N, 2, 5] d) <float[5] s = {1, 1, 2, 1, 1},
      float[5] b = {0, 1, 0, 0, 0}, float[2] t = {1, 3}, float[2] c = {0, -1}>
      { y = LayerNormalization(x, s, b) d = InstanceNormalization(x, t, c) }"""
    model = brute_force.build(body)
    found = tensor_ranges(model, {})
    assert found["global_out"].values == pytest.approx((-4, 4))
    assert found["global_out_1"].channel_values[1] == pytest.approx((-7, 5))
    x = np.random.default_rng(0).normal(0, 1, (200, 2, 5)).astype(np.float32)
    x[0, 0], x[1, 1] = [0, 0, 9, 0, 0], [9, 0, 0, 0, 0]
    arrays = qonnx_core.compile_model(model).run({"global_in": x})
    for name, array in arrays.items():
        brute_force.assert_sound(array, found[name], 1e-6)
    assert arrays["global_out"].max() > 3.99


def test_a_name_that_is_no_input_is_refused() -> None:
    model = brute_force.build("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }")
    with pytest.raises(InvalidInput, match="u is no input of the model; expected one of global_in"):
        tensor_ranges(model, {"u": Grid.parse("UINT2")})
    with pytest.raises(InvalidInput, match="its grid has 3 channels, the tensor 2"):
        tensor_ranges(model, {"global_in": Grid.parse("UINT2*[1,2,3]")})
    with pytest.raises(InvalidInput, match="two numbers in rising order"):
        tensor_ranges(model, {}, {"global_in": (1.0, 0.0)})


def test_a_residual_network_is_integer_throughout() -> None:
    path = shared_file("models/nn2fpga/resnet8_a8w8b16.onnx")
    model = qonnx_core.cleanup_model(qonnx_core.load(path))
    start = time.process_time()
    found = tensor_ranges(model, {})
    assert time.process_time() - start < 5
    assert [row.name for row in found.values() if row.grid is None] == ["global_in"]
    assert str(found["Conv_0_out0"].accumulator) == "INT18"
    assert str(found["Add_2_out0"].accumulator) == "INT9"
    assert str(found["MaxPool_0_out0"].grid) == "UINT8*2^-5"
    stored = np.load(path.with_suffix(".npz"))
    images = next(stored[key] for key in stored.files if stored[key].ndim == 4 and stored[key].shape[1] == 3)
    names = [name for name in found if name != "global_in"]
    arrays = qonnx_core.compile_model(model).run({"global_in": images[:20].astype(np.float32)}, intermediates=names)
    for name in names:
        brute_force.assert_sound(arrays[name], found[name])


def test_a_binary_perceptron_has_narrow_accumulators() -> None:
    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file("models/zoo/TFC_1W2A.onnx")))
    found = tensor_ranges(model, {"global_in": Grid.parse("UINT8*1/255")})
    sums = [str(row.accumulator) for row in found.values() if row.op_type == "MatMul"]
    assert sums == ["INT11", "INT8", "INT8", "INT8"]
    assert "irrational" in found["BatchNormalization_0_out0"].reason


def test_tensors_of_unknown_rank_have_ranges() -> None:
    body = f"""g (float x) => (float y) <float[1] s = {{2.5}}, float z = {{0}}, float b = {{3}}>
      {{ q = {Q}Quant(x, s, z, b) y = Relu(q) }}"""
    proto = onnx.parser.parse_model(brute_force.HEAD + body)
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.ClearField("shape")
    found = tensor_ranges(qonnx_core.cleanup_model(from_proto(proto)), {})
    assert found["Quant_0_out0"].values == (-10, 7.5)
    assert found["global_out"].values == (0, 7.5)


def test_a_node_that_contradicts_itself_has_no_range() -> None:
    body = """g (float[N, 1, 2] x) => (float[N, 2, 2] y)
      <float[N, 1, 2] a, float[2, 1, 1] w = {1, 2}, float[3] c = {1, 2, 3}> { a = Relu(x) y = Conv(a, w, c) }"""
    found = tensor_ranges(ir.from_proto(onnx.parser.parse_model(brute_force.HEAD + body)), {"x": Grid.parse("INT2")})
    assert found["a"].values == (0, 1)
    assert found["y"].values is None
    assert "do not fit together" in found["y"].reason

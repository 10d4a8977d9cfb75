"""Pruned models compute what the definition says: removed channels read 0 wherever they are summed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core import compile_model
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.annotations import get_sparsity, set_sparsity
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.verify import verify
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.prune import PruneChannels, annotated_channels, mask_channels, prune_channels, read_channels
from qonnx_core.passes.prune.rules import couple
from qonnx_core.testing import shared_file
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_graphs import random_graph

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1, "qonnx.custom_op.channels_last": 1]>'
Q = "qonnx.custom_op.general"


def build(text: str, seed: int = 0) -> ir.Model:
    """Return the model; parameters without values get small whole numbers, never 0, from the seed."""
    proto = onnx.parser.parse_model(HEAD + text)
    rng = np.random.default_rng(seed)
    known = {tensor.name for tensor in proto.graph.initializer}
    for info in list(proto.graph.value_info):
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        array = (rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)).astype(np.float32)
        if info.name.startswith("var"):
            array = np.ones(shape, np.float32)
        if info.name not in known:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    del proto.graph.value_info[:]
    model = from_proto(proto)
    InferShapes().run(model)
    return model


def samples(model: ir.Model, seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {
        value.name or "": rng.integers(-4, 5, [3, *list(value.shape or ())[1:]]).astype(np.float32)
        for value in model.graph.inputs
    }


def check(model: ir.Model, channels: dict[str, dict[int, set[int]]]) -> ir.Model:
    """Return the pruned model, having checked that it computes what the masked one computes."""
    pruned, inputs = model.clone(), samples(model)
    assert PruneChannels(channels, lossy=True).run(pruned) > 0
    verify(pruned)
    wanted, found = (compile_model(each).run(inputs) for each in (mask_channels(model, channels), pruned))
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    return pruned


def shapes(model: ir.Model) -> dict[str, list[int]]:
    values = [*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)]
    return {value.name or "": [dim for dim in (value.shape or ()) if isinstance(dim, int)] for value in values}


MLP = """g (float[N, 5] x) => (float[N, 2] y) <float[5, 4] w, float[4, 2] v, float[4] c, float s = {1}, float z = {0},
  float b = {8}, float[1, 4] k>
  { k2 = Abs(k) m = MatMul(x, w) a = Add(m, c) q = qonnx.custom_op.general.Quant(a, k2, z, b) y = MatMul(q, v) }"""


def test_before_and_after() -> None:
    before = build(
        """g (float[N, 2] x) => (float[N, 1] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3] c = {7, 8, 9},
        float[3, 1] v = {1, 2, 3}> { m = MatMul(x, w) a = Add(m, c) r = Relu(a) y = MatMul(r, v) }"""
    )
    after = build(
        """g (float[N, 2] x) => (float[N, 1] y) <float[2, 2] w = {1, 3, 4, 6}, float[2] c = {7, 9},
        float[2, 1] v = {1, 3}> { m = MatMul(x, w) a = Add(m, c) r = Relu(a) y = MatMul(r, v) }"""
    )
    assert PruneChannels({"r": {1: {1}}}, lossy=True).run(before) == 6
    assert shapes(before) == shapes(after)
    for name, value in after.graph.initializers.items():
        found = before.graph.initializers[name].const_value
        assert value.const_value is not None
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), value.const_value.numpy())


@pytest.mark.parametrize("start", [("w", 1), ("c", 0), ("m", 1), ("q", -1), ("v", 0), ("k", 1)])
def test_any_tensor_of_the_group_stands_for_it(start: tuple[str, int]) -> None:
    tensor, axis = start
    pruned = check(build(MLP), {tensor: {axis: {2}}})
    found = shapes(pruned)
    assert (found["w"], found["c"], found["v"], found["k"]) == ([5, 3], [3], [3, 2], [1, 3])


CNN = """g (float[N, 3, 8, 8] x) => (float[N, 2] y)
  <float[4, 3, 3, 3] w, float[4] b, float[4] gamma, float[4] beta, float[4] mean, float[4] var, float[4, 1, 3, 3] wd,
   float[4, 4, 1, 1] w2, float[16, 2] w3, float[4, 1, 1, 1] s = {1, 2, 0.5, 1}, float one = {1}, float z = {0},
   float bits = {8}, int64[2] flat = {0, 16}, float[4, 7] t>
  { q = Q.Quant(w, s, z, bits) c = Conv<pads = [1, 1, 1, 1]>(x, q, b)
    n = BatchNormalization<epsilon = 0.0>(c, gamma, beta, mean, var) r = Relu(n)
    d = Conv<group = 4, pads = [1, 1, 1, 1]>(r, wd) e = Q.MultiThreshold<out_dtype = "UINT3">(d, t)
    f = Conv(e, w2) a = Add(f, r) p = MaxPool<kernel_shape = [4, 4], strides = [4, 4]>(a) h = Reshape(p, flat)
    y = MatMul(h, w3) }""".replace("Q.", f"{Q}.")


def test_residual_depthwise_normalization_thresholds_and_flatten() -> None:
    pruned = check(build(CNN), {"c": {1: {0, 3}}})
    found = shapes(pruned)
    assert found["w"] == [2, 3, 3, 3]
    assert found["s"] == [2, 1, 1, 1]
    assert found["gamma"] == found["var"] == found["b"] == [2]
    assert found["wd"] == [2, 1, 3, 3]
    assert found["t"] == [2, 7]
    assert found["w2"] == [2, 2, 1, 1]
    assert found["w3"] == [8, 2]
    depthwise = next(node for node in pruned.graph if node.outputs[0].name == "d")
    assert depthwise.attributes.get_int("group", 1) == 2


JOIN = """g (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y)
  <float[3, 2, 1, 1] a, float[2, 2, 1, 1] b, float[3, 5, 1, 1] c>
  { u = Conv(x, a) v = Conv(x, b) j = Concat<axis = 1>(u, v) r = Relu(j) y = Conv(r, c) }"""


def test_concatenation_has_offsets() -> None:
    found = shapes(check(build(JOIN), {"r": {1: {1, 4}}}))
    assert (found["a"], found["b"], found["c"]) == ([2, 2, 1, 1], [1, 2, 1, 1], [3, 3, 1, 1])


SPLIT = """g (float[N, 3] x) => (float[N, 2] y) <float[3, 6] w, float[3, 2] a, float[2, 2] b, int64[1] from = {0},
  int64[1] to = {2}, int64[1] axis = {1}, int64[3] pick = {2, 0, 2}, float[3, 2] c>
  { m = MatMul(x, w) u, v = Split<axis = 1, num_outputs = 2>(m)
    s = Slice(v, from, to, axis) k = Gather<axis = 1>(v, pick)
    p = MatMul(u, a) q = MatMul(s, b) r = MatMul(k, c) t = Add(p, q) y = Add(t, r) }"""


def test_split_slice_and_gather_follow() -> None:
    pruned = check(build(SPLIT), {"m": {1: {0, 4}}})
    found = shapes(pruned)
    assert (found["u"], found["v"], found["s"], found["k"], found["b"]) == ([2], [2], [1], [3], [1, 2])
    pruned = check(build(SPLIT), {"m": {1: {5}}})
    assert (shapes(pruned)["k"], shapes(pruned)["s"]) == ([1], [2])


LAST = """g (float[N, 6, 6, 3] x) => (float[N, 5] y) <float[4, 3, 3, 3] w, float[4] b, float[16, 5] v, float[4, 3] t,
  int64[2] flat = {0, 16}, float[4] gamma, float[4] beta, float[4] mean, float[4] var>
  { c = C.Conv<kernel_shape = [3, 3]>(x, w, b) n = C.BatchNormalization<epsilon = 0.0>(c, gamma, beta, mean, var)
    e = Q.MultiThreshold<out_dtype = "UINT2", data_layout = "NHWC">(n, t)
    p = C.MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e) h = Reshape(p, flat) y = MatMul(h, v) }"""


def test_channels_last_operators_and_their_flattening() -> None:
    text = LAST.replace("C.", "qonnx.custom_op.channels_last.").replace("Q.", f"{Q}.")
    pruned = check(build(text), {"w": {0: {1}}})
    v = next(value for value in pruned.graph.initializers.values() if value.name == "v")
    assert v.shape == ir.Shape([12, 5])
    whole = build(text).graph.initializers["v"].const_value
    assert whole is not None
    assert v.const_value is not None
    kept = [row for row in range(16) if row % 4 != 1]
    np.testing.assert_array_equal(v.const_value.numpy(), whole.numpy()[kept])


def test_windows_of_im2col_and_deconvolution() -> None:
    text = """g (float[N, 5, 5, 2] x) => (float[N, 3, 8, 8] y) <float[2, 4] w, float[16, 6] v, float[6, 3, 2, 2] u>
      { a = MatMul(x, w) i = Q.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1,5,5,4)">(a)
        m = MatMul(i, v) t = Transpose<perm = [0, 3, 1, 2]>(m) y = ConvTranspose<strides = [2, 2]>(t, u) }"""
    model = build(text.replace("Q.", f"{Q}."))
    pruned = check(model, {"a": {3: {0, 2}}, "t": {1: {5}}})
    found = shapes(pruned)
    assert (found["w"], found["v"], found["u"]) == ([2, 2], [8, 5], [5, 3, 2, 2])
    im2col = next(node for node in pruned.graph if node.op_type == "Im2Col")
    assert im2col.attributes["input_shape"].value == "(1,5,5,2)"


GROUPED = """g (float[N, 2, 4, 4] x) => (float[N, 1, 4, 4] y)
  <float[6, 2, 1, 1] a, float[4, 3, 1, 1] b, float[1, 4, 1, 1] c>
  { u = Conv(x, a) v = Conv<group = 2>(u, b) y = Conv(v, c) }"""


def test_a_grouped_convolution_loses_the_same_channels_of_each_group() -> None:
    found = shapes(check(build(GROUPED), {"u": {1: {1}}}))
    assert (found["u"], found["a"], found["b"], found["c"]) == ([4, 4, 4], [4, 2, 1, 1], [4, 2, 1, 1], [1, 4, 1, 1])


def test_a_grouped_convolution_loses_a_whole_group() -> None:
    pruned = check(build(GROUPED), {"u": {1: {3, 4, 5}}})
    assert shapes(pruned)["b"] == [2, 3, 1, 1]
    assert shapes(pruned)["c"] == [1, 2, 1, 1]
    assert pruned.graph[1].attributes.get_int("group", 1) == 1


def test_transposed_gemm_and_quantize_linear_follow() -> None:
    text = """g (float[N, 3] x) => (float[N, 2] y) <float[4, 3] w, float[4] b, float[4] s = {1, 2, 0.5, 0.25},
      int8[4] z = {0, 1, 0, 2}, float[4, 2] v> { m = Gemm<transB = 1>(x, w, b) q = QuantizeLinear<axis = 1>(m, s, z)
      d = DequantizeLinear<axis = 1>(q, s, z) y = Gemm(d, v) }"""
    found = shapes(check(build(text), {"m": {1: {1, 2}}}))
    assert (found["w"], found["b"], found["s"], found["z"], found["v"]) == ([2, 3], [2], [2], [2], [2, 2])


def test_two_running_factors_lose_what_they_share() -> None:
    text = """g (float[N, 4, 3] x) => (float[N, 4, 4] y) <float[3, 6] a, float[3, 6] b>
      { q = MatMul(x, a) k = MatMul(x, b) t = Transpose<perm = [0, 2, 1]>(k) y = MatMul(q, t) }"""
    found = shapes(check(build(text), {"q": {2: {0, 5}}}))
    assert found["a"] == found["b"] == [3, 4]


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        (JOIN, {"x": {1: {0}}}, "x, axis 1, channels 0: x is an input of the model"),
        (JOIN, {"c": {0: {2}}}, "y is an output of the model"),
        (JOIN, {"u": {1: {0, 1, 2}}}, "would lose all 3 channels of axis [01]; expected at least one left"),
        (JOIN, {"u": {2: {0}}}, r"u \(Conv\) has positions along this axis"),
        (CNN, {"wd": {1: {0}}}, r"d \(Conv\) has one channel for each group"),
        (MLP.replace("y = MatMul(q, v)", "h = Softmax(q) y = MatMul(h, v)"), {"m": {1: {0}}},
         r"h \(Softmax\) compares or combines them"),
    ],
)  # fmt: skip
def test_what_has_to_stay_is_refused_with_the_reason(
    text: str, channels: dict[str, dict[int, set[int]]], message: str
) -> None:
    model = build(text)
    before = serialize(model)
    with pytest.raises(Unsupported, match=message):
        PruneChannels(channels, lossy=True).run(model)
    assert serialize(model) == before


def test_what_graphs_inside_of_graphs_read_stays() -> None:
    text = """g (float[N, 2] x, bool c) => (float[N, 3] y) <float[2, 3] w>
      { m = MatMul(x, w) y = If(c) <then_branch = t () => (float[N, 3] u)
          { u = If(c) <then_branch = a () => (float[N, 3] p) { p = Neg(m) },
                       else_branch = b () => (float[N, 3] q) { q = Abs(m) }> },
        else_branch = e () => (float[N, 3] v) { v = Identity(m) }> }"""
    with pytest.raises(Unsupported, match=r"y \(If\) reads or makes it and reads it in a graph of its own"):
        PruneChannels({"w": {1: {0}}}, lossy=True).run(build(text))


@pytest.mark.parametrize(
    "body",
    ["y = C.Conv<kernel_shape = [1, 1]>(x, w)", "y = C.Conv<kernel_shape = [1, 1], group = 2>(x, v)"],
)
def test_weights_that_do_not_fit_stay(body: str) -> None:
    text = f"g (float[N, 3, 3, 4] x) => (y) <float[4] w, float[4, 1, 1, 4] v> {{ {body} }}"
    model = build(text.replace("C.", "qonnx.custom_op.channels_last."))
    assert PruneChannels(zero_channels=True).run(model) == 0
    with pytest.raises(Unsupported, match=r"not known|do not fit|output of the model"):
        PruneChannels(
            {"v": {0: {0}}, "w": {0: {0}}} if "v" in model.graph.initializers else {"w": {0: {0}}}, lossy=True
        ).run(model)


def test_sizes_that_a_file_claims_cost_no_memory() -> None:
    text = """g (float[1, 2, 16000, 8000] x) => (y) <float[3, 2, 1, 1] w, int64[2] flat = {1, -1}>
      { c = Conv(x, w) r = Relu(c) y = Reshape(r, flat) }"""
    with pytest.raises(Unsupported, match=r"joins more than 16777216 elements|not known"):
        PruneChannels({"r": {1: {0}}}, lossy=True).run(build(text))
    assert PruneChannels(zero_channels=True).run(build(text)) == 0


def test_what_meets_a_tensor_of_unknown_size_stays() -> None:
    text = """g (float[N, 2] x, float[N, C] k) => (float[N, 1] y) <float[2, 3] w, float[3, 1] v>
      { m = MatMul(x, w) a = Add(m, k) y = MatMul(m, v) z = Relu(a) }"""
    with pytest.raises(Unsupported, match=r"is not known|as a whole"):
        PruneChannels({"w": {1: {0}}}, lossy=True).run(build(text))


@pytest.mark.parametrize("channels", [{"nothing": {0: {0}}}, {"w": {7: {0}}}, {"w": {1: {9}}}])
def test_what_does_not_exist_is_refused(channels: dict[str, dict[int, set[int]]]) -> None:
    model = build(MLP)
    with pytest.raises(InvalidInput, match=r"expected one of|Count them from 0"):
        PruneChannels(channels, lossy=True).run(model)


def with_zeros(model: ir.Model, name: str, axis: int, channel: int, number: float = 0) -> None:
    value = model.graph.initializers[name]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    np.moveaxis(array, axis, 0)[channel] = number
    value.const_value = ir.tensor(array, name=name)


def test_channels_that_nobody_weighs_go_without_a_trace() -> None:
    model = build(CNN)
    for name, axis in (("w2", 1), ("wd", 0)):
        with_zeros(model, name, axis, 2)
    with_zeros(model, "gamma", 0, 1)
    with_zeros(model, "beta", 0, 1)
    with_zeros(model, "w2", 0, 1)
    pruned = check_pass(PruneChannels(zero_channels=True), model, samples(model), min_edits=1)
    assert shapes(pruned)["w"] == [3, 3, 3, 3]


def test_a_constant_channel_moves_into_the_bias() -> None:
    text = """g (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y) <float[4, 2, 1, 1] a, float[4] b, float[3, 4, 1, 1] c>
      { u = Conv(x, a, b) r = Relu(u) y = Conv(r, c) }"""
    model = build(text)
    with_zeros(model, "a", 0, 3)
    with_zeros(model, "b", 0, 3, 5)
    pruned = model.clone()
    assert PruneChannels({"r": {1: {3}}}).run(pruned) > 0
    inputs = samples(model)
    np.testing.assert_array_equal(compile_model(pruned).run(inputs)["y"], compile_model(model).run(inputs)["y"])
    assert [len(node.inputs) for node in pruned.graph] == [3, 1, 3]
    check_pass(PruneChannels(zero_channels=True), model, inputs, min_edits=1)


def test_a_constant_channel_in_front_of_a_padded_convolution_stays() -> None:
    text = """g (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y) <float[4, 2, 1, 1] a, float[4] b, float[3, 4, 3, 3] c>
      { u = Conv(x, a, b) r = Relu(u) y = Conv<pads = [1, 1, 1, 1]>(r, c) }"""
    model = build(text)
    with_zeros(model, "a", 0, 3)
    with_zeros(model, "b", 0, 3, 5)
    with pytest.raises(Unsupported, match=r"r, axis 1, channels 3: y \(Conv\) adds it to its results"):
        PruneChannels({"r": {1: {3}}}).run(model)
    with_zeros(model, "b", 0, 3, -5)  # Relu makes it 0, and so is the padding
    check_pass(PruneChannels(zero_channels=True), model, samples(model), min_edits=1)


def test_constant_channels_pass_quantizers_and_flattening_into_a_sum() -> None:
    text = """g (float[N, 2, 2, 2] x) => (float[N, 2] y) <float[3, 2, 1, 1] a, float[3] b, float[12, 2] v,
      float one = {1}, float z = {0}, float bits = {4}, int64[2] flat = {0, 12}>
      { u = Conv(x, a, b) q = Q.Quant(u, one, z, bits)
      h = Reshape(q, flat) y = MatMul(h, v) }""".replace("Q.", f"{Q}.")
    model = build(text)
    with_zeros(model, "a", 0, 1)
    with_zeros(model, "b", 0, 1, 2.5)
    pruned = check_pass(PruneChannels(zero_channels=True), model, samples(model), min_edits=1)
    assert [node.op_type for node in pruned.graph] == ["Conv", "Quant", "Reshape", "MatMul", "Add"]
    assert pruned.graph.outputs[0].name == "y"
    assert shapes(pruned)["v"] == [8, 2]


def test_channels_that_fed_only_removed_ones_go_too() -> None:
    text = """g (float[N, 2] x) => (float[N, 2] y) <float[2, 3] a, float[3, 3] b, float[3, 2] c>
      { m = MatMul(x, a) r = Relu(m) n = MatMul(r, b) s = Relu(n) y = MatMul(s, c) }"""
    model = build(text)
    with_zeros(model, "c", 0, 0)
    with_zeros(model, "b", 0, 1)
    value = model.graph.initializers["b"]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[1, 0] = 5  # channel 1 of r feeds channel 0 of s alone, which nobody reads
    value.const_value = ir.tensor(array, name="b")
    pruned = check_pass(PruneChannels(zero_channels=True), model, samples(model), min_edits=1)
    assert shapes(pruned)["b"] == [2, 2]
    report = prune_channels(model, zero_channels=True)
    assert (report.removed["b"], report.removed["a"]) == ({0: (1,), 1: (0,)}, {1: (1,)})


def test_the_grids_of_the_inputs_prove_more_channels_constant() -> None:
    text = """g (float[N, 2] x) => (float[N, 2] y)
      <float[2, 3] a = {1, -1, 2, 1, -1, -3}, float[3] b = {0, -1, -40}, float[3, 2] c>
      { m = MatMul(x, a) n = Add(m, b) r = Relu(n) y = MatMul(r, c) }"""
    model = build(text)
    assert PruneChannels(zero_channels=True).run(model.clone()) == 0
    step = PruneChannels(zero_channels=True, input_grids={"x": Grid.parse("UINT4")})
    inputs = {"x": np.arange(16, dtype=np.float32).reshape(8, 2)}
    pruned = check_pass(step, model, inputs, min_edits=1)
    assert shapes(pruned)["a"] == [2, 1]


def test_the_last_channel_stays() -> None:
    text = "g (float[N, 2] x) => (float[N, 2] y) <float[2, 3] w, float[3, 2] v> { m = MatMul(x, w) y = MatMul(m, v) }"
    model = build(text)
    for channel in range(3):
        with_zeros(model, "w", 1, channel)
    pruned = check_pass(PruneChannels(zero_channels=True), model, samples(model), min_edits=1)
    assert shapes(pruned)["w"] == [2, 1]


def test_partial_requests_are_done_in_part_where_asked() -> None:
    model = build(JOIN)
    report = prune_channels(model, {"u": {1: {0}}, "x": {1: {1}}}, lossy=True)
    assert report.removed["a"] == {0: (0,)}
    assert [str(refusal) for refusal in report.refused] == ["x, axis 1, channels 1: x is an input of the model"]


def test_sparsity_annotations_name_channels_and_are_renumbered() -> None:
    model = build(JOIN)
    set_sparsity(model.graph.initializers["a"], {0: {1}})
    set_sparsity(model.graph.initializers["b"], {0: {0, 1}, "dw": {"kernel_shape": [1, 1]}})
    assert annotated_channels(model) == {"a": {0: {1}}, "b": {0: {0, 1}}}
    PruneChannels({"a": {0: {1}}, "b": {0: {0}}}, lossy=True).run(model)
    assert get_sparsity(model.graph.initializers["a"]) is None
    assert get_sparsity(model.graph.initializers["b"]) == {0: {0}, "dw": {"kernel_shape": [1, 1]}}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.yaml", "conv1: {0: [3, 5]}\n", {"conv1": {0: {3, 5}}}),
        ("c.json", '{"conv1": {"0": [3], "-1": [2]}}', {"conv1": {0: {3}, -1: {2}}}),
        ("c.yaml", "", r"holds nothing; expected \{tensor: \{axis: \[channels\]\}\}. Write for example"),
        ("c.yaml", "- 3\n", r"holds list; expected \{tensor"),
        ("c.yaml", "conv1: [3]\n", r"conv1 has \[3\]; expected \{axis"),
        ("c.yaml", "conv1: {0: [a]}\n", "expected the number of an axis"),
        ("c.yaml", "!!python/object:x.Y {}\n", "is no YAML or JSON"),
        ("c.json", "{", "is no YAML or JSON"),
    ],
)
def test_files_of_channels(name: str, text: str, expected: object, tmp_path: Any) -> None:
    file = tmp_path / name
    file.write_text(text)
    if isinstance(expected, str):
        with pytest.raises(InvalidInput, match=expected):
            read_channels(file)
    else:
        assert read_channels(file) == expected


def test_a_file_of_channels_that_is_none_is_refused(tmp_path: Any) -> None:
    with pytest.raises(InvalidInput, match=r"none.yaml: cannot be read as rules \(No such file or directory\)"):
        read_channels(tmp_path / "none.yaml")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 5000), st.sampled_from(["mlp", "cnn", "mixed"]), st.integers(0, 2**32 - 1))
def test_pruning_a_random_graph_equals_masking_it(seed: int, kind: Any, choice: int) -> None:
    graph = random_graph(seed, kind)
    model, rng = graph.model, np.random.default_rng(choice)
    InferShapes().run(model)
    slices = couple(model)
    free = ~slices.components().stays()
    places = [(v, axis, np.flatnonzero(free[at : at + size])) for v, axis, at, size in slices.places() if size > 1]
    places = [place for place in places if place[2].size]
    if not places:
        return
    value, axis, numbers = places[rng.integers(len(places))]
    chosen = {
        int(channel) for channel in rng.choice(numbers, rng.integers(1, max(2, len(numbers) // 2)), replace=False)
    }
    channels = {value.name or "": {axis: chosen}}
    try:
        masked = mask_channels(model, channels)
    except Unsupported:
        return
    pruned, careful = model.clone(), model.clone()
    assert prune_channels(pruned, channels, lossy=True).num_slices
    prune_channels(careful, channels)
    for each, like in ((pruned, masked), (careful, model)):
        verify(each)
        wanted, found = (compile_model(one).run(graph.inputs) for one in (like, each))
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 5000), st.sampled_from(["mlp", "cnn", "mixed"]))
def test_removing_what_changes_nothing_keeps_a_random_graph(seed: int, kind: Any) -> None:
    graph = random_graph(seed, kind)
    model, rng = graph.model, np.random.default_rng(seed)
    for value in model.graph.initializers.values():
        readers = {use.node.op_type for use in value.uses() if use.idx in (0, 1)}
        array = None if value.const_value is None else value.const_value.numpy()
        if array is not None and array.ndim >= 2 and readers <= {"Conv", "MatMul", "Gemm", "Quant", "IntQuant"}:
            if any(use.node.op_type.endswith("Quant") and use.idx != 0 for use in value.uses()):
                continue
            axis = int(rng.integers(2))
            with_zeros(model, value.name or "", axis, int(rng.integers(array.shape[axis])))
    check_pass(PruneChannels(zero_channels=True), model, graph.inputs)


@pytest.mark.parametrize(
    ("name", "tensor", "axis", "zeros"),
    [("zoo/TFC_1W2A", "BatchNormalization_1_param0", 0, 0), ("zoo/qkeras_jettagging", "Relu_0_out0", 1, 10),
     ("nn2fpga/resnet8_a8w8b16", "Conv_3_out0", 1, 0)],
)  # fmt: skip
def test_trained_models_are_pruned(name: str, tensor: str, axis: int, zeros: int) -> None:
    path = shared_file(f"models/{name}.onnx")
    model = qonnx_core.cleanup_model(qonnx_core.load(path))
    (source,) = model.graph.inputs
    x = np.load(path.with_suffix(".npz"))["x"][:16].astype(np.float32)
    inputs = {source.name or "": x.reshape(-1, *[dim for dim in list(source.shape or ())[1:] if isinstance(dim, int)])}
    wanted = compile_model(model).run(inputs)
    careful, pruned = model.clone(), model.clone()
    assert len(prune_channels(careful, zero_channels=True).removed) == zeros
    channels = {tensor: {axis: {1, 4, 6}}}
    PruneChannels(channels, lossy=True).run(pruned)
    masked = compile_model(mask_channels(model, channels)).run(inputs)
    for found, like in ((compile_model(careful).run(inputs), wanted), (compile_model(pruned).run(inputs), masked)):
        for output, array in like.items():
            np.testing.assert_array_equal(found[output], array)

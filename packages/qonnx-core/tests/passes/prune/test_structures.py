"""Structures of real networks: the pruned one computes the original with zeros where products read what is gone.

The zeros are written into the stored weights here, by the definition of each product, without the code of the pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from qonnx_core import compile_model
from qonnx_core.errors import Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.verify import verify
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.prune import PruneChannels, mask_channels, prune_channels
from qonnx_core.testing.pass_contract import check_pass

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
Channels = dict[str, dict[int, set[int]]]


def build(text: str) -> ir.Model:
    """Return the model; parameters without values get small whole numbers, never 0."""
    proto = onnx.parser.parse_model(HEAD + text.replace("Q.", "qonnx.custom_op.general."))
    rng = np.random.default_rng(0)
    known = {tensor.name for tensor in proto.graph.initializer}
    for info in proto.graph.value_info:
        if info.name not in known:
            shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
            array = (rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)).astype(np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    del proto.graph.value_info[:]
    model = from_proto(proto)
    InferShapes().run(model)
    return model


def zeroed(model: ir.Model, removed: Any) -> ir.Model:
    """Return a copy whose weights are 0 where they read a channel that is gone."""
    copy = model.clone()
    for node in copy.graph:
        if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            continue
        data, weights = node.inputs[0], node.inputs[1]
        while weights is not None and weights.producer() is not None:  # a quantizer: 0 stays 0
            weights = weights.producer().inputs[0]  # type: ignore[union-attr]
        assert data is not None
        if weights is None or weights.const_value is None:
            continue
        array = weights.const_value.numpy().copy()
        groups = node.attributes.get_int("group", 1)
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
        axis = {"Conv": 1, "ConvTranspose": 0, "Gemm": int(bool(transposed)), "MatMul": array.ndim - 2}[node.op_type]
        place = 1 if node.op_type.startswith("Conv") else len(data.shape or ()) - 1
        for channel in removed.get(data.name, {}).get(place, ()):
            if node.op_type == "Conv":
                size = array.shape[0] // groups
                group, inner = divmod(channel, array.shape[1])
                array[group * size : (group + 1) * size, inner] = 0
            else:
                np.moveaxis(array, axis, 0)[channel] = 0
        weights.const_value = ir.tensor(array, name=weights.name)
    return copy


A = "float[4, 3, 1, 1] a, float[2, 4, 1, 1] d"
FLAT = "int64[2] flat = {-1, 6}, int64[4] wide = {-1, 6, 1, 1}"
HEADS = "int64[4] heads = {0, 4, 2, 4}, int64[3] back = {0, 4, 8}"
ATTENTION = f"""g (float[N, 4, 6] x) => (y) <float[6, 8] wq, float[6, 8] wk, float[6, 8] wv, float[8, 3] wo, {HEADS}>
  {{ q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
     q1 = Reshape(q0, heads) k1 = Reshape(k0, heads) v1 = Reshape(v0, heads)
     q = Transpose<perm = [0, 2, 1, 3]>(q1) k = Transpose<perm = [0, 2, 3, 1]>(k1)
     v = Transpose<perm = [0, 2, 1, 3]>(v1)
     s = MatMul(q, k) p = Softmax(s) o = MatMul(p, v) t = Transpose<perm = [0, 2, 1, 3]>(o) r = Reshape(t, back)
     y = MatMul(r, wo) }}"""
# name: model, channels to prune, sizes of parameters afterwards
STRUCTURES: dict[str, tuple[str, Channels, dict[str, list[int]]]] = {
    "bottleneck with groups": (
        """g (float[N, 3, 6, 6] x) => (y) <float[8, 3, 1, 1] a, float[8, 8, 1, 1] b, float[8, 2, 3, 3] c,
        float[8, 8, 1, 1] d, float[2, 8, 1, 1] e> { s = Conv(x, a) u = Conv(s, b) r = Relu(u)
        v = Conv<group = 4, pads = [1, 1, 1, 1]>(r, c) t = Conv(v, d) z = Add(t, s) y = Conv(z, e) }""",
        {"u": {1: {0, 1}}},
        {"b": [6, 8, 1, 1], "c": [6, 2, 3, 3], "d": [8, 6, 1, 1]},
    ),
    "the same channel of each group": (
        """g (float[N, 3, 6, 6] x) => (y) <float[8, 3, 1, 1] a, float[8, 2, 3, 3] c, float[2, 8, 1, 1] d>
        { u = Conv(x, a) v = Conv<group = 4>(u, c) y = Conv(v, d) }""",
        {"v": {1: {1}}},
        {"a": [8, 3, 1, 1], "c": [4, 2, 3, 3], "d": [2, 4, 1, 1]},
    ),
    "depthwise behind a pruned one": (
        """g (float[N, 3, 6, 6] x) => (y) <float[4, 3, 1, 1] a, float[4, 1, 3, 3] c, float[4] b, float[2, 4, 1, 1] d>
        { u = Conv(x, a) r = Clip(u) v = Conv<group = 4, pads = [1, 1, 1, 1]>(r, c, b) y = Conv(v, d) }""",
        {"c": {0: {2}}},
        {"a": [3, 3, 1, 1], "c": [3, 1, 3, 3], "b": [3], "d": [2, 3, 1, 1]},
    ),
    "depthwise with two results each": (
        """g (float[N, 3, 6, 6] x) => (y) <float[4, 3, 1, 1] a, float[8, 1, 3, 3] c, float[8] b, float[2, 8, 1, 1] d>
        { u = Conv(x, a) v = Conv<group = 4>(u, c, b) y = Conv(v, d) }""",
        {"v": {1: {3}}},
        {"a": [3, 3, 1, 1], "c": [6, 1, 3, 3], "b": [6], "d": [2, 6, 1, 1]},
    ),
    "joined branches in a residual": (
        """g (float[N, 3, 6, 6] x) => (y) <float[6, 3, 1, 1] a, float[2, 6, 1, 1] b, float[4, 6, 3, 3] c,
        float[2, 6, 1, 1] d> { s = Conv(x, a) p = Conv(s, b) q = Conv<pads = [1, 1, 1, 1]>(s, c)
        j = Concat<axis = 1>(p, q) z = Add(j, s) r = Relu(z) y = Conv(r, d) }""",
        {"q": {1: {0, 3}}},
        {"a": [4, 3, 1, 1], "b": [2, 4, 1, 1], "c": [2, 4, 3, 3], "d": [2, 4, 1, 1]},
    ),
    "squeeze and excitation by convolutions": (
        """g (float[N, 3, 6, 6] x) => (y) <float[6, 3, 1, 1] a, float[2, 6, 1, 1] b, float[6, 2, 1, 1] c,
        float[2, 6, 1, 1] d> { s = Conv(x, a) p = GlobalAveragePool(s) h = Conv(p, b) i = Relu(h) e = Conv(i, c)
        f = HardSigmoid(e) m = Mul(s, f) y = Conv(m, d) }""",
        {"s": {1: {0, 3}}},
        {"a": [4, 3, 1, 1], "b": [2, 4, 1, 1], "c": [4, 2, 1, 1], "d": [2, 4, 1, 1]},
    ),
    "squeeze and excitation by dense layers": (
        f"""g (float[N, 3, 6, 6] x) => (y) <float[6, 3, 1, 1] a, float[2, 6] b, float[2] bb, float[6, 2] c,
        float[2, 6, 1, 1] d, {FLAT}> {{ s = Conv(x, a) p = GlobalAveragePool(s) g0 = Reshape(p, flat)
        h = Gemm<transB = 1>(g0, b, bb) i = Relu(h) e = Gemm<transB = 1>(i, c) f = HardSigmoid(e) w = Reshape(f, wide)
        m = Mul(s, w) y = Conv(m, d) }}""",
        {"s": {1: {0, 3}}, "i": {1: {1}}},
        {"a": [4, 3, 1, 1], "b": [1, 4], "bb": [1], "c": [4, 1], "d": [2, 4, 1, 1]},
    ),
    "split and gate": (
        """g (float[N, 3] x) => (y) <float[3, 8] a, float[4, 2] d> { s = MatMul(x, a)
        u, v = Split<axis = 1, num_outputs = 2>(s) g0 = HardSigmoid(v) m = Mul(u, g0) y = MatMul(m, d) }""",
        {"m": {1: {1}}},
        {"a": [3, 6], "d": [3, 2]},
    ),
    "split in unequal parts": (
        """g (float[N, 3, 4, 4] x) => (y) <float[8, 3, 1, 1] a, float[2, 5, 1, 1] d, float[2, 3, 1, 1] e,
        int64[2] sizes = {3, 5}> { s = Conv(x, a) u, v = Split<axis = 1>(s, sizes) p = Conv(v, d) q = Conv(u, e)
        y = Add(p, q) }""",
        {"u": {1: {1}}, "s": {1: {0, 7}}},
        {"a": [5, 3, 1, 1], "d": [2, 4, 1, 1], "e": [2, 1, 1, 1]},
    ),
    "flattened into Gemm": (
        """g (float[N, 3, 4, 4] x) => (y) <float[5, 3, 1, 1] a, float[2, 20] b, float[2] c> { s = Conv(x, a)
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s) f = Flatten(p) y = Gemm<transB = 1>(f, b, c) }""",
        {"a": {0: {1, 4}}},
        {"a": [3, 3, 1, 1], "b": [2, 12]},
    ),
    "scale, zero point and bit width of each channel": (
        f"""g (float[N, 3, 4, 4] x) => (y) <{A}, float[1, 4, 1, 1] sc = {{0.5, 1, 2, 0.25}},
        float[1, 4, 1, 1] zp = {{0, 1, 2, -1}}, float[1, 4, 1, 1] bw = {{4, 5, 6, 3}},
        float[4, 1, 1, 1] ws = {{1, 2, 0.5, 1}}, float[4, 1, 1, 1] wb = {{3, 4, 5, 2}}, float z = {{0}}>
        {{ w = Q.Quant(a, ws, z, wb) s = Conv(x, w) q = Q.Quant(s, sc, zp, bw) y = Conv(q, d) }}""",
        {"s": {1: {1, 2}}},
        {"sc": [1, 2, 1, 1], "zp": [1, 2, 1, 1], "bw": [1, 2, 1, 1], "ws": [2, 1, 1, 1], "wb": [2, 1, 1, 1]},
    ),
    "bipolar and truncating quantizers": (
        """g (float[N, 3, 4, 4] x) => (y) <float[4, 3, 1, 1] a, float[4, 4, 1, 1] c, float[2, 4, 1, 1] d,
        float[4, 1, 1] sc = {0.5, 1, 2, 0.25}, float[4, 1, 1] ts = {1, 2, 1, 1}, float z = {0}, float i = {8},
        float o = {4}> { s = Conv(x, a) q = Q.BipolarQuant(s, sc) u = Conv(q, c)
        t = Q.Trunc<rounding_mode = "FLOOR">(u, ts, z, i, o) y = Conv(t, d) }""",
        {"s": {1: {1, 2}}, "t": {1: {3}}},
        {"sc": [2, 1, 1], "ts": [3, 1, 1], "c": [3, 2, 1, 1]},
    ),
    "minifloats": (
        f"""g (float[N, 3, 4, 4] x) => (y) <{A}, float[4, 1, 1] sc = {{0.5, 1, 2, 0.25}}, float e = {{4}},
        float m = {{3}}, float bias = {{7}}, float most = {{448}}> {{ s = Conv(x, a)
        q = Q.FloatQuant<has_inf = 0, has_nan = 0, has_subnormal = 1, saturation = 1>(s, sc, e, m, bias, most)
        y = Conv(q, d) }}""",
        {"s": {1: {1, 2}}},
        {"sc": [2, 1, 1]},
    ),
    "thresholds of each channel": (
        f"""g (float[N, 3, 4, 4] x) => (y) <{A}, float[4, 3] t> {{ s = Conv(x, a)
        q = Q.MultiThreshold<out_dtype = "UINT2", data_layout = "NCHW">(s, t) y = Conv(q, d) }}""",
        {"s": {1: {1, 2}}},
        {"t": [2, 3]},
    ),
    "thresholds of all channels": (
        f"""g (float[N, 3, 4, 4] x) => (y) <{A}, float[1, 3] t> {{ s = Conv(x, a)
        q = Q.MultiThreshold<out_dtype = "UINT2", data_layout = "NCHW">(s, t) y = Conv(q, d) }}""",
        {"s": {1: {1, 2}}},
        {"t": [1, 3]},
    ),
    "integers with scales of each channel": (
        """g (float[N, 3, 4, 4] x) => (y) <int8[4, 3, 1, 1] a = {1, 2, 3, -4, 5, -6, 7, 8, -9, 1, 2, 3},
        float[4] sc = {0.5, 1, 2, 0.25}, int8[4] zp = {0, 0, 1, 0}, float[2, 4, 1, 1] d, float t = {0.5}, int8 z = {3}>
        { w = DequantizeLinear<axis = 0>(a, sc, zp) s = Conv(x, w) i = QuantizeLinear(s, t, z)
        q = DequantizeLinear(i, t, z) y = Conv(q, d) }""",
        {"s": {1: {1, 2}}},
        {"a": [2, 3, 1, 1], "sc": [2], "zp": [2], "d": [2, 2, 1, 1]},
    ),
    "transposed convolution": (
        """g (float[N, 3, 4, 4] x) => (y) <float[4, 3, 1, 1] a, float[4, 5, 2, 2] b, float[5] c, float[2, 5, 1, 1] d>
        { s = Conv(x, a) u = ConvTranspose<strides = [2, 2]>(s, b, c) y = Conv(u, d) }""",
        {"s": {1: {1}}, "u": {1: {0, 4}}},
        {"b": [3, 3, 2, 2], "c": [3], "d": [2, 3, 1, 1]},
    ),
    "transposed depthwise convolution": (
        """g (float[N, 3, 4, 4] x) => (y) <float[4, 3, 1, 1] a, float[4, 1, 2, 2] b, float[4] c, float[2, 4, 1, 1] d>
        { s = Conv(x, a) u = ConvTranspose<strides = [2, 2], group = 4>(s, b, c) y = Conv(u, d) }""",
        {"s": {1: {1}}},
        {"b": [3, 1, 2, 2], "c": [3], "d": [2, 3, 1, 1]},
    ),
    "a slope of each channel": (
        f"g (float[N, 3, 4, 4] x) => (y) <{A}, float[4, 1, 1] c> {{ s = Conv(x, a) q = PRelu(s, c) y = Conv(q, d) }}",
        {"s": {1: {1, 2}}},
        {"c": [2, 1, 1]},
    ),
    "an image of constants": (
        f"g (float[N, 3, 4, 4] x) => (y) <{A}, float[4, 4, 4] c> {{ s = Conv(x, a) q = Add(s, c) y = Conv(q, d) }}",
        {"c": {0: {1, 2}}},
        {"c": [2, 4, 4]},
    ),
    "normalization in a chain of dense layers": (
        """g (float[N, 3] x) => (y) <float[3, 4] a, float[4] ga, float[4] be, float[4] me, float[4] v = {1, 4, 1, 4},
        float[4, 2] d> { s = MatMul(x, a) n = BatchNormalization<epsilon = 0.0>(s, ga, be, me, v) y = MatMul(n, d) }""",
        {"ga": {0: {3}}},
        {"a": [3, 3], "me": [3], "v": [3], "d": [3, 2]},
    ),
    "one signal in time": (
        """g (float[N, 3, 9] x) => (y) <float[4, 3, 3] a, float[2, 4, 1] d, float[4] b> { s = Conv(x, a, b)
        q = AveragePool<kernel_shape = [2]>(s) y = Conv(q, d) }""",
        {"b": {0: {1, 2}}},
        {"a": [2, 3, 3], "d": [2, 2, 1]},
    ),
    "volumes": (
        """g (float[N, 3, 3, 3, 3] x) => (y) <float[4, 3, 2, 2, 2] a, float[2, 4, 1, 1, 1] d, float[4] b>
        { s = Conv(x, a, b) q = MaxPool<kernel_shape = [2, 2, 2]>(s) y = Conv(q, d) }""",
        {"b": {0: {1, 2}}},
        {"a": [2, 3, 2, 2, 2], "d": [2, 2, 1, 1, 1]},
    ),
    "one layer twice": (
        """g (float[N, 3, 4, 4] x, float[N, 3, 4, 4] z) => (y) <float[4, 3, 1, 1] a, float[2, 4, 1, 1] d>
        { s = Conv(x, a) r = Conv(z, a) t = Sub(s, r) y = Conv(t, d) }""",
        {"s": {1: {1}}},
        {"a": [3, 3, 1, 1], "d": [2, 3, 1, 1]},
    ),
    "channels shuffled between groups": (
        """g (float[N, 3, 4, 4] x) => (y) <float[8, 3, 1, 1] a, float[8, 4, 1, 1] c, float[2, 8, 1, 1] d,
        int64[5] two = {0, 2, 4, 4, 4}, int64[4] one = {0, 8, 4, 4}> { s = Conv(x, a) h = Reshape(s, two)
        t = Transpose<perm = [0, 2, 1, 3, 4]>(h) q = Reshape(t, one) r = Conv<group = 2>(q, c) y = Conv(r, d) }""",
        {"q": {1: {2, 6}}},
        {"a": [4, 3, 1, 1], "c": [8, 2, 1, 1], "d": [2, 8, 1, 1]},
    ),
    "shuffled and joined branches": (
        """g (float[N, 3, 4, 4] x) => (y) <float[8, 3, 1, 1] a, float[4, 4, 1, 1] b, float[2, 8, 1, 1] d,
        int64[5] two = {0, 2, 4, 4, 4}, int64[4] one = {0, 8, 4, 4}> { s = Conv(x, a)
        l, r = Split<axis = 1, num_outputs = 2>(s) e = Conv(r, b) j = Concat<axis = 1>(l, e) h = Reshape(j, two)
        t = Transpose<perm = [0, 2, 1, 3, 4]>(h) q = Reshape(t, one) y = Conv(q, d) }""",
        {"l": {1: {1}}},
        {"a": [7, 3, 1, 1], "b": [3, 4, 1, 1], "d": [2, 6, 1, 1]},
    ),
    "a whole attention head": (
        ATTENTION,
        {"q": {1: {0}}},
        {"wq": [6, 4], "wk": [6, 4], "wv": [6, 4], "wo": [4, 3]},
    ),
}


def samples(model: ir.Model) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return {
        value.name or "": rng.integers(-4, 5, [3, *list(value.shape or ())[1:]]).astype(np.float32)
        for value in model.graph.inputs
    }


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_pruned_structure_computes_the_one_with_zeros(name: str) -> None:
    text, channels, sizes = STRUCTURES[name]
    model = build(text)
    pruned, inputs = model.clone(), samples(model)
    report = prune_channels(pruned, channels, lossy=True, strict=True)
    verify(pruned)
    onnx.checker.check_model(ir.to_proto(pruned))
    found = {name: list(value.shape or ()) for name, value in pruned.graph.initializers.items()}
    assert {name: found[name] for name in sizes} == sizes
    wanted, masked, got = (
        compile_model(each).run(inputs)["y"]
        for each in (zeroed(model, report.removed), mask_channels(model, channels), pruned)
    )
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(got, masked)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("seed", range(4))
def test_channels_of_zeros_leave_a_structure_without_a_trace(name: str, seed: int) -> None:
    """Some rows and columns of the weights are 0, and what was constant stays in a bias: the values are the same."""
    model, rng = build(STRUCTURES[name][0]), np.random.default_rng(seed)
    for value in model.graph.initializers.values():
        array = np.asarray(value.const_value.numpy()).copy()  # type: ignore[union-attr]
        readers = {(use.node.op_type, use.idx) for use in value.uses()}
        if array.ndim < 2 or not readers <= {(op, 1) for op in ("Conv", "ConvTranspose", "MatMul", "Gemm")}:
            continue
        for axis in (0, array.ndim - 1 if array.ndim == 2 else 1):
            np.moveaxis(array, axis, 0)[rng.random(array.shape[axis]) < 0.4] = 0
        value.const_value = ir.tensor(array, name=value.name)
    check_pass(PruneChannels(zero_channels=True), model, samples(model))


KEPT: list[tuple[str, Channels, str]] = [
    (ATTENTION, {"q": {3: {0}}}, r"q1 \(Reshape\) joins it with other axes"),
    (f"g (float[N, 3, 4, 4] x) => (y) <{A}, float[4] c> {{ s = Conv(x, a) t = Transpose<perm = [0, 2, 3, 1]>(s)"
     " l = LayerNormalization(t, c) q = Transpose<perm = [0, 3, 1, 2]>(l) y = Conv(q, d) }",
     {"s": {1: {1}}}, r"l \(LayerNormalization\) reads or makes it"),
    ("""g (float[N, 3, 4, 4] x) => (y) <float[4, 3, 1, 1] a, float[4, 3, 2, 2] b, float[2, 6, 1, 1] d> { s = Conv(x, a)
     u = ConvTranspose<group = 2>(s, b) y = Conv(u, d) }""", {"s": {1: {0, 1}}}, "has 2 groups of several channels"),
    ("""g (float[N, 3, 4, 4] x) => (y) <float[3, 3, 1, 1] a, float[5, 3, 1, 1] b, float[2, 8, 1, 1] d> { s = Conv(x, a)
     t = Conv(x, b) q = Concat<axis = 1>(s, t) y = Conv(q, d) }""", {"s": {1: {0, 1, 2}}}, "expected at least one"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "channels", "reason"), KEPT)
def test_a_structure_that_cannot_lose_channels_says_why(text: str, channels: Channels, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        prune_channels(build(text), channels, lossy=True, strict=True)

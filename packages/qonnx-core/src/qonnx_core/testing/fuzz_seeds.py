"""The valid models that the fuzzer starts from, and the files that lie beside them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from qonnx_core.testing.random_graphs import Kind, random_graph

_Q = "qonnx.custom_op.general"
_HEAD = f'<ir_version: 8, opset_import: ["": 17, "{_Q}": 1]>'
TEXTS = (
    f"""{_HEAD} g (float[1, 4] x) => (float[1, 4] y)
    <float s = {{0.5}}, float z = {{0}}, float b = {{4}}, float[4, 4] w = {{1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}}>
    {{ q = {_Q}.Quant<signed = 1, narrow = 0, rounding_mode = "ROUND">(w, s, z, b) m = MatMul(x, q) y = Relu(m) }}""",
    f"""<ir_version: 8, opset_import: ["": 17, "{_Q}": 2]> g (float[1, 4] x) => (float[1, 4] y)
    <float s = {{0.5}}, float t = {{2}}, float z = {{0}}, float b = {{8}}, float c = {{4}}>
    {{ q = {_Q}.Quant(x, s, z, b) y = {_Q}.Trunc<rounding_mode = "FLOOR">(q, s, z, b, t, c) }}""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x, bool c) => (float[1, 4] y)
    { y = If(c) <then_branch = t () => (float[1, 4] a) { a = Relu(x) },
                 else_branch = e () => (float[1, 4] b) { b = Neg(x) }> }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (float[1, 4] y) <int64 n = {3}, bool t = {1}>
    { y = Loop(n, t, x) <body = l (int64 i, bool going, float[1, 4] a) => (bool on, float[1, 4] b)
      { on = Identity(going) b = Add(a, a) }> }""",
    """<ir_version: 8, opset_import: ["": 17, "f": 1]> g (float[1, 4] x) => (float[1, 4] y) { y = f.twice(x) }
    <domain: "f", opset_import: ["": 17]> twice (a) => (c) { b = Relu(a) c = Add(b, b) }""",
    f"""{_HEAD} g (float[1, 4] x) => (float[1, 4] y)
    {{ a = Relu(x) y = {_Q}.GenericPartition<model = "child.onnx">(a) }}""",
    f"""{_HEAD} g (float[1, 6, 6, 2] x) => (float[1, 5, 5, 8] y)
    {{ y = {_Q}.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1,6,6,2)",
      pad_amount = [0, 0, 0, 0]>(x) }}""",
    f"""{_HEAD} g (float[1, 2, 4, 4] x) => (float[1, 2, 2, 2] y)
    {{ y = {_Q}.QuantAvgPool2d<stride = 2, kernel = 2, ibits = 4, obits = 4, signed = 0, data_layout = "NCHW">(x) }}""",
    f"""{_HEAD} g (float[1, 4, 4, 2] x) => (float[1, 2, 2, 2] y)
    {{ y = {_Q}.MaxPoolNHWC<kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0]>(x) }}""",
    f"""{_HEAD} g (float[1, 4] x) => (float[1, 2] y) <float[4, 2] w = {{0, 1, 1, 0, 1, 1, 0, 0}}>
    {{ y = {_Q}.XnorPopcountMatMul(x, w) }}""",
    """<ir_version: 8, opset_import: ["": 17, "qonnx.custom_op.channels_last": 1]>
    g (float[1, 4, 4, 2] x) => (float[1, 4, 4, 1] y) <float[1, 1, 1, 2] w = {1, 2}>
    { y = qonnx.custom_op.channels_last.Conv<kernel_shape = [1, 1], strides = [1, 1], dilations = [1, 1],
      pads = [0, 0, 0, 0], group = 1>(x, w) }""",
    """<ir_version: 8, opset_import: ["": 21]> g (float[1, 4] x) => (float[1, 4] y)
    <float s = {0.5}, int8 z = {0}, float t = {0.25}, int8[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>
    { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, t) y = MatMul(d, v) }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y)
    <float[0] roi = {}, float[4] scales = {1, 1, 2, 2}> { y = Resize<mode = "nearest">(x, roi, scales) }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 2, 2] y)
    <int64 i = {0}, int64[1] two = {2}, int64[1] axis = {0}>
    { s = Shape(x) n = Gather(s, i) u = Unsqueeze(n, axis) t = Concat<axis = 0>(u, two, two) y = Reshape(x, t) }""",
    """<ir_version: 8, opset_import: ["": 11, "onnx.brevitas": 1]> g (float[1, 4] x) => (float[1, 4] y)
    <float s = {0.5}, float z = {0}, float b = {4}>
    { q = onnx.brevitas.Quant<signed = 1, narrow = 0, rounding_mode = "ROUND">(x, s, z, b)
      y = Softmax<axis = 1>(q) }""",
    """<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1, 4] x, bool k) => (float[1, 4] y)
    { a = f.outer<slope = 0.5>(x, k) y = f.outer(a, k) }
    <domain: "f", opset_import: ["": 21, "f": 1]> outer <slope : float = 0.25> (x, k) => (y)
    { y = If(k) <then_branch = t () => (p) { p = f.inner<alpha : float = @slope>(x) },
                 else_branch = e () => (q) { q = Neg(x) }> }
    <domain: "f", opset_import: ["": 21]> inner <alpha> (a, low) => (c)
    { b = LeakyRelu<alpha : float = @alpha>(a) c = Clip(b, low) }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[4] s, float[3, 4] x) => (float[4] last, float[3, 4] y)
    { last, y = Scan<num_scan_inputs = 1, body = b (float[4] a, float[4] e) => (float[4] c, float[4] d)
      { c = Add(a, e) d = Relu(c) }>(s, x) }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (float[N, M] y)
    <int64[1] one = {1}, int64[2] limits = {1, 4}>
    { n = ReduceMax<keepdims = 0>(x) i = Cast<to = 7>(n) z = Constant<value_ints = [0]>() u = Unsqueeze(i, z)
      s = Concat<axis = 0>(one, u) c = Min(s, limits) y = Tile(x, c) }""",
    """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (int64[2, K] y) { y = NonZero(x) }""",
)


@functools.cache
def seed_models() -> tuple[onnx.ModelProto, ...]:
    """Return the models: one for each kind of operator that random graphs lack, and random graphs."""
    kinds: tuple[Kind, ...] = ("mlp", "cnn", "mixed")
    made = [ir.to_proto(random_graph(seed, kind, size=4).model) for kind in kinds for seed in range(8)]
    return (*(onnx.parser.parse_model(text) for text in TEXTS), _external(), *made)


def _external() -> onnx.ModelProto:
    """Return a model with parameters in ``w.bin``, two of which share bytes."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (float[1, 4] y)
    <float[4, 4] w = {}, float[4] b = {}> { m = MatMul(x, w) y = Add(m, b) }"""
    model = onnx.parser.parse_model(text)
    for tensor, offset, length in zip(model.graph.initializer, (0, 32), (64, 16), strict=True):
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    return model


def write_companions(folder: Path) -> None:
    """Write the files that the models name: a nested model, external data, and links out of the folder."""
    (folder / "child.onnx").write_bytes(_child().SerializeToString())
    (folder / "w.bin").write_bytes(np.arange(64, dtype=np.float32).tobytes())
    for link, target in (("link.bin", "/etc/passwd"), ("link.onnx", "/etc/passwd")):
        if not (folder / link).is_symlink():
            os.symlink(target, folder / link)


@functools.cache
def _child() -> onnx.ModelProto:
    text = '<ir_version: 8, opset_import: ["": 17]> c (float[1, 4] a) => (float[1, 4] b) { b = Neg(a) }'
    return onnx.parser.parse_model(text)

"""Vectors whose lengths follow from values are seen before shape inference keeps their elements one by one."""

from __future__ import annotations

import contextlib

import onnx.parser
import pytest
from onnx import shape_inference

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.long_vectors import longest_vector

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
N = "n = Constant<value = int64[1] {20000}>() one = Constant<value_ints = [1]>()"


def proto(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEAD} g (float[N, 20000] x) => (y) {{ {N} {body} }}")


LONG = {
    "a product of constants": "m = Mul(n, n) v = ConstantOfShape(m) y = Add(v, v)",
    "a shape": "s = Shape<start = 1>(x) m = Mul(s, n) v = ConstantOfShape(m) y = Add(v, v)",
    "a gathered and cut number": "s = Shape(x) i = Gather(s, one) m = Mul(i, n) v = ConstantOfShape(m) y = Add(v, v)",
    "vectors set end to end": "m = Mul(n, one) v = ConstantOfShape(m) "
    + " ".join(f"v{i} = Concat<axis = 0>({f'v{i - 1}' if i else 'v'}, {f'v{i - 1}' if i else 'v'})" for i in range(12))
    + " y = Add(v11, v11)",
    "a repeated vector": "m = Mul(n, one) v = ConstantOfShape(m) y = Tile(v, m)",
    "a widened vector": "m = Mul(n, n) y = Expand(one, m)",
    "a range": "k = Squeeze(n) m = Mul(k, k) z = Sub(k, k) o = Squeeze(one) y = Range(z, m, o)",
}


@pytest.mark.parametrize("body", LONG.values(), ids=LONG)
def test_a_long_vector_is_seen_and_does_not_stall_the_clean_up(body: str) -> None:
    model = proto(body)
    assert longest_vector(shape_inference.infer_shapes(model).graph) >= 20000 * 1000
    with contextlib.suppress(qonnx_core.QonnxError):
        qonnx_core.cleanup_model(from_proto(model))


SHORT = {
    "a target of Reshape": "s = Shape(x) a = Gather(s, one) t = Concat<axis = 0>(one, a) y = Reshape(x, t)",
    "numbers that are no lengths": "m = Mul(n, n) y = Add(m, m)",
    "sizes that nothing knows": "s = Shape<end = 1>(x) v = ConstantOfShape(s) y = Add(v, v)",
}


@pytest.mark.parametrize("body", SHORT.values(), ids=SHORT)
def test_vectors_are_no_longer_than_the_numbers_that_are_known(body: str) -> None:
    assert longest_vector(shape_inference.infer_shapes(proto(body)).graph) <= 20000

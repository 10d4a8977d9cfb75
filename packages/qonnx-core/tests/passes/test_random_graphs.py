"""Random small graphs: the clean-up keeps every value to the bit, in one batch and one by one, and is idempotent."""

from __future__ import annotations

import numpy as np
import onnx.parser
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.writer import serialize

HEADER = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
g (float[1, 4] x) => (float[1, 4] y, float[1, 4] last) <float one = {1}, float zero = {0}, float two = {2},
  float half = {0.5}, float bits = {4}, float[4] row = {1, -2, 0.5, 3}, float[1, 4] ones = {1, 1, 1, 1},
  int64[2] any = {1, -1},
  int64[2] all = {1, 4},
  float[4, 4] w = {1, 2, -3, 4, 0.5, 6, -7, 8, 9, -1, 2, 3, -4, 5, 6, 7}, int64[1] axis = {1},
  float[1, 4] t = {-2, 0, 0.25, 3}, int64 index = {0}, int64[1] front = {0}>
"""
Q = "qonnx.custom_op.general"
UNARY = [
    "{o} = Identity({a})",
    "{o} = Relu({a})",
    "{o} = Add({a}, zero)",
    "{o} = Mul(one, {a})",
    "{o} = Mul({a}, ones)",
    "{o} = Mul({a}, row)",
    "{o} = Div({a}, two)",
    "{o} = Reshape({a}, any)",
    "{o} = Reshape({a}, all)",
    "{o} = Dropout({a})",
    "{n} = Neg(row) {o} = Sub({a}, {n})",
    f"{{o}} = {Q}.Quant({{a}}, half, zero, bits)",
    f"{{o}} = {Q}.BipolarQuant({{a}}, half)",
    f'{{o}} = {Q}.MultiThreshold<out_dtype = "UINT3">({{a}}, t)',
    f"{{n}} = {Q}.Quant(w, two, zero, bits) {{m}} = Transpose<perm = [1, 0]>({{n}}) {{o}} = MatMul({{a}}, {{m}})",
    f"{{n}} = {Q}.Quant<narrow = 1>(w, row, zero, bits) {{o}} = MatMul({{a}}, {{n}})",
    "{n} = Shape({a}) {m} = Gather({n}, index) {k} = Unsqueeze({m}, front) {j} = Constant<value = int64[1] {{-1}}>() "
    "{i} = Concat<axis = 0>({k}, {j}) {o} = Reshape({a}, {i})",
    "{n}, {m} = Split<axis = 1, num_outputs = 2>({a}) {o} = Concat<axis = 1>({m}, {n})",
    "{n} = Softmax<axis = 1>({a}) {o} = Exp({n})",
    "{n} = ReduceMax<keepdims = 1>({a}, axis) {o} = Sub({a}, {n})",
]
BINARY = ["{o} = Add({a}, {b})", "{o} = Mul({a}, {b})", "{o} = Max({a}, {b})"]


@st.composite
def graphs(draw: st.DrawFn) -> str:
    tensors, lines = ["x"], []
    for number in range(draw(st.integers(1, 8))):
        pattern = draw(st.sampled_from(UNARY + BINARY))
        a, b = (draw(st.sampled_from(tensors)) for _ in range(2))
        fresh = {key: f"{key}_{number}" for key in "ijkmn"}
        lines.append(pattern.format(a=a, b=b, o=f"o_{number}", **fresh))
        tensors.append(f"o_{number}")
    chosen = draw(st.sampled_from(tensors))
    return HEADER + "{ " + " ".join(lines) + f" y = Identity({chosen}) last = Neg({tensors[-1]}) }}"


def one_by_one(compiled: qonnx_core.CompiledModel, x: np.ndarray) -> list[np.ndarray]:
    (name,) = compiled.input_names
    parts = [compiled.run({name: x[index : index + 1]}).values() for index in range(len(x))]
    return [np.concatenate(list(arrays)) for arrays in zip(*parts, strict=True)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_cleaning_a_random_graph_keeps_its_values(text: str, seed: int) -> None:
    model = from_proto(onnx.parser.parse_model(text))
    cleaned = qonnx_core.cleanup_model(model)
    x = (np.random.default_rng(seed).integers(-12, 13, size=(3, 4)) / 4).astype(np.float32)
    before, after = qonnx_core.compile_model(model), qonnx_core.compile_model(cleaned)
    single = one_by_one(after, x)
    for found, wanted in zip(single, one_by_one(before, x), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(after.run({"global_in": x}).values(), single, strict=True):
        # Another batch size is another order of sums: equal only up to rounding where sums are not exact.
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert serialize(qonnx_core.cleanup_model(cleaned)) == serialize(cleaned)

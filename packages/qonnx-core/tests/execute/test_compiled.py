"""Running models: names, shapes and types are checked; any batch, any tensor, the same bits."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'


def build(body: str, opset: str = HEAD) -> ir.Model:
    return from_proto(onnx.parser.parse_model(opset + body))


LINEAR = """g (float[1, 4] x) => (float[1, 2] y) <float s = {0.5}, float z = {0}, float b = {4},
    float[4,2] w = {1,2,3,4,5,6,7,8}>
{ a = qonnx.custom_op.general.Quant(x, s, z, b) y = MatMul(a, w) }"""
X = np.linspace(-6, 6, 20, dtype=np.float32).reshape(5, 4)


def test_a_fixed_batch_of_one_runs_with_any_batch() -> None:
    """Defect 17 of the reference: other batches than the file's could not be run."""
    compiled = qonnx_core.compile_model(build(LINEAR))
    together = compiled.run({"x": X})["y"]
    one_by_one = np.concatenate([compiled.run({"x": X[i : i + 1]})["y"] for i in range(5)])
    assert together.shape == (5, 2)
    np.testing.assert_array_equal(together, one_by_one)


def test_a_symbolic_batch_runs() -> None:
    """Defect 17 of the reference: symbolic dimensions became 0."""
    compiled = qonnx_core.compile_model(
        build(LINEAR.replace("float[1, 4] x", "float[N, 4] x").replace("float[1, 2] y", "float[N, 2] y"))
    )
    assert compiled.run({"x": X})["y"].shape == (5, 2)


def test_a_model_that_mixes_samples_runs_one_by_one() -> None:
    body = "g (float[1, 4] x) => (float[1, 4] y) <int64[1] a = {0}> { m = ReduceMax<keepdims=1>(x, a) y = Add(x, m) }"
    found = qonnx_core.compile_model(build(body)).run({"x": X})["y"]
    np.testing.assert_array_equal(found, 2 * X)


def test_a_fixed_batch_of_two_runs_in_slices() -> None:
    body = "g (float[2, 4] x) => (float[2, 4] y) <int64[1] a = {0}> { m = ReduceMax<keepdims=1>(x, a) y = Sub(x, m) }"
    compiled = qonnx_core.compile_model(build(body))
    found = compiled.run({"x": X[:4]})["y"]
    np.testing.assert_array_equal(found, np.concatenate([X[:2] - X[:2].max(0), X[2:4] - X[2:4].max(0)]))
    with pytest.raises(InvalidInput, match=r"first axes are x 5 \(the model takes 2\); expected the same multiple"):
        compiled.run({"x": X})


def test_any_intermediate_tensor_can_be_asked_for() -> None:
    compiled = qonnx_core.compile_model(build(LINEAR))
    found = compiled.run({"x": X}, intermediates=["a", "w"])
    assert set(found) == {"y", "a", "w"}
    np.testing.assert_array_equal(found["a"] @ found["w"], found["y"])
    np.testing.assert_array_equal(found["a"], np.clip(np.round(X / 0.5), -8, 7) * np.float32(0.5))


def test_outputs_can_be_chosen() -> None:
    assert list(qonnx_core.compile_model(build(LINEAR), outputs=["a"]).run({"x": X})) == ["a"]


def test_an_unknown_tensor_is_refused() -> None:
    compiled = qonnx_core.compile_model(build(LINEAR))
    with pytest.raises(
        InvalidInput, match=r"tensor 'q': the model computes none of this name .*; expected one of its .* such as x"
    ):
        compiled.run({"x": X}, intermediates=["q"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"X": X}, r"inputs: found 'X'; expected exactly 'x'. Leave out 'X'"),
        ({}, r"inputs: found none; expected exactly 'x'. Give an array for 'x'"),
        ({"x": X, "more": X}, r"expected exactly 'x'. Leave out 'more'"),
        ({"x": X[:, :3]}, r"input x: has shape \(5, 3\); expected \(batch, 4\)"),
        ({"x": X[0]}, r"input x: has shape \(4,\); expected \(batch, 4\)"),
        ({"x": X.astype(np.float64) + 1e-12}, r"input x: holds float64 values that float32 cannot hold"),
        ({"x": np.full((1, 4), "a")}, r"input x: has element type <U1; expected float32"),
    ],
)
def test_wrong_inputs_are_refused(inputs: dict[str, np.ndarray], message: str) -> None:
    """Defect 16 of the reference: a wrong name gave zeros."""
    with pytest.raises(InvalidInput, match=message):
        qonnx_core.compile_model(build(LINEAR)).run(inputs)


def test_exact_conversions_are_made() -> None:
    compiled = qonnx_core.compile_model(build(LINEAR))
    ints = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(compiled.run({"x": ints})["y"], compiled.run({"x": ints.astype(np.float32)})["y"])


def test_inputs_have_to_agree_on_the_batch() -> None:
    body = "g (float[N, 2] x, float[N, 2] z) => (float[N, 2] y) { y = Add(x, z) }"
    compiled = qonnx_core.compile_model(build(body))
    with pytest.raises(InvalidInput, match=r"input z: axis 0 \(N\) is 2, but 3 in input x"):
        compiled.run({"x": np.zeros((3, 2), np.float32), "z": np.zeros((2, 2), np.float32)})


def test_a_model_that_onnxruntime_cannot_run_is_refused() -> None:
    head = '<ir_version: 8, opset_import: ["": 18, "somebody.else": 1]>'
    with pytest.raises(InvalidModel, match="onnxruntime does not accept it"):
        qonnx_core.compile_model(build("g (float[2] x) => (float[2] y) { y = somebody.else.Magic(x) }", head))


def test_compiling_leaves_the_model_as_it_is() -> None:
    from qonnx_core.formats.writer import serialize

    model = build(LINEAR)
    before = serialize(model)
    qonnx_core.compile_model(model).run({"x": X})
    assert serialize(model) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_graphs_run_in_both_float_types(dtype: type) -> None:
    name = {np.float32: "float", np.float64: "double"}[dtype]
    body = f"""g ({name}[N, 2, 2] x) => (int64[N] y, {name}[N, 1] best, int64[N, 1] where)
    <{name}[4, 3] w = {{1, -2, 3, 4, -5, 6, 7, 8, -9, 1, 2, 3}}, {name}[3, 2] t = {{-5, 5, 0, 1, 2, 3}},
    {name} one = {{1}},
     {name} zero = {{0}}, {name} bits = {{4}}, int64[2] shape = {{0, -1}}, int64[1] k = {{1}}, {name}[3] c = {{1,
     -1, 2}}>
    {{ p = Transpose<perm = [0, 2, 1]>(x) f = Reshape(p, shape) m = MatMul(f, w) a = Add(m, c) e = Mul(a, c)
       h = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT2", out_bias = -1.0>(e, t)
       q = qonnx.custom_op.general.Quant(a, one, zero, bits) r = Add(h, q) n = Relu(r)
       y = ArgMax<axis = 1, keepdims = 0>(n) best, where = TopK(n, k) }}"""
    x = np.random.default_rng(1).integers(-8, 8, size=(50, 2, 2)).astype(dtype)
    found = qonnx_core.compile_model(build(body)).run({"x": x}, intermediates=["n"])
    w = np.asarray([1, -2, 3, 4, -5, 6, 7, 8, -9, 1, 2, 3]).reshape(4, 3)
    c = np.asarray([1, -1, 2])
    a = x.transpose(0, 2, 1).reshape(50, 4) @ w + c
    t = np.asarray([[-5, 5], [0, 1], [2, 3]])
    expected = np.maximum((((a * c)[:, :, None] >= t).sum(-1) - 1) + np.clip(a, -8, 7), 0)
    assert found["n"].dtype == dtype
    np.testing.assert_array_equal(found["n"], expected)
    np.testing.assert_array_equal(found["y"], expected.argmax(1))
    np.testing.assert_array_equal(found["where"][:, 0], expected.argmax(1))  # ties go to the lowest index


def test_float64_sums_are_exact_beyond_2_to_the_24() -> None:
    body = "g (double[N, 2] x) => (double[N, 1] y) <double[2, 1] w = {33554433, 1}> { y = MatMul(x, w) }"
    found = qonnx_core.compile_model(build(body)).run({"x": np.asarray([[1.0, 1.0]])})["y"]
    assert found.item() == 33554434


def test_the_graph_output_can_be_a_constant() -> None:
    body = "g (float[1, 2] x) => (float[1, 2] y, float[3] c) <float[3] k = {1, 2, 3}> { y = Neg(x) c = Neg(k) }"
    found = qonnx_core.compile_model(build(body)).run({"x": np.ones((3, 2), np.float32)})
    assert found["y"].shape == (3, 2)
    assert found["c"].tolist() == [-1, -2, -3]


def test_inputs_and_constants_can_be_asked_for_too() -> None:
    body = "g (float[1, 4] x) => (float[1, 4] y) <float[4] k = {1, 2, 3, 4}> { y = Mul(x, k) }"
    found = qonnx_core.compile_model(build(body)).run({"x": X}, intermediates=["x", "k", "y"])
    np.testing.assert_array_equal(found["x"] * found["k"], found["y"])


def test_an_empty_batch_gives_empty_outputs() -> None:
    assert qonnx_core.compile_model(build(LINEAR)).run({"x": X[:0]})["y"].shape == (0, 2)


def test_a_model_without_inputs_runs() -> None:
    body = "g () => (float[2] y) <float[2] k = {1, 2}> { y = Neg(k) }"
    assert qonnx_core.compile_model(build(body)).run({})["y"].tolist() == [-1, -2]


def test_a_large_model_runs_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from qonnx_core.execute import session

    expected = qonnx_core.compile_model(build(LINEAR)).run({"x": X})["y"]
    monkeypatch.setattr(session, "_IN_MEMORY_BYTES", 0)
    np.testing.assert_array_equal(qonnx_core.compile_model(build(LINEAR)).run({"x": X})["y"], expected)


def test_more_threads_give_the_same_bits() -> None:
    weights = ", ".join(str(number / 7) for number in range(-128, 128))
    body = f"g (float[N, 16] x) => (float[N, 16] y) <float[16, 16] w = {{{weights}}}> {{ y = MatMul(x, w) }}"
    x = np.random.default_rng(3).normal(size=(200, 16)).astype(np.float32)
    one, two = (qonnx_core.compile_model(build(body), threads=count).run({"x": x})["y"] for count in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (("bfloat16", "float", 1), "input x: has element type bfloat16"),
        (("float", "bfloat16", 16), "output y: has element type bfloat16"),
        (("float", "float8e4m3fn", 17), "output y: has element type float8e4m3fn"),
    ],
)
def test_element_types_that_numpy_lacks_are_refused_before_anything_runs(
    types: tuple[str, str, int], message: str
) -> None:
    source, target, code = types
    text = f'<ir_version: 10, opset_import: ["": 21]> g ({source}[2] x) => ({target}[2] y) {{ y = Cast<to={code}>(x) }}'
    with pytest.raises(Unsupported, match=message):
        qonnx_core.compile_model(from_proto(onnx.parser.parse_model(text)))

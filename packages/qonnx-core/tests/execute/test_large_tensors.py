"""Large parameters are not copied to open a session, unless onnxruntime has to know their numbers for it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.execute import session
from qonnx_core.formats.reader import from_proto

X = np.random.default_rng(1).normal(0, 1, (3, 64)).astype(np.float32)
W = np.random.default_rng(2).normal(0, 1, (64, 64)).astype(np.float32)
BODIES = {
    "is read as it is": ("y = MatMul(x, w)", X @ W, False),
    "is an output": ("y = Identity(w)", W, True),
    "is folded": ("v = Neg(w) y = MatMul(x, v)", X @ -W, True),
    "is folded in parts": ("v = Slice(w, zero, one) y = Add(x, v)", X + W[:1], True),
}
PEAK = """
import numpy as np, onnx_ir as ir, qonnx_core, qonnx_core.execute.compiled
from qonnx_core.testing.memory import peak_bytes

array = np.ones((4096, 4096), np.float32)
w = ir.val("w", const_value=ir.tensor(array, name="w"))
x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", 4096]))
product = ir.node("MatMul", [x, w], name="product")
product.outputs[0].name = "y"
graph = ir.Graph([x], product.outputs, nodes=[product], initializers=[w], name="g", opset_imports={"": 21})
before = peak_bytes()
qonnx_core.compile_model(ir.Model(graph, ir_version=10)).run({"x": array[:1]})
print((peak_bytes() - before) / array.nbytes)
"""


def build(body: str) -> ir.Model:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> '
        f"g (float[3, 64] x) => (y) <int64[1] zero = {{0}}, int64[1] one = {{1}}> {{ {body} }}"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return from_proto(proto)


@pytest.mark.parametrize("what", BODIES)
def test_a_large_parameter_counts_however_it_is_read(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, expected, copied = BODIES[what]
    copies = []
    open_with_copies = session._session
    monkeypatch.setattr(session, "_session", lambda *args: copies.append(1) or open_with_copies(*args))
    found = qonnx_core.compile_model(build(body)).run({"x": X})["y"]
    # The sums of 64 products are taken in another order than NumPy takes them.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert bool(copies) == copied


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("shape", [(2, 64, 32), (64, 32), (32,)])
def test_a_large_parameter_between_transposes_is_turned_with_them(mode: str, shape: tuple[int, ...]) -> None:
    numbers = np.resize(W, (*shape[:-1], 64 * shape[-1]))  # also a vector is large
    x = np.resize(X, (2, 64 * shape[-1], 64))
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[2, K, 64] x) => (y) {'
        "t = Transpose<perm = [0, 2, 1]>(x) a = Add(t, w) y = Transpose<perm = [0, 2, 1]>(a) }"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(numbers, "w"))
    found = qonnx_core.compile_model(from_proto(proto), mode=mode).run({"x": x})["y"]
    np.testing.assert_array_equal(found, (x.swapaxes(1, 2) + numbers).swapaxes(1, 2))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the memory from /proc")
def test_opening_a_session_takes_no_second_copy_of_the_parameters() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5

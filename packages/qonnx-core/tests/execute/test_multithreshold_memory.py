"""A MultiThreshold with hundreds of thresholds takes memory of a few inputs, not of input times thresholds."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys, numpy as np, onnx.parser, qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.memory import peak_bytes
levels, computed = int(sys.argv[1]), sys.argv[2] == "computed"
t = np.arange(64 * levels, dtype=np.float32).reshape(64, levels) / np.float32(64 * levels)
text = '''<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
g (float[N, 64, H, W] x%s) => (float[N, 64, H, W] y)
{ y = qonnx.custom_op.general.MultiThreshold<out_dtype = "UINT8", data_layout = "NCHW">(x, t) }'''
proto = onnx.parser.parse_model(text % (f", float[64, {levels}] t" if computed else ""))
if not computed:
    proto.graph.initializer.append(onnx.numpy_helper.from_array(t, "t"))
compiled = qonnx_core.compile_model(from_proto(proto))
x = np.random.default_rng(0).random((1, 64, 112, 112), np.float32)
more = {"t": t} if computed else {}
compiled.run({"x": x[:, :, :2, :2], **more})
before = peak_bytes()
y = compiled.run({"x": x, **more})["y"]
after = peak_bytes()
some = (x[:, :, ::16, ::16, None] >= t[None, :, None, None]).sum(-1)
assert np.array_equal(y[:, :, ::16, ::16], some)
print((after - before) / x.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the memory from /proc")
@pytest.mark.parametrize(("kind", "most"), [("known", 8), ("computed", 14)])
def test_memory_is_a_few_copies_of_the_input(kind: str, most: float) -> None:
    """With all comparisons at once it would be 255 copies; computed thresholds are compared in float64."""
    done = subprocess.run([sys.executable, "-c", CODE, "255", kind], capture_output=True, text=True, check=True)
    assert float(done.stdout) < most

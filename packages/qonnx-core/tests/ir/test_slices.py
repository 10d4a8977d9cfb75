"""What Slice takes along an axis is what onnxruntime takes."""

from __future__ import annotations

import itertools

import numpy as np
import onnx.parser
import onnxruntime

from qonnx_core.ir.slices import slice_along


def test_every_slice_takes_what_onnxruntime_takes() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N] x, int64[1] i, int64[1] j, int64[1] a, int64[1] t)'
        " => (float[M] y) { y = Slice(x, i, j, a, t) }"
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    far = 2**62
    for size, start, end, step in itertools.product(
        range(5), (-far, -6, -4, -1, 0, 1, 3, 4, far), (-far, -5, -4, -1, 0, 2, 4, 5, far), (-3, -2, -1, 1, 2, 9)
    ):
        x = np.arange(size, dtype=np.float32)
        feeds = dict(zip("ijat", (np.asarray([n], np.int64) for n in (start, end, 0, step)), strict=True))
        (found,) = session.run(None, {"x": x, **feeds})
        assert np.array_equal(x[slice_along(start, end, step, size)], found), (size, start, end, step)

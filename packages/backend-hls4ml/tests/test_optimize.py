"""The clean-up passes keep what the network computes, also where alkaid's own do not."""

from __future__ import annotations

import numpy as np
import pytest
from alkaid.trace import FVArray, HWConfig, trace

from backend_hls4ml.optimize import optimize


def network(position: int):
    """Bit ``position`` of ``8 * (x + y)``, whose weight may be that of the sign bit of ``x + y``."""
    options = {"binary_lut": False}
    ends = np.full(2, 3.0)
    x = FVArray.from_lhs(-ends, ends, np.ones(2), hwconf=HWConfig(1, -1, -1), solver_options=options)
    total = np.asarray(x)[0] + np.asarray(x)[1] * 0.125
    bit = (total * 8.0).quantize(0, position + 1, -position)
    return trace(x, FVArray(np.array([bit], dtype=object), options), optimize=False)


@pytest.mark.parametrize("position", range(6))
def test_a_bit_below_the_sign_keeps_its_place(position: int) -> None:
    logic = network(position)
    points = np.array([[a, b] for a in range(-3, 4) for b in range(-3, 4)], float)
    expected = ((8 * points[:, :1] + points[:, 1:]).astype(int) >> position & 1) * 2.0**position
    assert np.array_equal(logic.predict(points), expected)
    assert np.array_equal(optimize(logic).predict(points), expected)

"""Standalone thresholds under gaps and back-pressure."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qonnx_core.errors import Unsupported


@pytest.mark.parametrize(
    ("shape", "pe", "source", "output", "shared"),
    [
        ((1, 12), 1, "UINT8", "INT2", True),
        ((1, 12), 4, "UINT8", "UINT4", False),
        ((1, 12), 12, "INT8", "BIPOLAR", False),
        ((1, 2, 6), 3, "INT5", "TERNARY", False),
        ((1, 6), 6, "UINT3", "UINT1", True),
        ((1, 6), 2, "INT10", "INT8", False),
        ((1, 3), 1, "INT16", "UINT5", False),
        ((1, 1), 1, "INT4", "UINT2", False),
        ((1, 6), 2, "BIPOLAR", "UINT2", False),
        ((1, 6), 3, "BIPOLAR", "BIPOLAR", True),
    ],
)
def test_thresholds_are_exact_word_for_word(
    build: Callable[..., Any],
    make: SimpleNamespace,
    shape: tuple[int, ...],
    pe: int,
    source: str,
    output: str,
    shared: bool,
) -> None:
    rng = np.random.default_rng(len(shape) * 10 + pe)
    layer = make.thresholds(rng, make.tensor("x", shape, source), output, shared=shared)
    outcome = build(make.form(layer), {"folding": {"Thresholding_0": {"PE": pe}}}, frames=40)
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(outcome.design.cycles)


def test_an_output_of_other_values_than_minus_and_plus_one_is_no_bipolar(make: SimpleNamespace) -> None:
    from backend_finn.kernels import Thresholding

    rng = np.random.default_rng(0)
    x = make.tensor("x", (1, 4), "INT4")
    wrong = make.view.Thresholds("act", x, make.tensor("y", (1, 4), "BIPOLAR"), rng.integers(0, 3, (1, 2)), 0, 1)
    with pytest.raises(Unsupported, match=r"act: a BIPOLAR output of 2 thresholds.*expected one threshold"):
        Thresholding.of(wrong)

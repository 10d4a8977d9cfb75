"""Indices of the largest elements, ties to the lowest index."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qonnx_core.errors import Unsupported


@pytest.mark.parametrize(
    ("shape", "pe", "k", "largest", "source"),
    [
        ((1, 10), 1, 1, True, "INT3"),
        ((1, 10), 5, 1, True, "INT12"),
        ((1, 10), 10, 1, False, "UINT2"),
        ((1, 10), 2, 3, True, "INT3"),
        ((1, 6), 6, 6, False, "INT2"),
        ((1, 5), 1, 5, True, "UINT2"),
        ((1, 7), 7, 1, True, "BIPOLAR"),
        ((1, 1), 1, 1, True, "INT4"),
    ],
)
def test_labels_are_exact_word_for_word(
    build: Callable[..., Any],
    make: SimpleNamespace,
    shape: tuple[int, ...],
    pe: int,
    k: int,
    largest: bool,
    source: str,
) -> None:
    x = make.tensor("x", shape, source)
    labels = make.tensor("labels", (1, k), "UINT4")
    layer = make.view.LabelSelect("top", x, labels, k, largest)
    outcome = build(make.form(layer), {"folding": {"LabelSelect_hls_0": {"PE": pe}}}, frames=60)
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(outcome.design.cycles)


def test_an_index_type_that_is_too_narrow_is_refused(make: SimpleNamespace) -> None:
    from backend_finn.kernels import LabelSelectKernel

    x, labels = make.tensor("x", (1, 10), "INT4"), make.tensor("labels", (1, 1), "UINT3")
    with pytest.raises(Unsupported, match=r"top: 1 indices below 10 as UINT3.*holds 9"):
        LabelSelectKernel.of(make.view.LabelSelect("top", x, labels, 1))

"""Scaling, adding constants, shift-round-clip: word for word under gaps and back-pressure."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qonnx_core.errors import Unsupported


@pytest.mark.parametrize(
    ("mode", "shift", "source", "bounds", "output"),
    [
        ("ROUND", 3, "INT8", (-8, 7), "INT4"),
        ("HALF_UP", 1, "INT8", (-128, 127), "INT8"),
        ("HALF_DOWN", 2, "INT8", (-31, 31), "INT6"),
        ("UP", 3, "INT8", (-16, 15), "INT5"),
        ("DOWN", 3, "INT8", (-15, 15), "INT5"),
        ("CEIL", 4, "UINT8", (0, 15), "UINT4"),
        ("FLOOR", 7, "INT8", (-1, 1), "INT2"),
        ("ROUND", 12, "INT8", (-2, 1), "INT2"),
        ("HALF_EVEN", 0, "INT8", (0, 100), "UINT7"),
        ("ROUND", -3, "INT6", (-200, 200), "INT9"),
        ("ROUND", 10, "INT20", (-512, 511), "INT10"),
    ],
)
def test_requantization_is_exact_word_for_word(
    build: Callable[..., Any],
    make: SimpleNamespace,
    mode: str,
    shift: int,
    source: str,
    bounds: tuple[int, int],
    output: str,
) -> None:
    x, y = make.tensor("x", (1, 6), source), make.tensor("y", (1, 6), output)
    layer = make.view.Requantize("requant", x, y, shift, mode, *bounds)
    build(make.form(layer), {"folding": {"requant": {"PE": 3}}}, frames=100)


def test_an_unknown_rounding_is_refused(make: SimpleNamespace) -> None:
    from backend_finn.kernels import RequantizeKernel

    x, y = make.tensor("x", (1, 6), "INT8"), make.tensor("y", (1, 6), "INT4")
    with pytest.raises(Unsupported, match=r"requant: rounding STOCHASTIC.*expected integer types and one of ROUND"):
        RequantizeKernel.of(make.view.Requantize("requant", x, y, 2, "STOCHASTIC", -8, 7))


@pytest.mark.parametrize(
    ("factors", "output", "pe"), [([1, -1, 1, -1], "INT7", 2), ([3, -4, 0, 2], "INT9", 4), ([5], "INT10", 1)]
)
def test_scaling_by_integers_is_exact(
    build: Callable[..., Any], make: SimpleNamespace, factors: list[int], output: str, pe: int
) -> None:
    x, y = make.tensor("x", (1, 4), "INT6"), make.tensor("y", (1, 4), output)
    layer = make.view.Scale("scale", x, y, np.array(factors))
    build(make.form(layer), {"folding": {"scale": {"PE": pe}}})


def test_adding_constants_is_exact(build: Callable[..., Any], make: SimpleNamespace) -> None:
    x, y = make.tensor("x", (1, 2, 3), "UINT6"), make.tensor("y", (1, 2, 3), "INT8")
    build(make.form(make.view.AddConstant("add", x, y, np.array([-60, 0, 64]))))


@pytest.mark.parametrize(("factors", "output"), [([-1, 1, 3, -4], "INT4"), ([-1, 1, -1, 1], "BIPOLAR")])
def test_bipolar_inputs_are_scaled_exactly(
    build: Callable[..., Any], make: SimpleNamespace, factors: list[int], output: str
) -> None:
    x, y = make.tensor("x", (1, 4), "BIPOLAR"), make.tensor("y", (1, 4), output)
    build(make.form(make.view.Scale("scale", x, y, np.array(factors))), {"folding": {"scale": {"PE": 2}}})


@pytest.mark.parametrize(
    ("source", "factor", "message"),
    [
        ("BIPOLAR", 3, r"scale: values other than -1 and \+1 in a BIPOLAR output; expected only changes of sign"),
        ("INT4", 1, r"scale: arithmetic from INT4 to BIPOLAR; expected an integer output"),
    ],
)
def test_a_bipolar_output_of_other_values_is_refused(
    make: SimpleNamespace, source: str, factor: int, message: str
) -> None:
    from backend_finn.kernels import Affine

    x, y = make.tensor("x", (1, 4), source), make.tensor("y", (1, 4), "BIPOLAR")
    with pytest.raises(Unsupported, match=message):
        Affine.of(make.view.Scale("scale", x, y, np.array([factor])))

"""Bounds of curves enclose the real number, far out too, where a float64 formula cancels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
ONE, TWO = Decimal(1), Decimal(2)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def sigmoid(x: Decimal) -> Decimal:
    return ONE / (ONE + (-x).exp())


def erf(x: Decimal) -> Decimal:
    term, total, n = x, Decimal(0), 0
    while abs(term) > Decimal(10) ** -90 or n < 5:
        total += term / (2 * n + 1)
        n += 1
        term = -term * x * x / n
    return TWO * total / PI.sqrt()


def gelu_by_tanh(x: Decimal) -> Decimal:
    return x * sigmoid(2 * (TWO / PI).sqrt() * (x + Decimal("0.044715") * x**3))


CURVES: dict[str, Callable[[Decimal], Decimal]] = {
    "Sigmoid(x)": sigmoid,
    "Tanh(x)": lambda x: TWO * sigmoid(2 * x) - 1,
    "Softplus(x)": lambda x: (ONE + x.exp()).ln(),
    "Exp(x)": Decimal.exp,
    "HardSwish(x)": lambda x: x * min(max(x + 3, Decimal(0)), Decimal(6)) / 6,
    "Softsign(x)": lambda x: x / (1 + abs(x)),
    "Mish(x)": lambda x: x * (TWO * sigmoid(2 * (ONE + x.exp()).ln()) - 1),
    "Erf(x)": erf,
    "Gelu(x)": lambda x: x / 2 * (ONE + erf(x / TWO.sqrt())),
    'Gelu<approximate = "tanh">(x)': gelu_by_tanh,
}
POINTS = (-30.0, -8.0, -3.0000001, -2.9999999, -1.5, -0.75246, -0.7517915, -1e-6, 0.0, 1e-9, 0.3, 2.0, 5.0, 20.0)


@pytest.mark.parametrize("node", list(CURVES))
def test_both_ends_and_the_turn_are_enclosed(node: str) -> None:
    model = qonnx_core.cleanup_model(
        from_proto(onnx.parser.parse_model(f"{HEAD} g (float[N, 1] x) => (float[N, 1] y) {{ y = {node} }}"))
    )
    points = [point for point in POINTS if abs(point) < 9 or node not in ("Erf(x)", "Gelu(x)")]
    with localcontext() as context:
        context.prec = 120
        for low, high in itertools.pairwise(points):
            found = tensor_ranges(model, {}, {"global_in": (low, high)})["global_out"]
            assert found.values is not None
            for x in np.linspace(low, high, 9):
                value = CURVES[node](Decimal(float(x)))
                assert Decimal(found.values[0]) <= value <= Decimal(found.values[1]), (node, x, found.values)
            assert not found.zero_stuck or (node == "HardSwish(x)" and high < -3), (node, low, high)


def test_small_numbers_are_not_zero() -> None:
    """Of -50 the logistic function is 2e-22, which ``1 + tanh`` does not see."""
    model = qonnx_core.cleanup_model(
        from_proto(onnx.parser.parse_model(f"{HEAD} g (float[N, 1] x) => (float[N, 1] y) {{ y = Sigmoid(x) }}"))
    )
    found = tensor_ranges(model, {}, {"global_in": (-60.0, -50.0)})["global_out"]
    assert found.values is not None
    assert 0 < found.values[0] < found.values[1] < 1e-21
    assert found.stuck == ()


@pytest.mark.parametrize("node", ["Sqrt(x)", "Log(x)", "Pow(x, h)"])
def test_what_can_be_no_number_has_no_range(node: str) -> None:
    text = f"{HEAD} g (float[N, 1] x) => (float[N, 1] y) <float h = {{0.5}}> {{ y = {node} }}"
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))
    assert tensor_ranges(model, {}, {"global_in": (-1.0, 2.0)})["global_out"].values is None
    assert "can be negative" in tensor_ranges(model, {"global_in": Grid.parse("INT4")})["global_out"].reason
    assert tensor_ranges(model, {}, {"global_in": (0.5, 2.0)})["global_out"].values is not None

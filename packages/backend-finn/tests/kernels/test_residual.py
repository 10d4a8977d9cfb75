"""Branches that meet again: exact, without deadlock, at full rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("depth", "folds"), [(1, {"PE": 2, "SIMD": 4}), (2, {"PE": 1, "SIMD": 8}), (3, {"PE": 4, "SIMD": 2})]
)
def test_a_residual_connection_runs_at_the_rate_of_its_slowest_kernel(
    build: Callable[..., Any], make: SimpleNamespace, depth: int, folds: dict[str, int]
) -> None:
    rng = np.random.default_rng(depth)
    x = make.tensor("x", (1, 8), "UINT2")
    layers, here, folding = [], x, {}
    for number in range(depth):
        layers.append(make.product(rng, here, 8, "INT2", name=f"fc{number}"))
        layers.append(make.thresholds(rng, layers[-1].output, "UINT2", name=f"act{number}"))
        here = layers[-1].output
        folding[f"fc{number}"] = folds
    total = make.tensor("sum", (1, 8), "UINT3", 0, 6)
    layers.append(make.view.Add("add", (x, here), total))
    layers.append(make.product(rng, total, 4, "INT2", name="last"))
    outcome = build(make.form(*layers), {"folding": {**folding, "add": {"PE": 2}, "last": {"PE": 1, "SIMD": 8}}})
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(outcome.design.cycles)


def test_a_tensor_that_is_read_inside_and_leaves_is_forked(build: Callable[..., Any], make: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    x = make.tensor("x", (1, 6), "INT4")
    first = make.product(rng, x, 6, "INT2", name="first")
    second = make.product(rng, first.output, 3, "INT2", name="second")
    build(make.form(first, second, outputs=[first.output, second.output, first.output]))


def test_a_tensor_added_to_itself_is_exact(build: Callable[..., Any], make: SimpleNamespace) -> None:
    x, y = make.tensor("x", (1, 6), "INT4"), make.tensor("y", (1, 6), "INT5")
    build(make.form(make.view.Add("add", (x, x), y)), {"folding": {"add": {"PE": 3}}})


def test_bipolar_operands_are_added_exactly(build: Callable[..., Any], make: SimpleNamespace) -> None:
    a, b = make.tensor("a", (1, 6), "BIPOLAR"), make.tensor("b", (1, 6), "INT3")
    first = make.view.Add("first", (a, b), make.tensor("c", (1, 6), "INT4"))
    second = make.view.Add("second", (first.output, a), make.tensor("y", (1, 6), "INT5"))
    build(make.form(first, second), {"folding": {"first": {"PE": 3}, "second": {"PE": 2}}})


def test_two_inputs_meet(build: Callable[..., Any], make: SimpleNamespace) -> None:
    a, b = make.tensor("a", (1, 6), "INT4"), make.tensor("b", (1, 6), "UINT3")
    build(make.form(make.view.Add("add", (a, b), make.tensor("y", (1, 6), "INT6"))))


def test_an_input_that_nothing_reads_is_swallowed_and_a_plain_wire_passes(
    build: Callable[..., Any], make: SimpleNamespace
) -> None:
    x, y = make.tensor("x", (1, 4), "INT4"), make.tensor("y", (1, 4), "INT4")
    form = make.form(make.view.Scale("scale", x, y, np.array([1])))
    form = replace(form, outputs=(form.inputs[0],))
    build(form)

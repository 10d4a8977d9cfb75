"""Whole networks: every way of folding one gives the same integers, at the rate that the formula says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backend_finn import BACKEND
from qonnx_core.cleanup import cleanup_model
from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.synthesize import synthesize
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

SHAPES = [
    MlpShape(widths=(6, 8, 8, 4)),
    MlpShape(widths=(6, 8, 8, 4), residual=True, per_channel=True),
    MlpShape(widths=(7, 12, 5), batch_norm=True, weight_bits=1, activation_bits=2),
    MlpShape(widths=(10, 10, 10, 3), power_of_two=False, batch_norm=True, activation_bits=3),
    MlpShape(widths=(4, 16, 2), quantize_input=False, weight_bits=4, rounding="FLOOR"),
]


@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_emulation_and_simulation_of_a_random_network_are_its_integer_form(
    build: Callable[..., Any], seed: int
) -> None:
    model = cleanup_model(random_mlp(seed, SHAPES[seed]))
    form = to_integer_form(model, {"global_in": Grid.parse("INT8*2^-5")}, label_select=bool(seed % 2))
    outcome = build(form, {"target_cycles": [8, 20, 1, 50, 16][seed]}, seed=seed)
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(outcome.design.cycles)
    estimate = BACKEND.estimate(outcome.design)
    assert estimate.cycles == outcome.design.cycles
    assert abs(estimate.latency_cycles - outcome.smooth.latency_cycles) <= 0.25 * outcome.smooth.latency_cycles


def test_words_that_do_not_divide_each_other_meet_without_loss_of_rate(
    build: Callable[..., Any], make: SimpleNamespace
) -> None:
    rng = np.random.default_rng(3)
    first = make.product(rng, make.tensor("x", (1, 12), "UINT2"), 12, "INT2", name="a")
    act = make.thresholds(rng, first.output, "UINT2", name="t")
    second = make.product(rng, act.output, 10, "INT2", name="b")
    outcome = build(
        make.form(first, act, second), {"folding": {"a": {"PE": 4, "SIMD": 3}, "b": {"PE": 5, "SIMD": 6}}}, frames=40
    )
    assert outcome.smooth.initiation_interval_cycles == pytest.approx(12)


def test_a_reshape_moves_nothing(build: Callable[..., Any], make: SimpleNamespace) -> None:
    rng = np.random.default_rng(4)
    x, flat = make.tensor("x", (1, 3, 4), "UINT2"), make.tensor("flat", (1, 12), "UINT2")
    reshape = make.view.Reshape("flatten", x, flat)
    build(make.form(reshape, make.product(rng, flat, 5, "INT2")))


def test_the_same_design_gives_the_same_bytes(make: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    first = make.product(rng, make.tensor("x", (1, 8), "UINT2"), 4, "INT2")
    form = make.form(first, make.thresholds(rng, first.output, "UINT2"))
    written = []
    for name in ("one", "two"):
        BACKEND.emit(BACKEND.plan(form, Target()), tmp_path / name, "dut")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert written[0] == written[1]


@pytest.mark.usefixtures("simulator")
def test_names_of_the_model_do_not_reach_the_sources(make: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    layer = make.product(rng, make.tensor("x", (1, 4), "UINT2"), 4, "INT2", name='evil */ `include "x" \n endmodule')
    component = BACKEND.emit(BACKEND.plan(make.form(layer), Target()), tmp_path / "out", "dut")
    text = (component.directory / "dut.sv").read_text()
    assert "`" not in text
    assert text.splitlines().count("endmodule") == 1
    Simulator.build(component, tmp_path / "sim")


@pytest.mark.slow
@pytest.mark.usefixtures("synthesizer")
@pytest.mark.parametrize("family", ["xc7", "ecp5"])
def test_a_network_is_synthesized_near_its_estimate(make: SimpleNamespace, tmp_path: Path, family: str) -> None:
    rng = np.random.default_rng(7)
    first = make.product(rng, make.tensor("x", (1, 64), "UINT2"), 32, "INT2")
    form = make.form(first, make.thresholds(rng, first.output, "UINT2"))
    design = BACKEND.plan(form, Target(), {"folding": {"fc": {"PE": 4, "SIMD": 8}}})
    found = synthesize(BACKEND.emit(design, tmp_path / "out", "dut"), family, tmp_path / "synth")
    estimate = BACKEND.estimate(design)
    assert found.dsp == estimate.dsp == 0
    if family == "xc7":
        assert estimate.lut == pytest.approx(found.lut, rel=0.4)
        assert estimate.ff == pytest.approx(found.ff, rel=0.4)

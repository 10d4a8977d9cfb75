"""Every installed backend keeps the contract, by being installed: from its verdicts to its simulated wires."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qonnx_core import plugins
from qonnx_core.cleanup import cleanup_model
from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.stitch import stitch
from qonnx_core.eda.streams import Manifest
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import IntegerForm, to_integer_form
from qonnx_core.testing.backend_contract import check_backend, check_design
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

BACKENDS = plugins.names("backends")
SHAPES = {
    "plain": MlpShape(widths=(5, 6, 3)),
    "one bit, channels, batch norm": MlpShape(
        widths=(6, 6, 4), weight_bits=1, activation_bits=2, batch_norm=True, per_channel=True
    ),
    "any scale, float input": MlpShape(
        widths=(4, 8, 2), weight_bits=2, activation_bits=3, power_of_two=False, quantize_input=False
    ),
    "residual": MlpShape(widths=(4, 4, 4), residual=True),
}


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_keeps_the_contract(name: str, shape: str, tmp_path: Path) -> None:
    check_backend(plugins.load("backends", name), tmp_path, shapes=[SHAPES[shape]], frames=16)


def form_of(model_seed: int, grid: str, quantizer: str, *, label_select: bool = False) -> IntegerForm:
    model = cleanup_model(random_mlp(model_seed, MlpShape(widths=(4, 4, 3), tail=False)))
    return to_integer_form(
        model,
        {"global_in": Grid.parse(grid)},
        quantizer="shift" if quantizer == "shift" else "thresholds",
        label_select=label_select,
    )


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_keeps_the_contract_where_it_answers_with_the_label(name: str, tmp_path: Path) -> None:
    backend = plugins.load("backends", name)
    form = form_of(3, "UINT3", backend.quantizer, label_select=True)
    check_design(backend, form, tmp_path, Target(), frames=16)


@pytest.mark.parametrize("second", BACKENDS)
@pytest.mark.parametrize("first", BACKENDS)
def test_components_of_any_two_backends_meet_on_one_stream(first: str, second: str, tmp_path: Path) -> None:
    """The logits of the first network, as integers on the wire, are the input of the second."""
    one = plugins.load("backends", first)
    two = plugins.load("backends", second)
    front = form_of(5, "INT4*1/4", one.quantizer)
    model = cleanup_model(random_mlp(6, MlpShape(widths=(3, 4, 2), tail=False)))
    model.graph.inputs[0].name = "global_out"
    model.graph.outputs[0].name = "answer"
    back = to_integer_form(model, {"global_out": front.outputs[0].grid}, quantizer=two.quantizer)
    components = [
        backend.emit(backend.plan(form, Target()), tmp_path / f"part{index}", f"part{index}_{backend.name}")
        for index, (backend, form) in enumerate(((one, front), (two, back)))
    ]
    whole = stitch(components, tmp_path / "stitched")
    assert Manifest.read(whole.directory) == whole.manifest
    assert json.loads((whole.directory / "manifest.json").read_text())["top"] == "stitched"

    ints = np.random.default_rng(0).integers(-8, 8, (20, 4))
    middle = front.run({front.inputs[0].name: ints})[front.outputs[0].name]
    expected = back.run({back.inputs[0].name: middle})[back.outputs[0].name]
    simulator = Simulator.build(whole, tmp_path / "simulation")
    for gaps in (0.0, 0.4):
        result = simulator.run({"s_axis_0": ints}, source_gap=gaps, sink_gap=gaps, seed=1)
        np.testing.assert_array_equal(result.outputs["m_axis_0"].reshape(expected.shape), expected)

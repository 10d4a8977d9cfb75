"""The RTL component, simulated word for word under gaps and back-pressure."""

from __future__ import annotations

import numpy as np
import pytest

from backend_hls4ml import BACKEND
from backend_hls4ml.component import choose_elements_per_beat, sink_depth
from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput, ToolMissing
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import view

pytest.importorskip("alkaid", reason="alkaid is not installed")

ONLY_RTL = {"hls_project": False, "check_samples": 32}


def simulator(component, workdir):
    try:
        return Simulator.build(component, workdir)
    except ToolMissing as error:
        pytest.skip(str(error))


def built(form, tmp_path, top="part0_hls4ml", **options):
    design = BACKEND.plan(form, Target(), {**ONLY_RTL, **options})
    return design, BACKEND.emit(design, tmp_path / top, top)


def assert_streams_exact(networks, form, design, component, tmp_path, frames=60):
    simulation = simulator(component, tmp_path / "sim")
    inputs = networks.inputs(form, frames, seed=4)
    expected = form.run(inputs)
    driven = {f"s_axis_{n}": inputs[port.name].reshape(frames, *port.shape) for n, port in enumerate(form.inputs)}
    for source_gap, sink_gap, seed in ((0.0, 0.0, 0), (0.5, 0.4, 1), (0.0, 0.95, 2), (0.9, 0.0, 3)):
        result = simulation.run(driven, source_gap=source_gap, sink_gap=sink_gap, seed=seed, random_state=seed > 0)
        for number, port in enumerate(form.outputs):
            found = result.outputs[f"m_axis_{number}"].reshape(frames, -1)
            assert np.array_equal(found, expected[port.name].reshape(frames, -1)), (port.name, source_gap, sink_gap)
        if source_gap == sink_gap == 0.0:
            estimate = BACKEND.estimate(design)
            assert result.latency_cycles == estimate.latency_cycles
            assert result.initiation_interval_cycles == estimate.cycles


@pytest.mark.parametrize(
    ("kind", "beats"),
    [
        ({"weights": "4", "style": "shift", "activation": "INT4", "bias": True}, (12, 5)),
        ({"input_type": "BIPOLAR", "weights": "bipolar", "activation": "BIPOLAR", "quantize_last": True}, (4, 1)),
        ({"input_type": "TERNARY", "weights": "ternary", "activation": "UINT2"}, (3, 5)),
        ({"input_type": "INT7", "weights": "2", "activation": "INT2", "label_select": True}, (1, 1)),
        ({"input_type": "UINT2", "weights": "ternary", "activation": "UINT3"}, (12, 1)),
    ],
)  # fmt: skip
def test_random_perceptrons_stream_exactly(networks, tmp_path, kind, beats):
    form = networks.mlp(8, [12, 9, 5], **kind)
    design, component = built(form, tmp_path, input_elements_per_beat=beats[0], output_elements_per_beat=beats[1])
    assert_streams_exact(networks, form, design, component, tmp_path)


def test_two_inputs_and_two_outputs_stream_exactly(networks, tmp_path):
    a, b = networks.tensor("a", 6, 0, 3), networks.tensor("b", 6, -4, 3)
    total, doubled = networks.tensor("t", 6, -4, 6), networks.tensor("d", 6, -8, 6)
    label = networks.tensor("l", 1, 0, 5)
    layers = [
        view.Add("sum", (a, b), total),
        view.Scale("double", b, doubled, np.array([2])),
        view.LabelSelect("best", total, label, 1),
    ]
    form = networks.Form([a, b], [doubled, label], layers)
    design, component = built(form, tmp_path, input_elements_per_beat=2, output_elements_per_beat=0)
    assert_streams_exact(networks, form, design, component, tmp_path)


def test_constant_and_dead_elements_travel(networks, tmp_path):
    x = networks.tensor("x", 5, -4, 3)
    y = networks.tensor("y", 4, -9, 40)
    weights = np.array([[1, 0, 2, 0], [0, 0, 4, 0], [0, 0, 0, 0], [-1, 0, 8, 0], [2, 0, 2, 0]])
    fc = view.MatMul("fc", x, y, weights, DataType.parse("INT5"), np.array([0, -3, 9, 17]))
    form = networks.Form([x], [networks.tensor("y", 4, -128, 127)], [fc])
    design, component = built(form, tmp_path)
    assert_streams_exact(networks, form, design, component, tmp_path)


def test_a_constant_function_keeps_the_rhythm_of_the_streams(networks, tmp_path):
    x, y = networks.tensor("x", 4, 0, 3), networks.tensor("y", 4, 0, 1)
    form = networks.Form([x], [y], [view.Thresholds("q", x, y, np.array([[9], [0], [9], [9]]), 0, 1)])
    design, component = built(form, tmp_path, output_elements_per_beat=2)
    assert_streams_exact(networks, form, design, component, tmp_path)


def test_two_parts_live_in_one_design(networks, tmp_path):
    from qonnx_core.eda.stitch import stitch

    first = networks.mlp(2, [8, 6], input_type="UINT3", weights="3", activation="UINT2", quantize_last=True)
    second = networks.mlp(3, [6, 5, 4], input_type="UINT2", weights="3", activation="UINT2")
    first.outputs = (type(first.outputs[0])("act0", "middle", second.inputs[0].grid, (1, 6)),)
    second.inputs = (type(second.inputs[0])("x", "middle", second.inputs[0].grid, (1, 6)),)
    parts = [
        built(form, tmp_path, top=f"part{n}_hls4ml", input_elements_per_beat=2)[1]
        for n, form in enumerate((first, second))
    ]
    whole = stitch(parts, tmp_path / "stitched")
    assert (whole.directory / "LICENSE.alkaid").is_file()
    inputs = networks.inputs(first, 40, seed=1)
    expected = second.run({"x": first.run(inputs)["act0"]})["acc1"]
    result = simulator(whole, tmp_path / "sim").run({"s_axis_0": inputs["x"].reshape(40, 1, 8)}, sink_gap=0.5, seed=1)
    assert np.array_equal(result.outputs["m_axis_0"].reshape(40, -1), expected)


def test_the_same_design_is_written_with_the_same_bytes(networks, tmp_path):
    form = networks.mlp(2, [8, 6, 3], weights="3")
    contents = []
    for folder in ("one", "two"):
        design = BACKEND.plan(form, Target(), ONLY_RTL)
        component = BACKEND.emit(design, tmp_path / folder, "part0")
        contents.append({path.name: path.read_bytes() for path in sorted(component.directory.iterdir())})
    assert contents[0] == contents[1]
    assert {"NOTICE.alkaid", "LICENSE.alkaid", "manifest.json", "part0.sv", "part0_pipeline.v"} <= set(contents[0])


@pytest.mark.parametrize("family", ["xc7", "ecp5"])
def test_a_component_synthesizes(networks, tmp_path, family):
    from qonnx_core.eda.synthesize import synthesize

    form = networks.mlp(2, [8, 6, 3], input_type="UINT2", weights="ternary", activation="UINT2")
    _, component = built(form, tmp_path)
    try:
        resources = synthesize(component, family, tmp_path / "synthesis", timeout=300)
    except ToolMissing as error:
        pytest.skip(str(error))
    assert resources.lut > 20
    assert resources.ff > 20
    assert resources.dsp == 0


def test_beats_are_whole_frames_where_they_fit(networks):
    form = networks.mlp(2, [784, 3], input_type="UINT8")
    (port,) = form.inputs
    assert choose_elements_per_beat(port, 8, 0, 1024) == 112
    assert choose_elements_per_beat(port, 1, 0, 1024) == 784
    assert choose_elements_per_beat(port, 2048, 0, 1024) == 1
    assert choose_elements_per_beat(port, 8, 49, 1024) == 49
    with pytest.raises(InvalidInput, match=r"x: elements_per_beat is 5; it has to divide the 784 .* one of 1, 2, 4, 7"):
        choose_elements_per_beat(port, 8, 5, 1024)


def test_a_sink_has_a_place_for_every_frame_under_way():
    assert sink_depth(stages=4, interval=1) == 7
    assert sink_depth(stages=4, interval=7) == 3
    assert sink_depth(stages=14, interval=3) == 7

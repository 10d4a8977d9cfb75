"""The backend as the build uses it: real integer forms of QONNX models, verdicts, messages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from backend_hls4ml import BACKEND
from backend_hls4ml.backend import NetworkRunner
from qonnx_core.backend import Backend, Design
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.grid import Grid
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.plugins import backends
from qonnx_core.testing import shared_file
from qonnx_core.testing.backend_contract import SHAPES, check_backend
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

FAST = {"hls_project": False, "check_samples": 64}


def integer_form(seed, shape, quantizer="shift", grid="INT6*2^-3"):
    return to_integer_form(random_mlp(seed, shape), {"global_in": Grid.parse(grid)}, quantizer=quantizer)


def seeded_integers(form, frames, seed):
    rng = np.random.default_rng(seed)
    return {
        port.name: rng.integers(*port.grid.integers, endpoint=True, size=(frames, *port.shape[1:]))
        for port in form.inputs
    }


def test_the_backend_is_found_by_its_entry_point():
    assert isinstance(BACKEND, Backend)
    assert backends()["hls4ml"] is BACKEND


@pytest.mark.parametrize(
    "options", [{}, {"io_type": "io_stream", "hls_backend": "Vivado", "input_elements_per_beat": 1}]
)
def test_the_backend_keeps_the_contract(tmp_path, options):
    shapes = SHAPES if not options else SHAPES[:1]
    check_backend(BACKEND, tmp_path, shapes=shapes, options={"check_samples": 64, **options})


def test_importing_the_backend_imports_neither_hls4ml_nor_alkaid():
    code = "import sys, backend_hls4ml; print({'hls4ml', 'alkaid', 'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "shape",
    [
        MlpShape(),
        MlpShape(weight_bits=2, activation_bits=2, batch_norm=True, per_channel=True, power_of_two=False),
        MlpShape(residual=True, widths=(6, 6, 6, 4)),
        MlpShape(activation_bits=6, weight_bits=5, rounding="FLOOR"),
        MlpShape(quantize_input=False, batch_norm=True),
    ],
)
@pytest.mark.parametrize("quantizer", ["shift", "thresholds"])
def test_models_in_integer_form_are_planned_exactly(shape, quantizer):
    for seed in range(3):
        form = integer_form(seed, shape, quantizer)
        design = BACKEND.plan(form, Target(), FAST)
        inputs = seeded_integers(form, 300, seed)
        expected, found = form.run(inputs), NetworkRunner(design).run(inputs)
        assert all(np.array_equal(found[port.name], expected[port.name]) for port in form.outputs), seed


def test_the_estimate_has_a_row_for_each_layer():
    form = integer_form(1, MlpShape())
    estimate = BACKEND.estimate(BACKEND.plan(form, Target(), FAST))
    assert [row["name"] for row in estimate.layers] == [layer.name for layer in form.layers()]
    assert estimate.lut > 0
    assert estimate.dsp == estimate.bram18 == 0
    assert estimate.latency_cycles > estimate.cycles == 1


def test_a_design_of_another_backend_is_refused(tmp_path):
    other = Design("finn", integer_form(1, MlpShape()), Target())
    with pytest.raises(InvalidInput, match="the design is a Design of backend 'finn'; expected one that plan returned"):
        BACKEND.emit(other, tmp_path, "part0")


def test_a_part_without_layers_is_refused(networks):
    x = networks.tensor("x", 2, 0, 3)
    with pytest.raises(Unsupported, match="no layer reads or writes x, x; the part would only be a wire"):
        BACKEND.plan(networks.Form([x], [x], []), Target(), FAST)


def test_wrong_inputs_of_the_emulation_are_refused(networks, tmp_path):
    design = BACKEND.plan(networks.mlp(1, [4, 3]), Target(), {**FAST, "emulator": "alkaid"})
    runner = BACKEND.emulate(design, tmp_path)
    with pytest.raises(InvalidInput, match=r"found inputs \['y'\]; expected exactly \['x'\]"):
        runner.run({"y": np.zeros((1, 4), np.int64)})
    with pytest.raises(InvalidInput, match=r"x: found int64 of shape \(1, 5\); expected integers .* 4 elements"):
        runner.run({"x": np.zeros((1, 5), np.int64)})
    with pytest.raises(InvalidInput, match="x: found float64"):
        runner.run({"x": np.zeros((1, 4))})


def node(op_type, inputs, name="n"):
    domain = DOMAIN if op_type in ("Quant", "FloatQuant") else ""
    return ir.Node(domain, op_type, inputs, name=name)


@pytest.mark.parametrize(
    "op_type", ["Quant", "MatMul", "BatchNormalization", "Relu", "Reshape", "Add", "ArgMax", "TopK", "Tanh"]
)
def test_nodes_of_a_perceptron_are_taken(op_type):
    weights = ir.Value(name="w", const_value=ir.tensor(np.ones((2, 2), np.float32), name="w"))
    assert BACKEND.supports(node(op_type, [ir.Value(name="x"), weights]), Target()).supported


@pytest.mark.parametrize(
    ("op_type", "reason"),
    [
        ("Conv", r"n \(Conv\): convolutions are not unrolled .*another backend"),
        ("Softmax", "stays on the host"),
        ("FloatQuant", "no integer grid"),
        ("LSTM", "it has no exact integer layer here"),
        ("MatMul", "both operands depend on the input"),
    ],
)
def test_other_nodes_are_refused_with_a_reason(op_type, reason):
    import re

    verdict = BACKEND.supports(node(op_type, [ir.Value(name="x"), ir.Value(name="y")]), Target())
    assert not verdict
    assert re.search(reason, verdict.reason)


@pytest.mark.slow
def test_the_jet_tagging_model_is_exact_from_integer_form_to_simulated_rtl(tmp_path):
    import qonnx_core
    from qonnx_core.eda.simulate import Simulator
    from qonnx_core.errors import ToolMissing

    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file("models/zoo/qkeras_jettagging.onnx")))
    samples = np.load(shared_file("models/zoo/qkeras_jettagging.npz"))["x"]
    form = to_integer_form(model, {model.graph.inputs[0].name: Grid.parse("FIXED<16,6>")}, quantizer=BACKEND.quantizer)
    (source,), (sink,) = form.inputs, form.outputs
    given, _ = source.grid.to_integers(samples)
    inputs = {source.name: np.concatenate([given, seeded_integers(form, 200, 1)[source.name]])}
    expected = form.run(inputs)[sink.name]
    design = BACKEND.plan(form, Target())
    assert np.array_equal(NetworkRunner(design).run(inputs)[sink.name], expected)
    component = BACKEND.emit(design, tmp_path / "part", "part0_hls4ml")
    try:
        simulation = Simulator.build(component, tmp_path / "sim")
        compiled = BACKEND.emulate(design, tmp_path / "emulation")
    except ToolMissing as error:
        pytest.skip(str(error))
    assert np.array_equal(compiled.run(inputs)[sink.name], expected)
    result = simulation.run(
        {"s_axis_0": inputs[source.name].reshape(-1, *source.shape)}, source_gap=0.3, sink_gap=0.3, seed=1
    )
    assert np.array_equal(result.outputs["m_axis_0"].reshape(expected.shape), expected)

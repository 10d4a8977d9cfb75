"""hls4ml projects: what is written, and the compiled C++ against numpy, both interfaces and both back ends."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from backend_hls4ml import BACKEND
from backend_hls4ml.backend import _tensors
from backend_hls4ml.graph import build_layer_list
from backend_hls4ml.options import Options
from backend_hls4ml.project import compile_project, vendor_command, write_project
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput, ToolMissing
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import view

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def every_layer(networks):
    """One network with every layer kind and every rounding mode, a residual connection, and an output of 40 bits."""
    rng = np.random.default_rng(0)
    x = networks.tensor("x", 7, -8, 7)
    weights, bias = networks.weights(rng, (7, 7), "3"), rng.integers(-9, 9, 7)
    low, high = networks.product_range(weights, -8, 7, bias)
    product = view.IntTensor("p", (1, 7), DataType.parse("INT10"), low, high)
    layers = [view.MatMul("fc", x, product, weights, DataType.parse("INT3"), bias)]
    modes = ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
    total = previous = None
    for number, mode in enumerate(modes):
        source = product if previous is None or number % 2 else previous
        rounded = networks.tensor(f"r_{mode}", 7, -20, 19)
        layers.append(view.Requantize(f"q_{mode}", source, rounded, 3, mode, -20, 19))
        scaled = networks.tensor(f"s_{mode}", 7, -2000, 2000)
        layers.append(view.Scale(f"scale_{mode}", rounded, scaled, rng.integers(-90, 90, 7)))
        total = networks.tensor(f"t_{mode}", 7, -30000, 30000)
        layers.append(view.Add(f"add_{mode}", (previous or product, scaled), total))
        previous = total
    moved = networks.tensor("moved", 7, -40000, 40000)
    layers.append(view.AddConstant("constant", previous, moved, rng.integers(-99, 99, 7)))
    bits = networks.tensor("bits", 7, -1, 1, DataType.BIPOLAR)
    layers.append(view.Thresholds("sign", moved, bits, rng.integers(-500, 500, (7, 1)), -1, 2))
    wide = networks.tensor("wide", 7, -(2**40), 2**40)
    layers.append(view.Requantize("up", moved, wide, -20, "ROUND", -(2**30), 2**30))
    label = networks.tensor("label", 2, 0, 6)
    layers.append(view.LabelSelect("top", moved, label, 2))
    return networks.Form([x], [bits, wide, label], layers)


def assert_cpp_exact(networks, form, tmp_path, frames=400, **options):
    layers = form.layers()
    chosen = Options(**options)
    listed = build_layer_list(*_tensors(form, layers), layers, chosen)
    stamp = write_project(listed, chosen, Target(), tmp_path / "hls")
    sizes = [{port.name: int(np.prod(port.shape)) for port in ports} for ports in (form.inputs, form.outputs)]
    compiled = compile_project(tmp_path / "hls", stamp, *sizes)
    inputs = networks.inputs(form, frames, seed=9)
    expected, found = form.run(inputs), compiled.run(inputs)
    for port in form.outputs:
        assert np.array_equal(found[port.name], expected[port.name].reshape(frames, -1)), port.name
    one = compiled.run({name: x[:1] for name, x in inputs.items()})
    assert all(np.array_equal(one[name], found[name][:1]) for name in found)
    return compiled


@needs_compiler
@pytest.mark.parametrize("hls_backend", ["Vitis", "Vivado"])
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_every_layer_is_exact_in_cpp(networks, tmp_path, hls_backend, io_type):
    compiled = assert_cpp_exact(
        networks, every_layer(networks), tmp_path, hls_backend=hls_backend, io_type=io_type, hls_project=True
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="inputs: found y; expected exactly x"):
        compiled.run({"y": np.zeros((1, 7), np.int64)})


@needs_compiler
def test_resource_strategy_and_two_bit_weights_are_exact(networks, tmp_path):
    form = networks.mlp(4, [16, 8, 8, 4], weights="2", activation="BIPOLAR")
    assert_cpp_exact(networks, form, tmp_path, io_type="io_stream", strategy="Resource", reuse_factor=4)


@needs_compiler
def test_cpp_interpreter_and_integer_form_agree(networks, tmp_path):
    form = networks.mlp(12, [10, 8, 5], input_type="INT8", weights="6", activation="UINT6", style="shift", bias=True)
    inputs = networks.inputs(form, 200, seed=2)
    expected = form.run(inputs)["acc1"]
    for emulator in ("hls4ml", "alkaid"):
        design = BACKEND.plan(form, Target(), {"emulator": emulator, "check_samples": 8})
        assert np.array_equal(BACKEND.emulate(design, tmp_path / emulator).run(inputs)["acc1"], expected)


def test_a_project_is_written_with_the_same_bytes_everywhere(networks, tmp_path):
    form = networks.mlp(4, [6, 5, 3])
    layers = form.layers()
    contents = []
    for folder in ("one", "two/deeper"):
        listed = build_layer_list(*_tensors(form, layers), layers, Options())
        write_project(listed, Options(), Target("xc7z020"), tmp_path / folder)
        root = tmp_path / folder
        contents.append({p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()})
    assert contents[0] == contents[1]
    text = b"".join(contents[0].values())
    assert str(tmp_path).encode() not in text
    assert b"xc7z020" in (tmp_path / "one" / "project.tcl").read_bytes()
    assert (tmp_path / "one" / "firmware" / "nnet_utils" / "nnet_integer_layers.h").is_file()


def test_other_weights_give_another_stamp(networks, tmp_path):
    stamps = set()
    for seed in (1, 2):
        form = networks.mlp(seed, [6, 5, 3])
        layers = form.layers()
        listed = build_layer_list(*_tensors(form, layers), layers, Options())
        stamps.add(write_project(listed, Options(), Target(), tmp_path / str(seed)))
    assert len(stamps) == 2


def test_the_vendor_script_is_there_and_its_tool_is_asked_for(networks, tmp_path, monkeypatch):
    form = networks.mlp(1, [4, 3])
    layers = form.layers()
    for backend, tool in (("Vitis", "vitis_hls"), ("Vivado", "vivado_hls")):
        options = Options(hls_backend=backend)
        listed = build_layer_list(*_tensors(form, layers), layers, options)
        write_project(listed, options, Target(), tmp_path / backend)
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(ToolMissing, match=f"{tool}: not on the path"):
            vendor_command(tmp_path / backend)
        monkeypatch.setattr(shutil, "which", lambda name, tool=tool: f"/opt/{name}" if name == tool else None)
        assert vendor_command(tmp_path / backend) == (tool, "-f", "build_prj.tcl")
    with pytest.raises(InvalidInput, match=r"found no build_prj.tcl; expected a project"):
        vendor_command(tmp_path)

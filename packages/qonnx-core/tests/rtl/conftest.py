"""Benches around single library modules: many configurations side by side in one top, so one build tests all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from qonnx_core.eda.streams import Component, StreamDescriptor, make_descriptor, make_manifest


class Lane(NamedTuple):
    """One configuration, which tests write as a plain tuple: its input and outputs, and the text between them."""

    input: tuple[int, int]  # element bits, elements a beat
    outputs: tuple[int, ...]  # elements a beat of each output
    elements: int  # of a frame
    text: str  # uses in_valid, in_ready, in_data, and out<k>_valid, out<k>_ready, out<k>_data, out<k>_last


def port_lines(stream: StreamDescriptor) -> list[str]:
    """Return the port declarations of a stream."""
    into, out = ("input ", "output") if stream.direction == "in" else ("output", "input ")
    lines = [
        f"  {into} logic [{stream.tdata_bits - 1}:0] {stream.prefix}_tdata",
        f"  {into} logic {stream.prefix}_tvalid",
        f"  {out} logic {stream.prefix}_tready",
    ]
    return [*lines, f"  {into} logic {stream.prefix}_tlast"] if stream.tlast else lines


WriteBench = Callable[[Path, Iterable[tuple[object, ...]], Iterable[Path]], Component]


@pytest.fixture(name="write_bench")
def write_bench_fixture() -> WriteBench:
    """Return the function that writes a top module with every lane side by side."""
    return write_bench


def write_bench(directory: Path, lanes: Iterable[tuple[object, ...]], sources: Iterable[Path]) -> Component:
    """Write a top module with every lane side by side and return it as a component."""
    directory.mkdir(parents=True, exist_ok=True)
    inputs: list[StreamDescriptor] = []
    outputs: list[StreamDescriptor] = []
    body: list[str] = []
    for number, lane in enumerate(Lane(*lane) for lane in lanes):
        bits, per_beat = lane.input
        common = {"datatype": f"UINT{bits}", "shape": [1, lane.elements]}
        given = make_descriptor(
            prefix=f"s_axis_{number}", direction="in", tensor=f"x{number}", elements_per_beat=per_beat, **common
        )
        inputs.append(given)
        text = [f"    wire [{given.payload_bits - 1}:0] in_data = s_axis_{number}_tdata[{given.payload_bits - 1}:0];"]
        text += [f"    wire in_valid = s_axis_{number}_tvalid;", "    wire in_ready;"]
        text += [f"    assign s_axis_{number}_tready = in_ready;"]
        for index, out_elements in enumerate(lane.outputs):
            taken = make_descriptor(
                prefix=f"m_axis_{len(outputs)}",
                direction="out",
                tensor=f"y{number}_{index}",
                elements_per_beat=out_elements,
                tlast=True,
                **common,
            )
            outputs.append(taken)
            name = taken.prefix
            text += [
                f"    wire [{taken.payload_bits - 1}:0] out{index}_data;",
                f"    wire out{index}_valid, out{index}_last;",
                f"    wire out{index}_ready = {name}_tready;",
                f"    assign {name}_tdata = {taken.tdata_bits}'(out{index}_data);",
                f"    assign {name}_tvalid = out{index}_valid;",
                f"    assign {name}_tlast = out{index}_last;",
            ]
        body += [f"  if (1) begin : gen_lane_{number}", *text, lane.text, "  end"]
    ports = ["  input  logic ap_clk", "  input  logic ap_rst_n"]
    ports += [line for stream in (*inputs, *outputs) for line in port_lines(stream)]
    top = "module bench (\n" + ",\n".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n"
    (directory / "bench.sv").write_text(top)
    names = []
    for source in sources:
        (directory / source.name).write_bytes(source.read_bytes())
        names.append(source.name)
    manifest = make_manifest(top="bench", sources=[*names, "bench.sv"], streams=[*inputs, *outputs])
    manifest.write(directory)
    return Component.read(directory)


@pytest.fixture
def check_lanes(tmp_path: Path, verilator: None) -> Callable[..., None]:
    """Return a function that simulates lanes under several gaps: every output has to repeat its lane's input."""
    from qonnx_core.eda.simulate import Simulator

    def check(lanes: list[tuple[object, ...]], sources: list[Path], frames: int = 60) -> None:
        lanes = [Lane(*lane) for lane in lanes]
        component = write_bench(tmp_path / "bench", lanes, sources)
        simulator = Simulator.build(component, tmp_path / "work")
        generator = np.random.default_rng(7)
        inputs = {
            f"s_axis_{number}": generator.integers(0, 2 ** lane.input[0], (frames, 1, lane.elements))
            for number, lane in enumerate(lanes)
        }
        for seed, (source_gap, sink_gap) in enumerate(((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4), (0.1, 0.9))):
            result = simulator.run(
                inputs,
                source_gap=source_gap,
                sink_gap=sink_gap,
                seed=seed,
                stall_cycles=2000,
                random_state=seed % 2 == 1,
            )
            output = 0
            for number, lane in enumerate(lanes):
                for _ in lane.outputs:
                    got = result.outputs[f"m_axis_{output}"]
                    assert (got == inputs[f"s_axis_{number}"]).all(), f"lane {number}, gaps {source_gap} {sink_gap}"
                    output += 1

    return check

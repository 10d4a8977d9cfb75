"""Stitching: what is inserted between components, what is refused, and that the result computes and is one file set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.stitch import stitch
from qonnx_core.eda.streams import Component, make_descriptor, make_manifest
from qonnx_core.errors import InvalidInput

MakeStage = Callable[..., Component]


def values(count: int, elements: int = 12) -> np.ndarray:
    """Return frames of 4-bit integers."""
    return np.random.default_rng(5).integers(0, 16, (count, 1, elements))


def chain(make_stage: MakeStage) -> list[Component]:
    """Return three components in a row with beats of 3, 4 and 4 elements."""
    return [
        make_stage("first", tensors=("x", "a"), per_beat=3, elements=12, data="~data & 16'h0fff"),
        make_stage("second", tensors=("a", "b"), per_beat=4, elements=12),
        make_stage("third", tensors=("b", "y"), per_beat=4, elements=12),
    ]


@pytest.mark.parametrize("depths", [None, {"a": 0, "b": 0}, {"a": 2, "b": 7}])
def test_a_chain_computes_what_its_parts_compute(
    verilator: None, make_stage: MakeStage, tmp_path: Path, depths: dict[str, int] | None
) -> None:
    design = stitch(chain(make_stage), tmp_path / "out", fifo_depths=depths)
    assert [(s.prefix, s.tensor, s.elements_per_beat) for s in design.manifest.streams] == [
        ("s_axis_0", "x", 3),
        ("m_axis_0", "y", 4),
    ]
    simulator = Simulator.build(design, tmp_path / "work")
    for gaps in ({}, {"source_gap": 0.4, "sink_gap": 0.4}):
        found = simulator.run({"s_axis_0": values(50)}, **gaps, stall_cycles=2000)  # type: ignore[arg-type]
        assert (found.outputs["m_axis_0"] == 15 - values(50)).all()


def test_the_order_of_the_components_does_not_matter(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    design = stitch(list(reversed(chain(make_stage))), tmp_path / "out", top="backwards")
    found = Simulator.build(design, tmp_path / "work").run({"s_axis_0": values(5)})
    assert (found.outputs["m_axis_0"] == 15 - values(5)).all()


def test_a_tensor_feeds_several_readers_and_a_port(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    parts = [
        make_stage("first", tensors=("x", "a"), per_beat=2, elements=12, data="~data"),
        make_stage("left", tensors=("a", "b"), per_beat=6, elements=12),
        make_stage("right", tensors=("a", "c"), per_beat=3, elements=12),
        make_stage("other", tensors=("x", "d"), per_beat=4, elements=12),
    ]
    design = stitch(parts, tmp_path / "out", outputs=["d", "a", "c", "b"])
    assert [(s.tensor, s.elements_per_beat) for s in design.manifest.outputs] == [
        *(("d", 4), ("a", 2), ("c", 3), ("b", 6)),
    ]
    simulator = Simulator.build(design, tmp_path / "work")
    for gap in (0.0, 0.5):
        found = simulator.run({"s_axis_0": values(30)}, source_gap=gap, sink_gap=gap, stall_cycles=2000)
        for prefix, expected in (("m_axis_0", values(30)), *((f"m_axis_{i}", 15 - values(30)) for i in (1, 2, 3))):
            assert (found.outputs[prefix] == expected).all(), prefix


def test_one_component_keeps_its_beats(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    part = make_stage(datatype="INT3", per_beat=3, elements=12)
    design = stitch([part], tmp_path / "out")
    assert design.manifest.sources == ["stage.sv", "stitched.sv"]
    ints = np.random.default_rng(0).integers(-4, 4, (4, 1, 12))
    result = Simulator.build(design, tmp_path / "work").run({"s_axis_0": ints})
    assert (result.outputs["m_axis_0"] == ints).all()


def test_a_design_is_complete_and_the_same_every_time(make_stage: MakeStage, tmp_path: Path) -> None:
    parts = chain(make_stage)
    made = [stitch(parts, tmp_path / name) for name in ("one", "two")]
    names = sorted(path.name for path in made[0].directory.iterdir())
    assert names == sorted([*made[0].manifest.sources, "manifest.json", "files.f"])
    for name in names:
        assert (made[0].directory / name).read_bytes() == (made[1].directory / name).read_bytes()
    assert (tmp_path / "one" / "files.f").read_text().split() == made[0].manifest.sources
    assert json.loads((tmp_path / "one" / "manifest.json").read_text())["top"] == "stitched"


def test_equal_files_are_taken_once_and_different_ones_refused(make_stage: MakeStage, tmp_path: Path) -> None:
    first = make_stage("first", tensors=("x", "a"), data_files={"w.hex": "0\n"})
    second = make_stage("second", tensors=("a", "y"), data_files={"w.hex": "0\n"})
    assert stitch([first, second], tmp_path / "out").manifest.data_files == ["w.hex"]
    (second.directory / "w.hex").write_text("1\n")
    with pytest.raises(InvalidInput, match=r"have the same name and different contents"):
        stitch([first, second], tmp_path / "again")


def test_a_module_in_two_files_is_refused(make_stage: MakeStage, tmp_path: Path) -> None:
    first = make_stage("first", tensors=("x", "a"))
    second = make_stage("second", tensors=("a", "y"))
    path = second.directory / "second.sv"
    path.write_text(path.read_text() + "module first; endmodule\n")
    with pytest.raises(InvalidInput, match=r"module first stands in first.sv and in second.sv"):
        stitch([first, second], tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"scale": "1/2"}}, r"a: first\.m_axis_0 and second\.s_axis_0 disagree: scale 1 against 1/2"),
        ({"grid": {"zero_point": 3}}, "zero_point 0 against 3"),
        ({"grid": {"offset": "1/3"}}, "offset 0 against 1/3"),
        ({"datatype": "INT4"}, "datatype UINT4 against INT4"),
        ({"elements": 16}, r"shape \[1, 8\] against \[1, 16\]"),
        ({"clock_ns": 5.0}, "different clocks"),
    ],
)
def test_different_grids_are_refused(
    make_stage: MakeStage, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    parts = [make_stage("first", tensors=("x", "a")), make_stage("second", tensors=("a", "y"), **change)]
    with pytest.raises(InvalidInput, match=message):
        stitch(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        ([("x", "a"), ("x", "a")], {}, "both p0 and p1 give it"),
        ([("b", "a"), ("a", "b")], {}, "feed each other in a ring"),
        ([("x", "a"), ("a", "y")], {"outputs": ["z"]}, "z is no tensor of a component"),
        ([("x", "a"), ("a", "y")], {"inputs": []}, "inputs are ; expected each of x once"),
        ([("x", "a"), ("a", "y")], {"fifo_depths": {"q": 3}}, "fifo_depths names q"),
        ([("x", "a"), ("a", "y")], {"fifo_depths": {"a": 1}}, "expected 0 for none, or at least 2"),
        ([("x", "a"), ("a", "y")], {"top": "a b"}, "expected a plain identifier such as 'a_b'"),
        ([("x", "a"), ("a", "y")], {"top": "p0"}, "brings its own p0.sv"),
        ([], {}, "found no components"),
    ],
)
def test_a_connection_that_makes_no_sense_is_refused(
    make_stage: MakeStage, tmp_path: Path, tensors: list[tuple[str, str]], options: dict[str, Any], message: str
) -> None:
    parts = [make_stage(f"p{index}", tensors=pair) for index, pair in enumerate(tensors)]
    with pytest.raises(InvalidInput, match=message):
        stitch(parts, tmp_path / "out", **options)


def test_hostile_tensor_names_stay_out_of_the_text(make_stage: MakeStage, tmp_path: Path) -> None:
    name = 'a\n*/ endmodule `include "/etc/passwd" //'
    parts = [make_stage("first", tensors=("x", name)), make_stage("second", tensors=(name, "y"))]
    design = stitch(parts, tmp_path / "out")
    assert "passwd" not in (design.directory / "stitched.sv").read_text()


ADDER = """module adder (
  input  logic ap_clk, input logic ap_rst_n,
  input  logic [7:0] s_axis_0_tdata, input logic s_axis_0_tvalid, output logic s_axis_0_tready,
  input  logic [7:0] s_axis_1_tdata, input logic s_axis_1_tvalid, output logic s_axis_1_tready,
  output logic [7:0] m_axis_0_tdata, output logic m_axis_0_tvalid, input logic m_axis_0_tready,
  output logic m_axis_0_tlast
);
  logic [2:0] beat;
  assign m_axis_0_tlast = beat == 7;
  assign s_axis_0_tready = ap_rst_n && !m_axis_0_tvalid && s_axis_1_tvalid;
  assign s_axis_1_tready = ap_rst_n && !m_axis_0_tvalid && s_axis_0_tvalid;
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin m_axis_0_tvalid <= 0; beat <= 0; end
    else if (s_axis_0_tready && s_axis_0_tvalid) begin
      m_axis_0_tvalid <= 1;
      m_axis_0_tdata <= 8'(s_axis_0_tdata[3:0] + s_axis_1_tdata[3:0]);
    end else if (m_axis_0_tready && m_axis_0_tvalid) begin m_axis_0_tvalid <= 0; beat <= beat + 1; end
  end
endmodule
"""


def test_a_residual_branch_does_not_deadlock(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    directory = tmp_path / "adder"
    directory.mkdir()
    (directory / "adder.sv").write_text(ADDER)
    common = {"shape": [1, 8], "elements_per_beat": 1}
    make_manifest(
        top="adder",
        sources=["adder.sv"],
        streams=[
            make_descriptor(prefix="s_axis_0", direction="in", tensor="a", datatype="UINT4", **common),
            make_descriptor(prefix="s_axis_1", direction="in", tensor="b", datatype="UINT4", **common),
            make_descriptor(prefix="m_axis_0", direction="out", tensor="y", datatype="UINT5", tlast=True, **common),
        ],
    ).write(directory)
    parts = [
        make_stage("first", tensors=("x", "a"), per_beat=8),
        make_stage("long", tensors=("a", "b"), per_beat=8, data="~data"),
        Component.read(directory),
    ]
    design = stitch(parts, tmp_path / "out")
    found = Simulator.build(design, tmp_path / "work").run({"s_axis_0": values(20, 8)}, sink_gap=0.3, stall_cycles=2000)
    assert (found.outputs["m_axis_0"] == 15).all()

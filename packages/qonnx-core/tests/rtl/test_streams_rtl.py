"""The library's stream modules under random gaps and back-pressure, and through synthesis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.streams import Component
from qonnx_core.eda.sv import rtl_library, rtl_source, rtl_sources
from qonnx_core.eda.synthesize import synthesize
from qonnx_core.errors import ToolFailed

Lane = tuple[tuple[int, int], tuple[int, ...], int, str]  # element bits and elements a beat, out, frame, text
WriteBench = Callable[..., Component]
SKID, FIFO, FORK, DWC = (rtl_source(f"stream_{name}") for name in ("skid", "fifo", "fork", "dwc"))


def lane_last(beats: int, index: int = 0) -> str:
    """Return text that marks the last beat of a frame by counting the beats of an output."""
    return f"""
    int unsigned beat{index}_q;
    assign out{index}_last = beat{index}_q == {beats - 1};
    always_ff @(posedge ap_clk)
      if (!ap_rst_n) beat{index}_q <= 0;
      else if (out{index}_valid && out{index}_ready) beat{index}_q <= out{index}_last ? 0 : beat{index}_q + 1;"""


def dwc_lane(bits: int, into: int, out: int, elements: int) -> Lane:
    """Return a lane with a width converter."""
    return (
        (bits, into),
        (out,),
        elements,
        f"""    stream_dwc #(.ElementBits({bits}), .InElements({into}), .OutElements({out}),
      .OutBeats({elements // out})) i_dwc (.clk_i(ap_clk), .rst_ni(ap_rst_n),
      .s_valid_i(in_valid), .s_ready_o(in_ready), .s_data_i(in_data),
      .m_valid_o(out0_valid), .m_ready_i(out0_ready), .m_data_o(out0_data), .m_last_o(out0_last));""",
    )


def fifo_lane(bits: int, depth: int) -> Lane:
    """Return a lane with a FIFO, frames of seven beats."""
    return (
        (bits, 1),
        (1,),
        7,
        f"""    stream_fifo #(.Width({bits}), .Depth({depth})) i_fifo (.clk_i(ap_clk), .rst_ni(ap_rst_n),
      .s_valid_i(in_valid), .s_ready_o(in_ready), .s_data_i(in_data),
      .m_valid_o(out0_valid), .m_ready_i(out0_ready), .m_data_o(out0_data));{lane_last(7)}""",
    )


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_a_width_converter_keeps_the_elements_in_order(check_lanes: Callable[..., None], bits: int) -> None:
    ratios = [(1, 1, 5), (1, 4, 8), (4, 1, 8), (3, 3, 9), (2, 8, 16), (8, 2, 16), (8, 4, 8), (2, 3, 6), (3, 2, 6)]
    ratios += [(6, 4, 24), (4, 6, 24), (49, 8, 392), (8, 49, 784), (10, 4, 20), (5, 7, 35), (16, 10, 80), (1, 10, 10)]
    check_lanes([dwc_lane(bits, *ratio) for ratio in ratios], [SKID, DWC], frames=20)


def test_a_fifo_of_any_depth_keeps_the_order(check_lanes: Callable[..., None]) -> None:
    lanes = [fifo_lane(bits, depth) for bits in (1, 13) for depth in (2, 3, 4, 5, 8, 17, 64, 100)]
    check_lanes(lanes, [SKID, FIFO], frames=200)


def test_a_register_slice_passes_everything_on(check_lanes: Callable[..., None]) -> None:
    text = """    stream_skid #(.Width(9)) i_skid (.clk_i(ap_clk), .rst_ni(ap_rst_n),
      .s_valid_i(in_valid), .s_ready_o(in_ready), .s_data_i(in_data),
      .m_valid_o(out0_valid), .m_ready_i(out0_ready), .m_data_o(out0_data));"""
    check_lanes([((9, 1), (1,), 5, text + lane_last(5))], [SKID])


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_a_fork_gives_every_word_to_every_output(check_lanes: Callable[..., None], outputs: int) -> None:
    join = ", ".join(reversed([f"out{index}_valid" for index in range(outputs)]))
    ready = ", ".join(reversed([f"out{index}_ready" for index in range(outputs)]))
    text = f"""    stream_fork #(.Width(6), .Outputs({outputs})) i_fork (.clk_i(ap_clk), .rst_ni(ap_rst_n),
      .s_valid_i(in_valid), .s_ready_o(in_ready), .s_data_i(in_data),
      .m_valid_o({{{join}}}), .m_ready_i({{{ready}}}), .m_data_o(out0_data));"""
    for index in range(1, outputs):
        text += f"\n    assign out{index}_data = out0_data;"
    for index in range(outputs):
        text += lane_last(4, index)
    check_lanes([((6, 1), (1,) * outputs, 4, text)], [SKID, FORK])


@pytest.mark.parametrize(
    ("lane", "cycles"),
    [
        (dwc_lane(4, 1, 1, 32), 32),
        (dwc_lane(4, 2, 8, 32), 16),
        (dwc_lane(4, 8, 2, 32), 16),
        (dwc_lane(4, 4, 2, 32), 16),
        (dwc_lane(4, 6, 4, 48), 12),
        (dwc_lane(4, 4, 6, 48), 12),
        (fifo_lane(4, 2), 7),
        (fifo_lane(4, 3), 7),
        (fifo_lane(4, 16), 7),
    ],
)
def test_a_module_runs_at_its_full_rate(
    tmp_path: Path, verilator: None, write_bench: WriteBench, lane: Lane, cycles: int
) -> None:
    component = write_bench(tmp_path / "bench", [lane], [SKID, DWC, FIFO])
    simulator = Simulator.build(component, tmp_path / "work")
    timing = simulator.measure({"s_axis_0": np.zeros((1, 1, lane[2]), np.int64)})
    assert timing.initiation_interval_cycles == cycles


@pytest.mark.parametrize(
    ("module", "parameters", "message"),
    [
        ("stream_fifo", {"Depth": 1}, "Depth is 1; expected at least 2"),
        ("stream_dwc", {"InElements": 3, "OutElements": 2, "OutBeats": 2}, "is no whole number of input beats of 3"),
        ("stream_fork", {"Outputs": 0}, "Outputs is 0; expected at least 1"),
    ],
)
def test_wrong_parameters_stop_elaboration(
    tmp_path: Path, verilator: None, write_bench: WriteBench, module: str, parameters: dict[str, int], message: str
) -> None:
    settings = ", ".join(f".{name}({value})" for name, value in parameters.items())
    text = f"    {module} #({settings}) i_wrong (.clk_i(ap_clk), .rst_ni(ap_rst_n));"
    component = write_bench(tmp_path / "bench", [((8, 1), (1,), 4, text)], [SKID, FIFO, FORK, DWC])
    with pytest.raises(ToolFailed, match=message):
        Simulator.build(component, tmp_path / "work")


@pytest.mark.parametrize("family", ["xc7", "ecp5"])
def test_the_modules_are_synthesizable(tmp_path: Path, yosys: None, write_bench: WriteBench, family: str) -> None:
    lanes = [fifo_lane(8, 17), dwc_lane(2, 6, 4, 12), dwc_lane(2, 2, 8, 16), dwc_lane(2, 8, 2, 16)]
    component = write_bench(tmp_path / "bench", lanes, [SKID, FIFO, DWC])
    found = synthesize(component, family, tmp_path / "work", timeout=300)
    assert 0 < found.lut < 600
    assert 0 < found.ff < 600
    assert found.dsp == 0
    assert (tmp_path / "work" / "yosys.log").stat().st_size > 0


def test_every_library_module_has_a_header_and_its_own_file() -> None:
    for path in sorted(rtl_library().glob("*.sv")):
        text = path.read_text()
        assert text.startswith("///"), path.name
        for word in ("Latency:", "Rate:", "Back-pressure:", "Reset"):
            assert word in text.split("module", 1)[0], f"{path.name}: {word}"
        assert f"\nmodule {path.stem} " in text


def test_library_sources_come_with_the_modules_they_use() -> None:
    assert [path.stem for path in rtl_sources("stream_dwc", "stream_fork")] == [
        "stream_skid",
        "stream_dwc",
        "stream_fork",
    ]
    assert [path.stem for path in rtl_sources("stream_skid")] == ["stream_skid"]

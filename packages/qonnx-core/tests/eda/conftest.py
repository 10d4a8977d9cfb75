"""Small hand-written components, good and faulty, that the tests of the hardware tools drive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qonnx_core.eda.streams import Component, make_descriptor, make_manifest

STAGE = """module {top} (
  input  logic ap_clk,
  input  logic ap_rst_n,
  input  logic [{wide}:0] s_axis_0_tdata,
  input  logic s_axis_0_tvalid,
  output logic s_axis_0_tready,
  output logic [{wide}:0] m_axis_0_tdata,
  output logic m_axis_0_tvalid,
  input  logic m_axis_0_tready,
  output logic m_axis_0_tlast
);
  logic [15:0] beat;
  logic full, hidden;
  logic [{wide}:0] data;
{extra}
  assign s_axis_0_tready = {ready};
  assign m_axis_0_tvalid = {valid};
  assign m_axis_0_tdata = {data};
  assign m_axis_0_tlast = {last};
  always_ff @(posedge ap_clk) begin
    hidden <= !hidden;
    if (!ap_rst_n) begin
      full <= {full_in_reset};
      beat <= 0;
      hidden <= 0;
    end else begin
      if (s_axis_0_tvalid && s_axis_0_tready) begin
        full <= 1;
        data <= s_axis_0_tdata;
      end else if (m_axis_0_tready && m_axis_0_tvalid) begin
        full <= 0;
      end
      if (m_axis_0_tready && m_axis_0_tvalid) beat <= (beat == {beats} - 1) ? 0 : beat + 1;
    end
  end
endmodule
"""

GOOD = {
    "extra": "",
    "ready": "ap_rst_n && !full",
    "valid": "full",
    "data": "data",
    "last": "beat == {beats} - 1",
    "full_in_reset": "0",
}


@pytest.fixture
def make_stage(tmp_path: Path) -> Callable[..., Component]:
    """Return a function that writes a one-register component, with some of its expressions replaced."""

    def make(
        top: str = "stage",
        *,
        tensors: tuple[str, str] = ("x", "y"),
        datatype: str = "UINT4",
        per_beat: int = 2,
        elements: int = 8,
        grid: dict[str, object] | None = None,
        data_files: dict[str, str] | None = None,
        clock_ns: float = 10.0,
        **replaced: str,
    ) -> Component:
        common = {"datatype": datatype, "shape": [1, elements], "elements_per_beat": per_beat, **(grid or {})}
        given = make_descriptor(prefix="s_axis_0", direction="in", tensor=tensors[0], **common)
        taken = make_descriptor(prefix="m_axis_0", direction="out", tensor=tensors[1], tlast=True, **common)
        parts = {name: text.replace("{beats}", str(given.beats)) for name, text in {**GOOD, **replaced}.items()}
        directory = tmp_path / top
        directory.mkdir()
        text = STAGE.format(top=top, wide=given.tdata_bits - 1, beats=given.beats, **parts)
        (directory / f"{top}.sv").write_text(text)
        for name, content in (data_files or {}).items():
            (directory / name).write_text(content)
        make_manifest(
            top=top,
            sources=[f"{top}.sv"],
            data_files=sorted(data_files or {}),
            clock_ns=clock_ns,
            streams=[given, taken],
        ).write(directory)
        return Component.read(directory)

    return make

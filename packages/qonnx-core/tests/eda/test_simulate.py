"""The simulation harness: what it measures, and each fault that it finds in a design."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qonnx_core.eda.simulate import Simulator
from qonnx_core.eda.streams import Component
from qonnx_core.errors import InvalidInput, StreamFault, ToolFailed

MakeStage = Callable[..., Component]


def frames(count: int, elements: int = 8) -> dict[str, np.ndarray]:
    """Return frames of 4-bit integers."""
    return {"s_axis_0": np.random.default_rng(3).integers(0, 16, (count, 1, elements))}


def build(make_stage: MakeStage, tmp_path: Path, **replaced: str) -> Simulator:
    """Return a simulator of the small component with some of its text replaced."""
    return Simulator.build(make_stage(**replaced), tmp_path / "work")


def test_frames_come_out_with_latency_and_interval(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    simulator = build(make_stage, tmp_path)
    inputs = frames(30)
    calls: list[tuple[int, int]] = []
    result = simulator.run(inputs, progress=lambda done, all_frames: calls.append((done, all_frames)))
    assert (result.outputs["m_axis_0"] == inputs["s_axis_0"]).all()
    assert result.latency_cycles == 7  # four beats, each taken one cycle and given the next
    assert result.initiation_interval_cycles == 8
    assert result.cycles == 30 * 8
    assert calls[-1] == (30, 30)
    assert simulator.run(frames(10)).initiation_interval_cycles is None
    assert simulator.measure(frames(1)).initiation_interval_cycles == 8


def test_gaps_are_repeated_by_their_seed(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    simulator = build(make_stage, tmp_path)
    inputs = frames(200)
    cycles = [simulator.run(inputs, source_gap=0.4, sink_gap=0.4, seed=seed).cycles for seed in (1, 1, 2)]
    assert cycles[0] == cycles[1] != cycles[2]
    assert cycles[0] > 200 * 8


def test_the_same_sources_are_compiled_once(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    component = make_stage()
    first = Simulator.build(component, tmp_path / "work")
    stamp = first.library.stat().st_mtime_ns
    again = Simulator.build(component, tmp_path / "work")
    assert again.library == first.library
    assert again.library.stat().st_mtime_ns == stamp
    assert sorted(path.suffix for path in (tmp_path / "work").iterdir()) == [".log", ".log", ".so"]
    (component.directory / "stage.sv").write_text((component.directory / "stage.sv").read_text() + "// other\n")
    assert Simulator.build(component, tmp_path / "work").library != first.library


def test_a_cache_that_cannot_be_written_is_done_without(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    simulator = Simulator.build(make_stage(), tmp_path / "work", cache=tmp_path / "file" / "cache")
    assert (simulator.run(frames(2)).outputs["m_axis_0"] == frames(2)["s_axis_0"]).all()


def test_a_vcd_is_written_on_request(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    component = make_stage()
    simulator = Simulator.build(component, tmp_path / "work", trace=True)
    simulator.run(frames(2), vcd=tmp_path / "waves" / "run.vcd")
    text = (tmp_path / "waves" / "run.vcd").read_text()
    assert "s_axis_0_tdata" in text
    with pytest.raises(InvalidInput, match="Build it with trace=True"):
        Simulator.build(component, tmp_path / "work").run(frames(1), vcd=tmp_path / "no.vcd")


def test_a_missing_reset_shows_from_a_random_state(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    extra = "  logic [3:0] twist; always_ff @(posedge ap_clk) if (&s_axis_0_tdata && beat == 99) twist <= 0;"
    simulator = build(make_stage, tmp_path, extra=extra, data="data ^ {twist, twist}")
    inputs = frames(2)
    wrong = 0
    for seed in range(8):
        plain = simulator.run(inputs, seed=seed)
        assert (plain.outputs["m_axis_0"] == inputs["s_axis_0"]).all()
        shaken = simulator.run(inputs, seed=seed, random_state=True)
        wrong += int((shaken.outputs["m_axis_0"] != inputs["s_axis_0"]).any())
    assert wrong >= 4


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"valid": "full && hidden"}, r"m_axis_0 \(y\) .*tvalid fell before the beat was taken"),
        ({"data": "hidden ? data : ~data"}, r"m_axis_0 \(y\) .*tdata or tlast changed"),
        ({"last": "0"}, r"m_axis_0 \(y\) .*frame 0, beat 3: tlast is low on the last beat"),
        ({"last": "beat[0]"}, r"m_axis_0 \(y\) .*frame 0, beat 1: tlast is high before the last beat"),
        ({"full_in_reset": "1"}, r"m_axis_0 \(y\) .*tvalid is high during reset"),
        ({"valid": "full || ap_rst_n"}, r"m_axis_0 \(y\) .*a beat came before any input beat of its frame"),
        ({"ready": "ap_rst_n && (!full || m_axis_0_tready)"}, r"s_axis_0 \(x\) .*tready depends on an output's tready"),
        ({"valid": "full && m_axis_0_tready"}, r"m_axis_0 \(y\) .*tvalid depends on an output's tready"),
        (
            {"ready": "!full && beat != 2 && ap_rst_n"},
            r"deadlock in cycle \d+, stalled: s_axis_0 \(x\), m_axis_0 \(y\)",
        ),
        ({"extra": "initial $finish;"}, "called .finish"),
        ({"extra": "always_ff @(posedge ap_clk) if (beat == 2) $stop;"}, "called .stop"),
    ],
)
def test_a_fault_is_found_and_its_stream_named(
    verilator: None, make_stage: MakeStage, tmp_path: Path, replaced: dict[str, str], message: str
) -> None:
    simulator = build(make_stage, tmp_path, **replaced)
    with pytest.raises(StreamFault, match=message):
        simulator.run(frames(40), sink_gap=0.3, stall_cycles=500)


def test_a_deadlock_says_how_far_each_stream_got(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    simulator = build(make_stage, tmp_path, ready="!full && beat != 2 && ap_rst_n")
    with pytest.raises(StreamFault) as caught:
        simulator.run(frames(2), stall_cycles=500)
    assert "s_axis_0 (x) took 0 frames and 2 of 4 beats, tvalid 1, tready 0" in str(caught.value)
    assert "m_axis_0 (y) gave 0 frames and 2 of 4 beats, tvalid 0, tready 1" in str(caught.value)


def test_too_many_beats_are_found(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    extra = "  logic [7:0] taken; always_ff @(posedge ap_clk) if (!ap_rst_n) taken <= 0; "
    extra += "else if (s_axis_0_tvalid && s_axis_0_tready) taken <= taken + 1;"
    simulator = build(make_stage, tmp_path, extra=extra, valid="full || taken == 8")
    with pytest.raises(StreamFault, match=r"m_axis_0 \(y\) .*more beats came than the frames have"):
        simulator.run(frames(2))


def test_set_padding_bits_are_found(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    component = make_stage(datatype="UINT3", data="data | 8'h80")
    with pytest.raises(StreamFault, match="set bits above the 6 bits"):
        Simulator.build(component, tmp_path / "work").run({"s_axis_0": np.zeros((1, 1, 8), np.int64)})


def test_a_cycle_limit_is_an_error(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(StreamFault, match="not done after max_cycles=50 cycles"):
        build(make_stage, tmp_path).run(frames(1000), max_cycles=50)


ROM = '  logic [7:0] rom [4]; initial $readmemh("rom.hex", rom, 0, 3);'


def test_a_memory_file_is_read_from_the_component(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    component = make_stage(extra=ROM, data="data ^ rom[1]", data_files={"rom.hex": "00\nff\n00\n00\n"})
    inputs = frames(3)
    result = Simulator.build(component, tmp_path / "work").run(inputs)
    assert (result.outputs["m_axis_0"] == 15 - inputs["s_axis_0"]).all()


def test_a_missing_memory_file_is_an_error(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    listed = make_stage("listed", extra=ROM, data_files={"rom.hex": "00\nff\n00\n00\n"})
    simulator = Simulator.build(listed, tmp_path / "work")
    (listed.directory / "rom.hex").unlink()
    with pytest.raises(InvalidInput, match=r"rom\.hex of the manifest is missing"):
        simulator.run(frames(1))
    with pytest.raises(InvalidInput, match=r"rom\.hex of the manifest is missing"):
        Simulator.build(listed, tmp_path / "work")
    unlisted = make_stage("unlisted", extra=ROM)
    with pytest.raises(StreamFault, match=r"readmem file not found.*List every memory file in data_files"):
        Simulator.build(unlisted, tmp_path / "work").run(frames(1))


def test_a_short_or_broken_memory_file_is_an_error(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    short = make_stage("short", extra=ROM, data_files={"rom.hex": "00\nff\n"})
    with pytest.raises(StreamFault, match=r"readmem file ended before"):
        Simulator.build(short, tmp_path / "work").run(frames(1))
    broken = make_stage("broken", extra=ROM, data_files={"rom.hex": "00\nzebra\n"})
    with pytest.raises(InvalidInput, match="word 1 is 'zebra'; expected hexadecimal"):
        Simulator.build(broken, tmp_path / "work")


def test_sources_that_do_not_compile_are_an_error(verilator: None, make_stage: MakeStage, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=r"(?s)Verilator: ended with exit code 1.*no_such_signal"):
        build(make_stage, tmp_path, data="no_such_signal")


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ({"s_axis_1": np.zeros((1, 8), np.int64)}, {}, "expected exactly .'s_axis_0'."),
        ({"s_axis_0": np.zeros((0, 8), np.int64)}, {}, "expected one number, at least 1"),
        ({"s_axis_0": np.full((1, 8), 16)}, {}, "expected 0 to 15 of UINT4"),
        ({"s_axis_0": np.zeros((1, 8), np.int64)}, {"sink_gap": 1.0}, "sink_gap: found 1.0"),
    ],
)
def test_wrong_inputs_are_refused(
    verilator: None,
    make_stage: MakeStage,
    tmp_path: Path,
    inputs: dict[str, np.ndarray],
    options: dict[str, float],
    message: str,
) -> None:
    with pytest.raises(InvalidInput, match=message):
        build(make_stage, tmp_path).run(inputs, **options)  # type: ignore[arg-type]

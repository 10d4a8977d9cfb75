"""The AXI4-Stream component around a pipeline: beats, the thin generated top module, files and manifest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from backend_hls4ml.options import Options
from backend_hls4ml.pipeline import Element, Pipeline, licence_notice, verilog
from qonnx_core.eda.streams import Component, StreamDescriptor, make_manifest, stream_descriptor
from qonnx_core.eda.sv import rtl_sources
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.passes.streamline import Port


LIBRARY = ("frame_source", "frame_sink")
"""The hand-written modules of this package that every component instantiates."""


def choose_elements_per_beat(port: Port, bits: int, wanted: int, max_beat_bits: int) -> int:
    """Return the elements of a beat: the wanted number, or the largest divisor of the frame within ``max_beat_bits``.

    Raises:
        InvalidInput: if the wanted number does not divide the frame; the message lists the divisors.
    """
    elements = 1
    for size in port.shape:
        elements *= size
    divisors = [n for n in range(1, elements + 1) if elements % n == 0]
    if wanted:
        if wanted not in divisors:
            raise InvalidInput(
                f"{port.tensor}: elements_per_beat is {wanted}; it has to divide the {elements} elements of a frame: "
                f"one of {', '.join(map(str, divisors))}."
            )
        return wanted
    return max([n for n in divisors if n * bits <= max_beat_bits], default=1)


def describe_streams(
    inputs: Sequence[Port], outputs: Sequence[Port], options: Options
) -> tuple[list[StreamDescriptor], list[StreamDescriptor]]:
    """Return the descriptors of all input and of all output streams."""

    def describe(port: Port, number: int, *, is_input: bool) -> StreamDescriptor:
        prefix, direction = (f"s_axis_{number}", "in") if is_input else (f"m_axis_{number}", "out")
        single = stream_descriptor(prefix, direction, port, 1)  # type: ignore[arg-type]
        wanted = options.input_elements_per_beat if is_input else options.output_elements_per_beat
        per_beat = choose_elements_per_beat(port, single.wire.bits, wanted, options.max_beat_bits)
        return stream_descriptor(prefix, direction, port, per_beat)  # type: ignore[arg-type]

    return (
        [describe(port, number, is_input=True) for number, port in enumerate(inputs)],
        [describe(port, number, is_input=False) for number, port in enumerate(outputs)],
    )


def interval_cycles(inputs: Sequence[StreamDescriptor], outputs: Sequence[StreamDescriptor]) -> int:
    """Return the cycles between frames in steady state: the longest frame of any stream."""
    return max(stream.beats for stream in (*inputs, *outputs))


def sink_depth(stages: int, interval: int) -> int:
    """Return how many frames a sink holds: enough for one frame per interval while credits travel around the loop.

    A credit is out for ``stages + 3`` cycles: through the pipeline, through the memory, back to the counter.
    """
    return max(3, -(-(stages + 3) // interval) + (interval > 1))


def latency_cycles(pipeline: Pipeline, inputs: Sequence[StreamDescriptor], outputs: Sequence[StreamDescriptor]) -> int:
    """Return the cycles from the first input beat to the last output beat of a frame, the pipeline empty."""
    gather = max(stream.beats for stream in inputs)
    send = max(stream.beats if stream.beats > 1 else 0 for stream in outputs)
    return gather + pipeline.stages + 2 + send


def write_component(
    pipeline: Pipeline,
    inputs: Sequence[StreamDescriptor],
    outputs: Sequence[StreamDescriptor],
    out: Path,
    top: str,
    clock_ns: float,
) -> Component:
    """Write sources, licence and manifest into ``out`` and return the component; the same bytes every time."""
    out.mkdir(parents=True, exist_ok=True)
    core = f"{top}_pipeline"
    texts = {f"{core}.v": verilog(pipeline, core, top), f"{top}.sv": top_module(pipeline, inputs, outputs, top)}
    for name, text in {**texts, **licence_notice()}.items():
        (out / name).write_text(text, encoding="utf-8")
    sources = []
    for path in (*rtl_sources("stream_fifo"), *rtl_sources(*LIBRARY, package="backend_hls4ml")):
        shutil.copyfile(path, out / path.name)
        sources.append(path.name)
    manifest = make_manifest(
        top=top,
        sources=[*sources, *texts],
        clock_ns=clock_ns,
        streams=[*inputs, *outputs],
    )
    manifest.write(out)
    return Component(out, manifest)


def top_module(
    pipeline: Pipeline, inputs: Sequence[StreamDescriptor], outputs: Sequence[StreamDescriptor], top: str
) -> str:
    """Return the top module: sources, pipeline and sinks wired together."""
    interval = interval_cycles(inputs, outputs)
    ports = ["input  logic ap_clk", "input  logic ap_rst_n"]
    body: list[str] = [
        f"  logic [{pipeline.input_bits - 1}:0] model_inp;",
        f"  logic [{pipeline.output_bits - 1}:0] model_out;",
        f"  logic [{len(inputs) - 1}:0] frame_valid;",
        f"  logic [{len(outputs) - 1}:0] credit;",
        "  logic start;",
    ]
    for number, stream in enumerate(inputs):
        ports += [
            f"input  logic [{stream.tdata_bits - 1}:0] {stream.prefix}_tdata",
            f"input  logic {stream.prefix}_tvalid",
            f"output logic {stream.prefix}_tready",
        ]
        body.append(f"  logic [{stream.elements * stream.wire.bits - 1}:0] frame_in_{number};")
    for number, stream in enumerate(outputs):
        ports += [
            f"output logic [{stream.tdata_bits - 1}:0] {stream.prefix}_tdata",
            f"output logic {stream.prefix}_tvalid",
            f"input  logic {stream.prefix}_tready",
            f"output logic {stream.prefix}_tlast",
        ]
        body += [
            f"  logic [{stream.elements * stream.wire.bits - 1}:0] frame_out_{number};",
            f"  logic [{stream.payload_bits - 1}:0] beat_{number};",
        ]
    body += ["", "  assign start = (&frame_valid) && (&credit);", ""]
    for number, stream in enumerate(inputs):
        body += _source(number, stream)
        body += _gather(number, stream, pipeline.inputs[number])
    body += [
        "",
        f"  {top}_pipeline u_pipeline (.clk(ap_clk), .model_inp(model_inp), .model_out(model_out));",
        "",
    ]
    for number, stream in enumerate(outputs):
        body += _scatter(number, stream, pipeline.outputs[number])
        body += _sink(number, stream, pipeline.stages, sink_depth(pipeline.stages, interval))
    cycles = latency_cycles(pipeline, inputs, outputs)
    lines = [
        f"/// AXI4-Stream wrapper of a distributed-arithmetic pipeline of {pipeline.stages} stages.",
        f"/// Latency: {cycles} cycles, first beat in to last beat out. Rate: one frame in {interval} cycles.",
        "/// Back-pressure: by credits; a frame starts only while every output has a free place for it.",
        f"module {top} (",
        ",\n".join(f"  {port}" for port in ports),
        ");",
        *body,
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _source(number: int, stream: StreamDescriptor) -> list[str]:
    return [
        f"  frame_source #(.BeatWidth({stream.payload_bits}), .Beats({stream.beats})) u_source_{number} (",
        "    .clk_i(ap_clk),",
        "    .rst_ni(ap_rst_n),",
        f"    .valid_i({stream.prefix}_tvalid),",
        f"    .ready_o({stream.prefix}_tready),",
        f"    .data_i({stream.prefix}_tdata[{stream.payload_bits - 1}:0]),",
        f"    .frame_valid_o(frame_valid[{number}]),",
        "    .frame_take_i(start),",
        f"    .frame_o(frame_in_{number})",
        "  );",
    ]


def _sink(number: int, stream: StreamDescriptor, stages: int, depth: int) -> list[str]:
    return [
        f"  frame_sink #(.Latency({stages}), .Depth({depth}), .BeatWidth({stream.payload_bits}), "
        f".Beats({stream.beats})) u_sink_{number} (",
        "    .clk_i(ap_clk),",
        "    .rst_ni(ap_rst_n),",
        "    .start_i(start),",
        f"    .credit_o(credit[{number}]),",
        f"    .frame_i(frame_out_{number}),",
        f"    .valid_o({stream.prefix}_tvalid),",
        f"    .ready_i({stream.prefix}_tready),",
        f"    .data_o(beat_{number}),",
        f"    .last_o({stream.prefix}_tlast)",
        "  );",
        f"  assign {stream.prefix}_tdata = {stream.tdata_bits}'(beat_{number});",
    ]


def _gather(number: int, stream: StreamDescriptor, elements: Sequence[Element]) -> list[str]:
    """Wires from a frame into the packed input: of each element the bits that the pipeline reads, in runs."""
    bits = stream.wire.bits
    runs: list[list[int]] = []  # [position, frame bit, width]
    for i, element in enumerate(elements):
        if element.width == 0:
            continue
        source = i * bits + element.low_bit
        if runs and runs[-1][0] + runs[-1][2] == element.position and runs[-1][1] + runs[-1][2] == source:
            runs[-1][2] += element.width
        else:
            runs.append([element.position, source, element.width])
    return [
        f"  assign model_inp[{position} +: {width}] = frame_in_{number}[{source} +: {width}];"
        for position, source, width in runs
    ]


def _scatter(number: int, stream: StreamDescriptor, elements: Sequence[Element]) -> list[str]:
    """Wires from the packed output to a frame: each element extended to the bits of its data type."""
    bits = stream.wire.bits
    return [
        f"  assign frame_out_{number}[{i * bits} +: {bits}] = {_extended(element, bits)};"
        for i, element in enumerate(elements)
    ]


def _extended(element: Element, bits: int) -> str:
    if element.constant is not None:
        return f"{bits}'d{element.constant % (1 << bits)}"
    low_bit, position, width = element.low_bit, element.position, element.width
    if low_bit < 0:  # fraction bits of an integer are zero
        position, width, low_bit = position - low_bit, width + low_bit, 0
    taken = min(width, bits - low_bit)
    above = bits - low_bit - taken
    pieces = [f"model_out[{position} +: {taken}]"]
    if above > 0:
        top_bit = f"model_out[{element.position + element.width - 1}]" if element.signed else "1'b0"
        pieces.insert(0, f"{{{above}{{{top_bit}}}}}")
    if low_bit > 0:
        pieces.append(f"{low_bit}'d0")
    return pieces[0] if len(pieces) == 1 else f"{{{', '.join(pieces)}}}"


def package_file(folder: str, name: str) -> Path:
    """Return the path of a file that ships in this package."""
    return Path(str(resources.files("backend_hls4ml"))) / folder / name

"""Writing a design: the generated top, the library modules it instantiates, memory files, manifest, reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from backend_finn.folding import positional_names
from backend_finn.graph import port_wire
from backend_finn.kernels import AddStreams, Kernel
from backend_finn.kernels.base import Literal
from backend_finn.plan import MIN_DEPTH, FinnDesign, Link, input_lanes
from backend_finn.reports import write_reports
from qonnx_core.eda.streams import Component, StreamDescriptor, make_manifest, stream_descriptor
from qonnx_core.eda.sv import rtl_source, rtl_sources, sv_identifier, write_hex
from qonnx_core.errors import InvalidInput

Connections = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Stream:
    """A group of signals ``<name>_valid``, ``<name>_ready``, ``<name>_data`` of a top."""

    name: str
    bits: int
    data: str  # the signal of its data: its own, or that of the fork it comes from

    @property
    def owns_data(self) -> bool:
        """Whether its data has a signal of its own."""
        return self.data == f"{self.name}_data"

    def ports(self, prefix: str) -> Connections:
        """Return the connections of ports ``<prefix>_valid_x`` etc.; ``prefix`` ends in ``_i`` or ``_o``."""
        stem, direction = prefix.rsplit("_", 1)
        back = "o" if direction == "i" else "i"
        return (
            (f"{stem}_valid_{direction}", f"{self.name}_valid"),
            (f"{stem}_ready_{back}", f"{self.name}_ready"),
            (f"{stem}_data_{direction}", self.data),
        )


@dataclass(frozen=True)
class Instance:
    """An instance of a library module."""

    module: str
    name: str
    parameters: tuple[tuple[str, str], ...]
    connections: Connections
    comment: str = ""


@dataclass
class Netlist:
    """What the top is made of, gathered in the order in which data flows."""

    streams: list[Stream] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    inputs: list[Stream] = field(default_factory=list)  # of the ports, in port order
    outputs: list[Stream] = field(default_factory=list)
    core_modules: set[str] = field(default_factory=set)

    def stream(self, name: str, bits: int, data: str | None = None) -> Stream:
        """Return a new stream; ``data`` is the signal of its data if that is not its own."""
        made = Stream(name, bits, data or f"{name}_data")
        self.streams.append(made)
        return made

    def add(
        self,
        module: str,
        name: str,
        parameters: Iterable[tuple[str, Literal]],
        connections: Connections,
        comment: str = "",
    ) -> None:
        """Add an instance."""
        written = tuple((key, _literal(value)) for key, value in parameters)
        self.instances.append(Instance(module, name, written, connections, comment))

    def add_core(
        self, module: str, name: str, parameters: Iterable[tuple[str, Literal]], connections: Connections
    ) -> None:
        """Add an instance of a module of the core's library."""
        self.core_modules.add(module)
        self.add(module, name, parameters, connections)


def _literal(value: Literal) -> str:
    if isinstance(value, bool):
        return f"1'b{int(value)}"
    return str(value) if isinstance(value, int) else f'"{value}"'


def kernel_prefixes(kernels: Iterable[Kernel]) -> list[str]:
    """Return a short name of each kernel in generated text: ``mvau_0``, ``thresholding_0``, ..."""
    kernels = list(kernels)
    positions = positional_names(kernels)
    return [positions[kernel.name].lower() for kernel in kernels]


def descriptors(design: FinnDesign) -> list[StreamDescriptor]:
    """Return the streams of a design in port order, inputs first."""
    graph = design.graph
    lanes = {kernel.output.tensor: kernel.out_lanes for kernel in graph.kernels}
    inputs = [
        stream_descriptor(f"s_axis_{number}", "in", port, input_lanes(graph, tensor))
        for number, (port, tensor) in enumerate(zip(graph.inputs, graph.input_tensors, strict=True))
    ]
    outputs = [
        stream_descriptor(f"m_axis_{number}", "out", port, lanes.get(tensor) or input_lanes(graph, tensor))
        for number, (port, tensor) in enumerate(zip(graph.outputs, graph.output_tensors, strict=True))
    ]
    return inputs + outputs


def netlist(design: FinnDesign, top: str) -> Netlist:
    """Return the instances and streams of a design."""
    graph, net = design.graph, Netlist()
    prefixes = kernel_prefixes(graph.kernels)
    arriving: dict[tuple[int | None, int], Stream] = {}
    for number, (tensor, port) in enumerate(zip(graph.input_tensors, graph.inputs, strict=True)):
        bits = port_wire(port).bits * input_lanes(graph, tensor)
        source = net.stream(f"input_{number}", bits)
        net.inputs.append(source)
        _spread(net, f"input_{number}", source, design.links_of(tensor), arriving, direct=True)
    for index, (kernel, prefix) in enumerate(zip(graph.kernels, prefixes, strict=True)):
        operands = [arriving[index, operand] for operand in range(len(kernel.inputs))]
        source = _kernel(net, kernel, prefix, f"{top}_{prefix}", operands)
        _spread(net, prefix, source, design.links_of(kernel.output.tensor), arriving, direct=False)
    net.outputs = [arriving[None, number] for number in range(len(graph.outputs))]
    return net


def _kernel(net: Netlist, kernel: Kernel, prefix: str, files: str, operands: list[Stream]) -> Stream:
    """Add the chain of instances of a kernel and return its output stream."""
    comment = f"{kernel.op_type} {sv_identifier(kernel.name)}, " + ", ".join(
        f"{name} {value}" for name, value in kernel.folds.items()
    )
    if isinstance(kernel, AddStreams):
        connections: Connections = (*operands[0].ports("a_i"), *operands[1].ports("b_i"))
    else:
        connections = operands[0].ports("in_i")
    stream = operands[0]
    for number, stage in enumerate(kernel.stages(files)):
        stream = net.stream(prefix if number == 0 else f"{prefix}_{stage.module}", stage.out_bits)
        connections = (*connections, *stream.ports("out_o"))
        net.add(stage.module, f"i_{stream.name}", stage.parameters, connections, comment if number == 0 else "")
        connections = stream.ports("in_i")
    return stream


def _spread(
    net: Netlist,
    prefix: str,
    source: Stream,
    links: list[Link],
    arriving: dict[tuple[int | None, int], Stream],
    *,
    direct: bool,
) -> None:
    """Add what leads from a stream to its readers: a fork, FIFOs, width converters."""
    branches = [source]
    if len(links) > 1:
        data = f"{prefix}_branch_0_data"
        branches = [net.stream(f"{prefix}_branch_{number}", source.bits, data) for number in range(len(links))]
        names = [branch.name for branch in reversed(branches)]
        joined = tuple(
            (f"m_{signal}_{direction}", "{" + ", ".join(f"{name}_{signal}" for name in names) + "}")
            for signal, direction in (("valid", "o"), ("ready", "i"))
        )
        parameters = (("Width", source.bits), ("Outputs", len(links)))
        connections = (*source.ports("s_i"), *joined, ("m_data_o", data))
        net.add_core("stream_fork", f"i_{prefix}_fork", parameters, connections)
    for number, (link, branch) in enumerate(zip(links, branches, strict=True)):
        name = f"{prefix}_to_{number}"
        arriving[link.kernel, link.operand] = _link(net, name, branch, link, direct=direct and len(links) == 1)


def _link(net: Netlist, name: str, stream: Stream, link: Link, *, direct: bool) -> Stream:
    """Add the FIFO and the converter of one link and return what arrives."""
    converts = link.lanes_in != link.lanes_out or link.kernel is None
    if link.depth > MIN_DEPTH or not (converts or direct):
        held = net.stream(f"{name}_fifo", stream.bits)
        parameters = (("Width", stream.bits), ("Depth", link.depth))
        net.add_core("stream_fifo", f"i_{name}_fifo", parameters, (*stream.ports("s_i"), *held.ports("m_o")))
        stream = held
    if not converts:
        return stream
    out = net.stream(f"{name}_dwc", link.lanes_out * link.element_bits)
    last = f"m_axis_{link.operand}_tlast" if link.kernel is None else ""
    beats = link.elements // link.lanes_out
    net.add_core(
        "stream_dwc",
        f"i_{name}_dwc",
        (
            ("ElementBits", link.element_bits),
            ("InElements", link.lanes_in),
            ("OutElements", link.lanes_out),
            ("OutBeats", beats),
        ),
        (*stream.ports("s_i"), *out.ports("m_o"), ("m_last_o", last)),
    )
    return out


@dataclass(frozen=True)
class _Port:
    direction: str
    range: str
    name: str


def _ports(streams: Iterable[StreamDescriptor]) -> list[_Port]:
    """Return the AXI4-Stream ports of a top."""
    ports = []
    for stream in streams:
        forward, back = ("input ", "output") if stream.direction == "in" else ("output", "input ")
        ports.append(_Port(forward, f"[{stream.tdata_bits - 1}:0] ", f"{stream.prefix}_tdata"))
        ports.append(_Port(forward, "", f"{stream.prefix}_tvalid"))
        ports.append(_Port(back, "", f"{stream.prefix}_tready"))
        if stream.tlast:
            ports.append(_Port(forward, "", f"{stream.prefix}_tlast"))
    return ports


def top_text(design: FinnDesign, top: str, net: Netlist) -> str:
    """Return the SystemVerilog of the generated top."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("backend_finn"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined, autoescape=False,  # noqa: S701 - SystemVerilog, not HTML
    )  # fmt: skip
    streams = descriptors(design)
    inputs = [stream for stream in streams if stream.direction == "in"]
    outputs = [stream for stream in streams if stream.direction == "out"]
    return environment.get_template("top.sv.j2").render(
        top=top,
        cycles=design.cycles,
        ports=_ports(streams),
        streams=net.streams,
        instances=net.instances,
        inputs=[
            {"prefix": port.prefix, "stream": stream, "read": bool(design.links_of(tensor))}
            for port, stream, tensor in zip(inputs, net.inputs, design.graph.input_tensors, strict=True)
        ],
        outputs=[
            {"prefix": port.prefix, "stream": stream, "tdata_bits": port.tdata_bits}
            for port, stream in zip(outputs, net.outputs, strict=True)
        ],
    )


def emit_design(design: FinnDesign, out: Path, top: str) -> Component:
    """Write the component of a design into a directory: the same bytes every time.

    Beside what the manifest lists there are ``folding.json`` (FINN's form) and ``report/`` (FINN's estimates).

    Raises:
        InvalidInput: if ``top`` is no plain identifier.

    """
    if sv_identifier(top) != top:
        raise InvalidInput(f"top: found {top!r}; expected a plain identifier such as {sv_identifier(top)!r}.")
    out.mkdir(parents=True, exist_ok=True)
    net = netlist(design, top)
    ours = dict.fromkeys(module for kernel in design.graph.kernels for module in kernel.modules)
    paths = [*rtl_sources(*sorted(net.core_modules)), *(rtl_source(module, "backend_finn") for module in ours)]
    for path in paths:
        (out / path.name).write_bytes(path.read_bytes())
    (out / f"{top}.sv").write_text(top_text(design, top, net), encoding="utf-8")
    images = [
        image
        for kernel, prefix in zip(design.graph.kernels, kernel_prefixes(design.graph.kernels), strict=True)
        for image in kernel.images(f"{top}_{prefix}")
    ]
    for image in images:
        write_hex(out / image.file, image.words, image.width)
    manifest = make_manifest(
        top=top,
        sources=[*(path.name for path in paths), f"{top}.sv"],
        data_files=[image.file for image in images],
        clock_ns=float(design.target.clock_ns),
        streams=descriptors(design),
    )
    manifest.write(out)
    (out / "folding.json").write_text(design.folding.to_json(), encoding="utf-8")
    write_reports(design, out / "report")
    return Component(out, manifest)

"""Components become one design: outputs feed the inputs that carry the same tensor.

Everything between two components follows from their descriptors: a fork where a tensor has several readers, a width
converter where the beats differ, a FIFO. A connection whose grids differ is refused.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import networkx as nx

from qonnx_core.eda.streams import Component, Manifest, StreamDescriptor, make_descriptor, make_manifest
from qonnx_core.eda.sv import rtl_sources, sv_identifier
from qonnx_core.errors import InvalidInput

FILE_LIST = "files.f"
_FIFO_WORDS = 32
_LIBRARY = ("stream_fork", "stream_dwc", "stream_fifo")

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("qonnx_core.eda", "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - the text is SystemVerilog, made of checked identifiers and numbers
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class _End:
    """One end of a connection: a stream of a component, or of the design itself where ``component`` is None."""

    component: int | None
    stream: StreamDescriptor


@dataclass
class _Net:
    """A tensor on its way: where it comes from and who reads it."""

    tensor: str
    source: _End
    readers: list[_End] = field(default_factory=list)


@dataclass(frozen=True)
class _Block:
    module: str
    name: str
    parameters: tuple[tuple[str, int], ...]
    ports: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Signals:
    """The wires of one stream inside of the top: payload only, no padding."""

    name: str
    width: int

    @property
    def wires(self) -> list[str]:
        """The declarations."""
        return [
            f"{self.name}_valid",
            f"{self.name}_ready",
            f"{self.name}_last",
            f"[{self.width - 1}:0] {self.name}_data",
        ]


class _Text:
    """Collects the text of the top module."""

    def __init__(self) -> None:
        self.wires: list[str] = []
        self.assigns: list[tuple[str, str]] = []
        self.blocks: list[_Block] = []
        self.library: set[str] = set()

    def signals(self, name: str, width: int) -> _Signals:
        """Return declared wires of a new stream."""
        made = _Signals(name, width)
        self.wires += made.wires
        return made

    def library_block(self, module: str, name: str, parameters: Mapping[str, int], ports: Mapping[str, str]) -> None:
        """Add an instance of a library module."""
        self.library.add(module)
        clocked = (("clk_i", "ap_clk"), ("rst_ni", "ap_rst_n"), *ports.items())
        self.blocks.append(_Block(module, name, tuple(parameters.items()), clocked))


def stitch(
    components: Sequence[Component],
    out: Path,
    *,
    top: str = "stitched",
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    fifo_depths: Mapping[str, int] | None = None,
) -> Component:
    """Write one design of several components into ``out`` and return it; the same components give the same bytes.

    An output stream feeds every input stream of the same ``tensor``. Input tensors that no component gives and output
    tensors that none reads become ports, in the order of ``inputs`` and ``outputs`` (default: order of the components);
    a tensor in ``outputs`` becomes a port even if a component reads it. ``fifo_depths`` gives words by tensor, 0 for no
    FIFO; by default one frame, at most 32 words, or a whole frame for each of several readers.

    Raises:
        InvalidInput: if grids differ, a tensor has two sources, components form a ring, files or modules collide, or a
            name is unknown.

    """
    if not components:
        raise InvalidInput(f"{top}: found no components; expected at least one.")
    for component in components:
        component.check_files()
    clock_ns = _common_clock(top, components)
    nets = _connect(top, components, inputs, outputs)
    depths = dict(fifo_depths or {})
    if unknown := sorted(set(depths) - {net.tensor for net in nets}):
        known = ", ".join(net.tensor for net in nets)
        raise InvalidInput(f"{top}: fifo_depths names {', '.join(unknown)}; expected tensors of the design: {known}.")
    for tensor, depth in depths.items():
        if depth < 0 or depth == 1:
            raise InvalidInput(f"{top}: fifo_depths of {tensor} is {depth}; expected 0 for none, or at least 2.")

    ports = [net.source.stream for net in nets if net.source.component is None]
    ports = sorted(ports, key=lambda stream: int(stream.prefix.rsplit("_", 1)[1]))
    ends = [reader.stream for net in nets for reader in net.readers if reader.component is None]
    ports += sorted(ends, key=lambda stream: int(stream.prefix.rsplit("_", 1)[1]))

    text = _Text()
    for index, net in enumerate(nets):
        _write_net(text, index, net, depths.get(net.tensor))
    for index, component in enumerate(components):
        text.blocks.append(_instance(index, component.manifest, nets))
    rendered = _TEMPLATES.get_template("stitched.sv.j2").render(
        top=top,
        summary=f"Connects {len(components)} component{'s' if len(components) > 1 else ''}: "
        + ", ".join(component.manifest.top for component in components)
        + ".",
        ports=_port_lines(ports),
        wires=text.wires,
        assigns=text.assigns,
        blocks=text.blocks,
    )
    library = rtl_sources(*sorted(text.library))
    return _write(components, library, out, top, rendered, ports, clock_ns)


def _common_clock(top: str, components: Sequence[Component]) -> float:
    clocks = {component.manifest.top: component.manifest.clock_ns for component in components}
    if len(set(clocks.values())) > 1:
        listed = ", ".join(f"{name} {clock} ns" for name, clock in clocks.items())
        raise InvalidInput(
            f"{top}: found different clocks ({listed}); expected one. Plan all parts for the same target."
        )
    return components[0].manifest.clock_ns


def _connect(
    top: str, components: Sequence[Component], inputs: Sequence[str] | None, outputs: Sequence[str] | None
) -> list[_Net]:
    """Return every tensor's connection, ports of the design included."""
    nets: dict[str, _Net] = {}
    for index, component in enumerate(components):
        for stream in component.manifest.outputs:
            if stream.tensor in nets:
                other = nets[stream.tensor].source.component
                assert other is not None
                raise InvalidInput(
                    f"{stream.tensor}: both {components[other].manifest.top} and {component.manifest.top} give it; "
                    "expected one source. Rename one of the tensors."
                )
            nets[stream.tensor] = _Net(stream.tensor, _End(index, stream))
    open_readers: dict[str, list[_End]] = {}
    for index, component in enumerate(components):
        for stream in component.manifest.inputs:
            reader = _End(index, stream)
            if stream.tensor in nets:
                nets[stream.tensor].readers.append(reader)
            else:
                open_readers.setdefault(stream.tensor, []).append(reader)
    _refuse_rings(top, components, nets.values())

    for position, tensor in enumerate(_ordered(top, "inputs", list(open_readers), inputs)):
        readers = open_readers[tensor]
        port = _port("s", position, readers[0].stream, tlast=any(reader.stream.tlast for reader in readers))
        nets[tensor] = _Net(tensor, _End(None, port), readers)
    unread = [net.tensor for net in nets.values() if not net.readers]
    for position, tensor in enumerate(_ordered(top, "outputs", unread, outputs, extra=set(nets) - set(open_readers))):
        port = _port("m", position, nets[tensor].source.stream, tlast=True)
        nets[tensor].readers.append(_End(None, port))
    for net in nets.values():
        for reader in net.readers:
            if difference := net.source.stream.grid_difference(reader.stream):
                raise InvalidInput(
                    f"{net.tensor}: {_name(components, net.source)} and {_name(components, reader)} disagree: "
                    f"{difference}; expected the same grid and shape on both sides. Give both parts the same grid."
                )
    return list(nets.values())


def _name(components: Sequence[Component], end: _End) -> str:
    owner = "the design" if end.component is None else components[end.component].manifest.top
    return f"{owner}.{end.stream.prefix}"


def _ordered(
    top: str, kind: str, found: list[str], wanted: Sequence[str] | None, extra: Iterable[str] = ()
) -> list[str]:
    if wanted is None:
        return found
    allowed = {*found, *extra}
    missing, unknown = sorted(set(found) - set(wanted)), sorted(set(wanted) - allowed)
    if missing or unknown or len(set(wanted)) != len(wanted):
        raise InvalidInput(
            f"{top}: {kind} are {', '.join(wanted)}; expected each of {', '.join(sorted(found))} once"
            + (f", {', '.join(unknown)} is no tensor of a component." if unknown else ".")
        )
    return list(wanted)


def _port(letter: str, position: int, stream: StreamDescriptor, *, tlast: bool) -> StreamDescriptor:
    fields = stream.model_dump()
    fields.update(prefix=f"{letter}_axis_{position}", direction="in" if letter == "s" else "out", tlast=tlast)
    return make_descriptor(**fields)


def _refuse_rings(top: str, components: Sequence[Component], nets: Iterable[_Net]) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    for net in nets:
        graph.add_edges_from((net.source.component, reader.component) for reader in net.readers)
    try:
        ring = nx.find_cycle(graph)
    except nx.NetworkXNoCycle:
        return
    names = ", ".join(components[edge[0]].manifest.top for edge in ring)
    raise InvalidInput(f"{top}: the components {names} feed each other in a ring; expected parts without a way back.")


def _port_lines(ports: Sequence[StreamDescriptor]) -> list[str]:
    lines = ["input  wire ap_clk", "input  wire ap_rst_n"]
    for stream in ports:
        forward, back = ("input ", "output") if stream.direction == "in" else ("output", "input ")
        lines += [
            f"{forward} wire [{stream.tdata_bits - 1}:0] {stream.prefix}_tdata",
            f"{forward} wire {stream.prefix}_tvalid",
            f"{back} wire {stream.prefix}_tready",
        ]
        if stream.tlast:
            lines.append(f"{forward} wire {stream.prefix}_tlast")
    return lines


def _source_name(index: int) -> str:
    return f"net{index}"


def _reader_name(index: int, branch: int) -> str:
    return f"net{index}_to{branch}"


def _write_net(text: _Text, index: int, net: _Net, depth: int | None) -> None:
    """Add what stands between the source of a tensor and its readers."""
    stream = net.source.stream
    source = text.signals(_source_name(index), stream.payload_bits)
    if net.source.component is None:
        text.assigns += [
            (f"{source.name}_data", f"{stream.prefix}_tdata[{stream.payload_bits - 1}:0]"),
            (f"{source.name}_valid", f"{stream.prefix}_tvalid"),
            (f"{source.name}_last", f"{stream.prefix}_tlast" if stream.tlast else "1'b0"),
            (f"{stream.prefix}_tready", f"{source.name}_ready"),
        ]
    elif padding := stream.tdata_bits - stream.payload_bits:
        text.wires.append(f"[{padding - 1}:0] {source.name}_padding")
    branches = [source]
    if len(net.readers) > 1:
        branches = _write_fork(text, source, len(net.readers))
    for branch, (reader, begin) in enumerate(zip(net.readers, branches, strict=True)):
        inner = net.source.component is not None and reader.component is not None
        words = depth
        if words is None:
            beats = reader.stream.beats
            shared = len(net.readers) > 1
            words = max(2, beats + 2) if shared else max(2, min(_FIFO_WORDS, beats)) if inner else 0
        end = _write_way(text, begin, _reader_name(index, branch), stream, reader.stream, words)
        if reader.component is None:
            out = reader.stream
            text.assigns += [
                (f"{out.prefix}_tdata", f"{out.tdata_bits}'({end.name}_data)"),
                (f"{out.prefix}_tvalid", f"{end.name}_valid"),
                (f"{out.prefix}_tlast", f"{end.name}_last"),
                (f"{end.name}_ready", f"{out.prefix}_tready"),
            ]


def _write_fork(text: _Text, source: _Signals, count: int) -> list[_Signals]:
    branches = [text.signals(f"{source.name}_fork{branch}", source.width) for branch in range(count)]
    shared = f"{source.name}_forked"
    text.wires.append(f"[{source.width}:0] {shared}")
    reverse = list(reversed(branches))
    text.library_block(
        "stream_fork",
        f"i_{source.name}_fork",
        {"Width": source.width + 1, "Outputs": count},
        {
            "s_valid_i": f"{source.name}_valid",
            "s_ready_o": f"{source.name}_ready",
            "s_data_i": f"{{{source.name}_last, {source.name}_data}}",
            "m_valid_o": "{" + ", ".join(f"{branch.name}_valid" for branch in reverse) + "}",
            "m_ready_i": "{" + ", ".join(f"{branch.name}_ready" for branch in reverse) + "}",
            "m_data_o": shared,
        },
    )
    for branch in branches:
        text.assigns += [
            (f"{branch.name}_data", f"{shared}[{source.width - 1}:0]"),
            (f"{branch.name}_last", f"{shared}[{source.width}]"),
        ]
    return branches


def _write_way(
    text: _Text, begin: _Signals, name: str, source: StreamDescriptor, reader: StreamDescriptor, words: int
) -> _Signals:
    """Add width converter and FIFO of one branch and return the wires that reach its reader."""
    now = begin
    if source.elements_per_beat != reader.elements_per_beat:
        converted = text.signals(f"{name}_dwc", reader.payload_bits)
        text.library_block(
            "stream_dwc",
            f"i_{name}_dwc",
            {
                "ElementBits": reader.wire.bits,
                "InElements": source.elements_per_beat,
                "OutElements": reader.elements_per_beat,
                "OutBeats": reader.beats,
            },
            {
                "s_valid_i": f"{now.name}_valid",
                "s_ready_o": f"{now.name}_ready",
                "s_data_i": f"{now.name}_data",
                "m_valid_o": f"{converted.name}_valid",
                "m_ready_i": f"{converted.name}_ready",
                "m_data_o": f"{converted.name}_data",
                "m_last_o": f"{converted.name}_last",
            },
        )
        now = converted
    if words:
        stored = text.signals(f"{name}_fifo", reader.payload_bits)
        text.library_block(
            "stream_fifo",
            f"i_{name}_fifo",
            {"Width": reader.payload_bits + 1, "Depth": words},
            {
                "s_valid_i": f"{now.name}_valid",
                "s_ready_o": f"{now.name}_ready",
                "s_data_i": f"{{{now.name}_last, {now.name}_data}}",
                "m_valid_o": f"{stored.name}_valid",
                "m_ready_i": f"{stored.name}_ready",
                "m_data_o": f"{{{stored.name}_last, {stored.name}_data}}",
            },
        )
        now = stored
    end = text.signals(name, reader.payload_bits)
    text.assigns += [
        (f"{end.name}_data", f"{now.name}_data"),
        (f"{end.name}_valid", f"{now.name}_valid"),
        (f"{end.name}_last", f"{now.name}_last"),
        (f"{now.name}_ready", f"{end.name}_ready"),
    ]
    return end


def _instance(index: int, manifest: Manifest, nets: Sequence[_Net]) -> _Block:
    """Return the instance of a component, its streams connected to their nets."""
    ports: list[tuple[str, str]] = [(manifest.clock, "ap_clk"), (manifest.reset, "ap_rst_n")]
    numbers = {net.tensor: number for number, net in enumerate(nets)}
    for stream in manifest.streams:
        number = numbers[stream.tensor]
        if stream.direction == "in":
            branch = next(
                position
                for position, reader in enumerate(nets[number].readers)
                if reader.component == index and reader.stream.prefix == stream.prefix
            )
            name = _reader_name(number, branch)
            ports.append((f"{stream.prefix}_tdata", f"{stream.tdata_bits}'({name}_data)"))
        else:
            name = _source_name(number)
            padding = stream.tdata_bits - stream.payload_bits
            data = f"{name}_data"
            ports.append((f"{stream.prefix}_tdata", f"{{{name}_padding, {data}}}" if padding else data))
        ports += [(f"{stream.prefix}_tvalid", f"{name}_valid"), (f"{stream.prefix}_tready", f"{name}_ready")]
        if stream.tlast:
            ports.append((f"{stream.prefix}_tlast", f"{name}_last"))
    return _Block(manifest.top, f"i_part{index}", (), tuple(ports))


_MODULE = re.compile(r"^\s*(?:module|package|interface)\s+(?:automatic\s+|static\s+)?([A-Za-z_][A-Za-z0-9_$]*)", re.M)


def _write(
    components: Sequence[Component],
    library: Sequence[Path],
    out: Path,
    top: str,
    rendered: str,
    ports: Sequence[StreamDescriptor],
    clock_ns: float,
) -> Component:
    if sv_identifier(top) != top:
        raise InvalidInput(f"top: found {top!r}; expected a plain identifier such as {sv_identifier(top)!r}.")
    chosen: dict[str, Path] = {}
    sources: list[str] = []
    data_files: list[str] = []
    files = [(path, sources) for path in library]
    for component in components:
        files += [(path, sources) for path in component.source_paths]
        files += [(path, data_files) for path in component.data_paths]
    for path, names in files:
        if path.name not in chosen:
            chosen[path.name] = path
            names.append(path.name)
        elif chosen[path.name].read_bytes() != path.read_bytes():
            raise InvalidInput(
                f"{top}: {chosen[path.name]} and {path} have the same name and different contents; expected different "
                "names. Emit each component with its own top name as prefix."
            )
    for component in components:  # licences and notices go wherever the files go that they are about
        for pattern in ("LICENSE.*", "NOTICE.*"):
            for path in sorted(component.directory.glob(pattern)):
                chosen.setdefault(path.name, path)
    name = f"{top}.sv"
    if name in chosen:
        raise InvalidInput(f"{top}: a component brings its own {name}; expected another name. Choose another top.")
    _refuse_module_twice(top, rendered, {source: chosen[source] for source in sources})
    out.mkdir(parents=True, exist_ok=True)
    for file, path in chosen.items():
        if path.resolve() != (out / file).resolve():
            shutil.copyfile(path, out / file)
    (out / name).write_text(rendered, encoding="utf-8")
    sources.append(name)
    (out / FILE_LIST).write_text("".join(f"{source}\n" for source in sources), encoding="utf-8")
    manifest = make_manifest(top=top, sources=sources, data_files=data_files, clock_ns=clock_ns, streams=list(ports))
    manifest.write(out)
    return Component.read(out)


def _refuse_module_twice(top: str, rendered: str, sources: Mapping[str, Path]) -> None:
    defined = dict.fromkeys(_MODULE.findall(rendered), f"{top}.sv")
    for source, path in sources.items():
        for module in _MODULE.findall(path.read_text(encoding="utf-8", errors="replace")):
            if module in defined:
                raise InvalidInput(
                    f"{top}: module {module} stands in {defined[module]} and in {source}; expected each module once. "
                    "Emit each component with its own top name as prefix."
                )
            defined[module] = source

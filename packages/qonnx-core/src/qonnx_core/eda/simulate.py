"""Cycle-accurate simulation of a component: Verilator compiles it, one shared library drives all its streams.

Every run starts from a fresh design and its reset, so the same inputs and seed give the same cycles. The harness checks
the stream contract in every cycle; a breach raises `StreamFault` with the name of the stream.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from qonnx_core.eda.process import run_tool
from qonnx_core.eda.streams import Component, Manifest, StreamDescriptor, pack, padding_is_zero, unpack
from qonnx_core.eda.sv import check_hex
from qonnx_core.eda.tools import Verilator, find_compiler, find_verilator
from qonnx_core.errors import InvalidInput, StreamFault, ToolFailed

Progress = Callable[[int, int], None]
"""Called with (output frames done, frames) between stretches of simulation."""

STALL_CYCLES = 200_000
MIN_INTERVAL_FRAMES = 10
_PROBE_CYCLES = 512
_FIRST_STRETCH = 10_000
_STRETCH_SECONDS = 0.2
_MEMORY_SUFFIXES = frozenset({".hex", ".mem"})
_MODEL = "Vsim"

_VERILATOR_OPTIONS = [
    "--cc",
    "--no-timing",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "unique",
    "--noassert",
    "--output-split",
    "20000",
    "--output-split-cfuncs",
    "2000",
    "-Wno-fatal",
    "-Wno-WIDTH",
    "-Werror-USERERROR",
    "-Werror-USERFATAL",
]
_DEFINES = [
    "-DVERILATOR=1",
    "-DVM_COVERAGE=0",
    "-DVM_SC=0",
    "-DVM_TIMING=0",
    "-DVM_TRACE_FST=0",
    "-DVM_TRACE_SAIF=0",
    "-DVL_USER_WARN",
    "-DVL_USER_FATAL",
    "-DVL_USER_STOP",
]
_CXX_OPTIONS = "-O2 -march=native -std=c++17 -fPIC -fvisibility=hidden -w".split()  # noqa: SIM905 - read as a command line

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("qonnx_core.eda", "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - the text is C++, made of checked identifiers and numbers
    keep_trailing_newline=True,
)

_FAULTS = {
    2: "tvalid fell before the beat was taken; expected it to stay until tready",
    3: "tdata or tlast changed while tvalid waited for tready; expected both to stay",
    4: "tlast is low on the last beat of a frame; expected it high there",
    5: "tlast is high before the last beat of a frame; expected it on the last beat only",
    6: "tvalid is high during reset; expected no output before reset is done",
    7: "a beat came before any input beat of its frame; expected inputs first",
    8: "more beats came than the frames have; expected none after the last one",
    9: "tready depends on an output's tready within the same cycle; expected a register between",
    10: "tvalid depends on an output's tready within the same cycle; expected tvalid not to wait for tready",
    11: "the design called $finish; expected it to run on",
    12: "the simulator stopped",
    13: "the simulator warned",
}


@dataclass(frozen=True)
class SimulationResult:
    """What came out of a run, and when.

    ``latency_cycles``: from the first accepted input beat to the last output beat of frame 0, which meets an empty
    pipeline. ``initiation_interval_cycles``: mean distance of the frames' last output beats over the second half of the
    frames and at least ten; None for fewer than eleven frames. Both describe the design only in runs without gaps.
    """

    outputs: dict[str, npt.NDArray[np.int64]]
    cycles: int
    latency_cycles: int
    initiation_interval_cycles: float | None
    frame_cycles: npt.NDArray[np.int64] = field(repr=False)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Latency and initiation interval of a design, measured without gaps."""

    latency_cycles: int
    initiation_interval_cycles: float


def default_cache() -> Path:
    """Return the user's cache directory for compiled run-time objects."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "qonnx-core"


def _writable(cache: Path, otherwise: Path) -> Path:
    """Return the cache directory, or the other one where the cache cannot be written (a read-only home)."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise
    return cache if os.access(cache, os.W_OK) else otherwise


def _digest(*parts: str | bytes) -> str:
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "little") + raw)
    return state.hexdigest()[:24]


def _machine() -> str:
    """Return what -march=native depends on."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    flags = next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


@dataclass(frozen=True)
class _Compiler:
    path: Path
    verilator: Verilator
    trace: bool

    @property
    def options(self) -> list[str]:
        unique = ["-fno-gnu-unique"] if "clang" not in self.path.name else []
        trace = int(self.trace)
        include = self.verilator.include
        return [
            *(*_CXX_OPTIONS, *unique, *_DEFINES, f"-DVM_TRACE={trace}", f"-DVM_TRACE_VCD={trace}"),
            *(f"-I{include}", f"-I{include / 'vltstd'}"),
        ]

    @property
    def key(self) -> str:
        stat = self.path.resolve().stat()
        compiler = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        return _digest(compiler, _machine(), self.verilator.version, " ".join(self.options))

    def runtime_objects(self, cache: Path, timeout: float) -> list[Path]:
        """Return the compiled run-time of the simulator, from the cache where it is there."""
        names = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if self.trace else [])]
        home = cache / f"verilator-{self.key}"
        if not all((home / f"{name}.o").is_file() for name in names):
            with tempfile.TemporaryDirectory(dir=cache, prefix="verilator-") as made:
                for name in names:
                    source = self.verilator.include / f"{name}.cpp"
                    command: list[str | Path] = [self.path, *self.options, "-c", "-o", f"{name}.o", source]
                    run_tool(command, cwd=Path(made), log=Path(made) / f"{name}.log", timeout=timeout)
                home.mkdir(exist_ok=True)
                for name in names:
                    (Path(made) / f"{name}.o").replace(home / f"{name}.o")
        return [home / f"{name}.o" for name in names]


def _harness(manifest: Manifest) -> str:
    """Return the C++ text that drives the streams of a manifest."""
    positions = {"in": 0, "out": 0}
    rows: list[dict[str, object]] = []
    for index, stream in enumerate(manifest.streams):
        rows.append(
            {
                "index": index,
                "position": positions[stream.direction],
                "prefix": stream.prefix,
                "direction": stream.direction,
                "tdata_bits": stream.tdata_bits,
                "words_per_beat": stream.words_per_beat,
                "tlast": stream.tlast,
            }
        )
        positions[stream.direction] += 1
    return _TEMPLATES.get_template("harness.cc.j2").render(
        model=_MODEL,
        clock=manifest.clock,
        reset=manifest.reset,
        streams=rows,
        inputs=[row for row in rows if row["direction"] == "in"],
        outputs=[row for row in rows if row["direction"] == "out"],
    )


def check_component(component: Component) -> None:
    """Raise `InvalidInput` if a file is missing, a memory file is none, or there is no input or no output stream."""
    component.check_files()
    for path in component.data_paths:
        if path.suffix in _MEMORY_SUFFIXES:
            check_hex(path)
    if not component.manifest.inputs or not component.manifest.outputs:
        raise InvalidInput(f"{component.directory}: found no input or no output stream; expected at least one of each.")


class Simulator:
    """A compiled component; `build` makes one, `run` sends frames through it."""

    def __init__(self, component: Component, library: Path, *, trace: bool) -> None:
        self.component = component
        self.library = library
        self.trace = trace
        self._api = _load(library)

    @classmethod
    def build(
        cls,
        component: Component,
        workdir: Path,
        *,
        trace: bool = False,
        timeout: float = 900.0,
        cache: Path | None = None,
    ) -> Simulator:
        """Return a simulator of the component, compiled in ``workdir`` unless the same sources were compiled there.

        ``trace`` makes a build that can write a VCD (about four times slower to run).

        Raises:
            InvalidInput: if a file is missing, or a memory file is not one.
            ToolMissing: without Verilator or a C++ compiler.
            ToolFailed: if the sources do not compile, or not in ``timeout`` seconds.

        """
        check_component(component)
        verilator = find_verilator()
        compiler = _Compiler(find_compiler(), verilator, trace)
        harness = _harness(component.manifest)
        contents = [part for path in component.source_paths for part in (path.name, path.read_bytes())]
        options = " ".join(_VERILATOR_OPTIONS)
        key = _digest(compiler.key, options, component.manifest.top, harness, *contents)
        library = workdir.resolve() / f"sim_{key}.so"
        if not library.is_file():
            workdir.mkdir(parents=True, exist_ok=True)
            _compile(component, compiler, harness, library, timeout, _writable(cache or default_cache(), workdir))
        return cls(component, library, trace=trace)

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        source_gap: float = 0.0,
        sink_gap: float = 0.0,
        seed: int = 0,
        max_cycles: int | None = None,
        vcd: Path | None = None,
        progress: Progress | None = None,
        stall_cycles: int = STALL_CYCLES,
        random_state: bool = False,
        timeout: float | None = None,
    ) -> SimulationResult:
        """Return the integers of every output stream for frames of integers on every input stream.

        ``inputs`` is ``{stream prefix: (frames, *shape)}``. ``source_gap`` and ``sink_gap`` are the shares of
        cycles, 0 to 0.99, in which sources have nothing and sinks are not ready; both follow from ``seed``.
        ``random_state`` starts registers and memories at random values, not 0. Ctrl-C works between stretches of 0.2 s.

        Raises:
            InvalidInput: for wrong names, shapes or values of inputs or options.
            StreamFault: if the design breaks the stream contract, stalls for ``stall_cycles`` cycles, needs more than
                ``max_cycles`` cycles, or cannot read a memory file.
            ToolFailed: if the run takes longer than ``timeout`` seconds.

        """
        frames = self._check_run(inputs, source_gap, sink_gap, vcd)
        check_component(self.component)
        manifest = self.component.manifest
        packed = {stream.prefix: pack(stream, np.asarray(inputs[stream.prefix])) for stream in manifest.inputs}
        words = {s.prefix: np.zeros((frames * s.beats, s.words_per_beat), np.uint32) for s in manifest.outputs}
        ends = {stream.prefix: np.zeros(frames, np.int64) for stream in manifest.outputs}
        started = time.monotonic()
        with _Run(self._api, self.component, vcd, seed, random_state=random_state) as run:
            run.check()
            for index, stream in enumerate(manifest.inputs):
                run.source(index, packed[stream.prefix], stream)
            for index, stream in enumerate(manifest.outputs):
                run.sink(index, words[stream.prefix], stream, ends[stream.prefix])
            run.options(source_gap, sink_gap, seed, stall_cycles)
            run.to_end(frames, max_cycles, timeout, progress)
            first_cycle = run.first_input_cycle()
        for stream in manifest.outputs:
            if not padding_is_zero(stream, words[stream.prefix]):
                raise StreamFault(
                    f"{manifest.top}: {stream.prefix} ({stream.tensor}): found set bits above the "
                    f"{stream.payload_bits} bits of the elements; expected a beat padded with zeros."
                )
        frame_cycles = np.max(np.stack(list(ends.values())), axis=0)
        steady = max(MIN_INTERVAL_FRAMES, frames // 2)
        interval = None
        if frames > steady:
            interval = float(frame_cycles[-1] - frame_cycles[-1 - steady]) / steady
        return SimulationResult(
            outputs={stream.prefix: unpack(stream, words[stream.prefix]) for stream in manifest.outputs},
            cycles=int(frame_cycles[-1]) + 1,
            latency_cycles=int(frame_cycles[0]) - first_cycle,
            initiation_interval_cycles=interval,
            frame_cycles=frame_cycles,
            seconds=time.monotonic() - started,
        )

    def measure(self, inputs: Mapping[str, npt.ArrayLike], *, frames: int = 24) -> Timing:
        """Return latency and initiation interval, source and sink always ready, the given frames repeated as needed."""
        if frames <= MIN_INTERVAL_FRAMES:
            raise InvalidInput(f"measure: found {frames} frames; expected more than {MIN_INTERVAL_FRAMES}.")
        repeated = {}
        for prefix, given in inputs.items():
            values = np.asarray(given)
            repeated[prefix] = np.resize(values, (frames, *values.shape[1:])) if values.size else values
        result = self.run(repeated)
        assert result.initiation_interval_cycles is not None
        return Timing(result.latency_cycles, result.initiation_interval_cycles)

    def _check_run(
        self, inputs: Mapping[str, npt.ArrayLike], source_gap: float, sink_gap: float, vcd: Path | None
    ) -> int:
        top = self.component.manifest.top
        expected = [stream.prefix for stream in self.component.manifest.inputs]
        if sorted(inputs) != sorted(expected):
            raise InvalidInput(f"{top}: found inputs {sorted(inputs)}; expected exactly {expected}.")
        counts = {prefix: np.shape(values)[0] if np.ndim(values) else 0 for prefix, values in inputs.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise InvalidInput(f"{top}: found frame counts {counts}; expected one number, at least 1, for every input.")
        for name, gap in (("source_gap", source_gap), ("sink_gap", sink_gap)):
            if not 0.0 <= gap <= 0.99:
                raise InvalidInput(f"{name}: found {gap}; expected a share of cycles from 0 to 0.99.")
        if vcd is not None and not self.trace:
            raise InvalidInput(f"{top}: a VCD was asked of a simulator without trace. Build it with trace=True.")
        return next(iter(counts.values()))


def _compile(
    component: Component, compiler: _Compiler, harness: str, library: Path, timeout: float, cache: Path
) -> None:
    """Write the shared library of a component, atomically; the logs stay beside it."""
    log = library.with_suffix("")
    deadline = time.monotonic() + timeout

    def left() -> float:
        return max(1.0, deadline - time.monotonic())

    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as made:
        work = Path(made)
        for path in component.source_paths:
            shutil.copyfile(path, work / path.name)
        verilate: list[str | Path] = [compiler.verilator.binary, *_VERILATOR_OPTIONS]
        verilate += ["--trace-vcd"] if compiler.trace else []
        verilate += ["--Mdir", "obj", "--top-module", component.manifest.top, "--prefix", _MODEL]
        run_tool(
            [*verilate, *component.manifest.sources],
            cwd=work,
            log=log.with_suffix(".verilator.log"),
            timeout=left(),
            env={"VERILATOR_ROOT": str(compiler.verilator.root)},
            name="Verilator",
        )
        parts = sorted(path.name for path in (work / "obj").glob(f"{_MODEL}*.cpp"))
        text = "".join(f'#include "{name}"\n' for name in parts) + harness
        (work / "all.cc").write_text(text, encoding="utf-8")
        objects = compiler.runtime_objects(cache, left())
        link: list[str | Path] = [compiler.path, *compiler.options, "-Iobj", "-shared", "-Wl,-Bsymbolic"]
        run_tool(
            [*link, "-o", "sim.so", "all.cc", *objects, "-lpthread"],
            cwd=work,
            log=log.with_suffix(".cxx.log"),
            timeout=left(),
            name="C++ compiler",
        )
        (work / "sim.so").replace(library)


def _load(library: Path) -> Any:
    words = np.ctypeslib.ndpointer(np.uint32, flags="C")
    counts = np.ctypeslib.ndpointer(np.int64, flags="C")
    pointer, text, i64, u64, f64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double
    api = ctypes.CDLL(str(library))
    for name, result, arguments in (
        ("sim_new", pointer, [text, text, ctypes.c_int, u64]),
        ("sim_free", None, [pointer]),
        ("sim_input", None, [pointer, ctypes.c_int, words, i64, i64]),
        ("sim_output", None, [pointer, ctypes.c_int, words, i64, i64, counts]),
        ("sim_options", None, [pointer, f64, f64, u64, i64, i64]),
        ("sim_run", ctypes.c_int, [pointer, i64]),
        ("sim_state", None, [pointer, counts]),
        ("sim_messages", text, [pointer]),
    ):
        function = getattr(api, name)
        function.restype = result
        function.argtypes = arguments
    return api


_WORKING_DIRECTORY = threading.Lock()
"""Held while a design reads its memory files, because that changes the process's directory for a moment."""


class _Run:
    """One fresh design in a loaded library, from its reset to its last beat."""

    def __init__(self, api: Any, component: Component, vcd: Path | None, seed: int, *, random_state: bool) -> None:
        self._api = api
        self._component = component
        self._streams = component.manifest.streams
        if vcd is not None:
            vcd.parent.mkdir(parents=True, exist_ok=True)
        path = None if vcd is None else os.fsencode(vcd.resolve())
        with _WORKING_DIRECTORY:
            directory = os.fsencode(component.directory.resolve())
            self._handle = api.sim_new(directory, path, 2 if random_state else 0, seed & (2**64 - 1))
        self._kept: list[npt.NDArray[Any]] = []
        self._beats = [0] * len(self._streams)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.sim_free(self._handle)

    def source(self, index: int, words: npt.NDArray[np.uint32], stream: StreamDescriptor) -> None:
        self._kept.append(words)
        self._beats[self._streams.index(stream)] = len(words)
        self._api.sim_input(self._handle, index, words, len(words), stream.beats)

    def sink(
        self, index: int, words: npt.NDArray[np.uint32], stream: StreamDescriptor, ends: npt.NDArray[np.int64]
    ) -> None:
        self._kept += [words, ends]
        self._beats[self._streams.index(stream)] = len(words)
        self._api.sim_output(self._handle, index, words, len(words), stream.beats, ends)

    def options(self, source_gap: float, sink_gap: float, seed: int, stall_cycles: int) -> None:
        seed &= 2**63 - 1
        self._api.sim_options(self._handle, source_gap, sink_gap, seed, stall_cycles, _PROBE_CYCLES)

    def to_end(self, frames: int, max_cycles: int | None, timeout: float | None, progress: Progress | None) -> None:
        """Run until every beat has arrived, in stretches that leave room for an interrupt and the progress."""
        stretch, started = _FIRST_STRETCH, time.monotonic()
        while True:
            before = time.monotonic()
            left = stretch if max_cycles is None else max_cycles - int(self._state()[2])
            status = self._api.sim_run(self._handle, min(stretch, left) if left > 0 else _FIRST_STRETCH)
            now = time.monotonic()
            if progress is not None:
                progress(self._frames_done(), frames)
            if status == 1:
                return
            if status != 0:
                self.check()
            if max_cycles is not None and self._state()[2] >= max_cycles and not self._all_beats_done():
                raise StreamFault(self._sentence(f"not done after max_cycles={max_cycles} cycles"))
            if timeout is not None and now - started > timeout:
                raise ToolFailed(
                    self._sentence(f"simulation did not end within {timeout:g} s"), command=(), exit_code=None, log=None
                )
            if now - before < _STRETCH_SECONDS / 2:
                stretch *= 2
            elif now - before > _STRETCH_SECONDS * 2:
                stretch = max(1000, stretch // 2)

    def check(self) -> None:
        """Raise `StreamFault` if the design is in one."""
        state = self._state()
        code, stream, cycle = int(state[0]), int(state[1]), int(state[2])
        if code == 0:
            return
        if code == 1:
            stalled = [
                f"{s.prefix} ({s.tensor})"
                for s, waits in zip(self._streams, self._stalled(state), strict=True)
                if waits
            ]
            raise StreamFault(
                self._sentence(f"deadlock in cycle {cycle}, stalled: {', '.join(stalled) or 'no stream'}")
            )
        messages = self._api.sim_messages(self._handle).decode(errors="replace").strip()
        if code >= 11 or stream < 0:
            reason = _FAULTS[code] + (f": {messages}" if messages else "")
            hint = ""
            if "$readmem" in messages:
                hint = " List every memory file in data_files of the manifest, with enough words."
            raise StreamFault(f"{self._component.manifest.top}: {reason}.{hint}")
        descriptor = self._streams[stream]
        frame, beat = divmod(int(state[4 + 3 * stream]), descriptor.beats)
        where = f"{descriptor.prefix} ({descriptor.tensor}) in cycle {cycle}, frame {frame}, beat {beat}"
        raise StreamFault(self._sentence(f"{where}: {_FAULTS[code]}"))

    def first_input_cycle(self) -> int:
        return int(self._state()[3])

    def _state(self) -> npt.NDArray[np.int64]:
        state = np.zeros(4 + 3 * len(self._streams), np.int64)
        self._api.sim_state(self._handle, state)
        return state

    def _all_beats_done(self) -> bool:
        state = self._state()
        return all(int(state[4 + 3 * index]) == beats for index, beats in enumerate(self._beats))

    def _frames_done(self) -> int:
        state = self._state()
        return min(
            int(state[4 + 3 * index]) // stream.beats
            for index, stream in enumerate(self._streams)
            if stream.direction == "out"
        )

    def _stalled(self, state: npt.NDArray[np.int64]) -> list[bool]:
        """Return for each stream whether it waits for the design: an input only valid, an output only ready."""
        waits = []
        for index, stream in enumerate(self._streams):
            _, valid, ready = (int(value) for value in state[4 + 3 * index : 7 + 3 * index])
            waits.append(bool(valid and not ready) if stream.direction == "in" else bool(ready and not valid))
        return waits

    def _sentence(self, what: str) -> str:
        state = self._state()
        progress = []
        for index, stream in enumerate(self._streams):
            done, valid, ready = (int(value) for value in state[4 + 3 * index : 7 + 3 * index])
            verb = "took" if stream.direction == "in" else "gave"
            frame, beat = divmod(done, stream.beats)
            progress.append(
                f"{stream.prefix} ({stream.tensor}) {verb} {frame} frames and {beat} of {stream.beats} beats, "
                f"tvalid {valid}, tready {ready}"
            )
        return f"{self._component.manifest.top}: {what}. So far: {'; '.join(progress)}."

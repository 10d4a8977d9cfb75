"""hls4ml projects: written with the same bytes every time, compiled by g++, and run on integers."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend_hls4ml.graph import LayerList
from backend_hls4ml.options import Options
from qonnx_core.eda.process import run_tool
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput, ToolMissing

IntArray = npt.NDArray[np.int64]

PROJECT = "qonnx_part"
"""Name of the project and of its top function."""

COMPILE_SECONDS = 900.0
_VENDOR = {"Vitis": "vitis_hls", "Vivado": "vivado_hls"}


def content_stamp(layers: LayerList, options: Options) -> str:
    """Return a short name for the content of a project: other layers or options give another one."""
    digest = hashlib.sha256()
    for name in ("hls_backend", "io_type", "strategy", "reuse_factor"):
        digest.update(f"{name}={getattr(options, name)};".encode())
    for layer in layers.layers:
        for key, value in sorted(layer.items()):
            content = value.tobytes() if isinstance(value, np.ndarray) else str(value).encode()
            digest.update(key.encode() + b"=" + content + b";")
    digest.update(json.dumps([layers.config, layers.inputs, layers.outputs], sort_keys=True).encode())
    return digest.hexdigest()[:12]


def write_project(layers: LayerList, options: Options, target: Target, out: Path) -> str:
    """Write the hls4ml project into ``out`` and return its stamp; the same bytes every time, no path of this machine.

    The project holds everything for g++ (``build_lib.sh``) and for the vendor tool (``build_prj.tcl``).
    """
    stamp = content_stamp(layers, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}_") as staging:
        directory = Path(staging) / "project"
        graph = _model_graph(layers, options, target, directory)
        graph.config.config["Stamp"] = stamp
        _writer(options.hls_backend).write_hls(graph)
        if out.exists():
            shutil.rmtree(out)
        os.replace(directory, out)
    return stamp


def _model_graph(layers: LayerList, options: Options, target: Target, directory: Path) -> Any:
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    from backend_hls4ml.integer_layers import register

    register()
    config = create_config(
        output_dir=str(directory),
        project_name=PROJECT,
        backend=options.hls_backend,
        part=target.part,
        clock_period=target.clock_ns,
        io_type=options.io_type,
    )
    config["IOType"] = options.io_type
    config["HLSConfig"] = {
        "Model": {
            "Precision": {"default": "fixed<32,32>"},
            "ReuseFactor": options.reuse_factor,
            "Strategy": options.strategy,
        },
        "LayerName": layers.config,
    }
    copies = [dict(layer) for layer in layers.layers]
    return ModelGraph.from_layer_list(config, copies, inputs=list(layers.inputs), outputs=list(layers.outputs))


def _writer(backend: str) -> Any:
    """hls4ml's writer, but for the configuration file, which would hold this machine's paths (and import Keras)."""
    from hls4ml.writer.vitis_writer import VitisWriter
    from hls4ml.writer.vivado_writer import VivadoWriter

    base = VitisWriter if backend == "Vitis" else VivadoWriter

    class PortableWriter(base):  # type: ignore[misc, valid-type]
        def write_yml(self, model: Any) -> None:
            config = {
                key: value
                for key, value in model.config.config.items()
                if isinstance(value, str | int | float | list | dict) and key != "OutputDir"
            }
            text = json.dumps({"OutputDir": ".", **config}, indent=2, sort_keys=True, default=str)
            path = Path(model.config.get_output_dir()) / "hls4ml_config.yml"
            path.write_text(text + "\n", encoding="utf-8")  # JSON is YAML

    return PortableWriter()


class CompiledProject:
    """The C++ of an hls4ml project as a function on integers; bit-exact for values of up to 53 bits."""

    def __init__(self, library: Path, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Load a library; ``inputs`` and ``outputs`` are the elements of each port by name, in order."""
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        self._function = getattr(ctypes.CDLL(str(library)), f"{PROJECT}_double")
        self._function.restype = None

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return ``{output: int64 (N, elements)}`` of ``{input: integers (N, ...)}``."""
        frames = _frames(inputs, self._inputs)
        given = [
            np.ascontiguousarray(np.asarray(inputs[name]).reshape(frames, size), dtype=np.float64)
            for name, size in self._inputs.items()
        ]
        results = [np.zeros((frames, size), dtype=np.float64) for size in self._outputs.values()]
        arrays = [*given, *results]
        starts = [array.ctypes.data for array in arrays]
        steps = [array.strides[0] for array in arrays]
        for frame in range(frames):
            pointers = [ctypes.c_void_p(s + frame * step) for s, step in zip(starts, steps, strict=True)]
            self._function(*pointers)
        return {name: result.astype(np.int64) for name, result in zip(self._outputs, results, strict=True)}


def _frames(inputs: Mapping[str, IntArray], sizes: Mapping[str, int]) -> int:
    missing = [name for name in sizes if name not in inputs]
    if missing or len(inputs) != len(sizes):
        raise InvalidInput(f"inputs: found {', '.join(sorted(inputs)) or 'none'}; expected exactly {', '.join(sizes)}.")
    counts = {name: len(np.asarray(inputs[name])) for name in sizes}
    if len(set(counts.values())) != 1:
        raise InvalidInput(f"inputs: found {counts} frames; expected the same number for every input.")
    return next(iter(counts.values()))


def compile_project(
    directory: Path, stamp: str, inputs: Mapping[str, int], outputs: Mapping[str, int], timeout: float = COMPILE_SECONDS
) -> CompiledProject:
    """Return the compiled project; hls4ml's own ``build_lib.sh`` runs once for each content.

    Raises:
        ToolMissing: without g++.
        ToolFailed: if it does not compile; the message holds the log's relevant lines.
    """
    library = directory.resolve() / "firmware" / f"{PROJECT}-{stamp}.so"
    if not library.is_file():
        if shutil.which("g++") is None:
            raise ToolMissing("g++: not found; the emulation compiles hls4ml's C++. Install a C++ compiler.")
        run_tool(
            ["bash", "build_lib.sh"], cwd=directory, log=directory / "build_lib.log", timeout=timeout, name="hls4ml g++"
        )
    return CompiledProject(library, inputs, outputs)


def vendor_command(directory: Path) -> Sequence[str]:
    """Return the command that synthesizes a written project with its vendor tool, to be run in its directory.

    Raises:
        ToolMissing: if the tool is not on the path.
        InvalidInput: if the directory holds no hls4ml project.
    """
    script = directory / "build_prj.tcl"
    if not script.is_file() or not (directory / "project.tcl").is_file():
        raise InvalidInput(f"{directory}: found no build_prj.tcl; expected a project that emit has written.")
    backend = "Vitis" if 'set backend "vitis"' in (directory / "project.tcl").read_text(encoding="utf-8") else "Vivado"
    if backend == "Vitis" and shutil.which("vitis-run"):
        return ("vitis-run", "--tcl", "build_prj.tcl", "--mode", "hls")
    tool = _VENDOR[backend]
    if shutil.which(tool) is None:
        raise ToolMissing(
            f"{tool}: not on the path; it synthesizes the hls4ml project. Source the vendor's settings file."
        )
    return (tool, "-f", "build_prj.tcl")


def run_vendor_synthesis(directory: Path, timeout: float) -> Path:
    """Synthesize a written project with its vendor tool and return the log; raises as `vendor_command`, `run_tool`."""
    command = vendor_command(directory)
    log = directory / "vendor_synthesis.log"
    run_tool(list(command), cwd=directory, log=log, timeout=timeout)
    return log

"""The hls4ml backend: plan, estimate, emit and emulate a partition in integer form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backend_hls4ml.check import check_network
from backend_hls4ml.component import (
    describe_streams,
    interval_cycles,
    latency_cycles,
    sink_depth,
    write_component,
)
from backend_hls4ml.distributed import Network, signed_digits, trace_network
from backend_hls4ml.graph import LayerList, build_layer_list
from backend_hls4ml.options import Options, parse_options
from backend_hls4ml.pipeline import Pipeline, build_pipeline, latency_cutoff
from backend_hls4ml.project import CompiledProject, compile_project, write_project
from backend_hls4ml.support import supports
from qonnx_core.backend import Design, Estimate, QuantizerStyle, Runner, Verdict
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.passes.streamline import view
from qonnx_core.passes.streamline.narrow import narrow_sums

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.eda.streams import Component, StreamDescriptor
    from qonnx_core.eda.targets import Target
    from qonnx_core.passes.streamline import IntegerForm, Port

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hls4mlDesign(Design):
    """A planned partition: the hls4ml layer list, the traced and checked network, its pipeline and its streams."""

    options: Options
    layer_list: LayerList
    network: Network
    pipeline: Pipeline
    input_streams: tuple[StreamDescriptor, ...]
    output_streams: tuple[StreamDescriptor, ...]
    checked_frames: int


class Hls4mlBackend:
    """Integer layers through hls4ml (C++ project, emulation) and through distributed arithmetic (RTL).

    The quantizer style is ``shift``: an adder network rounds by one addition where thresholds would need a comparator
    for each level; where a scale is no power of two, thresholds come anyway.
    """

    name = "hls4ml"
    quantizer: QuantizerStyle = "shift"

    def supports(self, node: ir.Node, target: Target) -> Verdict:
        """Return whether a node of a cleaned QONNX model can be part of a partition here, or why not."""
        return supports(node, target)

    def plan(self, form: IntegerForm, target: Target, options: Mapping[str, object] | None = None) -> Hls4mlDesign:
        """Return the traced, checked and pipelined design of a partition.

        Raises:
            Unsupported: with every layer that cannot be built exactly and why.
            InvalidInput: for an unknown option or a wrong value.
            Mismatch: if the traced network differs from the integer form on the check inputs.
        """
        chosen = parse_options(options)
        layers = narrow_sums(form.layers(), {port.name for port in form.outputs})
        inputs, outputs = _tensors(form, layers)
        layer_list = build_layer_list(inputs, outputs, layers, chosen)
        network = trace_network(inputs, outputs, layers, chosen)
        frames = check_network(network, form, chosen.check_samples, chosen.seed)
        pipeline = build_pipeline(network, latency_cutoff(target.clock_ns, chosen.latency_cutoff))
        sources, sinks = describe_streams(form.inputs, form.outputs, chosen)
        return Hls4mlDesign(
            name=self.name,
            form=form,
            target=target,
            options=chosen,
            layer_list=layer_list,
            network=network,
            pipeline=pipeline,
            input_streams=tuple(sources),
            output_streams=tuple(sinks),
            checked_frames=frames,
        )

    def estimate(self, design: Design) -> Estimate:
        """Return the expected cycles (exact) and resources.

        The LUTs are alkaid's cost, which serves for ranking: synthesis gave 5 % less to 35 % more.
        """
        plan = _mine(design)
        interval = interval_cycles(plan.input_streams, plan.output_streams)
        depth = sink_depth(plan.pipeline.stages, interval)
        frame_bits = [s.elements * s.wire.bits for s in (*plan.input_streams, *plan.output_streams)]
        out_bits = sum(s.elements * s.wire.bits for s in plan.output_streams)
        memory_lut = -(-out_bits // 6) * 4 * -(-depth // 32)  # RAM32M: 6 bits by 32 words in 4 LUTs
        rows = tuple(_layer_row(layer) for layer in plan.form.layers())
        return Estimate(
            cycles=interval,
            latency_cycles=latency_cycles(plan.pipeline, plan.input_streams, plan.output_streams),
            lut=round(plan.network.cost) + memory_lut,
            ff=plan.pipeline.register_bits + sum(frame_bits) + out_bits,
            bram18=0,
            dsp=0,
            layers=rows,
        )

    def emit(self, design: Design, out: Path, top: str) -> Component:
        """Write the RTL component, the licence notice and the hls4ml project (``hls/``) into ``out``."""
        plan = _mine(design)
        component = write_component(
            plan.pipeline, plan.input_streams, plan.output_streams, out, top, plan.target.clock_ns
        )
        if plan.options.hls_project:
            write_project(plan.layer_list, plan.options, plan.target, out / "hls")
        return component

    def emulate(self, design: Design, workdir: Path) -> Runner:
        """Return the compiled hls4ml C++ (option ``emulator: hls4ml``, the default) or alkaid's interpreter."""
        plan = _mine(design)
        if plan.options.emulator == "alkaid":
            return NetworkRunner(plan)
        project = workdir / "hls4ml"
        stamp = write_project(plan.layer_list, plan.options, plan.target, project)
        compiled = compile_project(project, stamp, _sizes(plan.form.inputs), _sizes(plan.form.outputs))
        return ProjectRunner(plan, compiled)


class NetworkRunner:
    """The traced network in alkaid's interpreter: exactly the logic that the RTL holds."""

    def __init__(self, design: Hls4mlDesign) -> None:
        self._design = design

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return ``{output port name: int64 (N, ...)}`` of ``{input port name: integers (N, ...)}``."""
        given = _checked_inputs(self._design.form.inputs, inputs)
        return _shaped(self._design.form.outputs, self._design.network.run(given))


class ProjectRunner:
    """The compiled C++ of the hls4ml project."""

    def __init__(self, design: Hls4mlDesign, compiled: CompiledProject) -> None:
        self._design, self._compiled = design, compiled

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return ``{output port name: int64 (N, ...)}`` of ``{input port name: integers (N, ...)}``."""
        ports = self._design.form.inputs
        given = _checked_inputs(ports, inputs)
        named = {port.name: values for port, values in zip(ports, given, strict=True)}
        results = self._compiled.run(named)
        return _shaped(self._design.form.outputs, [results[port.name] for port in self._design.form.outputs])


def _mine(design: Design) -> Hls4mlDesign:
    if not isinstance(design, Hls4mlDesign):
        raise InvalidInput(
            f"hls4ml: the design is a {type(design).__name__} of backend {design.name!r}; "
            "expected one that plan returned."
        )
    return design


def _sizes(ports: tuple[Port, ...]) -> dict[str, int]:
    return {port.name: int(np.prod(port.shape)) for port in ports}


def _tensors(form: IntegerForm, layers: list[view.Layer]) -> tuple[list[view.IntTensor], list[view.IntTensor]]:
    """Return the tensors behind the form's ports, from the layers that read and write them."""
    known: dict[str, view.IntTensor] = {}
    for layer in layers:
        for tensor in (*view.inputs_of(layer), layer.output):
            known.setdefault(tensor.name, tensor)
    missing = [port.name for port in (*form.inputs, *form.outputs) if port.name not in known]
    if missing:
        raise Unsupported(
            f"hls4ml: no layer reads or writes {', '.join(missing)}; the part would only be a wire. "
            "Leave these nodes to the host or join them to a neighbouring part."
        )
    return [known[port.name] for port in form.inputs], [known[port.name] for port in form.outputs]


def _layer_row(layer: view.Layer) -> dict[str, object]:
    row: dict[str, object] = {
        "name": layer.name,
        "kind": type(layer).__name__,
        "elements": layer.output.elements,
        "datatype": str(layer.output.datatype),
    }
    if isinstance(layer, view.MatMul):
        row["weights"] = int(layer.weights.size)
        row["signed_digits"] = signed_digits(layer.weights)
    return row


def _checked_inputs(ports: tuple[Port, ...], inputs: Mapping[str, IntArray]) -> list[IntArray]:
    expected = [port.name for port in ports]
    if sorted(inputs) != sorted(expected):
        raise InvalidInput(f"hls4ml emulation: found inputs {sorted(inputs)}; expected exactly {expected}.")
    arrays = [np.asarray(inputs[name]) for name in expected]
    for port, array in zip(ports, arrays, strict=True):
        size = int(np.prod(port.shape))
        whole = array.dtype.kind in "iu" and array.ndim > 0 and array.size == len(array) * size
        if not whole or len(array) != len(arrays[0]):
            raise InvalidInput(
                f"{port.name}: found {array.dtype} of shape {array.shape}; expected integers (N, ...) with "
                f"{size} elements a frame and the same N for every input."
            )
    return [array.reshape(len(array), -1).astype(np.int64) for array in arrays]


def _shaped(ports: tuple[Port, ...], values: list[IntArray]) -> dict[str, IntArray]:
    return {port.name: array.reshape(len(array), *port.shape[1:]) for port, array in zip(ports, values, strict=True)}


BACKEND = Hls4mlBackend()

"""The kernel graph: the layers of an integer form as kernels, fused where FINN fuses, and who reads what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backend_finn.kernels import AddStreams, Affine, Kernel, LabelSelectKernel, Mvau, RequantizeKernel, Thresholding
from backend_finn.wires import Wire
from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.passes.streamline.view import (
    Add,
    AddConstant,
    IntTensor,
    LabelSelect,
    Layer,
    MatMul,
    Requantize,
    Reshape,
    Scale,
    Thresholds,
    inputs_of,
)

if TYPE_CHECKING:
    from qonnx_core.passes.streamline import Port


@dataclass(frozen=True, eq=False)
class KernelGraph:
    """Kernels in topological order. ``sources[i]`` names the tensors that kernel i reads, reshapes seen through.

    ``input_tensors`` and ``output_tensors`` name the tensor behind each port.
    """

    kernels: tuple[Kernel, ...]
    sources: tuple[tuple[str, ...], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_tensors: tuple[str, ...]
    output_tensors: tuple[str, ...]

    def with_kernels(self, kernels: Sequence[Kernel]) -> KernelGraph:
        """Return the same graph with other folds."""
        return replace(self, kernels=tuple(kernels))

    def readers(self, tensor: str) -> list[tuple[int, int]]:
        """Return the kernels that read a tensor, as (kernel, operand), in order."""
        return [
            (index, operand)
            for index, names in enumerate(self.sources)
            for operand, name in enumerate(names)
            if name == tensor
        ]


def kernel_graph(layers: Sequence[Layer], inputs: Sequence[Port], outputs: Sequence[Port]) -> KernelGraph:
    """Return the kernels of an integer form.

    Raises:
        Unsupported: with every layer that has no kernel, and why.
        InvalidModel: if a port and the layer behind it disagree about the integers on the wire.

    """
    alias: dict[str, str] = {}

    def root(tensor: str) -> str:
        return alias.get(tensor, tensor)

    for layer in layers:
        if isinstance(layer, Reshape):
            alias[layer.output.name] = root(layer.input.name)
    leaving = {root(port.name) for port in outputs}
    moving: list[Layer] = []  # what an output depends on
    read_by: dict[str, list[Layer]] = {}
    for layer in reversed(layers):
        if isinstance(layer, Reshape) or not (layer.output.name in read_by or layer.output.name in leaving):
            continue
        moving.insert(0, layer)
        for tensor in inputs_of(layer):
            read_by.setdefault(root(tensor.name), []).insert(0, layer)

    def sole_reader(tensor: IntTensor) -> Layer | None:
        readers = read_by.get(root(tensor.name), [])
        return readers[0] if len(readers) == 1 and root(tensor.name) not in leaving else None

    kernels: list[Kernel] = []
    sources: list[tuple[str, ...]] = []
    reasons: list[str] = []
    fused: set[int] = set()
    for layer in moving:
        if id(layer) in fused:
            continue
        try:
            kernel, absorbed = _kernel_of(layer, sole_reader)
        except Unsupported as error:
            reasons.append(str(error))
            continue
        fused.update(id(other) for other in absorbed)
        kernels.append(kernel)
        sources.append(tuple(root(tensor.name) for tensor in inputs_of(layer)))
    if reasons:
        raise Unsupported(f"backend finn: {len(reasons)} layers have no kernel", reasons)
    graph = KernelGraph(
        tuple(kernels), tuple(sources), tuple(inputs), tuple(outputs),
        tuple(root(port.name) for port in inputs), tuple(root(port.name) for port in outputs),
    )  # fmt: skip
    _check_wires(graph)
    return graph


def _kernel_of(layer: Layer, reader_of: Callable[[IntTensor], Layer | None]) -> tuple[Kernel, list[Layer]]:
    """Return the kernel of a layer, and the layers behind it that the kernel takes in."""
    match layer:
        case MatMul():
            return _matmul(layer, reader_of)
        case Thresholds():
            return Thresholding.of(layer), []
        case Requantize():
            return RequantizeKernel.of(layer), []
        case Scale() | AddConstant():
            return Affine.of(layer), []
        case Add():
            return AddStreams.of(layer), []
        case LabelSelect():
            return LabelSelectKernel.of(layer), []
        case _:
            raise Unsupported(f"{layer.name}: no kernel for {type(layer).__name__}; give the node to another backend.")


def _matmul(layer: MatMul, reader_of: Callable[[IntTensor], Layer | None]) -> tuple[Kernel, list[Layer]]:
    """Return the unit of a product, with the constant that is added to it and the thresholds it goes through."""
    absorbed: list[Layer] = []
    reader = reader_of(layer.output)
    if isinstance(reader, AddConstant) and reader.input.name == layer.output.name:
        bias = np.zeros(layer.weights.shape[1], np.int64) if layer.bias is None else layer.bias
        layer = replace(layer, bias=bias + np.asarray(reader.constant, np.int64), output=reader.output)
        absorbed.append(reader)
        reader = reader_of(layer.output)
    if isinstance(reader, Thresholds) and reader.input.name == layer.output.name:
        return Mvau.of(layer, reader), [*absorbed, reader]
    return Mvau.of(layer), absorbed


def port_wire(port: Port) -> Wire:
    """Return the wire behind a port: the integers of its grid."""
    low, high = port.grid.integers
    return Wire.of(IntTensor(port.name, port.shape, port.grid.datatype, np.asarray([low]), np.asarray([high])))


def _check_wires(graph: KernelGraph) -> None:
    """Raise InvalidModel where two ends of a connection disagree about an element or about the frame."""
    written = {name: port_wire(port) for name, port in zip(graph.input_tensors, graph.inputs, strict=True)}
    written |= {kernel.output.tensor: kernel.output for kernel in graph.kernels}
    reads = [
        (kernel.name, source, wire)
        for kernel, sources in zip(graph.kernels, graph.sources, strict=True)
        for source, wire in zip(sources, kernel.inputs, strict=True)
    ]
    reads += [
        (f"output {port.tensor}", source, port_wire(port))
        for port, source in zip(graph.outputs, graph.output_tensors, strict=True)
    ]
    for reader, source, wire in reads:
        if source not in written:
            raise InvalidModel(
                f"{reader}: reads {source}, which no input and no layer gives; expected a connected graph."
            )
        given = written[source]
        if (given.bits, given.signed, given.bipolar, given.elements) != (
            wire.bits,
            wire.signed,
            wire.bipolar,
            wire.elements,
        ):
            raise InvalidModel(
                f"{reader}: reads {source} as {wire.datatype} {wire.shape}, but it is {given.datatype} {given.shape}; "
                "expected one type and one frame. Annotate the tensor once."
            )

"""The software model of what is emitted: the planned kernels, one after the other, on integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from backend_finn.graph import KernelGraph
from backend_finn.kernels.base import as_vectors
from qonnx_core.errors import InvalidInput

IntArray = npt.NDArray[np.int64]
_CHUNK_ELEMENTS = 1 << 22


class Emulator:
    """Runs the kernels of a design from their memory images, by the arithmetic of the modules; see `Runner`."""

    def __init__(self, graph: KernelGraph) -> None:
        self._graph = graph

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, IntArray]:
        """Return ``{output port: (N, ...)}`` of ``{input port: (N, ...)}``, integers under the names of the form.

        Raises:
            InvalidInput: for wrong names, shapes, or values outside of a port's data type.

        """
        graph = self._graph
        expected = [port.name for port in graph.inputs]
        if sorted(inputs) != sorted(expected):
            raise InvalidInput(f"emulation: found inputs {sorted(inputs)}; expected {expected}.")
        arrays = {
            port.name: _checked(port.name, port.grid.integers, port.shape, inputs[port.name]) for port in graph.inputs
        }
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1:
            raise InvalidInput(f"emulation: inputs have {sorted(lengths)} frames; expected one number.")
        number = lengths.pop()
        largest = max(
            [*(k.output.elements for k in graph.kernels), *(a[0].size if len(a) else 1 for a in arrays.values())]
        )
        step = max(1, _CHUNK_ELEMENTS // largest)
        parts = [
            self._run({name: array[start : start + step] for name, array in arrays.items()})
            for start in range(0, max(1, number), step)
        ]
        return {
            port.name: np.concatenate([part[port.name] for part in parts]).reshape(number, *port.shape[1:])
            for port in graph.outputs
        }

    def _run(self, arrays: Mapping[str, IntArray]) -> dict[str, IntArray]:
        graph = self._graph
        values = {tensor: arrays[port.name] for tensor, port in zip(graph.input_tensors, graph.inputs, strict=True)}
        for kernel, sources in zip(graph.kernels, graph.sources, strict=True):
            operands = tuple(as_vectors(values[name], wire) for name, wire in zip(sources, kernel.inputs, strict=True))
            values[kernel.output.tensor] = kernel.run(operands)
        return {port.name: values[tensor] for port, tensor in zip(graph.outputs, graph.output_tensors, strict=True)}


def _checked(name: str, bounds: tuple[int, int], shape: tuple[int, ...], given: npt.NDArray[np.generic]) -> IntArray:
    values = np.asarray(given)
    if values.ndim == 0 or values.dtype.kind not in "iub" or values[:1].size not in (0, int(np.prod(shape))):
        raise InvalidInput(
            f"{name}: found {values.dtype} of shape {values.shape}; expected integers of shape (N, "
            f"{', '.join(map(str, shape[1:]))})."
        )
    ints = values.astype(np.int64)
    if ints.size and (ints.min() < bounds[0] or ints.max() > bounds[1]):
        raise InvalidInput(f"{name}: found values {ints.min()} to {ints.max()}; expected {bounds[0]} to {bounds[1]}.")
    return ints

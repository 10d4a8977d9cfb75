"""Brings a cleaned QONNX model into integer form: integers in, integers out, and host models for the float ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.passes.streamline import host, view
from qonnx_core.passes.streamline.builder import tidy
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.emit import emit
from qonnx_core.passes.streamline.interpreter import Interpretation, interpret
from qonnx_core.passes.streamline.quantize import Form, QuantizerOptions
from qonnx_core.passes.streamline.read import layers_of
from qonnx_core.passes.streamline.representation import Failed, Represented

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Port:
    """An integer tensor that stands for a tensor of the QONNX model.

    ``name`` is its name in the integer model, ``tensor`` the one in the QONNX model, ``shape`` one frame (N = 1) in
    the order in which it travels: channels last, row-major. ``perm`` moves the axes of the QONNX tensor into that
    order; ``order`` does so for its elements (flat positions of one frame) where a flat tensor kept its travel order.
    """

    name: str
    tensor: str
    grid: Grid
    shape: tuple[int, ...]
    perm: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None

    def to_wire(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array of the QONNX tensor's shape (any batch) in travel order and shape."""
        moved = array if self.perm is None else array.transpose(self.perm)
        if self.order is not None:
            moved = moved.reshape(len(array), -1)[:, list(self.order)]
        return moved.reshape(len(array), *self.shape[1:])

    def to_integers(self, values: npt.NDArray[Any]) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Return the integers of float values of the QONNX tensor, in travel order, and which were on the grid."""
        return self.grid.to_integers(self.to_wire(np.asarray(values)))


@dataclass
class IntegerForm:
    """A QONNX model as integers: what both backends start from.

    ``model`` computes integers from integers, exactly, in float32 containers (float64 where a sum exceeds 2**24).
    ``pre`` and ``post`` are the host's float ends. ``quantized`` names the integer tensor behind each input,
    quantizer output, and sum that the integer graph holds as it is (no sign or bias moved into it).
    """

    model: ir.Model
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    pre: ir.Model
    post: ir.Model
    quantized: dict[str, Port]
    _compiled: Any = field(default=None, repr=False, compare=False)

    def layers(self) -> list[view.Layer]:
        """Return the integer graph as typed layers in topological order."""
        return layers_of(self.model)

    def run(self, ints: Mapping[str, npt.NDArray[Any]], intermediates: Iterable[str] = ()) -> dict[str, IntArray]:
        """Return the integers of the outputs and of the named integer tensors, by name in the integer model.

        ``ints`` holds ``(N, ...)`` integers for each input port. Raises InvalidInput for a wrong name, shape or range.
        """
        from qonnx_core.execute.compiled import compile_model

        if self._compiled is None:
            self._compiled = compile_model(self.model)
        unknown = set(ints) ^ {port.name for port in self.inputs}
        if unknown:
            names = ", ".join(port.name for port in self.inputs)
            raise InvalidInput(
                f"inputs of the integer model: {', '.join(sorted(unknown))} given or missing; it has {names}."
            )
        feeds = {port.name: self._container(port, np.asarray(ints[port.name])) for port in self.inputs}
        result = self._compiled.run(feeds, intermediates)
        return {name: np.asarray(array).astype(np.int64) for name, array in result.items()}

    def quantize_inputs(
        self, values: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[dict[str, IntArray], dict[str, npt.NDArray[np.bool_]]]:
        """Return the integers of float inputs by port name, and which values were on the grid. Exact."""
        pairs = {port.name: port.to_integers(np.asarray(values[port.tensor])) for port in self.inputs}
        return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}

    def finish(self, ints: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the model's outputs from the integers of the output ports (by name in the integer model)."""
        from qonnx_core.execute.compiled import compile_model

        names = [value.name or "" for value in self.post.graph.inputs]
        feeds = {n: np.asarray(ints[p.name], np.int64) for n, p in zip(names, self.outputs, strict=True)}
        return dict(compile_model(self.post).run(feeds))

    def _container(self, port: Port, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if array.shape[1:] != port.shape[1:]:
            raise InvalidInput(
                f"input {port.name}: shape {array.shape}; expected (N, {', '.join(map(str, port.shape[1:]))})."
            )
        low, high = port.grid.integers
        if array.size and (array.min() < low or array.max() > high or (array != np.rint(array)).any()):
            raise InvalidInput(
                f"input {port.name}: values from {array.min()} to {array.max()}; expected integers of "
                f"{port.grid.datatype} ({low} to {high}). Use quantize_inputs."
            )
        value = next(v for v in self.model.graph.inputs if v.name == port.name)
        return array.astype((value.dtype or ir.DataType.FLOAT).numpy())


def to_integer_form(
    model: ir.Model,
    input_grids: Mapping[str, Grid],
    *,
    quantizer: Form = "thresholds",
    label_select: bool = False,
    max_threshold_bits: int = 8,
) -> IntegerForm:
    """Return the integer form of a cleaned QONNX model; the model itself is not changed.

    With ``quantizer="shift"`` every quantizer whose scale ratio is a power of two becomes a Requantize, the others
    thresholds; with ``"thresholds"`` thresholds up to ``max_threshold_bits``, and Requantize beyond where possible.
    ``label_select`` makes the output the index of the largest logit.

    Raises Unsupported with every reason (node, operator, what, and what to try); InvalidInput for unknown names.
    """
    _check_names(model, input_grids)
    if label_select:
        model = model.clone()
        AppendArgMax().run(model)
    state = interpret(model, input_grids, QuantizerOptions(quantizer, max_threshold_bits))
    missing = [reason for where, reason in state.failures.items() if where.startswith("input ")]
    if missing:
        raise Unsupported("the model has no integer form:", missing)
    frontier, tail = host.tail_of(model, state)
    ports, grids = [], []
    reasons = []
    for value in frontier:
        port = _port(value.name or "", state.of(value))
        if isinstance(port, Port) and port.name in {p.tensor.name for p in state.inputs}:
            reasons.append(
                f"tensor {value.name}: it is an output and equals the input {port.name}; nothing is computed"
            )
        elif isinstance(port, Port):
            ports.append(port)
            grids.append((port.name, value, port.grid))
        else:
            reasons.append(f"tensor {value.name}: {port}")
    if reasons:
        raise Unsupported("the model has no integer form:", reasons)
    layers = tidy(state.graph.layers, {port.name for port in ports})
    layers = [_declared(layer, {port.name: port.grid.datatype for port in ports}) for layer in layers]
    made = {layer.output.name: layer.output for layer in layers} | {p.tensor.name: p.tensor for p in state.inputs}
    integer_model = emit(layers, [p.tensor for p in state.inputs], [made[port.name] for port in ports], "integer_form")
    inputs = tuple(Port(p.tensor.name, p.value.name or "", p.grid, p.tensor.shape, p.perm) for p in state.inputs)
    quantized = {port.tensor: port for port in inputs}
    for name, knowledge in state.known.items():
        if isinstance(knowledge, Represented) and knowledge.fresh and name not in quantized:
            port = _port(name, knowledge)
            if isinstance(port, Port) and port.name in made:
                quantized[name] = port
    return IntegerForm(
        integer_model,
        inputs,
        tuple(ports),
        host.pre_model(state.inputs),
        host.post_model(model, state, grids, tail),
        quantized,
    )


def _declared(layer: view.Layer, datatypes: Mapping[str, DataType]) -> view.Layer:
    """Return the layer with its output's data type as a port declares it, where it is one."""
    datatype = datatypes.get(layer.output.name)
    return layer if datatype is None else replace(layer, output=replace(layer.output, datatype=datatype))


def grids_of(model: ir.Model, input_grids: Mapping[str, Grid]) -> dict[str, Grid | str]:
    """Return, for every tensor of a cleaned QONNX model by name, its grid or why it lies on none."""
    state = interpret(model, input_grids, QuantizerOptions(only_grids=True))
    names = [value.name or "" for value in model.graph.inputs if not value.is_initializer()]
    names += [value.name or "" for node in model.graph for value in node.outputs]
    return {name: _grid(state, name) for name in names}


def _grid(state: Interpretation, name: str) -> Grid | str:
    knowledge = state.known[name]
    if isinstance(knowledge, Represented):
        return knowledge.grid()
    if isinstance(knowledge, Failed):
        return knowledge.reason
    return _constant_grid(knowledge)


def _constant_grid(constant: Constant) -> Grid | str:
    if constant.datatype is None:
        return "a constant that no quantizer made"
    if constant.scale.size != 1:
        return "a constant with a scale for each channel"
    zero = 0 if constant.zero_point is None else float(constant.zero_point.reshape(-1)[0])
    if zero != int(zero) or (constant.zero_point is not None and constant.zero_point.size != 1):
        return "a constant whose zero point is no single integer"
    return Grid(constant.datatype, (Fraction(float(constant.scale.reshape(-1)[0])),), (int(zero),))


def _port(tensor: str, knowledge: object) -> Port | str:
    if not isinstance(knowledge, Represented):
        return "it has no integer form"
    grid = knowledge.grid()
    if isinstance(grid, str):
        return grid
    order = None if knowledge.index is None else tuple(int(i) for i in knowledge.index)
    return Port(knowledge.base.name, tensor, grid, knowledge.base.shape, None, order)


def _check_names(model: ir.Model, input_grids: Mapping[str, Grid]) -> None:
    names = [value.name for value in model.graph.inputs if not value.is_initializer()]
    for name in input_grids:
        if name not in names:
            raise InvalidInput(f"input grid for {name!r}: the model's inputs are {', '.join(map(str, names))}.")

"""QONNX to FINN-ONNX: the integer form in FINN's spelling, with the float tail of the graph kept behind it.

FINN-ONNX has integer weights in float32 tensors annotated with their data type, and `MultiThreshold` nodes instead of
quantizers. The thresholds come from the integer form: they give exactly what the quantizers give, with every rounding
mode, on ties, with zero points, narrow and unsigned ranges, and behind batch norms of either sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.cleanup import cleanup_model
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.streamline import IntegerForm, Port, to_integer_form


def convert_qonnx_to_finn(
    model: ir.Model, input_types: Mapping[str, str | Grid] | None = None, *, batch: int | None = 1
) -> ir.Model:
    """Return the FINN-ONNX model of a QONNX model.

    Names and shapes are those of the cleaned model. Inputs take the integers of their grids (``UINT8`` for
    ``UINT8*1/255``), outputs keep their values. Scales are float32: where one is none, the
    last bit of an output may differ.

    Args:
        model: any QONNX model; it is not changed. It is cleaned first.
        input_types: the grid of each input by its name before or after clean-up, such as ``{"x": "UINT8*1/255"}``; an
            input annotated with an integer type needs none.
        batch: the batch size to fix, because FINN wants static shapes; None keeps it symbolic.

    Raises:
        InvalidInput: for an unknown input, or one without a grid.
        Unsupported: with every reason why there is no integer form.

    """
    cleaned = cleanup_model(model)
    new_names = dict(zip(_input_names(model), _input_names(cleaned), strict=True))
    given = {new_names.get(name, name): grid for name, grid in (input_types or {}).items()}
    form = to_integer_form(cleaned, _grids(cleaned, given))
    if any(value.dtype == ir.DataType.DOUBLE for value in form.model.graph.inputs):
        raise Unsupported("model: sums exceed 24 bits, which FINN's float32 tensors do not hold; use fewer bits.")
    finn = _Composer(cleaned, form).model()
    if batch is not None:
        _fix_batch(finn, batch)
    InferShapes().run(finn)
    return finn


class ConvertQONNXtoFINN:
    """The conversion as a transformation of the `qonnx` package: ``ModelWrapper.transform(ConvertQONNXtoFINN(...))``.

    Arguments are those of `convert_qonnx_to_finn`.
    """

    def __init__(self, input_types: Mapping[str, str | Grid] | None = None, *, batch: int | None = 1) -> None:
        self._input_types = dict(input_types or {})
        self._batch = batch

    def apply(self, model: Any) -> tuple[Any, bool]:
        """Return the converted model and False, because once is enough; takes and gives a ``ModelWrapper``."""
        converted = convert_qonnx_to_finn(from_proto(model.model), self._input_types, batch=self._batch)
        return type(model)(ir.to_proto(converted)), False


def _input_names(model: ir.Model) -> list[str]:
    return [value.name or "" for value in model.graph.inputs if not value.is_initializer()]


def _grids(model: ir.Model, given: Mapping[str, str | Grid]) -> dict[str, Grid]:
    """Return the grid of each input: what is given, else what the input is annotated with."""
    names = _input_names(model)
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InvalidInput(f"input types: found {', '.join(unknown)}; expected some of {', '.join(names)}.")
    grids = {}
    for value, name in zip(model.graph.inputs, names, strict=True):
        annotated = get_datatype(value)
        if name in given:
            grid = given[name]
            grids[name] = Grid.parse(grid) if isinstance(grid, str) else grid
        elif annotated is not None and annotated.is_integer():
            grids[name] = Grid(annotated)
        else:
            raise InvalidInput(
                f"input {name}: {annotated or 'no data type'}; expected the integer grid that its values are on. "
                f"Give input_types, for example {{{name!r}: 'UINT8*1/255'}}."
            )
    return grids


class _Composer:
    """Puts the integer graph between the model's own inputs and its float tail."""

    def __init__(self, original: ir.Model, form: IntegerForm) -> None:
        self._original, self._form = original, form
        self._nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []

    def model(self) -> ir.Model:
        """Return the composed model."""
        integer, tail = self._form.model.clone(), self._form.post.clone()
        inner, outer = integer.graph, tail.graph
        results = dict(zip((port.name for port in self._form.outputs), inner.outputs, strict=True))
        starts = dict(zip((port.name for port in self._form.inputs), inner.inputs, strict=True))
        middle = _taken(inner)
        kept, tensors = _tail_nodes(outer, {port.tensor for port in self._form.outputs})
        outputs = list(outer.outputs)
        constants = [*inner.initializers.values(), *outer.initializers.values()]
        for part in (inner, outer):  # a value belongs to one graph
            part.inputs.clear()
            part.outputs.clear()
            part.initializers.clear()
        inputs = [self._input(port, starts[port.name]) for port in self._form.inputs]
        self._nodes.extend(middle)
        for port in self._form.outputs:
            value = self._output(port, results[port.name])
            if port.tensor in tensors:
                ir.convenience.replace_all_uses_with(tensors[port.tensor], value)
            outputs = [value if output.name == port.tensor else output for output in outputs]
        self._nodes.extend(kept)
        used = {id(value) for node in self._nodes for value in node.inputs if value is not None}
        constants = [value for value in constants if id(value) in used]
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self._nodes,
            initializers=[*constants, *self._initializers],
            name="finn_onnx",
            opset_imports=dict(integer.graph.opset_imports),
        )
        return ir.Model(graph, ir_version=integer.ir_version, producer_name="backend-finn")

    def _node(self, op_type: str, inputs: list[ir.Value], name: str, **attributes: Any) -> ir.Value:
        node = ir.node(op_type, inputs, attributes=attributes or None, name=f"{op_type}_{name}")
        node.outputs[0].name = name
        node.outputs[0].dtype = ir.DataType.FLOAT
        self._nodes.append(node)
        return node.outputs[0]

    def _constant(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._initializers.append(value)
        return value

    def _shape(self, name: str, shape: tuple[int, ...]) -> ir.Value:
        return self._constant(f"{name}_shape", np.asarray((0, *shape[1:]), np.int64))

    def _input(self, port: Port, start: ir.Value) -> ir.Value:
        """Return the model's own input, and bring it into travel order where that is another shape."""
        own = next(value for value in self._original.graph.inputs if value.name == port.tensor)
        shape = tuple(own.shape or ())
        moved = port.perm is not None and _moves_data(shape, port.perm)
        if shape[1:] == port.shape[1:] and not moved:
            start.name = port.tensor
            return start
        made = ir.val(port.tensor, dtype=ir.DataType.FLOAT, shape=own.shape)
        set_datatype(made, port.grid.datatype)
        value = made
        if port.perm is not None and moved:
            value = self._node("Transpose", [value], f"{port.tensor}_travel", perm=list(port.perm))
        value = self._node("Reshape", [value, self._shape(port.tensor, port.shape)], f"{port.tensor}_frame")
        set_datatype(value, port.grid.datatype)
        ir.convenience.replace_all_uses_with(start, value)
        return made

    def _output(self, port: Port, result: ir.Value) -> ir.Value:
        """Return the float tensor that an integer result stands for, under its name in the model."""
        grid = port.grid
        steps: list[tuple[str, npt.NDArray[np.generic]]] = []
        if any(scale != 1 for scale in grid.scale):
            steps.append(("Mul", _floats(grid.scale)))
        shift = _shifts(grid)
        if any(shift):
            steps.append(("Add", _floats(shift)))
        value = result
        if steps:
            value.name = f"{port.tensor}_integers"
        for index, (op_type, constant) in enumerate(steps):
            name = port.tensor if index == len(steps) - 1 else f"{port.tensor}_scaled"
            value = self._node(op_type, [value, self._constant(f"{name}_{op_type.lower()}", constant)], name)
        if not steps:
            value.name = port.tensor
        return value


def _taken(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes of a graph, taken out of it."""
    nodes = list(graph)
    graph.remove(nodes)
    return nodes


def _tail_nodes(graph: ir.Graph, starts: set[str]) -> tuple[list[ir.Node], dict[str, ir.Value]]:
    """Return the nodes behind the named tensors, taken out of the graph, and those tensors by name."""
    tensors = {
        value.name or "": value for value in (*graph.inputs, *(output for node in graph for output in node.outputs))
    }
    behind = {id(tensors[name]) for name in starts if name in tensors}
    kept = []
    for node in graph:
        if any(id(value) in behind for value in node.inputs):
            kept.append(node)
            behind.update(id(output) for output in node.outputs)
    graph.remove(kept)
    return kept, {name: value for name, value in tensors.items() if name in starts}


def _moves_data(shape: tuple[Any, ...], perm: tuple[int, ...]) -> bool:
    """Return whether a permutation changes the order of elements: it moves more than axes of length 1."""
    moving = [axis for axis in perm if shape[axis] != 1]
    return moving != sorted(moving)


def _floats(values: tuple[Fraction, ...]) -> npt.NDArray[np.float32]:
    array = np.asarray([float(value) for value in values], np.float32)
    return array if len(array) > 1 else array.reshape(())


def _shifts(grid: Grid) -> tuple[Fraction, ...]:
    """Return what is added to ``scale * k``: the offset less the scaled zero point, for each channel."""
    return tuple(grid.exact(0, channel) for channel in range(grid.channels))


def _fix_batch(model: ir.Model, batch: int) -> None:
    """Replace the symbolic first dimension of every tensor."""
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    for value in values:
        if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([batch, *value.shape[1:]])

"""Inserts quantizers where a user's rules ask for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.op import DOMAIN
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.base import graphs_of, new_constant
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.quantize.calibrate import Range, fitted, ranges_on_data
from qonnx_core.passes.quantize.config import Operand, QuantizationConfig, Quantizer, Rule
from qonnx_core.passes.quantize.sum_scale import scales_of_sums

Array = NDArray[Any]
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True, slots=True)
class Quantized:
    """What happened to one operand: it has a new quantizer, or ``reason`` says why not.

    ``scale`` and ``zero_point`` hold one number, or one per channel.
    """

    node: str
    operand: str
    tensor: str
    bits: int
    signed: bool
    scale: tuple[float, ...] = ()
    zero_point: tuple[float, ...] = ()
    quantizer: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "node": self.node, "operand": self.operand, "tensor": self.tensor, "bits": self.bits,
            "signed": self.signed, "scale": list(self.scale), "zero_point": list(self.zero_point),
            "quantizer": self.quantizer, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class QuantizeGraph:
    """A tensor of the user's choice goes through a new ``Quant``: the model then computes other, quantized values.

    Rules name nodes and operands, see :class:`~qonnx_core.passes.quantize.config.QuantizationConfig`; without rules
    nothing changes. A tensor that comes from a quantizer already is left alone, operands that read the same tensor
    with the same settings share one quantizer, and graph outputs keep their names. The graphs inside If, Loop and Scan
    are quantized like the main one.

    Args:
        config: the rules, or the YAML or JSON file with them.
        data: an ``.npz`` with samples under the names of the model's inputs, where the rules take scales from data.
    """

    config: Path | QuantizationConfig | None = None
    data: Path | None = None
    name: str = "quantize_graph"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of quantizers inserted.

        Raises:
            InvalidInput: a rule matches no node or operand, a scale does not fit its tensor, or data are missing.
        """
        if self.config is None:
            return 0
        config = (
            self.config if isinstance(self.config, QuantizationConfig) else QuantizationConfig.from_file(self.config)
        )
        samples: dict[str, Array] | None = None
        if self.data is not None:
            from qonnx_core.build.inputs import read_archive

            samples = dict(read_archive(self.data))
        report = quantize_graph(model, config, samples)
        return len({entry.quantizer for entry in report if entry.quantizer})


@dataclass(frozen=True, eq=False)
class _Place:
    """One operand to quantize: of a node, with what settings, along which axis for scales per channel."""

    node: ir.Node
    operand: str
    value: ir.Value
    index: int  # of the input; -1 - i for output i
    quantizer: Quantizer
    axis: int


def quantize_graph(
    model: ir.Model, config: QuantizationConfig, data: Mapping[str, Array] | None = None
) -> list[Quantized]:
    """Insert the quantizers that the rules ask for, in place; return what happened to every operand that they name.

    Args:
        model: the model; a failed call leaves it as it was.
        config: the rules.
        data: samples for every input of the model, for rules with ``scale: data``.

    Raises:
        InvalidInput: a rule matches no node or operand, a scale does not fit its tensor, or data are missing.
    """
    InferShapes().run(model)
    places = list(_places(model, config))
    report: list[Quantized] = []
    wanted: list[_Place] = []
    for place in places:
        reason = _reason_against(place, model)
        if reason:
            q = place.quantizer
            name = place.value.name or ""
            report.append(Quantized(place.node.name or "", place.operand, name, q.bits, q.signed, reason=reason))
        else:
            wanted.append(place)
    ranges = _calibrated(model, wanted, data)
    settings = {place: _parameters(place, ranges) for place in wanted if not place.quantizer.is_product}
    settings |= _of_sums(model, [place for place in wanted if place.quantizer.is_product], settings)
    spoken = {place.value: place.value.name or "" for place in wanted}
    made = _insert_all(model, {place: settings[place] for place in wanted})
    for place in wanted:
        scales, zeros = (tuple(map(float, np.ravel(part))) for part in settings[place])
        q, name, made_by = place.quantizer, spoken[place.value], made[place].name or ""
        entry = Quantized(place.node.name or "", place.operand, name, q.bits, q.signed, scales, zeros, made_by)
        report.append(entry)
    if made:
        model.opset_imports.setdefault(DOMAIN, 1)
        InferShapes().run(model)
    return report


def _insert_all(model: ir.Model, settings: Mapping[_Place, tuple[Array, Array]]) -> dict[_Place, ir.Node]:
    """Insert the quantizers with these scales and zero points, equal ones of one tensor once; return each one."""
    made: dict[tuple[Any, ...], ir.Value] = {}
    names = Names(model.graph)
    found: dict[_Place, ir.Node] = {}
    for place, (scale, zero) in settings.items():
        key = (place.value, place.quantizer, scale.tobytes(), scale.shape, zero.tobytes())
        if key not in made:
            made[key] = _insert(model, place, scale, zero, names)
        quantizer = made[key].producer()
        assert quantizer is not None
        if place.index >= 0:
            place.node.replace_input_with(place.index, made[key])
        found[place] = quantizer
    return found


def _of_sums(
    model: ir.Model, places: Sequence[_Place], settings: Mapping[_Place, tuple[Array, Array]]
) -> dict[_Place, tuple[Array, Array]]:
    """Return scales and zero points where a bias goes on the grid of its sum, as a copy with the others has it."""
    if not places:
        return {}
    twice = [place.node for place in places if sum(other.node is place.node for other in places) > 1]
    if twice:
        raise InvalidInput(
            f"{twice[0].name} ({twice[0].op_type}): the scales of two operands are product; expected one of them to be "
            "quantized by itself. Give the other a number, max or data."
        )
    trial = model.clone()
    pairs = list(zip(model.graph.all_nodes(), trial.graph.all_nodes(), strict=True))
    twins = dict(pairs)
    operands = {place: _operand(twins[place.node], place.index) for place in (*settings, *places)}
    moved = {replace(p, node=twins[p.node], value=operands[p]): given for p, given in settings.items()}
    _insert_all(trial, moved)
    trial.opset_imports.setdefault(DOMAIN, 1)
    scales = scales_of_sums(trial, {twins[place.node]: (place.index, place.operand) for place in places})
    return {place: (scales[twins[place.node]], np.asarray(0, np.float32)) for place in places}


def _operand(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if index >= 0 else node.outputs[-1 - index]
    assert value is not None
    return value


def _places(model: ir.Model, config: QuantizationConfig) -> Iterator[_Place]:
    """Yield every operand that a rule names, outputs of all nodes first."""
    nodes = [node for graph in graphs_of(model) for node in graph]
    chosen: list[tuple[ir.Node, dict[int, tuple[str, Quantizer]]]] = []
    matched: list[set[str]] = [set() for _ in config.quantize]
    for node in nodes:
        operands: dict[int, tuple[str, Quantizer]] = {}
        for rule, seen in zip(config.quantize, matched, strict=True):
            if rule.match.fits(node.name or "", node.op_type) and op_class_of(node, model.opset_imports) is None:
                seen.add("")
                for operand, index, quantizer in _operands(node, rule):
                    seen.add(operand)
                    operands.setdefault(index, (operand, quantizer))
        chosen.append((node, operands))
    for number, (rule, seen) in enumerate(zip(config.quantize, matched, strict=True), 1):
        if not seen:
            raise InvalidInput(f"rule {number} ({rule.match}): matches no node. {_near(rule, nodes)}")
        missing = [name for name in get_args(Operand) if getattr(rule, name) is not None and name not in seen]
        if missing:
            raise InvalidInput(
                f"rule {number} ({rule.match}): none of its nodes has {' or '.join(missing)}; expected nodes that do. "
                "Use inputs: {1: ...} for an operand by its number, or leave the key out."
            )
    for wants_output in (True, False):
        for node, operands in chosen:
            for index, (operand, quantizer) in operands.items():
                if (index < 0) is wants_output:
                    yield _place(node, operand, index, quantizer)


def _near(rule: Rule, nodes: Iterable[ir.Node]) -> str:
    known = {node.name or "" for node in nodes} if rule.match.name else {node.op_type for node in nodes}
    given = (*rule.match.name, *rule.match.op_type)[0]
    close = difflib.get_close_matches(given, sorted(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(sorted(known)[:12])}."


def _operands(node: ir.Node, rule: Rule) -> Iterator[tuple[str, int, Quantizer]]:
    """Yield the operands of a node that the rule names, as text and number; those by number first."""
    for index, quantizer in rule.inputs.items():
        yield f"input {index}", index, quantizer
    for index, quantizer in rule.outputs.items():
        yield f"output {index}", -1 - index, quantizer
    weights = _weights_of(node)
    if rule.weights is not None and weights is not None:
        yield "weights", weights, rule.weights
    if rule.input is not None and node.inputs:
        running = (0, 1) if node.op_type == "MatMul" else (0,)
        yield from (("input", index, rule.input) for index in running if index != weights)
    if rule.bias is not None and node.op_type in _WITH_WEIGHTS and len(node.inputs) > 2 and node.inputs[2] is not None:
        yield "bias", 2, rule.bias
    if rule.output is not None and node.outputs:
        yield "output", -1, rule.output


def _weights_of(node: ir.Node) -> int | None:
    """Return which input holds weights, the constant operand of a product, or None."""
    if node.op_type not in _WITH_WEIGHTS or len(node.inputs) < 2:
        return None
    order = (1, 0) if node.op_type == "MatMul" else (1,)
    return next((index for index in order if _is_constant(node.inputs[index])), None)


def _is_constant(value: ir.Value | None) -> bool:
    """Return whether a value is a constant, or a constant behind quantizers and the like."""
    while value is not None:
        if constant_array(value) is not None:
            return True
        node = value.producer()
        if node is None or any(constant_array(other) is None for other in node.inputs[1:]):
            return False
        value = node.inputs[0] if node.inputs else None
    return False


def _place(node: ir.Node, operand: str, index: int, quantizer: Quantizer) -> _Place:
    values = node.inputs if index >= 0 else node.outputs
    number = index if index >= 0 else -1 - index
    value = values[number] if number < len(values) else None
    if value is None:
        raise InvalidInput(
            f"{node.name} ({node.op_type}): has no {operand}; expected one of its {len(values)} operands there. "
            "Correct the rule."
        )
    return _Place(node, operand, value, index, quantizer, _axis(node, operand, quantizer))


def _axis(node: ir.Node, operand: str, quantizer: Quantizer) -> int:
    """Return the axis of the channels: as asked for, else that of a weight's outputs, else axis 1."""
    if quantizer.axis is not None:
        return quantizer.axis
    if operand == "bias":
        return -1
    if operand != "weights":
        return 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    if node.op_type == "MatMul":
        return -2 if _weights_of(node) == 0 else -1
    return 1 if node.op_type == "ConvTranspose" else 0


def _reason_against(place: _Place, model: ir.Model) -> str:
    """Return why an operand gets no quantizer, or an empty text."""
    if place.value.dtype is not None and place.value.dtype not in _FLOATS:
        return f"is of element type {place.value.dtype.name}; only floats are quantized"
    producer = place.value.producer()
    if place.index >= 0 and producer is not None and _is_quantizer(producer, model):
        return f"comes from quantizer {producer.name}"
    if place.index < 0:
        readers = [use.node for use in place.value.uses()]
        if readers and all(_is_quantizer(node, model) for node in readers) and not place.value.is_graph_output():
            return f"is read by quantizer {readers[0].name} only"
        if not readers and not place.value.is_graph_output():
            return "is read by nobody"
    return ""


def _is_quantizer(node: ir.Node, model: ir.Model) -> bool:
    kind = op_class_of(node, model.opset_imports)
    return kind is not None and issubclass(kind, Quant | BipolarQuant | FloatQuant)


def _calibrated(
    model: ir.Model, places: Iterable[_Place], data: Mapping[str, Array] | None
) -> dict[str, dict[int | None, Range]]:
    running: dict[str, set[int | None]] = {}
    for place in places:
        quantizer = place.quantizer
        if not quantizer.is_calibrated or constant_array(place.value) is not None:
            continue
        if data is None or quantizer.scale == "max":
            what = "no data are given" if data is None else "the tensor is no constant"
            raise InvalidInput(
                f"{place.node.name} ({place.node.op_type}): the scale of its {place.operand} is {quantizer.scale}, but "
                f"{what}; expected a number, or scale: data together with samples."
            )
        if _graph_of(place, model) is not model.graph:
            raise InvalidInput(
                f"{place.node.name} ({place.node.op_type}): its {place.operand} {place.value.name} lies in the branch "
                "or body of a node, where no data are seen; expected a number as scale."
            )
        running.setdefault(place.value.name or "", set()).add(place.axis if quantizer.per_channel else None)
    return ranges_on_data(model, running, data) if data is not None and running else {}


def _parameters(
    place: _Place, ranges: Mapping[str, Mapping[int | None, Range]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and zero point: numbers, or arrays that broadcast against the tensor.

    Raises:
        InvalidInput: there are not as many as channels, or the channels are not known.
    """
    quantizer, value = place.quantizer, place.value
    where = f"{place.node.name} ({place.node.op_type}): its {place.operand} {value.name}"
    lists = [part for part in (quantizer.scale, quantizer.zero_point) if isinstance(part, tuple)]
    shape: tuple[int, ...] = ()
    if lists or quantizer.per_channel:
        shape = _channel_shape(where, value, place.axis)
        for part in lists:
            if len(part) != max(shape):
                raise InvalidInput(f"{where}: {len(part)} numbers for {max(shape)} channels; expected one for each.")
    if quantizer.is_calibrated:
        array = constant_array(value)
        axis = place.axis if quantizer.per_channel else None
        if array is None:
            found = ranges[value.name or ""][axis]
        elif array.size == 0 or not np.all(np.isfinite(array)):
            raise InvalidInput(f"{where}: is empty or not finite; expected finite values to find a scale.")
        else:
            found = Range.of(array, axis)
        scale, zero = fitted(quantizer, found)
    else:
        scale = np.asarray(quantizer.scale, np.float32)
        zero = np.asarray(quantizer.zero_point, np.float32)
    return tuple(part.reshape(shape) if part.ndim else part for part in (scale, zero))  # type: ignore[return-value]


def _channel_shape(where: str, value: ir.Value, axis: int) -> tuple[int, ...]:
    dims = None if value.shape is None else list(value.shape)
    if dims is None or not -len(dims) <= axis < len(dims) or not isinstance(dims[axis], int):
        raise InvalidInput(
            f"{where}: has shape {value.shape}, where axis {axis} holds no known number of channels; expected a fixed "
            "one. Give `axis`, or one scale."
        )
    shape = [1] * len(dims)
    shape[axis] = int(str(dims[axis]))
    return tuple(shape)


def _insert(model: ir.Model, place: _Place, scale: Array, zero: Array, names: Names) -> ir.Value:
    graph, value, quantizer = _graph_of(place, model), place.value, place.quantizer
    stem = value.name or "tensor"
    dtype = np.float32 if value.dtype is None else value.dtype.numpy()
    parameters = [
        new_constant(model.graph, f"{stem}/{what}", np.asarray(array, dtype), names)
        for what, array in (("scale", scale), ("zero_point", zero), ("bits", np.float32(quantizer.bits)))
    ]
    op = Quant(signed=quantizer.signed, narrow=quantizer.narrow, rounding_mode=quantizer.rounding)
    was_output, readers = value.is_graph_output(), list(value.uses()) if place.index < 0 else []
    node = op.node(
        value, *parameters, name=names.free_for_node(f"Quant_{stem}"), output=names.free(f"{stem}_quantized")
    )
    result = node.outputs[0]
    result.shape = value.shape
    set_datatype(result, op.datatype(None, *(np.asarray(constant_array(part)) for part in parameters)))
    producer = value.producer()
    if place.index >= 0 and producer is None:
        flat = all(reader.graph is graph for reader, _ in value.uses())
        graph.insert_before(place.node if flat else graph[0], node)  # at the front where branches and bodies read it
    else:
        graph.insert_after(place.node if producer is None else producer, node)
    for reader, index in readers:
        reader.replace_input_with(index, result)
    if place.index < 0 and was_output:
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name, result.name = result.name, value.name
    return result


def _graph_of(place: _Place, model: ir.Model) -> ir.Graph:
    """Return the graph that holds the quantizer of an operand: that of its producer, input or parameter."""
    producer = place.value.producer()
    owner = place.value.graph if producer is None else producer.graph
    return owner if isinstance(owner, ir.Graph) else model.graph

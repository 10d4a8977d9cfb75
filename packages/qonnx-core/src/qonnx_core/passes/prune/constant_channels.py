"""Channels that have one value whatever comes in, and products to which a channel gives nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.errors import InvalidModel
from qonnx_core.ir.constants import constant_array, constant_tensor
from qonnx_core.ir.grid import Grid
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.prune.rules import couple, elementwise, rule_for
from qonnx_core.passes.prune.slices import MAX_SLICES, Contraction, Move

Array = NDArray[Any]
_PER_CHANNEL = frozenset(("BatchNormalization", "QuantizeLinear", "DequantizeLinear", "MultiThreshold"))
_WINDOWS = frozenset(("MaxPool", "MaxPoolNHWC", "GlobalMaxPool", "GlobalAveragePool", "AveragePool"))


@dataclass(frozen=True, slots=True)
class ChannelValues:
    """Which channels along an axis have one value, and which value; others hold 0 here."""

    axis: int
    known: NDArray[np.bool_]
    values: Array


@dataclass(frozen=True, slots=True)
class Share:
    """What each channel gives to a sum: nothing, or the same for every input.

    ``nothing`` and ``constant`` have one entry for each slice of the data; ``amounts`` is ``(channels, outputs)`` and
    counts where ``constant`` holds: what the channel adds to each output, before ``alpha`` of Gemm.
    """

    nothing: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    amounts: NDArray[np.float64] | None


class ConstantChannels:
    """Knows the constant channels of a model; tensors and nodes are addressed by the names of their outputs.

    A channel that an infinity or NaN reaches through a zero weight or scale is taken for a constant too. With the grids
    of the inputs, channels count that range analysis finds stuck, such as those that a Relu always stops.
    """

    def __init__(self, model: ir.Model, input_grids: Mapping[str, Grid] | None = None) -> None:
        self._proven = _stuck_channels(model, input_grids) if input_grids else {}
        self._model = model.clone()
        FoldConstants(quantizers=True).run(self._model)
        InferShapes().run(self._model)
        self._slices = couple(self._model)
        self._values: dict[ir.Value, ChannelValues] = {}
        self._contractions: dict[str, list[Contraction]] = {}
        for contraction in self._slices.contractions:
            self._contractions.setdefault(contraction.node.outputs[0].name or "", []).append(contraction)
        for node in self._model.graph:
            self._visit(node)
            for value in node.outputs:
                self._add_proven(value)

    def _add_proven(self, value: ir.Value) -> None:
        proven = self._proven.get(value.name or "")
        if proven is None:
            return
        found = self._values.get(value)
        if found is None:
            self._values[value] = proven
        elif found.axis == proven.axis and len(found.known) == len(proven.known):
            values = np.where(found.known, found.values, proven.values).astype(found.values.dtype)
            self._values[value] = ChannelValues(found.axis, found.known | proven.known, values)

    def share(self, contraction: Contraction) -> Share | None:
        """Return what each channel of the data gives to this product of the original model."""
        twins = self._contractions.get(contraction.node.outputs[0].name or "", [])
        if not twins:
            return None
        return self._share(twins[0])

    def _share(self, twin: Contraction) -> Share:
        data, weights = constant_array(twin.data), constant_array(twin.weights)
        size = self._size(twin.data, twin.data_axis)
        known = self._along(twin.data, twin.data_axis)
        if weights is not None:
            sums, used = _matrix(twin, weights)
            groups = twin.groups
            inner = size // groups
            of_group = used.reshape(groups, -1, inner).any(1).reshape(-1)  # (I)
            nothing = ~of_group
            if known is None:
                return Share(nothing, np.zeros(size, bool), None)
            nothing |= known.known & (known.values == 0)
            flat = twin.node.op_type in ("Conv", "Gemm") or (twin.node.op_type == "MatMul" and weights.ndim == 2)
            foldable = known.known & (flat and not _padded(twin.node))
            amounts = None
            if foldable.any():
                amounts = np.zeros((size, len(sums)), np.float64)
                outputs = len(sums) // groups
                for group in range(groups):
                    rows = slice(group * outputs, (group + 1) * outputs)
                    amounts[group * inner : (group + 1) * inner, rows] = sums[rows].T
                amounts *= np.where(foldable, known.values, 0).astype(np.float64)[:, None]
            return Share(nothing, foldable, amounts)
        nothing = np.zeros(size, bool)
        if data is not None:
            nothing |= ~np.moveaxis(data != 0, twin.data_axis, -1).reshape(-1, size).any(0)
        other = self._along(twin.weights, twin.weights_axis)
        for side in (known, other):
            if side is not None and len(side.known) == size:
                nothing |= side.known & (side.values == 0)
        return Share(nothing, np.zeros(size, bool), None)

    def _size(self, value: ir.Value, axis: int) -> int:
        sizes = self._slices.sizes(value)
        size = None if sizes is None else sizes[axis]
        return 0 if size is None else size

    def _along(self, value: ir.Value | None, axis: int) -> ChannelValues | None:
        found = None if value is None else self._values.get(value)
        if found is None or value is None:
            return None
        rank = len(self._slices.sizes(value) or ())
        return found if rank and found.axis == axis % rank else None

    def _visit(self, node: ir.Node) -> None:
        found: ChannelValues | None = None
        y = node.outputs[0] if node.outputs else None
        if y is None:
            return
        contraction = self._contractions.get(y.name or "")
        rule = rule_for(node, self._model)
        if rule is None:
            return
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            found = self._product(node, contraction[0] if contraction else None)
        elif rule is elementwise or node.op_type in _PER_CHANNEL:
            found = self._evaluate(node)
        elif node.op_type in _WINDOWS:
            found = self._pool(node)
        else:
            self._move(self._slices.moves.get(node, []))
        if found is not None and found.known.any():
            self._values[y] = found

    def _product(self, node: ir.Node, contraction: Contraction | None) -> ChannelValues | None:
        """Return the channels of which every weight is zero or meets a constant."""
        x, y = node.inputs[0], node.outputs[0]
        weights = constant_array(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        offset = constant_array(bias)
        sizes = self._slices.sizes(y)
        if x is None or weights is None or sizes is None or (bias is not None and offset is None):
            return None
        if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
            return None
        axis = 1 if node.op_type == "Conv" and node.domain != CHANNELS_LAST else len(sizes) - 1
        rank = len(self._slices.sizes(x) or ())
        if weights.ndim != (rank if node.op_type == "Conv" else 2) or rank < (3 if node.op_type == "Conv" else 2):
            return None
        groups = node.attributes.get_int("group", 1)
        twin = contraction or Contraction(node, x, axis, x, 1 if axis == 1 else rank - 1, groups)
        sums, used = _matrix(twin, weights)
        given = self._along(x, axis if node.op_type == "Conv" else rank - 1)
        size = groups * used.shape[1]
        usable = np.zeros(size, bool)
        numbers = np.zeros(size, np.float64)
        if given is not None and len(given.known) == size:
            usable = given.known & ((given.values == 0) | (not _padded(node)))
            numbers = np.where(usable, given.values, 0).astype(np.float64)
        rows = np.arange(len(used)) // (len(used) // groups)
        known = np.asarray(~(used & ~usable.reshape(groups, -1)[rows]).any(1))
        if not known.any():
            return None
        values = (sums * numbers.reshape(groups, -1)[rows]).sum(1) * node.attributes.get_float("alpha", 1.0)
        if offset is not None:
            if offset.size not in (1, len(values)) or offset.shape[-1:] != (offset.size,):
                return None
            values = values + offset.reshape(-1).astype(np.float64) * node.attributes.get_float("beta", 1.0)
        return ChannelValues(axis, known, np.where(known, values, 0).astype(weights.dtype))

    def _evaluate(self, node: ir.Node) -> ChannelValues | None:
        """Return the channels that follow from constant ones, computed by the node itself on one sample."""
        y = node.outputs[0]
        sizes = self._slices.sizes(y)
        running = [v for v in node.inputs if v is not None and constant_array(v) is None]
        if sizes is None or not running:
            return None
        rank = len(sizes)
        places = [
            (found.axis - len(self._slices.sizes(value) or ()) + rank, value)
            for value in running
            if (found := self._values.get(value)) is not None
        ]
        zeroed = self._zeroed(node, rank)
        if len(places) != len(running):
            return zeroed
        axis = places[0][0]
        size = sizes[axis]
        if size is None or any(place != axis for place, _ in places):
            return zeroed
        known = np.ones(size, bool)
        arrays: dict[ir.Value, Array] = {}
        for _, value in places:
            found = self._values[value]
            if len(found.known) != size:
                return zeroed
            known &= found.known
            lead = len(self._slices.sizes(value) or ()) - rank + axis
            shape = [1] * len(self._slices.sizes(value) or ())
            shape[lead] = size
            arrays[value] = found.values.reshape(shape)
        if not known.any() or _broadcast_size(node, arrays) > MAX_SLICES:
            return zeroed
        result = _run(self._model, node, arrays)
        if result is None or result.ndim != rank or result.shape[axis] != size:
            return zeroed
        flat = np.moveaxis(result, axis, 0).reshape(size, -1)
        if flat.shape[1] == 0:
            return zeroed
        known &= (flat == flat[:, :1]).all(1)
        values = np.where(known, flat[:, 0], 0).astype(result.dtype)
        if zeroed is not None and zeroed.axis == axis:
            values = np.where(zeroed.known & ~known, zeroed.values, values).astype(result.dtype)
            known = known | zeroed.known
        return ChannelValues(axis, known, values)

    def _zeroed(self, node: ir.Node, rank: int) -> ChannelValues | None:
        """Return the channels that a factor of zero makes constant."""
        dtype = np.dtype(np.float32) if node.outputs[0].dtype is None else node.outputs[0].dtype.numpy()
        if node.op_type == "BatchNormalization":
            scale, bias = constant_array(node.inputs[1]), constant_array(node.inputs[2])
            axis = rank - 1 if node.domain == CHANNELS_LAST else 1
            if scale is None or bias is None or rank < 2:
                return None
            return ChannelValues(axis, np.asarray(scale == 0), np.where(scale == 0, bias, 0).astype(dtype))
        if node.op_type != "Mul":
            return None
        factor = next((array for value in node.inputs if (array := constant_array(value)) is not None), None)
        long = [] if factor is None else [axis for axis, size in enumerate(factor.shape) if size != 1]
        if factor is None or len(long) != 1:
            return None
        known = np.asarray(factor.reshape(-1) == 0)
        return ChannelValues(long[0] - factor.ndim + rank, known, np.zeros(known.shape, dtype))

    def _pool(self, node: ir.Node) -> ChannelValues | None:
        found = None if node.inputs[0] is None else self._values.get(node.inputs[0])
        if found is None:
            return None
        if node.op_type == "AveragePool" and _padded(node):
            zero = found.known & (found.values == 0)
            return ChannelValues(found.axis, zero, np.where(zero, found.values, 0).astype(found.values.dtype))
        return found

    def _move(self, moves: list[Move]) -> None:
        by_result: dict[tuple[ir.Value, int], list[Move]] = {}
        for move in moves:
            by_result.setdefault((move.result, move.result_axis), []).append(move)
        for (result, axis), parts in by_result.items():
            size = self._size(result, axis)
            known = np.zeros(size, bool)
            several = np.zeros(size, bool)
            values: Array | None = None
            for part in parts:
                found = self._along(part.data, part.data_axis)
                if found is None:
                    continue
                values = np.zeros(size, found.values.dtype) if values is None else values
                first = np.full(size, -1, np.int64)
                first[part.target[::-1]] = part.source[::-1]
                reached = first >= 0
                known[reached] = found.known[first[reached]]
                values[reached] = found.values[first[reached]]
                differs = ~found.known[part.source] | (found.values[part.source] != values[part.target])
                several[part.target[differs]] = True
            known &= ~several
            if values is not None and known.any():
                self._values[result] = ChannelValues(axis, known, np.where(known, values, 0).astype(values.dtype))


def _stuck_channels(model: ir.Model, input_grids: Mapping[str, Grid]) -> dict[str, ChannelValues]:
    """Return the channels that have one value for all inputs on their grids, by tensor."""
    found: dict[str, ChannelValues] = {}
    for name, tensor in tensor_ranges(model, input_grids).items():
        pairs = tensor.channel_values
        if not tensor.stuck or not pairs:
            continue
        ends = pairs * tensor.channels if len(pairs) == 1 else pairs
        known = np.zeros(tensor.channels, bool)
        values = np.zeros(tensor.channels, np.float32)
        for channel in tensor.stuck:
            low, high = ends[channel]
            known[channel] = low == high == np.float32(low)
            values[channel] = low if known[channel] else 0
        if known.any():
            found[name] = ChannelValues(tensor.axis, known, values)
    return found


def _matrix(contraction: Contraction, weights: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the weights as (outputs, inputs of a group): summed over the taps, and whether any of them is not 0."""
    node = contraction.node
    if node.op_type in ("Conv", "ConvTranspose"):
        last = node.domain == CHANNELS_LAST
        shaped = np.moveaxis(weights, -1, 1) if last else weights
        shaped = np.swapaxes(shaped, 0, 1) if node.op_type == "ConvTranspose" else shaped
        flat = shaped.reshape(*shaped.shape[:2], -1)
        return flat.sum(2, dtype=np.float64), (flat != 0).any(2)
    if node.op_type == "Gemm":
        rows = weights if node.attributes.get_int("transB", 0) else weights.T
        return rows.astype(np.float64), rows != 0
    inner = np.moveaxis(weights, -2 if weights.ndim > 1 else 0, -1)
    rows = inner.reshape(-1, inner.shape[-1])
    return rows.astype(np.float64), rows != 0


def _padded(node: ir.Node) -> bool:
    automatic = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    return automatic.startswith("SAME") or any(node.attributes.get_ints("pads") or ())


def _broadcast_size(node: ir.Node, arrays: Mapping[ir.Value, Array]) -> int:
    """Return how many elements the result can have at most."""
    shapes: list[tuple[int, ...]] = []
    for value in node.inputs:
        tensor = constant_tensor(value)
        if value is not None and value in arrays:
            shapes.append(arrays[value].shape)
        elif tensor is not None:
            shapes.append(tuple(int(str(size)) for size in tensor.shape))
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return math.prod(max(sizes) for sizes in zip(*padded, strict=True))


def _run(model: ir.Model, node: ir.Node, arrays: dict[ir.Value, Array]) -> Array | None:
    """Return what the node makes of these arrays and its constants."""
    inputs: list[ir.Value | None] = []
    stored: dict[ir.Value, ir.Value] = {}
    for value in node.inputs:
        if value is None:
            inputs.append(None)
            continue
        if value not in stored:
            array = arrays[value] if value in arrays else constant_array(value)
            stored[value] = ir.val(value.name, const_value=ir.tensor(np.asarray(array), name=value.name))
        inputs.append(stored[value])
    twin = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=1, name="node")
    twin.outputs[0].name = f"{node.outputs[0].name}/channels"
    twin.outputs[0].type = node.outputs[0].type
    graph = ir.Graph(
        [], [twin.outputs[0]], nodes=[twin], initializers=list(stored.values()), name="channels",
        opset_imports=dict(model.opset_imports),
    )  # fmt: skip
    part = ir.Model(graph, ir_version=max(model.ir_version or 0, 10))
    try:
        FoldConstants(quantizers=True).run(part)
    except InvalidModel:
        return None
    return constant_array(part.graph.outputs[0])

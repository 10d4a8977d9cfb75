"""Writes convolutions as windows (Im2Col) times a matrix, the form that hardware for matrix products knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.annotations import get_datatype, set_datatype, set_layout, set_sparsity
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.im2col import Im2Col
from qonnx_core.ops.op import DOMAIN
from qonnx_core.ops.quant import Quant
from qonnx_core.ops.registry import op_of
from qonnx_core.ops.windows import Window
from qonnx_core.passes.base import graphs_of, is_standard, replace_value
from qonnx_core.passes.layouts.emitter import Emitter, emitters, stem_of
from qonnx_core.passes.layouts.refusals import refusal_sentences
from qonnx_core.passes.layouts.shapes import know_shapes
from qonnx_core.passes.layouts.statics import Statics, can_move
from qonnx_core.passes.layouts.window import conv_window_of
from qonnx_core.passes.remove_unused import RemoveUnused


@dataclass(frozen=True)
class LowerConvsToMatMul:
    """``Conv(x, W)`` becomes ``Transpose(MatMul(Im2Col(Transpose(x)), W'))``, in one and two dimensions.

    ``W'`` is ``(kh * kw * C, O)``, rows in the order (kh, kw, C). A pointwise convolution needs no Im2Col. A bias is
    added behind the MatMul. A Conv of the channels-last domain needs no Transposes. Quantizers of weights stay, their
    parameters move along. With groups the matrix has zeros outside of its blocks; a depthwise convolution is marked on
    the weights (sparsity ``{'dw': {'kernel_shape': [kh, kw]}}``) and on Im2Col. The batch may be symbolic; the size of
    the image has to be fixed unless the convolution is pointwise.

    Equal where sums are exact in float32 (integers on one grid below 2^24), else up to rounding; with groups for finite
    data only, because the matrix multiplies every channel by its zeros.

    ``strict`` raises Unsupported where a convolution cannot be lowered; otherwise it stays, and
    :meth:`refusals` says why.
    """

    strict: bool = False
    name: str = "lower_convs_to_matmul"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of convolutions lowered.

        Raises:
            InvalidModel: shapes contradict each other.
            Unsupported: ``strict``, and a convolution cannot be lowered; with all reasons.
        """
        if not any(_is_conv(node) for graph in graphs_of(model) for node in graph):
            return 0
        know_shapes(model)
        reasons = self.refusals(model)
        if self.strict and reasons:
            raise Unsupported("model: has convolutions that cannot be written as Im2Col and MatMul", reasons)
        lowered = 0
        for emitter in emitters(model):
            convs = [node for node in emitter.graph if _is_conv(node)]
            nodes = [node for node in convs if not isinstance(_plan(node, model.opset_imports), str)]
            if not nodes:
                continue
            model.opset_imports.setdefault(DOMAIN, 1)
            lowering = _Lowering(emitter, Statics(emitter))
            for node in nodes:
                plan = _plan(node, model.opset_imports)
                assert not isinstance(plan, str)
                lowering.lower(node, plan)
            lowered += len(nodes)
        if lowered:
            RemoveUnused().run(model)
        return lowered

    def refusals(self, model: ir.Model) -> list[str]:
        """Return one sentence for each convolution that stays as it is: which one, why, and what to try."""
        return refusal_sentences(model, lambda node: _refusal(node, model))


@dataclass(frozen=True)
class _Plan:
    """What is known of a convolution that can be lowered."""

    window: Window  # two axes; the image of a 1-D convolution has height 1
    one_dimensional: bool
    channels_last: bool  # data, weights and result are (N, ..., C)
    channels: int
    filters: int
    groups: int
    size: tuple[int, int] | None  # of the image; None where it is not known and not needed

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.channels == self.filters and self.groups > 1


def _refusal(node: ir.Node, model: ir.Model) -> str | None:
    plan = _plan(node, model.opset_imports) if _is_conv(node) else None
    return plan if isinstance(plan, str) else None


def _is_conv(node: ir.Node) -> bool:
    return node.op_type == "Conv" and (is_standard(node) or node.domain == CHANNELS_LAST)


def _plan(node: ir.Node, imports: dict[str, int]) -> _Plan | str:
    """Return the plan for a Conv, or the reason why it cannot be lowered."""
    data, weights = node.inputs[:2]
    assert data is not None
    assert weights is not None
    last = not is_standard(node)
    window = conv_window_of(node, channels_last=last)
    if isinstance(window, str):
        return window
    if window.num_axes > 2:
        return f"has {window.num_axes} spatial axes; Im2Col knows one or two. Keep it as a convolution"
    assert weights.shape is not None
    filters, per_group = (int(str(weights.shape[axis])) for axis in (0, -1 if last else 1))
    groups = node.attributes.get_int("group", 1)
    if groups > 1 and not can_move(weights, len(weights.shape or ()), imports):
        return f"has {groups} groups and computed weights; expected constant or quantized constant weights. Fold them"
    one_dimensional = window.num_axes == 1
    if one_dimensional:
        pads = (0, window.pads[0], 0, window.pads[1])
        window = Window((1, *window.kernel), (1, *window.strides), (1, *window.dilations), pads)
    sizes = [] if data.shape is None else list(data.shape)[1:-1] if last else list(data.shape)[2:]
    known = [size for size in sizes if isinstance(size, int)]
    if sizes and len(sizes) != (1 if one_dimensional else 2):
        return f"its data have {len(sizes)} spatial axes, its kernel {1 if one_dimensional else 2}; correct the shapes"
    size: tuple[int, int] | None = None
    if sizes and len(known) == len(sizes):
        size = (1, known[0]) if one_dimensional else (known[0], known[1])
    if size is None and not window.is_pointwise:
        return "the size of its image is not fixed, which Im2Col writes down; give the input a fixed height and width"
    return _Plan(window, one_dimensional, last, per_group * groups, filters, groups, size)


class _Lowering:
    """Lowers the convolutions of one graph; weights that several of them share are moved once."""

    def __init__(self, emitter: Emitter, statics: Statics) -> None:
        self._emitter = emitter
        self._statics = statics
        self._masks: dict[tuple[ir.Value, int], ir.Value] = {}

    def lower(self, node: ir.Node, plan: _Plan) -> None:
        """Replace one Conv."""
        data, result = node.inputs[0], node.outputs[0]
        assert data is not None
        stem = stem_of(node)
        current = data if plan.channels_last else self._channels_last(node, data, plan, stem)
        if not plan.window.is_pointwise:
            current = self._windows(node, data, current, plan, stem)
        weights = self._weights(node, plan)
        product = self._emitter.node(node, "MatMul", [current, weights], stem=stem, outputs=[f"{result.name}/matmul"])
        current = product.outputs[0]
        current.type = result.type
        current.shape = result.shape if plan.channels_last else _with_channels(result.shape, plan.filters)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None:
            added = self._emitter.node(
                node, "Add", [current, bias], stem=f"{stem}/bias", outputs=[f"{result.name}/biased"]
            ).outputs[0]
            added.type, added.shape = current.type, current.shape
            current = added
        set_datatype(current, get_datatype(result))
        rank = 3 if plan.one_dimensional else 4
        self._annotate(current, rank)
        product.metadata_props.update(node.metadata_props)
        if not plan.channels_last:
            current = self._channels_first(node, current, rank, stem)
        name, own = result.name, node.name
        current.type, current.shape = result.type, result.shape
        replace_value(result, current)
        self._emitter.graph.remove(node, safe=True)
        result.name = f"{name}_replaced"
        current.name = name
        product.name = own or product.name

    def _channels_first(self, node: ir.Node, current: ir.Value, rank: int, stem: str) -> ir.Value:
        return self._emitter.node(
            node,
            "Transpose",
            [current],
            {"perm": [0, rank - 1, *range(1, rank - 1)]},
            stem=f"{stem}/to_channels_first",
            outputs=[f"{stem}/channels_first"],
            source=node,
        ).outputs[0]

    def _channels_last(self, node: ir.Node, data: ir.Value, plan: _Plan, stem: str) -> ir.Value:
        rank = 3 if plan.one_dimensional else 4
        made = self._emitter.node(
            node,
            "Transpose",
            [data],
            {"perm": [0, *range(2, rank), 1]},
            stem=f"{stem}/to_channels_last",
            outputs=[f"{stem}/channels_last"],
            source=node,
        ).outputs[0]
        made.type = data.type
        made.shape = _with_channels(data.shape, plan.channels)
        set_datatype(made, get_datatype(data))
        self._annotate(made, rank)
        return made

    def _windows(self, node: ir.Node, data: ir.Value, current: ir.Value, plan: _Plan, stem: str) -> ir.Value:
        """Return the windows of the channels-last data: ``(N, H', W', kh * kw * C)``, or without H' in 1-D."""
        window = plan.window
        assert plan.size is not None
        if plan.one_dimensional:
            current = self._reshaped(node, current, "Unsqueeze", f"{stem}/with_height")
            if data.shape is not None:
                current.shape = ir.Shape([data.shape[0], 1, plan.size[1], plan.channels])
        datatype = get_datatype(data)
        set_datatype(current, datatype or DataType.parse("FLOAT32"))  # the format's own executor asks for one
        op = Im2Col(
            stride=window.strides,
            kernel_size=window.kernel,
            input_shape=f"(1,{plan.size[0]},{plan.size[1]},{plan.channels})",
            pad_amount=window.pads,
            depthwise=plan.is_depthwise,
            dilations=window.dilations,
        )
        made = self._emitter.node(
            node,
            "Im2Col",
            [current],
            op.attributes(),
            stem=f"{stem}/im2col",
            outputs=[f"{stem}/windows"],
            domain=DOMAIN,
            source=node,
        ).outputs[0]
        made.type = data.type
        if current.shape is not None:
            inferred = op.infer_shape([tuple(_plain(size) for size in current.shape)])
            made.shape = None if inferred is None else ir.Shape(inferred)
        if datatype is not None and op.keeps_datatype(datatype):
            set_datatype(made, datatype)
        if plan.one_dimensional:
            windows_shape = made.shape
            made = self._reshaped(node, made, "Squeeze", f"{stem}/without_height")
            if windows_shape is not None:
                made.shape = ir.Shape([size for axis, size in enumerate(windows_shape) if axis != 1])
        return made

    def _reshaped(self, node: ir.Node, value: ir.Value, op_type: str, stem: str) -> ir.Value:
        """Return the value with an axis for the height, of size 1, or without it."""
        axis = self._emitter.vector([1], f"{stem}/axes")
        made = self._emitter.node(node, op_type, [value, axis], stem=stem, outputs=[f"{stem}/out"], source=node)
        made.outputs[0].type = value.type
        set_datatype(made.outputs[0], get_datatype(value))
        return made.outputs[0]

    def _weights(self, node: ir.Node, plan: _Plan) -> ir.Value:
        weights = node.inputs[1]
        assert weights is not None
        rank = 3 if plan.one_dimensional else 4
        rows = plan.window.kernel[0] * plan.window.kernel[1] * plan.channels
        to_matrix = _to_matrix(rank, plan)
        last = plan.channels_last
        if plan.groups == 1:
            moved = self._statics.moved(weights, rank, ("matrix", 1, last), to_matrix, node, suffix="matrix")
            return self._computed(node, weights, rank, rows, plan) if moved is None else moved
        moved = None
        if _keeps_zeros(weights, self._emitter.model):
            blocks = _blocks(to_matrix, plan)
            key = ("matrix", plan.groups, last)
            moved = self._statics.moved(weights, rank, key, to_matrix, node, data_move=blocks, suffix="matrix")
        if moved is None:
            moved = self._masked(node, weights, rank, plan, to_matrix)
        if plan.is_depthwise:
            axes = plan.window.kernel[1:] if plan.one_dimensional else plan.window.kernel
            kernel = [1, *axes] if plan.one_dimensional else list(axes)
            for value in _first_inputs(moved):
                set_sparsity(value, {"dw": {"kernel_shape": kernel}})
        return moved

    def _masked(self, node: ir.Node, weights: ir.Value, rank: int, plan: _Plan, to_matrix: _Move) -> ir.Value:
        """Return the weights repeated over all groups, times 1 inside the blocks and 0 outside."""
        known = self._masks.get((weights, plan.groups))
        if known is not None:
            return known
        key = ("repeated", plan.groups, plan.channels_last)
        moved = self._statics.moved(weights, rank, key, to_matrix, node, suffix="matrix")
        assert moved is not None, "the plan asks for static weights"
        dtype = np.dtype(np.float32) if weights.dtype is None else weights.dtype.numpy()
        ones = np.ones((plan.filters, plan.channels // plan.groups, *plan.window.kernel), dtype)
        array = _blocks(_to_matrix(4, dataclasses.replace(plan, channels_last=False)), plan)(ones)
        mask = self._emitter.constant(array, f"{weights.name}/blocks")
        made = self._emitter.node(
            node, "Mul", [moved, mask], stem=f"{stem_of(node)}/mask", outputs=[f"{weights.name}/masked"]
        ).outputs[0]
        made.type, made.shape = weights.type, ir.Shape(array.shape)
        set_datatype(made, None)
        self._masks[weights, plan.groups] = made
        return made

    def _computed(self, node: ir.Node, weights: ir.Value, rank: int, rows: int, plan: _Plan) -> ir.Value:
        """Return weights that are computed while the model runs, as a matrix."""
        stem = f"{stem_of(node)}/weights"
        permutation = [*range(1, rank), 0] if plan.channels_last else [*range(2, rank), 1, 0]
        moved = self._emitter.node(
            node, "Transpose", [weights], {"perm": permutation}, stem=stem, outputs=[f"{stem}/transposed"], source=node
        ).outputs[0]
        moved.type = weights.type
        moved.shape = None if weights.shape is None else ir.Shape([weights.shape[axis] for axis in permutation])
        set_datatype(moved, get_datatype(weights))
        target = self._emitter.vector([rows, plan.filters], f"{stem}/shape")
        made = self._emitter.node(
            node, "Reshape", [moved, target], stem=f"{stem}/reshape", outputs=[f"{stem}/matrix"], source=node
        ).outputs[0]
        made.type, made.shape = weights.type, ir.Shape([rows, plan.filters])
        set_datatype(made, get_datatype(weights))
        return made

    @staticmethod
    def _annotate(value: ir.Value, rank: int) -> None:
        set_layout(value, ("N", "W", "C") if rank == 3 else ("N", "H", "W", "C"))


_Move = Callable[[Array], Array]


def _to_matrix(rank: int, plan: _Plan) -> _Move:
    """Return the move of ``(O, C / group, kernel)`` to ``(kernel * C, O)``, the weights of a group repeated."""
    sizes = (*plan.window.kernel[2 - (rank - 2) :], plan.channels)

    def move(array: Array) -> Array:
        if plan.channels_last:
            array = np.moveaxis(array, -1, 1)
        if plan.groups > 1 and array.shape[1] > 1:
            array = np.tile(array, (1, plan.groups, *(1,) * (rank - 2)))
        moved = array.transpose(*range(2, rank), 1, 0)
        if all(size == 1 for size in moved.shape[:-1]) and plan.channels // plan.groups * np.prod(sizes[:-1]) != 1:
            return moved.reshape(1, moved.shape[-1])
        return np.broadcast_to(moved, (*sizes, moved.shape[-1])).reshape(-1, moved.shape[-1])

    return move


def _blocks(to_matrix: _Move, plan: _Plan) -> _Move:
    """Return the same move, with zeros where a filter and a channel are of different groups."""
    channels, filters = plan.channels // plan.groups, plan.filters // plan.groups
    same = np.arange(plan.channels)[:, None] // channels == np.arange(plan.filters)[None, :] // filters
    taps = plan.window.kernel[0] * plan.window.kernel[1]

    def move(array: Array) -> Array:
        wide = np.broadcast_to(to_matrix(array), (taps * plan.channels, plan.filters))
        return np.where(np.tile(same, (taps, 1)), wide, np.zeros((), array.dtype))

    return move


def _keeps_zeros(weights: ir.Value, model: ir.Model) -> bool:
    """Return whether a zero in the place of a stored weight is a zero behind its quantizer."""
    node = weights.producer()
    if constant_array(weights) is not None:
        return True
    assert node is not None
    op = op_of(node, model.opset_imports)
    if not isinstance(op, Quant):
        return False
    _, _, zero_point, width = (np.asarray(constant_array(value), np.float64) for value in node.inputs)
    if np.any(width < 2) or np.any(zero_point != np.round(zero_point)):
        return False
    low = -(2.0 ** (width - 1)) + op.narrow if op.signed else 0 * width
    high = 2.0 ** (width - 1) - 1 if op.signed else 2.0**width - 1 - op.narrow
    return bool(np.all(low <= zero_point) and np.all(zero_point <= high))


def _first_inputs(value: ir.Value) -> list[ir.Value]:
    """Return the value, and behind a quantizer or mask the stored weights too."""
    found = [value]
    node = value.producer()
    while node is not None and node.inputs and node.inputs[0] is not None:
        found.append(node.inputs[0])
        node = node.inputs[0].producer()
    return found


def _with_channels(shape: ir.Shape | None, channels: int) -> ir.Shape | None:
    return None if shape is None else ir.Shape([shape[0], *list(shape)[2:], channels])


def _plain(size: object) -> int | str | None:
    return size if isinstance(size, int) else getattr(size, "value", None)

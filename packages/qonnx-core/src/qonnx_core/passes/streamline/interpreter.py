"""One forward walk over a cleaned QONNX graph that knows every tensor as an exact function of integers.

Linear in the graph. Nothing is rewritten: an integer layer is emitted where integers are made (a quantizer) or summed
(a product, a residual addition); everything elementwise between them is carried along as an exact chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.annotations import get_layout
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.ir.sizes import is_without_elements
from qonnx_core.ops.registry import is_defined
from qonnx_core.passes.base import is_standard
from qonnx_core.passes.streamline import constants, exact, linear, steps
from qonnx_core.passes.streamline.builder import IntegerGraph
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.elementwise import Affine, GridValue, Params, at, then
from qonnx_core.passes.streamline.quantize import QuantizerOptions, emit_thresholds, per_channel, quantize
from qonnx_core.passes.streamline.representation import Failed, Knowledge, Represented, params_of
from qonnx_core.passes.streamline.view import IntTensor

QUANTIZERS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "Sign"})
_SHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
_WINDOWS = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "QuantAvgPool2d", "Im2Col", "MaxPoolNHWC"})
_ONE = Affine((Fraction(1),), (Fraction(0),))


@dataclass(frozen=True)
class PortPlan:
    """A graph input: its integers, its grid, and the axis order in which they travel."""

    tensor: IntTensor
    value: ir.Value
    grid: Grid
    perm: tuple[int, ...]


@dataclass
class Interpretation:
    """What is known about each tensor by name, the integer layers so far, the inputs, and why nodes failed."""

    graph: IntegerGraph = field(default_factory=IntegerGraph)
    known: dict[str, Knowledge] = field(default_factory=dict)
    inputs: list[PortPlan] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # by node name, in order

    def of(self, value: ir.Value) -> Knowledge:
        """Return what is known about a value."""
        name = value.name or ""
        if name not in self.known:
            constant = _read(value)
            self.known[name] = constant if constant is not None else Failed(f"tensor {name} has no producer")
        return self.known[name]


def _read(value: ir.Value) -> Constant | None:
    """Return the constant behind a value; thresholds may be infinite."""
    are_thresholds = all(use.node.op_type == "MultiThreshold" and use.idx == 1 for use in value.uses())
    return constants.thresholds_of(value) if are_thresholds else constants.initializer(value)


def interpret(model: ir.Model, input_grids: Mapping[str, Grid], options: QuantizerOptions) -> Interpretation:
    """Return what is known about each tensor of a cleaned model; failures are collected, not raised."""
    result = Interpretation()
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        try:
            plan, represented = _input(result.graph, value, input_grids.get(value.name or ""))
        except Unsupported as error:
            result.known[value.name or ""] = Failed(f"input {value.name}: {error}")
            result.failures[f"input {value.name}"] = f"input {value.name}: {error}"
            continue
        result.inputs.append(plan)
        result.known[value.name or ""] = represented
    for node in model.graph:
        _visit(result, node, options)
    return result


def _visit(state: Interpretation, node: ir.Node, options: QuantizerOptions) -> None:
    where = f"{node.name or node.op_type} ({node.op_type})"
    try:
        outputs = _outputs(state, node, options)
    except Unsupported as error:
        state.failures[where] = f"{where}: {error}"
        outputs = [Failed(f"{where}: {error}")] * len(node.outputs)
    for value, knowledge in zip(node.outputs, outputs, strict=False):
        state.known[value.name or ""] = knowledge


def _outputs(state: Interpretation, node: ir.Node, options: QuantizerOptions) -> list[Knowledge]:
    if is_without_elements(node):
        raise Unsupported("a tensor without elements; take it out of the model")
    if not is_defined(node):
        raise Unsupported(f"an operator of domain {node.domain or 'ai.onnx'!r} that has no definition here; give it to "
                          "the host, or write it with operators of ONNX and QONNX")  # fmt: skip
    if node.op_type == "Constant":
        constant = constants.initializer(node.outputs[0])
        if constant is None:
            raise Unsupported("a constant that is no array of numbers")
        return [constant]
    inputs = [None if value is None else state.of(value) for value in node.inputs]
    for value, knowledge in zip(node.inputs, inputs, strict=True):
        if isinstance(knowledge, Failed):
            return [Failed(f"it depends on {value.name if value else ''}", own=False)] * len(node.outputs)
    consts = [k if isinstance(k, Constant) else None for k in inputs]
    tensors = [i for i, k in enumerate(inputs) if isinstance(k, Represented)]
    if not tensors:
        return [constants.evaluate_constant(node, consts)]
    first = inputs[tensors[0]]
    if not isinstance(first, Represented):
        raise AssertionError("tensors lists represented inputs")
    if len(tensors) > 1:
        return [_sum(state.graph, node, inputs)]
    return _one_tensor(state, node, first, consts, tensors[0], options)


def _sum(graph: IntegerGraph, node: ir.Node, inputs: list[Knowledge | None]) -> Represented:
    """Return the sum (or difference) of several tensors, from left to right."""
    terms = [term for term in inputs if isinstance(term, Represented)]
    if node.op_type not in ("Add", "Sub", "Sum"):
        raise Unsupported("it combines several tensors; only Add, Sub and Sum do that on integers. "
                          "Rewrite it with these, or give it to the host")  # fmt: skip
    if len(terms) != len(inputs):
        raise Unsupported("it sums tensors and constants; add the constants by a node of their own")
    total = terms[0]
    for position, term in enumerate(terms[1:], 1):
        inner = "" if position == len(terms) - 1 else f"_{position}"
        name, output = f"{_name(node)}{inner}", f"{_out(node)}{inner}"
        total = linear.add(graph, total, term, name, output, subtract=node.op_type == "Sub")
    return total


def _one_tensor(
    state: Interpretation,
    node: ir.Node,
    x: Represented,
    consts: list[Constant | None],
    position: int,
    options: QuantizerOptions,
) -> list[Knowledge]:
    graph = state.graph
    if node.op_type in _WINDOWS:
        raise Unsupported("sliding windows have no integer form in this version, which builds multilayer perceptrons; "
                          "give it and all before or behind it to the host")  # fmt: skip
    if node.op_type in _SHAPES:
        return [_reshaped(node, x, consts)]
    if node.op_type in ("MatMul", "Gemm"):
        return [_product(graph, node, x, consts, position)]
    if node.op_type in ("ArgMax", "TopK"):
        return _selected(graph, node, x, consts)
    x = _fitting(graph, node, x, [c for i, c in enumerate(consts) if c is not None and i != position])

    def read(constant: Constant) -> Params:
        of_axis_1 = node.op_type == "BatchNormalization" and is_standard(node)
        if of_axis_1 and len(x.shape) > 1:
            column = (1, -1, *(1,) * (len(x.shape) - 1))
            constant = Constant(constant.mantissa.reshape(column), constant.scale.reshape((1,) * len(column)))
        params, needs_flat = params_of(constant, x)
        if needs_flat:
            raise Unsupported("its channels are not the last axis of the travelling tensor; flatten it first")
        return params

    if node.op_type == "MultiThreshold":
        return [_multithreshold(graph, node, x, consts)]
    if node.op_type in QUANTIZERS and position == 0:
        quantizer = steps.quantizer_of(node, consts, read, lambda before: _range_after(x, before))
        if quantizer is not None:
            return [quantize(graph, x, quantizer, _name(node), _out(node), options)]
    found = steps.step_of(node, consts, position, read)
    if found is None:
        raise Unsupported("no integer form of this operator is known; give the node to host, or quantize around it")
    if not found:
        return [replace(x, fresh=False)] * len(node.outputs)
    for step in found:
        x = x.after(step)
    return [x]


def _fitting(graph: IntegerGraph, node: ir.Node, x: Represented, others: list[Constant]) -> Represented:
    """Return the tensor flattened where a constant differs along more than the travelling channel axis."""
    if node.op_type in ("MultiThreshold", "BatchNormalization"):
        return x
    for constant in others:
        try:
            differs_along_the_frame = params_of(constant, x)[1]
        except Unsupported:  # no parameters of channels; whoever reads them as such says so
            continue
        if differs_along_the_frame:
            return linear.flattened(graph, x, _name(node))
    return x


def _input(graph: IntegerGraph, value: ir.Value, grid: Grid | None) -> tuple[PortPlan, Represented]:
    if grid is None:
        raise Unsupported("it lies on no integer grid; name one, for example with --input-type NAME=UINT8*1/255")
    if value.shape is None or len(value.shape) < 2 or not all(isinstance(d, int) for d in value.shape[1:]):
        raise Unsupported(f"shape {value.shape}; a batch axis and fixed other axes are needed. Fix the shape first")
    frame = tuple(int(d) for d in value.shape[1:])  # type: ignore[arg-type]
    channels_first = len(frame) == 3 and _is_channels_first(frame, get_layout(value))
    perm = (0, 2, 3, 1) if channels_first else tuple(range(len(frame) + 1))
    moved = np.arange(prod(frame)).reshape(frame).transpose([p - 1 for p in perm[1:]])
    shape = (1, *moved.shape)
    index = None if np.array_equal(moved.reshape(-1), np.arange(prod(frame))) else moved.reshape(-1)
    flat = index is None and grid.channels == 1 and all(u.node.op_type in ("Reshape", "Flatten") for u in value.uses())
    if flat and value.uses():
        shape = (1, prod(frame))
    if grid.channels not in (1, shape[-1]):
        raise Unsupported(f"its grid has {grid.channels} channels, the tensor {shape[-1]}; give one scale per channel")
    tensor = graph.input(value.name or "input", shape, grid.datatype)
    start = GridValue(grid)
    chain = (start.linear(),) if start.is_linear() else (start,)
    represented = Represented(tensor, chain, frame, index, grid.datatype, True)
    return PortPlan(tensor, value, grid, perm), represented


def _is_channels_first(frame: tuple[int, ...], layout: tuple[str, ...] | None) -> bool:
    """Return whether a picture is (C, H, W): by its annotation, else unless only the last axis can be the channels."""
    if layout is not None:
        return layout[-1] != "C"
    return not frame[0] > 4 >= frame[2]


def _product(
    graph: IntegerGraph, node: ir.Node, x: Represented, consts: list[Constant | None], position: int
) -> Represented:
    if position != 0:
        raise Unsupported("the weights stand first; transpose the product so that the tensor comes first")
    weights = consts[1]
    if weights is None:
        raise Unsupported("its weights are not constant; make them constants")
    if node.op_type == "MatMul":
        return linear.matmul(graph, x, weights, _name(node), _out(node))
    if constants.int_attribute(node, "transA", 0):
        raise Unsupported("transA is 1; transpose the tensor before the product")
    if constants.int_attribute(node, "transB", 0):
        weights = Constant(weights.mantissa.T, weights.scale.T, weights.datatype)
    y = linear.matmul(graph, x, weights, _name(node), _out(node))
    alpha = constants.float_attribute(node, "alpha", 1.0)
    beta = constants.float_attribute(node, "beta", 1.0)
    chain = then(y.chain, Affine((alpha,), (Fraction(0),)))
    if len(consts) > 2 and consts[2] is not None:
        bias = params_of(consts[2], y)[0]
        chain = then(chain, Affine((Fraction(1),), tuple(beta * b for b in bias)))
    return replace(y, chain=chain)


def _reshaped(node: ir.Node, x: Represented, consts: list[Constant | None]) -> Represented:
    count = prod(x.shape)
    if node.op_type == "Transpose":
        axes = permutation_of(node, len(x.shape) + 1)
        if len(axes) != len(x.shape) + 1 or axes[0] != 0:
            raise Unsupported("it moves the batch axis; keep the batch axis first")
        positions = np.arange(count).reshape(x.shape).transpose([a - 1 for a in axes[1:]])
        place = np.empty(count, np.int64)  # old position -> new position
        place[positions.reshape(-1)] = np.arange(count)
        index = place if x.index is None else place[x.index]
        identity = np.array_equal(index, np.arange(count))
        return replace(x, shape=positions.shape, index=None if identity else index, fresh=False)
    shape = _target_shape(node, x, consts)
    if prod(shape) != count:
        raise Unsupported(f"it turns frames of shape {list(x.shape)} into {list(shape)}, across the batch axis; "
                          "keep the batch axis first")  # fmt: skip
    return replace(x, shape=shape, fresh=False)


def _target_shape(node: ir.Node, x: Represented, consts: list[Constant | None]) -> tuple[int, ...]:
    full = (1, *x.shape)
    if node.op_type == "Flatten":
        axis = constants.int_attribute(node, "axis", 1) % (len(full) + 1)
        if axis != 1:
            raise Unsupported(f"axis is {axis}; only flattening everything behind the batch axis (axis 1) is supported")
        return (prod(x.shape),)
    if node.op_type == "Reshape":
        requested = consts[1] if len(consts) > 1 else None
        if requested is not None:
            dims = [int(d) for d in requested.mantissa.reshape(-1)]
            keep = not constants.int_attribute(node, "allowzero", 0)
            dims = [full[i] if d == 0 and keep and i < len(full) else d for i, d in enumerate(dims)]
            if dims and dims.count(-1) <= 1:
                if dims[0] == -1 and -1 not in dims[1:]:
                    return tuple(dims[1:])
                return tuple(prod(x.shape) // prod(d for d in dims[1:] if d != -1) if d == -1 else d for d in dims[1:])
    shape = node.outputs[0].shape
    if shape is None or len(shape) < 1 or not all(isinstance(d, int) for d in shape[1:]):
        raise Unsupported("its output shape is not known; run shape inference (cleanup_model)")
    return tuple(int(d) for d in shape[1:])  # type: ignore[arg-type]


def _selected(graph: IntegerGraph, node: ir.Node, x: Represented, consts: list[Constant | None]) -> list[Knowledge]:
    axis = constants.int_attribute(node, "axis", 0 if node.op_type == "ArgMax" else -1)
    if axis % (len(x.shape) + 1) != len(x.shape):
        raise Unsupported(f"axis is {axis}; only the last axis is supported")
    if x.index is None and len(x.shape) == 1:
        x = linear.flattened(graph, x, _name(node))
    if node.op_type == "ArgMax":
        if constants.int_attribute(node, "select_last_index", 0):
            raise Unsupported("select_last_index is 1; hardware gives ties to the lowest index")
        shape = (1,) if constants.int_attribute(node, "keepdims", 1) else ()
        return [linear.label_select(graph, x, 1, _name(node), _out(node), largest=True, shape=shape)]
    count = consts[1] if len(consts) > 1 else None
    k = int(count.mantissa.reshape(-1)[0]) if count is not None else constants.int_attribute(node, "k", 1)
    largest = bool(constants.int_attribute(node, "largest", 1))
    name = node.outputs[1].name or _out(node)
    chosen = linear.label_select(graph, x, k, _name(node), name, largest=largest, shape=(k,))
    return [Failed(f"{node.name} ({node.op_type}): the values of TopK have no integer form; use its indices"), chosen]


def _multithreshold(graph: IntegerGraph, node: ir.Node, x: Represented, consts: list[Constant | None]) -> Represented:
    table = consts[1]
    if table is None or len(table.shape) != 2:
        raise Unsupported("its thresholds are no constant matrix [C, T]; make them constants")
    layout = node.attributes.get("data_layout")
    last = len(x.shape) == 1 or (layout is not None and layout.as_string().endswith("C"))
    rows, count = table.shape
    shape = (1,) * len(x.shape) + (rows,) if last else (1, rows) + (1,) * (len(x.shape) - 1)
    numbers = constants.plain(np.arange(rows).reshape(shape))
    order, needs_flat = params_of(numbers, x)
    if needs_flat:
        x = linear.flattened(graph, x, _name(node))
        order = params_of(numbers, x)[0]
    levels, after, datatype = steps.multithreshold_of(
        node, [[table.fraction(row * count + t) for t in range(count)] for row in range(rows)]
    )
    name = node.attributes.get("out_dtype")
    declared = DataType.parse(name.as_string()) if name is not None else datatype
    gain, bias = after.gain[0], after.offset[0]
    whole = (
        isinstance(gain, Fraction) and gain.denominator == 1 and isinstance(bias, Fraction) and bias.denominator == 1
    )
    if declared.is_integer() and whole and exact.sign(gain) > 0:
        levels = [replace(row, base=exact.floor(bias), step=exact.floor(gain)) for row in levels]
        datatype, after = declared, _ONE
    if len(order) == 1:
        row = int(order[0])  # type: ignore[arg-type]
        base = emit_thresholds(graph, x.base, [x.chain], [levels[row]], _name(node), _out(node), datatype)
    else:
        chains = per_channel(x.chain, x.base.channels)
        chosen = [levels[int(row)] for row in order]  # type: ignore[arg-type]
        base = emit_thresholds(graph, x.base, chains, chosen, _name(node), _out(node), datatype)
    return Represented(base, (after,), x.shape, x.index, datatype, True)


def _range_after(x: Represented, before: Affine) -> tuple[int, int]:
    line = x.after(before).affine()
    if line is None:
        raise Unsupported("a function that is not linear stands before it, so its range is not known; quantize first")
    ends: list[exact.Real] = []
    for c in range(x.base.channels):
        gain, offset = at(line.gain, c), at(line.offset, c)
        ends += [gain * int(x.base.lo[c]) + offset, gain * int(x.base.hi[c]) + offset]
    return min(exact.floor(e) for e in ends), max(exact.ceil(e) for e in ends)


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type


def _out(node: ir.Node) -> str:
    return node.outputs[0].name or f"{node.name}_out"

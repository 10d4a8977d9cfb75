"""Random parts of graphs that exporters write around the layers: computed shapes, copies, identities, branches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.testing.graph_writer import QONNX, GraphWriter, Tensor
from qonnx_core.testing.random_layers import bias_for, fine_enough, sum_of, widened
from qonnx_core.testing.random_quantizers import activation, weights

Layer = Callable[[GraphWriter, Tensor, bool, int], Tensor]


def computed_reshape(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor flattened behind the channels and back, with targets that nodes compute from its shape."""
    if len(x.shape) == 2:
        return x
    shape = writer.node("Shape", [x.value], (len(x.shape),), fixed=True)
    batch = writer.node("Gather", [shape, writer.constant(np.asarray(0, np.int64))], (), fixed=True, axis=0)
    first = writer.node("Unsqueeze", [batch, writer.ints(0)], (1,), fixed=True)
    rest = [writer.node("Constant", [], (1,), fixed=True, value=ir.tensor(np.asarray([number], np.int64)))
            for number in (x.shape[1], -1)]  # fmt: skip
    target = writer.node("Concat", [first, *rest], (3,), fixed=True, axis=0)
    for value in (shape, batch, first, *rest, target):
        value.type = ir.TensorType(ir.DataType.INT64)
    flat = writer.same(x, "Reshape", [target], shape=(1, x.shape[1], math.prod(x.shape[2:])))
    if writer.chance(0.5):
        flat = writer.same(flat, "Relu", low=max(0.0, x.low), high=max(0.0, x.high))
    return writer.same(flat, "Reshape", [shape], shape=x.shape)


def gemm(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after a Gemm with any of transA, transB, alpha, beta and forms of its bias."""
    rows, columns = x.shape[1], writer.choose([2, 3, 4, 6])
    x = fine_enough(writer, x, rows * 2, exact, version)
    turned = writer.chance(0.5)
    w, grid, bound = weights(writer, (columns, rows) if turned else (rows, columns), 0 if turned else 1, exact)
    alpha, beta = writer.choose([1.0, 0.5, 2.0, -1.0]), writer.choose([1.0, 0.5, 2.0])
    out = sum_of(x, grid - 1, bound * abs(alpha), rows)
    bias = None if writer.chance(0.2) else bias_for(writer, out, writer.choose([(columns,), (1, columns), (1,), ()]))
    attributes: dict[str, Any] = {"transB": int(turned)} if turned or writer.chance(0.5) else {}
    attributes |= {"alpha": alpha} if alpha != 1 else {}
    attributes |= {"beta": beta} if beta != 1 else {}
    data = x.value
    if writer.batch == 1 and writer.chance(0.3):
        data = writer.node("Transpose", [data], (x.shape[1], 1), fixed=True, perm=[1, 0])
        attributes["transA"] = 1
    extra = [] if bias is None else [writer.constant(bias)]
    value = writer.node("Gemm", [data, w, *extra], (1, columns), **attributes)
    most = 0.0 if bias is None else float(np.abs(bias).max()) * beta
    known = widened(out, most) | {"grid": out.grid - 1}
    return writer.remember(replace(x, value=value, shape=(1, columns), quantized=None, **known))


def bipolar_dense(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the product of -1 and 1 with weights of -1 and 1, from quantizers, constants or thresholds."""
    rows, columns = x.shape[1], writer.pick(2, 5)
    one = np.asarray(1, np.float32)
    if writer.chance(0.5):
        value = writer.node("BipolarQuant", [x.value, writer.constant(one)], x.shape, domain=QONNX)
    else:
        table = writer.constant(np.zeros((1, 1), np.float32), "thresholds")
        kinds = {"out_dtype": "BIPOLAR", "out_scale": 2.0, "out_bias": -1.0, "data_layout": "NC"}
        value = writer.node("MultiThreshold", [x.value, table], x.shape, domain=QONNX, **kinds)
    x = writer.remember(replace(x, value=value, grid=0, low=-1.0, high=1.0, quantized=None))
    raw = writer.constant(np.asarray(writer.generator.choice([-1.0, 1.0], (rows, columns)), np.float32), "weights")
    w = raw
    if writer.chance(0.5):
        w = writer.node("BipolarQuant", [raw, writer.constant(one)], (rows, columns), domain=QONNX, fixed=True)
    return writer.same(x, "MatMul", [w], shape=(1, columns), grid=0, low=-float(rows), high=float(rows))


def matrix_behind_last(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor with its last axis multiplied by a matrix, as layers on sequences do."""
    rows, columns = x.shape[-1], writer.pick(2, 5)
    x = fine_enough(writer, x, rows, exact, version)
    w, grid, bound = weights(writer, (rows, columns), 1, exact)
    known = widened(sum_of(x, grid, bound, rows), 0.0)
    return writer.same(x, "MatMul", [w], shape=(*x.shape[:-1], columns), **known)


def attention(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the products of all pairs of rows of the tensor."""
    rank = len(x.shape)
    if rank == 2:
        return x
    x = activation(writer, x, exact, version, bits=3)
    perm = [*range(rank - 2), rank - 1, rank - 2]
    turned = writer.node("Transpose", [x.value], tuple(x.shape[axis] for axis in perm), perm=perm)
    end = x.bound**2 * x.shape[-1]
    shape = (*x.shape[:-1], x.shape[-2])
    return writer.same(x, "MatMul", [turned], shape=shape, grid=2 * x.grid, low=-end, high=end)


def repeated_quants(writer: GraphWriter, x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the sum of two equal quantizers of the tensor, one of which is applied twice."""
    x = activation(writer, x, exact, version, bits=4)
    inputs = [writer.constant(np.asarray(2.0**x.grid, np.float32)), *writer.numbers(0, 8)]
    attributes = {"domain": QONNX, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    most = 2.0 ** (x.grid + 7)
    known: dict[str, Any] = {"low": -most, "high": most, "attributes": attributes}
    first = writer.same(x, "Quant", inputs, **known)
    again = writer.same(first, "Quant", inputs, **known)
    other = writer.same(x, "Quant", inputs, **known)
    return writer.same(again, "Add", [other.value], low=-2 * most, high=2 * most)


def without_effect(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor after operators that do nothing, and beside one that nobody reads."""
    writer.node("Neg", [x.value], x.shape)
    rank = len(x.shape)
    forms: list[tuple[str, list[Any]]] = [
        ("Identity", []), ("Dropout", []), ("Add", writer.numbers(0)), ("Mul", writer.numbers(1)),
        ("Sub", [writer.constant(np.zeros((1,) * rank, np.float32))]), ("Div", writer.numbers(1)),
        ("Pad", [writer.ints(*(0,) * (2 * rank))]), ("Transpose", []),
    ]  # fmt: skip
    for _ in range(2):
        op_type, extra = writer.choose(forms)
        attributes = {"perm": list(range(rank))} if op_type == "Transpose" else {}
        x = writer.same(x, op_type, extra, attributes=attributes)
    return x


def shared_constant(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor plus, minus and times constants that are stored once, and computed by nodes."""
    array = np.asarray(writer.generator.integers(1, 5, ()) * 2.0**x.grid, np.float32)
    shared, most = writer.constant(array), float(array)
    y = writer.same(x, "Add", [shared], low=x.low, high=x.high + most)
    y = writer.same(y, "Sub", [shared], low=x.low - most, high=x.high + most)
    turned = writer.node("Neg", [shared], (), fixed=True)
    parts = writer.nodes_of("Split", [writer.numbers_vector(0.5, 2.0), writer.ints(1, 1)], [(1,), (1,)], fixed=True,
                            axis=0)  # fmt: skip
    y = writer.same(y, "Add", [turned], low=x.low - 2 * most, high=x.high + most)
    return writer.same(y, "Mul", [parts[1]], grid=y.grid, low=2 * y.low, high=2 * y.high)


def in_double(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor after a sum in float64."""
    array = np.asarray(writer.generator.integers(-4, 5, ()) * 2.0**x.grid, np.float64)
    wide = writer.node("Cast", [x.value], x.shape, to=int(ir.DataType.DOUBLE))
    total = writer.node("Add", [wide, writer.constant(array)], x.shape)
    wide.type = total.type = ir.TensorType(ir.DataType.DOUBLE)
    end = x.bound + float(np.abs(array))
    value = writer.node("Cast", [total], x.shape, to=int(ir.DataType.FLOAT))
    return writer.remember(replace(x, value=value, low=-end, high=end, quantized=None))


def branch(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return what one of two graphs inside an If makes of the tensor, which they read from outside."""
    yes = writer.constant(np.asarray(writer.chance(0.5)))
    graphs = [_inner(writer, x, op_type) for op_type in ("Neg", "Relu")]
    value = writer.node("If", [yes], x.shape, then_branch=graphs[0], else_branch=graphs[1])
    return writer.remember(replace(x, value=value, low=-x.bound, high=x.bound, quantized=None))


def _inner(writer: GraphWriter, x: Tensor, op_type: str) -> ir.Graph:
    node = ir.node(op_type, [x.value], name=writer.name("inner"))
    node.outputs[0].name = writer.name("inner_out")
    node.outputs[0].type, node.outputs[0].shape = x.value.type, x.value.shape
    return ir.Graph([], node.outputs, nodes=[node], name=writer.name("branch"))


def pointwise(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor after an operator on single elements with exact results."""
    half = writer.constant(np.full((x.shape[1],) + (1,) * (len(x.shape) - 2), 0.5, np.float32))
    step = 2.0**x.grid
    wide: dict[str, Any] = {"low": -x.bound, "high": x.bound}
    match writer.choose(["Abs", "Neg", "LeakyRelu", "PRelu", "Max", "Min", "Where", "Sign"]):
        case "LeakyRelu":
            return writer.same(x, "LeakyRelu", attributes={"alpha": 0.5}, grid=x.grid - 1, **wide)
        case "PRelu":
            return writer.same(x, "PRelu", [half], grid=x.grid - 1, **wide)
        case "Sign":
            return writer.same(x, "Sign", grid=0, low=-1.0, high=1.0)
        case "Max" | "Min" as op_type:
            ends = (min(x.low, step), max(x.high, step))
            return writer.same(x, op_type, writer.numbers(step), low=ends[0], high=ends[1])
        case "Where":
            chosen = writer.node("Greater", [x.value, *writer.numbers(step)], x.shape)
            chosen.type = ir.TensorType(ir.DataType.BOOL)
            value = writer.node("Where", [chosen, x.value, *writer.numbers(step)], x.shape)
            return writer.remember(replace(x, value=value, low=step, high=max(x.high, step), quantized=None))
        case op_type:
            return writer.same(x, op_type, **wide)


def moved_axes(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return a slice, some channels, or the tensor through more axes, other axes and back."""
    rank = len(x.shape)
    form = writer.choose(["Slice", "Gather", "Unsqueeze", "Transpose", "Tile"])
    if form == "Slice":
        axis = writer.pick(1, rank - 1)
        shape = (*x.shape[:axis], -(-x.shape[axis] // 2), *x.shape[axis + 1 :])
        return writer.same(x, "Slice", [writer.ints(0), writer.ints(2**31), writer.ints(axis - rank), writer.ints(2)],
                           shape=shape)  # fmt: skip
    if form == "Gather":
        picked = writer.generator.integers(0, x.shape[1], writer.pick(1, 3))
        shape = (1, len(picked), *x.shape[2:])
        return writer.same(x, "Gather", [writer.ints(*picked)], shape=shape, attributes={"axis": 1})
    if form == "Tile" and math.prod(x.shape) < 100:
        return writer.same(x, "Tile", [writer.ints(1, 2, *(1 for _ in x.shape[2:]))], shape=(1, 2 * x.shape[1],
                           *x.shape[2:]))  # fmt: skip
    if form == "Unsqueeze":
        place = writer.pick(1, rank)
        y = writer.same(x, "Unsqueeze", [writer.ints(place)], shape=(*x.shape[:place], 1, *x.shape[place:]))
        return writer.same(y, "Squeeze", [writer.ints(place)], shape=x.shape)
    perm = [0, *(1 + int(axis) for axis in writer.generator.permutation(rank - 1))]
    return writer.same(x, "Transpose", shape=tuple(x.shape[axis] for axis in perm), attributes={"perm": perm})

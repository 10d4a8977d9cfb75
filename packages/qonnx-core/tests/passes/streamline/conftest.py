"""Small graphs, and an exact evaluation of a QONNX graph that shares only its numbers with the code under test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import exact

QONNX = "qonnx.custom_op.general"
HALF = Fraction(1, 2)
QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold")


class Net:
    """Writes a small graph node by node; names follow the operator and its number."""

    def __init__(self, shape: tuple[int | str, ...], name: str = "x") -> None:
        self.source = ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape))
        self.sources = [self.source]
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.last = self.source

    def constant(self, array: Any, dtype: Any = np.float32) -> ir.Value:
        name = f"const_{len(self.initializers)}"
        tensor = ir.tensor(np.asarray(array, dtype), name=name)
        value = ir.val(name, const_value=tensor)
        self.initializers.append(value)
        return value

    def input(self, name: str, shape: tuple[int | str, ...]) -> ir.Value:
        value = ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape))
        self.sources.append(value)
        return value

    def node(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> ir.Value:
        values = [x if x is None or isinstance(x, ir.Value) else self.constant(x) for x in inputs]
        count = sum(node.op_type == op_type for node in self.nodes)
        name = f"{op_type}_{count}"
        domain = QONNX if op_type in QUANTIZERS else ""
        node = ir.node(op_type, values, attributes or None, domain=domain, num_outputs=outputs, name=name)
        for i, value in enumerate(node.outputs):
            value.name, value.dtype = f"{name}_out{i}", ir.DataType.FLOAT
        if op_type in ("ArgMax",):
            node.outputs[0].dtype = ir.DataType.INT64
        if outputs == 2:
            node.outputs[1].dtype = ir.DataType.INT64
        self.nodes.append(node)
        self.last = node.outputs[-1]
        return self.last

    def quant(self, x: Any, scale: Any, bits: int, zero: Any = 0.0, **attributes: Any) -> ir.Value:
        settings = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
        return self.node("Quant", x, scale, zero, float(bits), **settings)

    def model(self, *outputs: ir.Value, version: int = 1) -> ir.Model:
        from qonnx_core.passes.infer_shapes import InferShapes

        graph = ir.Graph(
            self.sources, list(outputs or [self.last]), nodes=self.nodes, initializers=self.initializers, name="net",
            opset_imports={"": 17, QONNX: version},
        )  # fmt: skip
        model = ir.Model(graph, ir_version=8)
        InferShapes().run(model)
        return model


@pytest.fixture
def net() -> type[Net]:
    return Net


def rounded(y: exact.Real, mode: str) -> int:
    """Round by a QONNX mode, written from the format's own formulas."""
    negative = exact.sign(y) < 0
    size = -y if negative else y
    match mode:
        case "ROUND":
            whole = exact.floor(y)
            order = exact.compare(y - whole, HALF)
            return whole + (order > 0 or (order == 0 and whole % 2 == 1))
        case "FLOOR":
            return exact.floor(y)
        case "CEIL":
            return exact.ceil(y)
        case "UP":
            magnitude = exact.ceil(size)
        case "DOWN":
            magnitude = exact.floor(size)
        case "HALF_UP":
            magnitude = exact.floor(size + HALF)
        case "HALF_DOWN":
            magnitude = exact.ceil(size - HALF)
        case _:
            raise AssertionError(mode)
    return -magnitude if negative else magnitude


@pytest.fixture(name="rounded")
def rounded_fixture() -> Callable[[exact.Real, str], int]:
    return rounded


def fractions(array: Any) -> Any:
    return np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(np.asarray(array, np.float64))


def each(function: Callable[..., Any], *arrays: Any) -> Any:
    return np.frompyfunc(function, len(arrays), 1)(*arrays)


def larger(a: exact.Real, b: exact.Real) -> exact.Real:
    return a if exact.compare(a, b) >= 0 else b


def smaller(a: exact.Real, b: exact.Real) -> exact.Real:
    return a if exact.compare(a, b) <= 0 else b


def _quant_integers(node: ir.Node, x: Any, scale: Any, zero: Any, bits: int) -> Any:
    signed, narrow = node.attributes["signed"].as_int(), node.attributes["narrow"].as_int()
    mode = node.attributes["rounding_mode"].as_string()
    y = x / scale + zero
    if bits == 1 and signed:
        return each(lambda v: 1 if exact.sign(v) >= 0 else -1, y)
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    clipped = each(lambda v: smaller(larger(v, Fraction(low)), Fraction(high)), y)
    return each(lambda v: Fraction(rounded(v, mode)), clipped)


def exact_values(model: ir.Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """Evaluate every tensor of a small graph with exact numbers; weight quantizers as float32 executes them."""
    values: dict[str, Any] = {name: np.asarray(array, object) for name, array in inputs.items()}
    constants: set[str] = set()

    def get(value: ir.Value) -> Any:
        name = value.name or ""
        if name not in values:
            values[name] = fractions(constant_array(value))
            constants.add(name)
        return values[name]

    for node in model.graph:
        operands = [get(v) for v in node.inputs if v is not None]
        constant = all((v.name or "") in constants for v in node.inputs if v is not None)
        values[node.outputs[0].name or ""] = result = _evaluate(node, operands, constant)
        if constant:
            constants.add(node.outputs[0].name or "")
        if node.op_type == "TopK":
            values[node.outputs[1].name or ""] = result
    return values


def _evaluate(node: ir.Node, v: list[Any], constant: bool) -> Any:
    zero = Fraction(0)
    match node.op_type:
        case "MatMul":
            return np.dot(v[0], v[1])
        case "Gemm":
            b = v[1].T if node.attributes.get_int("transB", 0) else v[1]
            return np.dot(v[0], b) + v[2]
        case "Softmax":  # behind the last integers: not compared
            return v[0]
        case "Add":
            return v[0] + v[1]
        case "Sum":
            return sum(v[1:], start=v[0])
        case "Sub":
            return v[0] - v[1]
        case "Mul":
            return v[0] * v[1]
        case "Div":
            return v[0] / v[1]
        case "Neg":
            return -v[0]
        case "Relu":
            return each(lambda x: larger(x, zero), v[0])
        case "LeakyRelu":
            slope = Fraction(float(np.float32(node.attributes["alpha"].as_float())))
            return each(lambda x: x if exact.sign(x) >= 0 else x * slope, v[0])
        case "Clip":
            return each(lambda x, a, b: smaller(larger(x, a), b), *v)
        case "Sigmoid":
            return each(lambda x: exact.reciprocal(1 + exact.exponential(-x)), v[0])
        case "Tanh":
            return each(lambda x: 1 - 2 * exact.reciprocal(1 + exact.exponential(2 * x)), v[0])
        case "BatchNormalization":
            epsilon = Fraction(float(np.float32(node.attributes.get_float("epsilon", 1e-5))))
            shape = (1, -1) + (1,) * (v[0].ndim - 2)
            root = each(lambda d: exact.surd(zero, Fraction(1), d + epsilon), v[4]).reshape(shape)
            return (v[0] - v[3].reshape(shape)) / root * v[1].reshape(shape) + v[2].reshape(shape)
        case "Quant":
            bits = int(v[3].reshape(-1)[0])
            x = v[0]
            if constant:  # as float32 divides
                weights, scale = (np.asarray(part.astype(np.float64), np.float32) for part in v[:2])
                x = fractions(weights / scale) * v[1]
            return (_quant_integers(node, x, v[1], v[2], bits) - v[2]) * v[1]
        case "BipolarQuant":
            return each(lambda x: Fraction(1 if exact.sign(x) >= 0 else -1), v[0]) * v[1]
        case "Transpose":
            return v[0].transpose(node.attributes["perm"].as_ints())
        case "Reshape":
            return v[0].reshape([int(d) for d in v[1]])
        case "Flatten":
            return v[0].reshape(v[0].shape[0], -1)
        case "ArgMax":
            return np.asarray([[first_largest(row)] for row in v[0]], object)
        case "TopK":
            k = int(v[1].reshape(-1)[0])
            return np.asarray([falling(row)[:k] for row in v[0]], object)
    raise AssertionError(node.op_type)


def falling(row: Any) -> list[int]:
    return sorted(range(len(row)), key=cmp_to_key(lambda i, j: exact.compare(row[j], row[i]) or i - j))


def first_largest(row: Any) -> int:
    best = 0
    for i in range(1, len(row)):
        if exact.compare(row[i], row[best]) > 0:
            best = i
    return best


@pytest.fixture(name="exact_values")
def exact_values_fixture() -> Callable[[ir.Model, dict[str, Any]], dict[str, Any]]:
    return exact_values


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Check an integer form against the exact evaluation of its model: every quantized tensor, and the outputs."""

    def check(model: ir.Model, form: Any, integers: dict[str, Any], *, linear: bool = False) -> None:
        ports = {port.tensor: port for port in form.inputs}
        starts = {}
        for name, ints in integers.items():
            grid = ports[name].grid
            if linear:
                channels = np.broadcast_to(np.arange(ints.shape[-1]), ints.shape)
                starts[name] = each(lambda k, c, grid=grid: grid.exact(int(k), int(c)), ints, channels)
            else:
                starts[name] = fractions(grid.to_values(ints))
        feeds = {ports[name].name: ports[name].to_wire(ints) for name, ints in integers.items()}
        expected = exact_values(model, starts)
        wanted = [*form.quantized.values(), *form.outputs]
        got = form.run(feeds, [port.name for port in wanted])
        for port in wanted:
            if port.tensor in integers:
                continue
            theirs = expected[port.tensor]
            ours = got[port.name]
            channels = np.broadcast_to(np.arange(ours.shape[-1]), ours.shape)
            exactly = each(lambda k, c, grid=port.grid: grid.exact(int(k), int(c)), ours, channels)
            different = each(lambda a, b: exact.compare(a, b) != 0, exactly.reshape(theirs.shape), theirs)
            assert not different.any(), f"{port.tensor}: {np.argwhere(different)[:4].tolist()}"
            low, high = port.grid.integers
            assert ours.min() >= low
            assert ours.max() <= high
        for layer in form.layers():
            values = form.run(feeds, [layer.output.name])[layer.output.name]
            assert (values >= layer.output.lo).all(), layer.name
            assert (values <= layer.output.hi).all(), layer.name

    return check


@pytest.fixture
def grid() -> Callable[[str], Grid]:
    return Grid.parse

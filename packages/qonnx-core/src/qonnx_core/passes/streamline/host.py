"""The host's side of an integer model: from float inputs to integers, and from integers to the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.errors import Unsupported
from qonnx_core.ir.constants import constant_tensor
from qonnx_core.ir.grid import Grid
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.streamline.constants import Constant
from qonnx_core.passes.streamline.emit import OPSET
from qonnx_core.passes.streamline.interpreter import QUANTIZERS, Interpretation, PortPlan
from qonnx_core.passes.streamline.representation import Failed, Represented

#: Operators that are work for hardware; behind the last integer tensor they are refused, not given to the host.
_HARDWARE = QUANTIZERS | {"MatMul", "Gemm", "Conv", "ConvTranspose"}


class _Graph:
    """Collects nodes and constants of a small host model."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.initializers[name] = value
        return value

    def node(self, op_type: str, inputs: Sequence[ir.Value], output: str, **attributes: int) -> ir.Value:
        node = ir.node(op_type, inputs, attributes=attributes or None, name=f"{output}_{op_type}")
        node.outputs[0].name = output
        self.nodes.append(node)
        return node.outputs[0]

    def model(self, inputs: list[ir.Value], outputs: list[ir.Value], name: str) -> ir.Model:
        graph = ir.Graph(
            inputs, outputs, nodes=self.nodes, initializers=list(self.initializers.values()), name=name,
            opset_imports={"": OPSET, DOMAIN: 1},
        )  # fmt: skip
        return ir.Model(graph, ir_version=10, producer_name="qonnx-core")


def pre_model(plans: Sequence[PortPlan], prefix: str = "") -> ir.Model:
    """Return the model from the float inputs to int64 tensors of travel order: round half to even, saturate, reorder.

    It works in float64; ``Grid.to_integers`` is the exact reference and differs from it at most where a value lies
    within 1e-15 of the middle between two integers.
    """
    graph, inputs, outputs = _Graph(), [], []
    for plan in plans:
        name, grid = plan.tensor.name, plan.grid
        source = ir.val(plan.value.name or name, dtype=plan.value.dtype or ir.DataType.FLOAT, shape=plan.value.shape)
        x = graph.node("Cast", [source], f"{name}_double", to=int(ir.DataType.DOUBLE))
        x = graph.node("Transpose", [x], f"{name}_travel", perm=list(plan.perm))  # type: ignore[arg-type]
        x = graph.node("Reshape", [x, _shape(graph, name, plan.tensor.shape)], f"{name}_frame")
        if any(grid.offset):
            x = graph.node("Sub", [x, _doubles(graph, f"{name}_offset", grid.offset)], f"{name}_centred")
        x = graph.node("Div", [x, _doubles(graph, f"{name}_scale", grid.scale)], f"{name}_scaled")
        if any(grid.zero_point):
            x = graph.node("Add", [x, _doubles(graph, f"{name}_zero", grid.zero_point)], f"{name}_shifted")
        low, high = grid.integers
        if grid.datatype.name == "BIPOLAR":
            zero = graph.constant(f"{name}_threshold", np.asarray(0.0))
            x = graph.node("GreaterOrEqual", [x, zero], f"{name}_positive")
            x = graph.node("Where", [x, graph.constant(f"{name}_hi", np.asarray(1.0)),
                                     graph.constant(f"{name}_lo", np.asarray(-1.0))], f"{name}_sign")  # fmt: skip
        else:
            x = graph.node("Round", [x], f"{name}_rounded")
            ends = [graph.constant(f"{name}_{e}", np.asarray(float(v))) for e, v in (("lo", low), ("hi", high))]
            x = graph.node("Clip", [x, *ends], f"{name}_clipped")
        integers = graph.node(
            "Cast", [x], f"{name}_integers" if source.name == name else name, to=int(ir.DataType.INT64)
        )
        integers.shape = ir.Shape(["N", *plan.tensor.shape[1:]])
        integers.dtype = ir.DataType.INT64
        inputs.append(source)
        outputs.append(integers)
    return graph.model(inputs, outputs, "pre")


def tail_of(model: ir.Model, state: Interpretation) -> tuple[list[ir.Value], list[ir.Node]]:
    """Return the last integer tensors before the model's outputs, and the float nodes behind them, in order.

    Raises Unsupported where an output depends on an input without any integers in between, or where hardware's work
    would fall to the host.
    """
    frontier: dict[str, ir.Value] = {}
    nodes: set[ir.Node] = set()
    reasons: list[str] = []
    causes: list[str] = []
    left_over: list[str] = []
    seen: set[ir.Value] = set()
    stack = list(reversed(model.graph.outputs))
    while stack:
        value = stack.pop()
        if value in seen or value.is_initializer() or constant_tensor(value) is not None:
            continue
        seen.add(value)
        knowledge = state.of(value)
        if isinstance(knowledge, Represented) and knowledge.fresh:
            if value.is_graph_input():
                reasons.append(f"an output depends on input {value.name} with nothing quantized in between; "
                               "put a Quant node on the path, or leave it to the host")  # fmt: skip
            frontier[value.name or ""] = value
            continue
        producer = value.producer()
        if isinstance(knowledge, Failed) and (knowledge.own or producer is None):
            causes.append(knowledge.reason)
        if producer is None:
            continue
        if not isinstance(knowledge, Constant) and producer.op_type in _HARDWARE:
            left_over.append(f"{producer.name} ({producer.op_type})")
        nodes.add(producer)
        stack.extend(v for v in reversed(producer.inputs) if v is not None)
    if left_over:
        reasons = [reason for reason in state.failures.values() if reason in causes]
        reasons = reasons or [f"{where}: it has no integer form" for where in left_over]
    if reasons:
        raise Unsupported("the model has no integer form:", list(dict.fromkeys(reasons)))
    return list(frontier.values()), [node for node in model.graph if node in nodes]


def post_model(
    model: ir.Model, state: Interpretation, ports: Sequence[tuple[str, ir.Value, Grid]], tail: Sequence[ir.Node]
) -> ir.Model:
    """Return the model from int64 tensors to the original outputs: dequantize, then the original float nodes.

    ``ports`` are (name of the integer tensor, tensor of the original model, its grid).
    """
    graph, inputs = _Graph(), []
    values: dict[ir.Value, ir.Value] = {}
    taken = {v.name for node in tail for v in node.outputs} | {tensor.name for _, tensor, _ in ports}
    for name, tensor, grid in ports:
        knowledge = state.of(tensor)
        if not isinstance(knowledge, Represented):
            raise AssertionError("a port stands for a represented tensor")
        source_name = f"{name}_integers" if name in taken else name
        source = ir.val(source_name, dtype=ir.DataType.INT64, shape=ir.Shape(["N", *knowledge.base.shape[1:]]))
        inputs.append(source)
        values[tensor] = _dequantized(graph, source, tensor, knowledge, grid)
    for node in tail:
        new = [None if v is None else _copied(graph, v, values) for v in node.inputs]
        clone = ir.Node(
            node.domain, node.op_type, new, list(node.attributes.values()), num_outputs=len(node.outputs),
            name=node.name, version=node.version,
        )  # fmt: skip
        for old, fresh in zip(node.outputs, clone.outputs, strict=True):
            fresh.name, fresh.type, fresh.shape = old.name, old.type, old.shape
            values[old] = fresh
        graph.nodes.append(clone)
    outputs = [_copied(graph, value, values) for value in model.graph.outputs]
    host = graph.model(inputs, outputs, "post")
    host.graph.opset_imports.update(
        {
            domain: version
            for domain, version in model.graph.opset_imports.items()
            if domain not in host.graph.opset_imports
        }
    )
    return host


def _dequantized(graph: _Graph, source: ir.Value, tensor: ir.Value, knowledge: Represented, grid: Grid) -> ir.Value:
    name = tensor.name or "output"
    x = source
    if tensor.dtype is None or tensor.dtype.is_floating_point():
        x = graph.node("Cast", [x], f"{name}_double", to=int(ir.DataType.DOUBLE))
        if any(grid.zero_point):
            x = graph.node("Sub", [x, _doubles(graph, f"{name}_zero", grid.zero_point)], f"{name}_centred")
        exact = all(Fraction(float(s)) == s for s in grid.scale)
        if exact and any(s != 1 for s in grid.scale):
            x = graph.node("Mul", [x, _doubles(graph, f"{name}_scale", grid.scale)], f"{name}_scaled")
        elif not exact:
            top, bottom = [Fraction(s.numerator) for s in grid.scale], [Fraction(s.denominator) for s in grid.scale]
            x = graph.node("Mul", [x, _doubles(graph, f"{name}_numerator", top)], f"{name}_multiplied")
            x = graph.node("Div", [x, _doubles(graph, f"{name}_denominator", bottom)], f"{name}_scaled")
        if any(grid.offset):
            x = graph.node("Add", [x, _doubles(graph, f"{name}_offset", grid.offset)], f"{name}_moved")
        x = graph.node("Cast", [x], f"{name}_float", to=int(tensor.dtype or ir.DataType.FLOAT))
    if knowledge.index is not None:
        inverse = np.empty(len(knowledge.index), np.int64)
        inverse[knowledge.index] = np.arange(len(knowledge.index))
        flat = graph.node(
            "Reshape", [x, _shape(graph, f"{name}_flat", (1, prod(knowledge.shape)))], f"{name}_in_travel_order"
        )
        x = graph.node("Gather", [flat, graph.constant(f"{name}_order", inverse)], f"{name}_in_order", axis=1)
    result = graph.node("Reshape", [x, _shape(graph, f"{name}_final", (1, *knowledge.shape))], name)
    result.dtype = tensor.dtype or ir.DataType.FLOAT
    result.shape = ir.Shape(["N", *knowledge.shape])
    return result


def _copied(graph: _Graph, value: ir.Value, values: dict[ir.Value, ir.Value]) -> ir.Value:
    if value not in values:
        tensor = constant_tensor(value)
        if tensor is None:
            raise AssertionError(f"tensor {value.name} is neither constant nor made by the tail")
        name = value.name or f"constant_{len(graph.initializers)}"
        copy = ir.val(name, const_value=ir.tensor(np.asarray(tensor.numpy()), name=name))
        graph.initializers[name] = copy
        values[value] = copy
    return values[value]


def _shape(graph: _Graph, name: str, shape: Sequence[int]) -> ir.Value:
    return graph.constant(f"{name}_shape", np.asarray([-1, *shape[1:]], np.int64))


def _doubles(graph: _Graph, name: str, numbers: Sequence[Fraction] | Sequence[int]) -> ir.Value:
    array = np.asarray([float(n) for n in numbers], np.float64)
    return graph.constant(name, array if len(array) > 1 else array.reshape(()))

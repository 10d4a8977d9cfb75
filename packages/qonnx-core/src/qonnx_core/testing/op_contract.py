"""The contract that every operator keeps; run it on yours as ``check_op(OpExample(...))``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.reader import load
from qonnx_core.formats.writer import save
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import op_class_of, op_of
from qonnx_core.passes.infer_shapes import InferShapes

Array = NDArray[Any]


@dataclass(frozen=True)
class OpExample:
    """An operator with its attributes, and its inputs: the data first, then the parameters."""

    op: QonnxOp
    inputs: Sequence[Array]


def ties_and_extremes(dtype: type[np.floating[Any]] = np.float32) -> Array:
    """Return numbers on which roundings and clips differ: ties, neighbours of ties, large ones, -0, NaN, inf."""
    halves = np.arange(-12, 12.5, 0.25)
    near = np.concatenate([np.nextafter(halves.astype(dtype), dtype(side)) for side in (-100, 100)])
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, -1e-30, 1e30]
    special += [127.5, 128.0, -128.5, 32767.5, 2.0**24 + 2, -(2.0**31)]
    with np.errstate(over="ignore"):  # what a short type cannot hold becomes infinite
        return np.concatenate([halves.astype(dtype), near, np.asarray(special, dtype=dtype)])


def check_op(example: OpExample) -> None:
    """Check one operator: file round trip, constant against running parameters, own against stock execution, shapes.

    Raises:
        AssertionError: with what differs.
    """
    op, inputs = example.op, [np.asarray(x) for x in example.inputs]
    constant, running = example_model(op, inputs, constants=True), example_model(op, inputs, constants=False)
    _check_lookup(op, constant)
    feeds = dict(zip(op.inputs, inputs, strict=False))  # the last inputs can be optional
    specialized = compile_model(constant).run({op.inputs[0]: inputs[0]})[op.output]
    generic = compile_model(running).run(feeds)[op.output]
    _assert_same(specialized, generic, f"{op}: constant parameters and running parameters")
    InferShapes().run(constant)
    inferred = constant.graph.outputs[0].shape
    assert inferred == ir.Shape(specialized.shape), f"{op}: inferred shape {inferred}, computed {specialized.shape}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "op.onnx"
        save(constant, file)
        again = load(file)
        (node,) = again.graph
        assert op_of(node, again.opset_imports) == op, f"{op}: reads back as {op_of(node, again.opset_imports)}"
        for model, given in ((constant, {op.inputs[0]: inputs[0]}), (running, feeds)):
            save(model, file, with_functions=True)
            session = onnxruntime.InferenceSession(file, _quiet(), providers=["CPUExecutionProvider"])
            _assert_same(specialized, session.run(None, given)[0], f"{op}: own execution and stock onnxruntime")


def _check_lookup(op: QonnxOp, model: ir.Model) -> None:
    (node,) = model.graph
    found = op_class_of(node, model.opset_imports)
    assert found is type(op), f"{op}: the registry finds {found} for its node; is the operator registered?"
    assert op.__doc__, f"{op}: has no docstring, which is its documentation"


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def example_model(op: QonnxOp, inputs: Sequence[Array], *, constants: bool) -> ir.Model:
    """Return a model of this one node; its parameters are initializers (``constants``) or further inputs."""
    values = [
        ir.val(name, dtype=ir.DataType.from_numpy(x.dtype), shape=ir.Shape(x.shape))
        for name, x in zip(op.inputs, inputs, strict=False)
    ]
    initializers = values[1:] if constants else []
    for value, x in zip(initializers, inputs[1:], strict=False):
        value.const_value = ir.tensor(x, name=value.name)
    node = op.node(*values, name="op", output=op.output)
    graph = ir.Graph(
        values[: 1 if constants else None],
        node.outputs,
        nodes=[node],
        initializers=initializers,
        name="example",
        opset_imports={"": 21, op.domain: op.since_version},
    )
    return ir.Model(graph, ir_version=10)


def run_op(op: QonnxOp, *inputs: Array) -> Array:
    """Return what the operator gives for these inputs: the data first, then the parameters as constants."""
    arrays = [np.asarray(x) for x in inputs]
    model = example_model(op, arrays, constants=True)
    return compile_model(model).run({op.inputs[0]: arrays[0]})[op.output]


def _assert_same(left: Array, right: Array, what: str) -> None:
    assert left.dtype == right.dtype, f"{what}: element types {left.dtype} and {right.dtype}"
    assert left.shape == right.shape, f"{what}: shapes {left.shape} and {right.shape}"
    different = ~((left == right) | (np.isnan(left) & np.isnan(right)))
    assert not different.any(), f"{what} differ: {left[different][:5]} and {right[different][:5]}"

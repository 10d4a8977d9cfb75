"""Everything that reads quantizers takes degenerate parameters, or refuses them with an error of this package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core.analyses.cost import inference_cost
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.errors import QonnxError
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.ir.grid import Grid
from qonnx_core.ops import BipolarQuant, FloatQuant, MultiThreshold, Quant, Trunc, TruncV1
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.passes.extract_quant_scale import ExtractQuantScale
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.streamline import grids_of, to_integer_form
from qonnx_core.verify import ErrorAnalysis

INF, NAN = np.inf, np.nan
GRIDS = {"x": Grid.parse("INT8*2^-3")}
READERS: dict[str, Callable[[ir.Model], object]] = {
    "cost": inference_cost,
    "data types": lambda model: InferDataTypes().run(model),
    "scales": lambda model: ExtractQuantScale().run(model),
    "qcdq": lambda model: to_qcdq(model, partial=True),
    "ranges": lambda model: tensor_ranges(model, GRIDS),
    "integer form": lambda model: to_integer_form(model, GRIDS),
    "grids": lambda model: grids_of(model, GRIDS),
}
NODES: tuple[tuple[QonnxOp, list[object]], ...] = (
    *((BipolarQuant(), [scale]) for scale in (NAN, 0, -1, INF, 3e38)),
    *((Quant(), [scale, 0, 4]) for scale in (NAN, 0, -1, INF, 1e-45, 3e38)),
    *((Quant(), [0, 0, bits]) for bits in (INF, -INF, NAN, 0, 1100)),
    *((Quant(signed=False), [1, zero, 4]) for zero in (NAN, INF, 3e38)),
    *((TruncV1(), [scale, zero, 8, 4]) for scale, zero in ((NAN, 0), (INF, 0), (0, 0), (1, 3e38), (1, NAN))),
    *((TruncV1(), [1, 0, 8, bits]) for bits in (1100, -1100, INF, NAN)),
    *((Trunc(), [0.5, 0, 8, scale, bits]) for scale, bits in ((NAN, 4), (0, 4), (-0.5, 4), (INF, 4), (1, INF))),
    *((FloatQuant(), [1, *kind]) for kind in ((1100, 3, 7, 448), (4, 1100, 7, 448), (4, 3, 1100, 448), (4, 3, 7, NAN))),
    *((MultiThreshold("INT8"), [[[limit, 0, 1]]]) for limit in (NAN, INF, -INF, 3e38)),
    *((MultiThreshold("INT8", 1.0, bias), [[[0, 1]]]) for bias in (NAN, INF, 3e38)),
    *((MultiThreshold("INT8", scale), [[[0, 1]]]) for scale in (NAN, INF, 0, 3e38)),
)


def network(op: QonnxOp, parameters: list[object], weights: bool) -> ir.Model:
    """Return a product of which one side is quantized: the weights, or the data."""
    numbers = [np.arange(-8, 8, dtype=np.float32).reshape(4, 4) / 4]
    numbers += [np.asarray(parameter, np.float32) for parameter in parameters]
    tensors = [ir.val(f"c{i}", const_value=ir.tensor(array, name=f"c{i}")) for i, array in enumerate(numbers)]
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape([1, 4]))
    quantizer = op.node(tensors[0] if weights else x, *tensors[1:], name="q", output="q")
    factors = [x, quantizer.outputs[0]] if weights else [quantizer.outputs[0], tensors[0]]
    product = ir.node("MatMul", factors, name="product")
    product.outputs[0].name, product.outputs[0].dtype, product.outputs[0].shape = "y", ir.DataType.FLOAT, x.shape
    imports = {"": 21, DOMAIN: op.since_version}
    nodes = [quantizer, product]
    graph = ir.Graph([x], product.outputs, nodes=nodes, initializers=tensors, name="g", opset_imports=imports)
    return ir.Model(graph, ir_version=10)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("reader", READERS)
def test_degenerate_parameters_break_nothing_that_reads_them(reader: str, weights: bool) -> None:
    """A NaN or a number that no int64 holds came back as a ValueError or an OverflowError of Python."""
    for op, parameters in NODES:
        with suppress(QonnxError):
            READERS[reader](network(op, parameters, weights))


@pytest.mark.parametrize("bits", [0, -1, -1100])
@pytest.mark.parametrize(("op", "before"), [(Quant(), [1, 0]), (Quant(signed=False, narrow=True), [1, 0]),
                                            (Trunc(), [1, 0, 8, 1])])  # fmt: skip
def test_less_than_one_bit_gives_the_one_number_that_is_said(op: QonnxOp, before: list[object], bits: float) -> None:
    """The lower bound is above the upper one, and holds; the ranges took the upper one."""
    model = network(op, [*before, bits], weights=False)
    found = compile_model(model).run({"x": np.full((1, 4), 3, np.float32)}, "q")["q"]
    assert tensor_ranges(model, GRIDS)["q"].values == (found.min(), found.max())


@pytest.mark.parametrize("rows", [
    [[-INF, 0, 1]], [[INF, 0, 1]], [[NAN, 2, 1]], [[-INF, -INF, -INF]], [[INF, INF, NAN]], [[0, 0, 0]],
    [[-INF, 0, 1], [2, 0, 1], [5, 5, 5], [NAN, INF, 1]],
])  # fmt: skip
def test_thresholds_may_be_infinite_in_any_order(rows: list[list[float]]) -> None:
    """A channel that a zero scale makes constant has them; they were said not to be constant."""
    model = network(MultiThreshold("UINT2"), [rows], weights=False)
    x = np.repeat((np.arange(-128, 128) / 8).astype(np.float32)[:, None], 4, axis=1)
    expected = compile_model(model).run({"x": x}, "q")
    found = tensor_ranges(model, GRIDS)["q"]
    assert found.values == (expected["q"].min(), expected["q"].max())
    form = to_integer_form(model, GRIDS)
    ints, _ = form.quantize_inputs({"x": x})
    np.testing.assert_array_equal(form.finish(form.run(ints))["y"], expected["y"])
    (decision,) = ErrorAnalysis(model).run({"x": x}).decisions
    np.testing.assert_array_equal(decision.low, expected["q"])
    np.testing.assert_array_equal(decision.high, expected["q"])

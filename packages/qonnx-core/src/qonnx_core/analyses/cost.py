"""What one inference costs: multiplications, bit operations, parameter and activation memory by data type.

A multiply-accumulate (MAC) of a ``a`` bit input with a ``w`` bit weight is ``a * w`` bit operations (BOPs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.cleanup import cleanup_model
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_shapes import InferShapes

Shape = tuple[int, ...]
_ACCUMULATOR_BITS = 32

# Operators without multiplications of data by parameters or other data; the format's reference does not count them.
_FREE = frozenset(
    (
        "Abs", "Add", "ArgMax", "AveragePool", "BatchNormalization", "BipolarQuant", "Cast", "Ceil", "Clip", "Concat",
        "Constant", "DebugMarker", "DequantizeLinear", "Div", "Dropout", "Expand", "Flatten", "FloatQuant", "Floor",
        "Gather", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Im2Col", "IntQuant", "LeakyRelu", "Max", "MaxPool",
        "MaxPoolNHWC", "Min", "Mul", "MultiThreshold", "Neg", "Pad", "PRelu", "Quant", "QuantAvgPool2d",
        "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Round",
        "Shape", "Sign", "Slice", "Split", "Squeeze", "Sub", "Sum", "Tile", "TopK", "Transpose", "Trunc", "Unsqueeze",
        "Where",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeCost:
    """The cost of one node: MACs, stored weights and produced elements; ``weights`` is 0 where both inputs run."""

    name: str
    op_type: str
    macs: int
    weights: int
    outputs: int
    input_type: DataType
    weight_type: DataType
    output_type: DataType

    def to_dict(self) -> dict[str, int]:
        """Return the cost under the keys of the format's reference."""
        return _merged([self])


@dataclass(frozen=True, slots=True)
class InferenceCost:
    """The cost of one inference (batch 1), node by node; ``uncounted`` names operators that it leaves out."""

    nodes: tuple[NodeCost, ...]
    uncounted: tuple[str, ...]
    discount_sparsity: bool = False

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return sum(node.macs for node in self.nodes)

    @property
    def bops(self) -> int:
        """All bit operations."""
        return sum(node.macs * node.input_type.bits * node.weight_type.bits for node in self.nodes)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return ``total_cost``, ``optype_cost`` and ``node_cost`` under the keys of the format's reference.

        ``op_mac_<input type>_<weight type>`` counts MACs, ``mem_w_<type>`` weights, ``mem_o_<type>`` output elements.
        """
        total = _merged(self.nodes)
        op_types = dict.fromkeys(node.op_type for node in self.nodes)
        return {
            "total_cost": {
                **total, "unsupported": list(self.uncounted), "discount_sparsity": self.discount_sparsity,
            },
            "optype_cost": {kind: _merged(n for n in self.nodes if n.op_type == kind) for kind in op_types},
            "node_cost": {node.name: node.to_dict() for node in self.nodes},
        }  # fmt: skip


def inference_cost(model: ir.Model, *, discount_sparsity: bool = False) -> InferenceCost:
    """Return what one inference of the model costs.

    MatMul, Gemm, Conv, ConvTranspose (as many MACs as input elements times kernel taps, cropping not considered) and
    XnorPopcountMatMul are counted, with groups and depthwise; biases and element-wise operators are not. The data type
    of an output is its annotation, or 32 bits where integers are summed.

    Args:
        model: the model; it is not changed.
        discount_sparsity: leave zero weights out of MACs and weights.

    Raises:
        InvalidModel: the model breaks its format.
    """
    cleaned = cleanup_model(model)
    given = {value: get_datatype(value) for node in cleaned.graph for value in node.outputs}
    InferDataTypes().run(cleaned)
    FoldConstants(quantizers=True).run(cleaned)
    InferShapes().run(cleaned)
    nodes: list[NodeCost] = []
    uncounted: set[str] = set()
    for node in cleaned.graph:
        count = _COUNTED.get(node.op_type) if node.domain in ("", "ai.onnx", DOMAIN) else None
        found = None if count is None else _node_cost(node, count, discount_sparsity, given.get(node.outputs[0]))
        if found is not None:
            nodes.append(found)
        elif count is not None or node.op_type not in _FREE:
            uncounted.add(node.op_type)
    return InferenceCost(tuple(nodes), tuple(sorted(uncounted)), discount_sparsity)


def _node_cost(
    node: ir.Node,
    count: Callable[[ir.Node, Shape, Shape, Shape], int],
    discount_sparsity: bool,
    output_type: DataType | None,
) -> NodeCost | None:
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert w is not None
    shapes = [_one_sample(value) for value in (x, w, y)]
    left, right, result = shapes
    if left is None or right is None or result is None:
        return None
    macs = count(node, left, right, result)
    weight = constant_array(w)
    if weight is None and (first := constant_array(x)) is not None:
        x, w, weight = w, x, first  # a constant on the left: weights are what is stored
    weights = 0 if weight is None else weight.size
    if weight is not None and discount_sparsity and weight.size:
        weights = int(np.count_nonzero(weight))
        macs = macs * weights // weight.size
    types = [_datatype(value) for value in (x, w)]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    terms = [*types, *([] if bias is None else [_datatype(bias)])]
    produced = output_type or _sum_type(terms)
    return NodeCost(node.name or "", node.op_type, macs, weights, math.prod(result), types[0], types[1], produced)


def _one_sample(value: ir.Value) -> Shape | None:
    """Return the shape with a symbolic first axis taken as 1, or None where another axis is not known."""
    if value.shape is None:
        return None
    dims = [1 if axis == 0 and not isinstance(dim, int) else dim for axis, dim in enumerate(value.shape)]
    return tuple(int(dim) for dim in dims if isinstance(dim, int)) if all(isinstance(d, int) for d in dims) else None


def _matmul(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int:
    return math.prod(y) * x[-1]


def _gemm(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int:
    return math.prod(y) * x[0 if node.attributes.get_int("transA", 0) else 1]


def _conv(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int:
    return math.prod(y) * math.prod(w[1:])  # w: (out channels, in channels / group, kernel...)


def _conv_transpose(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int:
    return math.prod(x) * math.prod(w[1:])  # w: (in channels, out channels / group, kernel...)


_COUNTED: Mapping[str, Callable[[ir.Node, Shape, Shape, Shape], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "XnorPopcountMatMul": _matmul,
}


def _datatype(value: ir.Value) -> DataType:
    """Return the annotated type, else that of the element type."""
    found = get_datatype(value)
    if found is not None:
        return found
    dtype = value.dtype
    if dtype == ir.DataType.FLOAT16:
        return DataType.FLOAT16
    if dtype is not None and dtype.is_integer():
        return DataType.integer(dtype.bitwidth) if dtype.is_signed() else DataType.unsigned(dtype.bitwidth)
    return DataType.FLOAT32


def _sum_type(terms: Iterable[DataType]) -> DataType:
    """Return the type in which products of these are summed: 32 bits for integers, scaled where one is scaled."""
    types = list(terms)
    if all(term.is_integer() for term in types):
        make = DataType.integer if any(term.signed for term in types) else DataType.unsigned
        return make(_ACCUMULATOR_BITS)
    if all(term.is_integer() or term.kind in (Kind.SCALEDINT, Kind.FIXED) for term in types):
        return DataType.scaled_int(_ACCUMULATOR_BITS)
    return DataType.FLOAT32


def _merged(nodes: Iterable[NodeCost]) -> dict[str, int]:
    by_type: dict[str, int] = {}
    totals = dict.fromkeys(
        ("total_mem_w_bits", "total_mem_w_elems", "total_mem_o_bits", "total_mem_o_elems", "total_bops", "total_macs"),
        0,
    )
    for node in nodes:
        for key, amount in (
            (f"op_mac_{node.input_type}_{node.weight_type}", node.macs),
            (f"mem_w_{node.weight_type}", node.weights),
            (f"mem_o_{node.output_type}", node.outputs),
        ):
            by_type[key] = by_type.get(key, 0) + amount
        totals["total_mem_w_bits"] += node.weights * node.weight_type.bits
        totals["total_mem_w_elems"] += node.weights
        totals["total_mem_o_bits"] += node.outputs * node.output_type.bits
        totals["total_mem_o_elems"] += node.outputs
        totals["total_bops"] += node.macs * node.input_type.bits * node.weight_type.bits
        totals["total_macs"] += node.macs
    return {**by_type, **totals}

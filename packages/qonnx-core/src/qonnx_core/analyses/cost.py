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
from qonnx_core.errors import InvalidModel
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.ops.channels_last import CHANNELS_LAST
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_shapes import InferShapes

Shape = tuple[int, ...]
_ACCUMULATOR_BITS = 32

# Operators without multiplications of data by parameters or other data; the format's reference does not count them.
_FREE = frozenset(
    (
        "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "BipolarQuant", "Cast", "Ceil",
        "Celu", "Clip", "Concat", "Constant", "DebugMarker", "DepthToSpace", "DequantizeLinear", "Div", "Dropout",
        "Elu", "Equal", "Expand", "Flatten", "FloatQuant", "Floor", "Gather", "GlobalAveragePool", "GlobalMaxPool",
        "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "Im2Col", "IntQuant", "LeakyRelu", "Less",
        "LessOrEqual", "Max", "MaxPool", "MaxPoolNHWC", "Mean", "Min", "Mul", "MultiThreshold", "Neg", "Not", "Or",
        "Pad", "PRelu", "Quant", "QuantAvgPool2d", "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceSum", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Slice", "Softplus", "Softsign",
        "SpaceToDepth", "Split", "Squeeze", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose",
        "Trunc", "Unsqueeze", "Where", "Xor",
    )
)  # fmt: skip

_STANDARD = ("", "ai.onnx", DOMAIN)
_DOMAINS = (*_STANDARD, CHANNELS_LAST)
# Where the second operand stands.
_SECOND = {"QLinearConv": 3, "QLinearMatMul": 3}
_INTERPOLATING = frozenset(("Resize", "Upsample"))
# Multiplications for each interpolated output element and axis: one for each neighbour that is looked at.
_NEIGHBOURS = {"nearest": 0, "linear": 2, "cubic": 4}


@dataclass(frozen=True, slots=True)
class NodeCost:
    """The cost of one node: MACs, stored weights and produced elements.

    ``weights`` is 0 where both inputs run, and None where there is no second input (an interpolation, whose
    multiplications count with the type of its data).
    """

    name: str
    op_type: str
    macs: int
    weights: int | None
    outputs: int
    input_type: DataType
    weight_type: DataType
    output_type: DataType

    @property
    def bops(self) -> int:
        """Bit operations."""
        return self.macs * self.input_type.bits * self.weight_type.bits

    def to_dict(self) -> dict[str, int]:
        """Return the cost under the keys of the format's reference."""
        return _merged([self])


@dataclass(frozen=True, slots=True)
class InferenceCost:
    """The cost of one run, node by node; ``uncounted`` names operators that it leaves out.

    A batch that the file does not fix is one sample.
    """

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
        return sum(node.bops for node in self.nodes)

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

    Counted are MatMul, Gemm and Einsum (also of two running tensors, as in attention), Conv in both layouts with groups
    and depthwise, ConvTranspose (as many MACs as input elements times kernel elements, cropping not considered),
    XnorPopcountMatMul, and the integer operators of ONNX. Resize and Upsample cost a multiplication per neighbour
    along each axis that grows: none for nearest, 2 for linear and 4 for cubic interpolation. Biases and elementwise
    operators are not counted. The data type of an output is its annotation, or 32 bits where integers are summed.

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
        found, known = None, _is_counted(node)
        if known and node.op_type in _INTERPOLATING:
            found = _interpolation_cost(node)
        elif known:
            found = _product_cost(node, discount_sparsity, given.get(node.outputs[0]))
        if found is not None:
            nodes.append(found)
        elif known or node.op_type not in _FREE or node.domain not in _DOMAINS:
            uncounted.add(node.op_type)
    return InferenceCost(tuple(nodes), tuple(sorted(uncounted)), discount_sparsity)


def _is_counted(node: ir.Node) -> bool:
    if node.domain == CHANNELS_LAST:
        return node.op_type == "Conv"
    return node.domain in _STANDARD and (node.op_type in _COUNTED or node.op_type in _INTERPOLATING)


def _product_cost(node: ir.Node, discount_sparsity: bool, output_type: DataType | None) -> NodeCost | None:
    second = _SECOND.get(node.op_type, 1)
    if len(node.inputs) <= second or (node.op_type == "Einsum" and len(node.inputs) != 2):
        return None
    x, w, y = node.inputs[0], node.inputs[second], node.outputs[0]
    assert x is not None
    assert w is not None
    shapes = [_one_sample(value) for value in (x, w, y)]
    left, right, result = shapes
    if left is None or right is None or result is None:
        return None
    least = 2 if node.op_type == "Gemm" else 1
    if len(left) < least or not right:
        raise InvalidModel(
            f"{node.name or node.op_type} ({node.op_type}): multiplies shapes {list(left)} and {list(right)}; expected "
            f"at least {least} axes. Correct the shapes."
        )
    macs = _COUNTED[node.op_type](node, left, right, result)
    if macs is None:
        return None
    weight = constant_array(w)
    if weight is None and (first := constant_array(x)) is not None:
        x, w, weight = w, x, first  # a constant on the left: weights are what is stored
    weights = 0 if weight is None else weight.size
    if weight is not None and discount_sparsity and weight.size:
        weights = int(np.count_nonzero(weight))
        macs = macs * weights // weight.size
    types = [_datatype(value, node) for value in (x, w)]
    bias = node.inputs[2] if len(node.inputs) > 2 and second == 1 else None
    terms = [*types, *([] if bias is None else [_datatype(bias)])]
    requantized = node.op_type in _SECOND  # the result is no sum, but rounded again
    produced = output_type or (_datatype(y) if requantized else _sum_type(terms))
    return NodeCost(node.name or "", node.op_type, macs, weights, math.prod(result), types[0], types[1], produced)


def _interpolation_cost(node: ir.Node) -> NodeCost | None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    before, after = _one_sample(x), _one_sample(y)
    per_axis = _NEIGHBOURS.get(node.attributes.get_string("mode", "nearest"))
    if before is None or after is None or per_axis is None:
        return None
    growing = sum(a < b for a, b in zip(before, after, strict=True))
    datatype = _datatype(x)
    macs = per_axis * growing * math.prod(after)
    return NodeCost(node.name or "", node.op_type, macs, None, math.prod(after), datatype, datatype, _datatype(y))


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
    return math.prod(y) * math.prod(w[1:])  # w: out channels, then in channels / group and kernel in any order


def _conv_transpose(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int:
    return math.prod(x) * math.prod(w[1:])  # w: (in channels, out channels / group, kernel...)


def _einsum(node: ir.Node, x: Shape, w: Shape, y: Shape) -> int | None:
    """Return the product of the sizes of all letters of an equation of two terms; None with an ellipsis."""
    terms = node.attributes.get_string("equation", "").replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, (x, w), strict=False):
        if "." in term or len(term) != len(shape):
            return None
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


_COUNTED: Mapping[str, Callable[[ir.Node, Shape, Shape, Shape], int | None]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "XnorPopcountMatMul": _matmul,
}


def _datatype(value: ir.Value, node: ir.Node | None = None) -> DataType:
    """Return the annotated type, else the one that the operator is defined for, else that of the element type."""
    found = get_datatype(value)
    if found is not None:
        return found
    if node is not None and node.op_type == "XnorPopcountMatMul":
        return DataType.BINARY
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
            *([] if node.weights is None else [(f"mem_w_{node.weight_type}", node.weights)]),
            (f"mem_o_{node.output_type}", node.outputs),
        ):
            by_type[key] = by_type.get(key, 0) + amount
        totals["total_mem_w_bits"] += (node.weights or 0) * node.weight_type.bits
        totals["total_mem_w_elems"] += node.weights or 0
        totals["total_mem_o_bits"] += node.outputs * node.output_type.bits
        totals["total_mem_o_elems"] += node.outputs
        totals["total_bops"] += node.bops
        totals["total_macs"] += node.macs
    return {**by_type, **totals}

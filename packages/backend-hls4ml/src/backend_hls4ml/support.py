"""Which nodes of a cleaned QONNX model this backend takes; imports neither hls4ml nor alkaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qonnx_core.backend import Verdict, refused_domain

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.eda.targets import Target

_QUANTIZERS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold"})
_LINEAR = frozenset({"MatMul", "Gemm", "BatchNormalization", "Mul", "Div", "Add", "Sub", "Neg", "Sum"})
_PIECEWISE = frozenset({"Relu", "Clip", "Min", "Max", "HardTanh", "LeakyRelu", "PRelu", "Sign", "HardSigmoid"})
_CURVES = frozenset({"Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu"})  # thresholds of the quantizer behind
_SHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Cast"})
_SELECTS = frozenset({"ArgMax", "TopK"})
_TAKEN = _QUANTIZERS | _LINEAR | _PIECEWISE | _CURVES | _SHAPES | _SELECTS

_WHY_NOT = {
    "Conv": "convolutions are not unrolled into an adder network in this version",
    "ConvTranspose": "convolutions are not unrolled into an adder network in this version",
    "MaxPool": "pooling needs convolutions, which are not built in this version",
    "AveragePool": "pooling needs convolutions, which are not built in this version",
    "Softmax": "stays on the host: it is no integer function",
    "FloatQuant": "its values lie on no integer grid",
}


def supports(node: ir.Node, target: Target) -> Verdict:
    """Return whether the node can be part of a partition here, or why not and what to try.

    Elementwise nodes are taken because range analysis folds them into constants; whether that is exact for the given
    constants is decided when the partition is brought to integer form.
    """
    if target.family not in ("xc7", "ecp5"):
        return Verdict(False, f"target family {target.family!r} is unknown; expected xc7 or ecp5")
    kind = node.op_type
    if (foreign := refused_domain(node)) is not None:
        return foreign
    if kind not in _TAKEN:
        reason = _WHY_NOT.get(kind, "it has no exact integer layer here")
        return Verdict(False, f"{node.name} ({kind}): {reason}. Give it to another backend or to the host.")
    if kind in ("MatMul", "Gemm") and _is_dynamic(node):
        return Verdict(False, f"{node.name} ({kind}): both operands depend on the input; one has to be constant.")
    return Verdict(True)


def _is_dynamic(node: ir.Node) -> bool:
    """Whether no operand of a product comes from constants alone, through quantizers."""
    return not any(_is_constant(value) for value in node.inputs[:2])


def _is_constant(value: ir.Value | None, depth: int = 8) -> bool:
    if value is None:
        return False
    if value.const_value is not None or value.is_initializer():
        return True
    producer = value.producer()
    if producer is None or depth == 0:
        return False
    if producer.op_type == "Constant":
        return True
    return producer.op_type in (_QUANTIZERS | _SHAPES) and _is_constant(producer.inputs[0], depth - 1)

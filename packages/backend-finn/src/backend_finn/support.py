"""Which nodes of a cleaned QONNX model can become part of a partition here, and why the others cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qonnx_core.backend import Verdict, refused_domain

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.eda.targets import Target

QUANTIZERS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold"})
LINEAR = frozenset({"MatMul", "Gemm", "BatchNormalization", "Mul", "Div", "Add", "Sub", "Neg", "Sum"})
PIECEWISE = frozenset({"Relu", "Clip", "Min", "Max", "HardTanh", "LeakyRelu", "PRelu", "Sign", "HardSigmoid"})
CURVES = frozenset({"Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu"})  # thresholds of the quantizer behind
SHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Cast"})
SELECTIONS = frozenset({"ArgMax", "TopK"})
REASONS = {
    "Conv": "sliding windows have no kernel in this version",
    "ConvTranspose": "sliding windows have no kernel in this version",
    "MaxPool": "pooling has no kernel in this version",
    "AveragePool": "pooling has no kernel in this version",
    "GlobalAveragePool": "pooling has no kernel in this version",
    "Softmax": "it is no function of integers; as the end of the graph it runs on the host",
    "LogSoftmax": "it is no function of integers; as the end of the graph it runs on the host",
    "FloatQuant": "its values lie on no integer grid",
    "Concat": "joining streams by channel has no kernel in this version",
}


def supports(node: ir.Node, target: Target) -> Verdict:
    """Return whether a node can be part of a partition, or why not and what to try.

    Elementwise nodes are taken because they become thresholds or constants; whether they do for the given constants is
    decided when the partition is brought to integer form.
    """
    if target.family not in ("xc7", "ecp5"):
        return Verdict(False, f"target family {target.family!r}; expected xc7 or ecp5")
    kind = node.op_type
    if (foreign := refused_domain(node)) is not None:
        return foreign
    if kind not in QUANTIZERS | LINEAR | PIECEWISE | CURVES | SHAPES | SELECTIONS:
        reason = REASONS.get(kind, "no kernel")
        return Verdict(False, f"{node.name} ({kind}): {reason}. Give it to another backend or to the host.")
    if kind in ("MatMul", "Gemm") and not any(is_constant(value) for value in node.inputs[:2]):
        return Verdict(False, f"{node.name} ({kind}): both operands depend on the input; one has to be constant.")
    return Verdict(True)


def is_constant(value: ir.Value | None, depth: int = 8) -> bool:
    """Return whether a value follows from constants alone, through quantizers and reshapes."""
    if value is None or depth == 0:
        return False
    if value.const_value is not None or value.is_initializer():
        return True
    producer = value.producer()
    if producer is None:
        return False
    if producer.op_type == "Constant":
        return True
    return producer.op_type in QUANTIZERS | SHAPES and is_constant(producer.inputs[0], depth - 1)

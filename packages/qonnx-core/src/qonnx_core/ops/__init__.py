"""The operators of the QONNX format, one per file, each defined once."""

from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.quant import IntQuant, Quant
from qonnx_core.ops.registry import OpRegistry, default_registry, op_of
from qonnx_core.ops.rounding import Rounding
from qonnx_core.ops.trunc import Trunc, TruncV1

__all__ = [
    "DOMAIN",
    "BipolarQuant",
    "FloatQuant",
    "IntQuant",
    "MultiThreshold",
    "OpRegistry",
    "QonnxOp",
    "Quant",
    "Rounding",
    "Trunc",
    "TruncV1",
    "default_registry",
    "op_of",
]

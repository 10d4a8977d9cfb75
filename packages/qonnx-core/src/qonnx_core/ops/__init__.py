"""The operators of the QONNX format, one per file, each defined once."""

from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.channels_last import (
    CHANNELS_LAST,
    ChannelsLastBatchNormalization,
    ChannelsLastBatchNormalizationV9,
    ChannelsLastBatchNormalizationV14,
    ChannelsLastConv,
    ChannelsLastMaxPool,
    ChannelsLastMaxPoolV1,
)
from qonnx_core.ops.debug_marker import DebugMarker
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.im2col import Im2Col
from qonnx_core.ops.max_pool_nhwc import MaxPoolNHWC
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.quant import IntQuant, Quant
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.ops.registry import OpRegistry, default_registry, op_of
from qonnx_core.ops.rounding import Rounding
from qonnx_core.ops.trunc import Trunc, TruncV1
from qonnx_core.ops.xnor_popcount_matmul import XnorPopcountMatMul

__all__ = [
    "CHANNELS_LAST",
    "DOMAIN",
    "BipolarQuant",
    "ChannelsLastBatchNormalization",
    "ChannelsLastBatchNormalizationV9",
    "ChannelsLastBatchNormalizationV14",
    "ChannelsLastConv",
    "ChannelsLastMaxPool",
    "ChannelsLastMaxPoolV1",
    "DebugMarker",
    "FloatQuant",
    "Im2Col",
    "IntQuant",
    "MaxPoolNHWC",
    "MultiThreshold",
    "OpRegistry",
    "QonnxOp",
    "Quant",
    "QuantAvgPool2d",
    "Rounding",
    "Trunc",
    "TruncV1",
    "XnorPopcountMatMul",
    "default_registry",
    "op_of",
]

"""Every operator keeps the common contract, on ties and extremes, in float32 and float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qonnx_core.ops import (
    BipolarQuant,
    ChannelsLastBatchNormalization,
    ChannelsLastBatchNormalizationV9,
    ChannelsLastBatchNormalizationV14,
    ChannelsLastConv,
    ChannelsLastMaxPool,
    ChannelsLastMaxPoolV1,
    DebugMarker,
    FloatQuant,
    Im2Col,
    IntQuant,
    MaxPoolNHWC,
    MultiThreshold,
    Quant,
    QuantAvgPool2d,
    Rounding,
    Trunc,
    TruncV1,
    XnorPopcountMatMul,
)
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing.op_contract import OpExample, check_op, ties_and_extremes

F32 = np.float32


def _x(dtype: type = F32) -> np.ndarray:
    return ties_and_extremes(dtype)


def _whole(*shape: int, below: int = 16) -> np.ndarray:
    return np.random.default_rng(1).integers(0, below, shape).astype(F32)


QUANTS = [
    OpExample(kind(signed, narrow, mode), [_x(), F32(scale), F32(zeropt), F32(bits)])
    for kind, (signed, narrow), mode, (scale, zeropt, bits) in itertools.chain(
        itertools.product(
            [Quant], [(True, False), (True, True), (False, False), (False, True)], [Rounding.ROUND],
            [(1, 0, 4), (0.3, 0, 8), (0.5, 3, 4), (1, 0, 1), (1, 0, 2.5), (1, 0, 32)],
        ),
        itertools.product([IntQuant], [(True, False)], list(Rounding), [(1, 0, 4), (0.125, 2, 6)]),
    )
]  # fmt: skip
FLOAT_QUANTS = [
    OpExample(FloatQuant(mode, has_inf, has_nan, saturation=saturation), [_x(), F32(scale), *map(F32, parameters)])
    for mode, (has_inf, has_nan, saturation), scale, parameters in itertools.chain(
        itertools.product(
            [Rounding.ROUND], [(False, False, True), (True, False, False), (False, True, False)], [1, 0.3],
            [(4, 3, 7, 448), (5, 2, 15, 57344), (4, 3, 8, 240), (3, 2, 3, 28), (2, 1, 1, 6), (8, 7, 127, 3.3895e38)],
        ),
        itertools.product(list(Rounding), [(False, False, True)], [0.5], [(4, 3, 7, 448), (8, 7, 127, 3e38)]),
    )
]  # fmt: skip
OTHERS = [
    OpExample(FloatQuant(), [_x(np.float64), F32(0.3), np.int64(4), F32(3), F32(7), F32(448)]),
    OpExample(FloatQuant(), [_x(np.float16), np.float16(0.5), F32(4), F32(3), F32(7), F32(448)]),
    OpExample(
        FloatQuant(),
        [
            _x().reshape(-1, 1),
            np.asarray([[1, 0.5]], F32),
            np.asarray([[4, 5]], F32),
            np.asarray([[3, 2]], F32),
            np.asarray([[7, 15]], F32),
            np.asarray([[448, 57344]], F32),
        ],
    ),
    OpExample(Quant(), [_x(np.float64), F32(0.3), np.int64(1), np.int64(5)]),
    OpExample(Quant(), [_x().reshape(-1, 1), np.asarray([[1.0, 0.5, 0.25]], F32), np.zeros((1, 1), F32), F32(4)]),
    OpExample(Quant(), [_x().reshape(-1, 1), F32(1), F32(0), np.asarray([[1.0, 2, 4]], F32)]),
    OpExample(BipolarQuant(), [_x(), F32(0.7)]),
    OpExample(BipolarQuant(), [_x(np.float64).reshape(-1, 1), np.asarray([[1.0, 0.5]], F32)]),
    *(OpExample(TruncV1(mode), [_x(), F32(0.5), F32(1), F32(8), F32(5)]) for mode in Rounding),
    *(OpExample(Trunc(mode), [_x(), F32(0.5), F32(0), F32(8), F32(2), F32(4)]) for mode in Rounding),
    OpExample(Trunc(Rounding.ROUND, False, True), [_x(np.float64), F32(0.5), F32(4), F32(8), F32(2), F32(4)]),
    OpExample(MultiThreshold("UINT2"), [_x().reshape(-1, 1), np.asarray([[-1.5, 0, 7.25]], F32)]),
    OpExample(MultiThreshold("INT2", 0.5, -1.0), [_x(np.float64).reshape(-1, 1), np.asarray([[3.0, 0, 0]], F32)]),
    OpExample(MultiThreshold("UINT4"), [_x()[:96].reshape(4, 2, 3, 4), np.sort(_x()[:30].reshape(2, 15))]),
    OpExample(MultiThreshold("UINT4", 1.0, 0.0, "NHWC"), [_x()[:96].reshape(4, 2, 3, 4), _x()[:28].reshape(4, 7)]),
    OpExample(MultiThreshold("BIPOLAR", 2.0, -1.0, "NC"), [_x()[:96].reshape(-1, 4), _x()[:4].reshape(4, 1)]),
    OpExample(QuantAvgPool2d(2, 3, 4, 4, False), [_whole(2, 3, 8, 7)]),
    OpExample(QuantAvgPool2d(1, 2, 4, 4, True, "NHWC"), [_whole(2, 8, 7, 3) - 8]),
    OpExample(QuantAvgPool2d(7, 7, 8, 8, False), [_whole(1, 3, 7, 7).astype(np.float64)]),
    OpExample(XnorPopcountMatMul(), [_whole(5, 9, below=2), _whole(9, 4, below=2)]),
    OpExample(XnorPopcountMatMul(), [_whole(2, 5, 9, below=2), _whole(2, 9, 4, below=2)]),
    OpExample(MaxPoolNHWC((3, 2), (1, 0, 1, 1), (2, 1)), [_x()[:288].reshape(2, 8, 6, 3)]),
    OpExample(MaxPoolNHWC((2, 2), (0, 0, 0, 0), (2, 2), True), [_whole(1, 7, 5, 3)]),
    OpExample(Im2Col((1, 1), (3, 3), "(1, 8, 6, 3)", (1, 1, 1, 1)), [_x()[:288].reshape(2, 8, 6, 3)]),
    OpExample(Im2Col((2, 1), (2, 3), "(1,8,6,3)", (0, 1, 2, 0), -1, True, (2, 1)), [_whole(3, 8, 6, 3)]),
    OpExample(DebugMarker("conv1_out"), [_x()]),
    *(
        OpExample(kind, [_whole(2, 5, 3), _whole(3), _whole(3), _whole(3), _whole(3) + 1])
        for kind in (
            ChannelsLastBatchNormalization(1e-3),
            ChannelsLastBatchNormalizationV9(),
            ChannelsLastBatchNormalizationV14(),
        )
    ),
    OpExample(ChannelsLastConv((3,), pads=(1, 0)), [_whole(2, 9, 4), _whole(6, 3, 4)]),
    OpExample(ChannelsLastConv((3, 2), (2, 1), (1, 2), (1, 0, 2, 1), 2), [_whole(2, 8, 7, 4), _whole(6, 3, 2, 2)]),
    OpExample(ChannelsLastConv((2, 2, 1)), [_whole(1, 4, 5, 3, 2), _whole(3, 2, 2, 1, 2), _whole(3)]),
    OpExample(ChannelsLastMaxPoolV1((3,), (2,), (1, 1)), [_whole(2, 9, 4)]),
    OpExample(ChannelsLastMaxPool((3, 2), (2, 2), (1, 0, 1, 1), True, (1, 2)), [_whole(2, 8, 7, 4)]),
    OpExample(MultiThreshold("UINT1"), [_x()[:96].reshape(4, 4, 6), np.zeros((4, 1), F32)]),
]


@pytest.mark.parametrize("example", [*QUANTS, *FLOAT_QUANTS, *OTHERS], ids=lambda example: type(example.op).__name__)
def test_an_operator_keeps_the_contract(example: OpExample) -> None:
    check_op(example)


def test_the_contract_covers_every_operator() -> None:
    from qonnx_core.ops.registry import BUILT_IN

    covered: set[type[QonnxOp]] = {type(example.op) for example in (*QUANTS, *FLOAT_QUANTS, *OTHERS)}
    assert covered == set(BUILT_IN)

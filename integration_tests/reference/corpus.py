"""The graphs on which this project and PyPI qonnx 1.0.0 are compared: every operator, every option, whole networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops import (
    BipolarQuant,
    ChannelsLastBatchNormalizationV14,
    ChannelsLastConv,
    ChannelsLastMaxPool,
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
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.op_contract import example_model, ties_and_extremes
from qonnx_core.testing.random_graphs import Kind, random_graph

Array = NDArray[Any]
Expected = Literal["equal", "rounding", "reference is wrong"]
F32 = np.float32
QONNX = "qonnx.custom_op.general"


@dataclass(frozen=True, slots=True)
class Case:
    """One graph with inputs for it.

    ``expected`` is ``equal`` where both have to give the same bits, ``rounding`` where float sums may differ, and
    ``reference is wrong`` where a defect of the reference is known; ``reason`` says which. Then ``oracle`` is right.
    """

    name: str
    group: str
    model: ir.Model
    inputs: dict[str, Array]
    expected: Expected = "equal"
    reason: str = ""
    oracle: dict[str, Array] = field(default_factory=dict)
    files: dict[str, ir.Model] = field(default_factory=dict)
    """Models that lie beside it, by file name."""


def cases() -> list[Case]:
    """Return all cases, always the same ones."""
    found = [*_quants(), *_other_quantizers(), *_float_quants(), *_windows(), *_nested(), *_defects(), *_networks()]
    assert len({case.name for case in found}) == len(found)
    return found


def few_cases() -> list[Case]:
    """Return some cases of each group, for a quick look."""
    groups: dict[str, list[Case]] = {}
    for case in cases():
        groups.setdefault(case.group, []).append(case)
    few = [case for group in groups.values() for case in group[:: max(1, len(group) // 2)][:2]]
    return list({case.name: case for case in (*few, *_defects())}.values())


def _case(name: str, op: QonnxOp, inputs: list[Array], *, binary: bool = False, **more: Any) -> Case:
    """Return the case of one node; data are the first input, parameters are constants."""
    model = example_model(op, inputs, constants=True)
    InferShapes().run(model)
    if isinstance(op, Im2Col):  # the reference runs it only where the data have a type
        set_datatype(model.graph.inputs[0], DataType.parse("FLOAT32"))
    if binary:
        for value in (*model.graph.inputs, *model.graph.initializers.values()):
            set_datatype(value, DataType.BINARY)
    return Case(name, type(op).__name__, model, {op.inputs[0]: inputs[0]}, **more)


def _x(rows: int = 1) -> Array:
    """Return ties, extremes, infinities, NaN and zeros of both signs, as many columns as there are per row."""
    data = ties_and_extremes()
    return data[: len(data) // rows * rows].reshape(rows, -1)


def _quants() -> Iterator[Case]:
    kinds = [(True, False), (True, True), (False, False), (False, True)]
    for number, (kind, (signed, narrow), mode, (scale, zeropt, bits)) in enumerate(
        itertools.chain(
            itertools.product([Quant], kinds, list(Rounding), [(1, 0, 4), (0.3, 0, 8), (0.5, 3, 3)]),
            itertools.product([Quant], kinds, [Rounding.ROUND], [(1, 0, 1), (0.125, 0, 2.5), (1, 0, 16), (0.7, -5, 8)]),
            itertools.product([IntQuant], kinds, [Rounding.ROUND, Rounding.FLOOR], [(0.25, 1, 5)]),
        )
    ):
        parameters = [np.asarray(value, F32) for value in (scale, zeropt, bits)]
        yield _case(f"{kind.__name__}_{number}", kind(signed, narrow, mode), [_x(), *parameters])
    column = _x(4).T
    for number, (scales, zeros) in enumerate(
        itertools.product(([0.5, 1, 0.3, 2], [1, 1, 1, 1]), ([0, 0, 0, 0], [1, -2, 3, 0]))
    ):
        parameters = [np.asarray([scales], F32), np.asarray([zeros], F32), np.asarray(4, F32)]
        yield _case(f"Quant_per_channel_{number}", Quant(), [np.ascontiguousarray(column), *parameters])


def _other_quantizers() -> Iterator[Case]:
    for number, scale in enumerate((1, 0.7, 2.0**-3)):
        yield _case(f"BipolarQuant_{number}", BipolarQuant(), [_x(), np.asarray(scale, F32)])
    column = np.ascontiguousarray(_x(4).T)
    yield _case("BipolarQuant_per_channel", BipolarQuant(), [column, np.asarray([[1, 0.5, 0.3, 2]], F32)])
    for number, (mode, parameters) in enumerate(
        itertools.product(list(Rounding), [(0.5, 0, 8, 5), (1, 3, 6, 4), (0.3, 0, 8, 7)])
    ):
        yield _case(f"TruncV1_{number}", TruncV1(mode), [_x(), *(np.asarray(value, F32) for value in parameters)])
    for number, (mode, (signed, narrow), both) in enumerate(
        itertools.product(
            list(Rounding), [(True, False), (False, False), (True, True)], [(0.5, 0, 8, 2, 4), (0.25, 4, 8, 1, 6)]
        )
    ):
        values = [np.asarray(value, F32) for value in both]
        yield _case(f"Trunc_{number}", Trunc(mode, signed, narrow), [_x(), *values])
    rows = np.sort(np.random.default_rng(0).integers(-24, 24, (4, 7)) / 4, axis=1).astype(F32)
    data = (np.random.default_rng(1).integers(-32, 32, (1, 4, 4, 4)) / 4).astype(F32)
    layouts = [("NCHW", data), ("NHWC", data), ("NC", data.reshape(16, 4)), ("NCW", data.reshape(4, 4, 4))]
    layouts += [("NWC", data.reshape(4, 4, 4))]
    for number, ((layout, x), thresholds, (datatype, scale, bias)) in enumerate(
        itertools.product(layouts, (rows, rows[:1]), [("UINT3", 1.0, 0.0), ("INT4", 0.5, -2.0)])
    ):
        yield _case(f"MultiThreshold_{number}", MultiThreshold(datatype, scale, bias, layout), [x, thresholds])
    signs = MultiThreshold("BIPOLAR", 2.0, -1.0, "NC")
    yield _case("MultiThreshold_bipolar", signs, [data.reshape(16, 4), rows[:, 3:4]])
    yield _case("DebugMarker", DebugMarker("seen"), [_x()])


def _float_quants() -> Iterator[Case]:
    formats = [(4, 3, 7, 448), (5, 2, 15, 57344), (4, 3, 8, 240), (3, 2, 3, 28), (2, 3, 1, 7.5), (2, 1, 1, 6)]
    x = _away_from_powers_of_two()
    for number, (mode, values, scale) in enumerate(itertools.product(list(Rounding), formats, (1, 0.5))):
        parameters = [np.asarray(value, F32) for value in (scale, *values)]
        yield _case(f"FloatQuant_{number}", FloatQuant(mode), [x, *parameters])
    for number, (has_inf, has_nan) in enumerate(((True, False), (False, True), (True, True))):
        op = FloatQuant(Rounding.ROUND, has_inf, has_nan, True, False)
        parameters = [np.asarray(value, F32) for value in (1, *formats[1])]
        yield _case(f"FloatQuant_beyond_{number}", op, [x * F32(2000), *parameters])


def _away_from_powers_of_two() -> Array:
    """Return numbers whose binade float32's logarithm gets right: none within some steps below a power of two."""
    generator = np.random.default_rng(3)
    mantissa = generator.uniform(1, 1.999, 300) * generator.choice([-1, 1], 300)
    return np.asarray([*(mantissa * 2.0 ** generator.integers(-12, 12, 300)), 0, 0.5, 1, 2, 4, -8], F32).reshape(1, -1)


def _windows() -> Iterator[Case]:
    whole = np.random.default_rng(2).integers(0, 16, (1, 8, 7, 4)).astype(F32)
    first = np.ascontiguousarray(whole.transpose(0, 3, 1, 2))
    for number, (stride, kernel, bits, (layout, x)) in enumerate(
        itertools.product((1, 2), (2, 3), (4, 6), (("NCHW", first), ("NHWC", whole)))
    ):
        pool = QuantAvgPool2d(stride, kernel, 4, bits, number % 2 == 1, layout)
        yield _case(f"QuantAvgPool2d_{number}", pool, [x])
    ones = np.random.default_rng(4).integers(0, 2, (2, 9, 9)).astype(F32)
    yield _case("XnorPopcountMatMul", XnorPopcountMatMul(), [ones[0], ones[1][:, :5].copy()], binary=True)
    for number, (size, steps, edges) in enumerate(
        itertools.product(((2, 2), (3, 2)), ((1, 1), (2, 2)), ((0, 0, 0, 0), (1, 1, 1, 1)))
    ):
        yield _case(f"MaxPoolNHWC_{number}", MaxPoolNHWC(size, edges, steps), [whole + 1])
    for number, (size, steps, edges, depthwise, spread) in enumerate(
        itertools.product(((2, 2), (3, 1)), ((1, 1), (2, 1)), ((0, 0, 0, 0), (1, 0, 1, 0)), (False, True),
                          ((1, 1), (2, 1)))
    ):  # fmt: skip
        im2col = Im2Col(steps, size, "(1, 8, 7, 4)", edges, 0, depthwise, spread)
        yield _case(f"Im2Col_{number}", im2col, [whole])
    weights = np.random.default_rng(5).integers(-4, 4, (6, 3, 3, 4)).astype(F32)
    for number, (steps, edges, spread) in enumerate(
        itertools.product(((1, 1), (2, 1)), ((0, 0, 0, 0), (1, 1, 1, 1)), ((1, 1), (2, 1)))
    ):
        conv = ChannelsLastConv((3, 3), steps, spread, edges, 1)
        yield _case(f"ChannelsLastConv_{number}", conv, [whole, weights])
    conv = ChannelsLastConv((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2)
    yield _case("ChannelsLastConv_groups", conv, [whole, np.ascontiguousarray(weights[..., :2])])
    yield _case("ChannelsLastMaxPool", ChannelsLastMaxPool((2, 2), (2, 2), (0, 0, 0, 0)), [whole])
    numbers = ([1, 2, 0.5, -1], [0, 1, 2, 3], [1, 1, 2, 2], [0.75, 3.75, 0.75, 15.75])
    norm = [np.asarray(values, F32) for values in numbers]
    yield _case("ChannelsLastBatchNormalization", ChannelsLastBatchNormalizationV14(0.25), [whole, *norm])


def _nested() -> Iterator[Case]:
    """Yield networks that are one GenericPartition, with the network in a file of its own."""
    for seed in range(3):
        graph = random_graph(seed, "mlp", trunc_version=1)
        (source,), outputs = graph.model.graph.inputs, graph.model.graph.outputs
        x = ir.Value(name="x", shape=source.shape, type=source.type)
        name = f"inner_{seed}.onnx"
        attributes = {"model": name, "return_full_exec_context": 0}
        node = ir.node("GenericPartition", [x], attributes, domain=QONNX, num_outputs=len(outputs), name="part")
        for number, (made, inner) in enumerate(zip(node.outputs, outputs, strict=True)):
            made.name, made.shape, made.type = f"y_{number}", inner.shape, inner.type
        outer = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 21, QONNX: 1}, name="outer")
        yield Case(f"GenericPartition_{seed}", "GenericPartition", ir.Model(outer, ir_version=10), graph.inputs,
                   files={name: graph.model})  # fmt: skip


def _networks() -> Iterator[Case]:
    kinds: tuple[Kind, ...] = ("mlp", "cnn", "mixed")
    for kind, seed in itertools.product(kinds, range(30)):
        graph = random_graph(seed, kind, trunc_version=1 + seed % 2)
        yield Case(f"{kind}_{seed}", "network, exact sums", graph.model, graph.inputs)
    for kind, seed in itertools.product(kinds, range(12)):
        graph = random_graph(seed, kind, exact=False)
        yield Case(f"{kind}_any_numbers_{seed}", "network, any numbers", graph.model, graph.inputs, "rounding")


def _defects() -> Iterator[Case]:
    """Yield graphs on which the reference is known to be wrong, each with what is right."""
    below = np.nextafter(np.asarray([[1, 2, 4, 8, 0.5]], F32), F32(0))
    step = 2.0 ** (np.floor(np.log2(below.astype(np.float64))) - 3)
    yield _case(
        "FloatQuant_below_powers_of_two", FloatQuant(Rounding.FLOOR),
        [below, *(np.asarray(value, F32) for value in (1, 4, 3, 7, 448))],
        expected="reference is wrong", reason="the exponent is one too large just below a power of two",
        oracle={"y": (np.floor(below / step) * step).astype(F32)},
    )  # fmt: skip
    x = np.full((2, 4), 99, F32)
    yield _case(
        "Quant_bit_widths", Quant(), [x, *(np.asarray(value, F32) for value in (1, 0, [2, 3, 4, 8]))],
        expected="reference is wrong", reason="defect 14: a vector of bit widths raises an error",
        oracle={"y": np.asarray([[1, 3, 7, 99]] * 2, F32)},
    )  # fmt: skip
    yield _case(
        "Quant_bit_width_of_8_bits", Quant(signed=False), [x, *(np.asarray(v, F32) for v in (1, 0)), np.int8(8)],
        expected="reference is wrong", reason="bounds are computed in the type of the bit width: int8 overflows",
        oracle={"y": x},
    )  # fmt: skip
    half = np.asarray([[0.3, -0.3, 5, 1.25]], np.float16)
    yield _case(
        "Quant_float16", Quant(), [half, *(np.asarray(value, np.float16) for value in (0.5, 0)), np.asarray(4, F32)],
        expected="reference is wrong", reason="defect 15: the result is forced to float32",
        oracle={"y": np.asarray([[0.5, -0.5, 3.5, 1]], np.float16)},
    )  # fmt: skip
    image = np.arange(9, dtype=F32).reshape(1, 3, 3, 1)
    plain = _case("Im2Col_without_annotation", Im2Col((1, 1), (2, 2), "(1, 3, 3, 1)"), [image])
    plain.model.graph.inputs[0].meta.pop("quant_parameter_tensor_names", None)
    windows = [[[0, 1, 3, 4], [1, 2, 4, 5]], [[3, 4, 6, 7], [4, 5, 7, 8]]]
    yield Case(plain.name, plain.group, plain.model, plain.inputs, "reference is wrong",
               "defect 18: it runs only where the data have a type", {"y": np.asarray([windows], F32)})  # fmt: skip
    rank3 = np.arange(24, dtype=F32).reshape(2, 3, 4)
    rows = np.asarray([[4, 8], [0, 100], [20, 23]], F32)
    count = (rank3[..., None] >= rows[None, :, None, :]).sum(-1).astype(F32)
    yield _case(
        "MultiThreshold_rank_3_without_layout", MultiThreshold("UINT2"), [rank3, rows],
        expected="reference is wrong", reason="without a layout, rank 3 is taken as channels last",
        oracle={"y": count},
    )  # fmt: skip

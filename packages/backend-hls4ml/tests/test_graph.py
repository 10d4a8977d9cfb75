"""The hls4ml layer list: exact types, plain names, reasons."""

from __future__ import annotations

import numpy as np
import pytest

from backend_hls4ml.backend import _tensors
from backend_hls4ml.graph import build_layer_list, integer_bits, precision_text
from backend_hls4ml.options import Options
from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import view


def layer_list(form):
    layers = form.layers()
    return build_layer_list(*_tensors(form, layers), layers, Options())


@pytest.mark.parametrize(
    ("lo", "hi", "text"),
    [
        (0, 1, "ufixed<1,1>"),
        (0, 0, "ufixed<1,1>"),
        (-1, 0, "fixed<2,2>"),
        (-1, 1, "fixed<2,2>"),
        (-2, 1, "fixed<2,2>"),
        (-3, 1, "fixed<3,3>"),
        (0, 255, "ufixed<8,8>"),
        (-128, 128, "fixed<9,9>"),
        (-(2**52), 2**52 - 1, "fixed<53,53>"),
    ],
)
def test_a_type_is_the_smallest_for_its_range(lo, hi, text):
    assert precision_text(lo, hi) == text
    bits, signed = integer_bits(lo, hi)
    assert -(2 ** (bits - 1)) * signed <= lo
    assert hi < 2 ** (bits - signed)


def test_what_a_double_cannot_hold_is_refused():
    with pytest.raises(Unsupported, match="takes 54 bits; at most 53 are emulated exactly"):
        precision_text(-(2**53), 0)


def test_an_accumulator_holds_every_partial_sum(networks):
    x, y = networks.tensor("x", 3, -8, 7), networks.tensor("y", 1, -1000, 1000)
    weights = np.array([[100], [-100], [1]])
    form = networks.Form([x], [y], [view.MatMul("fc", x, y, weights, DataType.parse("INT8"), np.array([-5]))])
    precision = layer_list(form).config["layer0_fc"]["Precision"]
    assert precision["weight"] == "fixed<8,8>"
    assert precision["accum"] == precision_text(-800 - 700 - 8 - 5, 700 + 800 + 7)


def test_names_from_a_model_are_made_plain(networks):
    x, y = networks.tensor('x"); system("', 2, 0, 3), networks.tensor("y/../z", 2, 0, 1)
    layer = view.Thresholds("int;#include <x>", x, y, np.array([[2]]), 0, 1)
    result = layer_list(networks.Form([x], [y], [layer]))
    assert [entry["name"] for entry in result.layers] == ["input0", "layer0_n_int_include_x"] or all(
        entry["name"].replace("_", "").isalnum() for entry in result.layers
    )
    assert result.inputs == ["input0"]


def test_a_reshape_is_a_name_only(networks):
    x = view.IntTensor("x", (1, 2, 2), DataType.parse("UINT2"), np.zeros(2, int), np.full(2, 3))
    flat, y = networks.tensor("flat", 4, 0, 3), networks.tensor("y", 1, 0, 12)
    layers = [view.Reshape("r", x, flat), view.MatMul("fc", flat, y, np.ones((4, 1), int), DataType.parse("BINARY"))]
    result = layer_list(networks.Form([x], [y], layers))
    assert [entry["class_name"] for entry in result.layers] == ["InputLayer", "Dense"]
    assert result.layers[1]["inputs"] == ["input0"]


def test_every_layer_without_a_counterpart_is_named(networks):
    x = view.IntTensor("x", (1, 2, 3), DataType.parse("UINT2"), np.zeros(3, int), np.full(3, 3))
    y = view.IntTensor("y", (1, 2, 2), DataType.parse("UINT4"), np.zeros(2, int), np.full(2, 9))
    z = view.IntTensor("z", (1, 2, 2), DataType.parse("UINT2"), np.zeros(2, int), np.full(2, 3))
    layers = [
        view.MatMul("fc", x, y, np.ones((3, 2), int), DataType.parse("BINARY")),
        view.Requantize("q", y, z, 1, "NEAREST", 0, 3),
    ]
    with pytest.raises(Unsupported) as caught:
        layer_list(networks.Form([x], [z], layers))
    assert len(caught.value.reasons) == 2
    assert "fc: multiplies 2 rows a frame; hls4ml's Dense takes one" in str(caught.value)
    assert "q: rounding mode 'NEAREST'; expected one of ROUND" in str(caught.value)


def test_an_output_that_is_an_input_is_refused(networks):
    x, y = networks.tensor("x", 2, 0, 3), networks.tensor("y", 2, 0, 3)
    with pytest.raises(Unsupported, match="Move the border of the part"):
        layer_list(networks.Form([x], [y], [view.Reshape("r", x, y)]))


def test_a_stream_with_too_many_readers_is_refused(networks):
    x = networks.tensor("x", 2, 0, 3)
    outputs = [networks.tensor(f"y{n}", 2, 0, 3) for n in range(8)]
    layers = [view.Scale(f"s{n}", x, y, np.array([n])) for n, y in enumerate(outputs)]
    form = networks.Form([x], outputs, layers)
    with pytest.raises(Unsupported, match=r"input0: has 8 readers"):
        build_layer_list(*_tensors(form, layers), layers, Options(io_type="io_stream"))

"""Whole networks through the tracer: exact against numpy for every layer kind, and refused with reasons otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from backend_hls4ml.backend import _tensors
from backend_hls4ml.distributed import signed_digits, trace_network
from backend_hls4ml.options import Options
from qonnx_core.errors import Unsupported
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import view

pytest.importorskip("alkaid", reason="alkaid is not installed")


def trace_form(form, **options):
    layers = form.layers()
    inputs, outputs = _tensors(form, layers)
    return trace_network(inputs, outputs, layers, Options(**options))


def assert_exact(networks, form, frames=300, **options):
    network = trace_form(form, **options)
    inputs = networks.inputs(form, frames, seed=11)
    expected = form.run(inputs)
    found = network.run([inputs[port.name].reshape(frames, -1) for port in form.inputs])
    for port, values in zip(form.outputs, found, strict=True):
        assert np.array_equal(values, expected[port.name].reshape(frames, -1)), port.name
    return network


@pytest.mark.parametrize("weights", ["bipolar", "ternary", "2", "4", "6"])
@pytest.mark.parametrize("activation", ["BIPOLAR", "UINT2", "INT3", "UINT5"])
@pytest.mark.parametrize("style", ["thresholds", "shift"])
def test_random_perceptrons_are_exact(networks, weights, activation, style):
    if style == "shift" and activation == "BIPOLAR":
        style = "thresholds"
    form = networks.mlp(
        3, [14, 10, 6], weights=weights, activation=activation, style=style, bias=True, quantize_last=True
    )  # fmt: skip
    assert_exact(networks, form)


@pytest.mark.parametrize("input_type", ["BIPOLAR", "TERNARY", "BINARY", "INT2", "UINT8", "INT16"])
def test_every_input_type_is_exact(networks, input_type):
    assert_exact(networks, networks.mlp(5, [17, 9, 7, 4], input_type=input_type, weights="ternary"))


@pytest.mark.parametrize("form", ["comparators", "table", "search"])
def test_threshold_forms_agree_on_many_levels(networks, form):
    network = networks.mlp(7, [12, 8, 4], activation="UINT5", weights="3")
    assert_exact(networks, network, threshold_form=form)


@pytest.mark.parametrize("block_weights", [1, 13, 10_000])
def test_blocks_of_any_size_give_the_same_numbers(networks, block_weights):
    assert_exact(networks, networks.mlp(9, [20, 70, 5], weights="2"), block_weights=block_weights)
    assert_exact(networks, networks.mlp(9, [20, 7, 5], weights="bipolar"), block_weights=block_weights)


@pytest.mark.parametrize("bits", [12, 17, 22, 25])
def test_wide_weights_are_exact(networks, bits):
    assert_exact(networks, networks.mlp(bits, [6, 5], input_type="INT2", weights=str(bits)))


def test_labels_follow_argmax_with_ties(networks):
    form = networks.mlp(4, [6, 5, 7], input_type="UINT2", weights="ternary", label_select=True)
    assert_exact(networks, form, frames=2000)


def test_residual_scale_and_constant_layers_are_exact(networks):
    x = networks.tensor("x", 8, -8, 7)
    weights = networks.weights(np.random.default_rng(1), (8, 8), "3")
    low, high = networks.product_range(weights, -8, 7, None)
    product = view.IntTensor("p", (1, 8), DataType.parse("INT9"), low, high)
    scaled = networks.tensor("s", 8, -24, 24)
    shifted = networks.tensor("c", 8, -40, 40)
    total = networks.tensor("t", 8, -300, 300)
    layers = [
        view.MatMul("fc", x, product, weights, DataType.parse("INT3")),
        view.Scale("scale", x, scaled, np.array([-1, 2, 3, 1, -3, 1, 2, 0])),
        view.AddConstant("shift", scaled, shifted, np.array([-16, 5, 0, 1, 2, 3, 4, 16])),
        view.Add("sum", (product, shifted), total),
        view.Reshape("flat", total, view.IntTensor("y", (1, 2, 4), total.datatype, total.lo[:4], total.hi[:4])),
    ]
    assert_exact(networks, networks.Form([x], [layers[-1].output], layers))


def test_channels_repeat_over_the_rows_of_a_frame(networks):
    x = view.IntTensor("x", (1, 3, 4), DataType.parse("UINT3"), np.zeros(4, int), np.full(4, 7))
    weights = networks.weights(np.random.default_rng(2), (4, 2), "3")
    low, high = networks.product_range(weights, 0, 7, None)
    product = view.IntTensor("p", (1, 3, 2), DataType.parse("INT7"), low, high)
    y = view.IntTensor("y", (1, 3, 2), DataType.parse("UINT2"), np.zeros(2, int), np.full(2, 3))
    layers = [
        view.MatMul("fc", x, product, weights, DataType.parse("INT3")),
        view.Thresholds("q", product, y, np.array([[-5, 0, 5], [1, 2, 3]]), 0, 1),
    ]
    assert_exact(networks, networks.Form([x], [y], layers))


def test_two_inputs_and_two_outputs_keep_their_order(networks):
    a, b = networks.tensor("a", 3, 0, 3), networks.tensor("b", 3, -4, 3)
    total, doubled = networks.tensor("t", 3, -4, 6), networks.tensor("d", 3, -8, 6)
    layers = [
        view.Add("sum", (a, b), total),
        view.Scale("double", b, doubled, np.array([2])),
    ]
    assert_exact(networks, networks.Form([a, b], [doubled, total], layers))


def test_constant_channels_become_constants(networks):
    x = networks.tensor("x", 4, 0, 3)
    y = networks.tensor("y", 4, -1, 1, DataType.BIPOLAR)
    table = np.array([[-5], [2], [100], [1]])
    form = networks.Form([x], [y], [view.Thresholds("q", x, y, table, -1, 2)])
    network = assert_exact(networks, form)
    assert [c for c, k in zip(network.columns[0], network.constants[0], strict=True) if c < 0] == [-1, -1]


def test_the_published_one_bit_bug_of_the_solver_does_not_reach_us(networks):
    # 1 - b as a layer: a decreasing threshold channel, then six weights; alkaid's default gives 0 for the zero input
    x = networks.tensor("x", 6, 0, 1)
    inverted, moved = networks.tensor("i", 6, -1, 0), networks.tensor("m", 6, 0, 1)
    y = networks.tensor("y", 1, 0, 21)
    layers = [
        view.Scale("negate", x, inverted, np.array([-1])),
        view.AddConstant("plus_one", inverted, moved, np.array([1])),
        view.MatMul("fc", moved, y, np.arange(1, 7)[:, None], DataType.parse("UINT3")),
    ]
    network = trace_form(networks.Form([x], [y], layers))
    arguments = (np.arange(64)[:, None] >> np.arange(6)) & 1
    assert np.array_equal(network.run([arguments])[0][:, 0], (1 - arguments) @ np.arange(1, 7))
    assert network.run([np.zeros((1, 6), np.int64)])[0].item() == 21


@pytest.mark.parametrize("bits", [7, 13])
def test_negative_bits_through_thresholds_and_products_are_exact(networks, bits):
    form = networks.mlp(bits, [bits, 12, 12, 3], input_type="BINARY", activation="BIPOLAR", weights="bipolar")
    assert_exact(networks, form)


def test_the_self_check_sees_a_wrong_network(networks):
    from backend_hls4ml.check import check_network
    from qonnx_core.errors import Mismatch

    form, other = networks.mlp(1, [6, 5, 3]), networks.mlp(2, [6, 5, 3])
    with pytest.raises(Mismatch, match=r"acc1: distributed arithmetic gives -?\d+ for element \d+ of check frame"):
        check_network(trace_form(other), form, 16, 0)


def test_signed_digits_count_the_adders():
    assert signed_digits(np.array([0, 1, 2, 3, 7, -7, 5, 11])) == 0 + 1 + 1 + 2 + 2 + 2 + 2 + 3


def test_a_network_that_is_too_large_is_refused_before_tracing(networks):
    form = networks.mlp(1, [16, 16, 4])
    with pytest.raises(Unsupported, match=r"fc0: the weights .* non-zero signed digits .*finn backend.*max_digits"):
        trace_form(form, max_digits=10)


def test_a_wide_accumulator_is_refused(networks):
    x = networks.tensor("x", 2, -(2**25), 2**25 - 1)
    y = networks.tensor("y", 1, -(2**32), 2**32)
    form = networks.Form([x], [y], [view.MatMul("fc", x, y, np.array([[100], [3]]), DataType.parse("INT8"))])
    with pytest.raises(Unsupported, match=r"a value ranges over .*is exact here"):
        trace_form(form)


@pytest.mark.parametrize("k", [2, 5])
def test_the_labels_of_the_best_are_exact(networks, k):
    x, y = networks.tensor("x", 5, 0, 3), networks.tensor("y", k, 0, 4)
    assert_exact(networks, networks.Form([x], [y], [view.LabelSelect("top", x, y, k)]))
    least = view.LabelSelect("least", x, y, k, largest=False)
    assert_exact(networks, networks.Form([x], [y], [least]))


def test_a_network_whose_outputs_are_all_constant_is_exact(networks):
    x, y = networks.tensor("x", 2, 0, 3), networks.tensor("y", 2, 0, 1)
    network = assert_exact(networks, networks.Form([x], [y], [view.Thresholds("q", x, y, np.array([[9], [0]]), 0, 1)]))
    assert network.columns == ((-1, -1),)
    assert network.constants == ((0, 1),)

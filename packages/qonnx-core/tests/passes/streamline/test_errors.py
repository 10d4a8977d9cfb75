"""What has no integer form is refused with the node, the reason, and what to try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import grids_of, to_integer_form

INT4 = Grid.parse("INT4")


def refused(model: Any, pattern: str, grids: dict[str, Grid] | None = None, **options: Any) -> Unsupported:
    with pytest.raises(Unsupported, match=pattern) as caught:
        to_integer_form(model, {"x": INT4} if grids is None else grids, **options)
    assert caught.value.reasons
    return caught.value


def test_an_input_without_a_grid(net: Any) -> None:
    graph = net(("N", 2))
    graph.quant(graph.source, 1.0, 4)
    refused(graph.model(), "input x: it lies on no integer grid; name one, for example with --input-type", {})


def test_a_grid_for_an_unknown_input(net: Any) -> None:
    graph = net(("N", 2))
    graph.quant(graph.source, 1.0, 4)
    with pytest.raises(InvalidInput, match="input grid for 'y': the model's inputs are x"):
        to_integer_form(graph.model(), {"y": INT4})


def product(graph: Any, x: Any = None, columns: int = 2) -> Any:
    return graph.node("MatMul", graph.source if x is None else x, np.eye(2)[:, :columns])


@pytest.mark.parametrize(
    ("build", "pattern"),
    [
        (lambda g: g.node("MatMul", g.source, np.random.default_rng(0).normal(size=(2, 3))),
         r"MatMul_0 \(MatMul\): its weights are not quantized .* Put a Quant node on the weights"),
        (lambda g: g.quant(g.node("Softmax", g.source, axis=1), 1.0, 4),
         r"Softmax_0 \(Softmax\): no integer form of this operator is known"),
        (lambda g: g.quant(g.node("Einsum", g.source, np.ones((2, 3)), equation="bi,io->bo"), 1.0, 4),
         r"Einsum_0 \(Einsum\): no integer form of this operator is known"),
        (lambda g: g.quant(g.node("Div", 1.0, g.source), 1.0, 4), r"Div_0 \(Div\): a constant divided by a tensor"),
        (lambda g: g.quant(g.node("LeakyRelu", g.source, alpha=-0.5), 1.0, 4), "slope makes the function fall"),
        (lambda g: g.quant(g.node("Mul", g.source, g.node("Relu", g.source)), 1.0, 4), "it combines several tensors"),
        (lambda g: g.quant(product(g), 0.0, 4), r"Quant_0 \(Quant\): its scale is not above 0"),
        (lambda g: g.quant(product(g), 1.0, 2.5), "bit width is 2.5; a hardware data type needs a whole number"),  # type: ignore[arg-type]
        (lambda g: product(g, g.node("Sigmoid", g.source)), "function that is not linear; put a Quant node"),
        (lambda g: g.quant(g.node("Div", g.source, 0.0), 1.0, 4), "it divides by 0"),
        (lambda g: g.quant(g.node("Add", g.source, np.ones((3, 2))), 1.0, 4), "would make the frame larger"),
        (lambda g: g.quant(product(g), 1.0, 30), "30 bits; float32 holds integers of at most 24 bits"),
        (lambda g: g.quant(g.node("Add", g.source, np.nan), 1.0, 4), "NaN or infinity"),
        (lambda g: g.node("Relu", g.source), "an output depends on input x with nothing quantized"),
        (lambda g: g.quant(g.node("Transpose", g.source, perm=[1, 0]), 1.0, 4), "it moves the batch axis"),
        (lambda g: g.quant(product(g, g.node("Mul", g.source, [1.0, 1e-4])), 1.0, 4), "more than 32 bits"),
        (lambda g: g.quant(g.source, 1.0, 4), "equals the input x; nothing is computed"),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_refused(net: Any, build: Callable[[Any], Any], pattern: str) -> None:
    graph = net(("N", 2))
    build(graph)
    refused(graph.model(), pattern)


def test_a_convolution_is_refused_as_what_it_is(net: Any) -> None:
    graph = net(("N", 2, 4))
    graph.quant(graph.node("Conv", graph.quant(graph.source, 0.5, 4), np.ones((3, 2, 2))), 1.0, 4)
    refused(graph.model(), r"Conv_0 \(Conv\): sliding windows have no integer form.*multilayer perceptrons.*the host")


def test_scales_without_a_common_grid_are_not_added(net: Any) -> None:
    graph = net(("N", 2))
    a, b = graph.quant(product(graph), 0.1, 4), graph.quant(product(graph), 300.3, 4)
    graph.quant(graph.node("Add", a, b), 1.0, 4)
    refused(graph.model(), r"Add_0 \(Add\): its two inputs' scales have ratios .* more than 32 bits; use scales")


def test_a_wide_quantizer_without_power_of_two_scale(net: Any) -> None:
    graph = net(("N", 2))
    graph.quant(product(graph), 0.3, 12)
    refused(graph.model(), "4096 levels are too many for thresholds .* no power of two. Use fewer bits")


def test_every_reason_is_told_at_once(net: Any) -> None:
    graph = net(("N", 2))
    a = graph.quant(graph.node("Softmax", graph.source, axis=1), 1.0, 4)
    b = graph.node("MatMul", graph.source, np.random.default_rng(0).normal(size=(2, 3)))
    error = refused(graph.model(a, b), "Softmax_0")
    assert len(error.reasons) == 2
    assert "MatMul_0" in str(error)


def test_a_failure_that_no_output_needs_is_no_failure(net: Any) -> None:
    graph = net(("N", 2))
    graph.node("Softmax", graph.source, axis=1)
    graph.quant(product(graph), 1.0, 3)
    assert len(to_integer_form(graph.model(), {"x": INT4}).layers()) == 2


def test_integers_outside_the_input_type_are_refused(net: Any) -> None:
    graph = net(("N", 2))
    graph.quant(product(graph), 1.0, 3)
    form = to_integer_form(graph.model(), {"x": INT4})
    with pytest.raises(InvalidInput, match=r"input x: values from 0 to 8; expected integers of INT4 \(-8 to 7\)"):
        form.run({"x": np.asarray([[0, 8]])})
    with pytest.raises(InvalidInput, match=r"input x: shape \(1, 3\); expected \(N, 2\)"):
        form.run({"x": np.zeros((1, 3))})
    with pytest.raises(InvalidInput, match="it has x"):
        form.run({"z": np.zeros((1, 2))})


def test_grids_say_why_there_is_none(net: Any) -> None:
    graph = net(("N", 2))
    y = graph.node("Sigmoid", product(graph))
    q = graph.quant(y, 0.25, 4)
    grids = grids_of(graph.model(), {"x": INT4})
    assert grids[y.name] == "an elementwise function that is not linear stands between it and the integers"
    assert grids[q.name] == Grid.parse("INT4*1/4")
    assert isinstance(grids["MatMul_0_out0"], Grid)

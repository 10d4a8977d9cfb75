"""Finds the grid of the sum that a bias goes into, which becomes the grid of the bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.passes.datatypes.facts import Numbers
from qonnx_core.passes.datatypes.inference import Inference, infer
from qonnx_core.passes.infer_shapes import InferShapes

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm")
_TINY = float(np.finfo(np.float32).tiny)


def scales_of_sums(model: ir.Model, places: Mapping[ir.Node, tuple[int, str]]) -> dict[ir.Node, NDArray[np.float32]]:
    """Return the scale of the sum that an operand of a node goes into, given by its number and what errors call it.

    That is the scale of the input times that of the weights for the bias of a product, and the scale of the other
    operand for one of Add: the float32 numbers nearest to them, in a shape that broadcasts against the operand. The
    model is used up.

    Raises:
        InvalidInput: the operand is another one, or the grid of the sum is not known; says why.
    """
    others: dict[ir.Node, ir.Value | None] = {}
    for node, (index, operand) in places.items():
        if node.op_type in _PRODUCTS and index == 2:
            others[node] = node.outputs[0]
        elif node.op_type == "Add" and index in (0, 1):
            others[node] = node.inputs[1 - index]
        else:
            raise InvalidInput(
                f"{node.name} ({node.op_type}): the scale of its {operand} is product; expected the bias of a Conv, "
                "ConvTranspose or Gemm, or an operand of an Add. Give a number, max or data."
            )
    shapes = {node: node.inputs[index].shape for node, (index, _) in places.items() if node.inputs[index] is not None}  # type: ignore[union-attr]
    for node in places:
        if node.op_type in _PRODUCTS:
            node.replace_input_with(2, None)  # what is left is the sum of products
    InferShapes().run(model)
    state = infer(model)
    return {node: _scale(node, others[node], shapes.get(node), state) for node in places}


def _scale(node: ir.Node, total: ir.Value | None, shape: ir.Shape | None, state: Inference) -> NDArray[np.float32]:
    where = f"{node.name} ({node.op_type}): the scale of its bias is product"
    fact = state.fact_of(total)
    if total is None or not isinstance(fact, Numbers) or fact.scale is None:
        reason = state.reasons.get(total, "its scales are not known") if total is not None else "there is no sum"
        raise InvalidInput(
            f"{where}, but the grid of the sum is not known: {reason}. Quantize the input, with one scale, and the "
            "weights, with one for each output at most."
        )
    scale = fact.scale
    if node.op_type == "Gemm":
        scale = np.asarray(scale / abs(node.attributes.get_float("beta", 1.0) or 1.0))
    sizes = None if shape is None else [dim if isinstance(dim, int) else None for dim in shape]
    if scale.ndim:
        scale = scale.reshape(-1) if node.op_type.startswith("Conv") else _fitting(scale, len(sizes or ()))
        wanted = None if sizes is None else (None,) * max(0, scale.ndim - len(sizes)) + tuple(sizes)[-scale.ndim :]
        if wanted is None or any(a not in (1, b) for a, b in zip(scale.shape, wanted, strict=True)):
            raise InvalidInput(
                f"{where}, but the sum has scales of shape {list(fact.scale.shape)} and the bias the shape {shape}; "
                "expected one scale for each number of the bias. Quantize the weights with one scale."
            )
    made = np.asarray(scale).astype(np.float32)
    if not np.all(np.isfinite(made)) or np.any(made < _TINY):
        raise InvalidInput(f"{where}, which is {scale.max():g}, no float32 number above 0. Give a number.")
    return made


def _fitting(scale: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Return the scale without leading axes of size 1 that the operand lacks."""
    while scale.ndim > rank and scale.shape[0] == 1:
        scale = scale[0]
    return scale

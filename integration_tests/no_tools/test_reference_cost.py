"""The cost of an inference as the qonnx package and this one count it: the same keys and the same numbers."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.analyses.cost import inference_cost
from qonnx_core.testing import shared_file

reference = pytest.importorskip("qonnx.util.inference_cost", reason="the package qonnx is not installed")
HEAD = '<ir_version: 8, opset_import: ["": 13, "qonnx.custom_op.general": 1]>'
Q = 'qonnx.custom_op.general.Quant<signed = 1, narrow = 0, rounding_mode = "ROUND">'
P = "float s = {0.5}, float o = {1}, float z = {0}, float b = {3}, float b2 = {4}"


def by_reference(file: Path, *, discount: bool) -> dict[str, Any]:
    found = reference.inference_cost(str(file), discount_sparsity=discount, cost_breakdown=True)
    total = found["total_cost"]
    total["unsupported"] = sorted(ast.literal_eval(total["unsupported"])) if total["unsupported"] != "set()" else []
    return found


def compared(model: onnx.ModelProto, folder: Path) -> None:
    file = folder / "model.onnx"
    onnx.save(model, file)
    for discount in (False, True):
        expected = by_reference(file, discount=discount)
        assert inference_cost(qonnx_core.load(file), discount_sparsity=discount).to_dict() == expected


@pytest.mark.parametrize("name", ["zoo/TFC_1W2A", "zoo/qkeras_jettagging", "nn2fpga/resnet8_a8w8b16"])
@pytest.mark.parametrize("discount", [False, True])
def test_public_models_cost_what_the_reference_says(name: str, discount: bool) -> None:
    file = shared_file(f"models/{name}.onnx")
    expected = by_reference(file, discount=discount)["total_cost"]
    assert inference_cost(qonnx_core.load(file), discount_sparsity=discount).to_dict()["total_cost"] == expected


@pytest.mark.parametrize(
    ("node", "x", "w", "y"),
    [
        ("MatMul(a, q)", (1, 4), (4, 8), (1, 8)),
        ("MatMul(a, q)", (1, 6, 4), (4, 8), (1, 6, 8)),
        ("Gemm<transB = 1>(a, q)", (1, 4), (8, 4), (1, 8)),
        ("Conv<kernel_shape = [3, 3]>(a, q)", (1, 4, 6, 6), (8, 4, 3, 3), (1, 8, 4, 4)),
        ("Conv<kernel_shape = [3, 3], group = 4>(a, q)", (1, 4, 6, 6), (4, 1, 3, 3), (1, 4, 4, 4)),
        ("Conv<kernel_shape = [3], group = 2>(a, q)", (1, 4, 6), (6, 2, 3), (1, 6, 4)),
        (
            "Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(a, q)",
            (1, 4, 6, 6), (8, 4, 3, 3), (1, 8, 3, 3),
        ),
    ],
)  # fmt: skip
def test_operators_cost_what_the_reference_says(
    node: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], tmp_path: Path
) -> None:
    types = [f"float[{', '.join(map(str, shape))}]" for shape in (x, y)]
    body = f"g ({types[0]} x) => ({types[1]} y) <{P}> {{ q = {Q}(w, s, z, b) a = {Q}(x, o, z, b2) y = {node} }}"
    model = onnx.parser.parse_model(HEAD + body)
    array = (np.arange(np.prod(w)) % 5 - 2).astype(np.float32).reshape(w)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, "w"))
    compared(model, tmp_path)


def test_attention_costs_what_the_reference_says(tmp_path: Path) -> None:
    body = f"""g (float[1, 2, 3, 4] x, float[1, 2, 4, 3] u) => (float[1, 2, 3, 3] y) <{P}>
      {{ q = {Q}(u, o, z, b) a = {Q}(x, o, z, b2) y = MatMul(a, q) }}"""
    compared(onnx.parser.parse_model(HEAD + body), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_interpolation_costs_what_the_reference_says(mode: str, tmp_path: Path) -> None:
    head = HEAD.replace('"": 13', '"": 9')
    body = f"""g (float[1, 2, 3, 3] x) => (float[1, 2, 6, 3] y) <float[4] f = {{1, 1, 2, 1}}, {P}>
      {{ a = {Q}(x, o, z, b) y = Upsample<mode = "{mode}">(a, f) }}"""
    model = onnx.parser.parse_model(head + body)
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    expected, found = by_reference(file, discount=False), inference_cost(qonnx_core.load(file)).to_dict()
    assert found["total_cost"]["total_macs"] == expected["total_cost"]["total_macs"]
    assert found["total_cost"]["total_bops"] == expected["total_cost"]["total_bops"]
    assert found["total_cost"]["total_mem_o_elems"] == expected["total_cost"]["total_mem_o_elems"]

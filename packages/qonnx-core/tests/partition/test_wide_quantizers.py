"""Grids of tensors are known without working out what a quantizer of millions of levels becomes."""

from __future__ import annotations

import time

import onnx.parser

import qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.partition.tensors import tensor_grids

Q = "qonnx.custom_op.general"


def test_the_grid_behind_a_quantizer_of_24_bits_is_known_at_once() -> None:
    """Sixteen million thresholds, as fractions, would take minutes and gigabytes."""
    text = f"""<ir_version: 8, opset_import: ["": 17, "{Q}": 1]> g (float[1, 2] x) => (float[1, 2] y)
    <float s = {{1}}, float z = {{0}}, float b = {{24}}, float t = {{0.3}}, float[2, 2] w = {{1, 2, 3, 4}}>
    {{ m = MatMul(x, w) a = Mul(m, t) y = {Q}.Quant<signed = 1, narrow = 0>(a, s, z, b) }}"""
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))
    start = time.process_time()
    grid = tensor_grids(model, {model.graph.inputs[0].name or "": Grid.parse("INT8")}).of("global_out")
    assert time.process_time() - start < 2
    assert not isinstance(grid, str)
    assert str(grid.datatype) == "INT24"

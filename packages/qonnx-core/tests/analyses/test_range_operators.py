"""Each operator's range against every input of a small model: nothing outside, and both ends reached."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.ir.grid import Grid

_spec = importlib.util.spec_from_file_location("brute_force", Path(__file__).with_name("brute_force.py"))
assert _spec is not None
assert _spec.loader is not None
brute_force = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("brute_force", brute_force)
_spec.loader.exec_module(brute_force)

Q = "qonnx.custom_op.general."
L = "qonnx.custom_op.channels_last."
P = "float s = {1}, float h = {0.5}, float z = {0}, float b2 = {2}, float b3 = {3}, float b4 = {4}"
W22 = "float[2, 2] w = {1, -2, 3, 0.5}"
K3 = "float[2, 1, 3, 3] k = {1, -2, 3, 0, 1, -1, 2, 2, -3, 1, 1, 1, 1, 1, 1, 1, 1, 1}"
X4 = "float[N, 1, 2, 2] x"
C2 = "float[N, 2, 2, 1] x"

CASES = {
    "add a constant": ("float[N, 2] x", "float[N, 2] y", "y = Add(x, c)", "float[2] c = {0.5, -3}"),
    "subtract from a constant": ("float[N, 2] x", "float[N, 2] y", "y = Sub(c, x)", "float[2] c = {0.5, -3}"),
    "add to itself": ("float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = Add(a, a)", "float[2] c = {0.5, -3}"),
    "subtract from itself": ("float[N, 2] x", "float[N, 2] y", "y = Sub(x, x)", ""),
    "scale": ("float[N, 3] x", "float[N, 3] y", "y = Mul(x, c)", "float[3] c = {0.5, -3, 0}"),
    "divide": ("float[N, 2] x", "float[N, 2] y", "y = Div(x, c)", "float[2] c = {0.5, -4}"),
    "negate": ("float[N, 2] x", "float[N, 2] y", "y = Neg(x)", ""),
    "relu": ("float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = Relu(a)", "float[2] c = {0.25, -7}"),
    "clip": ("float[N, 2] x", "float[N, 2] y", "y = Clip(x, l, u)", "float l = {-0.5}, float u = {0.75}"),
    "clip above": ("float[N, 2] x", "float[N, 2] y", "y = Clip(x, , u)", "float u = {0.75}"),
    "leaky relu": ("float[N, 2] x", "float[N, 2] y", "y = LeakyRelu<alpha = 0.25>(x)", ""),
    "falling leaky relu": ("float[N, 2] x", "float[N, 2] y", "y = LeakyRelu<alpha = -0.5>(x)", ""),
    "prelu": ("float[N, 2] x", "float[N, 2] y", "y = PRelu(x, c)", "float[2] c = {0.5, -2}"),
    "absolute": ("float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = Abs(a)", "float[2] c = {0.25, -7}"),
    "square": ("float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = Mul(a, a)", "float[2] c = {0.25, -7}"),
    "square by power": ("float[N, 2] x", "float[N, 2] y", "y = Pow(x, c)", "float c = {2}"),
    "cube": ("float[N, 2] x", "float[N, 2] y", "y = Pow(x, c)", "float c = {4}"),
    "cube of an odd number": ("float[N, 2] x", "float[N, 2] y", "a = Add(x, d) y = Pow(a, c)",
                              "float c = {3}, float[2] d = {0.25, -7}"),
    "clip that does nothing": ("float[N, 2] x", "float[N, 2] y", "y = Clip(x, l)", "float l = {-7.3}"),
    "maximum with a constant": ("float[N, 2] x", "float[N, 2] y", "y = Max(x, c)", "float[2] c = {-1, 9}"),
    "minimum with a constant": ("float[N, 2] x", "float[N, 2] y", "y = Min(x, c)", "float[2] c = {0.5, -9}"),
    "sign": ("float[N, 2] x", "float[N, 2] y", "y = Sign(x)", ""),
    "floor": ("float[N, 2] x", "float[N, 2] y", "a = Mul(x, c) y = Floor(a)", "float c = {0.75}"),
    "hard sigmoid": ("float[N, 2] x", "float[N, 2] y", "y = HardSigmoid<alpha = 0.25, beta = 0.5>(x)", ""),
    "matmul": ("float[N, 2] x", "float[N, 2] y", "y = MatMul(x, w)", W22),
    "matmul with a vector": ("float[N, 2, 2] x", "float[N, 2] y", "y = MatMul(x, w)", "float[2] w = {3, -0.5}"),
    "slice back from before the first element": (
        "float[N, 3] x", "float[N, 1] y", "m = Mul(x, c) y = Slice(m, i, j, a, t)",
        "float[3] c = {1, -4, 2}, int64[1] i = {-9}, int64[1] j = {-99}, int64[1] a = {1}, int64[1] t = {-2}",
    ),
    "matmul of rows": ("float[N, 2, 2] x", "float[N, 2, 2] y", "y = MatMul(x, w)", W22),
    "matmul from the left": ("float[N, 2, 2] x", "float[N, 2, 2] y", "y = MatMul(w, x)", W22),
    "gemm": (
        "float[N, 2] x", "float[N, 2] y", "y = Gemm<alpha = 0.5, beta = 2.0, transB = 1>(x, w, c)",
        f"{W22}, float[2] c = {{1, -3}}",
    ),
    "conv": (X4, "float[N, 2, 1, 1] y", "y = Conv(x, k)", "float[2, 1, 2, 2] k = {1, -2, 3, 0.5, 1, 1, 1, 1}"),
    "conv with bias": (
        X4, "float[N, 2, 1, 1] y", "y = Conv(x, k, c)",
        "float[2, 1, 2, 2] k = {1, -2, 3, 0.5, 1, 1, 1, 1}, float[2] c = {0.5, -9}",
    ),
    "padded conv": (X4, "float[N, 2, 2, 2] y", "y = Conv<pads = [1, 1, 1, 1]>(x, k)", K3),
    "padded conv behind an offset": (
        X4, "float[N, 2, 2, 2] y", "a = Add(x, c) y = Conv<pads = [1, 1, 1, 1]>(a, k)", f"{K3}, float c = {{7}}",
    ),
    "padded conv off the grid": (
        X4, "float[N, 2, 2, 2] y", "a = Add(x, c) y = Conv<pads = [1, 1, 1, 1]>(a, k)", f"{K3}, float c = {{7.5}}",
    ),
    "same padding": (X4, "float[N, 2, 2, 2] y", 'y = Conv<auto_pad = "SAME_UPPER">(x, k)', K3),
    "padding on one side": (X4, "float[N, 2, 1, 1] y", "y = Conv<pads = [1, 0, 0, 1]>(x, k)", K3),
    "strided conv": (
        "float[N, 1, 3, 1] x", "float[N, 2, 2, 3] y", "y = Conv<pads = [1, 2, 1, 2], strides = [2, 1]>(x, k)", K3,
    ),
    "dilated conv": (
        "float[N, 1, 3, 1] x", "float[N, 1, 1, 1] y", "y = Conv<dilations = [2, 1]>(x, k)",
        "float[1, 1, 2, 1] k = {3, -2}",
    ),
    "depthwise conv": (
        C2, "float[N, 2, 1, 1] y", "y = Conv<group = 2>(x, k)", "float[2, 1, 2, 1] k = {1, -2, 3, 0.5}",
    ),
    "grouped conv": (
        "float[N, 4, 1, 1] x", "float[N, 2, 1, 1] y", "y = Conv<group = 2>(x, k)",
        "float[2, 2, 1, 1] k = {1, -2, 3, 4}",
    ),
    "conv over one axis": (
        "float[N, 2, 2] x", "float[N, 1, 3] y", "y = Conv<pads = [1, 1]>(x, k)", "float[1, 2, 2] k = {1, -2, 3, 0.5}",
    ),
    "conv of channels with their own scales": (
        C2, "float[N, 2, 1, 1] y", "a = Mul(x, c) y = Conv(a, k)",
        "float[2, 2, 2, 1] k = {1, -2, 3, 5, 1, 1, 1, 1}, float[1, 2, 1, 1] c = {0.5, -3}",
    ),
    "channels-last conv": (
        "float[N, 2, 1, 2] x", "float[N, 2, 1, 3] y", f"y = {L}Conv<kernel_shape = [2, 1], pads = [1, 0, 0, 0]>(x, k)",
        "float[3, 2, 1, 2] k = {1, -2, 3, 5, 1, 1, 1, 1, 0, 2, -1, 4}",
    ),
    "transposed conv": (
        X4, "float[N, 2, 4, 4] y", "y = ConvTranspose(x, k)",
        "float[1, 2, 3, 3] k = {1, -2, 3, 0, 1, -1, 2, 2, -3, 1, 1, 1, 1, 1, 1, 1, 1, 1}",
    ),
    "strided transposed conv": (
        X4, "float[N, 1, 4, 4] y",
        "y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]>(x, k)",
        "float[1, 1, 3, 3] k = {1, -2, 3, 0, 1, -1, 2, 2, -3}",
    ),
    "grouped transposed conv": (
        C2, "float[N, 2, 3, 1] y", "y = ConvTranspose<group = 2>(x, k)", "float[2, 1, 2, 1] k = {1, -2, 3, 0.5}",
    ),
    "transposed conv with SAME_UPPER": (
        "float[N, 1, 3] x", "float[N, 1, 6] y", 'y = ConvTranspose<strides = [2], auto_pad = "SAME_UPPER">(x, k)',
        "float[1, 1, 3] k = {1, -2, 3}",
    ),
    "transposed conv with SAME_LOWER": (
        "float[N, 1, 3] x", "float[N, 1, 6] y", 'y = ConvTranspose<strides = [2], auto_pad = "SAME_LOWER">(x, k)',
        "float[1, 1, 3] k = {1, -2, 3}",
    ),
    "transposed conv with 6 results": (
        "float[N, 1, 3] x", "float[N, 1, 6] y", "y = ConvTranspose<strides = [2], output_shape = [6]>(x, k)",
        "float[1, 1, 3] k = {1, -2, 3}",
    ),
    "transposed conv with 8 results": (
        "float[N, 1, 3] x", "float[N, 1, 8] y", "y = ConvTranspose<strides = [2], output_shape = [8]>(x, k)",
        "float[1, 1, 3] k = {1, -2, 3}",
    ),
    "transposed conv with 2 results": (
        "float[N, 1, 3] x", "float[N, 1, 2] y", "y = ConvTranspose<output_shape = [2]>(x, k)",
        "float[1, 1, 3] k = {1, -2, 3}",
    ),
    "maximum of windows": (
        C2, "float[N, 2, 2, 1] y", "y = MaxPool<kernel_shape = [2, 1], pads = [1, 0, 0, 0]>(x)", "",
    ),
    "average": (X4, "float[N, 1, 1, 1] y", "y = AveragePool<kernel_shape = [2, 2]>(x)", ""),
    "average without padding": (
        "float[N, 1, 4] x", "float[N, 1, 5] y", "a = Add(x, c) y = AveragePool<kernel_shape = [2], pads = [1, 1]>(a)",
        "float c = {7}",
    ),
    "average with padding": (
        "float[N, 1, 4] x", "float[N, 1, 5] y",
        "a = Add(x, c) y = AveragePool<kernel_shape = [2], pads = [1, 1], count_include_pad = 1>(a)", "float c = {7}",
    ),
    "global average": (C2, "float[N, 2, 1, 1] y", "a = Add(x, c) y = GlobalAveragePool(a)", "float c = {0.5}"),
    "global maximum": (C2, "float[N, 2, 1, 1] y", "y = GlobalMaxPool(x)", ""),
    "sum along axes": (C2, "float[N, 2] y", "y = ReduceSum<keepdims = 0>(x, a)", "int64[2] a = {2, 3}"),
    "sum of channels": (
        C2, "float[N, 1, 2, 1] y", "m = Mul(x, c) y = ReduceSum(m, a)",
        "int64[1] a = {1}, float[1, 2, 1, 1] c = {1, 1}",
    ),
    "mean along axes": (C2, "float[N, 2, 1, 1] y", "y = ReduceMean(x, a)", "int64[2] a = {2, 3}"),
    "largest along axes": (C2, "float[N, 1, 2, 1] y", "y = ReduceMax(x, a)", "int64[1] a = {1}"),
    "flatten": (C2, "float[N, 4] y", "m = Mul(x, c) y = Flatten(m)", "float[1, 2, 1, 1] c = {1, -4}"),
    "reshape": (C2, "float[N, 2, 2] y", "m = Mul(x, c) y = Reshape(m, r)",
                "float[1, 2, 1, 1] c = {1, -4}, int64[3] r = {0, 2, 2}"),
    "transpose": (C2, "float[N, 2, 1, 2] y", "m = Mul(x, c) y = Transpose<perm = [0, 2, 3, 1]>(m)",
                  "float[1, 2, 1, 1] c = {1, -4}"),
    "squeeze": (C2, "float[N, 2, 2] y", "m = Mul(x, c) y = Squeeze(m, a)",
                "float[1, 2, 1, 1] c = {1, -4}, int64[1] a = {3}"),
    "unsqueeze": ("float[N, 2] x", "float[N, 2, 1] y", "m = Mul(x, c) y = Unsqueeze(m, a)",
                  "float[2] c = {1, -4}, int64[1] a = {2}"),
    "slice": ("float[N, 4] x", "float[N, 2] y", "m = Mul(x, c) y = Slice(m, i, j, a, t)",
              "float[4] c = {1, -4, 2, 5}, int64[1] i = {3}, int64[1] j = {-5}, int64[1] a = {1}, int64[1] t = {-2}"),
    "gather": ("float[N, 3] x", "float[N, 2] y", "m = Mul(x, c) y = Gather<axis = 1>(m, i)",
               "float[3] c = {1, -4, 2}, int64[2] i = {2, 1}"),
    "split": ("float[N, 3] x", "float[N, 1] y, float[N, 2] u", "m = Mul(x, c) y, u = Split<axis = 1>(m, i)",
              "float[3] c = {1, -4, 2}, int64[2] i = {1, 2}"),
    "concatenate": ("float[N, 2] x", "float[N, 4] y", "m = Mul(x, c) a = Add(x, d) y = Concat<axis = 1>(m, a)",
                    "float[2] c = {1, -4}, float d = {0.5}"),
    "pad with a number": ("float[N, 2] x", "float[N, 4] y", "a = Add(x, d) y = Pad(a, p, v)",
                          "float d = {9}, int64[4] p = {0, 1, 0, 1}, float v = {0.5}"),
    "pad at the edge": ("float[N, 3] x", "float[N, 5] y", "m = Mul(x, c) y = Pad<mode = \"reflect\">(m, p)",
                        "float[3] c = {1, -4, 2}, int64[4] p = {0, 1, 0, 1}"),
    "pad that cuts off": ("float[N, 3] x", "float[N, 3] y", "m = Mul(x, c) y = Pad(m, p, v)",
                          "float[3] c = {1, -4, 2}, int64[4] p = {0, -2, 0, 2}, float v = {0.5}"),
    "pad that cuts off and wraps": ("float[N, 3] x", "float[N, 4] y", "m = Mul(x, c) y = Pad<mode = \"wrap\">(m, p)",
                                    "float[3] c = {1, -4, 2}, int64[4] p = {0, 2, 0, -1}"),
    "tile": ("float[N, 2] x", "float[N, 4] y", "m = Mul(x, c) y = Tile(m, r)",
             "float[2] c = {1, -4}, int64[2] r = {1, 2}"),
    "expand": ("float[N, 2, 1] x", "float[N, 2, 3] y", "m = Mul(x, c) y = Expand(m, r)",
               "float[2, 1] c = {1, -4}, int64[3] r = {1, 2, 3}"),
    "resize": (C2, "float[N, 2, 4, 2] y", "m = Mul(x, c) y = Resize<mode = \"nearest\">(m, , f)",
               "float[1, 2, 1, 1] c = {1, -4}, float[4] f = {1, 1, 2, 2}"),
    "depth to space": ("float[N, 4, 1, 1] x", "float[N, 1, 2, 2] y", "m = Mul(x, c) y = DepthToSpace<blocksize = 2>(m)",
                       "float[1, 4, 1, 1] c = {1, -4, 2, 5}"),
    "depth to space by columns": (
        "float[N, 4, 1, 1] x", "float[N, 1, 2, 2] y",
        "m = Mul(x, c) y = DepthToSpace<blocksize = 2, mode = \"CRD\">(m)",
        "float[1, 4, 1, 1] c = {1, -4, 2, 5}"),
    "space to depth": (X4, "float[N, 4, 1, 1] y", "y = SpaceToDepth<blocksize = 2>(x)", ""),
    "choice": ("float[N, 2] x", "float[N, 2] y", "g = Greater(x, z) y = Where(g, c, d)",
               "float[2] c = {1, -4}, float[2] d = {5, 5}, float z = {0}"),
    "quantizer": ("float[N, 2] x", "float[N, 2] y", f"m = Mul(x, c) y = {Q}Quant(m, h, z, b2)",
                  f"float[2] c = {{0.25, -4}}, {P}"),
    "quantizer with zero point": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Quant<signed = 0>(x, h, o, b3)",
                                  f"float o = {{3}}, {P}"),
    "quantizer with a negative scale": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Quant(x, v, z, b3)",
                                        f"float v = {{-0.5}}, {P}"),
    "narrow quantizer": (
        "float[N, 2] x", "float[N, 2] y", f'y = {Q}Quant<narrow = 1, rounding_mode = "FLOOR">(x, h, z, b2)', P,
    ),
    "quantizer of channels": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Quant(x, v, z, b3)",
                              f"float[2] v = {{0.5, 2}}, {P}"),
    "quantizer with widths of channels": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Quant(x, h, z, v)",
                                          f"float[2] v = {{2, 5}}, {P}"),
    "bipolar quantizer": ("float[N, 2] x", "float[N, 2] y", f"a = Add(x, c) y = {Q}BipolarQuant(a, h)",
                          f"float[2] c = {{0.5, 9}}, {P}"),
    "one signed bit": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Quant(x, h, z, s)", P),
    "first truncation": ("float[N, 2] x", "float[N, 2] y", f"y = {Q}Trunc(x, s, z, b4, b2)", P),
    "minifloats": (
        "float[N, 2] x", "float[N, 2] y", f"m = Mul(x, c) y = {Q}FloatQuant(m, h, b2, s, s, t)",
        f"float c = {{0.625}}, float t = {{6}}, {P}",
    ),
    "thresholds": (
        "float[N, 2] x", "float[N, 2] y",
        f'y = {Q}MultiThreshold<out_dtype = "INT3", out_bias = -1.0, data_layout = "NC">(x, t)',
        "float[2, 3] t = {-1, 0, 1, 5, -9, 9}",
    ),
    "scaled thresholds": (
        C2, "float[N, 2, 2, 1] y", f'y = {Q}MultiThreshold<out_dtype = "UINT2", out_scale = 0.5>(x, t)',
        "float[2, 3] t = {-1, 0, 1, 5, -9, 9}",
    ),
    "comparison decided by the ranges": (
        "float[N, 3] x", "float[N, 3] y", "b = Greater(x, c) y = Where(b, d, e)",
        "float[3] c = {0, -99, 99}, float[3] d = {1, -4, 2}, float[3] e = {5, 5, 7}",
    ),
    "choice that is always the same": (
        "float[N, 2] x", "float[N, 2] y", "b = LessOrEqual(x, c) n = Not(b) y = Where(n, d, x)",
        "float[2] c = {-99, 99}, float[2] d = {1, -4}",
    ),
    "relu as a choice": ("float[N, 2] x", "float[N, 2] y", "b = Greater(x, z) y = Where(b, x, z)", "float z = {0}"),
    "leaky relu as a choice": (
        "float[N, 2] x", "float[N, 2] y", "m = Add(x, d) b = Less(m, z) s = Mul(m, a) y = Where(b, s, m)",
        "float z = {0}, float a = {0.25}, float[2] d = {0.25, -7}",
    ),
    "magnitude as a choice": (
        "float[N, 2] x", "float[N, 2] y", "m = Add(x, d) b = GreaterOrEqual(m, z) n = Neg(m) y = Where(b, m, n)",
        "float z = {0}, float[2] d = {0.25, -7}",
    ),
    "limits as choices of channels": (
        "float[N, 3] x", "float[N, 3] y", "b = LessOrEqual(c, x) y = Where(b, x, c)", "float[3] c = {0.5, -99, 1}",
    ),
    "both of two flags": (
        "float[N, 3] x", "float[N, 3] y", "b = Less(x, c) h = GreaterOrEqual(d, x) a = And(b, h) y = Cast<to = 1>(a)",
        "float[3] c = {99, -99, 0}, float[3] d = {99, 99, 99}",
    ),
    "one of two flags": (
        "float[N, 3] x", "float[N, 3] y", "b = Less(x, c) h = Equal(d, x) a = Or(b, h) y = Cast<to = 1>(a)",
        "float[3] c = {99, -99, 0}, float[3] d = {99, 99, 99}",
    ),
    "one flag and not the other": (
        "float[N, 3] x", "float[N, 3] y", "b = Less(x, c) h = Less(x, d) a = Xor(b, h) y = Cast<to = 1>(a)",
        "float[3] c = {99, -99, 0}, float[3] d = {99, 99, 99}",
    ),
    "falling leaky relu away from 0": (
        "float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = LeakyRelu<alpha = -0.5>(a)", "float[2] c = {0.25, -7}",
    ),
    "falling prelu away from 0": (
        "float[N, 2] x", "float[N, 2] y", "a = Add(x, c) y = PRelu(a, d)",
        "float[2] c = {0.25, -7}, float[2] d = {-0.5, -2}",
    ),
    "sum of one tensor three times": ("float[N, 2] x", "float[N, 2] y", "y = Sum(x, x, x)", ""),
    "mean of one tensor and a number": (
        "float[N, 2] x", "float[N, 2] y", "y = Mean(x, c, x, c)", "float[2] c = {0.25, -7}",
    ),
    "sum of elements with their own scales": (
        "float[N, 3] x", "float[N, 1] y", "m = Mul(x, c) y = ReduceSum(m, a)",
        "float[3] c = {0.25, -7, 0}, int64[1] a = {1}",
    ),
    "mean of elements with their own grids": (
        "float[N, 1, 2] x", "float[N, 1] y", "m = Mul(x, c) n = Add(m, d) y = ReduceMean<keepdims = 0>(n, a)",
        "float[2] c = {0.25, -7}, float[2] d = {0.75, 1}, int64[1] a = {2}",
    ),
    "matmul of rows with their own scales": (
        "float[N, 2, 2] x", "float[N, 2, 2] y", "m = Mul(x, c) y = MatMul(m, w)",
        f"{W22}, float[2, 1] c = {{0.25, -3}}",
    ),
    "matmul of rows with their own grids": (
        "float[N, 2, 2] x", "float[N, 2, 2] y", "m = Mul(x, c) n = Add(m, d) y = MatMul(n, w)",
        f"{W22}, float[2, 1] c = {{0.25, -3}}, float[2, 1] d = {{0.5, 7}}",
    ),
    "largest elements in order": (
        "float[N, 3] x", "float[N, 2] y, int64[N, 2] i", "m = Mul(x, c) y, i = TopK<axis = 1>(m, k)",
        "float[3] c = {0.25, -7, 1}, int64[1] k = {2}",
    ),
    "smallest elements": (
        "float[N, 3] x", "float[N, 2] y, int64[N, 2] i", "m = Add(x, c) y, i = TopK<axis = 1, largest = 0>(m, k)",
        "float[3] c = {0, 0.25, 0}, int64[1] k = {2}",
    ),
    "place of the largest": (
        "float[N, 4] x", "int64[N, 1] y", "m = Add(x, c) y = ArgMax<axis = 1>(m)", "float[4] c = {-99, 0, 0, -99}",
    ),
    "place of the last smallest": (
        "float[N, 1, 4] x", "int64[N, 1] y",
        "m = Add(x, c) y = ArgMin<axis = 2, keepdims = 0, select_last_index = 1>(m)", "float[4] c = {99, 0, 0, 99}",
    ),
    "division of integers": (
        "float[N, 2] x", "int32[N, 2] y", "m = Cast<to = 6>(x) y = Div(m, c)", "int32 c = {2}",
    ),
    "mean of integers": (
        "float[N, 3] x", "int32[N, 1] y", "m = Cast<to = 6>(x) y = ReduceMean(m, a)", "int64[1] a = {1}",
    ),
    "numbers in half precision": (
        "float[N, 2] x", "float[N, 2] y", "m = Mul(x, c) h = Cast<to = 10>(m) y = Cast<to = 1>(h)",
        "float[2] c = {4099, 2049}",
    ),
    "windows as rows": (
        "float[N, 2, 2, 1] x", "float[N, 2, 2, 2] y",
        f"y = {Q}Im2Col<stride = [1, 1], kernel_size = [2, 1], pad_amount = [1, 0, 0, 0], "
        'input_shape = "(1, 2, 2, 1)">(x)', "",
    ),
    "average of integers": (
        X4, "float[N, 1, 1, 1] y",
        f"y = {Q}QuantAvgPool2d<stride = 2, kernel = 2, ibits = 2, obits = 3, signed = 1>(x)", "",
    ),
}  # fmt: skip
# a tensor of two values jumps over the middle, which an interval holds
SKIPPING = {"smallest elements", "largest elements in order"}


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("grid", ["INT2", "UINT2*2^-1", "BIPOLAR*2^-2", "(UINT2-1)*3"])
def test_a_range_is_that_of_every_input(name: str, grid: str) -> None:
    inputs, outputs, nodes, constants = CASES[name]
    shape = tuple(int(d) for d in inputs.split("[")[1].split("]")[0].split(",")[1:])
    given = f"<{constants}>" if constants else ""
    tight = not (name in SKIPPING and "BIPOLAR" in grid)
    brute_force.check(f"g ({inputs}) => ({outputs}) {given} {{ {nodes} }}", grid, shape, tight=tight)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2)]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from(["BIPOLAR", "UINT1", "(UINT1-1)*2", "UINT1 + 1"]),
    st.sampled_from(["Conv", "ConvTranspose"]),
)
def test_any_convolution_reaches_its_range(
    seed: int,
    channels: tuple[int, int],
    kernel: int,
    stride: int,
    dilation: int,
    pads: tuple[int, int],
    grid: str,
    op_type: str,
) -> None:
    """Of whole numbers, over one axis, in every geometry: every channel reaches both ends."""
    size, group = 8 // channels[0], channels[1]
    extent = dilation * (kernel - 1) + 1
    if op_type == "Conv":
        count = (size + sum(pads) - extent) // stride + 1
        shape = (2 * group, channels[0] // group, kernel)
    else:
        count = (size - 1) * stride + extent - sum(pads)
        shape = (channels[0], 2, kernel)
    assume(count >= 1)
    generator = np.random.default_rng(seed)
    weights = ", ".join(str(n) for n in generator.integers(-4, 5, int(np.prod(shape))))
    attributes = f"group = {group}, strides = [{stride}], dilations = [{dilation}], pads = [{pads[0]}, {pads[1]}]"
    brute_force.check(
        f"""g (float[N, {channels[0]}, {size}] x) => (float[N, {2 * group}, {count}] y)
        <float[{", ".join(map(str, shape))}] w = {{{weights}}}> {{ y = {op_type}<{attributes}>(x, w) }}""",
        grid,
        (channels[0], size),
    )


@pytest.mark.parametrize(("node", "whole"), [("Pow(x, c)", "INT4"), ("Clip(x, l)", "INT2"), ("Mul(h, z)", "BINARY")])
def test_whole_numbers_stay_whole(node: str, whole: str) -> None:
    found = brute_force.check(
        f"""g (float[N, 2] x) => (float[N, 2] y) <float c = {{3}}, float l = {{-7.3}}, float z = {{0}}>
        {{ h = Add(x, l) y = {node} }}""",
        "INT2", (2,),
    )  # fmt: skip
    assert str(found["global_out"].whole) == whole


@pytest.mark.parametrize(
    "nodes",
    [
        "m = Cast<to = 3>(x) y = Mul(m, c)",  # int8: 63 * 40
        "m = Cast<to = 3>(x) s = Add(m, c) y = Add(s, s)",
        "n = Abs(x) m = Cast<to = 2>(n) o = Cast<to = 2>(c) y = Sub(m, o)",  # uint8: 0 - 40
    ],
)
def test_integers_that_can_wrap_around_have_no_range(nodes: str) -> None:
    body = f"g (float[N, 2] x) => (float[N, M] w) <int8 c = {{40}}> {{ {nodes} w = Cast<to = 1>(y) }}"
    model = brute_force.build(body)
    (found, last) = list(tensor_ranges(model, {"global_in": Grid.parse("UINT6")}).values())[-2:]
    assert found.values is None
    assert "can leave" in found.reason or "depends on" in found.reason
    assert last.values is None


@pytest.mark.parametrize("to", [17, 19])
def test_a_cast_to_a_narrow_float_type_is_no_identity(to: int) -> None:
    model = brute_force.build(f"g (float[N, 2] x) => (float[N, 2] y) {{ m = Cast<to = {to}>(x) y = Cast<to = 1>(m) }}")
    found = tensor_ranges(model, {"global_in": Grid.parse("INT8")})["Cast_0_out0"]
    assert found.values is None
    assert "use a FloatQuant" in found.reason


@pytest.mark.parametrize("inputs", ["x, e, f", "x, e, e, i", "x, , f"])
def test_a_resize_whose_other_inputs_are_empty_keeps_its_range(inputs: str) -> None:
    """As exporters write it: a region and scales without numbers are left out."""
    model = brute_force.build(
        f"""g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 2] y) <float[0] e = {{}}, float[4] f = {{1, 1, 2, 1}},
        int64[4] i = {{1, 1, 4, 2}}> {{ y = Resize({inputs}) }}""",
        '<ir_version: 8, opset_import: ["": 13]>',
    )
    found = tensor_ranges(model, {"global_in": Grid.parse("UINT2")})["global_out"]
    assert (found.low, found.high, found.reason) == ((0,), (3,), "")


def test_an_empty_part_of_a_split_takes_nothing_from_the_others() -> None:
    model = brute_force.build(
        "g (float[N, 4] x) => (float[N, 2] y, float[N, 2] u) { y, u, w = Split<axis = 1, num_outputs = 3>(x) }"
    )
    found = tensor_ranges(model, {"global_in": Grid.parse("UINT2")})
    assert (found["global_out"].high, found["global_out_1"].high) == ((3,), (3,))

"""A network of any depth, every block of which has work for most passes: to see how work grows with the graph."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.testing.graph_text import model_of_text

_HEADER = '<ir_version: 10, opset_import: ["": 13, "qonnx.custom_op.general": 1]>'
_QUANT = "qonnx.custom_op.general.Quant"
_BLOCK = """
    w{i} = {quant}<signed = 1>(weights_{i}, step, zero, width)
    c{i} = Conv<pads = [1, 1, 1, 1]>(x{i}, w{i}, bias_{i})
    n{i} = BatchNormalization(c{i}, ones_{i}, half_{i}, half_{i}, ones_{i})
    r{i} = Relu(n{i})
    q{i} = {quant}<signed = 0>(r{i}, step, zero, width)
    p{i} = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(q{i})
    t{i} = Transpose<perm = [0, 2, 3, 1]>(p{i})
    m{i} = Mul(t{i}, step)
    u{i} = Transpose<perm = [0, 3, 1, 2]>(m{i})
    s{i}, v{i} = Split<axis = 1>(u{i}, split)
    o{i} = Concat<axis = 1>(s{i}, v{i})
    a{i} = Add(o{i}, x{i})
    x{next} = {quant}<signed = 1>(a{i}, step, zero, width)
"""
_TAIL_BLOCK = """
    k{i} = {quant}<signed = 1>(matrix_{i}, step, zero, width)
    g{i} = Gemm(f{i}, k{i}, bias_{i})
    f{next} = {quant}<signed = 1>(g{i}, step, zero, width)
"""


def deep_network(blocks: int) -> ir.Model:
    """Return a residual network ``(N, 2, 4, 4)`` of so many blocks and then as many dense layers."""
    tensors = ["float step = {0.5}", "float zero = {0}", "float width = {4}", "int64[2] split = {1, 1}"]
    lines = [f"x0 = {_QUANT}<signed = 1>(x, step, zero, width)"]
    for i in range(blocks):
        tensors += [
            f"float[2, 2, 3, 3] weights_{i} = {{{', '.join(str((n * 5 + i) % 7 - 3) for n in range(36))}}}",
            f"float[2] bias_{i} = {{1, {i % 5}}}",
            f"float[2] ones_{i} = {{1, 1}}",
            f"float[2] half_{i} = {{0.5, 0.5}}",
            f"float[{2 if i else 32}, 2] matrix_{i} = {{{', '.join(str(n % 3 - 1) for n in range(4 if i else 64))}}}",
        ]
        lines.append(_BLOCK.format(i=i, next=i + 1, quant=_QUANT))
    lines.append(f"f0 = Flatten(x{blocks})")
    lines += [_TAIL_BLOCK.format(i=i, next=i + 1, quant=_QUANT) for i in range(blocks)]
    head = f"net (float[N, 2, 4, 4] x) => (float[N, 2] f{blocks}) <{', '.join(tensors)}>"
    return model_of_text(f"{_HEADER} {head} {{ {' '.join(lines)} }}")

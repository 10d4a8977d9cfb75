"""Makes the files that examples in the documentation use: models, inputs, settings.

A page that names one of these files finds it in the folder in which it runs.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser

from qonnx_core import cleanup_model, compile_model, save
from qonnx_core.formats.reader import from_proto, load
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

_SEED = 3


def _mlp(path: Path) -> None:
    """Write an MLP: 6 inputs, 4 classes, Quant nodes of 2 to 4 bits, batch normalization, one softmax."""
    save(random_mlp(_SEED, MlpShape(batch_norm=True)), path)


def _cnn(path: Path) -> None:
    """Write a small convolutional network on 8x8 images."""
    _write_cnn(path, zeros=False)


def _sparse(path: Path) -> None:
    """Write the convolutional network with a channel whose weights are zero, and one that nobody weighs."""
    _write_cnn(path, zeros=True)


def _write_cnn(path: Path, *, zeros: bool) -> None:
    rng = np.random.default_rng(_SEED)
    weights = [rng.integers(-3, 4, shape) for shape in ((4, 1, 3, 3), (8, 4, 3, 3), (32, 3))]
    if zeros:
        weights[0][2] = 0
        weights[1][:, 1] = 0
    numbers = [", ".join(map(str, values.reshape(-1).tolist())) for values in weights]
    text = f"""<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
    cnn (float[1, 1, 8, 8] image) => (float[1, 3] logits)
    <float[4, 1, 3, 3] w1 = {{{numbers[0]}}}, float[8, 4, 3, 3] w2 = {{{numbers[1]}}},
     float[32, 3] w3 = {{{numbers[2]}}},
     float s = {{0.5}}, float s4 = {{4}}, float z = {{0}}, float b3 = {{3}}, float b4 = {{4}}, float b8 = {{8}},
     int64[2] flat = {{1, 32}}>
    {{ q0 = qonnx.custom_op.general.Quant <signed = 0> (image, s, z, b8)
       k1 = qonnx.custom_op.general.Quant <narrow = 1> (w1, s, z, b3)
       c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (q0, k1)
       r1 = Relu (c1)
       q1 = qonnx.custom_op.general.Quant <signed = 0> (r1, s, z, b4)
       p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (q1)
       k2 = qonnx.custom_op.general.Quant <narrow = 1> (w2, s, z, b3)
       c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (p1, k2)
       r2 = Relu (c2)
       q2 = qonnx.custom_op.general.Quant <signed = 0> (r2, s4, z, b4)
       f = Reshape (q2, flat)
       k3 = qonnx.custom_op.general.Quant <narrow = 1> (w3, s, z, b3)
       logits = MatMul (f, k3) }}"""
    save(from_proto(onnx.parser.parse_model(text)), path)


def _float_mlp(path: Path) -> None:
    """Write a network without quantizers."""
    rng = np.random.default_rng(_SEED)
    first, second = (", ".join(f"{v:.3f}" for v in rng.normal(0, 0.5, size)) for size in (24, 12))
    text = f"""<ir_version: 8, opset_import: ["": 18]>
    net (float[1, 6] x) => (float[1, 3] y)
    <float[6, 4] fc1_weight = {{{first}}}, float[4, 3] fc2_weight = {{{second}}}>
    {{ [fc1] h = MatMul (x, fc1_weight)
       [act1] a = Relu (h)
       [fc2] y = MatMul (a, fc2_weight) }}"""
    save(from_proto(onnx.parser.parse_model(text)), path)


def _qcdq(path: Path) -> None:
    """Write the MLP with QuantizeLinear, Clip and DequantizeLinear in place of Quant."""
    from qonnx_core.formats.to_qcdq import to_qcdq

    save(to_qcdq(cleanup_model(load(_file("model.onnx"))), partial=True).model, path)


def _wide(path: Path) -> None:
    """Write an MLP with activations of 10 bits."""
    save(random_mlp(_SEED, MlpShape(activation_bits=10, tail=False)), path)


def _changed(path: Path) -> None:
    """Write the MLP with another value in one weight."""
    model = load(_file("model.onnx"))
    weight = next(
        value for value in model.graph.initializers.values() if value.shape is not None and len(value.shape) == 2
    )
    array = weight.const_value.numpy().copy()  # type: ignore[union-attr]
    array[0, 0] = -array[0, 0] + 1
    import onnx_ir as ir

    weight.const_value = ir.tensor(array, name=weight.name)
    save(model, path)


def _inputs(path: Path) -> None:
    """Write 100 samples for the MLP, with the outputs that are expected."""
    model = load(_file("model.onnx"))
    x = np.random.default_rng(0).random((100, 6), dtype=np.float32)
    outputs = compile_model(model).run({model.graph.inputs[0].name or "": x})
    np.savez(path, x=x, y=next(iter(outputs.values())))


def _images(path: Path) -> None:
    """Write 20 images for the convolutional network."""
    np.savez(path, x=np.random.default_rng(0).integers(0, 64, (20, 1, 8, 8)).astype(np.float32))


FILES: dict[str, Callable[[Path], None]] = {
    "model.onnx": _mlp,
    "cnn.onnx": _cnn,
    "sparse.onnx": _sparse,
    "float.onnx": _float_mlp,
    "qcdq.onnx": _qcdq,
    "wide.onnx": _wide,
    "changed.onnx": _changed,
    "inputs.npz": _inputs,
    "images.npz": _images,
}


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def _file(name: str) -> Path:
    path = Path(_folder().name) / name
    FILES[name](path)
    return path


def put_files(page: str, folder: Path) -> None:
    """Write the files that the text of a page names into a folder."""
    for name in FILES:
        if re.search(rf"(?<![\w.-]){re.escape(name)}", page):
            (folder / name).write_bytes(_file(name).read_bytes())

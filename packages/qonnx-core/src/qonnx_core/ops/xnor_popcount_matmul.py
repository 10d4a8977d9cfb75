"""XnorPopcountMatMul: matrix product of one-bit numbers that counts the equal pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Array, Builder, Operand
from qonnx_core.ops.op import QonnxOp, broadcast_shapes
from qonnx_core.ops.windows import Shape


@dataclass(frozen=True)
class XnorPopcountMatMul(QonnxOp):
    """Return for every row of ``a`` and column of ``b`` how many of their K pairs are equal; both hold 0 and 1.

    That is ``(matmul(2 a - 1, 2 b - 1) + K) / 2`` for ``a`` of shape ``(..., K)`` and ``b`` of shape ``(..., K, N)``,
    and this formula also gives the result for other numbers.
    """

    op_type: ClassVar[str] = "XnorPopcountMatMul"
    inputs: ClassVar[tuple[str, ...]] = ("a", "b")
    about: ClassVar[Mapping[str, str]] = {
        "a": "zeros and ones, (..., K)",
        "b": "zeros and ones, (..., K, N)",
    }
    broadcasts: ClassVar[bool] = False
    batch_like: ClassVar[str] = "MatMul"

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the counts, in the element type of ``a``."""
        a, b = inputs
        two, one, half = (op.like(np.float32(number), a) for number in (2, 1, 0.5))
        signs = [op("Sub", op("Mul", x, two), one) for x in (a, op.like(b, a))]
        product: Operand = op.node("MatMul", signs)[0]
        if isinstance(product, ir.Value) and isinstance(a, ir.Value) and a.dtype is not None:
            product.dtype = a.dtype
        return op("Mul", op("Add", product, op.like(_inner_size(op, a, b), a)), half)

    @classmethod
    def output_shape(cls, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return the shape of a matrix product."""
        a, b = shapes
        if a is None or b is None or not a or not b:
            return None
        batch = broadcast_shapes([a[:-2], b[:-2]])
        if batch is None:
            return None
        return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return ``UINT32``."""
        return DataType.unsigned(32)


def _inner_size(op: Builder, a: Operand, b: Operand) -> Operand:
    """Return K: known where a shape says so."""
    for x in (a, b):
        shape = x.shape if isinstance(x, ir.Value) else np.shape(x)
        if shape is not None and len(shape) == 0:
            raise InvalidModel("an input is a single number; expected matrices. Check what it reads.")
    if isinstance(a, ir.Value) and a.shape is not None and isinstance(a.shape[-1], int):
        return np.asarray(a.shape[-1], dtype=np.int64)
    if not isinstance(b, ir.Value):
        return np.asarray(np.asarray(b).shape[-2:][0], dtype=np.int64)
    return op.node("Squeeze", [op.node("Shape", [op.value(a)], {"start": -1})[0]])[0]

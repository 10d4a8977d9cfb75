"""MultiThreshold: count the thresholds that a value has reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.names import label_of
from qonnx_core.ops.builder import Array, Builder, Operand, is_known
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.windows import rank_of

_DOUBLE = ir.DataType.DOUBLE
_INT32 = ir.DataType.INT32


@dataclass(frozen=True)
class MultiThreshold(QonnxOp):
    """Return ``out_scale * n + out_bias``, with n the number of thresholds t of the channel with ``v >= t``.

    ``thresholds`` is ``(C, T)``, one row per channel, or ``(1, T)`` for all. The order within a row is free, and a NaN
    reaches no threshold. Channels are on the last axis where ``data_layout`` ends with ``C``, else on axis 1.
    """

    out_dtype: str
    out_scale: float = 1.0
    out_bias: float = 0.0
    data_layout: str = ""

    op_type: ClassVar[str] = "MultiThreshold"
    inputs: ClassVar[tuple[str, ...]] = ("v", "thresholds")
    about: ClassVar[Mapping[str, str]] = {
        "v": "the data, of any rank with a channel axis",
        "thresholds": "(C, T): one row for each channel, or (1, T): one row for all",
        "out_dtype": "data type of the output, e.g. UINT2",
        "out_scale": "factor of the count",
        "out_bias": "what is added to the scaled count",
        "data_layout": "one letter for each axis, e.g. NCHW or NHWC; only the place of C matters; empty: axis 1",
    }
    broadcasts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.data_layout and self.data_layout.count("C") != 1:
            raise InvalidModel(f"data_layout is {self.data_layout!r}; expected one letter per axis, one of them C.")

    @property
    def channels_last(self) -> bool:
        """Whether the channels are on the last axis, whatever the rank."""
        return self.data_layout.endswith("C")

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return the layout; the data type of the output changes no value."""
        return (("data_layout", self.data_layout),)

    @classmethod
    def check_shapes(cls, shapes: Sequence[tuple[int | str | None, ...] | None]) -> None:
        """Raise InvalidModel where the thresholds are no rows."""
        rows = shapes[1] if len(shapes) > 1 else None
        if rows is not None and len(rows) != 2:
            raise InvalidModel(
                f"its thresholds have shape {rows}; expected one row for all channels or for each, (C, T). "
                "Reshape them."
            )

    def check_operands(self, data: ir.Value, parameters: Sequence[Operand]) -> None:
        """Raise InvalidModel where the thresholds have neither one row nor one for each channel, too."""
        super().check_operands(data, parameters)
        rows = parameters[0].shape
        if rows is None or data.shape is None or len(data.shape) < 2:
            return
        channels = data.shape[-1 if self.channels_last else 1]
        if isinstance(channels, int) and isinstance(rows[0], int) and rows[0] not in (1, channels):
            raise InvalidModel(
                f"its thresholds have {rows[0]} rows, and its data {data.shape} have {channels} channels; expected 1 "
                "row for all of them, or one for each. Check data_layout and the thresholds."
            )

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the counts, scaled and shifted, in the element type of the data."""
        v, thresholds = inputs
        if is_known(thresholds):
            self.check_shapes([None, np.shape(np.asarray(thresholds))])
        if is_known(thresholds) and isinstance(v, ir.Value):
            count = self._count_by_search(op, v, np.asarray(thresholds))
        else:
            count = self._count_by_loop(op, v, thresholds)
        scaled = op("Mul", count, op.like(op.attribute("out_scale", self.out_scale), v))
        return op("Add", scaled, op.like(op.attribute("out_bias", self.out_bias), v))

    def _count_by_search(self, op: Builder, v: ir.Value, thresholds: Array) -> Operand:
        """Binary search in sorted rows: memory of a few copies of the data, time by the logarithm of T."""
        rows = np.sort(exact_thresholds(thresholds, v.dtype or ir.DataType.FLOAT), axis=1)
        channels, levels = rows.shape
        steps = max(1, levels.bit_length())
        table = np.full((channels, 2**steps - 1), np.nan, dtype=rows.dtype)
        table[:, :levels] = rows
        spread = self.channels_last or (v.shape is not None and len(v.shape) <= 2)
        rank = None if v.shape is None else len(v.shape)
        reshaped = v
        if spread:
            axes: tuple[int, ...] = ()
        elif rank is not None:
            axes = (1,) * (rank - 2)
        else:
            axes = (1,)
            reshaped = _to_three_axes(op, v)
        lead = (channels, *axes) if channels != 1 else ()
        start = (np.arange(channels, dtype=np.int32) * table.shape[1]).reshape(lead)
        index: Operand | None = None
        for bit in reversed(range(steps)):
            half = np.int32(2**bit)
            if index is None:
                limit: Operand = table[:, half - 1].reshape(lead)
                tried: Operand = np.asarray(half, dtype=np.int32)
            else:
                tried = op("Add", index, half)
                place = op("Add", tried, (start - 1).astype(np.int32))
                limit = op.node("Gather", [table.reshape(-1), place])[0]
            reached = op.node("GreaterOrEqual", [reshaped, limit])[0]
            index = op.node("Where", [reached, tried, np.asarray(0, np.int32) if index is None else index])[0]
        assert isinstance(index, ir.Value)
        count = op.like(op.typed(index, _INT32), v)
        if reshaped is not v:
            count = _reshaped(op, count, op.node("Shape", [v])[0])
        return count

    def _count_by_loop(self, op: Builder, v: Operand, thresholds: Operand) -> Operand:
        """One threshold after the other, in float64: memory of a few copies of the data for any number of levels."""
        data = op.cast(v, _DOUBLE)
        shape = op.node("Shape", [v])[0]
        last = self.channels_last or rank_of(v) == 1
        if not last:
            data = _to_three_axes(op, data)
        columns = op.node("Transpose", [op.cast(thresholds, _DOUBLE)], {"perm": [1, 0]})[0]  # (T, C)
        if not last:
            columns = op.node("Unsqueeze", [columns, np.asarray([2], dtype=np.int64)])[0]
        zeros = op.node(
            "Mul", [op.node("Cast", [op.node("IsNaN", [data])[0]], {"to": int(_DOUBLE)})[0], np.float64(0)]
        )[0]
        levels = op.node("Shape", [columns], {"start": 0, "end": 1})[0]
        levels = op.node("Squeeze", [levels])[0]
        count = op.node("Loop", [levels, np.asarray(True), zeros], {"body": _loop_body(data, columns)})[0]
        return op.like(_reshaped(op, count, shape), v)

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return ``out_dtype`` where scale and bias keep the output on whole numbers, else None."""
        whole = float(self.out_scale).is_integer() and float(self.out_bias).is_integer()
        return DataType.parse(self.out_dtype) if whole else None

    @classmethod
    def check(cls, node: ir.Node) -> None:
        """Raise InvalidModel where attributes, inputs or the shape of constant thresholds break the format."""
        made = cls.from_node(node)
        where = label_of(node)
        try:
            DataType.parse(made.out_dtype)
        except InvalidInput as error:
            raise InvalidModel(f"{where}: out_dtype: {error}") from error
        rows = None if node.inputs[1] is None else node.inputs[1].const_value
        if rows is not None:
            try:
                cls.check_shapes([None, tuple(int(str(dim)) for dim in rows.shape)])
            except InvalidModel as error:
                raise InvalidModel(f"{where}: {error}") from error


def _to_three_axes(op: Builder, v: Operand) -> ir.Value:
    """Return the data as ``(N, C, rest)``, whatever the rank and also where an axis is empty."""
    rest = op.node("Shape", [op.node("Flatten", [v], {"axis": 2})[0]], {"start": 1})[0]
    lead = op.node("Shape", [v], {"start": 0, "end": 2})[0]
    return _reshaped(op, v, op.node("Concat", [lead, rest], {"axis": 0})[0])


def _reshaped(op: Builder, v: Operand, shape: Operand) -> ir.Value:
    """Return the data in another shape, in which 0 stands for an empty axis."""
    return op.node("Reshape", [v, shape], {"allowzero": 1})[0]


def exact_thresholds(thresholds: Array, dtype: ir.DataType) -> Array:
    """Return the thresholds in an element type so that ``v >= t`` decides as before for every v of that type.

    A threshold that the type cannot hold moves up to the next number that it can: no v lies in between.
    """
    target = dtype.numpy()
    if target.kind != "f" or thresholds.dtype == target:
        return thresholds.astype(target)
    with np.errstate(over="ignore"):
        near = thresholds.astype(target)
    low = near.astype(np.float64) < thresholds.astype(np.float64)
    return np.where(low, np.nextafter(near, target.type(np.inf)), near).astype(target)


def _loop_body(data: Operand, columns: Operand) -> ir.Graph:
    """Return the body ``(i, going, count) -> (going, count + (data >= columns[i]))``."""
    assert isinstance(data, ir.Value)
    assert isinstance(columns, ir.Value)
    step = ir.val("i", dtype=ir.DataType.INT64, shape=ir.Shape([]))
    going = ir.val("going", dtype=ir.DataType.BOOL, shape=ir.Shape([]))
    count = ir.val("count", dtype=_DOUBLE)
    nodes = [ir.node("Gather", [columns, step], {"axis": 0})]
    nodes.append(ir.node("GreaterOrEqual", [data, nodes[-1].outputs[0]]))
    nodes.append(ir.node("Cast", [nodes[-1].outputs[0]], {"to": int(_DOUBLE)}))
    nodes.append(ir.node("Add", [count, nodes[-1].outputs[0]]))
    nodes.append(ir.node("Identity", [going]))
    for number, node in enumerate(nodes):
        node.outputs[0].name = f"loop_{number}"
    keep, total = nodes[4].outputs[0], nodes[3].outputs[0]
    keep.dtype, total.dtype = ir.DataType.BOOL, _DOUBLE
    return ir.Graph([step, going, count], [keep, total], nodes=nodes, name="count_one", opset_imports={"": 21})

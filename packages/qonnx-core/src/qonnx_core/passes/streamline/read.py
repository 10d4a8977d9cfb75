"""Reads the layers of an integer graph back from its ONNX nodes, ranges included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.passes.streamline import ranges, view
from qonnx_core.passes.streamline.constants import int_attribute, rounding_of
from qonnx_core.passes.streamline.quantizers import quant_range
from qonnx_core.passes.streamline.view import IntTensor

IntArray = npt.NDArray[np.int64]


def layers_of(model: ir.Model) -> list[view.Layer]:
    """Return the layers of an integer model in topological order, with ranges proven from its input types.

    Raises InvalidModel for a node that no integer form has.
    """
    reader = _Reader(model)
    for node in model.graph:
        reader.visit(node)
    return reader.layers


class _Reader:
    def __init__(self, model: ir.Model) -> None:
        self.layers: list[view.Layer] = []
        self._tensors: dict[str, IntTensor] = {}
        self._outputs = {value.name for value in model.graph.outputs}
        for value in model.graph.inputs:
            datatype = get_datatype(value)
            if datatype is None or not datatype.is_integer():
                raise InvalidModel(f"input {value.name}: annotated {datatype}; an integer model needs an integer type.")
            count = self._shape(value)[-1]
            lo, hi = (np.full(count, int(end), np.int64) for end in (datatype.min, datatype.max))
            self._add(value, datatype, lo, hi)

    def visit(self, node: ir.Node) -> None:
        """Add the node's layer, unless the node only prepares a later one."""
        name = node.name or node.op_type
        if self._is_part_of_next(node):
            return
        output = node.outputs[1] if node.op_type == "TopK" else node.outputs[0]
        first = node.inputs[0]
        match node.op_type:
            case "MatMul":
                self._matmul(node, name, None, output)
            case "Add" if constant_array(node.inputs[1]) is None:
                a, b = self._tensor(node.inputs[0]), self._tensor(node.inputs[1])
                y = self._add(output, None, *ranges.sum_range((a.lo, a.hi), (b.lo, b.hi)))
                self.layers.append(view.Add(name, (a, b), y))
            case "Add":
                constant = self._integers(node.inputs[1])
                producer = first.producer() if first is not None else None
                if producer is not None and self._is_part_of_next(producer):
                    self._matmul(producer, producer.name or name, constant, output)
                else:
                    x = self._tensor(first)
                    y = self._add(output, None, x.lo + constant, x.hi + constant)
                    self.layers.append(view.AddConstant(name, x, y, constant))
            case "MultiThreshold":
                x, table = self._tensor(first), self._integers(node.inputs[1])
                base, step = (int(node.attributes[key].as_float()) for key in ("out_bias", "out_scale"))
                lo, hi = ranges.thresholds_range(x.lo, x.hi, table, base, step)
                y = self._add(output, None, lo, hi)
                self.layers.append(view.Thresholds(name, x, y, table, base, step))
            case "Quant":
                self._requantize(node, name)
            case "Mul":
                x, factor = self._tensor(first), self._integers(node.inputs[1])
                y = self._add(output, None, *ranges.scaled_range(x.lo, x.hi, factor))
                self.layers.append(view.Scale(name, x, y, factor))
            case "TopK":
                x, k = self._tensor(first), int(self._integers(node.inputs[1])[0])
                y = self._add(output, None, np.zeros(k, np.int64), np.full(k, x.channels - 1, np.int64))
                self.layers.append(view.LabelSelect(name, x, y, k, bool(int_attribute(node, "largest", 1))))
            case "Reshape":
                x = self._tensor(first)
                width = self._shape(output)[-1]
                sides = [np.broadcast_to(side, x.shape).reshape(-1, width) for side in (x.lo, x.hi)]
                y = self._add(output, x.datatype, sides[0].min(axis=0), sides[1].max(axis=0))
                self.layers.append(view.Reshape(name, x, y))
            case _:
                raise InvalidModel(f"{name} ({node.op_type}): an integer model has no such operator; "
                                   "make it with to_integer_form.")  # fmt: skip

    def _is_part_of_next(self, node: ir.Node) -> bool:
        """Return whether the node is a product before its bias, or a shift or clip before a Quant."""
        output = node.outputs[0]
        uses = list(output.uses())
        if len(uses) != 1 or output.name in self._outputs:
            return False
        consumer = uses[0].node
        if node.op_type == "MatMul":
            return consumer.op_type == "Add" and uses[0].idx == 0 and constant_array(consumer.inputs[1]) is not None
        if node.op_type == "Clip":
            return True
        if node.op_type == "Mul" and consumer.op_type in ("Quant", "Clip"):
            factor = constant_array(node.inputs[1])
            return factor is not None and factor.size == 1 and float(np.frexp(float(factor.reshape(-1)[0]))[0]) == 0.5
        return False

    def _matmul(self, node: ir.Node, name: str, bias: IntArray | None, output: ir.Value) -> None:
        x, weights = self._tensor(node.inputs[0]), self._integers(node.inputs[1])
        y = self._add(output, None, *ranges.matmul_range(x.lo, x.hi, weights, bias))
        kind = get_datatype(node.inputs[1]) if node.inputs[1] is not None else None
        self.layers.append(view.MatMul(name, x, y, weights, kind or ranges.datatype_of_weights(weights), bias))

    def _requantize(self, node: ir.Node, name: str) -> None:
        bits = int(self._integers(node.inputs[3]).reshape(-1)[0])
        signed, narrow = bool(int_attribute(node, "signed", 1)), bool(int_attribute(node, "narrow", 0))
        lo, hi = quant_range(bits, signed=signed, narrow=narrow)
        source, shift = node.inputs[0], 0
        before = source.producer() if source is not None else None
        if before is not None and before.op_type == "Clip":
            lo, hi = (int(self._integers(bound).reshape(-1)[0]) for bound in before.inputs[1:3])
            source = before.inputs[0]
            before = source.producer() if source is not None else None
        if before is not None and before.op_type == "Mul" and self._is_part_of_next(before):
            factor = constant_array(before.inputs[1])
            shift = 1 - int(np.frexp(float(np.asarray(factor).reshape(-1)[0]))[1])
            source = before.inputs[0]
        x = self._tensor(source)
        rounding = rounding_of(node, "ROUND")
        y = self._add(node.outputs[0], None, *ranges.requantize_range(x.lo, x.hi, shift, rounding, lo, hi))
        self.layers.append(view.Requantize(name, x, y, shift, rounding, lo, hi))

    def _tensor(self, value: ir.Value | None) -> IntTensor:
        if value is None or value.name not in self._tensors:
            raise InvalidModel(f"tensor {value.name if value else None}: made by no integer layer before its use.")
        return self._tensors[value.name]

    def _add(self, value: ir.Value, datatype: DataType | None, lo: IntArray, hi: IntArray) -> IntTensor:
        shape = self._shape(value)
        kind = get_datatype(value) or datatype or ranges.smallest_datatype(int(lo.min()), int(hi.max()))
        tensor = IntTensor(value.name or "", shape, kind, lo, hi)
        self._tensors[tensor.name] = tensor
        return tensor

    def _shape(self, value: ir.Value) -> tuple[int, ...]:
        if value.shape is None or not all(isinstance(dim, int) for dim in value.shape[1:]):
            raise InvalidModel(f"tensor {value.name}: shape {value.shape}; all axes but the first have to be known.")
        return (1, *(int(dim) for dim in value.shape[1:] if isinstance(dim, int)))

    def _integers(self, value: ir.Value | None) -> IntArray:
        array = constant_array(value)
        if array is None or (np.asarray(array, np.float64) != np.rint(np.asarray(array, np.float64))).any():
            raise InvalidModel(
                f"tensor {value.name if value else None}: no constant integers; an integer model needs them."
            )
        return np.asarray(array).astype(np.int64)

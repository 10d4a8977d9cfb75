"""Writes integer layers as an ONNX graph in float containers that hold integers, annotated with their data types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.ir.annotations import set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.streamline import ranges, view
from qonnx_core.passes.streamline.view import IntTensor

OPSET = 21
_LAYOUTS = {2: "NC", 3: "NWC", 4: "NHWC"}


def emit(
    layers: Sequence[view.Layer], inputs: Sequence[IntTensor], outputs: Sequence[IntTensor], name: str
) -> ir.Model:
    """Return the model: float32 containers where every sum stays within 2**24, else float64; batch axis ``N``."""
    return _Emitter(_container(layers, inputs)).model(layers, inputs, outputs, name)


def quant_attributes_for(lo: int, hi: int) -> tuple[int, bool, bool] | None:
    """Return ``(bits, signed, narrow)`` of the Quant node with this range, or None where there is none."""
    if lo == 0 and hi >= 1:
        if not hi & (hi + 1):
            return hi.bit_length(), False, False
        return None
    if lo < 0 and hi >= 1 and not hi & (hi + 1):
        bits = hi.bit_length() + 1
        if lo in (-hi, -hi - 1):
            return bits, True, lo == -hi
    return None


def _container(layers: Sequence[view.Layer], inputs: Sequence[IntTensor]) -> ir.DataType:
    largest = max((ranges.magnitude(t.lo, t.hi) for t in inputs), default=0)
    for layer in layers:
        largest = max(largest, ranges.magnitude(layer.output.lo, layer.output.hi))
        if isinstance(layer, view.MatMul):
            lo, hi = layer.input.lo, layer.input.hi
            largest = max(largest, ranges.matmul_magnitude(lo, hi, layer.weights, layer.bias))
        elif isinstance(layer, view.Requantize):
            largest = max(largest, abs(layer.lo), abs(layer.hi))
    return ir.DataType.FLOAT if largest < 1 << 24 else ir.DataType.DOUBLE


class _Emitter:
    def __init__(self, container: ir.DataType) -> None:
        self._container = container
        self._values: dict[str, ir.Value] = {}
        self._nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []

    def model(
        self, layers: Sequence[view.Layer], inputs: Sequence[IntTensor], outputs: Sequence[IntTensor], name: str
    ) -> ir.Model:
        starts = [self._value(tensor) for tensor in inputs]
        for layer in layers:
            self._layer(layer)
        graph = ir.Graph(
            starts, [self._values[t.name] for t in outputs], nodes=self._nodes, initializers=self._initializers,
            name=name, opset_imports={"": OPSET, DOMAIN: 1},
        )  # fmt: skip
        return ir.Model(graph, ir_version=10, producer_name="qonnx-core")

    def _value(self, tensor: IntTensor, dtype: ir.DataType | None = None) -> ir.Value:
        value = ir.val(tensor.name, dtype=dtype or self._container, shape=ir.Shape(["N", *tensor.shape[1:]]))
        set_datatype(value, tensor.datatype)
        self._values[tensor.name] = value
        return value

    def _constant(self, name: str, array: npt.NDArray[np.generic], datatype: DataType | None = None) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        if datatype is not None:
            set_datatype(value, datatype)
        self._initializers.append(value)
        return value

    def _integers(self, name: str, array: npt.NDArray[np.int64], datatype: DataType | None = None) -> ir.Value:
        kind = datatype or ranges.smallest_datatype(int(array.min(initial=0)), int(array.max(initial=0)))
        return self._constant(name, array.astype(self._container.numpy()), kind)

    def _node(
        self, name: str, op_type: str, inputs: list[ir.Value | None], output: ir.Value, domain: str = "",
        **attributes: int | float | str,
    ) -> None:  # fmt: skip
        self._nodes.append(
            ir.node(op_type, inputs, attributes=attributes or None, domain=domain, outputs=[output], name=name)
        )

    def _between(self, name: str, like: IntTensor) -> ir.Value:
        return ir.val(name, dtype=self._container, shape=ir.Shape(["N", *like.shape[1:]]))

    def _layer(self, layer: view.Layer) -> None:
        sources = [self._values[t.name] for t in view.inputs_of(layer)]
        name = layer.name
        match layer:
            case view.LabelSelect():
                indices = self._value(layer.output, ir.DataType.INT64)
                count = self._constant(f"{name}_k", np.asarray([layer.k], np.int64))
                values = ir.val(f"{layer.output.name}_values", dtype=self._container, shape=indices.shape)
                attributes = {"axis": -1, "largest": int(layer.largest), "sorted": 1}
                self._nodes.append(
                    ir.node("TopK", [sources[0], count], attributes, outputs=[values, indices], name=name)
                )
                return
            case _:
                output = self._value(layer.output)
        match layer:
            case view.MatMul(weights=weights, bias=bias):
                matrix = self._integers(f"{name}_weights", weights, layer.weight_datatype)
                if bias is None:
                    self._node(name, "MatMul", [sources[0], matrix], output)
                else:
                    sums = self._between(f"{layer.output.name}_sums", layer.output)
                    self._node(name, "MatMul", [sources[0], matrix], sums)
                    self._node(f"{name}_bias", "Add", [sums, self._integers(f"{name}_bias_values", bias)], output)
            case view.Thresholds(thresholds=table, base=base, step=step):
                self._node(
                    name, "MultiThreshold", [sources[0], self._integers(f"{name}_thresholds", table)], output, DOMAIN,
                    out_dtype=layer.output.datatype.name, out_scale=float(step), out_bias=float(base),
                    data_layout=_LAYOUTS.get(len(layer.input.shape), "N" + "S" * (len(layer.input.shape) - 2) + "C"),
                )  # fmt: skip
            case view.Requantize():
                self._requantize(layer, sources[0], output)
            case view.Scale(factor=factor):
                self._node(name, "Mul", [sources[0], self._integers(f"{name}_factor", factor)], output)
            case view.AddConstant(constant=constant):
                self._node(name, "Add", [sources[0], self._integers(f"{name}_constant", constant)], output)
            case view.Add():
                self._node(name, "Add", list(sources), output)
            case view.Reshape():
                shape = self._constant(f"{name}_shape", np.asarray([-1, *layer.output.shape[1:]], np.int64))
                self._node(name, "Reshape", [sources[0], shape], output)

    def _requantize(self, layer: view.Requantize, source: ir.Value, output: ir.Value) -> None:
        name, dtype = layer.name, self._container.numpy()
        if layer.shift:
            power = self._constant(f"{name}_power", np.asarray(2.0**-layer.shift, dtype))
            shifted = self._between(f"{layer.output.name}_unrounded", layer.output)
            self._node(f"{name}_shift", "Mul", [source, power], shifted)
            source = shifted
        spelled = quant_attributes_for(layer.lo, layer.hi)
        if spelled is None:
            bounds = [self._constant(f"{name}_{end}", np.asarray(b, dtype)) for end, b in
                      (("lo", layer.lo), ("hi", layer.hi))]  # fmt: skip
            clipped = self._between(f"{layer.output.name}_clipped", layer.output)
            self._node(f"{name}_clip", "Clip", [source, *bounds], clipped)
            source = clipped
            bits = max(ranges.smallest_datatype(layer.lo, layer.hi).bits, 2)
            spelled = bits, layer.lo < 0, False
        bits, signed, narrow = spelled
        numbers = [self._constant(f"{name}_{part}", np.asarray(x, dtype)) for part, x in
                   (("scale", 1.0), ("zeropt", 0.0), ("bitwidth", float(bits)))]  # fmt: skip
        self._node(
            name, "Quant", [source, *numbers], output, DOMAIN,
            signed=int(signed), narrow=int(narrow), rounding_mode=layer.rounding,
        )  # fmt: skip

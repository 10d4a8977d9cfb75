"""Random quantized multilayer perceptrons, for property tests of passes, partitions and comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

QONNX = "qonnx.custom_op.general"


@dataclass(frozen=True, slots=True)
class MlpShape:
    """What a random perceptron is made of.

    ``widths`` are the layer sizes from the input on. ``power_of_two`` makes every scale a power of two, so that all
    sums are exact in float32. ``residual`` adds, after each layer that allows it, the quantized input of the layer to
    its quantized output and quantizes the sum. ``tail`` ends the graph with a scale, an offset and a softmax.
    """

    widths: tuple[int, ...] = (6, 8, 8, 4)
    weight_bits: int = 3
    activation_bits: int = 4
    power_of_two: bool = True
    batch_norm: bool = False
    per_channel: bool = False
    residual: bool = False
    quantize_input: bool = True
    tail: bool = True
    batch: int | str = "N"
    rounding: str = "ROUND"


@dataclass(slots=True)
class _Builder:
    shape: MlpShape
    generator: np.random.Generator
    nodes: list[ir.Node] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.initializers.append(value)
        return value

    def node(
        self, op_type: str, inputs: list[ir.Value], width: tuple[int | str, ...], **attributes: int | float | str
    ) -> ir.Value:
        number = self.counts.get(op_type, 0)
        self.counts[op_type] = number + 1
        name = f"{op_type}_{number}"
        output = ir.Value(name=f"{name}_out0", shape=ir.Shape(width), type=ir.TensorType(ir.DataType.FLOAT))
        domain = QONNX if op_type.endswith("Quant") else ""
        parameters = ir.convenience.convert_attributes(attributes)
        self.nodes.append(ir.Node(domain, op_type, inputs, parameters, outputs=[output], name=name))
        return output

    def scale(self, low: int, high: int, channels: int = 1) -> NDArray[np.float32]:
        exponents = self.generator.integers(low, high, size=channels)
        scales = 2.0**exponents
        if not self.shape.power_of_two:
            scales = scales * self.generator.uniform(0.7, 1.3, channels)
        return np.asarray(scales if channels > 1 else scales.reshape(()), np.float32)

    def quant(self, x: ir.Value, scale: NDArray[np.float32], bits: int, width: tuple[int | str, ...]) -> ir.Value:
        number = self.counts.get("Quant", 0)
        signed = int(x.is_initializer() or bool(self.generator.integers(0, 2)))
        return self.node(
            "Quant",
            [
                x,
                self.constant(f"Quant_{number}_scale", scale),
                self.constant(f"Quant_{number}_zeropt", np.asarray(0, np.float32)),
                self.constant(f"Quant_{number}_bitwidth", np.asarray(bits, np.float32)),
            ],
            width,
            signed=signed,
            narrow=int(self.generator.integers(0, 2)) if signed else 0,
            rounding_mode=self.shape.rounding,
        )


def random_mlp(seed: int, shape: MlpShape | None = None) -> ir.Model:
    """Return a QONNX perceptron as clean-up leaves it, from ``global_in`` to ``global_out``, fixed by ``seed``."""
    shape = shape or MlpShape()
    builder = _Builder(shape, np.random.default_rng(seed))
    generator = builder.generator
    widths: list[tuple[int | str, ...]] = [(shape.batch, width) for width in shape.widths]
    source = ir.Value(name="global_in", shape=ir.Shape(widths[0]), type=ir.TensorType(ir.DataType.FLOAT))
    x = source
    if shape.quantize_input:
        x = builder.quant(x, builder.scale(-4, -2), shape.activation_bits, widths[0])
    for layer, (rows, columns) in enumerate(zip(shape.widths, shape.widths[1:], strict=False)):
        last = layer == len(shape.widths) - 2
        weights = builder.constant(f"weights_{layer}", generator.normal(0, 0.6, (rows, columns)).astype(np.float32))
        scale = builder.scale(-4, -1, columns if shape.per_channel else 1)
        quantized = builder.quant(weights, scale, shape.weight_bits, (rows, columns))
        y = builder.node("MatMul", [x, quantized], widths[layer + 1])
        if last:
            x = y
            break
        if shape.batch_norm:
            parameters = {
                "gain": generator.normal(1.0, 0.6, columns),
                "bias": generator.normal(0.0, 0.4, columns),
                "mean": generator.normal(0.0, 0.4, columns),
                "variance": generator.uniform(0.3, 2.0, columns),
            }
            named = [builder.constant(f"{k}_{layer}", v.astype(np.float32)) for k, v in parameters.items()]
            y = builder.node("BatchNormalization", [y, *named], widths[layer + 1], epsilon=1e-5)
        if generator.integers(0, 2):
            y = builder.node("Relu", [y], widths[layer + 1])
        y = builder.quant(y, builder.scale(-3, -1), shape.activation_bits, widths[layer + 1])
        if shape.residual and rows == columns:
            total = builder.node("Add", [x, y], widths[layer + 1])
            y = builder.quant(total, builder.scale(-3, -1), shape.activation_bits, widths[layer + 1])
        x = y
    if shape.tail:
        width = widths[-1]
        x = builder.node("Mul", [x, builder.constant("tail_scale", np.asarray(0.37, np.float32))], width)
        offset = generator.normal(0, 1, shape.widths[-1]).astype(np.float32)
        x = builder.node("Add", [x, builder.constant("tail_offset", offset)], width)
        x = builder.node("Softmax", [x], width, axis=1)
    x.name = "global_out"
    opsets = {"": 17, QONNX: 1}
    graph = ir.Graph(
        [source], [x], nodes=builder.nodes, initializers=builder.initializers, opset_imports=opsets, name="mlp"
    )
    return ir.Model(graph, ir_version=8)

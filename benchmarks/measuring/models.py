"""The models of the benchmarks: random weights, quantizers as the exporters of zoo models place them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from qonnx_core.ops import Quant
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

MLP_WIDTHS = (784, 64, 64, 64, 10)


def perceptron(batch: int | str) -> ir.Model:
    """Return a perceptron like TFC: 2-bit weights, batch norm, 2-bit activations."""
    return random_mlp(
        7, MlpShape(MLP_WIDTHS, weight_bits=2, activation_bits=2, batch_norm=True, tail=False, batch=batch)
    )


@dataclass
class _Network:
    """A graph that grows layer by layer."""

    batch: int | str
    size: int
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = ir.Shape([self.batch, 3, self.size, self.size])
        self.input = ir.val("global_in", dtype=ir.DataType.FLOAT, shape=shape)

    def constant(self, content: object) -> ir.Value:
        name = f"p{len(self.constants)}"
        tensor = ir.tensor(np.asarray(content, np.float32), name=name)
        self.constants.append(ir.val(name, const_value=tensor))
        return self.constants[-1]

    def node(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        made = ir.node(op_type, inputs, attributes, name=f"{op_type}_{len(self.nodes)}")
        return self.add(made)

    def add(self, node: ir.Node) -> ir.Value:
        node.outputs[0].name = f"{node.name}_out0"
        self.nodes.append(node)
        return node.outputs[0]

    def quantizer(self, x: ir.Value, scale: object, bits: int, *, signed: bool, narrow: bool = False) -> ir.Value:
        parameters = [self.constant(content) for content in (scale, 0.0, float(bits))]
        return self.add(Quant(signed=signed, narrow=narrow).node(x, *parameters, name=f"Quant_{len(self.nodes)}"))

    def weights(self, *shape: int, bits: int = 4) -> ir.Value:
        content = self.generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        largest = np.abs(content).reshape(shape[0], -1).max(1)
        scale = (largest / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (len(shape) - 1))
        return self.quantizer(self.constant(content), scale, bits, signed=True, narrow=True)

    def convolution(
        self, x: ir.Value, channels: tuple[int, int], kernel: int, stride: int = 1, *, depthwise: bool = False
    ) -> ir.Value:
        """Add a convolution with quantized weights and a batch norm."""
        inputs, outputs = channels
        pad, groups = kernel // 2, inputs if depthwise else 1
        weights = self.weights(outputs, inputs // groups, kernel, kernel)
        made = self.node(
            "Conv", x, weights, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups
        )
        normal = self.generator.normal
        statistics = (
            self.generator.uniform(0.5, 1.5, outputs),
            normal(0, 0.2, outputs),
            normal(0, 0.2, outputs),
            self.generator.uniform(0.5, 1.5, outputs),
        )
        return self.node("BatchNormalization", made, *map(self.constant, statistics))

    def activation(self, x: ir.Value) -> ir.Value:
        """Add a ReLU and a quantizer to 4 bits."""
        scale = float(self.generator.uniform(0.2, 0.3))
        return self.quantizer(self.node("Relu", x), scale, 4, signed=False)

    def model(self, x: ir.Value, width: int) -> ir.Model:
        """Return the model with the classifier at the end."""
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        result = self.node("Gemm", pooled, self.weights(1000, width, bits=8), self.constant(np.zeros(1000)), transB=1)
        result.name = "global_out"
        opsets = {"": 18, Quant.domain: 1}
        graph = ir.Graph(
            [self.input], [result], nodes=self.nodes, initializers=self.constants, name="net", opset_imports=opsets
        )
        made = ir.Model(graph, ir_version=8)
        InferShapes().run(made)
        return made


def mobilenet(batch: int | str, size: int = 224) -> ir.Model:
    """Return a network like MobileNetV1 (Howard et al. 2017, table 1) with 4-bit weights per channel."""
    net = _Network(batch, size)
    x = net.quantizer(net.input, 0.02, 8, signed=True)
    x = net.activation(net.convolution(x, (3, 32), 3, 2))
    width = 32
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
                            (1024, 1)):  # fmt: skip
        x = net.activation(net.convolution(x, (width, width), 3, stride, depthwise=True))
        x = net.activation(net.convolution(x, (width, outputs), 1))
        width = outputs
    return net.model(x, width)


def resnet(batch: int | str, size: int = 224) -> ir.Model:
    """Return a network like ResNet-50 (He et al. 2015, table 1) with 4-bit weights per channel."""
    net = _Network(batch, size)
    x = net.quantizer(net.input, 0.02, 8, signed=True)
    x = net.activation(net.convolution(x, (3, 64), 7, 2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and inner > 64 else 1
            y = net.activation(net.convolution(x, (width, inner), 1))
            y = net.activation(net.convolution(y, (inner, inner), 3, stride))
            y = net.quantizer(net.convolution(y, (inner, 4 * inner), 1), 0.25, 4, signed=True)
            if block == 0:
                x = net.quantizer(net.convolution(x, (width, 4 * inner), 1, stride), 0.25, 4, signed=True)
            x = net.activation(net.node("Add", x, y))
            width = 4 * inner
    return net.model(x, width)


def chain(length: int, batch: int | str = 1) -> ir.Model:
    """Return a model of ``length`` quantizers in a row, each with constants of its own and a scale of its own."""
    source = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([batch, 16]))
    value, nodes, constants = source, [], []
    scales = np.random.default_rng(length).uniform(0.2, 0.3, length)
    for number in range(length):
        parameters = [
            ir.val(f"{name}_{number}", const_value=ir.tensor(np.asarray(content, np.float32), name=f"{name}_{number}"))
            for name, content in (("scale", scales[number]), ("zeropt", 0), ("bitwidth", 8))
        ]
        constants += parameters
        nodes.append(Quant().node(value, *parameters, name=f"q{number}", output=f"y{number}"))
        value = nodes[-1].outputs[0]
        value.shape = source.shape
    opsets = {"": 18, Quant.domain: 1}
    graph = ir.Graph([source], [value], nodes=nodes, initializers=constants, name="chain", opset_imports=opsets)
    return ir.Model(graph, ir_version=8)


def lowered_by_hand(model: ir.Model) -> onnx.ModelProto:
    """Return the model in plain ONNX: weights quantized ahead, quantizers of activations as Div, Clip, Round, Mul."""
    proto = ir.to_proto(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.op_type != "Quant":
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        scale, bits = constants[node.input[1]], float(constants[node.input[3]])
        signed = bool(attributes["signed"])
        low = -(2 ** (bits - 1)) + attributes["narrow"] if signed else 0.0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - attributes["narrow"]
        if node.input[0] in constants:
            steps = np.rint(np.clip(constants[node.input[0]] / scale, np.float32(low), np.float32(high)))
            constants[node.output[0]] = (steps * scale).astype(np.float32)
            continue
        name = node.name
        constants |= {f"{name}_low": np.float32(low), f"{name}_high": np.float32(high)}
        nodes += [
            helper.make_node("Div", [node.input[0], node.input[1]], [f"{name}_a"]),
            helper.make_node("Clip", [f"{name}_a", f"{name}_low", f"{name}_high"], [f"{name}_b"]),
            helper.make_node("Round", [f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Mul", [f"{name}_c", node.input[1]], [node.output[0]]),
        ]
    read = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items() if name in read]
    graph = helper.make_graph(nodes, "lowered", proto.graph.input, proto.graph.output, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


NETWORKS: dict[str, tuple[Callable[[int | str, int], ir.Model], float]] = {
    "MobileNetV1-class": (mobilenet, 30.0),
    "ResNet50-class": (resnet, 20.0),
}
"""Networks on images, with the factor by which a call has to be faster than one of the qonnx package."""


def images(batch: int, size: int) -> NDArray[np.float32]:
    """Return random images."""
    return np.random.default_rng(batch).normal(0, 1, (batch, 3, size, size)).astype(np.float32)

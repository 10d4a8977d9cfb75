"""Builds an onnx_ir graph under the user's layer names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.ir.names import free_name
from qonnx_core.ops.op import DOMAIN

FloatArray = npt.NDArray[np.float32]
Dimension = int | str | None

OPSET = 21
QONNX_OPSET = 2
IR_VERSION = 10
BATCH = "batch"


def sanitize(name: str) -> str:
    """Return the name with every character outside ``A-Z a-z 0-9 _ . / -`` replaced by an underscore."""
    return re.sub(r"[^A-Za-z0-9_./-]", "_", name) or "_"


class GraphBuilder:
    """Collects the nodes and initializers of one graph; names are unique and follow the layers."""

    def __init__(self) -> None:
        self._inputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._value_names: set[str] = set()
        self._node_names: set[str] = set()
        self._scopes: set[str] = set()

    def add_input(self, name: str, shape: Sequence[Dimension]) -> ir.Value:
        """Return a new float32 graph input; ``shape`` without the batch dimension, which is symbolic."""
        unique = free_name(sanitize(name), self._value_names)
        dims = [BATCH, *(f"{unique}_dim{i}" if d is None else d for i, d in enumerate(shape, start=1))]
        value = ir.Value(name=unique, shape=ir.Shape(dims), type=ir.TensorType(ir.DataType.FLOAT))
        self._inputs.append(value)
        return value

    def scope(self, layer: str) -> Scope:
        """Return the builder of one call of a layer; the second call of a layer is named ``<layer>_1``."""
        return Scope(self, free_name(sanitize(layer), self._scopes))

    def add_initializer(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        """Return a new initializer with the given values."""
        unique = free_name(name, self._value_names)
        tensor = ir.tensor(np.ascontiguousarray(array), name=unique)
        value = ir.Value(
            name=unique, shape=ir.Shape(np.shape(array)), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._initializers[unique] = value
        return value

    def add_node(
        self,
        domain: str,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, int | float | str],
        node_name: str,
        output_name: str,
        shape: ir.Shape,
    ) -> ir.Value:
        """Return the float32 output of a new node."""
        output = ir.Value(
            name=free_name(output_name, self._value_names), shape=shape.copy(), type=ir.TensorType(ir.DataType.FLOAT)
        )
        node = ir.node(
            op_type,
            inputs,
            attributes,
            domain=domain,
            outputs=[output],
            name=free_name(node_name, self._node_names),
        )
        self._nodes.append(node)
        return output

    def rename(self, value: ir.Value, name: str) -> None:
        """Give a value another name; it stays unique."""
        if value.name is not None:
            self._value_names.discard(value.name)
        value.name = free_name(sanitize(name), self._value_names)

    def identity(self, value: ir.Value, name: str) -> ir.Value:
        """Return a copy of the value under another name, for a graph output that is an input or is given twice."""
        clean = sanitize(name)
        assert value.shape is not None
        return self.add_node("", "Identity", [value], {}, clean, clean, value.shape)

    def build(self, name: str, outputs: Sequence[ir.Value], metadata: Mapping[str, str], producer: str) -> ir.Model:
        """Return the model with the given outputs."""
        imports = {"": OPSET, DOMAIN: QONNX_OPSET}
        graph = ir.Graph(
            self._inputs,
            outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports=imports,
            name=name,
        )
        package, _, version = producer.partition(" ")
        return ir.Model(
            graph,
            ir_version=IR_VERSION,
            producer_name=package,
            producer_version=version,
            metadata_props=dict(sorted(metadata.items())),
        )


class Scope:
    """Builds the nodes of one layer call. Methods return the new value; elementwise ones keep the shape of ``x``.

    ``label`` names a node and its output below the layer; the empty label is for the node that carries the layer's
    own name.
    """

    def __init__(self, builder: GraphBuilder, name: str) -> None:
        self.builder = builder
        self.name = name

    def path(self, label: str) -> str:
        """Return the name of something inside this layer."""
        return f"{self.name}/{label}" if label else self.name

    def constant(self, label: str, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> ir.Value:
        """Return an initializer of this layer."""
        return self.builder.add_initializer(self.path(label), np.asarray(values, dtype=dtype))

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        label: str,
        *,
        shape: ir.Shape | None = None,
        domain: str = "",
        attributes: Mapping[str, int | float | str] | None = None,
    ) -> ir.Value:
        """Return the output of a node; without ``shape`` it has the shape of the first input."""
        if shape is None:
            assert inputs[0] is not None
            assert inputs[0].shape is not None
            shape = ir.Shape(inputs[0].shape)
        output_name = self.path(label or op_type.lower())
        return self.builder.add_node(domain, op_type, inputs, attributes or {}, self.path(label), output_name, shape)

    def add(self, x: ir.Value, constant: npt.ArrayLike, label: str) -> ir.Value:
        """``x + constant``."""
        return self.node("Add", [x, self.constant(f"{label}_offset", constant)], label)

    def mul(self, x: ir.Value, factor: npt.ArrayLike, label: str) -> ir.Value:
        """``x * factor``."""
        return self.node("Mul", [x, self.constant(f"{label}_factor", factor)], label)

    def div(self, x: ir.Value, divisor: npt.ArrayLike, label: str) -> ir.Value:
        """``x / divisor``."""
        return self.node("Div", [x, self.constant(f"{label}_divisor", divisor)], label)

    def clip(self, x: ir.Value, low: float | None, high: float | None, label: str) -> ir.Value:
        """``min(max(x, low), high)``; None leaves a side open."""
        bounds = [
            None if low is None else self.constant(f"{label}_min", low),
            None if high is None else self.constant(f"{label}_max", high),
        ]
        return self.node("Clip", [x, *bounds] if high is not None else [x, bounds[0]], label)

    def quant(
        self,
        x: ir.Value,
        scale: npt.ArrayLike,
        bits: int,
        *,
        signed: bool,
        narrow: bool = False,
        rounding: str = "ROUND",
        prefix: str = "",
        label: str = "",
    ) -> ir.Value:
        """Quant with zero point 0; its parameters are named ``<prefix>scale`` and so on."""
        parameters = [
            self.constant(f"{prefix}scale", scale),
            self.constant(f"{prefix}zero_point", 0.0),
            self.constant(f"{prefix}bit_width", bits),
        ]
        return self.node(
            "Quant",
            [x, *parameters],
            label,
            domain=DOMAIN,
            attributes={"signed": int(signed), "narrow": int(narrow), "rounding_mode": rounding},
        )

    def bipolar(self, x: ir.Value, scale: npt.ArrayLike, *, prefix: str = "", label: str = "") -> ir.Value:
        """BipolarQuant: ``scale`` where x is 0 or more, ``-scale`` elsewhere."""
        return self.node("BipolarQuant", [x, self.constant(f"{prefix}scale", scale)], label, domain=DOMAIN)

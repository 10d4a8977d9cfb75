"""Walks a Keras model, call by call, and builds the QONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir

import ingest_qkeras
from ingest_qkeras.environment import Frameworks
from ingest_qkeras.graph import GraphBuilder, sanitize
from ingest_qkeras.layers import LAYERS, LayerCall, refuse
from ingest_qkeras.weights import QuantizedWeight
from qonnx_core.errors import InvalidInput, Unsupported


def convert(model: Any, name: str, frameworks: Frameworks) -> ir.Model:
    """Return the QONNX model of a built functional or sequential Keras model, not yet verified.

    Raises:
        InvalidInput: the model is not built.
        Unsupported: with one reason for every layer that has no exact counterpart.
    """
    walk = _Walk(frameworks)
    outputs = walk.model(model)
    if walk.reasons:
        if len(walk.reasons) == 1:
            raise Unsupported(walk.reasons[0])
        raise Unsupported(
            f"{model.name} ({type(model).__name__}): {len(walk.reasons)} layers cannot be converted exactly:",
            walk.reasons,
        )
    metadata = {f"source.{package.lower()}": version for package, version in frameworks.versions}
    metadata |= {"source.framework": "qkeras", "source.model": str(model.name)}
    producer = f"ingest-qkeras {ingest_qkeras.__version__}"
    return walk.builder.build(sanitize(name), outputs, metadata, producer)


class _Walk:
    """State of one conversion."""

    def __init__(self, frameworks: Frameworks) -> None:
        self.frameworks = frameworks
        self.builder = GraphBuilder()
        self.reasons: list[str] = []
        self._weights: dict[tuple[int, str], tuple[QuantizedWeight, ir.Value]] = {}

    def model(self, model: Any) -> list[ir.Value]:
        """Return the output values of the outermost model, under the names that Keras gives them."""
        where = f"{model.name} ({type(model).__name__})"
        if not _is_graph(model):
            kind = "is not built" if isinstance(model, self.frameworks.tf.keras.Sequential) else "has no layer graph"
            raise InvalidInput(
                f"{where}: the model {kind}; expected a functional model, or a Sequential one with known input shape. "
                "Build it (model.build((None, ...))), or write a subclassed model with the functional API."
            )
        inputs = []
        for name, tensor in zip(model.input_names, model.inputs, strict=True):
            self._check_dtype(tensor.dtype, f"{model.name}/{name} (InputLayer)")
            inputs.append(self.builder.add_input(name, list(tensor.shape)[1:]))
        found = self._graph(model, inputs, str(model.name), "")
        outputs: list[ir.Value] = []
        for name, value in zip(model.output_names, found, strict=True):
            # A graph output carries the name that Keras gives it, and is a value of its own.
            if value.producer() is not None and all(value is not other for other in outputs):
                if value.name != sanitize(name):
                    self.builder.rename(value, name)
                outputs.append(value)
            else:
                outputs.append(self.builder.identity(value, name))
        return outputs

    def _graph(self, model: Any, inputs: Sequence[ir.Value], path: str, prefix: str) -> list[ir.Value]:
        """Return the outputs of a model called on ``inputs``; ``prefix`` begins the names of what it adds."""
        values: dict[str, ir.Value] = {str(id(t)): v for t, v in zip(model.inputs, inputs, strict=True)}
        for node in _calls(model):
            if node.is_input or any(tensor not in values for tensor in node.flat_input_ids):
                continue
            results = self._call(node, [values[tensor] for tensor in node.flat_input_ids], path, prefix)
            values |= zip(node.flat_output_ids, results, strict=True)
        return [values[str(id(tensor))] for tensor in model.outputs]

    def _call(self, node: Any, inputs: list[ir.Value], path: str, prefix: str) -> list[ir.Value]:
        """Return the values of one layer call; a refused layer is noted and stands in as its first input."""
        layer = node.layer
        layer_path = f"{path}/{layer.name}"
        where = f"{layer_path} ({type(layer).__name__})"
        try:
            self._check_call(node, where)
            if isinstance(layer, self.frameworks.tf.keras.Model):
                if not _is_graph(layer):
                    raise Unsupported(
                        f"{where}: a subclassed model has no layer graph. Write it with the functional API."
                    )
                return self._graph(layer, inputs, layer_path, f"{prefix}{layer.name}/")
            kind = type(layer)
            converter = LAYERS.get((kind.__module__.partition(".")[0], kind.__name__))
            if converter is None:
                raise refuse(layer, where)
            outputs = self.frameworks.tf.nest.flatten(node.outputs)
            scope = self.builder.scope(f"{prefix}{layer.name}")
            call = LayerCall(layer, layer_path, scope, inputs, self._weights)
            value = converter(call, outputs[0])
            if all(value is not x for x in inputs):
                self.builder.rename(value, scope.name)
            return [value]
        except Unsupported as error:
            self.reasons.extend(error.reasons or [str(error)])
            return [self._stand_in(tensor) for tensor in self.frameworks.tf.nest.flatten(node.outputs)]

    def _stand_in(self, tensor: Any) -> ir.Value:
        """Return a value of the right shape, so that the layers after a refused one are looked at too."""
        dims = ["batch", *(d if d is None else int(d) for d in list(tensor.shape)[1:])]
        return ir.Value(name="refused", shape=ir.Shape(dims), type=ir.TensorType(ir.DataType.FLOAT))

    def _check_call(self, node: Any, where: str) -> None:
        """Refuse a call that computes something else than inference of the layer in float32."""
        arguments = node.call_kwargs or {}
        if arguments.get("training"):
            raise Unsupported(
                f"{where}: called with training=True, so that it is random or batch-dependent at inference; expected "
                "inference. Build the model without this argument."
            )
        if arguments.get("mask") is not None:
            raise Unsupported(f"{where}: called with a mask; expected none. Build the model without it.")
        self._check_dtype(node.layer.compute_dtype, where)

    def _check_dtype(self, dtype: Any, where: str) -> None:
        name = getattr(dtype, "name", dtype)
        if name not in {"float32", None}:
            raise Unsupported(f"{where}: computes in {name}; expected float32. Build the model with dtype float32.")


def _is_graph(model: Any) -> bool:
    """Whether the model is a graph of layer calls (functional, or sequential with known input shape)."""
    return bool(getattr(model, "_is_graph_network", False)) and bool(getattr(model, "inputs", None))


def _calls(model: Any) -> Iterator[Any]:
    """Yield the layer calls in the order in which Keras itself runs them."""
    by_depth = model._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]

"""Turns one call of a Keras layer into nodes: a table from layer class to function.

Tensors stay channels-last, as Keras has them. A layer that does nothing at inference (Dropout, a linear activation)
adds no node. The value that a layer returns carries the layer's name; so does its principal node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingest_qkeras.activations import emit_activation
from ingest_qkeras.graph import Scope
from ingest_qkeras.quantizer_facts import class_of
from ingest_qkeras.weights import QuantizedWeight, emit_weight, quantize_weight
from qonnx_core.errors import Unsupported


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One call of a layer in a model."""

    layer: Any
    path: str  # names from the outermost model to the layer, for example "net/block1/fc1"
    scope: Scope
    inputs: Sequence[ir.Value]
    weights: dict[tuple[int, str], tuple[QuantizedWeight, ir.Value]]  # of layers called before, by id and label

    @property
    def where(self) -> str:
        """Return how an error message names this layer."""
        return f"{self.path} ({type(self.layer).__name__})"

    @property
    def x(self) -> ir.Value:
        """The only input."""
        if len(self.inputs) != 1:
            raise Unsupported(f"{self.where}: called on {len(self.inputs)} tensors; expected one. Split the call.")
        return self.inputs[0]

    def rank(self, value: ir.Value) -> int:
        """Return the number of dimensions, batch included."""
        assert value.shape is not None
        return len(value.shape)

    def shape(self, output: Any) -> ir.Shape:
        """Return the shape of a Keras tensor, with the dynamic dimensions of the first input."""
        own = self.inputs[0].shape
        assert own is not None
        dims = list(output.shape)
        known = [None if d is None else int(d) for d in dims]
        return ir.Shape([own[0], *(d if d is not None else own[i] for i, d in enumerate(known) if i > 0)])

    def weight(self, label: str, quantizer: Any, raw: npt.ArrayLike) -> ir.Value:
        """Return the value of a weight; a layer called twice has its weights once."""
        key = (id(self.layer), label)
        if key not in self.weights:
            weight = quantize_weight(quantizer, raw, f"{self.where} {label}")
            self.weights[key] = (weight, emit_weight(weight, self.scope, label))
        return self.weights[key][1]

    def activate(self, activation: Any, x: ir.Value, label: str = "activation") -> ir.Value:
        """Return the value of an activation inside this layer, its nodes named ``<layer>/<label>``."""
        scope = Scope(self.scope.builder, self.scope.path(label)) if label else self.scope
        return emit_activation(activation, scope, x, self.where)


Convert = Callable[[LayerCall, Any], ir.Value]  # of the call and the Keras tensor that it returned


def _identity(call: LayerCall, output: Any) -> ir.Value:
    return call.x


def _dense(call: LayerCall, output: Any) -> ir.Value:
    """Return MatMul and Add; QKeras multiplies with the quantized kernel, then adds the quantized bias."""
    layer = call.layer
    kernel = call.weight("kernel", _layer_quantizer(layer, "kernel"), layer.kernel.numpy())
    y = call.scope.node("MatMul", [call.x, kernel], "", shape=call.shape(output))
    if layer.use_bias:
        bias = call.weight("bias", _layer_quantizer(layer, "bias"), layer.bias.numpy())
        y = call.scope.node("Add", [y, bias], "bias_add")
    return call.activate(layer.activation, y)


def _layer_quantizer(layer: Any, parameter: str) -> Any:
    """Return the quantizer of a parameter, as the layer's own ``call`` decides; None for none."""
    if not getattr(layer, f"{parameter}_quantizer", None):
        return None
    return getattr(layer, f"{parameter}_quantizer_internal")


def _activation(call: LayerCall, output: Any) -> ir.Value:
    return call.activate(call.layer.activation, call.x, "")


def _qactivation(call: LayerCall, output: Any) -> ir.Value:
    return call.activate(call.layer.quantizer, call.x, "")


def _relu(call: LayerCall, output: Any) -> ir.Value:
    layer, scope = call.layer, call.scope
    if float(layer.threshold or 0.0) != 0.0:
        raise Unsupported(
            f"{call.where}: threshold is {float(layer.threshold):g}; expected 0. Use a plain ReLU, or shift its input."
        )
    slope = float(layer.negative_slope or 0.0)
    top = None if layer.max_value is None else float(layer.max_value)
    if slope == 0.0:
        return scope.node("Relu", [call.x], "") if top is None else scope.clip(call.x, 0.0, top, "")
    if top is None:
        return scope.node("LeakyRelu", [call.x], "", attributes={"alpha": slope})
    return scope.clip(scope.node("LeakyRelu", [call.x], "leaky_relu", attributes={"alpha": slope}), None, top, "")


def _leaky_relu(call: LayerCall, output: Any) -> ir.Value:
    return call.scope.node("LeakyRelu", [call.x], "", attributes={"alpha": float(call.layer.alpha)})


def _softmax(call: LayerCall, output: Any) -> ir.Value:
    axis = call.layer.axis
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise Unsupported(f"{call.where}: softmax over axes {list(axis)}; expected one axis. Flatten before it.")
        axis = axis[0]
    return call.scope.node("Softmax", [call.x], "", attributes={"axis": int(axis)})


def _batch_normalization(call: LayerCall, output: Any) -> ir.Value:
    """``x * inv + (beta - mean * inv)`` with ``inv = gamma / sqrt(variance + epsilon)``, as TensorFlow computes it.

    The two constants are computed here by TensorFlow in float32, in its own order of operations, so that the graph
    has the very numbers with which the framework multiplies and adds.
    """
    import tensorflow as tf

    layer, x = call.layer, call.x
    rank = call.rank(x)
    axes = [int(axis) % rank for axis in (layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis])]
    if len(axes) != 1:
        raise Unsupported(f"{call.where}: normalizes over axes {axes}; expected one axis. Use one layer for each.")

    def parameter(name: str, variable: Any, quantizer: str) -> Any:
        if variable is None:
            return None
        value = np.asarray(variable.numpy(), dtype=np.float32)
        return tf.constant(
            quantize_weight(_layer_quantizer(layer, quantizer), value, f"{call.where} {name}").evaluate()
        )

    gamma = parameter("gamma", layer.gamma, "gamma")
    beta = parameter("beta", layer.beta, "beta")
    mean = parameter("moving_mean", layer.moving_mean, "mean")
    variance = parameter("moving_variance", layer.moving_variance, "variance")
    factor = tf.math.rsqrt(variance + layer.epsilon)
    if gamma is not None:
        factor = factor * gamma
    offset = -mean * factor if beta is None else beta - mean * factor
    shape = [-1] if axes[0] == rank - 1 else [-1, *[1] * (rank - 1 - axes[0])]
    scaled = call.scope.constant("scale", np.reshape(factor.numpy(), shape))
    shifted = call.scope.constant("offset", np.reshape(offset.numpy(), shape))
    return call.scope.node("Add", [call.scope.node("Mul", [x, scaled], "mul"), shifted], "")


def _flatten(call: LayerCall, output: Any) -> ir.Value:
    if call.rank(call.x) == 2:
        return call.x
    if call.layer.data_format == "channels_first":
        raise Unsupported(
            f"{call.where}: data_format is channels_first; expected channels_last. Build it channels-last."
        )
    return call.scope.node("Flatten", [call.x], "", shape=call.shape(output), attributes={"axis": 1})


def _reshape(call: LayerCall, output: Any) -> ir.Value:
    sizes = [0, *(int(size) for size in call.layer.target_shape)]  # 0 keeps the batch size
    target = call.scope.constant("shape", sizes, np.int64)
    return call.scope.node("Reshape", [call.x, target], "", shape=call.shape(output))


def _add(call: LayerCall, output: Any) -> ir.Value:
    if len(call.inputs) < 2:
        raise Unsupported(
            f"{call.where}: called on {len(call.inputs)} tensor; expected at least two. Remove the layer."
        )
    if len({call.rank(x) for x in call.inputs}) != 1:
        raise Unsupported(f"{call.where}: its inputs differ in rank; expected equal ranks. Reshape them first.")
    total = call.inputs[0]
    last = len(call.inputs) - 1
    for i, x in enumerate(call.inputs[1:], start=1):
        total = call.scope.node("Add", [total, x], "" if i == last else f"add{i}", shape=call.shape(output))
    return total


# By the package that defines the class and the class name: a subclass may compute anything and is not in the table.
LAYERS: Mapping[tuple[str, str], Convert] = {
    ("tf_keras", "Activation"): _activation,
    ("tf_keras", "ActivityRegularization"): _identity,
    ("tf_keras", "Add"): _add,
    ("tf_keras", "AlphaDropout"): _identity,
    ("tf_keras", "BatchNormalization"): _batch_normalization,
    ("tf_keras", "Dense"): _dense,
    ("tf_keras", "Dropout"): _identity,
    ("tf_keras", "Flatten"): _flatten,
    ("tf_keras", "GaussianDropout"): _identity,
    ("tf_keras", "GaussianNoise"): _identity,
    ("tf_keras", "LeakyReLU"): _leaky_relu,
    ("tf_keras", "ReLU"): _relu,
    ("tf_keras", "Reshape"): _reshape,
    ("tf_keras", "Softmax"): _softmax,
    ("tf_keras", "SpatialDropout1D"): _identity,
    ("qkeras", "QActivation"): _qactivation,
    ("qkeras", "QBatchNormalization"): _batch_normalization,
    ("qkeras", "QDense"): _dense,
}

# What to do instead of a layer that has no entry above.
WAYS_OUT: Mapping[str, str] = {
    "Lambda": "A Lambda layer is arbitrary Python; replace it by layers",
    "QAdaptiveActivation": "Replace it by QActivation with the integer bits that it has learned",
    "TFOpLambda": "This is a TensorFlow function applied to a Keras tensor; use a layer instead, such as Add for +",
    "SlicingOpLambda": "Slicing is not converted; split the model at the slice",
}
CONVOLUTIONAL = ("Conv", "Pool", "ZeroPadding", "Cropping", "UpSampling")


def refuse(layer: Any, where: str) -> Unsupported:
    """Return the error for a layer class without a counterpart."""
    kind = type(layer)
    root = kind.__module__.partition(".")[0]
    if any(word in kind.__name__ for word in CONVOLUTIONAL):
        return Unsupported(
            f"{where}: convolution and pooling are not converted yet; expected the layers of a multilayer perceptron. "
            "Convert the dense part of the network as a model of its own."
        )
    if kind.__name__ in WAYS_OUT:
        remedy = WAYS_OUT[kind.__name__]
    elif class_of(layer) is not None:
        remedy = "Wrap the quantizer in QActivation"
    else:
        remedy = "Replace it by these layers, or convert the parts before and after it as models of their own"
    names = ", ".join(sorted({name for _, name in LAYERS}))
    found = "this layer" if root in {"keras", "tf_keras", "qkeras"} else f"class {kind.__name__} of {root}"
    return Unsupported(f"{where}: {found} has no exact counterpart here; expected one of {names}. {remedy}.")

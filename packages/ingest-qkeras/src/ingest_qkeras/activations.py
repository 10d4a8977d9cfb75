"""Turns activations (QKeras quantizers and Keras functions) into nodes that compute the same numbers.

The formulas are those of ``reference/frontends.md`` section 3b. In them b is bits, i integer, k keep_negative and
u = b - k; QKeras rounds half to even, which is Quant's ROUND. Where QKeras divides its grid by powers of two only, the
nodes give the same bits. QKeras returns ``x + (-x + q)`` (the straight-through estimator): with an alpha that is no
power of two this leaves up to half an ulp of x on the quantized value, and with an x above ``2**24`` grid steps it
loses the quantized value altogether; the nodes give the clean value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ingest_qkeras.graph import Scope
from ingest_qkeras.quantizer_facts import Facts, class_of, step
from qonnx_core.errors import Unsupported

Emit = Callable[[Facts, Scope, ir.Value], ir.Value]


def emit_activation(activation: Any, scope: Scope, x: ir.Value, where: str) -> ir.Value:
    """Return the value of an activation, whatever QKeras or Keras accepts as one: quantizer, function or None.

    Raises:
        Unsupported: there is no exact counterpart, or the function is not known.
    """
    if activation is None:
        return x
    name = class_of(activation)
    if name is not None:
        facts = Facts(activation, where)
        return QUANTIZERS.get(name, _refuse)(facts, scope, x)
    function = _function_name(activation)
    if function is not None and function in FUNCTIONS:
        return FUNCTIONS[function](scope, x)
    if hasattr(type(activation), "_set_trainable_parameter") or function is None:
        Facts(activation, where)  # a foreign quantizer or object: raises and says so
    known = ", ".join(sorted({key.partition(":")[2] for key in FUNCTIONS}))
    raise Unsupported(
        f"{where}: the activation function is {function}; expected one of {known} or a QKeras quantizer. "
        "Use one of these."
    )


def _function_name(function: Any) -> str | None:
    """Return ``keras:relu`` or ``qkeras:hard_tanh`` for a function that one of the two packages defines."""
    name, module = getattr(function, "__name__", None), getattr(function, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str) or isinstance(function, type):
        return None
    if module == "qkeras.quantizers":
        return f"qkeras:{name}"
    if module in {"tf_keras.src.activations", "keras.src.activations", "keras.activations", "tf_keras.activations"}:
        return f"keras:{name}"
    return f"{module}.{name}"


# --- quantizers ------------------------------------------------------------------------------------------------------


def _quantized_bits(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    """Quant on the unscaled grid, then alpha: QKeras rounds before it scales."""
    facts.refuse_automatic_alpha()
    bits, signed = facts.bits, facts.keep_negative
    alpha = facts.alpha
    if bits == 1 and signed:
        return scope.bipolar(x, alpha)
    scale = step(facts.integer_bits - (bits - signed))
    one = bool((alpha == 1.0).all())
    narrow = signed and facts.flag("symmetric")
    y = scope.quant(x, scale, bits, signed=signed, narrow=narrow, label="" if one else "quant")
    return y if one else scope.mul(y, alpha, "")


def _quantized_relu(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    slope = facts.number("negative_slope")
    bits, integer = facts.bits, facts.integer_bits
    if facts.flag("use_sigmoid"):
        if slope:
            raise facts.refusal(
                "use_sigmoid together with negative_slope", "this combination has no known exact form", "Drop one"
            )
        return _sigmoid_relu(facts, scope, x)
    bound = None
    upper = getattr(facts.quantizer, "relu_upper_bound", None)
    if upper is not None and not facts.flag("is_quantized_clip"):
        bound = facts.number("relu_upper_bound")
        if bound < 0:
            raise facts.refusal(f"relu_upper_bound is {bound:g}", "expected a positive number", "Change it")
        bound = bound or None  # QKeras ignores a bound of 0 when it clips
    signed = slope != 0.0
    exponent = integer - (bits - signed)
    if bound is not None and bound >= math.ldexp(1.0, integer) - math.ldexp(1.0, exponent):
        bound = None  # above the highest level
    on_grid = bound is None or math.ldexp(bound, -exponent).is_integer()
    before, after = (bound, None) if on_grid else (None, bound)
    if slope:
        # The lowest level is -slope * 2**integer; it has to be a multiple of the step and within the signed range.
        if not (slope <= 1 and math.ldexp(slope, bits - 1) >= 1):
            raise facts.refusal(
                f"negative_slope is {slope:g} at {bits} bits",
                "expected a power of two between 2**(1-bits) and 1, so that the lowest level lies on the grid",
                "Choose such a slope, or more bits",
            )
        y = scope.node("LeakyRelu", [x], "leaky_relu", attributes={"alpha": slope})
        if slope < 1 or before is not None:
            y = scope.clip(y, -math.ldexp(slope, integer), before, "clip")
    elif before is not None:
        y = scope.clip(x, 0.0, before, "clip")
    else:
        y = scope.node("Relu", [x], "relu")
    y = scope.quant(y, step(exponent), bits, signed=signed, label="")
    return y if after is None else scope.clip(y, None, after, "upper_bound")


def _sigmoid_relu(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    """``2**i * clip(2 * round_to(2**-b, sigmoid(x / 2**i)) - 1, 0, 1 - 2**-b)``."""
    bits, integer = facts.bits, facts.integer_bits
    y = x if integer == 0 else scope.mul(x, step(-integer), "unit")
    y = _internal_sigmoid(facts, scope, y)
    y = scope.quant(y, step(-bits), bits + 1, signed=False, label="")
    y = scope.add(scope.mul(y, 2.0, "double"), -1.0, "center")
    y = scope.clip(y, 0.0, 1.0 - math.ldexp(1.0, -bits), "clip")
    return y if integer == 0 else scope.mul(y, step(integer), "rescale")


def _quantized_tanh(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    """Hard: ``2 * clip(x/2 + 1/2, 0, 1) - 1`` is ``clip(x, -1, 1)``, and Quant clips to that itself."""
    bits = facts.bits
    if bits == 1:
        raise facts.refusal("bits is 1", "its only levels are then -1 and 0", "Use 2 bits or binary")
    if facts.flag("use_real_tanh"):
        y = scope.node("Tanh", [x], "tanh")
    elif internal_sigmoid_name(facts) == "hard_sigmoid":
        y = x
    else:
        y = _internal_sigmoid(facts, scope, x)
        y = scope.add(scope.mul(y, 2.0, "double"), -1.0, "center")
    return scope.quant(y, step(1 - bits), bits, signed=True, narrow=facts.flag("symmetric"))


def _quantized_sigmoid(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    bits = facts.bits
    if facts.flag("use_real_sigmoid"):
        y = scope.node("Sigmoid", [x], "sigmoid")
    else:
        y = _internal_sigmoid(facts, scope, x, clipped=False)
    y = scope.quant(y, step(-bits), bits, signed=False)
    return scope.clip(y, math.ldexp(1.0, -bits), None, "lowest") if facts.flag("symmetric") else y


def _quantized_hswish(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    """``x * clip(x + shift, 0, bound) / bound`` in this order of operations (ONNX HardSwish rounds differently)."""
    shift, bound = facts.number("relu_shift", 3), facts.number("relu_upper_bound", 6)
    gate = scope.clip(scope.add(x, shift, "shift"), 0.0, bound, "gate")
    return _quantized_bits(facts, scope, scope.div(scope.node("Mul", [x, gate], "gated"), bound, "normalize"))


def _binary(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    facts.refuse_automatic_alpha()
    alpha = facts.alpha
    if not facts.flag("use_01"):
        return scope.bipolar(x, alpha)
    half = alpha / np.float32(2)
    return scope.add(scope.bipolar(x, half), half, "shift")


def _ternary(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    """``alpha * sign(x)`` where ``|x| >= threshold``: x / threshold clipped to -1 to 1, rounded toward zero.

    A float32 below the threshold gives a quotient below 1, so that the decision is exact in float32 too.
    """
    facts.refuse_automatic_alpha()
    alpha = facts.alpha
    threshold = getattr(facts.quantizer, "threshold", None)
    value = np.float32(0.33 if threshold is None else facts.number("threshold"))
    if not value > 0:
        raise facts.refusal(f"threshold is {value:g}", "expected a positive number", "Use binary for no dead band")
    one = bool((alpha == 1.0).all())
    y = x if value == 1 else scope.div(x, value, "threshold")
    y = scope.quant(y, 1.0, 2, signed=True, narrow=True, rounding="DOWN", label="" if one else "quant")
    return y if one else scope.mul(y, alpha, "")


def _refuse(facts: Facts, scope: Scope, x: ir.Value) -> ir.Value:
    raise facts.refusal(
        "used on an activation",
        "it rounds the logarithm, and Quant has evenly spaced levels",
        "Use quantized_bits or quantized_relu",
    )


QUANTIZERS: Mapping[str, Emit] = {
    "quantized_bits": _quantized_bits,
    "quantized_relu": _quantized_relu,
    "quantized_tanh": _quantized_tanh,
    "quantized_sigmoid": _quantized_sigmoid,
    "quantized_hswish": _quantized_hswish,
    "binary": _binary,
    "stochastic_binary": _binary,  # stochastic in training only
    "ternary": _ternary,
    "stochastic_ternary": _ternary,
}


# --- functions -------------------------------------------------------------------------------------------------------


def internal_sigmoid_name(facts: Facts) -> str:
    """Return which sigmoid QKeras uses now: a global setting (``set_internal_sigmoid``), so read it late."""
    import qkeras.quantizers

    name = getattr(qkeras.quantizers._sigmoid, "__name__", "")
    if name not in {"hard_sigmoid", "smooth_sigmoid", "sigmoid"}:
        raise facts.refusal(f"the internal sigmoid is {name}", "expected hard, smooth or real", "Reset it")
    return name


def _internal_sigmoid(facts: Facts, scope: Scope, x: ir.Value, *, clipped: bool = True) -> ir.Value:
    name = internal_sigmoid_name(facts)
    if name == "sigmoid":
        return scope.node("Sigmoid", [x], "sigmoid")
    return _linear_sigmoid(scope, x, 0.5 if name == "hard_sigmoid" else 0.1875, clipped=clipped)


def _linear_sigmoid(scope: Scope, x: ir.Value, slope: float, *, clipped: bool = True, label: str = "clip") -> ir.Value:
    """``clip(slope * x + 0.5, 0, 1)``; the clip is left out where a quantizer clips to the same range anyway."""
    y = scope.add(scope.mul(x, slope, "slope"), 0.5, "center_sigmoid")
    return scope.clip(y, 0.0, 1.0, label) if clipped else y


def _linear_tanh(slope: float) -> Callable[[Scope, ir.Value], ir.Value]:
    def emit(scope: Scope, x: ir.Value) -> ir.Value:
        return scope.add(scope.mul(_linear_sigmoid(scope, x, slope), 2.0, "double"), -1.0, "")

    return emit


def _softsign(scope: Scope, x: ir.Value) -> ir.Value:
    """``x / (|x| + 1)`` in TensorFlow's order of operations."""
    return scope.node("Div", [x, scope.add(scope.node("Abs", [x], "abs"), 1.0, "shift")], "")


def _binary_sigmoid(scope: Scope, x: ir.Value, label: str = "") -> ir.Value:
    """``round(clip(x/2 + 1/2, 0, 1))``, half to even: 0 or 1."""
    return scope.quant(_linear_sigmoid(scope, x, 0.5, clipped=False), 1.0, 1, signed=False, label=label)


def _binary_tanh(scope: Scope, x: ir.Value) -> ir.Value:
    return scope.add(scope.mul(_binary_sigmoid(scope, x, "quant"), 2.0, "double"), -1.0, "")


def _unary(op_type: str, attributes: Mapping[str, int | float] | None = None) -> Callable[[Scope, ir.Value], ir.Value]:
    def emit(scope: Scope, x: ir.Value) -> ir.Value:
        return scope.node(op_type, [x], "", attributes=attributes)

    return emit


FUNCTIONS: Mapping[str, Callable[[Scope, ir.Value], ir.Value]] = {
    "keras:linear": lambda scope, x: x,
    "keras:relu": _unary("Relu"),
    "keras:softmax": _unary("Softmax", {"axis": -1}),
    "keras:sigmoid": _unary("Sigmoid"),
    "keras:tanh": _unary("Tanh"),
    "keras:hard_sigmoid": lambda scope, x: _linear_sigmoid(scope, x, 0.2, label=""),
    "keras:softsign": _softsign,
    "qkeras:hard_sigmoid": lambda scope, x: _linear_sigmoid(scope, x, 0.5, label=""),
    "qkeras:smooth_sigmoid": lambda scope, x: _linear_sigmoid(scope, x, 0.1875, label=""),
    "qkeras:binary_sigmoid": _binary_sigmoid,
    "qkeras:hard_tanh": _linear_tanh(0.5),
    "qkeras:smooth_tanh": _linear_tanh(0.1875),
    "qkeras:binary_tanh": _binary_tanh,
}

"""Reads the settings of a QKeras quantizer, as plain Python numbers, and refuses what has no exact counterpart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from qonnx_core.errors import Unsupported

FloatArray = npt.NDArray[np.float32]

# Quantizer classes of QKeras 0.9 that this package knows; subclasses may compute anything and are refused.
KNOWN = frozenset(
    {
        "bernoulli",
        "binary",
        "quantized_bits",
        "quantized_hswish",
        "quantized_po2",
        "quantized_relu",
        "quantized_relu_po2",
        "quantized_sigmoid",
        "quantized_tanh",
        "quantized_ulaw",
        "stochastic_binary",
        "stochastic_ternary",
        "ternary",
    }
)
MAX_BITS = 24  # float32 holds every integer up to 2**24


def class_of(quantizer: object) -> str | None:
    """Return the class name of a quantizer of QKeras itself, None for anything else."""
    kind = type(quantizer)
    return kind.__name__ if kind.__module__ == "qkeras.quantizers" and kind.__name__ in KNOWN else None


class Facts:
    """Settings of one quantizer; ``where`` begins every error message, for example ``net/fc1 (QDense) kernel``."""

    def __init__(self, quantizer: Any, where: str) -> None:
        name = class_of(quantizer)
        if name is None:
            kind = type(quantizer)
            found = getattr(quantizer, "__name__", None) or f"{kind.__module__}.{kind.__name__}"
            raise Unsupported(
                f"{where}: the quantizer is {found}; expected a quantizer class of QKeras 0.9 itself, because only "
                f"their formulas are known. Use one of {', '.join(sorted(KNOWN))}."
            )
        self.name = name
        self.where = where
        self.quantizer = quantizer
        noise = self.number("qnoise_factor", 1.0)
        if noise != 1.0:
            raise self.refusal(
                f"qnoise_factor is {noise:g}",
                "QKeras then mixes quantized and unquantized values at inference too, off every grid",
                "Set qnoise_factor to 1 before converting",
            )
        if name == "bernoulli":
            raise self.refusal("it draws random numbers at inference", "a graph computes one value", "Use binary")
        if name == "quantized_ulaw":
            raise self.refusal(
                "its levels are not evenly spaced", "Quant has evenly spaced levels", "Use quantized_bits"
            )

    def refusal(self, found: str, reason: str, remedy: str) -> Unsupported:
        """Return the error that says what is wrong with this quantizer."""
        return Unsupported(f"{self.where}: {self.name}: {found}; {reason}. {remedy}.")

    def number(self, attribute: str, default: float = 0.0) -> float:
        """Return a scalar setting; a TensorFlow variable is read."""
        value = getattr(self.quantizer, attribute, default)
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if array.size != 1:
            raise self.refusal(
                f"{attribute} has {array.size} values", "expected one number", f"Use one {attribute} for the tensor"
            )
        return float(array.reshape(()))

    def integer(self, attribute: str, default: int = 0) -> int:
        """Return a setting that has to be a whole number."""
        value = self.number(attribute, default)
        if not value.is_integer():
            raise self.refusal(f"{attribute} is {value:g}", "expected a whole number", f"Round {attribute}")
        return int(value)

    def flag(self, attribute: str) -> bool:
        """Return a yes/no setting."""
        return bool(getattr(self.quantizer, attribute, False))

    @property
    def bits(self) -> int:
        """The bit width."""
        bits = self.integer("bits", 8)
        if not 1 <= bits <= MAX_BITS:
            raise self.refusal(
                f"bits is {bits}", f"expected 1 to {MAX_BITS}, whose levels float32 holds exactly", "Change bits"
            )
        return bits

    @property
    def integer_bits(self) -> int:
        """The number of bits left of the binary point."""
        integer = self.integer("integer", 0)
        if integer < 0:
            raise self.refusal(
                f"integer is {integer}",
                "QKeras 0.9 itself cannot evaluate negative integer bits",
                "Use integer=0 and scale the layer's input instead",
            )
        return integer

    @property
    def alpha_text(self) -> str | None:
        """``'auto'`` or ``'auto_po2'`` where alpha is computed from the data, else None."""
        alpha = getattr(self.quantizer, "alpha", None)
        return alpha if isinstance(alpha, str) else None

    @property
    def alpha(self) -> FloatArray:
        """The fixed scaling factor, 1.0 for None; a float32 array that broadcasts against the tensor."""
        alpha = getattr(self.quantizer, "alpha", None)
        if alpha is None:
            return np.array(1.0, dtype=np.float32)
        array = np.asarray(alpha.numpy() if hasattr(alpha, "numpy") else alpha, dtype=np.float32)
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise self.refusal(
                f"alpha is {array.tolist()}", "expected positive numbers", "Move the sign into the weights"
            )
        return array

    def refuse_automatic_alpha(self) -> None:
        """Raise where alpha is computed from the activations of each batch."""
        if self.alpha_text is not None:
            raise self.refusal(
                f"alpha is {self.alpha_text!r} on an activation",
                "QKeras computes this scale from every batch anew, so that no fixed graph equals it",
                "Use a number for alpha",
            )

    @property
    def keep_negative(self) -> bool:
        """Whether negative values are kept (quantized_bits)."""
        return bool(getattr(self.quantizer, "keep_negative", True))


def step(exponent: int) -> FloatArray:
    """Return ``2**exponent`` as a float32 scalar."""
    return np.array(math.ldexp(1.0, exponent), dtype=np.float32)

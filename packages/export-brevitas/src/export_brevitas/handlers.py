"""Stands in for the model's quantizers, first to watch what they compute, then to write it down.

Brevitas asks a quantizer's ``export_handler`` in place of the quantizer while ``export_mode`` is on. Ours runs the
quantizer for real in a first pass over the example (the watching), and emits one traced operator for each call in the
second (the tracing), in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from brevitas import config
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant, TernaryQuant
from brevitas.nn.mixin.base import QuantRecurrentLayerMixin
from brevitas.proxy.parameter_quant import BiasQuantProxyFromInjectorBase, WeightQuantProxyFromInjectorBase
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.proxy.runtime_quant import (
    ActQuantProxyFromInjector,
    ActQuantProxyFromInjectorBase,
    DynamicActQuantProxyFromInjector,
    TruncQuantProxyFromInjector,
)
from torch import Tensor, nn

from export_brevitas import traced_ops
from export_brevitas.metadata import as_metadata, plain
from export_brevitas.quantization import Quantization, of_activation, of_parameter, scalar_if_one, written_as
from qonnx_core.errors import QonnxError, Unsupported

# Brevitas' names of rounding modes -> those of QONNX.
_ROUNDINGS = {"ROUND": "ROUND", "FLOOR": "FLOOR", "CEIL": "CEIL", "ROUND_TO_ZERO": "DOWN"}


@dataclass
class Call:
    """One use of a quantizer on the way through the model: what it computes and what it says about its result."""

    write: Callable[[Tensor], Tensor]  # emits the traced operator
    metadata: tuple[Any, ...]
    value: Tensor | None = None  # a parameter's value where it is written in place of the given one
    parameter: tuple[nn.Module, str] | None = None  # the layer and attribute that hold the given one


@dataclass
class Handler:
    """The stand-in of one quantizer, called ``name`` in the model."""

    proxy: QuantProxyFromInjector
    name: str
    layers: Mapping[int, str]  # paths of the model's modules by their ids
    bake: bool = False
    calls: list[Call] = field(default_factory=list)
    used: list[Quantization] = field(default_factory=list)
    tracing: bool = False
    next_call: int = 0

    def __call__(self, x: Tensor, *args: Any) -> tuple[Any, ...]:
        """Return the quantized value and its metadata, as the quantizer itself does."""
        if not self.tracing:
            return self._watch(x, *args)
        if self.next_call >= len(self.calls):
            raise Unsupported(
                f"{self.name}: used more often while tracing than in the forward pass before; expected a forward pass "
                "that always takes the same way. Remove the state that it depends on."
            )
        call = self.calls[self.next_call]
        self.next_call += 1
        if call.value is not None:
            x = call.value
        elif call.parameter is not None:  # the parameter itself, not the slice of it that Brevitas hands over
            x = getattr(*call.parameter)
        return (call.write(plain(x)), *(as_metadata(each) for each in call.metadata))

    def _watch(self, x: Tensor, *args: Any) -> tuple[Any, ...]:
        result: tuple[Any, ...] = self._quantizer()(x, *args)
        if x.dtype != torch.float32:
            raise Unsupported(
                f"{self.name}: quantizes {x.dtype}; QONNX quantizers compute in float32. Convert with model.float()."
            )
        if isinstance(self.proxy, TruncQuantProxyFromInjector):
            self.calls.append(self._truncation(x, result, *args))
        elif isinstance(self.proxy, ActQuantProxyFromInjectorBase):
            self.calls.append(self._activation(x, result))
        else:
            self.calls.append(self._parameter(x, result))
        return result

    def _quantizer(self) -> Any:
        fused = getattr(self.proxy, "fused_activation_quant_proxy", None)
        return self.proxy.tensor_quant if fused is None else fused.tensor_quant

    def _settings(self, result: tuple[Any, ...], rounding_mode: str) -> Quantization:
        _, scale, zero_point, bit_width = result[:4]
        is_ternary = isinstance(self._quantizer(), TernaryQuant)
        is_symmetric = is_ternary or isinstance(self._quantizer(), BinaryQuant | ClampedBinaryQuant)
        return written_as(
            scale,
            zero_point,
            bit_width,
            signed=is_symmetric or bool(self.proxy.is_signed),
            narrow=is_ternary or bool(self.proxy.is_narrow_range),
            rounding_mode=rounding_mode,
            name=self.name,
        )

    def _activation(self, x: Tensor, result: tuple[Any, ...]) -> Call:
        quantizer = self._quantizer()
        settings = self._settings(result, _rounding(self.proxy, self.name))
        if getattr(quantizer, "threshold", 0.5) != 0.5:
            raise Unsupported(
                f"{self.name}: its ternary threshold is {quantizer.threshold} of the scale; QONNX rounds at 0.5 of it. "
                "Set threshold = 0.5; for weights any threshold will do."
            )
        chosen = of_activation(settings, x, result[0], lambda values: quantizer(values)[0], self.name)
        chosen = self._shared(chosen)
        return Call(lambda value: chosen(value, self.name), _detached(result[1:]))

    def _shared(self, chosen: Quantization) -> Quantization:
        """Return an earlier, equal Quantization of this quantizer, so that its numbers are written once."""
        same = (each for each in self.used if each.is_same_as(chosen))
        found = next(same, chosen)
        self.used.append(found)
        return found

    def _parameter(self, x: Tensor, result: tuple[Any, ...]) -> Call:
        settings = self._settings(result, "ROUND")
        chosen, from_given = of_parameter(settings, x, result[0], self.name)
        owner = self._owner(x)
        name = "" if owner is None else ".".join(filter(None, [self.layers.get(id(owner[0]), ""), owner[1]]))
        chosen = self._shared(chosen)
        call = Call(lambda value: chosen(value, self.name, name), _detached(result[1:]))
        if from_given and not self.bake and owner is not None:
            call.parameter = owner
        else:
            of_parameter(chosen, result[0], result[0], self.name)
            call.value = result[0].detach().clone()
        return call

    def _owner(self, x: Tensor) -> tuple[nn.Module, str] | None:
        """Return the layer and attribute whose parameter ``x`` is, or None where it is computed from others."""
        attribute = "bias" if isinstance(self.proxy, BiasQuantProxyFromInjectorBase) else "weight"
        for layer in self.proxy.tracked_module_list:
            parameter = layer._parameters.get(attribute)
            if parameter is not None and parameter.data_ptr() == x.data_ptr() and parameter.shape == x.shape:
                return layer, attribute
        return None

    def _truncation(self, x: Tensor, result: tuple[Any, ...], *args: Any) -> Call:
        _, out_scale, _, out_bit_width = result[:4]
        scale, zero_point, bit_width, signed = args
        numbers = [scalar_if_one(each) for each in (scale, zero_point, bit_width, out_scale, out_bit_width)]
        rounding_mode = _rounding(self.proxy, self.name)

        def write(value: Tensor) -> Tensor:
            narrow = bool(self.proxy.is_narrow_range)
            return traced_ops.trunc(value, *numbers, bool(signed), narrow, rounding_mode, self.name)

        if not torch.equal(write(x), result[0]):
            raise Unsupported(
                f"{self.name}: QONNX Trunc gives other numbers than this truncation on the example input; expected the "
                "same. Use TruncTo8bit from brevitas.quant with a power-of-two output scale."
            )
        return Call(write, _detached(result[1:]))


def _detached(metadata: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.detach().clone() if isinstance(each, Tensor) else each for each in metadata)


def _rounding(proxy: QuantProxyFromInjector, name: str) -> str:
    mode = str(proxy.rounding_mode or "ROUND").upper()
    if mode not in _ROUNDINGS:
        raise Unsupported(_rounding_reason(name, mode))
    return _ROUNDINGS[mode]


def _rounding_reason(name: str, mode: str) -> str:
    return (
        f"{name}: rounding mode is {mode}; QONNX has {', '.join(_ROUNDINGS)} of Brevitas' modes. "
        "Set float_to_int_impl_type to one of them."
    )


class Handlers:
    """The stand-ins of all quantizers of a model. Installing them is undone by `state.preserved`."""

    def __init__(self, model: nn.Module, *, bake_weights: bool = False) -> None:
        self._handlers: list[Handler] = []
        layers = {id(module): name for name, module in model.named_modules()}
        for name, proxy in enabled_quantizers(model):
            bake = bake_weights and isinstance(proxy, WeightQuantProxyFromInjectorBase)
            handler = Handler(proxy, name, layers, bake)
            proxy.export_handler = handler
            proxy._export_mode = True  # the property's setter would warn and prepare Brevitas' own handlers
            self._handlers.append(handler)

    def start_tracing(self) -> None:
        """Emit operators from now on."""
        for handler in self._handlers:
            handler.tracing = True

    def rewind(self) -> None:
        """Expect the calls of a forward pass from its beginning."""
        for handler in self._handlers:
            handler.next_call = 0


def enabled_quantizers(model: nn.Module) -> Iterator[tuple[str, QuantProxyFromInjector]]:
    """Yield path and quantizer, each quantizer once, that take part in the forward pass."""
    for name, module in model.named_modules():
        if isinstance(module, QuantProxyFromInjector) and module.is_quant_enabled:
            yield name, module


def require_supported(model: nn.Module) -> None:
    """Check what can be told from the model without running it.

    Raises:
        Unsupported: lists every layer and quantizer without an exact counterpart, with path, class and a way out.
    """
    reasons = []
    if config.JIT_ENABLED:
        reasons.append(
            "BREVITAS_JIT is on, so the quantizers are compiled; expected plain modules. Save the state_dict, and load "
            "it and export in a process with BREVITAS_JIT=0."
        )
    for name, module in model.named_modules():
        reason = _refusal(name or type(module).__name__, module)
        if reason is not None:
            reasons.append(reason)
    if reasons:
        raise Unsupported(f"{type(model).__name__}: cannot be written exactly as QONNX.", reasons)


def _refusal(name: str, module: nn.Module) -> str | None:
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        return f"{name} ({kind}): a compiled TorchScript module; expected Python modules. Export before compiling."
    if isinstance(module, QuantRecurrentLayerMixin):
        return f"{name} ({kind}): recurrent layers have no QONNX form yet. Unroll the steps with QuantLinear layers."
    if not isinstance(module, QuantProxyFromInjector) or not module.is_quant_enabled:
        return None
    if module.is_groupwise:
        return (
            f"{name} ({kind}): one scale for each group of values (MX); QONNX scales are per tensor or per channel. "
            "Use a per-channel quantizer, such as Int8WeightPerChannelFloat."
        )
    if isinstance(module, DynamicActQuantProxyFromInjector):
        return (
            f"{name} ({kind}): the scale is computed from each input; QONNX scales are constants. "
            "Use a static quantizer, such as Int8ActPerTensorFloat."
        )
    mode = str(module.rounding_mode or "ROUND").upper()
    is_parameter = isinstance(module, WeightQuantProxyFromInjectorBase | BiasQuantProxyFromInjectorBase)
    if mode == "STOCHASTIC_ROUND" or (mode not in _ROUNDINGS and not is_parameter):
        return _rounding_reason(f"{name} ({kind})", mode)
    known = ActQuantProxyFromInjector | TruncQuantProxyFromInjector | BiasQuantProxyFromInjectorBase
    if "Float" in kind or not isinstance(module, known | WeightQuantProxyFromInjectorBase):
        return (
            f"{name} ({kind}): not an integer quantizer; this version writes integer, binary and ternary ones. "
            "Use an integer quantizer, such as Int8WeightPerTensorFloat or Int8ActPerTensorFloat."
        )
    return None


def annotate_failure(error: Exception, where: str, doing: str, way_out: str) -> QonnxError:
    """Return ``error`` as an Unsupported that says in which module it came up."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Unsupported(f"{where}: {doing} failed with {type(error).__name__}: {first_line} {way_out}")

"""Integer layers as an hls4ml layer list in which every type is exact.

Every tensor is a row of integers in ``fixed<w,w>`` (hls4ml's integer types would take its special products for two-bit
weights), as wide as range analysis proves it to be; accumulators hold every partial sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from backend_hls4ml.options import Options
from qonnx_core.eda.sv import sv_identifier
from qonnx_core.errors import Unsupported
from qonnx_core.passes.streamline import view

IntArray = npt.NDArray[np.int64]

EXACT_BITS = 53
"""The emulation travels in doubles: wider integers are refused."""

_STREAM_READERS = 7

_ROUNDINGS = {
    "ROUND": "round_half_even",
    "FLOOR": "round_floor",
    "CEIL": "round_ceil",
    "UP": "round_up",
    "DOWN": "round_down",
    "HALF_UP": "round_half_up",
    "HALF_DOWN": "round_half_down",
}


@dataclass
class LayerList:
    """What `ModelGraph.from_layer_list` takes: layers, their configuration by name, names of inputs and outputs."""

    layers: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def integer_bits(lo: int, hi: int) -> tuple[int, bool]:
    """Return the bits and signedness of the smallest type for ``lo .. hi``; a signed type has at least two bits."""
    if lo >= 0:
        return max(1, int(hi).bit_length()), False
    return max(2, 1 + max(int(hi).bit_length(), int(-lo - 1).bit_length())), True


def precision_text(lo: int, hi: int) -> str:
    """Return hls4ml's name of the smallest integer type for ``lo .. hi``, as fixed point without fraction."""
    bits, signed = integer_bits(lo, hi)
    if bits > EXACT_BITS:
        raise Unsupported(
            f"hls4ml: a value ranges over {lo} .. {hi}, which takes {bits} bits; at most {EXACT_BITS} are emulated "
            "exactly. Use fewer bits for weights or activations."
        )
    return f"{'' if signed else 'u'}fixed<{bits},{bits}>"


def build_layer_list(
    inputs: Sequence[view.IntTensor],
    outputs: Sequence[view.IntTensor],
    layers: Sequence[view.Layer],
    options: Options,
) -> LayerList:
    """Return the layers as hls4ml's; names are sanitized and numbered, reshapes are names only.

    Raises:
        Unsupported: with every layer that has no counterpart and the reason.
    """
    result = LayerList()
    names: dict[str, str] = {}
    reasons: list[str] = []
    for number, tensor in enumerate(inputs):
        name = f"input{number}"
        names[tensor.name] = name
        precision = precision_text(*_range(tensor))
        result.layers.append(
            {
                "class_name": "InputLayer",
                "name": name,
                "inputs": [],
                "outputs": [name],
                "input_shape": [tensor.elements],
            }
        )
        result.config[name] = {"Precision": {"result": precision}}
        result.inputs.append(name)
    for number, layer in enumerate(layers):
        sources = [names[tensor.name] for tensor in view.inputs_of(layer)]
        if isinstance(layer, view.Reshape):
            names[layer.output.name] = sources[0]
            continue
        name = f"layer{number}_{sv_identifier(layer.name)}"
        try:
            description, precision_of = _describe(layer)
        except Unsupported as error:
            reasons.append(f"{layer.name}: {error}")
            names[layer.output.name] = name
            continue
        names[layer.output.name] = name
        result.layers.append({"name": name, "inputs": sources, "outputs": [name], **description})
        result.config[name] = {
            "Precision": precision_of,
            "Strategy": options.strategy,
            "ReuseFactor": options.reuse_factor,
        }
    if reasons:
        raise Unsupported("hls4ml: the part has layers without an exact counterpart", reasons)
    result.outputs = [names[tensor.name] for tensor in outputs]
    if options.io_type == "io_stream":
        _check_readers(result)
    _check_outputs(result)
    return result


def _check_readers(result: LayerList) -> None:
    readers = Counter([*result.outputs, *(name for layer in result.layers for name in layer["inputs"])])
    reasons = [f"{name}: has {count} readers" for name, count in readers.items() if count > _STREAM_READERS]
    if reasons:
        raise Unsupported(
            f"hls4ml: io_stream copies a tensor for at most {_STREAM_READERS} readers; "
            "use the option io_type: io_parallel",
            reasons,
        )


def _check_outputs(result: LayerList) -> None:
    if len(set(result.outputs)) < len(result.outputs) or set(result.outputs) & set(result.inputs):
        raise Unsupported(
            "hls4ml: an output of the part is one of its inputs, or two outputs are the same tensor; "
            "hls4ml needs a layer for each output. Move the border of the part."
        )


def _range(tensor: view.IntTensor) -> tuple[int, int]:
    """Return the range of a tensor's type united with the proven one: a type holds all that its port carries."""
    lo, hi = int(np.min(tensor.lo)), int(np.max(tensor.hi))
    return min(lo, int(tensor.datatype.min)), max(hi, int(tensor.datatype.max))


def _describe(layer: view.Layer) -> tuple[dict[str, Any], dict[str, str]]:
    match layer:
        case view.MatMul():
            return _dense(layer)
        case view.Add():
            precision = precision_text(*_range(layer.output))
            return {"class_name": "Merge", "op": "add"}, {"result": precision}
        case view.Thresholds():
            return _thresholds(layer)
        case view.Requantize():
            return _requantize(layer)
        case view.Scale():
            factor = np.asarray(layer.factor, dtype=np.int64).reshape(-1)
            return _affine(layer, factor, np.zeros(1, dtype=np.int64))
        case view.AddConstant():
            constant = np.asarray(layer.constant, dtype=np.int64).reshape(-1)
            return _affine(layer, np.ones(1, dtype=np.int64), constant)
        case view.LabelSelect():
            return _label_select(layer)
        case _:
            raise Unsupported(f"{type(layer).__name__} has no hls4ml layer here")


def _dense(layer: view.MatMul) -> tuple[dict[str, Any], dict[str, str]]:
    rows, columns = layer.weights.shape
    if layer.input.elements != rows:
        raise Unsupported(
            f"multiplies {layer.input.elements // rows} rows a frame; hls4ml's Dense takes one. "
            "Flatten the tensor or give the layer to another backend"
        )
    bias = np.zeros(columns, dtype=np.int64) if layer.bias is None else np.asarray(layer.bias, dtype=np.int64)
    weights = np.asarray(layer.weights, dtype=np.int64)
    lo = np.resize(np.asarray(layer.input.lo, dtype=np.int64), rows)[:, None]
    hi = np.resize(np.asarray(layer.input.hi, dtype=np.int64), rows)[:, None]
    products = np.stack([weights * lo, weights * hi])
    lowest = int((np.minimum(products.min(0), 0).sum(0) + np.minimum(bias, 0)).min())
    highest = int((np.maximum(products.max(0), 0).sum(0) + np.maximum(bias, 0)).max())
    description = {
        "class_name": "Dense",
        "n_in": rows,
        "n_out": columns,
        "weight_data": weights.astype(np.float64),
        "bias_data": bias.astype(np.float64),
        "use_bias": layer.bias is not None,
    }
    precision = {
        "weight": precision_text(int(weights.min()), int(weights.max())),
        "bias": precision_text(int(bias.min()), int(bias.max())),
        "accum": precision_text(lowest, highest),
        "result": precision_text(*_range(layer.output)),
    }
    return description, precision


def _element_wise(layer: view.Layer, class_name: str) -> dict[str, Any]:
    count = view.inputs_of(layer)[0].elements
    return {
        "class_name": class_name,
        "n_in": count,
        "n_out": layer.output.elements,
        "output_precision": _precision(*_range(layer.output)),
    }


def _precision(lo: int, hi: int) -> Any:
    from hls4ml.model.types import FixedPrecisionType

    precision_text(lo, hi)  # refuses what is too wide
    bits, signed = integer_bits(lo, hi)
    return FixedPrecisionType(bits, bits, signed)


def _thresholds(layer: view.Thresholds) -> tuple[dict[str, Any], dict[str, str]]:
    table = np.asarray(layer.thresholds, dtype=np.int64)
    lo, hi = _range(layer.input)
    clipped = np.clip(table, lo, hi + 1)  # never more bits than the comparison needs
    return {
        **_element_wise(layer, "MultiThreshold"),
        "n_channels": len(table),
        "n_thr": table.shape[1],
        "base": layer.base,
        "step": layer.step,
        "threshold_data": clipped.astype(np.float64),
        "threshold_precision": _precision(int(clipped.min(initial=0)), int(clipped.max(initial=0))),
    }, {}


def _requantize(layer: view.Requantize) -> tuple[dict[str, Any], dict[str, str]]:
    if layer.rounding not in _ROUNDINGS:
        raise Unsupported(f"rounding mode {layer.rounding!r}; expected one of {', '.join(_ROUNDINGS)}")
    bits, _ = integer_bits(*_range(layer.input))
    limits, _ = integer_bits(min(layer.lo, 0), layer.hi)
    return {
        **_element_wise(layer, "IntegerRequantize"),
        "shift": layer.shift,
        "rounding": _ROUNDINGS[layer.rounding],
        "lo": layer.lo,
        "hi": layer.hi,
        "wide_bits": max(bits + max(0, -layer.shift), layer.shift, limits) + 3,
    }, {}


def _affine(
    layer: view.Scale | view.AddConstant, factor: IntArray, constant: IntArray
) -> tuple[dict[str, Any], dict[str, str]]:
    channels = max(len(factor), len(constant))
    return {
        **_element_wise(layer, "IntegerAffine"),
        "n_channels": channels,
        "factor_data": np.resize(factor, channels).astype(np.float64),
        "factor_precision": _precision(int(factor.min()), int(factor.max())),
        "constant_data": np.resize(constant, channels).astype(np.float64),
        "constant_precision": _precision(int(constant.min()), int(constant.max())),
    }, {}


def _label_select(layer: view.LabelSelect) -> tuple[dict[str, Any], dict[str, str]]:
    if layer.input.elements != layer.input.channels:
        raise Unsupported(
            f"selects in {layer.input.elements // layer.input.channels} rows a frame; one row is built. "
            "Flatten the tensor"
        )
    return {**_element_wise(layer, "LabelSelect"), "k": layer.k, "largest": bool(layer.largest)}, {}

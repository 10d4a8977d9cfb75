"""Compares a written graph with the model that it came from.

The model runs in evaluation mode, the graph through `qonnx_core.compile_model`; every sample gets one of the four
classes of `qonnx_core.verify`: equal, rounding, boundary, mismatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from brevitas.nn.mixin.base import QuantLayerMixin
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.quant_tensor import QuantTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from export_brevitas.signature import ExampleCall, output_tensors
from export_brevitas.state import evaluating
from qonnx_core import compile_model
from qonnx_core.errors import InvalidInput, Mismatch
from qonnx_core.verify import Check, compare_outputs

SEED = 0
SAMPLES = 32  # seeded random samples of each kind

Array = NDArray[Any]

_CHECK = "export_brevitas.check"


def verify_export(model: nn.Module, onnx_model: ir.Model, inputs: Any) -> Check:
    """Return the comparison of ``onnx_model`` with ``model`` on ``inputs``; it raises nothing where they differ.

    Args:
        model: the Brevitas model, left as it was found.
        onnx_model: what `export_qonnx` returned for it, or `qonnx_core.load` read.
        inputs: an array or tensor with any batch size, or a sequence or dictionary of them, one for each graph input.

    Raises:
        InvalidInput: the inputs do not fit the graph.
    """
    names = [str(value.name) for value in onnx_model.graph.inputs]
    arrays = _as_arrays(inputs, names)
    call = ExampleCall.of(model, tuple(torch.from_numpy(array) for array in arrays.values()))
    return _compare(model, onnx_model, call, arrays)


def attach_check(model: ir.Model, check: Check) -> None:
    """Remember ``check`` as the result of verifying ``model``; it is not written to a file."""
    model.meta[_CHECK] = check


def check_of(model: ir.Model) -> Check | None:
    """Return the result of verifying a model that `export_qonnx` returned, or None where it was not verified."""
    found = model.meta.get(_CHECK)
    return found if isinstance(found, Check) else None


def verify_call(model: nn.Module, onnx_model: ir.Model, call: ExampleCall, inputs: Any) -> Check:
    """Return the comparison on the example call and on ``inputs``, or on a seeded sample where there are none.

    Raises:
        Mismatch: names the first layer that differs.
    """
    names = [str(value.name) for value in onnx_model.graph.inputs]
    example = {name: each.cpu().numpy() for name, each in zip(names, call.tensors, strict=True)}
    batches = [example]
    if inputs is not None:
        batches.append(_as_arrays(inputs, names))
    else:
        batches += _samples(example, onnx_model)
    checks = []
    for batch in batches:
        check = _compare(model, onnx_model, call, batch)
        if not check.passed:
            layer = first_differing_layer(model, onnx_model, call, batch)
            raise Mismatch(
                f"{layer or type(model).__name__}: {check.mismatch} of {check.samples} samples differ; expected none "
                f"({check}{_notes(check)}). Compare with verify_export, or look at the graph with verify=False."
            )
        checks.append(check)
    return _numbered(checks)


def _notes(check: Check) -> str:
    """Return what limits a comparison, shortened: an operator without error bound lets rounding look like a defect."""
    more = f" and {len(check.notes) - 1} more" if len(check.notes) > 1 else ""
    return f"; {check.notes[0]}{more}" if check.notes else ""


def _numbered(checks: Sequence[Check]) -> Check:
    """Return one check over all, with sample numbers that count through."""
    merged, start = [], 0
    for check in checks:
        first = None if check.first is None else replace(check.first, sample=check.first.sample + start)
        cases = tuple(replace(case, sample=case.sample + start) for case in check.boundary_cases)
        merged.append(replace(check, first=first, boundary_cases=cases))
        start += check.samples
    return Check.merge(merged)


def first_differing_layer(
    model: nn.Module, onnx_model: ir.Model, call: ExampleCall, batch: Mapping[str, Array]
) -> str | None:
    """Return the first quantizer or layer in the order of the graph whose result differs visibly, None if none does."""
    seen: dict[str, Array] = {}
    paths = {id(module): name for name, module in model.named_modules()}

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        value = output.value if isinstance(output, QuantTensor) else output
        if isinstance(value, Tensor):
            seen.setdefault(paths.get(id(module), ""), value.detach().cpu().numpy())

    with evaluating(model):
        for module in filter(_is_one_node, model.modules()):
            module.register_forward_hook(keep)
        _run(model, call, batch)
    produced = {str(node.name): str(node.outputs[0].name) for node in onnx_model.graph if node.name in seen}
    found = compile_model(onnx_model).run(dict(batch), intermediates=list(produced.values()))
    for layer, tensor in produced.items():
        expected = seen[layer]
        if expected.shape != found[tensor].shape or not np.allclose(found[tensor], expected, rtol=1e-3, atol=1e-5):
            return layer
    return None


def _compare(model: nn.Module, onnx_model: ir.Model, call: ExampleCall, batch: Mapping[str, Array]) -> Check:
    with evaluating(model):
        results = [each.cpu().numpy() for _, each in output_tensors(_run(model, call, batch))]
    expected = {str(value.name): result for value, result in zip(onnx_model.graph.outputs, results, strict=True)}
    return compare_outputs(onnx_model, dict(batch), expected, left="Brevitas", right="QONNX")


def _is_one_node(module: nn.Module) -> bool:
    """Return whether the node with the module's name computes the module's whole result."""
    if isinstance(module, QuantProxyFromInjector):
        return bool(module.is_quant_enabled)
    if isinstance(module, QuantWeightBiasInputOutputLayer):
        return not module.output_quant.is_quant_enabled
    return not isinstance(module, QuantLayerMixin) and not list(module.children())


def _run(model: nn.Module, call: ExampleCall, batch: Mapping[str, Array]) -> Any:
    device = call.tensors[0].device
    args, kwargs = call.arguments([torch.from_numpy(np.array(array)).to(device) for array in batch.values()])
    return model(*args, **kwargs)


def _as_arrays(inputs: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return inputs under the graph's names."""
    if isinstance(inputs, QuantTensor):
        inputs = inputs.value
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    elif isinstance(inputs, np.ndarray | Tensor):
        given = {names[0]: inputs}
    else:
        given = dict(zip(names, inputs, strict=False)) if len(inputs) == len(names) else {}
    if set(given) != set(names):
        raise InvalidInput(
            f"verify_inputs: found {sorted(map(str, given)) or type(inputs).__name__}; expected one array for each of "
            f"the graph's inputs {list(names)}. Give a dictionary with these names."
        )
    return {name: _as_array(given[name]) for name in names}


def _as_array(value: Any) -> Array:
    if isinstance(value, QuantTensor):
        value = value.value
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _samples(example: Mapping[str, Array], onnx_model: ir.Model) -> list[dict[str, Array]]:
    """Return seeded batches: normal, wide, over the example's range, and whole numbers in it.

    An input of integers is repeated, because what its values mean is not known.
    """
    is_dynamic = all(
        value.shape is not None and len(value.shape) > 0 and not isinstance(value.shape[0], int)
        for value in onnx_model.graph.inputs
    )
    random = np.random.default_rng(SEED)
    batches: list[dict[str, Array]] = []
    for kind in ("normal", "wide", "range", "whole"):
        batch = {}
        for name, array in example.items():
            shape = (SAMPLES, *array.shape[1:]) if is_dynamic else array.shape
            batch[name] = _sample(random, kind, array, shape)
        batches.append(batch)
    return batches


def _sample(random: np.random.Generator, kind: str, example: Array, shape: tuple[int, ...]) -> Array:
    if example.dtype.kind != "f":
        return np.resize(example, shape)
    low, high = (float(example.min()), float(example.max())) if example.size else (0.0, 0.0)
    if low == high:
        low, high = min(low, 0.0), max(high, 1.0)
    match kind:
        case "normal":
            made = random.standard_normal(shape)
        case "wide":
            made = random.standard_normal(shape) * 2.0 * max(abs(low), abs(high))
        case "range":
            made = random.uniform(low, high, shape)
        case _:
            made = np.rint(random.uniform(np.floor(low), np.ceil(high), shape))
    return made.astype(example.dtype)

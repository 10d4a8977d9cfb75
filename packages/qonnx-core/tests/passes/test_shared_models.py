"""Every pass of the catalog keeps every bit of the models that other tools trained and exported."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.passes.base import Pass
from qonnx_core.passes.catalog import catalog
from qonnx_core.testing import shared_file

Array = NDArray[Any]
# A Brevitas perceptron, a QKeras perceptron, and a residual network of an old exporter (onnx.brevitas, opset 14).
MODELS = ["zoo/TFC_1W2A", "zoo/qkeras_jettagging", "nn2fpga/resnet8_a8w8b16"]
CHANGES_BY_DESIGN = {
    "append_argmax": "the output is the index of the largest one afterwards",
    "insert_topk": "the outputs are the indices of the largest ones afterwards",
}
CHANNELS_LAST_INPUT = "make_inputs_channels_last"  # the same values for the input with its channels last


@functools.cache
def shared(name: str) -> tuple[ir.Model, Array, Array]:
    """Return the model, its inputs, and the outputs that are stored with it."""
    data = np.load(shared_file(f"models/{name}.npz"))
    return qonnx_core.load(shared_file(f"models/{name}.onnx")), data["x"], data["y"]


def run(model: ir.Model, x: Array, *, one_by_one: bool) -> Array:
    compiled = qonnx_core.compile_model(model)
    (name,) = compiled.input_names
    parts = [x[index : index + 1] for index in range(len(x))] if one_by_one else [x]
    return np.concatenate([compiled.run({name: part})[compiled.output_names[0]] for part in parts])


@pytest.mark.parametrize("clean", [False, True], ids=["as it is", "cleaned"])
@pytest.mark.parametrize("name", MODELS)
def test_every_pass_keeps_the_stored_outputs(name: str, clean: bool) -> None:
    model, x, y = shared(name)
    source = qonnx_core.cleanup_model(model) if clean else model
    ran = 0
    for key, entry in catalog().items():
        if key in CHANGES_BY_DESIGN or any(argument.required for argument in entry.arguments):
            continue
        changed = source.clone()
        step: Pass = entry.factory()
        step.run(changed)
        given = np.moveaxis(x, 1, -1) if key == CHANNELS_LAST_INPUT and x.ndim == 4 else x
        np.testing.assert_array_equal(run(changed, given, one_by_one=False), y, err_msg=f"{key} of {name}")
        few = slice(0, 4)
        np.testing.assert_array_equal(run(changed, given[few], one_by_one=True), y[few], err_msg=f"{key} of {name}")
        ran += 1
    assert ran > 30


@pytest.mark.parametrize("name", MODELS)
def test_all_passes_one_after_the_other_keep_the_stored_outputs(name: str) -> None:
    model, x, y = shared(name)
    changed = qonnx_core.cleanup_model(model)
    for key, entry in catalog().items():
        if key not in (*CHANGES_BY_DESIGN, CHANNELS_LAST_INPUT) and not any(a.required for a in entry.arguments):
            step: Pass = entry.factory()
            step.run(changed)
    np.testing.assert_array_equal(run(changed, x, one_by_one=False), y)


@pytest.mark.parametrize("name", MODELS)
def test_cleaning_and_both_conversions_keep_the_stored_outputs(name: str) -> None:
    from qonnx_core.formats.from_qcdq import from_qcdq
    from qonnx_core.formats.plain import lower_to_plain_onnx
    from qonnx_core.formats.to_qcdq import to_qcdq

    model, x, y = shared(name)
    there = to_qcdq(model, partial=True).model
    for changed in (lower_to_plain_onnx(model), there, from_qcdq(there).model):
        np.testing.assert_array_equal(run(changed, x, one_by_one=False), y)


def test_what_changes_values_by_design_is_in_the_catalog() -> None:
    assert catalog().keys() >= {*CHANGES_BY_DESIGN, CHANNELS_LAST_INPUT}

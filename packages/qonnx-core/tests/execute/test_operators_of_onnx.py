"""The examples of every standard operator that come with the ``onnx`` package: loaded, run, and run once cleaned up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.errors import QonnxError
from qonnx_core.formats.reader import load_bytes
from qonnx_core.testing.onnx_examples import Example, WithoutOptimizations, onnx_examples

Array = NDArray[Any]
PARTS = 8
REFUSED = ("is a sequence of tensors", "expected 7 or newer", "is of opset 8")
# onnxruntime computes operators of float16 in float32, and rounds between two of them only where one is folded.
ROUNDED_BETWEEN = ("test_attention_4d_fp16_expanded", "test_attention_4d_causal_fp16_expanded",
                   "test_attention_4d_gqa_with_past_and_present_fp16_expanded")  # fmt: skip


def differences(case: Example) -> list[str]:
    inputs = list(case.inputs.values())
    expected = WithoutOptimizations(case.model).run(case.inputs)
    try:
        model = load_bytes(case.model.SerializeToString())
        compiled = qonnx_core.compile_model(model)
        found = list(compiled.run(dict(zip(compiled.input_names, inputs, strict=True))).values())
        if expected is None:
            return []
        cleaned = qonnx_core.compile_model(qonnx_core.cleanup_model(model))
        again = list(cleaned.run(dict(zip(cleaned.input_names, inputs, strict=True))).values())
    except QonnxError as error:
        refused = expected is None or any(text in str(error) for text in REFUSED)
        return [] if refused else [f"{case.name}: {error}"]
    pairs = [("cleaned", again, found)]
    if case.name not in ROUNDED_BETWEEN:
        pairs.append(("as it is", found, expected))
    return [
        f"{case.name}, {how}: {left} instead of {right}"
        for how, lefts, rights in pairs
        for left, right in zip(lefts, rights, strict=True)
        if isinstance(right, np.ndarray) and not same(left, right)
    ]


def same(left: Array, right: Array) -> bool:
    alike = left.shape == right.shape and left.dtype == right.dtype
    return alike and bool(np.array_equal(left, right, equal_nan=right.dtype.kind == "f"))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_example_runs_as_onnxruntime_runs_it_or_is_refused(part: int) -> None:
    examples = onnx_examples()[part::PARTS]
    assert len(examples) > 150
    found = [text for case in examples for text in differences(case)]
    assert not found, "\n".join(found)

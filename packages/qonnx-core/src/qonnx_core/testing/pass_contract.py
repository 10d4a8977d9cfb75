"""The contract that every pass keeps; run it on yours as ``check_pass(MyPass(), model, inputs)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.verify import verify
from qonnx_core.passes.base import Pass


def check_pass(
    step: Pass, model: ir.Model, inputs: Mapping[str, NDArray[Any]], *, min_edits: int = 0, renames: bool = False
) -> ir.Model:
    """Return the model after the pass, having checked that it kept its contract.

    The graph stays valid, inputs and outputs keep their names (unless the pass ``renames``) and values to the bit, at
    least ``min_edits`` edits are reported, and a second run reports none and changes no byte.

    Raises:
        AssertionError: with what is different.
    """
    changed = model.clone()
    edits = step.run(changed)
    assert edits >= min_edits, f"{step.name}: reports {edits} edits, expected at least {min_edits}"
    verify(changed)
    before, after = compile_model(model), compile_model(changed)
    if not renames:
        assert after.input_names == before.input_names, f"{step.name}: inputs are {after.input_names} now"
        assert after.output_names == before.output_names, f"{step.name}: outputs are {after.output_names} now"
    expected = before.run(inputs)
    found = after.run({new: inputs[old] for old, new in zip(before.input_names, after.input_names, strict=True)})
    for old, new in zip(before.output_names, after.output_names, strict=True):
        same = np.array_equal(found[new], expected[old], equal_nan=expected[old].dtype.kind == "f")
        assert same, f"{step.name}: output {old} was {expected[old]} and is {found[new]}"
    once = serialize(changed)
    again = step.run(changed)
    assert again == 0, f"{step.name}: a second run reports {again} edits, expected none"
    assert serialize(changed) == once, f"{step.name}: a second run changes the model"
    return changed

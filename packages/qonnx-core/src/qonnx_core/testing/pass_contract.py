"""The contract that every pass keeps; run it on yours as ``check_pass(MyPass(), model, inputs)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.verify import verify
from qonnx_core.passes.base import Pass

Arrays = Sequence[NDArray[Any]]


def check_pass(
    step: Pass,
    model: ir.Model,
    inputs: Mapping[str, NDArray[Any]],
    *,
    min_edits: int = 0,
    renames: bool = False,
    feed: Callable[[ir.Model, Arrays], Arrays] | None = None,
    answer: Callable[[Arrays], Arrays] | None = None,
    like: ir.Model | None = None,
) -> ir.Model:
    """Return the model after the pass, having checked that it kept its contract.

    The graph stays valid, a model of which it is a copy stays as it was, inputs and outputs keep their names (unless
    the pass ``renames``) and values to the bit, at least ``min_edits`` edits are reported, and a second run reports
    none and changes no byte. The checker of ``onnx`` accepts the result. Outputs that the pass adds come behind the
    others.

    Args:
        step: the pass.
        model: the model; it is not changed.
        inputs: values for its inputs.
        min_edits: how many edits the pass reports at least.
        renames: whether inputs and outputs have other names afterwards.
        feed: what the changed model, the first argument, gets in place of the arrays that the model gets.
        answer: what the changed model answers in place of the arrays that the model answers.
        like: a model that says the values in place of this one.

    Raises:
        AssertionError: with what is different.
    """
    before, changed = serialize(model), model.clone()
    edits = step.run(changed)
    assert edits >= min_edits, f"{step.name}: reports {edits} edits, expected at least {min_edits}"
    assert serialize(model) == before, f"{step.name}: changes the model of which it was given a copy"
    verify(changed)
    once = serialize(changed)
    if edits or before != once:
        onnx.checker.check_model(once)
        _check_values(step, model if like is None else like, changed, inputs, renames, feed, answer)
    again = step.run(changed)
    assert again == 0, f"{step.name}: a second run reports {again} edits, expected none"
    assert serialize(changed) == once, f"{step.name}: a second run changes the model"
    return changed


def _check_values(
    step: Pass,
    model: ir.Model,
    changed: ir.Model,
    inputs: Mapping[str, NDArray[Any]],
    renames: bool,
    feed: Callable[[ir.Model, Arrays], Arrays] | None,
    answer: Callable[[Arrays], Arrays] | None,
) -> None:
    before, after = compile_model(model), compile_model(changed)
    names = after.output_names[: len(before.output_names)]
    if not renames:
        assert after.input_names == before.input_names, f"{step.name}: inputs are {after.input_names} now"
        assert names == before.output_names, f"{step.name}: outputs are {after.output_names} now"
    expected: Arrays = list(before.run(inputs).values())
    given: Arrays = [inputs[name] for name in before.input_names]
    found = after.run(dict(zip(after.input_names, given if feed is None else feed(changed, given), strict=True)))
    expected = expected if answer is None else answer(expected)
    for old, new, array in zip(before.output_names, names, expected, strict=True):
        same = np.array_equal(found[new], array, equal_nan=array.dtype.kind == "f")
        assert same, f"{step.name}: output {old} was {array} and is {found[new]}"

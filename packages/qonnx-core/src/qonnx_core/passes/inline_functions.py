"""Puts the bodies of functions that a model brings along in the place of their calls."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass


@dataclass(frozen=True)
class InlineFunctions:
    """Leave no function in the model; our own operators are not functions here and stay."""

    name: str = "inline_functions"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of functions that were inlined."""
        count = len(model.functions)
        if count:
            InlinePass()(model)
            model.functions.clear()
        return count

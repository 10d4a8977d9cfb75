"""Finds the rule that bounds the float32 error of an operator."""

from __future__ import annotations

import onnx_ir as ir

from qonnx_core.ops import channels_last
from qonnx_core.ops.op import DOMAIN
from qonnx_core.verify.float_movement import MOVEMENT
from qonnx_core.verify.float_ops import ARITHMETIC
from qonnx_core.verify.float_windows import CHANNELS_LAST, GENERAL, WINDOWS
from qonnx_core.verify.operands import Rule

FLOAT_RULES: dict[str, Rule] = {**ARITHMETIC, **MOVEMENT, **WINDOWS}
"""One rule for each operator of the standard domain with a known bound; a rule raises `NoBound` where not."""

_BY_DOMAIN = {"": FLOAT_RULES, "ai.onnx": FLOAT_RULES, DOMAIN: GENERAL, channels_last.CHANNELS_LAST: CHANNELS_LAST}


def float_rule(node: ir.Node) -> Rule | None:
    """Return the rule of a node's operator, or None where no bound is known."""
    return _BY_DOMAIN.get(node.domain, {}).get(node.op_type)

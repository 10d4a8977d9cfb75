"""Cut a cleaned model into parts, one backend each: complete sub-models that compose to the whole."""

from __future__ import annotations

from qonnx_core.partition.parts import Partition, Partitioned, compose, default_mixed_rules, partition
from qonnx_core.partition.rules import HOST, Match, Rule, Rules

__all__ = [
    "HOST",
    "Match",
    "Partition",
    "Partitioned",
    "Rule",
    "Rules",
    "compose",
    "default_mixed_rules",
    "partition",
]

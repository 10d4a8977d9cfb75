"""Cut a model into parts: one for each backend, or files behind GenericPartition nodes that can come back."""

from __future__ import annotations

from qonnx_core.partition.nested import extract_partitions, insert_partitions
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
    "extract_partitions",
    "insert_partitions",
    "partition",
]

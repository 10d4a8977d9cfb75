"""Pruning of channels through a whole model: residual sums, concatenations, reshapes, grouped convolutions."""

from __future__ import annotations

from qonnx_core.passes.prune.masks import annotated_channels, read_channels
from qonnx_core.passes.prune.prune import PruneChannels, PruneReport, mask_channels, prune_channels

__all__ = ["PruneChannels", "PruneReport", "annotated_channels", "mask_channels", "prune_channels", "read_channels"]

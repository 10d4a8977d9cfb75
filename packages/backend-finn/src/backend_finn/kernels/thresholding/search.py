"""Thresholds as the binary search of `thresholding.sv` wants them: padded, clipped, by lane and stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend_finn.cost import Resources, rom
from backend_finn.kernels.base import Stage
from backend_finn.memory import Image
from backend_finn.wires import Wire, sign_extend, signed_bits_for
from qonnx_core.errors import Unsupported

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Search:
    """Sorted thresholds ``(C or 1, 2**stages - 1)`` of inputs of ``in_bits`` bits, and how a count becomes a code."""

    thresholds: IntArray
    channels: int
    stages: int
    in_bits: int
    in_signed: bool
    bits: int
    out_bits: int
    out_base: int
    out_step: int

    @staticmethod
    def of(
        name: str,
        thresholds: IntArray,
        lo: IntArray,
        hi: IntArray,
        in_format: tuple[int, bool],
        output: Wire,
        base: int,
        step: int,
    ) -> Search:
        """Return the search for ``base + step * #{t : x >= t}``, ``lo <= x <= hi`` per channel.

        Thresholds are clipped to ``lo..hi + 1``, which changes no count, and padded with ones that no input reaches.

        Raises:
            Unsupported: if a bipolar output has other values than -1 and +1.

        """
        if output.bipolar and (base, step, thresholds.shape[1]) != (-1, 2, 1):
            raise Unsupported(
                f"{name}: a BIPOLAR output of {thresholds.shape[1]} thresholds, base {base} and step {step}; "
                "expected one threshold that chooses between -1 and +1. Annotate the tensor with an integer type."
            )
        shared = thresholds.shape[0] == 1
        low = np.full((1, 1), lo.min()) if shared else lo[:, None]
        high = (np.full((1, 1), hi.max()) if shared else hi[:, None]) + 1
        stages = max(1, int(thresholds.shape[1]).bit_length())
        padding = np.broadcast_to(high, (len(high), (1 << stages) - 1 - thresholds.shape[1]))
        padded = np.concatenate([np.clip(thresholds, low, high), padding], axis=1).astype(np.int64)
        in_bits, in_signed = in_format
        bits = max(signed_bits_for(int(lo.min()), int(hi.max()) + 1), in_bits + (not in_signed))
        out_base, out_step = (0, 1) if output.bipolar else (base, step)
        return Search(padded, output.channels, stages, in_bits, in_signed, bits, output.bits, out_base, out_step)

    @property
    def shared(self) -> bool:
        """Whether all channels have the same thresholds."""
        return len(self.thresholds) == 1

    def stage(self, pe: int, prefix: str) -> Stage:
        """Return the instance of `thresholding.sv` for ``pe`` lanes."""
        return Stage(
            "thresholding",
            (
                ("Channels", self.channels),
                ("PE", pe),
                ("InBits", self.in_bits),
                ("InSigned", self.in_signed),
                ("ThresholdBits", self.bits),
                ("Stages", self.stages),
                ("Shared", self.shared),
                ("OutBits", self.out_bits),
                ("OutBase", self.out_base),
                ("OutStep", self.out_step),
                ("FilePrefix", f"{prefix}_thresholds"),
            ),
            pe * self.out_bits,
        )

    def images(self, pe: int, prefix: str) -> tuple[Image, ...]:
        """Return the memory of each lane and stage: for each group of channels, the thresholds of that stage."""
        lanes = 1 if self.shared else pe
        images = []
        for lane in range(lanes):
            rows = self.thresholds[lane::lanes] & ((1 << self.bits) - 1)
            for stage in range(self.stages):
                distance = 1 << (self.stages - stage)
                words = rows[:, distance // 2 - 1 :: distance]
                images.append(
                    Image(
                        f"{prefix}_thresholds_{lane}_{stage}.hex", self.bits, tuple(int(word) for word in words.ravel())
                    )
                )
        return tuple(images)

    def run(self, x: IntArray, pe: int) -> IntArray:
        """Return the codes for inputs ``(..., C)``, found by the search through the memory images."""
        lanes = 1 if self.shared else pe
        images = iter(self.images(pe, ""))
        channel = np.arange(x.shape[-1])
        lane, group = channel % lanes, (np.zeros_like(channel) if self.shared else channel // lanes)
        memories = [[np.asarray(next(images).words, np.int64) for _ in range(self.stages)] for _ in range(lanes)]
        count = np.zeros(x.shape, np.int64)
        for stage in range(self.stages):
            table = sign_extend(np.stack([memory[stage] for memory in memories]), self.bits)
            count = 2 * count + (x >= table[lane, (group << stage) + count])
        return np.asarray(self.out_base + self.out_step * count, np.int64)

    def resources(self, pe: int) -> Resources:
        """Return the estimated resources for ``pe`` lanes."""
        fold = 1 if self.shared else self.channels // pe
        lane = Resources(lut=self.out_bits * 0.5, ff=self.out_bits)
        for stage in range(self.stages):
            constant = fold << stage == 1
            lane += rom(fold << stage, self.bits)
            lane += Resources(lut=self.bits * (0.5 if constant else 0.75), ff=self.in_bits + stage)
        return Resources(lane.lut * pe + 4, lane.ff * pe + 8, lane.bram18 * pe, 0, lane.memory_bits * pe)

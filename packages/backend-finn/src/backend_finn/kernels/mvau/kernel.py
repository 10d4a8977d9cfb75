"""MVAU: a matrix-vector unit, with or without thresholds behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend_finn.cost import Resources
from backend_finn.kernels.base import IntArray, Kernel, Literal, Stage, divisors
from backend_finn.kernels.mvau.cost import mvau_resources
from backend_finn.kernels.mvau.planes import Planes, counted
from backend_finn.kernels.thresholding.search import Search
from backend_finn.memory import Image, from_bits, image_of_bits, to_bits
from backend_finn.wires import Wire, bits_for, sign_extend
from qonnx_core.passes.streamline.view import MatMul, Thresholds


@dataclass(frozen=True, eq=False, kw_only=True)
class Mvau(Kernel):
    """``output = input @ weights + bias``, or that through thresholds.

    With thresholds behind it, bias and row constants are taken from the thresholds and nothing is doubled; otherwise
    accumulators start from them (``start``, one entry for each row).
    """

    planes: Planes
    weight_datatype: str
    acc_bits: int
    acc_signed: bool
    start: IntArray | None
    search: Search | None
    simd: int = 1

    @staticmethod
    def of(layer: MatMul, thresholds: Thresholds | None = None) -> Mvau:
        """Return the kernel of a layer (and the thresholds that alone read its result), one product a cycle."""
        input_, accumulator = Wire.of(layer.input), Wire.of(layer.output)
        weights = np.asarray(layer.weights, np.int64)
        planes = Planes.of(weights, input_)
        bias = np.zeros(weights.shape[1], np.int64) if layer.bias is None else np.asarray(layer.bias, np.int64)
        start = planes.constant + bias
        if thresholds is None:
            return Mvau(
                name=layer.name, inputs=(input_,), output=accumulator, planes=planes,
                weight_datatype=str(layer.weight_datatype), acc_bits=accumulator.bits, acc_signed=accumulator.signed,
                start=start if bool(start.any()) else None, search=None,
            )  # fmt: skip
        output = Wire.of(thresholds.output)
        factor = planes.factor
        rows = np.broadcast_to(
            np.asarray(thresholds.thresholds, np.int64), (weights.shape[1], thresholds.thresholds.shape[1])
        )
        lo = -((start - accumulator.lo) // factor)  # ceil((lo - start) / factor)
        hi = (accumulator.hi - start) // factor
        acc_bits, acc_signed = bits_for(int(lo.min()), int(hi.max()))
        search = Search.of(
            layer.name, -((start[:, None] - rows) // factor), lo, hi, (acc_bits, acc_signed), output,
            int(thresholds.base), int(thresholds.step),
        )  # fmt: skip
        return Mvau(
            name=layer.name, inputs=(input_,), output=output, planes=planes, weight_datatype=str(layer.weight_datatype),
            acc_bits=acc_bits, acc_signed=acc_signed, start=None, search=search,
        )  # fmt: skip

    @property
    def op_type(self) -> str:
        """FINN's name."""
        return "MVAU"

    @property
    def mw(self) -> int:
        """Elements of the input vector."""
        return int(self.planes.codes.shape[0])

    @property
    def mh(self) -> int:
        """Elements of the output vector."""
        return int(self.planes.codes.shape[1])

    @property
    def doubled(self) -> bool:
        """Whether the unit itself counts bipolar activations twice (thresholds are halved instead)."""
        return self.planes.factor == 2 and self.search is None

    @property
    def folds(self) -> Mapping[str, int]:
        """PE rows and SIMD elements at a time."""
        return {"PE": self.pe, "SIMD": self.simd}

    @property
    def legal_folds(self) -> Mapping[str, tuple[int, ...]]:
        """Divisors of MH and of MW."""
        return {"PE": divisors(self.mh), "SIMD": divisors(self.mw)}

    @property
    def in_lanes(self) -> int:
        """SIMD elements in a word."""
        return self.simd

    @property
    def needs_whole_vector(self) -> bool:
        """True: every result is a sum over the whole vector."""
        return True

    @property
    def cycles(self) -> int:
        """``vectors * (MH / PE) * (MW / SIMD)``."""
        return self.output.vectors * (self.mh // self.pe) * (self.mw // self.simd)

    @property
    def pipeline_cycles(self) -> int:
        """Buffer, read, product, accumulator, and the thresholds."""
        buffered = 1 if self.mh // self.pe > 1 else 0
        return buffered + 3 + (self.search.stages + 1 if self.search else 0)

    @property
    def resources(self) -> Resources:
        """Products, accumulators, buffer, weights, thresholds."""
        unit = mvau_resources(
            mw=self.mw, mh=self.mh, pe=self.pe, simd=self.simd, a_bits=self.inputs[0].bits, w_bits=self.planes.bits,
            acc_bits=self.acc_bits, has_start=self.start is not None,
        )  # fmt: skip
        return unit + self.search.resources(self.pe) if self.search else unit

    @property
    def modules(self) -> tuple[str, ...]:
        """The library modules."""
        return ("replay_buffer", "mvau", *(("thresholding",) if self.search else ()))

    def stages(self, prefix: str) -> tuple[Stage, ...]:
        """Return the unit, and the thresholds behind it."""
        wire = self.inputs[0]
        parameters: tuple[tuple[str, Literal], ...] = (
            ("MW", self.mw),
            ("MH", self.mh),
            ("PE", self.pe),
            ("SIMD", self.simd),
            ("ABits", wire.bits),
            ("ASigned", wire.signed),
            ("WBits", self.planes.bits),
            ("WSigned", self.planes.signed),
            ("Xnor", self.planes.xnor),
            ("Doubled", self.doubled),
            ("AccBits", self.acc_bits),
            ("HasStart", self.start is not None),
            ("WeightFile", f"{prefix}_weights.hex"),
        )
        if self.start is not None:
            parameters += (("StartFile", f"{prefix}_start.hex"),)
        unit = Stage("mvau", parameters, self.pe * self.acc_bits)
        return (unit, self.search.stage(self.pe, prefix)) if self.search else (unit,)

    def images(self, prefix: str) -> tuple[Image, ...]:
        """Return weights, start values and threshold memories."""
        images = [self.planes.image(f"{prefix}_weights.hex", self.pe, self.simd)]
        if self.start is not None:
            words = to_bits(self.start.reshape(-1, self.pe), self.acc_bits)
            images.append(image_of_bits(f"{prefix}_start.hex", words.reshape(len(words), -1)))
        return (*images, *(self.search.images(self.pe, prefix) if self.search else ()))

    def run(self, inputs: tuple[IntArray, ...]) -> IntArray:
        """Return the results, from the weights, start values and thresholds in the memory images."""
        wire, images = self.inputs[0], self.images("")
        codes = self.planes.codes_in(images[0], self.pe, self.simd)
        total = counted(codes, wire.to_codes(inputs[0]), wire, xnor=self.planes.xnor) * (2 if self.doubled else 1)
        if self.start is not None:
            starts = images[1].bits().reshape(-1, self.acc_bits)
            total = total + from_bits(starts, signed=True)
        accumulator = total & ((1 << self.acc_bits) - 1)
        if self.acc_signed:
            accumulator = sign_extend(accumulator, self.acc_bits)
        return self.output.to_values(self.search.run(accumulator, self.pe) if self.search else accumulator)

    def operations(self) -> dict[str, int]:
        """Return multiply-accumulates, weights and thresholds."""
        counts = {
            f"op_mac_{self.inputs[0].datatype}_{self.weight_datatype}": self.output.vectors * self.mw * self.mh,
            f"param_weight_{self.weight_datatype}": self.mw * self.mh,
        }
        if self.search:
            counts[f"param_threshold_INT{self.search.bits}"] = self.search.thresholds.size
        return counts

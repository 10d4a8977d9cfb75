"""The entry points of older Brevitas tutorials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from export_brevitas.export import export_qonnx
from qonnx_core.errors import InvalidInput


class BrevitasONNXManager:
    """``BrevitasONNXManager.export(model, input_shape, path)``, as Brevitas had it before version 0.8."""

    @staticmethod
    def export(
        module: nn.Module,
        input_shape: tuple[int, ...] | None = None,
        export_path: str | Path | None = None,
        input_t: Any = None,
        **options: Any,
    ) -> ir.Model:
        """Return the QONNX model of ``module``, written to ``export_path`` if given.

        Args:
            module: the model.
            input_shape: shape of the input, batch first; a seeded random example of this shape is made.
            export_path: the file to write.
            input_t: an example input in place of ``input_shape``.
            options: further arguments of `export_qonnx`, whose errors are raised.
        """
        if (input_shape is None) == (input_t is None):
            raise InvalidInput(
                f"BrevitasONNXManager.export: input_shape is {input_shape} and input_t is "
                f"{'not ' if input_t is None else ''}given; expected one of the two. Give input_shape=(1, 784), say."
            )
        if input_shape is not None:
            generator = torch.Generator().manual_seed(0)
            input_t = torch.rand(tuple(input_shape), generator=generator)
        return export_qonnx(module, input_t, export_path, **options)


def export_brevitas_onnx(
    module: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    export_path: str | Path | None = None,
    input_t: Any = None,
    **options: Any,
) -> ir.Model:
    """Return the QONNX model of ``module``; the same as `BrevitasONNXManager.export`."""
    return BrevitasONNXManager.export(module, input_shape, export_path, input_t, **options)

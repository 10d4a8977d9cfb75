"""The plug-in that `qonnx_core` finds under the name ``brevitas``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx_ir as ir

from qonnx_core.errors import InvalidInput

_WAY_OUT = (
    "In the program that builds and loads the model, call export_brevitas.export_qonnx(model, example_input, "
    "'model.onnx'), then give model.onnx."
)


class BrevitasFrontend:
    """Reads a live Brevitas model into a verified QONNX model.

    A source is the model (a ``torch.nn.Module``), or the pair of the model and an example input.
    """

    name = "brevitas"

    def recognizes(self, source: Path | object) -> bool:
        """Return whether ``source`` is a live module, alone or with its example; files are not. Imports nothing."""
        torch_nn = sys.modules.get("torch.nn")  # a live module exists only where torch has been imported
        model, _ = _parts(source)
        return torch_nn is not None and isinstance(model, torch_nn.Module)

    def read(self, source: Path | object, args: Any = None, **options: Any) -> ir.Model:
        """Return the QONNX model of a live Brevitas model.

        Args:
            source: the ``torch.nn.Module``, or the pair of it and ``args``.
            args: an example input, as `export_qonnx` takes it; a module does not know the shape of its input.
            options: further arguments of `export_qonnx`.

        Raises:
            InvalidInput: ``source`` is a file or not a module, or ``args`` is missing.
            Unsupported: part of the model has no exact counterpart in QONNX.
            Mismatch: the written graph does not compute what the model computes.
        """
        if not self.recognizes(source):
            raise InvalidInput(
                f"{source if isinstance(source, str | Path) else type(source).__name__}: not a live torch.nn.Module; "
                f"a Brevitas model cannot be read from a file without the code that builds it. {_WAY_OUT}"
            )
        model, example = _parts(source)
        args = example if args is None else args
        if args is None:
            raise InvalidInput(
                f"{type(model).__name__}: no example input given; expected args=, because a module does not know the "
                f"shape of its input. {_WAY_OUT}"
            )
        from export_brevitas.export import export_qonnx  # imports torch

        return export_qonnx(model, args, **options)


def _parts(source: object) -> tuple[object, Any]:
    """Return a source's model and its example input, None where it has none."""
    if isinstance(source, tuple) and len(source) == 2 and not hasattr(source, "_fields"):
        return source
    return source, None


FRONTEND = BrevitasFrontend()

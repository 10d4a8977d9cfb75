"""DebugMarker: a name for a tensor that survives renaming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from qonnx_core.ir.datatypes import DataType
from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp


@dataclass(frozen=True)
class DebugMarker(QonnxOp):
    """Return the data unchanged; a compiled model gives them under ``export_debug_name`` as well."""

    export_debug_name: str

    op_type: ClassVar[str] = "DebugMarker"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data",
        "export_debug_name": "the name under which a compiled model also gives the data",
    }
    broadcasts: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = True

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return nothing: the name changes no value."""
        return ()

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the data."""
        return op.node("Identity", inputs)[0]

    def keeps_datatype(self, datatype: DataType) -> bool:
        """Return True: the output is the input."""
        return True

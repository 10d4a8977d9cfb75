"""Annotations of tensors (data type, layout, sparsity) in the entries that qonnx and FINN write and read.

They sit on the value under the key that ``onnx_ir`` reads from and writes to ``graph.quantization_annotation``,
so they follow every rename. Text that comes from a file is parsed by a grammar, never evaluated.
"""

from __future__ import annotations

import ast
import re

import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.ir.datatypes import DataType

_META = "quant_parameter_tensor_names"
_DATATYPE = "finn_datatype"
_LAYOUT = "tensor_layout"
_SPARSITY = "tensor_sparsity"
_AXIS = re.compile(r"""\s*(?:'([A-Za-z])'|"([A-Za-z])")\s*""")


def _entries(value: ir.Value) -> dict[str, str]:
    entries = value.meta.get(_META)
    return entries if isinstance(entries, dict) else {}


def _set_entry(value: ir.Value, key: str, text: str | None) -> None:
    entries = dict(_entries(value))
    if text is None:
        entries.pop(key, None)
    else:
        entries[key] = text
    if entries:
        value.meta[_META] = entries
    else:
        value.meta.pop(_META, None)


def get_datatype(value: ir.Value) -> DataType | None:
    """Return the annotated data type of a value, or None where there is none.

    Raises:
        InvalidModel: the annotation names no data type.
    """
    text = _entries(value).get(_DATATYPE)
    if text is None:
        return None
    try:
        return DataType.parse(text)
    except InvalidInput as error:
        raise InvalidModel(f"tensor {value.name}: annotation {_DATATYPE}: {error}") from error


def set_datatype(value: ir.Value, datatype: DataType | None) -> None:
    """Annotate the value with a data type, or drop the annotation with None."""
    _set_entry(value, _DATATYPE, None if datatype is None else datatype.name)


def get_layout(value: ir.Value) -> tuple[str, ...] | None:
    """Return the annotated layout, one letter per axis (``("N", "C")``), or None where none is known.

    Raises:
        InvalidModel: the annotation is no list of letters.
    """
    text = _entries(value).get(_LAYOUT)
    if text is None:
        return None
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        raise InvalidModel(
            f"tensor {value.name}: annotation {_LAYOUT} is {text!r}; expected a list of letters such as ['N', 'C']."
        )
    if not inner[1:-1].strip():
        return None
    letters = []
    for part in inner[1:-1].split(","):
        match = _AXIS.fullmatch(part)
        if match is None:
            raise InvalidModel(
                f"tensor {value.name}: annotation {_LAYOUT} is {text!r}; expected a list of letters such as ['N', 'C']."
            )
        letters.append(match[1] or match[2])
    return tuple(letters)


def set_layout(value: ir.Value, layout: tuple[str, ...] | None) -> None:
    """Annotate the value with a layout, one letter per axis, or drop the annotation with None."""
    _set_entry(value, _LAYOUT, None if layout is None else str(list(layout)))


def get_sparsity(value: ir.Value) -> dict[object, object] | None:
    """Return the annotated sparsity, a dictionary of literals, or None where there is none.

    Raises:
        InvalidModel: the annotation is no dictionary of literals.
    """
    text = _entries(value).get(_SPARSITY)
    if text is None:
        return None
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidModel(
            f"tensor {value.name}: annotation {_SPARSITY} is no dictionary of plain values; remove or correct it."
        ) from error
    if not isinstance(parsed, dict):
        raise InvalidModel(f"tensor {value.name}: annotation {_SPARSITY} is {text!r}; expected a dictionary.")
    return parsed


def set_sparsity(value: ir.Value, sparsity: dict[object, object] | None) -> None:
    """Annotate the value with a sparsity dictionary, or drop the annotation with None."""
    _set_entry(value, _SPARSITY, None if sparsity is None else str(sparsity))


def merge_annotations(source: ir.Value, target: ir.Value) -> None:
    """Give ``target`` the annotations of ``source`` that it does not have itself (used when ``source`` is removed)."""
    entries = {**_entries(source), **_entries(target)}
    if entries:
        target.meta[_META] = entries

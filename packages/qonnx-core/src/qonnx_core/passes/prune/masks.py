"""Which channels to prune: from a file, from sparsity annotations; and the model in which they are zero instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import get_sparsity
from qonnx_core.ir.names import Names
from qonnx_core.passes.base import new_constant
from qonnx_core.passes.prune.slices import Contraction
from qonnx_core.rule_files import rules_content, rules_text, source_name

Channels = Mapping[str, Mapping[int, Collection[int]]]


def read_channels(path: Path) -> dict[str, dict[int, set[int]]]:
    """Return the channels in a YAML or JSON file of the form ``{tensor: {axis: [channels]}}``.

    Raises:
        InvalidInput: the file cannot be read, or has another form.
    """
    source = source_name(path)
    content = rules_content(rules_text(path, "YAML or JSON"), source, "YAML or JSON of channels")
    return checked_channels(content, source)


def checked_channels(content: Any, where: str) -> dict[str, dict[int, set[int]]]:
    """Return ``{tensor: {axis: {channels}}}`` of parsed data.

    Raises:
        InvalidInput: the data have another form.
    """
    if not isinstance(content, Mapping):
        found = "nothing" if content is None else type(content).__name__
        raise InvalidInput(
            f"{where}: holds {found}; expected {{tensor: {{axis: [channels]}}}}. Write for example {{w: {{0: [3]}}}}."
        )
    result: dict[str, dict[int, set[int]]] = {}
    for tensor, axes in content.items():
        if not isinstance(axes, Mapping):
            raise InvalidInput(f"{where}: {tensor} has {axes!r}; expected {{axis: [channels]}}, e.g. {{0: [3, 5]}}.")
        for axis, channels in axes.items():
            number = _whole(axis)
            if isinstance(channels, Mapping) and channels and all(given is None for given in channels.values()):
                channels = list(channels)  # YAML reads a set, {0, 3}, like this
            listed = channels if isinstance(channels, list | tuple | set | frozenset) else None
            numbers = None if listed is None else [_whole(channel) for channel in listed]
            if number is None or numbers is None or any(channel is None for channel in numbers):
                raise InvalidInput(
                    f"{where}: {tensor} has {axis!r}: {channels!r}; expected the number of an axis and a list of "
                    "channels, e.g. 0: [3, 5]."
                )
            result.setdefault(str(tensor), {}).setdefault(number, set()).update(c for c in numbers if c is not None)
    return result


def _whole(number: object) -> int | None:
    if isinstance(number, int | np.integer) and not isinstance(number, bool):
        return int(number)
    if isinstance(number, str) and number.strip().lstrip("-").isdecimal() and len(number) < 12:
        return int(number)  # keys of JSON are text
    return None


def annotated_channels(model: ir.Model) -> dict[str, dict[int, set[int]]]:
    """Return the channels that sparsity annotations of the form ``{axis: {channels}}`` name."""
    result: dict[str, dict[int, set[int]]] = {}
    values = [*model.graph.inputs, *model.graph.initializers.values(), *(v for n in model.graph for v in n.outputs)]
    for value in values:
        for axis, channels in (get_sparsity(value) or {}).items():
            if isinstance(axis, int) and isinstance(channels, set | list | tuple):
                numbers = {channel for channel in channels if isinstance(channel, int)}
                if numbers:
                    result.setdefault(value.name or "", {})[axis] = numbers
    return result


def insert_masks(model: ir.Model, sites: Mapping[Contraction, np.ndarray[Any, np.dtype[np.bool_]]]) -> None:
    """Let products read 0 where the mask along the axis of their data is False."""
    names = Names(model.graph)
    for contraction, keep in sites.items():
        data = contraction.data
        rank = len(data.shape or ())
        shape = [1] * rank
        shape[contraction.data_axis] = len(keep)
        stem = f"{contraction.node.outputs[0].name}/mask"
        zero = np.zeros((), np.float32 if data.dtype is None else data.dtype.numpy())
        mask = new_constant(model.graph, stem, keep.reshape(shape), names)
        other = new_constant(model.graph, f"{stem}_zero", zero, names)
        masked = ir.node("Where", [mask, data, other], name=names.free_for_node(stem))
        masked.outputs[0].name = names.free(f"{stem}ed")
        masked.outputs[0].type, masked.outputs[0].shape = data.type, data.shape
        model.graph.insert_before(contraction.node, masked)
        for index, value in enumerate(contraction.node.inputs[:2]):
            if value is data:
                contraction.node.replace_input_with(index, masked.outputs[0])
                break

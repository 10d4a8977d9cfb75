"""Runs a small model on every input there is, and compares what it gives with what the range analysis proves."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import onnx.parser
import onnx_ir as ir

import qonnx_core
from qonnx_core.analyses.ranges import TensorRange, tensor_ranges
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1, "qonnx.custom_op.channels_last": 1]>'
Array = np.ndarray


def build(body: str, head: str = HEAD) -> ir.Model:
    return qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(head + body)))


def every_input(shape: tuple[int, ...], grid: Grid) -> Array:
    """All frames of integers, as one batch."""
    low, high = grid.integers
    levels = [-1, 1] if grid.datatype.name == "BIPOLAR" else list(range(low, high + 1))
    count = int(np.prod(shape))
    assert len(levels) ** count <= 1 << 17
    return np.asarray(list(itertools.product(levels, repeat=count)), np.int64).reshape(-1, *shape)


def measured(model: ir.Model, grids: dict[str, Grid], ints: dict[str, Array]) -> dict[str, Array]:
    """Every tensor that depends on the inputs, by name."""
    names = [value.name for node in model.graph for value in node.outputs if value.name]
    known = tensor_ranges(model, grids)
    names = [name for name in names if name in known]
    feeds = {name: grids[name].to_values(numbers) for name, numbers in ints.items()}
    found = qonnx_core.compile_model(model).run(feeds, intermediates=names)
    return {name: found[name].astype(np.float64) for name in names}


def by_channel(array: Array, found: TensorRange) -> Array:
    """Array [channels, values]; one row where the analysis does not tell channels apart."""
    if len(found.channel_values) == 1:
        return array.reshape(1, -1)
    return np.moveaxis(array, found.axis, 0).reshape(array.shape[found.axis], -1)


def assert_sound(array: Array, found: TensorRange, slack: float = 0.0) -> None:
    """No value leaves its range or its grid, and stuck channels are stuck."""
    rows = by_channel(array, found)
    if found.values is not None:
        for row, (low, high) in zip(rows, found.channel_values, strict=True):
            room = slack * max(1.0, abs(low), abs(high)) if slack else 0.0
            assert low - room <= row.min(), (found.name, low, row.min())
            assert row.max() <= high + room, (found.name, high, row.max())
    channels = np.moveaxis(array, found.axis, 0).reshape(array.shape[found.axis], -1) if array.ndim else rows
    for channel in found.stuck:
        assert np.ptp(channels[channel]) <= slack * max(1.0, np.abs(channels[channel]).max()), found.name
    for channel in found.zero_stuck:
        assert np.abs(channels[channel]).max() <= slack, found.name
    if found.whole is not None and not slack:
        assert found.whole.allows(array)
    if found.grid is None or slack:
        return
    for c, row in enumerate(channels):
        grid = found.grid
        channel = c if grid.channels > 1 else 0
        scale, zero = grid.exact(1, channel) - grid.exact(0, channel), grid.exact(0, channel)
        low = found.low[c if len(found.low) > 1 else 0]
        high = found.high[c if len(found.high) > 1 else 0]
        for value in np.unique(row):
            k = (Fraction(float(value)) - zero) / scale
            assert k.denominator == 1, (found.name, value, str(grid))
            assert low <= k <= high, (found.name, value, str(grid))


def assert_tight(array: Array, found: TensorRange) -> None:
    """Every channel reaches both ends of its range; the integers do too, and all stuck channels are found."""
    rows = by_channel(array, found)
    assert found.values is not None, found
    assert [(row.min(), row.max()) for row in rows] == list(found.channel_values), found.name
    channels = np.moveaxis(array, found.axis, 0).reshape(array.shape[found.axis], -1)
    assert [c for c, row in enumerate(channels) if np.ptp(row) == 0] == list(found.stuck)


def check(
    body: str, grid: str, shape: tuple[int, ...], *, tight: bool = True, head: str = HEAD
) -> dict[str, TensorRange]:
    """Compare every tensor of a model with one input; return what the analysis found."""
    model = build(body, head)
    grids = {"global_in": Grid.parse(grid)}
    found = tensor_ranges(model, grids)
    arrays = measured(model, grids, {"global_in": every_input(shape, grids["global_in"])})
    assert arrays
    for name, array in arrays.items():
        assert_sound(array, found[name])
        if tight:
            assert_tight(array, found[name])
    return found
